//! A packet: decode with every check, encode with checksum.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::{Flags, HEADER_LENGTH, TAG_LENGTH, TRAILER_LENGTH};

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

    /// `2.1`; also `2.10` and `2.00`, as peers write them: the minor is a number, not a fraction. [S-8]
    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse().map_err(|_| ()) } else { Err(()) }
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// Why bytes are no packet. Such bytes are dropped and counted, never answered. [P-4]
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

/// What authenticates a packet; see [`auth`](crate::auth).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Which of the VM's keys; in the header's reserved byte.
    pub key_id: u8,
    /// Grows with each packet of its direction.
    pub count: u64,
    /// The first half of an HMAC-SHA256 over header, payload and count.
    pub tag: [u8; TAG_LENGTH],
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
    /// At most 65,535 bytes; in practice what [`payload_capacity`](super::payload_capacity) says.
    pub payload: &'a [u8],
    /// Present if and only if the flags have AUTH (a Hello's AUTH is ignored). Not checked yet.
    pub trailer: Option<Trailer>,
}

impl<'a> Packet<'a> {
    /// The major version spoken here.
    pub const MAJOR: u8 = 2;

    /// A packet without a trailer.
    #[must_use]
    pub const fn plain(version: Version, number: u8, flags: Flags, payload: &'a [u8]) -> Self {
        Self { version, number, flags, payload, trailer: None }
    }

    /// Checks a frame's payload and reads the packet in it; padding behind the packet is ignored. [P-4] [C-2]
    ///
    /// # Errors
    /// [`Malformed`] says what does not hold.
    #[inline]
    pub fn decode(frame: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = frame.split_first_chunk::<HEADER_LENGTH>().ok_or(Malformed::Short)?;
        let &[major, minor, number, flags, length_high, length_low, key_id, checksum] = header;
        let (version, flags) = (Version { major, minor }, Flags::from_bits(flags));
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let hello = flags.contains(Flags::HEL);
        let authenticated = flags.contains(Flags::AUTH) && !hello;
        let behind = if authenticated { TRAILER_LENGTH } else { 0 };
        let checked = rest.get(..length.saturating_add(behind)).ok_or(Malformed::Length)?;
        let (payload, trailer) = checked.split_at_checked(length).ok_or(Malformed::Length)?;
        if sum(header).wrapping_sub(checksum).wrapping_add(sum(checked)) != checksum {
            return Err(Malformed::Checksum);
        }
        // A Hello's fields but length and checksum are ignored. [P-7]
        if major != Self::MAJOR && !hello {
            return Err(Malformed::Major(version));
        }
        Ok(Self { version, number, flags, payload, trailer: Trailer::read(key_id, trailer) })
    }

    /// The header with 0 in the place of the checksum, as it is authenticated.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_LENGTH] {
        let [length_high, length_low] = self.length().to_be_bytes();
        let flags = if self.trailer.is_some() { self.flags | Flags::AUTH } else { self.flags };
        let key_id = self.trailer.map_or(0, |trailer| trailer.key_id);
        let Version { major, minor } = self.version;
        [major, minor, self.number, flags.bits(), length_high, length_low, key_id, 0]
    }

    /// The packet's bytes, with its checksum. [P-3]
    ///
    /// The payload is cut at 65,535 bytes; the callers never make one that long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let behind = if self.trailer.is_some() { TRAILER_LENGTH } else { 0 };
        let payload = usize::from(self.length());
        let mut bytes = Vec::with_capacity(HEADER_LENGTH.saturating_add(payload).saturating_add(behind));
        self.parts(|part| bytes.extend_from_slice(part));
        set_checksum(&mut bytes);
        bytes
    }

    /// As [`encode`](Self::encode), into `room`, for whoever must not allocate. Returns how many bytes it took; `None` if there
    /// is not enough room.
    pub fn encode_into(&self, room: &mut [u8]) -> Option<usize> {
        let mut length: usize = 0;
        let mut fits = true;
        self.parts(|part| {
            let end = length.saturating_add(part.len());
            match room.get_mut(length..end) {
                Some(place) => place.copy_from_slice(part),
                None => fits = false,
            }
            length = end;
        });
        set_checksum(room.get_mut(..length).filter(|_| fits)?);
        Some(length)
    }

    /// The packet piece by piece, its checksum still 0.
    fn parts(&self, mut take: impl FnMut(&[u8])) {
        take(&self.header());
        take(self.payload.get(..usize::from(self.length())).unwrap_or_default());
        if let Some(trailer) = &self.trailer {
            take(&trailer.count.to_be_bytes());
            take(&trailer.tag);
        }
    }

    fn length(&self) -> u16 {
        u16::try_from(self.payload.len()).unwrap_or(u16::MAX)
    }

    /// Whether `flag` is set.
    #[must_use]
    pub const fn has(&self, flag: Flags) -> bool {
        self.flags.contains(flag)
    }
}

impl Trailer {
    fn read(key_id: u8, bytes: &[u8]) -> Option<Self> {
        let (count, tag) = bytes.split_first_chunk::<8>()?;
        let tag = tag.first_chunk::<TAG_LENGTH>()?;
        Some(Self { key_id, count: u64::from_be_bytes(*count), tag: *tag })
    }
}

fn set_checksum(packet: &mut [u8]) {
    let checksum = sum(packet);
    if let Some([.., place]) = packet.first_chunk_mut::<HEADER_LENGTH>() {
        *place = checksum;
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
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
        let packet = Packet::plain(Version::V2_0, 0x2a, Flags::BEG | Flags::END | Flags::PRI, b"HB:");
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
        let of = |major, minor| Packet::plain(Version { major, minor }, 0, Flags::ACKR, b"");
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
            let plain = Flags::from_bits(flags & !Flags::AUTH.bits());
            let packet = Packet::plain(version, number, plain, &payload);
            let mut bytes = packet.encode();
            bytes.resize(bytes.len() + padding, 0xAA);
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
        }

        #[test]
        fn a_trailer_round_trips(number: u8, payload: Vec<u8>, key_id: u8, count: u64, tag: [u8; 16]) {
            let trailer = Some(Trailer { key_id, count, tag });
            let flags = Flags::ACKR | Flags::AUTH;
            let packet = Packet { trailer, ..Packet::plain(Version::V2_1, number, flags, &payload) };
            let bytes = packet.encode();
            prop_assert_eq!(Packet::decode(&bytes), Ok(packet));
            for length in 0..bytes.len() {
                prop_assert!(Packet::decode(&bytes[..length]).is_err());
            }
            let mut room = vec![0xEE; bytes.len()];
            prop_assert_eq!(packet.encode_into(&mut room), Some(bytes.len()));
            prop_assert_eq!(&room, &bytes);
            prop_assert_eq!(packet.encode_into(&mut room[1..]), None);
        }

        #[test]
        fn one_changed_byte_is_noticed(payload: Vec<u8>, at: prop::sample::Index, change in 1u8..) {
            let version = Version::V2_0;
            let bytes = Packet::plain(version, 1, Flags::ACKR, &payload).encode();
            let mut changed = bytes.clone();
            let at = at.index(bytes.len());
            // A shorter length may leave out bytes that balance the sum.
            prop_assume!(!(4..6).contains(&at));
            changed[at] = changed[at].wrapping_add(change);
            prop_assert!(Packet::decode(&changed).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Packet::decode(&bytes);
        }
    }
}
