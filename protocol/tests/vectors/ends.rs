//! The crate's two ends of a path, opened by packets made here.

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, Nonce};
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::message::VmmSyn;
use vmpulse_protocol::path::{Event, HmIdentity, Initiator, Outputs, Reception, Responder, VmmIdentity};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet, Version};

pub(crate) const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
pub(crate) const HM: &str = "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83";
const SYN: [u8; 2] = [2, 0];
pub(crate) const RUNNING: [u8; 2] = [2, 1];

/// A packet's bytes, made without the crate.
pub(crate) fn packet(version: [u8; 2], flags: Flags, number: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![version[0], version[1], number, flags.bits(), high, low, 0, 0];
    bytes.extend_from_slice(payload);
    bytes[7] = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    bytes
}

/// The same packet with its number moved on by `by`.
pub(crate) fn renumbered(bytes: &[u8], by: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[2] = bytes[2].wrapping_add(by);
    bytes[7] = bytes[7].wrapping_add(by);
    bytes
}

pub(crate) fn drain(out: &mut Outputs) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| out.poll_packet()).collect()
}

pub(crate) fn events(out: &mut Outputs) -> Vec<Event> {
    std::iter::from_fn(|| out.poll_event()).collect()
}

/// The value of a key in a SYN.
pub(crate) fn value(payload: &[u8], key: &str) -> Option<String> {
    let text = std::str::from_utf8(payload).unwrap();
    let pairs = text.split(':').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
}

/// The HM's end.
pub(crate) struct HmEnd {
    pub(crate) responder: Responder,
    pub(crate) out: Outputs,
    identity: HmIdentity,
}

impl HmEnd {
    pub(crate) fn new() -> Self {
        let uuid: HostMonitorId = HM.parse().unwrap();
        let identity = HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 };
        Self { responder: Responder::new(), out: Outputs::new(), identity }
    }

    /// With an open channel; `first`: the number that the VMM's SYN named.
    pub(crate) fn open(first: u8) -> Self {
        let mut end = Self::new();
        let payload = format!("uuid={VM}:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1:n=0000002a");
        end.take(
            Instant::ZERO,
            &packet(SYN, Flags::SYN | Flags::ACKR | Flags::BEG, first, payload.as_bytes()),
        );
        let answer = drain(&mut end.out).pop().unwrap();
        end.take(Instant::ZERO, &packet(SYN, Flags::SYN | Flags::ACK, answer[2], b""));
        assert!(end.responder.is_open());
        events(&mut end.out);
        end
    }

    pub(crate) fn take(&mut self, now: Instant, bytes: &[u8]) {
        let packet = Packet::decode(bytes).unwrap();
        if packet.has(Flags::SYN | Flags::BEG) {
            let syn = VmmSyn::parse(packet.payload).unwrap();
            let reception = Reception {
                vm: syn.uuid.parse().unwrap(),
                addresses: Addresses { vmm: MacAddr(2, 0, 0, 0, 1, 1), hm: MacAddr(2, 0, 0, 0, 0, 1) },
                authentication: &Authentication::NONE,
                gives_way: false,
                nonce: Nonce([0; 16]),
                seed: 1,
            };
            self.responder.handle_syn(now, &packet, &syn, &self.identity, &reception, &mut self.out);
        } else {
            self.responder.handle_packet(now, &packet, &self.identity, &mut self.out);
        }
    }
}

/// The VMM's end.
pub(crate) struct VmmEnd {
    pub(crate) initiator: Initiator,
    pub(crate) out: Outputs,
    /// The `n` of its SYN.
    pub(crate) mark: Option<String>,
}

impl VmmEnd {
    pub(crate) fn new(lower: Version, upper: Version, mtu: usize) -> Self {
        let identity = VmmIdentity { uuid: VM.to_owned(), os_type: "Linux".to_owned(), lower, upper };
        Self { initiator: Initiator::new(identity, mtu, 1), out: Outputs::new(), mark: None }
    }

    /// With an open channel, and the number that its SYN named.
    pub(crate) fn open(now: Instant, mtu: usize) -> (Self, u8) {
        let mut end = Self::new(Version::V2_0, Version::V2_1, mtu);
        end.initiator.connect(now, &mut end.out);
        let syn = drain(&mut end.out).pop().unwrap();
        let first = syn[2];
        let mark = value(&syn[8..], "n").unwrap();
        let answer = format!("uuid={HM}:verHmRunning=2.1:n=00c0ffee:re={mark}");
        end.take(now, &packet(SYN, Flags::SYN | Flags::ACK, first, b""));
        end.take(now, &packet(SYN, Flags::SYN | Flags::ACKR | Flags::END, 0, answer.as_bytes()));
        assert!(end.initiator.is_open());
        drain(&mut end.out);
        events(&mut end.out);
        (end, first)
    }

    pub(crate) fn take(&mut self, now: Instant, bytes: &[u8]) {
        self.initiator.handle_packet(now, &Packet::decode(bytes).unwrap(), &mut self.out);
    }
}
