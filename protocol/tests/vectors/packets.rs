//! Single packets: read, written, refused.

use serde_json::Value;
use vmpulse_protocol::path::Discard;
use vmpulse_protocol::wire::{Flags, Packet};

use crate::files::{byte, bytes, flag, from_hex, list, number, text, vectors};

/// A described packet is read as described, and written as it came if it is canonical.
pub(crate) fn check(vector: &Value) {
    let data = bytes(vector, "hex");
    let packet = Packet::decode(&data).unwrap_or_else(|why| panic!("{why:?}: {vector}"));
    let names = list(vector, "flags").iter().map(|name| name.as_str().unwrap());
    assert_eq!(packet.version.to_string(), text(vector, "version"), "{vector}");
    assert_eq!(packet.number, byte(vector, "number"), "{vector}");
    assert_eq!(packet.flags, names.fold(Flags::NONE, |all, name| all.with(flag(name))), "{vector}");
    assert_eq!(packet.payload, bytes(vector, "payload"), "{vector}");
    if vector["canonical"] == true {
        assert_eq!(packet.encode(), data, "{vector}");
        for length in 0..data.len() {
            assert!(Packet::decode(&data[..length]).is_err(), "{length} bytes of {vector}");
        }
    }
}

/// [P-1] [P-2] [P-3] [P-5] [P-6] [P-7] [C-2]
#[test]
fn every_field_is_read_and_written() {
    vectors("packets").iter().for_each(check);
    vectors("handshake").iter().flat_map(|conversation| list(conversation, "steps")).for_each(check);
}

/// [P-4]
#[test]
fn what_is_malformed_is_dropped_for_the_reason_given() {
    for vector in vectors("malformed") {
        let data = bytes(&vector, "hex");
        let refused = Packet::decode(&data).err().map(|why| Discard::from(why).as_str());
        assert_eq!(refused, Some(text(&vector, "reason")), "{vector}");
    }
}

/// [C-1] [C-2] [C-3]: a packet stands right behind the EtherType, tagged or not, and padding does not matter.
#[test]
fn a_packet_is_found_in_its_frame() {
    for vector in vectors("frames") {
        let (frame, packet) = (bytes(&vector, "hex"), bytes(&vector, "packet"));
        let tag = vector["tci"].as_u64().map(|tci| format!("8100{tci:04x}")).unwrap_or_default();
        let addresses = [text(&vector, "destination"), text(&vector, "source")].concat().replace(':', "");
        let start = from_hex(&format!("{addresses}{tag}{:04x}", number(&vector, "ethertype")));
        let payload = frame.strip_prefix(start.as_slice()).unwrap_or_else(|| panic!("{vector}"));
        assert!(frame.len() >= 60, "{vector}");
        assert_eq!(Packet::decode(payload), Packet::decode(&packet), "{vector}");
        assert!(Packet::decode(payload).is_ok(), "{vector}");
    }
}
