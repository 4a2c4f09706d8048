//! The event recorder: what a daemon's core was told, and when, kept in a file from which the core can be run again.
//!
//! A core decides by its inputs alone, so its inputs are all that has to be kept: the simulator builds the core anew from
//! the file's beginning, gives it the same inputs at the same instants, and holds what comes out against a checksum of what
//! came out then. docs/operating/recorder.md says what it is for.
//!
//! * [`RecorderSettings`]: off unless a directory is named;
//! * [`Recorder`]: the driver's end. It never waits: a thread of its own writes;
//! * [`read`]: the file's end.
//!
//! ```text
//! file  = "VMPRECRD" version(u32) block*
//! block = length of body(u32) CRC-32 of body(u32) body
//! body  = any number of: opening (the first), start (the second), then lines
//! line  = nanoseconds since the line before, and what happened; or how the record ends
//! ```
//! Numbers outside of bodies are little-endian; bodies are in postcard's encoding. A line is never split between blocks. What
//! the daemon is, and so what its start and its lines are, the opening says.
//!
//! A file has no end if its process was killed. It may then end with a block that is cut short; what is before that holds.

mod file;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod writer;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::time::Instant;

use crate::clock::MonotonicClock;
pub use reader::{Lines, Opened, ReadError, is_record, open};
pub use settings::RecorderSettings;
pub use writer::Recorder;

const MAGIC: &[u8; 8] = b"VMPRECRD";
/// Grows whenever what a line of any daemon means changes: a file of another version is not read.
pub const VERSION: u32 = 1;
/// Magic and version.
const HEADER_BYTES: usize = 12;
/// Length and checksum before a block's body.
const FRAME_BYTES: usize = 8;

/// Whose core it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Daemon {
    /// `vmpulse-hostmond`.
    HostMonitor,
    /// `vmpulse-controllerd`.
    Controller,
    /// `vmpulse-agentd`.
    Agent,
    /// `vmpulse-guardian`.
    Guardian,
}

impl std::fmt::Display for Daemon {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::HostMonitor => "host monitor",
            Self::Controller => "controller",
            Self::Agent => "agent",
            Self::Guardian => "guardian",
        })
    }
}

/// How a record begins: who wrote it, and how its instants relate to other clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Whose.
    pub daemon: Daemon,
    /// Version of the program.
    pub product: String,
    /// The kernel's name for this boot of the machine.
    pub boot: String,
    /// What CLOCK_MONOTONIC of that boot read at the daemon's [`Instant::ZERO`], in nanoseconds.
    pub monotonic_ns: u64,
    /// What the wall clock read then, in nanoseconds since the Unix epoch.
    pub realtime_ns: u64,
}

impl Opening {
    /// As of now, of this process.
    #[must_use]
    pub fn now(daemon: Daemon, product: &str, clock: &MonotonicClock) -> Self {
        let since = clock.now().since(Instant::ZERO);
        let monotonic = monotonic().saturating_sub(since);
        Self::beginning(daemon, product, monotonic, clock.realtime().saturating_sub(since))
    }

    /// As of now, of a process whose instants are CLOCK_MONOTONIC itself.
    #[must_use]
    pub fn by_monotonic(daemon: Daemon, product: &str, clock: &MonotonicClock) -> Self {
        Self::beginning(daemon, product, Duration::ZERO, clock.realtime().saturating_sub(monotonic()))
    }

    fn beginning(daemon: Daemon, product: &str, monotonic: Duration, realtime: Duration) -> Self {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            daemon,
            product: product.to_owned(),
            boot: boot.trim().to_owned(),
            monotonic_ns: nanoseconds(monotonic),
            realtime_ns: nanoseconds(realtime),
        }
    }
}

fn monotonic() -> Duration {
    let read = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    read.map(Duration::from).unwrap_or_default()
}

/// Why a record ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The daemon ended in order.
    Stopped,
    /// The file is as large as it may be.
    Full,
    /// The disk was too slow: more would have waited than may.
    Behind,
    /// From here on the core needs what no record may hold: keys.
    Keys,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Stopped => "the daemon ended",
            Self::Full => "the record reached its largest size",
            Self::Behind => "the disk was too slow for it",
            Self::Keys => "keys were loaded, which no record may hold",
        })
    }
}

/// One line, with what happened in the daemon's own form.
#[derive(Debug, Serialize, Deserialize)]
enum Line<T> {
    /// Nanoseconds since the line before (a clock read twice may be used out of order), and what happened.
    At(i64, T),
    /// The last line.
    End(i64, Ending),
}

fn difference(now: Instant, before: Instant) -> i64 {
    now.as_nanos().wrapping_sub(before.as_nanos()).cast_signed()
}
