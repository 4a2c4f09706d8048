//! The reading end. Whatever the bytes are, it says what is wrong with them; it never panics.

use std::marker::PhantomData;

use serde::Deserialize;
use vmpulse_protocol::time::Instant;

use super::{Ending, HEADER_BYTES, Line, MAGIC, Opening, VERSION};

/// Body of the longest block: more than the writer ever lets wait.
const BODY_MAXIMUM: usize = 128 << 20;

/// Why a file is not read, or not further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It begins with something else.
    #[error("it is no record of a daemon")]
    Foreign,
    /// Of a version that this program does not know.
    #[error(
        "it is a record of version {found}, and this program reads version {VERSION}: use the simulator of the release that wrote it"
    )]
    Version {
        /// Which.
        found: u32,
    },
    /// The process was killed before it had written anything.
    #[error("it ends before it has begun")]
    Empty,
    /// A block is sound and holds what this program does not know.
    #[error(
        "what follows line {line} is not understood ({source}): use the simulator of the release that wrote it"
    )]
    Strange {
        /// Lines before it.
        line: u64,
        /// What the decoder says.
        source: postcard::Error,
    },
}

/// Whether a file's first bytes are those of a record, of whatever version.
#[must_use]
pub fn is_record(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// A record whose beginning was read.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    /// How it begins.
    pub opening: Opening,
    body: &'a [u8],
    file: &'a [u8],
}

/// Reads the beginning of a record.
///
/// # Errors
/// [`ReadError`].
pub fn open(bytes: &[u8]) -> Result<Opened<'_>, ReadError> {
    let unfinished = bytes.len() < HEADER_BYTES && MAGIC.starts_with(bytes.get(..8).unwrap_or(bytes));
    let rest = match bytes.strip_prefix(MAGIC) {
        _ if unfinished => return Err(ReadError::Empty),
        Some(rest) => rest,
        None => return Err(ReadError::Foreign),
    };
    let (version, rest) = number(rest).ok_or(ReadError::Empty)?;
    if version != VERSION {
        return Err(ReadError::Version { found: version });
    }
    let (body, file) = block(rest).ok_or(ReadError::Empty)?;
    let (opening, body) = postcard::take_from_bytes(body).map_err(|source| strange(0, source))?;
    Ok(Opened { opening, body, file })
}

impl<'a> Opened<'a> {
    /// What the core was made from, and the lines. The caller has looked at [`Opening::daemon`].
    ///
    /// # Errors
    /// [`ReadError::Strange`].
    pub fn start<S: Deserialize<'a>, T: Deserialize<'a>>(self) -> Result<(S, Lines<'a, T>), ReadError> {
        let (start, body) = postcard::take_from_bytes(self.body).map_err(|source| strange(0, source))?;
        let Self { opening: _, file, .. } = self;
        let lines =
            Lines { body, file, last: Instant::ZERO, line: 0, ending: None, over: false, what: PhantomData };
        Ok((start, lines))
    }
}

/// The lines of a record, one after the other.
#[derive(Clone, Debug)]
pub struct Lines<'a, T> {
    body: &'a [u8],
    file: &'a [u8],
    last: Instant,
    line: u64,
    ending: Option<(Instant, Ending)>,
    over: bool,
    what: PhantomData<T>,
}

impl<T> Lines<'_, T> {
    /// After the last line: how the record ends. `None`: its process was killed.
    #[must_use]
    pub const fn ending(&self) -> Option<&(Instant, Ending)> {
        self.ending.as_ref()
    }

    /// After the last line: bytes that are no sound block.
    #[must_use]
    pub const fn torn_bytes(&self) -> usize {
        self.file.len()
    }

    /// Lines so far.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.line
    }

    /// Instant of the last line so far.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.last
    }
}

impl<'a, T: Deserialize<'a>> Iterator for Lines<'a, T> {
    type Item = Result<(Instant, T), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        while self.body.is_empty() {
            let Some((body, file)) = block(self.file) else {
                self.over = true;
                return None;
            };
            (self.body, self.file) = (body, file);
        }
        match postcard::take_from_bytes(self.body) {
            Ok((Line::At(after, what), body)) => {
                self.body = body;
                self.last = later(self.last, after);
                self.line = self.line.saturating_add(1);
                Some(Ok((self.last, what)))
            }
            Ok((Line::End(after, why), _)) => {
                self.ending = Some((later(self.last, after), why));
                self.over = true;
                None
            }
            Err(source) => {
                self.over = true;
                Some(Err(strange(self.line, source)))
            }
        }
    }
}

fn later(last: Instant, after: i64) -> Instant {
    Instant::from_nanos(last.as_nanos().wrapping_add(after.cast_unsigned()))
}

const fn strange(line: u64, source: postcard::Error) -> ReadError {
    ReadError::Strange { line, source }
}

/// The first block's body, and what follows it; `None` if it is cut short or its checksum is another one.
fn block(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(file)?;
    let (checksum, rest) = number(rest)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= BODY_MAXIMUM)?;
    let (body, rest) = rest.split_at_checked(length)?;
    (crc32fast::hash(body) == checksum).then_some((body, rest))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}
