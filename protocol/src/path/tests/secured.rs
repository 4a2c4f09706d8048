//! Authenticated paths, and restarts of either end.

use super::*;
use crate::auth::{Key, KeyId, Mode, Nonce, Offer};

const BOTH: Directions = Directions { incoming: true, outgoing: true };

fn id(number: u8) -> KeyId {
    KeyId::new(number).unwrap()
}

fn with_keys(mode: Mode, ids: &[u8]) -> Authentication {
    Authentication::new(mode, ids.iter().map(|number| (id(*number), Key::from_bytes([*number; 32]))))
}

fn security(authentication: Authentication, seed: u8) -> VmmSecurity {
    VmmSecurity { authentication, addresses: ADDRESSES, nonces: Nonces::new(&[seed; 32]) }
}

impl Pair {
    fn secure(mut self, vmm: Authentication, hm: Authentication) -> Self {
        self.vmm.secure(security(vmm, 2));
        self.authentication = hm;
        self
    }

    fn required(seed: u64) -> Self {
        let keys = with_keys(Mode::Required, &[1]);
        Self::new(seed, PERFECT).secure(keys.clone(), keys).open()
    }

    fn discards(&self, at: End) -> Vec<Discard> {
        let discard = |event: &Event| if let Event::Discarded(reason) = event { Some(*reason) } else { None };
        self.events.iter().filter(|(end, _)| *end == at).filter_map(|(_, event)| discard(event)).collect()
    }

    fn heartbeats(&self) -> usize {
        self.events.iter().filter(|(_, event)| *event == Event::Heartbeat { guardian: false }).count()
    }

    fn beat(&mut self) -> Vec<u8> {
        self.vmm.send_heartbeat(&mut self.vmm_out);
        self.vmm_out.poll_packet().unwrap()
    }

    fn restart_vmm(&mut self, authentication: Authentication) {
        let identity = self.vmm.identity().clone();
        self.vmm = Initiator::new(identity, 108, self.random.u64(..));
        self.vmm.secure(security(authentication, self.random.u8(..)));
        self.vmm_out = Outputs::new();
        self.connect();
    }

    /// Its Hello makes the VMM shake hands anew.
    fn restart_hm(&mut self) {
        self.hm = Responder::new();
        self.connect();
    }
}

///
#[test]
fn from_the_syn_acknowledgements_on_every_packet_is_authenticated() {
    let keys = with_keys(Mode::Required, &[1]);
    let mut pair = Pair::new(1, PERFECT).secure(keys.clone(), keys);
    pair.connect();
    let mut seen = Vec::new();
    for _ in 0..6 {
        for bytes in core::iter::from_fn(|| pair.vmm_out.poll_packet().or_else(|| pair.hm_out.poll_packet()))
            .collect::<Vec<_>>()
        {
            let packet = Packet::decode(&bytes).unwrap();
            seen.push((packet.flags.without(Flags::AUTH), packet.trailer.map(|trailer| trailer.count)));
            let to_hm = packet.has(Flags::BEG) || seen.len() > 3;
            pair.transmit(if to_hm { End::Hm } else { End::Vmm }, bytes);
        }
        pair.deliver_quietly();
    }
    let syn = Flags::SYN | Flags::ACKR;
    let acknowledged = Flags::SYN | Flags::ACK;
    assert_eq!(
        seen,
        [
            (syn | Flags::BEG, None),
            (acknowledged, Some(1)),
            (syn | Flags::END, None),
            (acknowledged, Some(1))
        ]
    );
    assert_eq!(pair.vmm.security(), Some((BOTH, id(1))));
    assert_eq!(pair.hm.security(), Some((BOTH, id(1))));
    let beat = pair.beat();
    assert_eq!(
        Packet::decode(&beat).unwrap().trailer.map(|trailer| (trailer.key_id, trailer.count)),
        Some((1, 2))
    );
}

///
#[test]
fn every_pair_of_modes_agrees_on_what_both_ends_can_do() {
    use Mode::{Off, Optional, ReceiveOnly, Required};
    // What arrives at the HM is authenticated, what arrives at the VMM is; `None`: no path.
    let expected = [
        (Off, Off, Some((false, false))),
        (Off, Optional, Some((false, false))),
        (Off, Required, None),
        (ReceiveOnly, ReceiveOnly, Some((false, false))),
        (ReceiveOnly, Optional, Some((false, true))),
        (ReceiveOnly, Required, None),
        (Optional, Off, Some((false, false))),
        (Optional, ReceiveOnly, Some((true, false))),
        (Optional, Optional, Some((true, true))),
        (Optional, Required, Some((true, true))),
        (Required, Off, None),
        (Required, ReceiveOnly, None),
        (Required, Optional, Some((true, true))),
        (Required, Required, Some((true, true))),
    ];
    for (vmm, hm, directions) in expected {
        let mut pair = Pair::new(2, PERFECT).secure(with_keys(vmm, &[1]), with_keys(hm, &[1]));
        pair.connect();
        pair.run(5);
        let open = pair.vmm.is_open() && pair.hm.is_open();
        let at = |security: Option<(Directions, KeyId)>| security.is_some_and(|(on, _)| on.incoming);
        let agreed = open.then(|| (at(pair.hm.security()), at(pair.vmm.security())));
        assert_eq!(agreed, directions, "VMM {vmm}, HM {hm}");
        if open {
            pair.send(End::Vmm, 1, b"x");
            pair.send(End::Hm, 2, b"y");
            pair.run(5);
            assert_eq!((pair.received_tokens(End::Hm), pair.received_tokens(End::Vmm)), (vec![1], vec![2]));
        }
    }
}

///
#[test]
fn a_refused_handshake_says_why() {
    let refusal = |vmm: Authentication, hm: Authentication| {
        let mut pair = Pair::new(3, PERFECT).secure(vmm, hm);
        pair.connect();
        pair.run(2);
        assert!(!pair.hm.is_open() && !pair.vmm.is_open());
        pair.outcomes.first().copied()
    };
    let required = with_keys(Mode::Required, &[1]);
    let not_offered = Some(SynOutcome::Refused(Refusal::NotOffered));
    assert_eq!(refusal(Authentication::NONE, required.clone()), not_offered);
    assert_eq!(refusal(with_keys(Mode::ReceiveOnly, &[1]), required.clone()), not_offered);
    let unknown = Some(SynOutcome::Refused(Refusal::UnknownKey(id(2))));
    assert_eq!(refusal(with_keys(Mode::Optional, &[2]), required.clone()), unknown);
    // The VMM finds out by itself that the HM has not its key, and tells its owner when it gives up.
    let mut pair = Pair::new(3, PERFECT).secure(required, with_keys(Mode::Optional, &[2]));
    pair.connect();
    pair.run(2000);
    assert!(!pair.vmm.is_open());
    assert!(pair.events.contains(&(End::Vmm, Event::HandshakeFailed(CloseReason::Unauthenticated))));
}

#[test]
fn another_secret_under_the_same_id_opens_nothing() {
    let other = Authentication::new(Mode::Required, [(id(1), Key::from_bytes([9; 32]))]);
    let mut pair = Pair::new(4, PERFECT).secure(with_keys(Mode::Required, &[1]), other);
    pair.connect();
    pair.run(100);
    assert!(!pair.vmm.is_open() && !pair.hm.is_open());
    assert!(pair.discards(End::Hm).contains(&Discard::Forged));
}

///
#[test]
fn an_authenticated_path_is_not_replaced_by_a_plain_handshake() {
    let optional = with_keys(Mode::Optional, &[1]);
    let mut pair = Pair::new(5, PERFECT).secure(optional.clone(), optional).open();
    let syn = VmmSyn {
        uuid: VM.to_string(),
        os_type: String::new(),
        lower: Version::V2_0,
        upper: Version::V2_1,
        mark: None,
        offer: None,
    };
    let plain = Packet::plain(Version::V2_0, 7, Flags::SYN | Flags::ACKR | Flags::BEG, b"");
    pair.transmit(End::Hm, Packet { payload: &syn.encode(), ..plain }.encode());
    // Nor is one that speaks 2.0 only, which has no authentication.
    pair.run(1);
    let offer = Some(Offer { nonce: Nonce([4; 16]), key_id: id(1), sends: true });
    let old = VmmSyn { upper: Version::V2_0, offer, ..syn };
    pair.transmit(End::Hm, Packet { payload: &old.encode(), ..plain }.encode());
    pair.run(1);
    assert_eq!(pair.outcomes[1..], [SynOutcome::Refused(Refusal::Downgrade); 2]);
    // At the VMM: an HM that suddenly offers nothing.
    pair.authentication = Authentication::NONE;
    pair.hm = Responder::new();
    pair.connect();
    pair.run(100);
    assert_eq!(pair.vmm.security(), Some((BOTH, id(1))));
    assert!(pair.discards(End::Vmm).contains(&Discard::Unauthenticated));
}

///
#[test]
fn a_guest_that_was_switched_off_and_relaxed_is_heard_again() {
    let optional = with_keys(Mode::Optional, &[1]);
    for opted_out in [with_keys(Mode::Off, &[1]), with_keys(Mode::Optional, &[])] {
        let mut pair = Pair::new(6, PERFECT).secure(optional.clone(), optional.clone()).open();
        pair.vmm.secure(security(opted_out, 3));
        // The HM refuses it beside its own channel, until the VM is relaxed and the channel closed there.
        pair.connect();
        pair.run(1);
        assert_eq!(pair.outcomes.last(), Some(&SynOutcome::Refused(Refusal::Downgrade)));
        assert_eq!(pair.vmm.security(), Some((BOTH, id(1))));
        pair.hm = Responder::new();
        pair.connect();
        pair.run(100);
        assert!(pair.hm.is_open() && pair.vmm.is_open());
        assert_eq!(pair.vmm.security(), None);
    }
}

#[test]
fn a_guest_does_not_end_the_path_of_another_with_its_own_key() {
    let mut pair = Pair::required(11);
    let other = VmUuid::from_bytes([0x62; 16]);
    let identity = VmmIdentity { uuid: other.to_string(), ..pair.vmm.identity().clone() };
    let mut intruder = Initiator::new(identity, 108, 5);
    intruder.secure(security(with_keys(Mode::Required, &[1]), 9));
    let mut out = Outputs::new();
    intruder.connect(pair.now, &mut out);
    let bytes = out.poll_packet().unwrap();
    let packet = Packet::decode(&bytes).unwrap();
    let syn = VmmSyn::parse(packet.payload).unwrap();
    let reception = Reception {
        vm: other,
        addresses: ADDRESSES,
        authentication: &pair.authentication.clone(),
        gives_way: false,
        nonce: pair.nonces.next_nonce(),
        seed: 1,
    };
    let outcome = pair.hm.handle_syn(pair.now, &packet, &syn, &pair.identity, &reception, &mut pair.hm_out);
    assert_eq!(outcome, SynOutcome::Refused(Refusal::AnotherVm(VM)));
    assert_eq!(pair.hm_out.poll_packet(), None);
}

///
#[test]
fn a_syn_with_a_trailer_is_not_taken() {
    let keys = with_keys(Mode::Required, &[1]);
    let mut pair = Pair::new(12, PERFECT).secure(keys.clone(), keys);
    pair.connect();
    let syn = pair.vmm_out.poll_packet().unwrap();
    let trailer = Some(crate::wire::Trailer { key_id: 1, count: 1, tag: [0; 16] });
    let packet = Packet::decode(&syn).unwrap();
    let sealed = Packet { trailer, ..packet }.encode();
    pair.transmit(End::Hm, sealed);
    pair.run(1);
    assert_eq!(pair.discards(End::Hm), [Discard::Flags]);
    assert!(!pair.hm.is_open());
}

///
#[test]
fn a_key_that_the_hm_has_not_yet_gives_way_to_the_older_one() {
    let mut pair =
        Pair::new(13, PERFECT).secure(with_keys(Mode::Required, &[1, 2]), with_keys(Mode::Required, &[1]));
    pair.connect();
    pair.run(2000);
    assert!(!pair.vmm.is_open());
    pair.connect();
    pair.run(5);
    assert_eq!(pair.vmm.security(), Some((BOTH, id(1))));
}

///
#[test]
fn forged_replayed_and_plain_packets_are_dropped_and_never_answered() {
    let mut pair = Pair::required(6);
    let beat = pair.beat();
    pair.transmit(End::Hm, beat.clone());
    pair.run(1);
    assert_eq!(pair.heartbeats(), 1);
    let (sent, events) = (pair.sent, pair.events.len());
    let plain = Packet { trailer: None, ..Packet::decode(&beat).unwrap() };
    let plain = Packet { flags: plain.flags.without(Flags::AUTH), ..plain }.encode();
    let mut forged = beat.clone();
    *forged.last_mut().unwrap() ^= 1;
    make_checksum_right(&mut forged);
    for bytes in [beat, forged, plain] {
        pair.transmit(End::Hm, bytes);
    }
    pair.run(1);
    assert_eq!(pair.sent, sent + 3, "something was answered");
    let expected = [Discard::Replayed, Discard::Forged, Discard::Unauthenticated];
    let discarded: Vec<_> = expected.map(|reason| (End::Hm, Event::Discarded(reason))).into();
    assert_eq!(pair.events[events..], discarded);
    // On a path without authentication a trailer is not taken either.
    let mut pair = Pair::new(6, PERFECT).open();
    let trailer = Some(crate::wire::Trailer { key_id: 1, count: 1, tag: [0; 16] });
    let flags = Flags::BEG | Flags::END | Flags::PRI | Flags::AUTH;
    let sealed = Packet { trailer, ..Packet::plain(Version::V2_1, 1, flags, b"HB:") };
    pair.transmit(End::Hm, sealed.encode());
    pair.run(1);
    assert_eq!(pair.discards(End::Hm), [Discard::Authenticated]);
}

///
#[test]
fn a_retransmission_takes_a_new_count_and_is_accepted() {
    let mut pair = Pair::required(7);
    pair.send(End::Vmm, 1, b"lost");
    let first = pair.vmm_out.poll_packet().unwrap();
    pair.run(60);
    assert_eq!(pair.received_tokens(End::Hm), [1]);
    // The lost one comes late: its count was overtaken.
    pair.transmit(End::Hm, first);
    pair.run(1);
    assert_eq!(pair.discards(End::Hm), [Discard::Replayed]);
}

///
#[test]
fn a_restored_guest_is_heard_again_after_its_next_handshake() {
    let mut pair = Pair::required(8);
    for _ in 0..100 {
        let beat = pair.beat();
        pair.transmit(End::Hm, beat);
    }
    pair.run(1);
    assert_eq!(pair.heartbeats(), 100);
    // Back to a snapshot taken long before: a path of its own, whose counts the HM does not know.
    pair.restart_vmm(with_keys(Mode::Required, &[1]));
    pair.run(5);
    let beat = pair.beat();
    pair.transmit(End::Hm, beat);
    pair.run(1);
    assert_eq!(pair.heartbeats(), 101);
}

///
#[test]
fn keys_are_rotated_without_losing_a_heartbeat_or_a_message() {
    let mut pair = Pair::required(9);
    // The HM learns the new key first, then the VMM, which shakes hands beside the open path.
    pair.authentication = with_keys(Mode::Required, &[1, 2]);
    pair.vmm.secure(security(with_keys(Mode::Required, &[1, 2]), 5));
    pair.send(End::Vmm, 1, &[b'x'; 2000]);
    pair.connect();
    let mut beats = 0;
    while pair.vmm.security() != Some((BOTH, id(2))) || pair.hm.security() != Some((BOTH, id(2))) {
        beats += 1;
        pair.vmm.send_heartbeat(&mut pair.vmm_out);
        pair.run(1);
        assert!(beats < 1000, "not rotated");
    }
    pair.run(200);
    assert_eq!(pair.heartbeats(), beats);
    // Handed back when its channel was replaced, or delivered: not lost.
    let told = [pair.tokens(End::Vmm, delivered), pair.tokens(End::Vmm, handed_back)].concat();
    assert_eq!(told, [1]);
    assert!(!pair.discards(End::Hm).contains(&Discard::Forged));
    assert!(!pair.discards(End::Vmm).contains(&Discard::Forged));
}

///
#[test]
fn while_the_ends_change_over_a_heartbeat_counts_and_nothing_looks_forged() {
    let mut pair = Pair::required(10);
    let (old_beat, late_beat) = (pair.beat(), pair.beat());
    pair.connect();
    pair.run(0);
    pair.drain();
    pair.deliver_quietly();
    pair.drain();
    pair.deliver_quietly();
    // The VMM has the new channel; its acknowledgement is still on its way to the HM.
    let acknowledgement = pair.vmm_out.poll_packet().unwrap();
    let new_beat = pair.beat();
    for bytes in [old_beat, new_beat, acknowledgement] {
        pair.transmit(End::Hm, bytes);
        pair.deliver_quietly();
    }
    // The acknowledgement was overtaken by the beat: it is asked for again.
    pair.run(60);
    pair.transmit(End::Hm, late_beat);
    pair.run(1);
    assert_eq!(pair.heartbeats(), 2);
    assert_eq!(pair.discards(End::Hm), [Discard::Replayed, Discard::Stale]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// As without authentication, and with tampering that leaves the checksum right: nothing wrong is delivered.
    #[test]
    fn authenticated_messages_arrive_unchanged_once_and_in_order_or_come_back(
        seed: u64, loss in 0u32..300, duplication in 0u32..300, tampering in 0u32..200, delay in 0u64..20,
        lengths in prop::collection::vec(0usize..1500, 1..8), from_vmm: bool,
        handshakes in prop::collection::vec((1u64..500, 1u8..4), 0..3),
    ) {
        let mut pair = Pair::required(seed);
        pair.authentication = with_keys(Mode::Required, &[1, 2]);
        pair.faults = Faults { loss, duplication, corruption: 0, tampering, delay };
        let (from, to) = if from_vmm { (End::Vmm, End::Hm) } else { (End::Hm, End::Vmm) };
        for (token, length) in (1u64..).zip(&lengths) {
            pair.send(from, token, &vec![b'x'; *length]);
        }
        for (ticks, key) in handshakes {
            pair.run(ticks);
            pair.vmm.secure(security(with_keys(Mode::Required, &[key]), key));
            pair.connect();
        }
        pair.run(20_000);
        let mut said = [pair.tokens(from, delivered), pair.tokens(from, handed_back)].concat();
        said.sort_unstable();
        prop_assert_eq!(said, (1..=lengths.len() as u64).collect::<Vec<_>>());
        let received = pair.received_tokens(to);
        prop_assert!(received.is_sorted_by(|one, next| one < next), "{:?}", received);
        prop_assert!(pair.tokens(from, delivered).iter().all(|token| received.contains(token)));
        for (_, payload) in &pair.received {
            let Some(Message::Report { tag, xml }) = Message::parse(payload) else { panic!("changed") };
            prop_assert_eq!(xml.len(), lengths[usize::try_from(tag).unwrap() - 1]);
            prop_assert!(xml.iter().all(|byte| *byte == b'x'));
        }
    }

    /// Either end is restarted at any time: what the surviving end was told is true, and nothing comes twice to one
    /// incarnation of an end.
    #[test]
    fn restarts_of_either_end_lose_nothing_that_was_acknowledged(
        seed: u64, secured: bool, loss in 0u32..300, duplication in 0u32..300, delay in 0u64..20,
        steps in prop::collection::vec((0u8..4, 1u64..400, 0usize..600), 1..12),
    ) {
        let keys = if secured { with_keys(Mode::Required, &[1]) } else { Authentication::NONE };
        let mut pair = Pair::new(seed, PERFECT).secure(keys.clone(), keys.clone()).open();
        pair.faults = Faults { loss, duplication, corruption: 0, tampering: 0, delay };
        let mut token = 0;
        // Tokens of messages whose sender is still there.
        let mut owed = Vec::new();
        let mut received_before = 0;
        for (step, ticks, length) in steps {
            match step {
                0 => {
                    pair.restart_hm();
                    owed.retain(|(end, _)| *end == End::Vmm);
                    received_before = pair.received.len();
                }
                1 => {
                    pair.restart_vmm(keys.clone());
                    owed.retain(|(end, _)| *end == End::Hm);
                    received_before = pair.received.len();
                }
                _ => {
                    token += 1;
                    let from = if step == 2 { End::Vmm } else { End::Hm };
                    pair.send(from, token, &vec![b'x'; length]);
                    owed.push((from, token));
                }
            }
            pair.run(ticks);
            for end in [End::Vmm, End::Hm] {
                let at: Vec<u64> = pair.received[received_before..].iter().filter(|(at, _)| *at == end)
                    .map(|(_, payload)| match Message::parse(payload) {
                        Some(Message::Report { tag, .. }) => u64::try_from(tag).unwrap(),
                        other => panic!("{other:?}"),
                    }).collect();
                prop_assert!(at.is_sorted_by(|one, next| one < next), "{:?}", at);
            }
        }
        pair.run(20_000);
        for (from, token) in owed {
            let to = if from == End::Vmm { End::Hm } else { End::Vmm };
            let was_delivered = pair.tokens(from, delivered).contains(&token);
            let came_back = pair.tokens(from, handed_back).contains(&token);
            prop_assert!(was_delivered != came_back, "{from:?} {token}: {was_delivered} {came_back}");
            prop_assert!(!was_delivered || pair.received_tokens(to).contains(&token));
        }
    }
}
