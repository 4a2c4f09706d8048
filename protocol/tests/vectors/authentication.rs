//! Keys, offers and trailers.

use serde_json::Value;
use vmpulse_protocol::auth::{
    Addresses, DirectionKeys, Key, KeyId, Nonce, Offer, Opener, Rejected, Sealer, Transcript, derive,
};
use vmpulse_protocol::message::{HmSyn, VmmSyn};
use vmpulse_protocol::path::Discard;
use vmpulse_protocol::wire::Packet;

use crate::files::{byte, bytes, from_hex, is_authentication, list, number, text, vectors};
use crate::packets;

fn nonce(hex: &str) -> Nonce {
    Nonce(from_hex(hex).try_into().unwrap())
}

fn key_id(vector: &Value) -> KeyId {
    KeyId::new(byte(vector, "kid")).unwrap()
}

fn derived(vector: &Value) -> DirectionKeys {
    let key = Key::from_bytes(bytes(vector, "key").try_into().unwrap());
    let (vmm, hm) = (text(vector, "vmm_mac").parse().unwrap(), text(vector, "hm_mac").parse().unwrap());
    let transcript = Transcript {
        addresses: Addresses { vmm, hm },
        vm: text(vector, "vm").parse().unwrap(),
        host_monitor: text(vector, "hm").parse().unwrap(),
        vmm_nonce: nonce(text(vector, "vmm_nonce")),
        hm_nonce: nonce(text(vector, "hm_nonce")),
        vmm_syn: text(vector, "vmm_syn").as_bytes(),
        hm_syn: text(vector, "hm_syn").as_bytes(),
    };
    derive(&key, &transcript)
}

///
#[test]
fn keys_are_derived_as_given() {
    for vector in vectors("authentication") {
        let keys = derived(&vector);
        assert_eq!(keys.vmm_to_hm.as_slice(), bytes(&vector, "vmm_to_hm"), "{:?}", vector["name"]);
        assert_eq!(keys.hm_to_vmm.as_slice(), bytes(&vector, "hm_to_vmm"), "{:?}", vector["name"]);
    }
}

/// [X-9] [X-10] [X-12] [P-3]
#[test]
fn trailers_are_made_and_checked_as_given() {
    for vector in vectors("authentication") {
        let (keys, id) = (derived(&vector), key_id(&vector));
        for (end, key) in [("vmm", &keys.vmm_to_hm), ("hm", &keys.hm_to_vmm)] {
            let (mut sealer, mut opener) = (Sealer::new(key, id), Opener::new(key, id));
            let mut sent = 0;
            for step in list(&vector, "packets").iter().filter(|step| step["from"] == end) {
                packets::check(step);
                let data = bytes(step, "hex");
                let packet = Packet::decode(&data).unwrap();
                let Some(trailer) = packet.trailer else { continue };
                assert_eq!(trailer.key_id, byte(step, "key_id"), "{step}");
                assert_eq!(trailer.count, number(step, "counter"), "{step}");
                assert_eq!(trailer.tag.as_slice(), bytes(step, "tag"), "{step}");
                assert_eq!(opener.open(&packet, &trailer), Ok(()), "{step}");
                // The sealer counts by one; the last steps leap.
                sent += 1;
                if trailer.count == sent {
                    assert_eq!(sealer.seal(&Packet { trailer: None, ..packet }), data, "{step}");
                }
            }
            assert!(sent > 2, "{end} sends authenticated packets");
        }
    }
}

/// [X-13] [X-14] [P-4]
#[test]
fn a_receiver_says_what_is_given() {
    for vector in vectors("authentication") {
        let mut opener = Opener::new(&derived(&vector).vmm_to_hm, key_id(&vector));
        for step in list(&vector, "receiving") {
            let data = bytes(step, "hex");
            let verdict = match Packet::decode(&data) {
                Err(malformed) => Discard::from(malformed).as_str(),
                Ok(packet) => match packet.trailer.map(|trailer| opener.open(&packet, &trailer)) {
                    None => Discard::Unauthenticated.as_str(),
                    Some(Ok(())) => "ok",
                    Some(Err(Rejected::Forged)) => Discard::Forged.as_str(),
                    Some(Err(Rejected::Replayed)) => Discard::Replayed.as_str(),
                },
            };
            assert_eq!(verdict, text(step, "verdict"), "{step}");
        }
    }
}

fn offer(vector: &Value) -> Option<Offer> {
    let offer = &vector["offer"];
    offer.is_object().then(|| Offer {
        nonce: nonce(&text(offer, "nonce").to_lowercase()),
        key_id: key_id(offer),
        sends: offer["authtx"] == true,
    })
}

///
#[test]
fn offers_are_read_and_written() {
    for vector in vectors("syn").iter().filter(|vector| is_authentication(vector)) {
        let payload = text(vector, "text").as_bytes();
        if vector["malformed"] == true {
            assert!(VmmSyn::parse(payload).is_err(), "{vector}");
            continue;
        }
        let (read, written) = if vector["from"] == "vmm" {
            let syn = VmmSyn::parse(payload).unwrap_or_else(|_| panic!("{vector}"));
            (syn.offer, syn.encode())
        } else {
            let syn = HmSyn::parse(payload).unwrap_or_else(|_| panic!("{vector}"));
            let HmSyn::Accepted { offer, .. } = &syn else { panic!("{vector}") };
            (*offer, syn.encode())
        };
        assert_eq!(read, offer(vector), "{vector}");
        assert_eq!(Value::from(written == payload), vector["canonical"], "{vector}");
    }
}
