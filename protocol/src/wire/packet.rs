//! A packet: decode with every check, encode with checksum.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::{Flags, HEADER_LENGTH};

/// A protocol version, `major.minor`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Different majors do not understand each other.
    pub major: u8,
    /// A higher minor is accepted.
    pub minor: u8,
}

impl Version {
    /// Base protocol.
    pub const V2_0: Self = Self { major: 2, minor: 0 };
    /// With intervals, announced silence and authentication.
    pub const V2_1: Self = Self { major: 2, minor: 1 };
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Version {
    type Err = ();

    /// `2.1`; also `2.10` and `2.00`, as peers write them: the minor is a number, not a fraction.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse().map_err(|_| ()) } else { Err(()) }
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// Why bytes are no packet. Such bytes are dropped and counted, never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than a header.
    Short,
    /// The payload length exceeds what the frame holds.
    Length,
    /// The checksum does not hold.
    Checksum,
    /// Another major version (carried so that it can be reported as a conflict).
    Major(Version),
}

/// One packet; the payload borrows from the frame it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The sender's version.
    pub version: Version,
    /// The packet's number, or the one acknowledged.
    pub number: u8,
    /// What kind of packet.
    pub flags: Flags,
    /// At most 65,535 bytes; in practice MTU - 8.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The major version spoken here.
    pub const MAJOR: u8 = 2;

    /// Checks a frame's payload and reads the packet in it; padding behind the packet is ignored.
    ///
    /// # Errors
    /// [`Malformed`] says what does not hold.
    pub fn decode(frame: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = frame.split_first_chunk::<HEADER_LENGTH>().ok_or(Malformed::Short)?;
        let &[major, minor, number, flags, length_high, length_low, reserved, checksum] = header;
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let payload = rest.get(..length).ok_or(Malformed::Length)?;
        let sum = [major, minor, number, flags, length_high, length_low, reserved]
            .iter()
            .chain(payload)
            .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let version = Version { major, minor };
        let flags = Flags::from_bits(flags);
        if sum != checksum {
            return Err(Malformed::Checksum);
        }
        // A Hello's fields but length and checksum are ignored.
        if major != Self::MAJOR && !flags.contains(Flags::HEL) {
            return Err(Malformed::Major(version));
        }
        Ok(Self { version, number, flags, payload })
    }

    /// The packet's bytes, with its checksum.
    ///
    /// The payload is cut at 65,535 bytes; the callers never make one that long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = u16::try_from(self.payload.len()).unwrap_or(u16::MAX);
        let payload = self.payload.get(..usize::from(length)).unwrap_or_default();
        let [length_high, length_low] = length.to_be_bytes();
        let header = [
            self.version.major,
            self.version.minor,
            self.number,
            self.flags.bits(),
            length_high,
            length_low,
            0,
        ];
        let checksum = header.iter().chain(payload).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let mut bytes = Vec::with_capacity(HEADER_LENGTH.saturating_add(payload.len()));
        bytes.extend_from_slice(&header);
        bytes.push(checksum);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Whether `flag` is set.
    #[must_use]
    pub const fn has(&self, flag: Flags) -> bool {
        self.flags.contains(flag)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    /// A heartbeat as it stands on the wire, worked out by hand from the header's definition.
    const HEARTBEAT: [u8; 11] = [0x02, 0x00, 0x2a, 0x38, 0x00, 0x03, 0x00, 0x2b, b'H', b'B', b':'];

    #[test]
    fn golden_heartbeat() {
        let packet = Packet {
            version: Version::V2_0,
            number: 0x2a,
            flags: Flags::BEG | Flags::END | Flags::PRI,
            payload: b"HB:",
        };
        assert_eq!(packet.encode(), HEARTBEAT);
        let mut padded = vec![0u8; 46];
        padded[..11].copy_from_slice(&HEARTBEAT);
        assert_eq!(Packet::decode(&padded), Ok(packet));
    }

    #[test]
    fn every_prefix_is_refused() {
        for length in 0..HEARTBEAT.len() {
            assert!(Packet::decode(&HEARTBEAT[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_major_is_a_conflict_but_a_higher_minor_is_not() {
        let of = |major, minor| Packet {
            version: Version { major, minor },
            number: 0,
            flags: Flags::ACKR,
            payload: b"",
        };
        let conflict = Malformed::Major(Version { major: 3, minor: 0 });
        assert_eq!(Packet::decode(&of(3, 0).encode()), Err(conflict));
        assert!(Packet::decode(&of(2, 9).encode()).is_ok());
        let hello = Packet { flags: Flags::HEL, ..of(9, 9) };
        assert!(Packet::decode(&hello.encode()).is_ok());
    }

    #[test]
    fn versions_are_numbers_not_fractions() {
        assert_eq!("2.00".parse(), Ok(Version::V2_0));
        assert_eq!("2.1".parse(), Ok(Version::V2_1));
        assert!("2.10".parse::<Version>().unwrap() > Version::V2_1);
        for wrong in ["", "2", "2.", ".1", "2.+1", "2.256", "a.b"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(number: u8, flags: u8, minor: u8, payload: Vec<u8>, padding in 0usize..60) {
            let version = Version { major: Packet::MAJOR, minor };
            let packet = Packet { version, number, flags: Flags::from_bits(flags), payload: &payload };
            let mut bytes = packet.encode();
            bytes.resize(bytes.len() + padding, 0xAA);
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }

        #[test]
        fn one_changed_byte_is_noticed(payload: Vec<u8>, at: prop::sample::Index, change in 1u8..) {
            let version = Version::V2_0;
            let bytes = Packet { version, number: 1, flags: Flags::ACKR, payload: &payload }.encode();
            let mut changed = bytes.clone();
            let at = at.index(bytes.len());
            changed[at] = changed[at].wrapping_add(change);
            prop_assert!(Packet::decode(&changed).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Packet::decode(&bytes);
        }
    }
}
