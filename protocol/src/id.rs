//! Identities on the wire and in the store.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

/// Why a text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedId;

impl fmt::Display for MalformedId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("not a UUID of the form 01234567-89ab-cdef-0123-456789abcdef")
    }
}

impl core::error::Error for MalformedId {}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// From its 16 bytes, in the order of the text form.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Uuid::from_bytes(bytes))
            }

            /// Its 16 bytes, in the order of the text form.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}", self.0.hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}", self.0.hyphenated())
            }
        }

        /// As text, as people know them.
        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Accepts the hyphenated form in either case, and nothing else; the nil UUID is refused. [S-7]
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let parsed: uuid::fmt::Hyphenated = text.parse().map_err(|_| MalformedId)?;
                let uuid = parsed.into_uuid();
                if uuid.is_nil() { Err(MalformedId) } else { Ok(Self(uuid)) }
            }
        }
    };
}

uuid_newtype! {
    /// A VM: its SMBIOS/DMI system UUID. Printed in lower case.
    VmUuid
}
uuid_newtype! {
    /// A host monitor: one per trunk, kept over its restarts.
    HostMonitorId
}

/// Which start of a host monitor a Hello speaks of: `<unix seconds>.<nanoseconds>.<n>`, 10 to 40 ASCII bytes. [H-2]
///
/// A VMM only ever compares it for equality.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Incarnation(String);

impl Incarnation {
    /// Shortest and longest accepted, in bytes.
    pub const LENGTH: core::ops::RangeInclusive<usize> = 10..=40;

    /// From the wall clock at the host monitor's start, and a small counter.
    #[must_use]
    pub fn new(unix_seconds: u64, nanoseconds: u32, counter: u8) -> Self {
        Self(alloc::format!("{unix_seconds}.{nanoseconds:09}.{counter}"))
    }

    /// From a Hello's payload; `None` unless it is 10 to 40 bytes of digits and dots.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let plausible = Self::LENGTH.contains(&payload.len())
            && payload.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        let text = core::str::from_utf8(payload).ok().filter(|_| plausible)?;
        Some(Self(text.to_string()))
    }

    /// Its text, as in the Hello's payload.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_lower_case_and_strict() {
        let text = "61BE20F0-09A8-4753-B5E5-564F8A545ED5";
        let vm: VmUuid = text.parse().unwrap();
        assert_eq!(vm.to_string(), text.to_lowercase());
        for wrong in [
            "",
            "61be20f009a84753b5e5564f8a545ed5",
            "{61be20f0-09a8-4753-b5e5-564f8a545ed5}",
            "00000000-0000-0000-0000-000000000000",
            "61be20f0-09a8-4753-b5e5-564f8a545edg",
        ] {
            assert_eq!(wrong.parse::<VmUuid>(), Err(MalformedId), "{wrong}");
        }
    }

    #[test]
    fn incarnations_are_checked() {
        let made = Incarnation::new(1_556_303_548, 719_328_000, 38);
        assert_eq!(made.as_str(), "1556303548.719328000.38");
        assert_eq!(Incarnation::from_payload(made.as_str().as_bytes()), Some(made));
        for wrong in [&b"123456789"[..], &[b'1'; 41], b"1556303548.x.38", &[0xff; 12]] {
            assert_eq!(Incarnation::from_payload(wrong), None);
        }
    }
}
