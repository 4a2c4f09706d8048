//! What an end with an open channel does: receiving, sending in packets, sending again.

use std::time::Duration;

use serde_json::Value;
use vmpulse_protocol::message::Message;
use vmpulse_protocol::path::{Event, Outputs, Token};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet};

use crate::ends::{HmEnd, RUNNING, VmmEnd, drain, events, packet, renumbered};
use crate::files::{byte, bytes, from_hex, list, number, text, vectors};

/// What happened to a packet, in the words of the vectors, and the message that it made whole.
fn result(out: &mut Outputs) -> (&'static str, Option<Event>) {
    let answers = drain(out);
    let mut happened = events(out);
    let event = happened.pop();
    assert!(happened.is_empty(), "more than one thing happened: {happened:?}, {event:?}");
    match (&event, answers.len()) {
        (None, 1) => ("acknowledge", None),
        (None, 0) => ("taken", None),
        (Some(Event::Message { .. }), 0) => ("deliver", event),
        (Some(Event::Heartbeat { .. }), 0) => ("alive", None),
        (Some(Event::Discarded(reason)), 0) => (reason.as_str(), None),
        (other, answers) => panic!("{other:?} and {answers} answers"),
    }
}

/// [A-2] [A-3] [A-4] [A-8] [A-9] [A-11] [B-3] [N-3] [N-5] [N-7]
#[test]
fn packets_are_received_as_described() {
    for vector in vectors("receiving") {
        let mut end = HmEnd::open(byte(&vector, "first"));
        for step in list(&vector, "steps") {
            let now = Instant::from_millis(number(step, "at_ms"));
            end.responder.handle_timeout(now, &mut end.out);
            end.take(now, &bytes(step, "hex"));
            let (happened, event) = result(&mut end.out);
            assert_eq!(happened, text(step, "result"), "{step} of {:?}", vector["name"]);
            if let Some(Event::Message { delivery, .. }) = event {
                match text(step, "owner") {
                    "accept" => {
                        end.responder.accept(delivery, &mut end.out);
                        assert_eq!(result(&mut end.out).0, "acknowledge", "{step}");
                    }
                    "refuse" => end.responder.refuse(delivery),
                    "wait" => {}
                    other => panic!("an owner cannot {other}"),
                }
            }
        }
    }
}

/// [N-1] [N-4]
#[test]
fn messages_are_put_together() {
    for vector in vectors("fragments") {
        let packets: Vec<Vec<u8>> = hexes(&vector, "packets");
        let mut end = HmEnd::open(byte(&vector, "first_number"));
        let mut delivered = 0;
        for arrival in list(&vector, "arrivals") {
            end.take(Instant::ZERO, &packets[usize::try_from(number(arrival, "packet")).unwrap()]);
            let (happened, event) = result(&mut end.out);
            assert_eq!(happened, text(arrival, "result"), "{arrival} of {:?}", vector["name"]);
            if let Some(Event::Message { delivery, payload }) = event {
                assert_eq!(payload, bytes(&vector, "message"));
                end.responder.accept(delivery, &mut end.out);
                drain(&mut end.out);
                delivered += 1;
            }
        }
        assert_eq!(delivered, 1, "{:?}", vector["name"]);
    }
}

/// [N-4] [N-6] [C-7] [S-17]
#[test]
fn messages_are_cut_into_packets() {
    for vector in vectors("fragments") {
        let payload = bytes(&vector, "message");
        let message = Message::parse(&payload).unwrap();
        let mtu = usize::try_from(number(&vector, "mtu")).unwrap();
        let (mut end, first) = VmmEnd::open(Instant::ZERO, mtu);
        let by = first.wrapping_sub(byte(&vector, "first_number"));
        end.initiator.send(Instant::ZERO, Token(1), &message, &mut end.out);
        let (mut sent, mut answered) = (Vec::new(), 0);
        loop {
            sent.extend(drain(&mut end.out));
            assert!(
                sent.len() <= answered + 32,
                "{:?}: {} sent, {answered} acknowledged",
                vector["name"],
                sent.len()
            );
            let Some(next) = sent.get(answered) else { break };
            end.take(Instant::ZERO, &packet(RUNNING, Flags::ACK, next[2], b""));
            answered += 1;
        }
        let expected: Vec<Vec<u8>> =
            hexes(&vector, "packets").iter().map(|packet| renumbered(packet, by)).collect();
        assert_eq!(sent, expected, "{:?}", vector["name"]);
        assert_eq!(events(&mut end.out), [Event::Delivered(Token(1))]);
    }
}

///
#[test]
fn what_is_not_acknowledged_is_sent_again_and_handed_back() {
    let vector = &vectors("repetition")[0];
    let start = Instant::from_millis(1000);
    let (mut end, _) = VmmEnd::open(start, 1500);
    end.initiator.send(start, Token(1), &Message::Suspend, &mut end.out);
    let mut sent = vec![(0, drain(&mut end.out))];
    let mut now = start;
    while end.initiator.is_open() {
        now = end.initiator.poll_timeout().unwrap();
        end.initiator.handle_timeout(now, &mut end.out);
        let packets = drain(&mut end.out);
        if !packets.is_empty() {
            sent.push((now.since(start).as_millis(), packets));
        }
    }
    let times: Vec<Value> = sent.iter().map(|(at, _)| Value::from(u64::try_from(*at).unwrap())).collect();
    assert_eq!(times, list(vector, "sent_at_ms"));
    assert!(sent.iter().all(|(_, packets)| *packets == sent[0].1), "the same each time");
    assert_eq!(now.since(start), Duration::from_millis(number(vector, "unanswered_at_ms")));
    assert!(matches!(
        events(&mut end.out)[..],
        [Event::HandedBack { token: Token(1), .. }, Event::Closed(_)]
    ));
    assert!(Packet::decode(&sent[0].1[0]).is_ok());
}

fn hexes(vector: &Value, key: &str) -> Vec<Vec<u8>> {
    list(vector, key).iter().map(|packet| from_hex(packet.as_str().unwrap())).collect()
}
