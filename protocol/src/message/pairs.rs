//! `key=value` pairs joined by `:`.

/// Why a payload is no list of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedPairs;

/// A checked list of pairs: printable ASCII, no key twice, 512 bytes at most. [S-2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs<'a>(&'a str);

impl<'a> Pairs<'a> {
    /// Longest payload accepted, in bytes.
    pub const MAXIMUM_LENGTH: usize = 512;

    /// Checks a payload.
    ///
    /// # Errors
    /// [`MalformedPairs`] for anything but a non-empty list in which every pair has a key of its own.
    pub fn parse(payload: &'a [u8]) -> Result<Self, MalformedPairs> {
        let printable =
            payload.len() <= Self::MAXIMUM_LENGTH && payload.iter().all(|byte| (0x20..0x7f).contains(byte));
        let text = core::str::from_utf8(payload).ok().filter(|_| printable).ok_or(MalformedPairs)?;
        let pairs = Self(text);
        let well_formed = text.split(':').all(|pair| {
            pair.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.contains('='))
        });
        // Quadratic in at most 512 / 2 short keys; a key said twice could hide one meaning behind another.
        let unique = pairs
            .iter()
            .enumerate()
            .all(|(at, (key, _))| pairs.iter().take(at).all(|(other, _)| other != key));
        if well_formed && unique { Ok(pairs) } else { Err(MalformedPairs) }
    }

    /// The value of `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
    }

    fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split(':').filter_map(|pair| pair.split_once('='))
    }
}
