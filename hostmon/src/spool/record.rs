//! The spool's file: what is in it, byte by byte.
//!
//! ```text
//! file    = "VMPSPOOL" version(u32) record*
//! record  = length of body(u32) CRC-32 of body(u32) body
//! body    = length of text(u32) text(JSON) bytes of a report, if any
//! text    = a start of the host monitor, or a write of the start named last
//! ```
//! Numbers are little-endian. A record that is cut short or does not match its checksum ends the file: it was being written when
//! the machine stopped, and nobody was told that it was kept. JSON, because a later version must read what an earlier one left.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, MAX_REPORT, StartWrites};

use crate::pending::{Entry, aged};

const MAGIC: &[u8; 8] = b"VMPSPOOL";
/// A file of another version is left aside and not read.
const VERSION: u32 = 1;
/// Of the file's beginning.
pub const HEADER_BYTES: usize = 12;
/// Length and checksum before a record's body.
const FRAME_BYTES: usize = 8;
/// Body of the longest record: a report, and a text that is longer than any.
const BODY_MAXIMUM: usize = MAX_REPORT + 64 * 1024;

/// The machine's time since it was switched on, which goes on over restarts of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootClock {
    /// Different each time the machine is switched on.
    pub boot: String,
    /// Time since then at the daemon's [`Instant::ZERO`].
    pub origin: Duration,
}

impl BootClock {
    /// An instant of the daemon as time since the machine was switched on.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Duration {
        self.origin.saturating_add(instant.since(Instant::ZERO))
    }

    /// How long ago something was written, at least. Of another boot all that is sure is that it was before this one: a wall
    /// clock may have stepped, and an age that is too long calls a healthy VM dead.
    #[must_use]
    pub fn since(&self, now: Instant, boot: &str, at: Duration) -> Duration {
        let up = self.at(now);
        if boot == self.boot { up.saturating_sub(at) } else { up }
    }
}

#[derive(Serialize, Deserialize)]
enum Line<W> {
    Start {
        incarnation: String,
        boot: String,
        /// What follows was made before that boot, and is older than it seems. Earlier versions neither wrote nor read it.
        #[serde(default)]
        of_earlier_boot: bool,
    },
    Write {
        number: u64,
        at_us: u64,
        write: W,
    },
}

/// The file's beginning.
#[must_use]
pub fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

/// What the file says of a start: the writes that follow are of it.
#[must_use]
pub fn start(incarnation: &str, of_earlier_boot: bool, clock: &BootClock) -> Vec<u8> {
    let (incarnation, boot) = (incarnation.to_owned(), clock.boot.clone());
    let line = Line::<()>::Start { incarnation, boot, of_earlier_boot };
    frame(&serde_json::to_vec(&line).unwrap_or_default(), &[])
}

/// A write of the start named last.
#[must_use]
pub fn write(entry: &Entry, clock: &BootClock) -> Vec<u8> {
    let at_us = u64::try_from(clock.at(entry.at).as_micros()).unwrap_or(u64::MAX);
    let line = Line::Write { number: entry.number, at_us, write: &entry.write };
    let report = if let HostMonitorWrite::Report { payload, .. } = &entry.write { payload } else { &[][..] };
    frame(&serde_json::to_vec(&line).unwrap_or_default(), report)
}

/// Any text with its length and checksum.
#[must_use]
pub fn frame(text: &[u8], bytes: &[u8]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let body = [&length(text.len()), text, bytes].concat();
    [&length(body.len()), &crc32fast::hash(&body).to_le_bytes(), body.as_slice()].concat()
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// By start, the oldest first; ages as of now.
    pub starts: Vec<StartWrites>,
    /// Up to where it is sound.
    pub sound_bytes: usize,
    /// What follows and is not.
    pub torn_bytes: usize,
    /// Records that are sound and not understood.
    pub strange: u64,
}

/// It is not a spool, or one of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no spool of version {VERSION}")]
pub struct NotASpool;

/// Reads a file. An empty one, and one whose beginning was never finished, hold nothing.
///
/// # Errors
/// [`NotASpool`].
pub fn read(file: &[u8], clock: &BootClock, now: Instant) -> Result<Contents, NotASpool> {
    let expected = header();
    let Some(mut rest) = file.strip_prefix(expected.as_slice()) else {
        let unfinished = expected.starts_with(file);
        return if unfinished {
            Ok(Contents { torn_bytes: file.len(), ..Contents::default() })
        } else {
            Err(NotASpool)
        };
    };
    let mut contents = Contents::default();
    let mut boot = String::new();
    while let Some((text, bytes, left)) = unframe(rest) {
        rest = left;
        match serde_json::from_slice(text) {
            Ok(Line::Start { incarnation, boot: of, of_earlier_boot }) => {
                let of_earlier_boot = of_earlier_boot || of != clock.boot;
                boot = of;
                if contents.starts.last().is_none_or(|start| start.incarnation != incarnation) {
                    contents.starts.push(StartWrites { incarnation, writes: Vec::new(), of_earlier_boot });
                }
            }
            Ok(Line::Write { number, at_us, write }) => {
                let waited = clock.since(now, &boot, Duration::from_micros(at_us));
                match contents.starts.last_mut() {
                    Some(start) => start.writes.push((number, with_report(aged(&write, waited), bytes))),
                    None => contents.strange = contents.strange.saturating_add(1),
                }
            }
            Err(_) => contents.strange = contents.strange.saturating_add(1),
        }
    }
    contents.torn_bytes = rest.len();
    contents.sound_bytes = file.len().saturating_sub(rest.len());
    Ok(contents)
}

fn with_report(write: HostMonitorWrite, bytes: &[u8]) -> HostMonitorWrite {
    if let HostMonitorWrite::Report { vm, message, .. } = write {
        return HostMonitorWrite::Report { vm, message, payload: bytes.to_vec() };
    }
    write
}

/// Text and bytes of the first record, and what follows it.
pub fn unframe(file: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = number(file)?;
    let (checksum, rest) = number(rest)?;
    if length > BODY_MAXIMUM {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length)?;
    if usize::try_from(crc32fast::hash(body)).ok()? != checksum {
        return None;
    }
    let (length, body) = number(body)?;
    let (text, bytes) = body.split_at_checked(length)?;
    Some((text, bytes, rest))
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// Bytes of a record beside its body.
#[must_use]
pub const fn overhead() -> usize {
    FRAME_BYTES
}
