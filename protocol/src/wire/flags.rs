//! The flags of a packet's fourth byte.

use core::fmt;
use core::ops::BitOr;

/// A set of packet flags. [P-2]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// The receiver must acknowledge this packet.
    pub const ACKR: Self = Self(0x80);
    /// The number is that of the packet acknowledged; no payload.
    pub const ACK: Self = Self(0x40);
    /// First packet of a message; in a SYN: the receiver shall synchronise its own direction too.
    pub const BEG: Self = Self(0x20);
    /// Last packet of a message; in a SYN: the answer of the receiver of a SYN with BEG.
    pub const END: Self = Self(0x10);
    /// Urgent.
    pub const PRI: Self = Self(0x08);
    /// Synchronisation packet.
    pub const SYN: Self = Self(0x04);
    /// Hello.
    pub const HEL: Self = Self(0x02);
    /// An authentication trailer follows the payload.
    pub const AUTH: Self = Self(0x01);

    /// From the wire; every combination is representable.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// As on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set without the flags of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(&str, Flags); 8] = [
            ("ACKR", Flags::ACKR),
            ("ACK", Flags::ACK),
            ("BEG", Flags::BEG),
            ("END", Flags::END),
            ("PRI", Flags::PRI),
            ("SYN", Flags::SYN),
            ("HEL", Flags::HEL),
            ("AUTH", Flags::AUTH),
        ];
        let mut separator = "";
        for (name, _) in NAMES.iter().filter(|(_, flag)| self.contains(*flag)) {
            write!(out, "{separator}{name}")?;
            separator = "|";
        }
        if separator.is_empty() { out.write_str("-") } else { Ok(()) }
    }
}
