//! A guardian that beats in the agent's place: numbers drawn by two, and messages that wait.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::auth::{Key, KeyId, Mode, Sealer};

/// What daemon and guardian share.
#[derive(Debug)]
struct Shared {
    urgent: AtomicU64,
    count: AtomicU64,
}

impl Draw for Shared {
    fn next_urgent(&self) -> u8 {
        u8::try_from(self.urgent.fetch_add(1, Ordering::Relaxed) % 256).unwrap()
    }

    fn next_count(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

impl Pair {
    fn authenticated() -> Self {
        let id = KeyId::new(1).unwrap();
        let keys = Authentication::new(Mode::Required, [(id, Key::from_bytes([1; 32]))]);
        let mut pair = Self::new(1, PERFECT);
        pair.vmm.secure(VmmSecurity {
            authentication: keys.clone(),
            addresses: ADDRESSES,
            nonces: Nonces::new(&[2; 32]),
        });
        pair.authentication = keys;
        pair.open()
    }

    /// What the guardian has of the channel.
    fn hand_over(&mut self) -> (Sending, Arc<Shared>) {
        let sending = self.vmm.sending().unwrap();
        let (urgent, count) = (u64::from(sending.next_urgent).into(), sending.next_count.into());
        let shared = Arc::new(Shared { urgent, count });
        self.vmm.share(shared.clone());
        (sending, shared)
    }

    fn guardian_beats(&mut self, (sending, shared): &(Sending, Arc<Shared>), payload: &[u8]) {
        let flags = Flags::BEG | Flags::END | Flags::PRI;
        let packet = Packet::plain(sending.version, shared.next_urgent(), flags, payload);
        let bytes = match &sending.key {
            Some((id, key)) => Sealer::new(key.bytes(), *id).sealed(&packet, shared.next_count()).encode(),
            None => packet.encode(),
        };
        self.transmit(End::Hm, bytes);
        self.run(1);
    }

    fn at_hm(&self) -> Vec<&Event> {
        self.events.iter().filter(|(end, _)| *end == End::Hm).map(|(_, event)| event).collect()
    }
}

/// [N-1]
#[test]
fn daemon_and_guardian_in_turn_use_no_number_and_no_count_twice() {
    let mut pair = Pair::authenticated();
    pair.vmm.send_heartbeat(&mut pair.vmm_out);
    pair.run(1);
    let handed_over = pair.hand_over();
    pair.events.clear();
    for turn in 0..600 {
        if turn % 3 == 0 {
            pair.vmm.send_heartbeat(&mut pair.vmm_out);
            pair.run(1);
        } else {
            pair.guardian_beats(&handed_over, b"HB:");
        }
        if turn % 100 == 50 {
            let message = Message::Quiet { ms: 1000, reason: "freeze" };
            pair.vmm.send(pair.now, Token(turn), &message, &mut pair.vmm_out);
            pair.run(2);
        }
    }
    let events = pair.at_hm();
    let beats = events.iter().filter(|event| matches!(event, Event::Heartbeat { guardian: false })).count();
    let discarded: Vec<_> = events.iter().filter(|event| matches!(event, Event::Discarded(_))).collect();
    assert_eq!((beats, discarded.len()), (600, 0), "{discarded:?}");
    let messages = pair.received.iter().filter(|(end, _)| *end == End::Hm).count();
    assert_eq!(messages, 6, "urgent messages are told from repetitions");
}

/// [M-14]
#[test]
fn while_the_guardian_beats_messages_to_the_agent_wait_for_however_long() {
    let mut pair = Pair::new(1, PERFECT).open();
    let handed_over = pair.hand_over();
    // One is under way when the agent hangs.
    pair.send(End::Hm, 1, b"first");
    while pair.hm_out.poll_packet().is_some() {}
    pair.guardian_beats(&handed_over, b"HB:G");
    assert!(pair.hm.is_held());
    pair.send(End::Hm, 2, b"second");
    let sent = pair.sent;
    for _ in 0..30 {
        pair.guardian_beats(&handed_over, b"HB:G");
        pair.run(100);
    }
    assert_eq!(pair.sent - sent, 30, "the guardian's heartbeats, and nothing else");
    assert_eq!(pair.received, []);
    pair.events.clear();
    pair.vmm.send_heartbeat(&mut pair.vmm_out);
    pair.run(5);
    assert!(!pair.hm.is_held());
    let received: Vec<&[u8]> = pair.received.iter().map(|(_, payload)| payload.as_slice()).collect();
    assert_eq!(received, [&b"PMSG_RSP:1:first"[..], b"PMSG_RSP:2:second"]);
    let delivered = pair.at_hm().into_iter().filter(|event| matches!(event, Event::Delivered(_))).count();
    assert_eq!(delivered, 2);
}

/// [M-14]
#[test]
fn a_new_handshake_ends_the_waiting() {
    let mut pair = Pair::new(1, PERFECT).open();
    let handed_over = pair.hand_over();
    pair.guardian_beats(&handed_over, b"HB:G");
    pair.connect();
    pair.run(3);
    assert!(pair.hm.is_open() && !pair.hm.is_held());
    pair.send(End::Hm, 1, b"now");
    pair.run(3);
    assert_eq!(pair.received.len(), 1);
}

#[test]
fn only_an_authenticated_channel_hands_over_a_key() {
    let plain = Pair::new(1, PERFECT).open();
    assert_eq!(plain.vmm.sending().unwrap().key, None);
    let secured = Pair::authenticated();
    let sending = secured.vmm.sending().unwrap();
    // One was used for the acknowledgement of the HM's SYN.
    assert_eq!((sending.next_urgent, sending.next_count, sending.version), (0, 2, Version::V2_1));
    assert_eq!(alloc::format!("{:?}", sending.key.unwrap().1), "SendingKey");
}
