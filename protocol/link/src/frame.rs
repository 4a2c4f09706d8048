//! The Ethernet header around a payload.

use crate::MacAddr;

/// EtherType of an 802.1Q tag.
pub(crate) const TPID: u16 = 0x8100;
/// Destination, source, EtherType.
pub(crate) const HEADER_BYTES: usize = 14;
/// The same with an 802.1Q tag.
pub(crate) const LARGEST_HEADER_BYTES: usize = 18;
/// Shorter frames do not exist on Ethernet (60 bytes, and 4 of checksum the adapter adds). [C-2]
const SHORTEST_FRAME_BYTES: usize = 60;
/// The VLAN id in a TCI; the rest is priority.
pub(crate) const VLAN_MASK: u16 = 0x0FFF;

static PADDING: [u8; SHORTEST_FRAME_BYTES] = [0; SHORTEST_FRAME_BYTES];

/// The header of a received frame. The kernel has taken off its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
    pub(crate) ethertype: u16,
}

impl Header {
    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let (&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1], _) = frame.split_first_chunk()?;
        Some(Self {
            destination: MacAddr(d0, d1, d2, d3, d4, d5),
            source: MacAddr(s0, s1, s2, s3, s4, s5),
            ethertype: u16::from_be_bytes([t0, t1]),
        })
    }
}

/// The outer tag of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Kind of the tag: 0x8100 for 802.1Q.
    pub tpid: u16,
    /// Priority (3 bits), drop eligibility (1 bit), VLAN id (12 bits).
    pub tci: u16,
}

/// The header of a frame to send: 14 bytes, or 18 with a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    bytes: [u8; LARGEST_HEADER_BYTES],
    length: usize,
}

impl Outgoing {
    pub(crate) fn new(header: Header, vlan: Option<u16>) -> Self {
        Self::tagged(header, vlan.map(|tci| Tag { tpid: TPID, tci }))
    }

    pub(crate) fn tagged(header: Header, tag: Option<Tag>) -> Self {
        let Header { destination, source, ethertype } = header;
        let numbers = tag.map(|tag| [tag.tpid.to_be_bytes(), tag.tci.to_be_bytes()]);
        let parts = destination.octets().into_iter().chain(source.octets());
        let parts = parts.chain(numbers.into_iter().flatten().flatten()).chain(ethertype.to_be_bytes());
        let mut bytes = [0; LARGEST_HEADER_BYTES];
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        Self { bytes, length: if tag.is_some() { LARGEST_HEADER_BYTES } else { HEADER_BYTES } }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// What must follow a payload of `payload_length` bytes to make the shortest frame.
    pub(crate) fn padding(&self, payload_length: usize) -> &'static [u8] {
        let missing = SHORTEST_FRAME_BYTES.saturating_sub(self.length + payload_length);
        PADDING.get(..missing).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        destination: MacAddr(1, 2, 3, 4, 5, 6),
        source: MacAddr(7, 8, 9, 10, 11, 12),
        ethertype: 0x88B5,
    };

    #[test]
    fn an_untagged_header_round_trips() {
        let out = Outgoing::new(HEADER, None);
        assert_eq!(out.bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xB5]);
        assert_eq!(Header::decode(out.bytes()), Some(HEADER));
        for length in 0..HEADER_BYTES {
            assert_eq!(Header::decode(&out.bytes()[..length]), None);
        }
    }

    #[test]
    fn a_tag_stands_before_the_ethertype() {
        let out = Outgoing::new(HEADER, Some(0xA064));
        assert_eq!(out.bytes()[12..], [0x81, 0x00, 0xA0, 0x64, 0x88, 0xB5]);
    }

    #[test]
    fn short_frames_are_padded_to_60_bytes() {
        for (vlan, payload, padding) in [
            (None, 8, 38),
            (None, 46, 0),
            (None, 1500, 0),
            (Some(1), 0, 42),
            (Some(1), 41, 1),
            (Some(1), 42, 0),
        ] {
            let out = Outgoing::new(HEADER, vlan);
            assert_eq!(out.padding(payload), vec![0; padding], "{vlan:?} {payload}");
        }
    }
}
