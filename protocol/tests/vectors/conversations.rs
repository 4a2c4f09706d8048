//! Whole conversations: each end of the crate plays its part against the other's packets.
//!
//! The crate draws its numbers and marks, so what it sends is compared with its numbers moved to those of the file.

use serde_json::Value;
use vmpulse_protocol::message::{Message, VmmSyn};
use vmpulse_protocol::path::{Event, Outputs, Token};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet};

use crate::ends::{HmEnd, VmmEnd, drain, events, renumbered, value};
use crate::files::{bytes, list, text, vectors};

const NOW: Instant = Instant::ZERO;

/// One of the two, with how far its numbers are from those of the file.
enum End {
    Hm(Box<HmEnd>, Option<u8>),
    Vmm(Box<VmmEnd>, Option<u8>),
}

impl End {
    const fn name(&self) -> &'static str {
        match self {
            Self::Hm(..) => "hm",
            Self::Vmm(..) => "vmm",
        }
    }

    const fn out(&mut self) -> &mut Outputs {
        match self {
            Self::Hm(end, _) => &mut end.out,
            Self::Vmm(end, _) => &mut end.out,
        }
    }

    const fn offset(&mut self) -> &mut Option<u8> {
        match self {
            Self::Hm(_, offset) | Self::Vmm(_, offset) => offset,
        }
    }

    /// Takes the other end's packet; acknowledgements of normal packets and SYNs name our own numbers. Messages are accepted.
    fn take(&mut self, data: &[u8]) {
        let packet = Packet::decode(data).unwrap();
        let ours = packet.has(Flags::ACK) && !packet.has(Flags::PRI);
        let mut data = renumbered(data, if ours { self.offset().unwrap() } else { 0 });
        if let (Self::Vmm(end, _), true) = (&*self, packet.has(Flags::SYN | Flags::END)) {
            data = answering(&data, end);
        }
        match self {
            Self::Hm(end, _) => end.take(NOW, &data),
            Self::Vmm(end, _) => end.take(NOW, &data),
        }
        for event in events(self.out()) {
            if let Event::Message { delivery, .. } = event {
                match self {
                    Self::Hm(end, _) => end.responder.accept(delivery, &mut end.out),
                    Self::Vmm(end, _) => end.initiator.accept(delivery, &mut end.out),
                }
            }
        }
    }

    /// Begins to say something of its own accord.
    fn say(&mut self, packet: &Packet<'_>) {
        match self {
            Self::Vmm(end, _) if packet.has(Flags::SYN) => end.initiator.connect(NOW, &mut end.out),
            Self::Vmm(end, _) if !packet.has(Flags::ACKR) => end.initiator.send_heartbeat(&mut end.out),
            Self::Vmm(end, _) => {
                let message = Message::parse(packet.payload).unwrap();
                end.initiator.send(NOW, Token(1), &message, &mut end.out);
            }
            Self::Hm(end, _) => {
                let message = Message::parse(packet.payload).unwrap();
                end.responder.send(NOW, Token(1), &message, &mut end.out);
            }
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Hm(end, _) => end.responder.is_open(),
            Self::Vmm(end, _) => end.initiator.is_open(),
        }
    }
}

/// The file's SYN of the HM repeats the file's mark; the crate's VMM has drawn its own.
fn answering(data: &[u8], end: &VmmEnd) -> Vec<u8> {
    let Some(mark) = &end.mark else { return data.to_vec() };
    let packet = Packet::decode(data).unwrap();
    let Some(repeated) = value(packet.payload, "re") else { return data.to_vec() };
    let payload = std::str::from_utf8(packet.payload)
        .unwrap()
        .replace(&format!("re={repeated}"), &format!("re={mark}"));
    let Packet { version, number, flags, .. } = packet;
    crate::ends::packet([version.major, version.minor], flags, number, payload.as_bytes())
}

/// Compares what an end sent with what the file says; a SYN by its keys, without those that are drawn.
fn compare(end: &mut End, sent: &[u8], step: &Value) {
    let expected = bytes(step, "hex");
    let (ours, theirs) = (Packet::decode(sent).unwrap(), Packet::decode(&expected).unwrap());
    if theirs.has(Flags::SYN | Flags::ACKR) {
        *end.offset() = Some(ours.number.wrapping_sub(theirs.number));
        assert_eq!((ours.flags, ours.version), (theirs.flags, theirs.version), "{step}");
        for key in [
            "uuid",
            "ostype",
            "verVmmLower",
            "verVmmUpper",
            "verHmRunning",
            "versionConflict",
            "verHmLower",
            "verHmUpper",
        ] {
            assert_eq!(value(ours.payload, key), value(theirs.payload, key), "{key} of {step}");
        }
        return;
    }
    let drawn = theirs.has(Flags::ACKR) && !theirs.has(Flags::PRI);
    let by = if drawn { end.offset().unwrap() } else { 0 };
    assert_eq!(sent, renumbered(&expected, by), "{step}");
}

fn play(vector: &Value, mut end: End) {
    let mut waiting = Vec::new();
    for step in list(vector, "steps") {
        let data = bytes(step, "hex");
        let packet = Packet::decode(&data).unwrap();
        if packet.has(Flags::HEL) {
            // For the owner of the path.
            continue;
        }
        if text(step, "from") != end.name() {
            assert!(waiting.is_empty(), "unexpected before {step}: {waiting:?}");
            end.take(&data);
            waiting = drain(end.out());
            continue;
        }
        if waiting.is_empty() {
            end.say(&packet);
            waiting = drain(end.out());
        }
        assert!(!waiting.is_empty(), "nothing sent at {step}");
        let sent = waiting.remove(0);
        if let (End::Vmm(vmm, _), true) = (&mut end, packet.has(Flags::SYN | Flags::BEG)) {
            vmm.mark = value(&sent[8..], "n");
        }
        compare(&mut end, &sent, step);
    }
    assert!(waiting.is_empty(), "{waiting:?}");
    assert_eq!(end.is_open(), !vector["running"].is_null(), "{:?}", vector["name"]);
}

/// [S-1] [S-9] [S-10] [S-16] [S-17] [A-1] [N-1]
#[test]
fn the_host_monitor_plays_its_part() {
    for vector in vectors("handshake") {
        play(&vector, End::Hm(Box::new(HmEnd::new()), None));
    }
}

/// [S-1] [S-9] [S-10] [S-16] [S-17] [A-1] [N-1]
#[test]
fn the_vmm_plays_its_part() {
    for vector in vectors("handshake") {
        let syn = list(&vector, "steps")
            .iter()
            .find(|step| step["flags"][2] == "SYN" && step["from"] == "vmm")
            .unwrap();
        let syn = VmmSyn::parse(text(syn, "text").as_bytes()).unwrap();
        play(&vector, End::Vmm(Box::new(VmmEnd::new(syn.lower, syn.upper, 1500)), None));
    }
}
