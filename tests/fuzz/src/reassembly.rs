//! One end of an open path, and a peer that sends packets of messages as it likes: any order, any numbers, any sizes,
//! beginnings without ends, ends without beginnings, repetitions, acknowledgements of nothing.
//!
//! Every packet carries a serial number of its own, so that a delivered message tells what it was made of. It must have
//! been made of packets with consecutive numbers, of which the first was a beginning, the last an end and none anything
//! else; no packet is in two messages. What waits for its rest is bounded, and gone after its time.

use std::collections::{BTreeSet, VecDeque};
use std::iter;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, Nonces};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::message::VmmSyn;
use vmpulse_protocol::path::{
    DELIVERIES_MAXIMUM, Delivery, Event, HISTORY_LENGTH, HmIdentity, Initiator, MESSAGE_MAXIMUM, Outputs,
    PARTIALS_MAXIMUM, Reception, Responder, VmmIdentity,
};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet, Version};

use crate::trace::trace;

/// Packets of one input: more than numbers there are.
const PACKETS_MAXIMUM: usize = 600;
/// What one path may hold of incomplete messages; only normal ones have more than one packet.
const PARTIAL_BYTES: usize = PARTIALS_MAXIMUM * MESSAGE_MAXIMUM;
/// Payloads: with nothing in them, with a serial number, of usual and of the greatest size.
const LENGTHS: [usize; 8] = [0, 4, 4, 40, 100, 1492, 9000, 65_535];
/// Of a packet's serial number.
const SERIAL_LENGTH: usize = 4;

const VM: VmUuid = VmUuid::from_bytes([0x61; 16]);
const ADDRESSES: Addresses =
    Addresses { vmm: MacAddr(0x52, 0x54, 0, 0, 0, 1), hm: MacAddr(0x52, 0x54, 0, 0, 0, 2) };

/// Runs the packets that these bytes say.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    // Reading fails only at the end of the bytes, which is the end of the packets.
    let _ = play(&mut bytes);
}

fn play(bytes: &mut Unstructured<'_>) -> Result<()> {
    let mut world = World::new(bytes.arbitrary::<u8>()? & 1 == 0);
    for _ in 0..PACKETS_MAXIMUM {
        if bytes.is_empty() {
            break;
        }
        world.operation(bytes.arbitrary()?);
        world.check();
    }
    world.end();
    Ok(())
}

/// A packet as it was sent.
struct Sent {
    number: u8,
    begin: bool,
    end: bool,
    urgent: bool,
    length: usize,
}

struct World {
    now: Instant,
    /// The victim is the HM's end, else the VMM's.
    hm_is_victim: bool,
    vmm: Initiator,
    hm: Responder,
    outputs: [Outputs; 2],
    /// What the victim expects next, by its peer's SYN.
    next: u8,
    sent: Vec<Sent>,
    /// Sent again they are known, as long as the path is the same and not much else came.
    recent: VecDeque<Vec<u8>>,
    delivered: BTreeSet<usize>,
    held: VecDeque<(Delivery, Vec<usize>)>,
    holding: bool,
    handshakes: u64,
}

const fn identity() -> HmIdentity {
    let uuid = HostMonitorId::from_bytes([7; 16]);
    HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 }
}

impl World {
    fn new(hm_is_victim: bool) -> Self {
        let (lower, upper) = (Version::V2_0, Version::V2_1);
        let identity = VmmIdentity { uuid: VM.to_string(), os_type: "Linux".to_owned(), lower, upper };
        let mut world = Self {
            now: Instant::from_millis(1_000_000),
            hm_is_victim,
            vmm: Initiator::new(identity, 1500, 1),
            hm: Responder::new(),
            outputs: [Outputs::new(), Outputs::new()],
            next: 0,
            sent: Vec::new(),
            recent: VecDeque::new(),
            delivered: BTreeSet::new(),
            held: VecDeque::new(),
            holding: false,
            handshakes: 0,
        };
        world.open();
        world
    }

    /// A handshake by the rules.
    fn open(&mut self) {
        self.forget_path();
        self.handshakes += 1;
        self.vmm.connect(self.now, &mut self.outputs[0]);
        let mut quiet = false;
        while !quiet {
            quiet = true;
            while let Some(bytes) = self.outputs[0].poll_packet() {
                quiet = false;
                self.to_hm(&bytes);
            }
            while let Some(bytes) = self.outputs[1].poll_packet() {
                quiet = false;
                self.to_vmm(&bytes);
            }
        }
        self.drop_outputs();
        assert!(self.vmm.is_open() && self.hm.is_open());
    }

    fn forget_path(&mut self) {
        self.recent.clear();
        self.held.clear();
    }

    fn to_hm(&mut self, bytes: &[u8]) {
        let packet = Packet::decode(bytes).expect("made by the rules");
        if !packet.has(Flags::SYN | Flags::BEG) {
            return self.hm.handle_packet(self.now, &packet, &identity(), &mut self.outputs[1]);
        }
        if self.hm_is_victim {
            self.next = packet.number;
        }
        let syn = VmmSyn::parse(packet.payload).expect("made by the rules");
        let reception = Reception {
            vm: VM,
            addresses: ADDRESSES,
            authentication: &Authentication::NONE,
            gives_way: false,
            nonce: Nonces::new(&[1; 32]).next_nonce(),
            seed: self.handshakes,
        };
        self.hm.handle_syn(self.now, &packet, &syn, &identity(), &reception, &mut self.outputs[1]);
    }

    fn to_vmm(&mut self, bytes: &[u8]) {
        let packet = Packet::decode(bytes).expect("made by the rules");
        if !self.hm_is_victim && packet.has(Flags::SYN | Flags::END) {
            self.next = packet.number;
        }
        self.vmm.handle_packet(self.now, &packet, &mut self.outputs[0]);
    }

    fn drop_outputs(&mut self) {
        for out in &mut self.outputs {
            while out.poll_packet().is_some() {}
            while out.poll_event().is_some() {}
        }
    }

    /// `what`: a packet's flags in its upper bits, or another operation; `how`: number, size or time.
    fn operation(&mut self, [what, number, size]: [u8; 3]) {
        match what % 16 {
            0..=10 => self.packet(what, number as i8, LENGTHS[usize::from(size) % LENGTHS.len()]),
            11 => self.again(number),
            12 => self.pass(Duration::from_millis(40) * u32::from(number)),
            13 => self.decide(number & 1 == 0),
            14 => self.holding = !self.holding,
            _ => self.acknowledge(number, size),
        }
    }

    /// Mostly the next number, so that messages become whole now and then.
    fn packet(&mut self, what: u8, step: i8, length: usize) {
        let flags = Flags::from_bits(what & 0xf0).without(Flags::ACK | Flags::ACKR) | Flags::ACKR;
        let urgent = what & 0x40 != 0;
        let flags = if urgent { flags | Flags::PRI } else { flags };
        let odd = what % 16 > 7;
        let number = if odd { self.next.wrapping_add_signed(step) } else { self.next };
        if !odd {
            self.next = self.next.wrapping_add(1);
        }
        let mut payload = vec![0; length];
        if let Some(place) = payload.first_chunk_mut::<SERIAL_LENGTH>() {
            *place = (self.sent.len() as u32).to_be_bytes();
        }
        let (begin, end) = (flags.contains(Flags::BEG), flags.contains(Flags::END));
        self.sent.push(Sent { number, begin, end, urgent, length });
        let bytes = Packet::plain(Version::V2_1, number, flags, &payload).encode();
        if self.recent.len() >= HISTORY_LENGTH / 2 {
            self.recent.pop_front();
        }
        self.recent.push_back(bytes.clone());
        self.receive(&bytes);
    }

    fn again(&mut self, which: u8) {
        if !self.recent.is_empty() {
            let bytes = self.recent[usize::from(which) % self.recent.len()].clone();
            self.receive(&bytes);
        }
    }

    fn acknowledge(&mut self, number: u8, flags: u8) {
        let flags = Flags::from_bits(flags).without(Flags::SYN | Flags::HEL | Flags::AUTH) | Flags::ACK;
        let bytes = Packet::plain(Version::V2_1, number, flags, b"").encode();
        self.receive(&bytes);
    }

    fn receive(&mut self, bytes: &[u8]) {
        let packet = Packet::decode(bytes).expect("its checksum is right");
        trace(|| {
            format!("{} {:?} {} ({})", packet.number, packet.flags, self.sent.len(), packet.payload.len())
        });
        if self.hm_is_victim {
            self.hm.handle_packet(self.now, &packet, &identity(), &mut self.outputs[1]);
        } else {
            self.vmm.handle_packet(self.now, &packet, &mut self.outputs[0]);
        }
        self.drain();
    }

    /// What was sent long ago may be forgotten; it is not sent again.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        if time > Duration::from_secs(1) {
            self.recent.clear();
        }
        self.vmm.handle_timeout(self.now, &mut self.outputs[0]);
        self.hm.handle_timeout(self.now, &mut self.outputs[1]);
        let due = self.vmm.poll_timeout().into_iter().chain(self.hm.poll_timeout()).min();
        assert!(due.is_none_or(|due| due > self.now), "a timeout is due again at once");
        self.drain();
    }

    fn drain(&mut self) {
        let out = &mut self.outputs[usize::from(self.hm_is_victim)];
        let packets: Vec<_> = iter::from_fn(|| out.poll_packet()).collect();
        let events: Vec<_> = iter::from_fn(|| out.poll_event()).collect();
        assert!(packets.len() <= 1 && events.len() <= 1, "{packets:?} {events:?}");
        for event in events {
            trace(|| format!("{event:.60?}"));
            match event {
                Event::Message { delivery, payload } => self.on_message(delivery, &payload),
                Event::Closed(_) => self.open(),
                Event::Discarded(_) => {}
                other => panic!("{other:?} comes of packets of messages"),
            }
        }
    }

    fn on_message(&mut self, delivery: Delivery, payload: &[u8]) {
        assert!(payload.len() <= MESSAGE_MAXIMUM, "a message of {} bytes", payload.len());
        let serials = self.serials(payload);
        self.check_message(&serials);
        for serial in &serials {
            assert!(self.delivered.insert(*serial), "packet {serial} is delivered twice");
        }
        self.held.push_back((delivery, serials));
        assert!(self.held.len() <= DELIVERIES_MAXIMUM, "{} messages wait to be taken", self.held.len());
        if !self.holding {
            self.decide(true);
        }
    }

    /// Of which packets a message consists; those without a payload cannot be seen.
    fn serials(&self, payload: &[u8]) -> Vec<usize> {
        let (mut rest, mut serials) = (payload, Vec::new());
        while let Some((serial, _)) = rest.split_first_chunk::<SERIAL_LENGTH>() {
            let serial = u32::from_be_bytes(*serial) as usize;
            let sent = self.sent.get(serial).expect("a serial number that was sent");
            let (one, others) = rest.split_at_checked(sent.length).expect("whole packets");
            assert!(one[SERIAL_LENGTH..].iter().all(|byte| *byte == 0));
            serials.push(serial);
            rest = others;
        }
        assert!(rest.is_empty(), "{} bytes of no packet", rest.len());
        serials
    }

    fn check_message(&self, serials: &[usize]) {
        let packets: Vec<&Sent> = serials.iter().map(|serial| &self.sent[*serial]).collect();
        let [first, .., last] = packets.as_slice() else {
            return assert!(packets.iter().all(|only| !only.urgent || (only.begin && only.end)));
        };
        assert!(packets.iter().all(|packet| !packet.urgent), "an urgent message of several packets");
        let visible = self.sent.iter().all(|sent| sent.length > 0);
        assert!(!visible || (first.begin && last.end), "a message without its ends");
        for pair in packets.windows(2) {
            let step = pair[1].number.wrapping_sub(pair[0].number);
            // Between two packets that can be seen may be any number of empty ones, which cannot.
            assert!(!visible || step == 1, "packets of different messages");
            assert!(!pair[0].end && !pair[1].begin, "packets of different messages");
        }
    }

    /// A refused message comes again when its last packet does.
    fn decide(&mut self, accept: bool) {
        let Some((delivery, serials)) = self.held.pop_front() else { return };
        if self.hm_is_victim && accept {
            self.hm.accept(delivery, &mut self.outputs[1]);
        } else if self.hm_is_victim {
            for serial in serials {
                self.delivered.remove(&serial);
            }
            self.hm.refuse(delivery);
        } else {
            // A VMM takes everything.
            self.vmm.accept(delivery, &mut self.outputs[0]);
        }
        while self.outputs[usize::from(self.hm_is_victim)].poll_packet().is_some() {}
    }

    fn check(&self) {
        let held = if self.hm_is_victim { self.hm.partial_bytes() } else { self.vmm.partial_bytes() };
        assert!(held <= PARTIAL_BYTES, "{held} bytes of incomplete messages");
    }

    /// After their time incomplete messages are gone, and the path with them.
    fn end(mut self) {
        self.holding = false;
        while !self.held.is_empty() {
            self.decide(true);
        }
        self.pass(Duration::from_secs(31));
        assert_eq!(self.hm.partial_bytes() + self.vmm.partial_bytes(), 0);
        assert!(self.vmm.is_open() && self.hm.is_open());
    }
}
