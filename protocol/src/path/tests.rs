//! Two ends and a bad network under one virtual clock.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::MacAddr;
use crate::auth::{Addresses, Authentication, Nonces};
use crate::id::{HostMonitorId, VmUuid};
use crate::message::{Doorbell, Message, VmmSyn};
use crate::time::Instant;
use crate::wire::{Flags, Packet, Version};

const VM: VmUuid = VmUuid::from_bytes([0x61; 16]);
const ADDRESSES: Addresses =
    Addresses { vmm: MacAddr(0x52, 0x54, 0, 0, 0, 1), hm: MacAddr(0x52, 0x54, 0, 0, 0, 2) };
mod guardian;
mod reverted;
mod secured;

const TICK: Duration = Duration::from_millis(10);

/// What the network does to a packet; per mille.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    loss: u32,
    duplication: u32,
    corruption: u32,
    /// A changed byte under a checksum that was made right again.
    tampering: u32,
    /// Longest extra delay in ticks: reorders.
    delay: u64,
}

const PERFECT: Faults = Faults { loss: 0, duplication: 0, corruption: 0, tampering: 0, delay: 0 };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Vmm,
    Hm,
}

struct Pair {
    now: Instant,
    tick: u64,
    random: fastrand::Rng,
    faults: Faults,
    identity: HmIdentity,
    vmm: Initiator,
    hm: Responder,
    vmm_out: Outputs,
    hm_out: Outputs,
    /// Due tick and a sequence number, to whom, bytes.
    wire: BTreeMap<(u64, u64), (End, Vec<u8>)>,
    sent: u64,
    received: Vec<(End, Vec<u8>)>,
    events: Vec<(End, Event)>,
    accepts: bool,
    authentication: Authentication,
    nonces: Nonces,
    outcomes: Vec<SynOutcome>,
}

impl Pair {
    fn new(seed: u64, faults: Faults) -> Self {
        let versions = (Version::V2_0, Version::V2_1);
        Self::with_versions(seed, faults, versions, versions)
    }

    fn with_versions(seed: u64, faults: Faults, vmm: (Version, Version), hm: (Version, Version)) -> Self {
        let uuid = HostMonitorId::from_bytes([7; 16]);
        let vmm_identity =
            VmmIdentity { uuid: VM.to_string(), os_type: "Linux".to_string(), lower: vmm.0, upper: vmm.1 };
        Self {
            now: Instant::from_millis(1000),
            tick: 0,
            random: fastrand::Rng::with_seed(seed),
            faults,
            identity: HmIdentity { uuid, lower: hm.0, upper: hm.1, mtu: 108 },
            vmm: Initiator::new(vmm_identity, 108, seed),
            hm: Responder::new(),
            vmm_out: Outputs::new(),
            hm_out: Outputs::new(),
            wire: BTreeMap::new(),
            sent: 0,
            received: Vec::new(),
            events: Vec::new(),
            accepts: true,
            authentication: Authentication::NONE,
            nonces: Nonces::new(&[1; 32]),
            outcomes: Vec::new(),
        }
    }

    fn open(mut self) -> Self {
        self.vmm.connect(self.now, &mut self.vmm_out);
        self.run(1);
        assert!(self.vmm.is_open() && self.hm.is_open());
        self
    }

    fn connect(&mut self) {
        self.vmm.connect(self.now, &mut self.vmm_out);
    }

    fn send(&mut self, from: End, token: u64, payload: &[u8]) {
        let message = Message::Report { tag: i64::try_from(token).unwrap(), xml: payload };
        match from {
            End::Vmm => self.vmm.send(self.now, Token(token), &message, &mut self.vmm_out),
            End::Hm => self.hm.send(self.now, Token(token), &message, &mut self.hm_out),
        }
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.drain();
            self.deliver();
            self.drain();
            self.now = self.now + TICK;
            self.tick += 1;
            self.vmm.handle_timeout(self.now, &mut self.vmm_out);
            if self.hm.handle_timeout(self.now, &mut self.hm_out) {
                self.hm.close(CloseReason::Unanswered, &mut self.hm_out);
            }
        }
    }

    fn drain(&mut self) {
        loop {
            while let Some(bytes) = self.vmm_out.poll_packet() {
                self.transmit(End::Hm, bytes);
            }
            while let Some(bytes) = self.hm_out.poll_packet() {
                self.transmit(End::Vmm, bytes);
            }
            let Some((end, event)) = self.next_event() else { return };
            if let Event::Message { delivery, payload } = &event {
                self.on_message(end, *delivery, payload.clone());
            }
            self.events.push((end, event));
        }
    }

    fn next_event(&mut self) -> Option<(End, Event)> {
        let vmm = self.vmm_out.poll_event().map(|event| (End::Vmm, event));
        vmm.or_else(|| self.hm_out.poll_event().map(|event| (End::Hm, event)))
    }

    fn on_message(&mut self, end: End, delivery: Delivery, payload: Vec<u8>) {
        match (end, self.accepts) {
            (End::Hm, false) => self.hm.refuse(delivery),
            (End::Hm, true) => {
                self.received.push((end, payload));
                self.hm.accept(delivery, &mut self.hm_out);
            }
            (End::Vmm, _) => {
                self.received.push((end, payload));
                self.vmm.accept(delivery, &mut self.vmm_out);
            }
        }
    }

    fn transmit(&mut self, to: End, mut bytes: Vec<u8>) {
        if self.random.u32(..1000) < self.faults.loss {
            return;
        }
        let copies = if self.random.u32(..1000) < self.faults.duplication { 2 } else { 1 };
        if self.random.u32(..1000) < self.faults.corruption {
            let at = self.random.usize(..bytes.len());
            bytes[at] = bytes[at].wrapping_add(1);
        }
        if self.random.u32(..1000) < self.faults.tampering {
            let at = self.random.usize(..bytes.len());
            bytes[at] ^= 1 << self.random.u32(..8);
            make_checksum_right(&mut bytes);
        }
        for _ in 0..copies {
            let due = self.tick + self.random.u64(0..=self.faults.delay);
            self.sent += 1;
            self.wire.insert((due, self.sent), (to, bytes.clone()));
        }
    }

    /// Delivers what is due and leaves what comes of it in the outputs.
    fn deliver_quietly(&mut self) {
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.tick) {
            let (to, bytes) = entry.remove();
            self.receive(to, &bytes);
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.tick) {
            let (to, bytes) = entry.remove();
            self.receive(to, &bytes);
            self.drain();
        }
    }

    fn receive(&mut self, to: End, bytes: &[u8]) {
        let Ok(packet) = Packet::decode(bytes) else { return };
        match to {
            End::Vmm => self.vmm.handle_packet(self.now, &packet, &mut self.vmm_out),
            End::Hm if packet.has(Flags::SYN | Flags::BEG) => {
                let Ok(syn) = VmmSyn::parse(packet.payload) else { return };
                self.receive_syn(&packet, &syn);
            }
            End::Hm => self.hm.handle_packet(self.now, &packet, &self.identity, &mut self.hm_out),
        }
    }

    fn receive_syn(&mut self, packet: &Packet<'_>, syn: &VmmSyn) {
        let reception = Reception {
            vm: VM,
            addresses: ADDRESSES,
            authentication: &self.authentication,
            gives_way: false,
            nonce: self.nonces.next_nonce(),
            seed: self.random.u64(..),
        };
        let outcome = self.hm.handle_syn(self.now, packet, syn, &self.identity, &reception, &mut self.hm_out);
        self.outcomes.push(outcome);
    }

    fn tokens(&self, from: End, wanted: impl Fn(&Event) -> Option<u64>) -> Vec<u64> {
        self.events.iter().filter(|(end, _)| *end == from).filter_map(|(_, event)| wanted(event)).collect()
    }

    fn received_tokens(&self, at: End) -> Vec<u64> {
        let token = |payload: &[u8]| match Message::parse(payload) {
            Some(Message::Report { tag, .. }) => u64::try_from(tag).unwrap(),
            other => panic!("received {other:?}"),
        };
        self.received.iter().filter(|(end, _)| *end == at).map(|(_, payload)| token(payload)).collect()
    }
}

fn make_checksum_right(bytes: &mut [u8]) {
    bytes[7] = 0;
    bytes[7] = bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte));
}

fn delivered(event: &Event) -> Option<u64> {
    if let Event::Delivered(token) = event { Some(token.0) } else { None }
}

fn handed_back(event: &Event) -> Option<u64> {
    if let Event::HandedBack { token, .. } = event { Some(token.0) } else { None }
}

/// [S-1]
#[test]
fn the_handshake_is_four_packets() {
    let mut pair = Pair::new(1, PERFECT);
    pair.connect();
    let syn = pair.vmm_out.poll_packet().unwrap();
    let packet = Packet::decode(&syn).unwrap();
    assert_eq!(packet.flags, Flags::SYN | Flags::ACKR | Flags::BEG);
    let parsed = VmmSyn::parse(packet.payload).unwrap();
    pair.receive_syn(&packet, &parsed);
    let acknowledgement = pair.hm_out.poll_packet().unwrap();
    let answer = pair.hm_out.poll_packet().unwrap();
    assert_eq!(Packet::decode(&acknowledgement).unwrap().flags, Flags::SYN | Flags::ACK);
    assert_eq!(Packet::decode(&acknowledgement).unwrap().number, packet.number);
    assert_eq!(Packet::decode(&answer).unwrap().flags, Flags::SYN | Flags::ACKR | Flags::END);
    // In either order.
    for bytes in [&answer, &acknowledgement] {
        pair.vmm.handle_packet(pair.now, &Packet::decode(bytes).unwrap(), &mut pair.vmm_out);
    }
    assert_eq!(pair.vmm.peer(), Some((pair.identity.uuid, Version::V2_1)));
    let last = pair.vmm_out.poll_packet().unwrap();
    assert!(!pair.hm.is_open());
    pair.hm.handle_packet(pair.now, &Packet::decode(&last).unwrap(), &pair.identity, &mut pair.hm_out);
    assert!(pair.hm.is_open());
    // The first normal packet has the number that the SYN named.
    pair.send(End::Hm, 9, b"");
    let first = pair.hm_out.poll_packet().unwrap();
    assert_eq!(Packet::decode(&first).unwrap().number, Packet::decode(&answer).unwrap().number);
}

/// [S-10]
#[test]
fn a_version_conflict_is_told_and_forgotten() {
    let old = (Version { major: 2, minor: 3 }, Version { major: 2, minor: 4 });
    let mut pair = Pair::with_versions(1, PERFECT, old, (Version::V2_0, Version::V2_1));
    pair.connect();
    pair.run(5);
    assert!(pair.events.contains(&(End::Vmm, Event::HandshakeFailed(CloseReason::VersionConflict))));
    assert!(!pair.vmm.is_open() && !pair.vmm.is_connecting() && pair.hm.is_closed());
}

/// Somebody sends a SYN of another version from the VMM's address: the HM's answer to that is none to the VMM's. [S-10]
#[test]
fn a_conflict_over_a_version_that_the_vmm_speaks_is_not_its_own() {
    let mut pair = Pair::new(1, PERFECT);
    pair.connect();
    let uuid = HostMonitorId::from_bytes([0xaa; 16]);
    let conflict = crate::message::HmSyn::Conflict { uuid, lower: Version::V2_0, upper: Version::V2_1 };
    let flags = Flags::SYN | Flags::ACKR | Flags::END;
    pair.transmit(End::Vmm, Packet::plain(Version::V2_0, 9, flags, &conflict.encode()).encode());
    pair.run(5);
    assert!(pair.events.contains(&(End::Vmm, Event::Discarded(Discard::Syn))));
    assert!(pair.vmm.is_open() && pair.hm.is_open());
}

/// [S-12]
#[test]
fn a_repeated_syn_does_not_disturb_the_open_path() {
    let mut pair = Pair::new(5, PERFECT);
    pair.connect();
    let syn = pair.vmm_out.poll_packet().unwrap();
    pair.transmit(End::Hm, syn.clone());
    pair.run(2);
    pair.transmit(End::Hm, syn);
    pair.run(5);
    let opened = Event::Opened { replaced: false };
    // The repetition is acknowledged again, which acknowledges nothing outstanding any more.
    let again = Event::Discarded(Discard::Acknowledgement);
    assert_eq!(pair.events, vec![(End::Vmm, opened.clone()), (End::Hm, opened), (End::Vmm, again)]);
}

/// [S-1]
#[test]
fn an_unanswered_handshake_is_given_up_after_six_sendings_and_leaves_the_open_path_alone() {
    let mut pair = Pair::new(2, PERFECT).open();
    pair.faults.loss = 1000;
    pair.connect();
    pair.run(1549);
    assert!(pair.vmm.is_connecting());
    pair.run(2);
    assert!(!pair.vmm.is_connecting() && pair.vmm.is_open());
    assert!(pair.events.contains(&(End::Vmm, Event::HandshakeFailed(CloseReason::Unanswered))));
}

/// [S-16]
#[test]
fn a_new_handshake_replaces_the_open_channel_and_hands_back_what_was_queued() {
    let mut pair = Pair::new(3, PERFECT).open();
    pair.accepts = false;
    pair.send(End::Vmm, 1, b"report");
    pair.run(1);
    pair.accepts = true;
    pair.connect();
    pair.run(10);
    assert_eq!(pair.tokens(End::Vmm, handed_back), [1]);
    assert!(pair.events.contains(&(End::Hm, Event::Opened { replaced: true })));
    pair.send(End::Vmm, 2, b"report");
    pair.run(5);
    assert_eq!(pair.received_tokens(End::Hm), [2]);
}

///
#[test]
fn a_refused_message_is_not_acknowledged_and_comes_again() {
    let mut pair = Pair::new(4, PERFECT).open();
    pair.accepts = false;
    pair.send(End::Vmm, 1, b"");
    pair.run(20);
    assert!(pair.tokens(End::Vmm, delivered).is_empty());
    pair.accepts = true;
    pair.run(60);
    assert_eq!((pair.tokens(End::Vmm, delivered), pair.received_tokens(End::Hm)), (vec![1], vec![1]));
}

/// Of a message in several packets only the one that made it complete comes again.
#[test]
fn a_refused_long_message_comes_again_whole() {
    let mut pair = Pair::new(4, PERFECT).open();
    let payload: Vec<u8> = (0..9_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    pair.accepts = false;
    pair.send(End::Vmm, 1, &payload);
    pair.run(120);
    assert!(pair.tokens(End::Vmm, delivered).is_empty());
    assert!(pair.hm.partial_bytes() >= payload.len());
    pair.accepts = true;
    pair.run(400);
    assert_eq!((pair.tokens(End::Vmm, delivered), pair.received_tokens(End::Hm)), (vec![1], vec![1]));
    assert!(pair.received.iter().any(|(_, received)| received.ends_with(&payload)));
    assert_eq!(pair.hm.partial_bytes(), 0);
}

///
#[test]
fn an_unanswered_message_closes_the_vmm_end_after_15_5_s() {
    let mut pair = Pair::new(6, PERFECT).open();
    pair.faults.loss = 1000;
    pair.send(End::Vmm, 1, b"");
    pair.send(End::Vmm, 2, b"");
    pair.run(1549);
    assert!(pair.vmm.is_open());
    pair.run(2);
    assert!(!pair.vmm.is_open());
    assert_eq!(pair.tokens(End::Vmm, handed_back), [1, 2]);
}

#[test]
fn a_long_message_wraps_the_numbers_and_arrives_whole() {
    let mut pair = Pair::new(7, Faults { delay: 3, ..PERFECT });
    pair.connect();
    pair.run(20);
    let payload: Vec<u8> = (0..60_000u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    pair.send(End::Vmm, 1, &payload);
    pair.run(3000);
    let expected = Message::Report { tag: 1, xml: &payload }.encode();
    assert_eq!(pair.received, vec![(End::Hm, expected)]);
    assert_eq!(pair.hm.partial_bytes(), 0);
}

/// [B-1]
#[test]
fn a_message_beyond_the_bound_closes_the_path() {
    let mut pair = Pair::new(8, PERFECT).open();
    // A correct sender does not even try.
    pair.send(End::Vmm, 1, &vec![0; MESSAGE_MAXIMUM]);
    assert!(pair.vmm_out.poll_packet().is_none());
    pair.run(1);
    assert_eq!(pair.tokens(End::Vmm, handed_back), [1]);
    let mut number = pair.hm.opened_with();
    let mut flags = Flags::ACKR | Flags::BEG;
    for _ in 0..=MESSAGE_MAXIMUM / 100 {
        pair.transmit(End::Hm, Packet::plain(Version::V2_1, number, flags, &[0; 100]).encode());
        pair.run(1);
        (number, flags) = (number.wrapping_add(1), Flags::ACKR);
    }
    assert!(pair.events.contains(&(End::Hm, Event::Closed(CloseReason::Incomplete))));
    assert!(pair.received.is_empty());
}

/// [S-6]
#[test]
fn the_answer_to_an_earlier_attempt_is_not_taken_for_the_present_one() {
    let mut pair = Pair::new(15, PERFECT);
    pair.connect();
    pair.run(0);
    pair.drain();
    pair.deliver_quietly();
    let late: Vec<_> = core::iter::from_fn(|| pair.hm_out.poll_packet()).collect();
    pair.hm = Responder::new();
    pair.connect();
    for bytes in late {
        pair.transmit(End::Vmm, bytes);
    }
    pair.run(5);
    assert!(pair.events.contains(&(End::Vmm, Event::Discarded(Discard::Syn))));
    pair.send(End::Hm, 1, b"");
    pair.run(5);
    assert_eq!(pair.received_tokens(End::Vmm), [1]);
}

/// [S-19]
#[test]
fn between_the_two_openings_the_vmm_takes_no_message_on_the_old_channel() {
    let mut pair = Pair::new(16, PERFECT).open();
    pair.send(End::Hm, 1, b"");
    let old = pair.hm_out.poll_packet().unwrap();
    // The HM has opened the new channel and handed its message back; the VMM has not heard of it.
    pair.connect();
    pair.drain();
    pair.deliver_quietly();
    let acknowledgement = pair.hm_out.poll_packet().unwrap();
    pair.drain();
    pair.deliver_quietly();
    pair.drain();
    pair.deliver_quietly();
    pair.drain();
    assert_eq!(pair.tokens(End::Hm, handed_back), [1]);
    pair.transmit(End::Vmm, old);
    pair.deliver();
    assert!(pair.received.is_empty(), "taken on the old channel, and to come on the new one");
    pair.transmit(End::Vmm, acknowledgement);
    pair.send(End::Hm, 1, b"");
    pair.run(200);
    assert_eq!(pair.received_tokens(End::Vmm), [1]);
}

///
#[test]
fn an_incomplete_message_closes_the_path_after_30_s() {
    let mut pair = Pair::new(9, PERFECT).open();
    pair.send(End::Vmm, 1, b"");
    pair.run(2);
    let begin = Packet::plain(Version::V2_1, 200, Flags::ACKR | Flags::BEG, b"x");
    pair.transmit(End::Hm, begin.encode());
    pair.run(2998);
    assert!(pair.hm.is_open());
    pair.run(5);
    assert!(!pair.hm.is_open());
}

/// [N-3]
#[test]
fn heartbeats_are_taken_whatever_their_number_and_only_on_an_open_path() {
    let mut pair = Pair::new(10, PERFECT);
    let flags = Flags::BEG | Flags::END | Flags::PRI;
    let heartbeat = Packet::plain(Version::V2_1, 5, flags, b"HB:").encode();
    pair.transmit(End::Hm, heartbeat.clone());
    pair.run(1);
    assert_eq!(pair.events, vec![(End::Hm, Event::Discarded(Discard::NotOpen))]);
    let mut pair = Pair::new(10, PERFECT).open();
    pair.transmit(End::Hm, heartbeat.clone());
    pair.transmit(End::Hm, heartbeat);
    pair.run(1);
    let beats = pair.events.iter().filter(|(_, event)| *event == Event::Heartbeat { guardian: false });
    assert_eq!(beats.count(), 2);
}

#[test]
fn unexpected_flags_are_discarded() {
    for (flags, reason) in [
        (Flags::BEG | Flags::END, Discard::Flags),
        (Flags::PRI, Discard::Flags),
        (Flags::ACKR | Flags::PRI | Flags::BEG, Discard::Flags),
        (Flags::ACKR, Discard::Orphan),
        (Flags::ACK, Discard::Acknowledgement),
        (Flags::SYN | Flags::ACKR | Flags::END, Discard::Flags),
        (Flags::SYN | Flags::ACK, Discard::Acknowledgement),
    ] {
        let mut pair = Pair::new(11, PERFECT).open();
        pair.send(End::Vmm, 1, b"");
        pair.run(2);
        pair.events.clear();
        let next = pair.hm.opened_with().wrapping_add(1);
        let bytes = Packet::plain(Version::V2_1, next, flags, b"HB:").encode();
        pair.transmit(End::Hm, bytes);
        pair.run(1);
        assert_eq!(pair.events, vec![(End::Hm, Event::Discarded(reason))], "{flags:?}");
        assert!(pair.hm.is_open());
    }
}

/// [N-7] [S-18]
#[test]
fn what_belongs_to_a_replaced_channel_is_not_taken_on_the_new_one() {
    let mut pair = Pair::new(14, PERFECT).open();
    pair.send(End::Hm, 1, b"");
    let old = pair.hm_out.poll_packet().unwrap();
    pair.connect();
    pair.run(2);
    pair.received.clear();
    pair.transmit(End::Vmm, old);
    pair.run(2);
    assert!(pair.received.is_empty());
    pair.send(End::Hm, 2, b"");
    pair.run(2);
    assert_eq!(pair.received_tokens(End::Vmm), [2]);
}

///
#[test]
fn the_doorbell_waits_for_the_owner_and_is_acknowledged_once_accepted() {
    let mut pair = Pair::new(12, PERFECT).open();
    pair.vmm.send(pair.now, Token(1), &Message::Doorbell(Doorbell::STATUS), &mut pair.vmm_out);
    let bytes = pair.vmm_out.poll_packet().unwrap();
    let packet = Packet::decode(&bytes).unwrap();
    pair.hm.handle_packet(pair.now, &packet, &pair.identity, &mut pair.hm_out);
    let Some(Event::Message { delivery, .. }) = pair.hm_out.poll_event() else { panic!("no message") };
    assert_eq!(pair.hm_out.poll_packet(), None);
    pair.hm.handle_packet(pair.now, &packet, &pair.identity, &mut pair.hm_out);
    assert_eq!(pair.hm_out.poll_packet(), None, "a repetition before acceptance is not acknowledged");
    pair.hm.accept(delivery, &mut pair.hm_out);
    assert!(pair.hm_out.poll_packet().is_some());
    pair.hm.accept(delivery, &mut pair.hm_out);
    assert_eq!(pair.hm_out.poll_packet(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the network does: each message is received at most once and in order, each one that its sender
    /// was told is delivered was received, and none is left without a word.
    #[test]
    fn messages_arrive_once_and_in_order_or_come_back(
        seed: u64, loss in 0u32..400, duplication in 0u32..300, corruption in 0u32..100, delay in 0u64..30,
        lengths in prop::collection::vec(0usize..2000, 1..12), from_vmm: bool, handshakes in prop::collection::vec(1u64..500, 0..3),
    ) {
        let mut pair = Pair::new(seed, PERFECT).open();
        pair.faults = Faults { loss, duplication, corruption, tampering: 0, delay };
        let from = if from_vmm { End::Vmm } else { End::Hm };
        let to = if from_vmm { End::Hm } else { End::Vmm };
        for (token, length) in (1u64..).zip(&lengths) {
            pair.send(from, token, &vec![b'x'; *length]);
        }
        for ticks in handshakes {
            pair.run(ticks);
            pair.connect();
        }
        pair.run(20_000);
        let mut received = pair.received_tokens(to);
        let delivered = pair.tokens(from, delivered);
        let handed_back = pair.tokens(from, handed_back);
        let mut said: Vec<u64> = delivered.iter().chain(&handed_back).copied().collect();
        said.sort_unstable();
        prop_assert_eq!(said, (1..=lengths.len() as u64).collect::<Vec<_>>());
        prop_assert!(received.is_sorted(), "{:?}", received);
        let all = received.len();
        received.dedup();
        prop_assert_eq!(received.len(), all, "twice");
        prop_assert!(delivered.iter().all(|token| received.contains(token)));
    }

    #[test]
    fn arbitrary_packets_never_panic_nor_grow(packets in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..100)), 0..200)) {
        let mut pair = Pair::new(13, PERFECT).open();
        pair.accepts = false;
        for (number, flags, payload) in packets {
            let flags = Flags::from_bits(flags);
            let bytes = Packet::plain(Version::V2_1, number, flags, &payload).encode();
            pair.transmit(End::Hm, bytes.clone());
            pair.transmit(End::Vmm, bytes);
            pair.run(1);
        }
        prop_assert!(pair.hm.partial_bytes() <= 2 * PARTIALS_MAXIMUM * 33 * 100);
    }
}
