//! Packets and payloads: whatever the bytes are, nothing panics, and what is understood means the same when it is
//! written and read again.

use vmpulse_protocol::auth::{Authentication, KeyId, Mode, Nonce, Offer, Opener, Rejected, Sealer};
use vmpulse_protocol::id::{HostMonitorId, Incarnation, VmUuid};
use vmpulse_protocol::message::{HmSyn, Message, Pairs, VmmSyn};
use vmpulse_protocol::wire::{Flags, HEADER_LENGTH, Packet, TRAILER_LENGTH, Version};

use crate::forge::make_checksum_right;

/// Runs every check on these bytes: as a frame, as a frame whose header is made right, and as a payload.
pub fn run(data: &[u8]) {
    frame(data);
    frame(&made_right(data));
    payload(data);
    payload(data.get(HEADER_LENGTH..).unwrap_or_default());
    sealed(data);
}

/// The same with a major version that is spoken, a length that holds and the right checksum.
fn made_right(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if let [major, _, _, flags, high, low, _, _, rest @ ..] = bytes.as_mut_slice() {
        *major = Packet::MAJOR;
        let flags = Flags::from_bits(*flags);
        let trailer = flags.contains(Flags::AUTH) && !flags.contains(Flags::HEL);
        let length = rest.len().saturating_sub(if trailer { TRAILER_LENGTH } else { 0 });
        [*high, *low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    }
    make_checksum_right(&mut bytes);
    bytes
}

fn frame(bytes: &[u8]) {
    let Ok(packet) = Packet::decode(bytes) else { return };
    assert_eq!(packet.trailer.is_some(), packet.has(Flags::AUTH) && !packet.has(Flags::HEL));
    let encoded = packet.encode();
    assert_eq!(Packet::decode(&encoded), Ok(packet));
    assert_eq!(encoded, canonical(&packet, &bytes[..encoded.len()]));
    for cut in [0, HEADER_LENGTH - 1, encoded.len() / 2, encoded.len() - 1] {
        assert!(cut >= encoded.len() || Packet::decode(&encoded[..cut]).is_err(), "cut at {cut}");
    }
    let padded = [&encoded[..], &[0xa5; 46]].concat();
    assert_eq!(Packet::decode(&padded), Ok(packet));
    payload(packet.payload);
}

/// What came, with 0 in the reserved byte where that is ignored.
fn canonical(packet: &Packet<'_>, came: &[u8]) -> Vec<u8> {
    let mut bytes = came.to_vec();
    if packet.trailer.is_none() {
        bytes[HEADER_LENGTH - 2] = 0;
        make_checksum_right(&mut bytes);
    }
    bytes
}

fn payload(bytes: &[u8]) {
    if let Some(message) = Message::parse(bytes) {
        let encoded = message.encode();
        assert_eq!(Message::parse(&encoded), Some(message));
        assert!(encoded.len() <= bytes.len(), "{message:?} grew");
    }
    if let Some(incarnation) = Incarnation::from_payload(bytes) {
        assert_eq!(incarnation.as_str().as_bytes(), bytes);
        assert!(Incarnation::LENGTH.contains(&bytes.len()));
    }
    pairs(bytes);
    syns(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        words(text);
    }
}

fn pairs(bytes: &[u8]) {
    let Ok(pairs) = Pairs::parse(bytes) else { return };
    assert!(bytes.len() <= Pairs::MAXIMUM_LENGTH);
    let text = std::str::from_utf8(bytes).expect("pairs are ASCII");
    for pair in text.split(':') {
        let (key, value) = pair.split_once('=').expect("every pair has a value");
        assert_eq!(pairs.value(key), Some(value));
    }
    if let Ok(Some(offer)) = Offer::read(&pairs) {
        let mut written = "a=b".to_owned();
        offer.write(&mut written);
        assert_eq!(Offer::read(&Pairs::parse(written.as_bytes()).expect("pairs")), Ok(Some(offer)));
    }
}

/// A text that lacks keys grows when they are written; beyond the longest payload it is not sent.
fn syns(bytes: &[u8]) {
    if let Ok(syn) = VmmSyn::parse(bytes) {
        assert!(syn.uuid.len() <= VmmSyn::MAXIMUM_UUID_LENGTH);
        let encoded = syn.encode();
        assert!(encoded.len() > Pairs::MAXIMUM_LENGTH || VmmSyn::parse(&encoded) == Ok(syn));
    }
    if let Ok(syn) = HmSyn::parse(bytes) {
        assert_eq!(HmSyn::parse(&syn.encode()), Ok(syn));
    }
}

fn words(text: &str) {
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.to_string().parse(), Ok(version));
    }
    if let Ok(vm) = text.parse::<VmUuid>() {
        assert_eq!(vm.to_string(), text.to_lowercase());
    }
    if let Ok(host_monitor) = text.parse::<HostMonitorId>() {
        assert_eq!(host_monitor.to_string(), text.to_lowercase());
    }
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(KeyId::new(id.as_u8()), Some(id));
    }
    if let Some(nonce) = Nonce::from_hex(text.as_bytes()) {
        assert_eq!(nonce.to_string(), text.to_lowercase());
    }
    if let Ok(mode) = text.parse::<Mode>() {
        assert_eq!(mode.as_str(), text);
    }
    if let (Ok(key), Some(id)) = (text.parse(), KeyId::new(7)) {
        let authentication = Authentication::new(Mode::Required, [(id, key)]);
        assert!(authentication.preferred().is_some());
        assert!(!format!("{authentication:?}").contains(text), "a key was printed");
    }
}

/// A packet that was authenticated is accepted once; changed anywhere, never.
fn sealed(data: &[u8]) {
    let Some((&[at_high, at_low, change, flags], payload)) = data.split_first_chunk() else { return };
    let Some(id) = KeyId::new(at_low.max(1)) else { return };
    let (mut sealer, mut opener) = (Sealer::new(&[change; 32], id), Opener::new(&[change; 32], id));
    let flags = Flags::from_bits(flags).without(Flags::HEL | Flags::AUTH);
    let payload = &payload[..payload.len().min(usize::from(u16::MAX))];
    let bytes = sealer.seal(&Packet::plain(Version::V2_1, at_high, flags, payload));
    let open = |opener: &mut Opener, bytes: &[u8]| {
        let packet = Packet::decode(bytes).ok()?;
        Some(opener.open(&packet, &packet.trailer?))
    };
    let mut changed = bytes.clone();
    let at = usize::from(u16::from_be_bytes([at_high, at_low])) % changed.len();
    changed[at] ^= change;
    make_checksum_right(&mut changed);
    if changed != bytes {
        assert_ne!(open(&mut opener, &changed), Some(Ok(())), "changed at {at}");
    }
    assert_eq!(open(&mut opener, &bytes), Some(Ok(())));
    assert_eq!(open(&mut opener, &bytes), Some(Err(Rejected::Replayed)));
}
