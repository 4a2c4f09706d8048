//! Keys, and what an end does with them.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU8;
use core::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Keys of a VM that are valid at once: the one in use, and its successor while it is being rotated.
pub const KEYS_MAXIMUM: usize = 2;

/// Names a key of a VM: 1 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(NonZeroU8);

impl KeyId {
    /// `None` for 0, which stands for "no key" on the wire.
    #[must_use]
    pub const fn new(id: u8) -> Option<Self> {
        match NonZeroU8::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// As on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for KeyId {
    type Err = MalformedKey;

    /// Digits only: 1 to 255.
    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).and_then(Self::new).ok_or(MalformedKey)
    }
}

/// Why a text is no key or no key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedKey;

impl fmt::Display for MalformedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key is 64 hexadecimal digits, its id a number from 1 to 255")
    }
}

impl core::error::Error for MalformedKey {}

/// A VM's secret. It is wiped when dropped and does not print itself.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; Self::LENGTH]);

impl Key {
    /// In bytes.
    pub const LENGTH: usize = 32;

    /// From its bytes, which must come from a good source of randomness.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}

impl FromStr for Key {
    type Err = MalformedKey;

    /// 64 hexadecimal digits, in either case.
    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        super::nonce::from_hex(text.as_bytes()).map(Self).ok_or(MalformedKey)
    }
}

/// What an end of a path offers and demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Says nothing of authentication.
    #[default]
    Off,
    /// Checks what comes authenticated; sends plainly and demands nothing.
    ReceiveOnly,
    /// Checks and sends authenticated where the other end does; demands nothing.
    Optional,
    /// Takes part in no handshake after which it would receive plainly.
    Required,
}

impl Mode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 4] = [Self::Off, Self::ReceiveOnly, Self::Optional, Self::Required];

    /// Whether it checks trailers: says `auth=` in its SYN.
    #[must_use]
    pub const fn verifies(self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Whether it adds trailers: says `authtx=1` in its SYN.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::Optional | Self::Required)
    }

    /// Whether it refuses to receive plainly.
    #[must_use]
    pub const fn demands(self) -> bool {
        matches!(self, Self::Required)
    }

    /// As in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::ReceiveOnly => "receive-only",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A text that names no [`Mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownMode;

impl fmt::Display for UnknownMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a mode is one of off, receive-only, optional, required")
    }
}

impl core::error::Error for UnknownMode {}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(UnknownMode)
    }
}

/// Mode and keys of one VM, as an end of its paths uses them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// What is offered and demanded.
    pub mode: Mode,
    keys: Vec<(KeyId, Key)>,
}

impl Authentication {
    /// Neither keys nor offers.
    pub const NONE: Self = Self { mode: Mode::Off, keys: Vec::new() };

    /// The last key is the one that a VMM uses; of more than [`KEYS_MAXIMUM`] the last ones are kept, and of two with
    /// one id the later.
    #[must_use]
    pub fn new(mode: Mode, keys: impl IntoIterator<Item = (KeyId, Key)>) -> Self {
        let mut kept: Vec<(KeyId, Key)> = Vec::new();
        for (id, key) in keys {
            kept.retain(|(other, _)| *other != id);
            if kept.len() >= KEYS_MAXIMUM {
                kept.remove(0);
            }
            kept.reserve_exact(1);
            kept.push((id, key));
        }
        Self { mode, keys: kept }
    }

    /// The key that a VMM uses.
    #[must_use]
    pub fn preferred(&self) -> Option<(KeyId, &Key)> {
        self.keys.last().map(|(id, key)| (*id, key))
    }

    /// The one that a VMM tries when a handshake with that failed; the same if there is only one.
    #[must_use]
    pub fn other(&self) -> Option<KeyId> {
        self.keys.first().map(|(id, _)| *id)
    }

    /// The key of this id.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|(other, _)| *other == id).map(|(_, key)| key)
    }

    /// Ids of the valid keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn id(number: u8) -> KeyId {
        KeyId::new(number).unwrap()
    }

    #[test]
    fn keys_and_ids_are_strict_and_do_not_print_themselves() {
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
        let key: Key = text.parse().unwrap();
        assert_eq!(key.as_bytes()[31], 31);
        assert_eq!(format!("{key:?}"), "Key(..)");
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('0', "g"), &text.replace('0', "+")] {
            assert_eq!(wrong.parse::<Key>(), Err(MalformedKey), "{wrong}");
        }
        assert_eq!("255".parse(), Ok(id(255)));
        for wrong in ["", "0", "256", "+1", "-1", "1 "] {
            assert_eq!(wrong.parse::<KeyId>(), Err(MalformedKey), "{wrong}");
        }
    }

    #[test]
    fn two_keys_are_valid_and_the_last_is_preferred() {
        let key = |byte| Key::from_bytes([byte; 32]);
        let keys = [(id(1), key(1)), (id(2), key(2)), (id(3), key(3))];
        let authentication = Authentication::new(Mode::Optional, keys);
        assert_eq!(authentication.preferred(), Some((id(3), &key(3))));
        assert_eq!((authentication.key(id(1)), authentication.key(id(2))), (None, Some(&key(2))));
        let renewed =
            Authentication::new(Mode::Optional, [(id(1), key(1)), (id(2), key(2)), (id(1), key(9))]);
        assert_eq!(renewed.preferred(), Some((id(1), &key(9))));
        assert_eq!(renewed.ids().count(), 2);
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in Mode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        assert_eq!("Required".parse::<Mode>(), Err(UnknownMode));
    }
}
