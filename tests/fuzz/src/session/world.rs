//! The two ends, what is on the wire between them, and one clock.

use std::collections::VecDeque;
use std::iter;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, Key, KeyId, Mode, Nonces};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::message::{Message, Shutdown, VmmSyn};
use vmpulse_protocol::path::{
    CloseReason, DELIVERIES_MAXIMUM, Delivery, Directions, Event, HmIdentity, Initiator, MESSAGE_MAXIMUM,
    Outputs, PARTIALS_MAXIMUM, QUEUE_MAXIMUM, Reception, Responder, VmmIdentity, VmmSecurity, WINDOW,
};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, HEADER_LENGTH, Packet, Version};

use super::ledger::Ledger;
use super::{Conduct, End};
use crate::forge::{Known, make_checksum_right};
use crate::trace::trace;

const VM: VmUuid = VmUuid::from_bytes([0x61; 16]);
/// The VM, and one that nobody knows.
const VMS: [VmUuid; 2] = [VM, VmUuid::from_bytes([0x62; 16])];
const HM: HostMonitorId = HostMonitorId::from_bytes([7; 16]);
const ADDRESSES: Addresses =
    Addresses { vmm: MacAddr(0x52, 0x54, 0, 0, 0, 1), hm: MacAddr(0x52, 0x54, 0, 0, 0, 2) };
const BOTH: Directions = Directions { incoming: true, outgoing: true };

/// Packets that one call may send: what two windows hold, and what a handshake adds.
const PACKETS_PER_CALL: usize = 2 * WINDOW as usize + 8;
/// Events of one call: everything queued is handed back, and why.
const EVENTS_PER_CALL: usize = 2 * (QUEUE_MAXIMUM + 1) + 8;
/// What one path may hold of incomplete messages; only normal ones have more than one packet.
const PARTIAL_BYTES: usize = PARTIALS_MAXIMUM * MESSAGE_MAXIMUM;
/// Packets on their way; the network loses the oldest of more.
const WIRE_MAXIMUM: usize = 512;
/// Packets that a replayer remembers.
const LOG_MAXIMUM: usize = 64;
/// How long the network may hold a packet back. A receiver remembers for 20 s what is sent for up to 11.5 s.
const LIFETIME: Duration = Duration::from_secs(4);
/// Numbers that come around could be confused where nothing is authenticated; so few packets do not come around.
const NATURAL_PACKETS: usize = 150;
/// Packets that may be exchanged before everything is silent; more is a storm.
const STORM: usize = 20_000;
/// Long enough for every repetition and every incomplete message to come to its end.
const HEALING: Duration = Duration::from_secs(120);

/// What an owner does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    Accept,
    Hold,
    Refuse,
}

/// Packets that may overtake another over a handshake.
const OVERTAKEN: u64 = 32;

#[derive(Clone)]
struct Flight {
    to: End,
    since: Instant,
    /// Which of its sender's channels was open, and how many packets `to` had received.
    channel: u64,
    before: u64,
    bytes: Vec<u8>,
}

type Held = (Delivery, Option<usize>);

pub(super) struct World {
    conduct: Conduct,
    now: Instant,
    mtu: usize,
    random: fastrand::Rng,
    vmm: Initiator,
    hm: Responder,
    outputs: [Outputs; 2],
    /// The HM's keys for the VM.
    authentication: Authentication,
    nonces: Nonces,
    wire: VecDeque<Flight>,
    /// Channels that each end has opened, and packets that it has received.
    channels: [u64; 2],
    received: [u64; 2],
    log: VecDeque<(End, Vec<u8>)>,
    held: [VecDeque<Held>; 2],
    pub(super) taking: Taking,
    pub(super) ledger: Ledger,
}

fn keys(mode: Mode, which: u8) -> Authentication {
    let ids: &[u8] = [&[1][..], &[2], &[1, 2], &[2, 1]][usize::from(which % 4)];
    let keys = ids.iter().filter_map(|id| Some((KeyId::new(*id)?, Key::from_bytes([*id; 32]))));
    Authentication::new(mode, keys)
}

impl World {
    pub(super) fn new(conduct: Conduct, mtu: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = Self {
            conduct,
            now: Instant::from_millis(1_000_000),
            mtu,
            vmm: Self::new_vmm(mtu, random.u64(..)),
            hm: Responder::new(),
            outputs: [Outputs::new(), Outputs::new()],
            authentication: Authentication::NONE,
            nonces: Nonces::new(&[1; 32]),
            wire: VecDeque::new(),
            channels: [0; 2],
            received: [0; 2],
            log: VecDeque::new(),
            held: [VecDeque::new(), VecDeque::new()],
            taking: Taking::Accept,
            ledger: Ledger::new(conduct),
            random,
        };
        if conduct == Conduct::Secured {
            world.rekey(End::Vmm, 0);
            world.rekey(End::Hm, 0);
        }
        world
    }

    fn new_vmm(mtu: usize, seed: u64) -> Initiator {
        let (lower, upper) = (Version::V2_0, Version::V2_1);
        let identity = VmmIdentity { uuid: VM.to_string(), os_type: "Linux".to_owned(), lower, upper };
        Initiator::new(identity, mtu, seed)
    }

    fn identity(&self) -> HmIdentity {
        HmIdentity { uuid: HM, lower: Version::V2_0, upper: Version::V2_1, mtu: self.mtu }
    }

    pub(super) fn connect(&mut self) {
        self.vmm.connect(self.now, &mut self.outputs[0]);
        self.drain(End::Vmm);
    }

    pub(super) fn send(&mut self, from: End, length: usize) {
        let used = self.ledger.packets(from, self.mtu - HEADER_LENGTH - 24);
        let much = used + length / (self.mtu - HEADER_LENGTH) > NATURAL_PACKETS;
        if (self.conduct == Conduct::Natural && much) || (from == End::Hm && !self.serves_vm()) {
            return;
        }
        let (token, content) = self.ledger.write(from, length, false);
        let message = Message::Report { tag: token.0 as i64, xml: &content };
        match from {
            End::Vmm => self.vmm.send(self.now, token, &message, &mut self.outputs[0]),
            End::Hm => self.hm.send(self.now, token, &message, &mut self.outputs[1]),
        }
        self.drain(from);
    }

    /// What waits for the HM's path would be sent to whoever has it: only the VM is meant.
    fn serves_vm(&self) -> bool {
        self.path_of_hm().is_none_or(|vm| vm == VM)
    }

    fn path_of_hm(&self) -> Option<VmUuid> {
        self.hm.vm()
    }

    pub(super) fn send_urgent(&mut self) {
        let (token, _) = self.ledger.write(End::Vmm, 0, true);
        self.vmm.send(self.now, token, &Message::Shutdown(Shutdown::Os), &mut self.outputs[0]);
        self.drain(End::Vmm);
    }

    pub(super) fn beat(&mut self) {
        if self.vmm.is_open() {
            self.ledger.on_beat_sent();
        }
        self.vmm.send_heartbeat(&mut self.outputs[0]);
        self.drain(End::Vmm);
    }

    /// Any packet of those on their way: they overtake each other.
    pub(super) fn deliver(&mut self, which: u8) {
        if let Some(at) = self.on_wire(which)
            && let Some(flight) = self.wire.remove(at)
        {
            self.arrive(&flight);
        }
    }

    pub(super) fn deliver_all(&mut self) {
        let mut exchanged = 0;
        while let Some(flight) = self.wire.pop_front() {
            self.arrive(&flight);
            exchanged += 1;
            assert!(exchanged < STORM, "the ends never stop answering each other");
        }
    }

    /// No network holds a packet back over two handshakes, or over one and [`OVERTAKEN`] packets: by its number alone it
    /// could not be told from one of the new channel. [N-7]
    fn arrive(&mut self, flight: &Flight) {
        let replaced = self.channels[flight.to.other() as usize] - flight.channel;
        let overtaken = self.received[flight.to as usize] - flight.before;
        if replaced >= 2 || (replaced == 1 && overtaken > OVERTAKEN) {
            return;
        }
        self.received[flight.to as usize] += 1;
        self.receive(flight.to, &flight.bytes);
    }

    pub(super) fn lose(&mut self, which: u8) {
        if let Some(at) = self.on_wire(which) {
            self.wire.remove(at);
        }
    }

    pub(super) fn repeat(&mut self, which: u8) {
        if let Some(at) = self.on_wire(which) {
            let copy = self.wire[at].clone();
            self.wire.push_back(copy);
        }
    }

    fn on_wire(&self, which: u8) -> Option<usize> {
        (!self.wire.is_empty()).then(|| usize::from(which) % self.wire.len())
    }

    /// Time passes; both ends look when they wanted to, and what is on its way for too long is lost.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.due().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.look();
        }
        self.now = end;
        self.look();
        let now = self.now;
        self.wire.retain(|flight| now.since(flight.since) <= LIFETIME);
    }

    fn due(&self) -> Option<Instant> {
        self.vmm.poll_timeout().into_iter().chain(self.hm.poll_timeout()).min()
    }

    /// Neither end looks in time, as when a machine is paused.
    pub(super) fn stall(&mut self, time: Duration) {
        if self.conduct == Conduct::Anything {
            self.now = self.now + time;
            self.look();
        }
    }

    fn look(&mut self) {
        self.vmm.handle_timeout(self.now, &mut self.outputs[0]);
        self.drain(End::Vmm);
        let unanswered = self.hm.handle_timeout(self.now, &mut self.outputs[1]);
        if unanswered && self.random.bool() {
            self.hm.close(CloseReason::Unanswered, &mut self.outputs[1]);
        }
        self.drain(End::Hm);
        assert!(self.due().is_none_or(|due| due > self.now), "a timeout is due again at once");
    }

    /// The owner of `at` decides about the oldest message that it holds.
    pub(super) fn decide(&mut self, at: End, accept: bool) {
        if let Some((delivery, token)) = self.held[at as usize].pop_front() {
            self.take(at, delivery, token, if accept { Taking::Accept } else { Taking::Refuse });
        }
    }

    pub(super) fn close(&mut self, end: End) {
        match end {
            End::Vmm => self.vmm.close(CloseReason::Unanswered, &mut self.outputs[0]),
            End::Hm => self.hm.close(CloseReason::Unanswered, &mut self.outputs[1]),
        }
        self.drain(end);
    }

    /// A new life of one end, which knows nothing of the one before. Without authentication a packet from before
    /// that arrives after it cannot be told from a new one.
    pub(super) fn restart(&mut self, end: End) {
        self.ledger.on_restarted(end);
        self.outputs[end as usize] = Outputs::new();
        self.held[end as usize].clear();
        match end {
            End::Vmm => {
                let authentication = self.vmm_authentication();
                self.vmm = Self::new_vmm(self.mtu, self.random.u64(..));
                self.secure(authentication);
            }
            End::Hm => self.hm = Responder::new(),
        }
        if self.conduct == Conduct::Natural {
            self.wire.clear();
        }
        self.connect();
    }

    fn vmm_authentication(&self) -> Authentication {
        match self.conduct {
            Conduct::Natural => Authentication::NONE,
            Conduct::Secured | Conduct::Anything => keys(Mode::Required, 2),
        }
    }

    fn secure(&mut self, authentication: Authentication) {
        let nonces = Nonces::new(&[self.random.u8(..); 32]);
        self.vmm.secure(VmmSecurity { authentication, addresses: ADDRESSES, nonces });
    }

    /// Other keys at one end, and in the wildest conduct another mode.
    pub(super) fn rekey(&mut self, end: End, which: u8) {
        let mode = match self.conduct {
            Conduct::Natural => return,
            Conduct::Secured => Mode::Required,
            Conduct::Anything => Mode::ALL[usize::from(which >> 2) % Mode::ALL.len()],
        };
        let authentication = keys(mode, which);
        match end {
            End::Vmm => self.secure(authentication),
            End::Hm => self.authentication = authentication,
        }
    }

    /// Changes a byte of a packet on its way, and makes the checksum right again.
    pub(super) fn tamper(&mut self, which: u8, at: u16, change: u8) {
        if let Some(flight) = self.on_wire(which).filter(|_| self.conduct.is_hostile()) {
            let bytes = &mut self.wire[flight].bytes;
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= change;
            make_checksum_right(bytes);
        }
    }

    /// A packet that was received before, once more.
    pub(super) fn replay(&mut self, which: u8) {
        if self.conduct.is_hostile() && !self.log.is_empty() {
            let (to, bytes) = self.log[usize::from(which) % self.log.len()].clone();
            self.put(to, bytes);
        }
    }

    /// Puts a packet on the wire, for the wilder conducts.
    pub(super) fn put(&mut self, to: End, bytes: Vec<u8>) {
        if self.conduct.is_hostile() {
            self.transmit(to, bytes);
        }
    }

    /// What somebody knows who listens and forges a packet to that end.
    pub(super) fn known(&self, to: End, about: u8) -> Known<'static> {
        let flight = self.wire.iter().rev().find(|flight| flight.to == to);
        Known {
            vms: &VMS,
            host_monitor: HM,
            near: flight.and_then(|flight| flight.bytes.get(2).copied()),
            message: self.ledger.any(about).unwrap_or_default(),
        }
    }

    fn transmit(&mut self, to: End, bytes: Vec<u8>) {
        if self.wire.len() >= WIRE_MAXIMUM {
            self.wire.pop_front();
        }
        let (channel, before) = (self.channels[to.other() as usize], self.received[to as usize]);
        self.wire.push_back(Flight { to, since: self.now, channel, before, bytes });
    }

    fn receive(&mut self, to: End, bytes: &[u8]) {
        if self.log.len() >= LOG_MAXIMUM {
            self.log.pop_front();
        }
        self.log.push_back((to, bytes.to_vec()));
        trace(|| format!("{} -> {to:?}: {:?}", self.now, Packet::decode(bytes)));
        let Ok(packet) = Packet::decode(bytes) else { return };
        if packet.has(Flags::HEL) {
            return;
        }
        match to {
            End::Vmm => self.vmm.handle_packet(self.now, &packet, &mut self.outputs[0]),
            End::Hm if packet.has(Flags::SYN | Flags::BEG | Flags::ACKR) && !packet.has(Flags::ACK) => {
                self.receive_syn(&packet);
            }
            End::Hm => {
                self.hm.handle_packet(self.now, &packet, &self.identity(), &mut self.outputs[1]);
            }
        }
        self.drain(to);
    }

    /// As the host monitor does it: keys are those of the VM that the SYN names.
    fn receive_syn(&mut self, packet: &Packet<'_>) {
        let Ok(syn) = VmmSyn::parse(packet.payload) else { return };
        let Ok(vm) = syn.uuid.parse::<VmUuid>() else { return };
        let identity = self.identity();
        let none = Authentication::NONE;
        let reception = Reception {
            vm,
            addresses: ADDRESSES,
            authentication: if vm == VM { &self.authentication } else { &none },
            gives_way: self.path_of_hm() != Some(VM),
            nonce: self.nonces.next_nonce(),
            seed: self.random.u64(..),
        };
        self.hm.handle_syn(self.now, packet, &syn, &identity, &reception, &mut self.outputs[1]);
    }

    /// Carries away what a call has brought.
    fn drain(&mut self, end: End) {
        let out = &mut self.outputs[end as usize];
        let packets: Vec<_> = iter::from_fn(|| out.poll_packet()).collect();
        let events: Vec<_> = iter::from_fn(|| out.poll_event()).collect();
        assert!(packets.len() <= PACKETS_PER_CALL, "{} packets at once", packets.len());
        assert!(events.len() <= EVENTS_PER_CALL, "{} events at once", events.len());
        for bytes in packets {
            assert!(bytes.len() <= self.mtu.max(300), "a packet of {} bytes", bytes.len());
            self.transmit(end.other(), bytes);
        }
        for event in events {
            trace(|| format!("{} {end:?}: {event:?}", self.now));
            self.on_event(end, event);
        }
    }

    fn on_event(&mut self, end: End, event: Event) {
        match event {
            Event::Opened { replaced } => {
                self.channels[end as usize] += 1;
                if replaced {
                    self.ledger.on_replaced();
                }
                self.on_opened(end);
            }
            Event::Heartbeat { .. } if self.serves_vm() => self.ledger.on_beat_seen(),
            Event::Message { delivery, payload } => self.on_message(end, delivery, &payload),
            Event::Delivered(token) => self.ledger.on_delivered(end, token),
            Event::HandedBack { token, payload } => self.ledger.on_handed_back(end, token, &payload),
            Event::Closed(_) | Event::HandshakeFailed(_) | Event::Discarded(_) | Event::Heartbeat { .. } => {}
        }
    }

    fn on_opened(&self, end: End) {
        let security = match end {
            End::Vmm => self.vmm.security(),
            End::Hm => self.hm.security(),
        };
        if self.conduct == Conduct::Secured && (end == End::Vmm || self.serves_vm()) {
            assert_eq!(security.map(|(directions, _)| directions), Some(BOTH));
        }
    }

    fn on_message(&mut self, end: End, delivery: Delivery, payload: &[u8]) {
        if end == End::Hm && !self.serves_vm() {
            return self.hm.refuse(delivery);
        }
        let token = self.ledger.on_received(end, payload);
        self.take(end, delivery, token, self.taking);
    }

    fn take(&mut self, end: End, delivery: Delivery, token: Option<usize>, taking: Taking) {
        match (taking, end) {
            (Taking::Accept, End::Vmm) => {
                self.ledger.on_accepted(token);
                self.vmm.accept(delivery, &mut self.outputs[0]);
            }
            (Taking::Accept, End::Hm) => {
                self.ledger.on_accepted(token);
                self.hm.accept(delivery, &mut self.outputs[1]);
            }
            (Taking::Refuse, End::Hm) => {
                self.ledger.on_refused(end, token);
                self.hm.refuse(delivery);
            }
            // A VMM cannot refuse.
            (Taking::Hold, _) | (Taking::Refuse, End::Vmm) => self.hold(end, delivery, token),
        }
        self.drain(end);
    }

    /// Those of a replaced channel may be kept beside those of the new one, for a while.
    fn hold(&mut self, end: End, delivery: Delivery, token: Option<usize>) {
        let held = &mut self.held[end as usize];
        if held.len() >= 4 * DELIVERIES_MAXIMUM {
            held.pop_front();
        }
        held.push_back((delivery, token));
    }

    pub(super) fn check(&self) {
        let held = self.hm.partial_bytes().max(self.vmm.partial_bytes());
        assert!(held <= PARTIAL_BYTES, "{held} bytes of incomplete messages");
    }

    /// The network is good again and nobody forges: every message comes to its end, and paths work.
    pub(super) fn heal(mut self) {
        self.taking = Taking::Accept;
        for end in [End::Vmm, End::Hm] {
            self.rekey(end, 2);
            while !self.held[end as usize].is_empty() {
                self.decide(end, true);
            }
        }
        self.recover();
        self.ledger.everybody_was_told();
        if self.conduct.is_reliable() {
            self.connect();
            self.recover();
            assert!(self.vmm.is_open() && self.hm.is_open() && self.serves_vm(), "no path");
            self.exchange();
        }
    }

    fn recover(&mut self) {
        let end = self.now + HEALING;
        self.deliver_all();
        while let Some(due) = self.due().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.look();
            self.deliver_all();
        }
        self.now = end;
    }

    /// One message each way.
    fn exchange(&mut self) {
        for from in [End::Vmm, End::Hm] {
            let (token, content) = self.ledger.write(from, 10, false);
            let message = Message::Report { tag: token.0 as i64, xml: &content };
            match from {
                End::Vmm => self.vmm.send(self.now, token, &message, &mut self.outputs[0]),
                End::Hm => self.hm.send(self.now, token, &message, &mut self.outputs[1]),
            }
            self.drain(from);
            self.recover();
            assert!(self.ledger.was_delivered(token), "a healed path does not carry {token:?}");
        }
        self.ledger.everybody_was_told();
    }
}
