//! A VM's keys as a text: `<id> <64 hexadecimal digits>`, a line each.

use vmpulse_protocol::auth::{Authentication, KEYS_MAXIMUM, Key, KeyId, Mode};
use zeroize::Zeroizing;

/// Longest line: three digits of the id, a blank, the key, the line end.
const LINE_BYTES: usize = 3 + 1 + 2 * Key::LENGTH + 1;

/// A VM's valid keys, in the order in which they were added: the last is the one that its guest uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing {
    /// Never grows beyond its first allocation, which is wiped: no copies are left behind.
    keys: Vec<(KeyId, Key)>,
}

/// Why a text holds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// There are comments and empty lines at most.
    #[error("there is no key in it")]
    Empty,
}

/// What is wrong with a line. Nothing of the line itself is told: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// It has another form.
    #[error("expected an id from 1 to 255, one blank and 64 hexadecimal digits, and nothing else")]
    Form,
    /// Two keys of one id.
    #[error("there is another key with id {0}")]
    SameId(KeyId),
    /// One key under two ids.
    #[error("it is the same key as that of id {0}")]
    SameKey(KeyId),
    /// More than may be valid at once.
    #[error("it is the third key; at most {KEYS_MAXIMUM} are valid at once")]
    TooMany,
}

/// Why a key was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// Another key has the id.
    #[error("another key has id {0}; choose another id")]
    SameId(KeyId),
    /// The key is there under another id.
    #[error("it is the same key as that of id {0}; a new key must be another one")]
    SameKey(KeyId),
    /// There is no room.
    #[error("there are keys {} and {} already, and at most {KEYS_MAXIMUM} are valid at once", .0[0], .0[1])]
    Full([KeyId; KEYS_MAXIMUM]),
}

/// The key to be removed is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key {0}")]
pub struct RemoveError(pub KeyId);

impl Default for KeyRing {
    fn default() -> Self {
        Self { keys: Vec::with_capacity(KEYS_MAXIMUM) }
    }
}

impl KeyRing {
    /// Reads a key file's content. Lines that begin with `#` and empty lines are skipped.
    ///
    /// # Errors
    /// [`RingError`] with the line.
    pub fn parse(text: &[u8]) -> Result<Self, RingError> {
        let mut ring = Self::default();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let wrong = |problem| RingError::Line { line: number, problem };
            let (id, key) = parse_line(line).ok_or(wrong(LineProblem::Form))?;
            ring.add(id, key).map_err(|error| wrong(error.into()))?;
        }
        if ring.is_empty() { Err(RingError::Empty) } else { Ok(ring) }
    }

    /// What [`parse`](Self::parse) reads; wiped when dropped.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(KEYS_MAXIMUM * LINE_BYTES));
        for (id, key) in &self.keys {
            text.extend_from_slice(id.to_string().as_bytes());
            text.push(b' ');
            super::secret::push_hex(&mut text, key);
            text.push(b'\n');
        }
        text
    }

    /// Adds a key behind the others.
    ///
    /// # Errors
    /// [`AddError`]; nothing is changed then.
    pub fn add(&mut self, id: KeyId, key: Key) -> Result<(), AddError> {
        if self.key(id).is_some() {
            return Err(AddError::SameId(id));
        }
        if let Some((other, _)) = self.keys.iter().find(|(_, other)| *other == key) {
            return Err(AddError::SameKey(*other));
        }
        match self.keys.as_slice() {
            [(first, _), (second, _), ..] => Err(AddError::Full([*first, *second])),
            [] | [_] => {
                self.keys.push((id, key));
                Ok(())
            }
        }
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// [`RemoveError`] if it is not there.
    pub fn remove(&mut self, id: KeyId) -> Result<(), RemoveError> {
        let at = self.keys.iter().position(|(other, _)| *other == id).ok_or(RemoveError(id))?;
        // What moves up leaves its bytes behind in the vector's memory: rebuilt, the old memory is wiped.
        let kept =
            self.keys.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, pair)| pair.clone());
        let mut keys = Vec::with_capacity(KEYS_MAXIMUM);
        keys.extend(kept);
        self.keys = keys;
        Ok(())
    }

    /// The key of this id.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|(other, _)| *other == id).map(|(_, key)| key)
    }

    /// The ids, oldest first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = KeyId> + '_ {
        self.keys.iter().map(|(id, _)| *id)
    }

    /// The id that the guest uses.
    #[must_use]
    pub fn last(&self) -> Option<KeyId> {
        self.ids().next_back()
    }

    /// Whether there is no key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// An id for a new key: the one behind the last; after 255 comes 1.
    #[must_use]
    pub fn next_id(&self) -> KeyId {
        let last = self.last().map_or(0, KeyId::as_u8);
        let behind = (1..=u8::MAX).map(|step| last.wrapping_add(step)).filter_map(KeyId::new);
        let mut free = behind.filter(|id| self.key(*id).is_none());
        // Two of 255 are taken at most, so there always is one.
        free.next().unwrap_or(FIRST)
    }

    /// As paths use them.
    #[must_use]
    pub fn authentication(&self, mode: Mode) -> Authentication {
        Authentication::new(mode, self.keys.iter().cloned())
    }
}

const FIRST: KeyId = match KeyId::new(1) {
    Some(id) => id,
    None => panic!("1 is an id"),
};

impl From<AddError> for LineProblem {
    fn from(error: AddError) -> Self {
        match error {
            AddError::SameId(id) => Self::SameId(id),
            AddError::SameKey(id) => Self::SameKey(id),
            AddError::Full(_) => Self::TooMany,
        }
    }
}

fn parse_line(line: &[u8]) -> Option<(KeyId, Key)> {
    let (id, key) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    // One way to write an id: no leading zeros.
    let id = id.parse::<KeyId>().ok().filter(|parsed| parsed.to_string() == id)?;
    Some((id, key.parse().ok()?))
}

#[cfg(test)]
mod tests;
