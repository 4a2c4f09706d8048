//! The guests of one trunk by their MAC address: handshakes, messages, and what they were told.
//!
//! Pure. It knows nothing of liveness or of the store; [`monitor`](crate::monitor) puts them together.

mod counters;
mod hellos;

use std::collections::HashMap;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::{Message, VmmSyn};
use vmpulse_protocol::path::{
    CloseReason, Delivery, Discard, Event, HmIdentity, Outputs, Responder, SynOutcome, Token,
};
use vmpulse_protocol::schedule::Schedule;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Malformed, Packet, Version};

use counters::Counters;
use hellos::HelloLimit;

/// Guests per host monitor: a trunk's ports, with room for an evacuated neighbour. More are refused and counted.
pub const SESSIONS_MAXIMUM: usize = 16_384;
/// Bytes of incomplete messages per host monitor. A path that needs more is closed.
pub const REASSEMBLY_MAXIMUM: usize = 64 * 1024 * 1024;

/// A guest's UUID as its handshake gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestId {
    /// Well-formed.
    Vm(VmUuid),
    /// Empty or malformed; at most 64 bytes.
    Malformed(String),
}

/// What happened with a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A handshake was asked for under a UUID that cannot be one; it is not answered.
    CannotManage {
        /// The guest's address.
        mac: MacAddr,
        /// As it came.
        uuid: String,
    },
    /// A handshake was asked for from another address than the open path's; `open_at` decides.
    AnotherAddress {
        /// Which VM.
        vm: VmUuid,
        /// Where its path is open.
        open_at: MacAddr,
        /// Who asks.
        mac: MacAddr,
    },
    /// The guest speaks no version of ours.
    VersionConflict {
        /// The guest's address.
        mac: MacAddr,
        /// Its UUID, empty if it did not get so far as to say it.
        uuid: String,
        /// What it speaks.
        versions: String,
    },
    /// A path was opened.
    Opened {
        /// Which VM.
        vm: VmUuid,
        /// The guest's address.
        mac: MacAddr,
        /// Running version.
        version: Version,
    },
    /// A path was closed.
    Closed {
        /// Which VM.
        vm: VmUuid,
        /// The guest's address.
        mac: MacAddr,
        /// Why.
        reason: CloseReason,
    },
    /// A heartbeat.
    Heartbeat {
        /// Which VM.
        vm: VmUuid,
    },
    /// A message.
    Message {
        /// Which VM.
        vm: VmUuid,
        /// To accept or refuse it by.
        receipt: Receipt,
        /// Its bytes, to be parsed.
        payload: Vec<u8>,
    },
    /// A message to the guest was taken by it.
    Delivered {
        /// Which.
        token: Token,
    },
    /// A message to the guest did not get through.
    HandedBack {
        /// Which.
        token: Token,
    },
    /// Messages to the guest went unanswered; they were handed back before.
    Unanswered {
        /// Which VM.
        vm: VmUuid,
    },
}

/// A message to be accepted: whose, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    mac: MacAddr,
    delivery: Delivery,
}

/// A frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub destination: MacAddr,
    /// TCI to tag it with; `None`: as the socket is configured.
    pub vlan: Option<u16>,
    /// What follows the Ethernet header.
    pub payload: Vec<u8>,
}

#[derive(Debug, Default)]
struct Session {
    responder: Responder,
    /// Of the open path.
    vm: Option<VmUuid>,
    vlan: Option<u16>,
    heartbeats: u64,
    /// What the responder holds of [`REASSEMBLY_MAXIMUM`].
    partial_bytes: usize,
    /// When the schedule looks here next.
    looked_at: Option<Instant>,
}

/// A session as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Which VM.
    pub vm: VmUuid,
    /// The guest's address.
    pub mac: MacAddr,
    /// Running version.
    pub version: Version,
    /// Heartbeats received from this address since the monitor started.
    pub heartbeats: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    identity: HmIdentity,
    hello: Vec<u8>,
    sessions: HashMap<MacAddr, Session>,
    by_vm: HashMap<VmUuid, MacAddr>,
    schedule: Schedule<MacKey>,
    limit: HelloLimit,
    random: fastrand::Rng,
    partial_bytes: usize,
    scratch: Outputs,
    transmits: std::collections::VecDeque<Transmit>,
    events: std::collections::VecDeque<SessionEvent>,
    counters: Counters,
}

/// A MAC address that can be ordered in a schedule.
type MacKey = [u8; 6];

impl Sessions {
    /// No guest yet. `hello`: the identifier of this start.
    #[must_use]
    pub fn new(identity: HmIdentity, hello: &str, seed: u64) -> Self {
        let hello =
            Packet { version: Version::V2_0, number: 0, flags: Flags::HEL, payload: hello.as_bytes() };
        Self {
            identity,
            hello: hello.encode(),
            sessions: HashMap::new(),
            by_vm: HashMap::new(),
            schedule: Schedule::new(),
            limit: HelloLimit::default(),
            random: fastrand::Rng::with_seed(seed),
            partial_bytes: 0,
            scratch: Outputs::new(),
            transmits: std::collections::VecDeque::new(),
            events: std::collections::VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a frame. Allocates nothing for a heartbeat.
    pub fn handle_frame(&mut self, now: Instant, source: MacAddr, vlan: Option<u16>, payload: &[u8]) {
        if source.is_multicast() || source.is_broadcast() {
            return self.counters.discard(Discard::Flags);
        }
        let packet = match Packet::decode(payload) {
            Ok(packet) => packet,
            Err(malformed) => return self.on_malformed(source, malformed),
        };
        if packet.has(Flags::HEL) {
            return self.on_hello(now, source, vlan, &packet);
        }
        if packet.has(Flags::SYN | Flags::BEG | Flags::ACKR) && !packet.has(Flags::ACK) {
            return self.on_syn(now, source, vlan, &packet);
        }
        let identity = self.identity;
        let known = self.sessions.get(&source).is_some_and(|session| !session.responder.is_closed());
        if !known {
            self.counters.discard(Discard::NotOpen);
            return self.say_hello(now, source, vlan);
        }
        self.with(now, source, |session, out| session.responder.handle_packet(now, &packet, &identity, out));
    }

    /// Retransmissions and ages that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.schedule.pop_due(now) {
            self.look(now, MacAddr::from(key));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Says Hello to everybody.
    pub fn broadcast_hello(&mut self) {
        self.transmits.push_back(Transmit {
            destination: MacAddr::broadcast(),
            vlan: None,
            payload: self.hello.clone(),
        });
    }

    /// Says Hello to one VM: it shakes hands anew.
    pub fn hello_vm(&mut self, now: Instant, vm: VmUuid) {
        if let Some(mac) = self.by_vm.get(&vm).copied() {
            let vlan = self.sessions.get(&mac).and_then(|session| session.vlan);
            self.say_hello(now, mac, vlan);
        }
    }

    /// Queues a message to a VM; handed back at once when no path is open.
    pub fn send(&mut self, now: Instant, vm: VmUuid, token: Token, message: &Message<'_>) {
        match self.by_vm.get(&vm).copied() {
            Some(mac) => self.with(now, mac, |session, out| session.responder.send(now, token, message, out)),
            None => self.events.push_back(SessionEvent::HandedBack { token }),
        }
    }

    /// The message was taken: its sender is told so.
    pub fn accept(&mut self, now: Instant, receipt: Receipt) {
        self.with(now, receipt.mac, |session, out| session.responder.accept(receipt.delivery, out));
    }

    /// The message cannot be taken now: its sender will repeat it.
    pub fn refuse(&mut self, receipt: Receipt) {
        if let Some(session) = self.sessions.get_mut(&receipt.mac) {
            session.responder.refuse(receipt.delivery);
        }
    }

    /// Whether a path to the VM is open.
    #[must_use]
    pub fn is_open(&self, vm: VmUuid) -> bool {
        self.by_vm.contains_key(&vm)
    }

    /// Closes the path to a VM.
    pub fn close(&mut self, now: Instant, vm: VmUuid, reason: CloseReason) {
        if let Some(mac) = self.by_vm.get(&vm).copied() {
            self.with(now, mac, |session, out| session.responder.close(reason, out));
        }
    }

    /// Begins the handshake that [`SessionEvent::AnotherAddress`] asked about: the old address is given up.
    pub fn give_up(&mut self, now: Instant, vm: VmUuid) {
        self.close(now, vm, CloseReason::Unanswered);
        if let Some(mac) = self.by_vm.remove(&vm) {
            self.sessions.remove(&mac);
        }
    }

    /// The open path to a VM.
    #[must_use]
    pub fn view(&self, vm: VmUuid) -> Option<SessionView> {
        let mac = *self.by_vm.get(&vm)?;
        let session = self.sessions.get(&mac)?;
        Some(SessionView { vm, mac, version: session.responder.version()?, heartbeats: session.heartbeats })
    }

    /// Every open path.
    pub fn views(&self) -> impl Iterator<Item = SessionView> {
        self.by_vm.keys().filter_map(|vm| self.view(*vm))
    }

    /// Named counts since the start: frames dropped by reason, Hellos sent and withheld.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        self.counters.named()
    }

    fn on_malformed(&mut self, source: MacAddr, malformed: Malformed) {
        self.counters.discard(malformed.into());
        if let Malformed::Major(version) = malformed {
            let (uuid, versions) = (String::new(), version.to_string());
            self.events.push_back(SessionEvent::VersionConflict { mac: source, uuid, versions });
        }
    }

    /// A Hello without an identifier asks for ours; one with an identifier is another host monitor's.
    fn on_hello(&mut self, now: Instant, source: MacAddr, vlan: Option<u16>, packet: &Packet<'_>) {
        if packet.payload.is_empty() {
            self.say_hello(now, source, vlan);
        } else {
            self.counters.discard(Discard::Flags);
        }
    }

    fn say_hello(&mut self, now: Instant, destination: MacAddr, vlan: Option<u16>) {
        if self.limit.may_say(now, destination) {
            self.counters.hellos = self.counters.hellos.saturating_add(1);
            self.transmits.push_back(Transmit { destination, vlan, payload: self.hello.clone() });
        } else {
            self.counters.hellos_withheld = self.counters.hellos_withheld.saturating_add(1);
        }
    }

    fn on_syn(&mut self, now: Instant, source: MacAddr, vlan: Option<u16>, packet: &Packet<'_>) {
        let Ok(syn) = VmmSyn::parse(packet.payload) else { return self.counters.discard(Discard::Syn) };
        let Ok(vm) = syn.uuid.parse::<VmUuid>() else {
            return self.events.push_back(SessionEvent::CannotManage { mac: source, uuid: syn.uuid });
        };
        if let Some(open_at) = self.by_vm.get(&vm).copied().filter(|open_at| *open_at != source) {
            return self.events.push_back(SessionEvent::AnotherAddress { vm, open_at, mac: source });
        }
        if !self.has_room_for(source) {
            return self.counters.discard(Discard::Paths);
        }
        let (identity, seed) = (self.identity, self.random.u64(..));
        let mut outcome = SynOutcome::Repeated;
        self.sessions.entry(source).or_default();
        self.with(now, source, |session, out| {
            session.vlan = vlan;
            outcome = session.responder.handle_syn(now, packet, &syn, &identity, seed, out);
        });
        if outcome == SynOutcome::VersionConflict {
            let versions = format!("{}-{}", syn.lower, syn.upper);
            self.events.push_back(SessionEvent::VersionConflict { mac: source, uuid: syn.uuid, versions });
        }
    }

    /// A known address, a free place, or the place of somebody whose handshake came to nothing.
    fn has_room_for(&mut self, source: MacAddr) -> bool {
        if self.sessions.contains_key(&source) || self.sessions.len() < SESSIONS_MAXIMUM {
            return true;
        }
        self.sessions.retain(|_, session| !session.responder.is_closed());
        self.sessions.len() < SESSIONS_MAXIMUM
    }

    fn look(&mut self, now: Instant, mac: MacAddr) {
        let mut unanswered = false;
        if let Some(session) = self.sessions.get_mut(&mac) {
            session.looked_at = None;
        }
        self.with(now, mac, |session, out| unanswered = session.responder.handle_timeout(now, out));
        let vm = self.sessions.get(&mac).and_then(|session| session.vm);
        if let Some(vm) = vm.filter(|_| unanswered) {
            self.events.push_back(SessionEvent::Unanswered { vm });
        }
    }

    /// Calls a session, carries away what comes of it, and sees to its next look and its share of memory.
    fn with(&mut self, now: Instant, mac: MacAddr, call: impl FnOnce(&mut Session, &mut Outputs)) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        call(session, &mut self.scratch);
        self.carry(mac);
        self.settle(now, mac);
    }

    fn settle(&mut self, now: Instant, mac: MacAddr) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        let held = session.responder.partial_bytes();
        self.partial_bytes = self.partial_bytes.saturating_sub(session.partial_bytes).saturating_add(held);
        session.partial_bytes = held;
        if self.partial_bytes > REASSEMBLY_MAXIMUM {
            self.partial_bytes = self.partial_bytes.saturating_sub(held);
            session.partial_bytes = 0;
            self.counters.discard(Discard::Bound);
            session.responder.close(CloseReason::Incomplete, &mut self.scratch);
            return self.carry(mac);
        }
        if session.responder.is_closed() {
            self.sessions.remove(&mac);
            return;
        }
        let next = session.responder.poll_timeout();
        if let Some(next) = next.filter(|next| session.looked_at.is_none_or(|looked_at| *next < looked_at)) {
            session.looked_at = Some(next.max(now));
            self.schedule.push(next, mac.octets());
        }
    }

    fn carry(&mut self, mac: MacAddr) {
        let vlan = self.sessions.get(&mac).and_then(|session| session.vlan);
        while let Some(payload) = self.scratch.poll_packet() {
            self.transmits.push_back(Transmit { destination: mac, vlan, payload });
        }
        while let Some(event) = self.scratch.poll_event() {
            self.on_event(mac, event);
        }
    }

    fn on_event(&mut self, mac: MacAddr, event: Event) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        match event {
            Event::Opened { .. } => self.on_opened(mac),
            Event::Closed(reason) => {
                if let Some(vm) = session.vm.take() {
                    self.by_vm.remove(&vm);
                    self.events.push_back(SessionEvent::Closed { vm, mac, reason });
                }
            }
            Event::HandshakeFailed(_) => {
                self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1)
            }
            Event::Heartbeat { .. } => {
                session.heartbeats = session.heartbeats.saturating_add(1);
                self.counters.heartbeats = self.counters.heartbeats.saturating_add(1);
                if let Some(vm) = session.vm {
                    self.events.push_back(SessionEvent::Heartbeat { vm });
                }
            }
            Event::Message { delivery, payload } => match session.vm {
                Some(vm) => {
                    let receipt = Receipt { mac, delivery };
                    self.events.push_back(SessionEvent::Message { vm, receipt, payload });
                }
                None => session.responder.refuse(delivery),
            },
            Event::Delivered(token) => self.events.push_back(SessionEvent::Delivered { token }),
            Event::HandedBack { token, .. } => self.events.push_back(SessionEvent::HandedBack { token }),
            Event::Discarded(reason) => self.counters.discard(reason),
        }
    }

    /// The UUID is the one of the SYN that opened the path: a guest may change it only by a new handshake.
    fn on_opened(&mut self, mac: MacAddr) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        let syn = session.responder.opened_by().and_then(|payload| VmmSyn::parse(payload).ok());
        let vm = syn.and_then(|syn| syn.uuid.parse::<VmUuid>().ok());
        let (Some(vm), Some(version)) = (vm, session.responder.version()) else { return };
        if let Some(old) = session.vm.replace(vm).filter(|old| *old != vm) {
            self.by_vm.remove(&old);
        }
        if let Some(other) = self.by_vm.insert(vm, mac).filter(|other| *other != mac) {
            // Two addresses shook hands for one UUID at the same time; the later one has it.
            if let Some(loser) = self.sessions.get_mut(&other) {
                loser.vm = None;
            }
        }
        self.events.push_back(SessionEvent::Opened { vm, mac, version });
    }
}
