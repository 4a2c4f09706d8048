//! The lab's own reading of a packet: it shares no code with the daemons nor with the dissector, so that each can be held
//! against it.

use super::{ETHER_TYPE, Frame};

const VLAN_TAG: u16 = 0x8100;
const HEADER: usize = 8;
const TRAILER: usize = 24;

/// A packet, its tag and what its checksum should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) vlan: Option<u16>,
    pub(crate) major: u8,
    pub(crate) minor: u8,
    pub(crate) number: u8,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) checksum_holds: bool,
}

impl Packet {
    pub(crate) const ACKR: u8 = 0x80;
    pub(crate) const ACK: u8 = 0x40;
    pub(crate) const BEG: u8 = 0x20;
    pub(crate) const END: u8 = 0x10;
    pub(crate) const PRI: u8 = 0x08;
    pub(crate) const SYN: u8 = 0x04;
    pub(crate) const HEL: u8 = 0x02;
    pub(crate) const AUTH: u8 = 0x01;

    /// The packet of a frame; `None` if it has none that is whole.
    pub(crate) fn of(frame: &Frame) -> Option<Packet> {
        let number = |at: usize| Some(u16::from_be_bytes(frame.bytes.get(at..at + 2)?.try_into().ok()?));
        let tagged = number(12)? == VLAN_TAG;
        let (vlan, at) = if tagged { (Some(number(14)? & 0x0fff), 16) } else { (None, 12) };
        if number(at)? != ETHER_TYPE {
            return None;
        }
        let bytes = frame.bytes.get(at + 2..)?;
        let &[major, minor, number, flags, high, low, _, checksum] = bytes.first_chunk::<HEADER>()?;
        let payload = bytes.get(HEADER..HEADER + usize::from(u16::from_be_bytes([high, low])))?.to_vec();
        let trailer = if flags & (Packet::AUTH | Packet::HEL) == Packet::AUTH { TRAILER } else { 0 };
        let sum = bytes.get(..HEADER + payload.len() + trailer)?.iter().fold(0_u8, |s, b| s.wrapping_add(*b));
        let checksum_holds = sum.wrapping_sub(checksum) == checksum;
        Some(Packet { vlan, major, minor, number, flags, payload, checksum_holds })
    }

    /// A packet with the right length and checksum, without trailer.
    pub(crate) fn bytes(flags: u8, number: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = vec![2, 1, number, flags];
        bytes.extend(length);
        bytes.extend([0, 0]);
        bytes.extend(payload);
        Packet::seal(bytes)
    }

    /// The same bytes with a checksum that holds.
    pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(place) = bytes.get_mut(7) {
            *place = 0;
        }
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if let Some(place) = bytes.get_mut(7) {
            *place = sum;
        }
        bytes
    }

    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it carries a message or a part of one: neither Hello nor handshake nor acknowledgement.
    pub(crate) fn is_message(&self) -> bool {
        self.flags & (Packet::HEL | Packet::SYN | Packet::ACK) == 0
    }
}

/// A whole message, at the frame that made it complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// As the dissector names it: the word, with its colon where that belongs to it.
    pub(crate) name: String,
    pub(crate) length: usize,
    pub(crate) packets: usize,
}

impl Message {
    fn of(text: &[u8], packets: usize) -> Message {
        let all = String::from_utf8_lossy(text);
        let word = all.split(':').next().unwrap_or_default();
        let whole = word == "HB" || word == "SHDN";
        let name = if whole { all.to_string() } else { word.to_string() };
        Message { name, length: text.len(), packets }
    }
}

/// For every packet the message that it made complete, and whether it repeats one before it. The packets of a message
/// are to come in their order, which they do where they were sent.
pub(crate) fn messages(frames: &[(Frame, Packet)]) -> Vec<(Option<Message>, bool)> {
    let mut found: Vec<(Option<Message>, bool)> = Vec::new();
    for (index, (frame, packet)) in frames.iter().enumerate() {
        let before = || frames.iter().take(index).rev().filter(|(other, _)| same_direction(frame, other));
        let repeats = packet.has(Packet::ACKR)
            && before().any(|(other, sent)| sent == packet && is_recent(&frame.at, &other.at));
        let message = if !packet.is_message() || repeats || !packet.has(Packet::END) {
            None
        } else if packet.has(Packet::BEG) {
            Some(Message::of(&packet.payload, 1))
        } else {
            let earlier = before().map(|(_, sent)| sent);
            Some(assemble(packet, earlier))
        };
        found.push((message, repeats));
    }
    found
}

/// Backwards from the last packet to the one with BEG.
fn assemble<'a>(last: &'a Packet, earlier: impl Iterator<Item = &'a Packet>) -> Message {
    let mut parts = vec![last];
    for packet in earlier.filter(|packet| packet.is_message() && !packet.has(Packet::PRI)) {
        let next = parts.last().map_or(0, |part| part.number);
        if packet.number == next.wrapping_sub(1) {
            parts.push(packet);
            if packet.has(Packet::BEG) {
                break;
            }
        }
    }
    let text: Vec<u8> = parts.iter().rev().flat_map(|part| part.payload.iter().copied()).collect();
    Message::of(&text, parts.len())
}

fn same_direction(one: &Frame, other: &Frame) -> bool {
    one.bytes.get(..12) == other.bytes.get(..12)
}

fn is_recent(now: &std::time::Duration, then: &std::time::Duration) -> bool {
    // For so long a receiver takes the same packet for a repetition.
    now.saturating_sub(*then) <= std::time::Duration::from_secs(20)
}

/// A packet with the given header and a right checksum, its length field as given, be it true or not.
pub(crate) fn packet(major: u8, flags: u8, length: usize, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut bytes = vec![major, 0, 7, flags];
    bytes.extend(length);
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(place) = bytes.get_mut(7) {
        *place = sum;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frames::frame;

    fn sent(packet: &[u8]) -> (Frame, Packet) {
        let bytes = frame("52:54:00:7e:00:ff", "52:54:00:7e:00:01", ETHER_TYPE, packet);
        let frame = Frame { at: Duration::ZERO, bytes };
        let packet = Packet::of(&frame).expect("a whole packet");
        (frame, packet)
    }

    #[test]
    fn a_packet_is_read_as_it_was_built() {
        let (_, packet) = sent(&[2, 0, 0x2a, 0x38, 0, 3, 0, 0x2b, b'H', b'B', b':']);
        assert_eq!((packet.number, packet.flags, packet.vlan), (0x2a, 0x38, None));
        assert!(packet.checksum_holds && packet.payload == b"HB:");
        assert!(sent(&Packet::bytes(0x38, 1, b"HB:")).1.checksum_holds);
        assert!(!sent(&[2, 0, 0x2a, 0x38, 0, 3, 0, 0x2c, b'H', b'B', b':']).1.checksum_holds);
    }

    #[test]
    fn a_message_of_three_packets_is_put_together_past_a_repetition_and_a_heartbeat() {
        let (first, second) = (Packet::bytes(0xa0, 255, b"PMSG_RSP:7:"), Packet::bytes(0x80, 0, b"one "));
        let frames =
            [&first, &second, &first, &Packet::bytes(0x38, 0, b"HB:"), &Packet::bytes(0x90, 1, b"two")];
        let found = messages(&frames.map(|packet| sent(packet)));
        let names =
            found.iter().map(|(message, repeats)| (message.as_ref().map(|m| m.name.as_str()), *repeats));
        let expected =
            [(None, false), (None, false), (None, true), (Some("HB:"), false), (Some("PMSG_RSP"), false)];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        let whole = found[4].0.clone().expect("complete");
        assert_eq!((whole.length, whole.packets), (18, 3));
    }
}
