//! A VMM that is set back to an earlier state, as a guest is by a snapshot: it uses numbers again.

use super::*;

const SUSPEND: &[u8] = b"SUSPEND";
const RESUME: &[u8] = b"RESUME";

impl Pair {
    fn say(&mut self, token: u64, message: &Message<'_>) {
        self.vmm.send(self.now, Token(token), message, &mut self.vmm_out);
    }

    /// While this is done the VMM stands still: what was on its way is lost.
    fn revert(&mut self, snapshot: &Initiator) {
        self.vmm = snapshot.clone();
        self.vmm_out = Outputs::new();
        self.wire.clear();
    }

    /// What a message of the VMM is acknowledged for is what the HM has heard last.
    fn is_known(&self, token: u64, payload: &[u8]) -> bool {
        let known = self.events.contains(&(End::Vmm, Event::Delivered(Token(token))));
        let last = self.received.iter().rfind(|(end, _)| *end == End::Hm);
        assert!(!known || last.is_some_and(|(_, heard)| heard == payload), "{last:?}");
        known
    }

    /// Says it again on the next channel, as an agent does.
    fn say_until_known(&mut self, token: u64, message: &Message<'_>) {
        let payload = message.encode();
        for _ in 0..4 {
            self.run(1700);
            if self.is_known(token, &payload) {
                return;
            }
            self.connect();
            self.run(2);
            self.say(token, message);
        }
        panic!("never known");
    }
}

///
#[test]
fn another_message_with_the_number_of_one_that_was_heard_is_not_acknowledged() {
    let mut pair = Pair::new(1, PERFECT).open();
    let snapshot = pair.vmm.clone();
    pair.say(1, &Message::Suspend);
    pair.run(2);
    assert!(pair.is_known(1, SUSPEND));
    pair.revert(&snapshot);
    pair.say(2, &Message::Resume);
    pair.say_until_known(2, &Message::Resume);
}

/// [A-11] [N-6]
#[test]
fn a_message_that_was_said_before_the_last_one_is_not_acknowledged() {
    let mut pair = Pair::new(1, PERFECT).open();
    let snapshot = pair.vmm.clone();
    pair.say(1, &Message::Suspend);
    pair.say(2, &Message::Resume);
    pair.run(2);
    assert!(pair.is_known(2, RESUME));
    pair.revert(&snapshot);
    pair.say(3, &Message::Suspend);
    pair.say_until_known(3, &Message::Suspend);
}

///
#[test]
fn what_was_heard_last_is_acknowledged_again() {
    let mut pair = Pair::new(1, PERFECT).open();
    let snapshot = pair.vmm.clone();
    pair.say(1, &Message::Suspend);
    pair.run(2);
    pair.revert(&snapshot);
    pair.say(2, &Message::Suspend);
    pair.run(2);
    assert!(pair.is_known(2, SUSPEND));
    assert_eq!(pair.received.len(), 1, "delivered once");
}

///
#[test]
fn an_acceptance_that_comes_late_is_not_taken_for_that_of_another_message() {
    let mut pair = Pair::new(1, PERFECT).open();
    let snapshot = pair.vmm.clone();
    let hear = |pair: &mut Pair| {
        let bytes = pair.vmm_out.poll_packet().unwrap();
        let packet = Packet::decode(&bytes).unwrap();
        pair.hm.handle_packet(pair.now, &packet, &pair.identity, &mut pair.hm_out);
        pair.hm_out.poll_event().unwrap()
    };
    pair.say(1, &Message::Suspend);
    let Event::Message { delivery, .. } = hear(&mut pair) else { panic!("no message") };
    pair.revert(&snapshot);
    pair.say(2, &Message::Resume);
    assert_eq!(hear(&mut pair), Event::Discarded(Discard::Duplicate));
    pair.hm.accept(delivery, &mut pair.hm_out);
    assert_eq!(pair.hm_out.poll_packet(), None);
}

/// of several packets, all but one of them as they were.
#[test]
fn a_long_message_that_differs_in_one_packet_is_not_put_together_with_another() {
    let mut pair = Pair::new(1, PERFECT).open();
    let snapshot = pair.vmm.clone();
    let [first, second] = [b'a', b'b'].map(|end| [vec![b'x'; 450], vec![end]].concat());
    pair.send(End::Vmm, 1, &first);
    pair.run(2);
    pair.revert(&snapshot);
    let report = Message::Report { tag: 1, xml: &second };
    pair.say(2, &report);
    pair.say_until_known(2, &report);
}

proptest! {
    /// Whenever and as often as it is set back, a VMM is never told that something is known while the HM has heard something else
    /// since.
    #[test]
    fn what_is_acknowledged_was_heard_last(seed: u64, steps in prop::collection::vec((0u8..6, 1u64..600), 1..40)) {
        let mut pair = Pair::new(seed, PERFECT).open();
        let mut snapshot = pair.vmm.clone();
        let mut said: Option<(u64, Vec<u8>)> = None;
        for (token, (step, ticks)) in (1..).zip(steps) {
            let message = match step {
                0 => {
                    snapshot = pair.vmm.clone();
                    None
                }
                1 | 2 => {
                    pair.revert(&snapshot);
                    None
                }
                3 => Some(Message::Suspend),
                4 => Some(Message::Resume),
                _ => Some(Message::Doorbell(Doorbell::STATUS)),
            };
            if let Some(message) = message {
                pair.say(token, &message);
                said = Some((token, message.encode()));
            }
            // What waits is said before what comes next, so only the last is looked at.
            pair.run(ticks);
            if let Some((token, payload)) = &said {
                pair.is_known(*token, payload);
            }
            said = None;
            if !pair.vmm.is_open() {
                pair.connect();
            }
        }
    }
}
