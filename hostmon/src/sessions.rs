//! The guests of one trunk by their MAC address: handshakes, messages, and what they were told.
//!
//! Pure. It knows nothing of liveness or of the store; [`monitor`](crate::monitor) puts them together.

mod counters;
mod event;
mod handshakes;
mod hellos;
mod looks;
mod reminders;
mod secrets;
mod sizes;
mod strangers;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Authentication, Mode, Nonces};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::Message;
use vmpulse_protocol::path::{CloseReason, Discard, Event, HmIdentity, Outputs, Responder, Token};
use vmpulse_protocol::schedule::Schedule;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Malformed, Packet, Version};

use crate::queue;
use counters::Counters;
pub use event::{Beat, Hints, Receipt, SessionEvent, SessionView, Transmit};
use hellos::HelloLimit;
use reminders::Reminders;
use secrets::{Rejections, Secrets};
pub use sizes::SessionSizes;

/// Guests per host monitor: a trunk's ports, with room for an evacuated neighbour. More are refused and counted. [B-4]
pub const SESSIONS_MAXIMUM: usize = 16_384;
/// Guests that are no registered VM with an open path: strangers, and handshakes under way. The oldest gives way, so a
/// flood of forged addresses displaces forged addresses. [B-5]
pub const STRANGERS_MAXIMUM: usize = 2048;
/// Between two handshakes that one address may begin; repetitions of a SYN are no new handshake. [S-13]
const HANDSHAKE_PERIOD: Duration = Duration::from_secs(1);
/// Bytes of incomplete messages per host monitor. A path that needs more is closed. [B-6]
pub const REASSEMBLY_MAXIMUM: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
struct Session {
    responder: Responder,
    /// Of the open path.
    vm: Option<VmUuid>,
    /// Of the SYN by which the path was opened, and of the handshake under way: a forged SYN must not lead the answers
    /// of an open path elsewhere.
    vlan: Option<u16>,
    candidate_vlan: Option<u16>,
    /// When the packet arrived by which the path was opened.
    opened: Instant,
    heartbeats: u64,
    hints: Hints,
    /// When the latest handshake was begun.
    begun: Option<Instant>,
    /// What the responder holds of [`REASSEMBLY_MAXIMUM`].
    partial_bytes: usize,
    /// When the schedule looks here next.
    looked_at: Option<Instant>,
    rejections: Rejections,
}

impl Session {
    /// `None` unless its path is open.
    fn view(&self, mac: MacAddr) -> Option<SessionView> {
        Some(SessionView {
            vm: self.vm?,
            mac,
            version: self.responder.version()?,
            opened: self.opened,
            heartbeats: self.heartbeats,
            security: self.responder.security(),
            guardian: self.responder.is_held(),
            hints: self.hints,
        })
    }

    /// The tag for a packet to the guest.
    fn vlan_of(&self, packet: &[u8]) -> Option<u16> {
        let handshake = packet.get(3).is_some_and(|flags| flags & Flags::SYN.bits() != 0);
        if handshake { self.candidate_vlan } else { self.vlan }
    }
}

/// Who the host monitor is, and where its numbers come from.
#[derive(Clone, Debug)]
pub struct SessionsConfig {
    /// On the wire.
    pub identity: HmIdentity,
    /// Its address.
    pub mac: MacAddr,
    /// The identifier of this start.
    pub hello: String,
    /// Of numbers and marks.
    pub seed: u64,
    /// Of nonces: from the kernel's source of randomness, different at each start.
    pub nonce_seed: [u8; 32],
    /// For VMs without keys.
    pub authentication: Mode,
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    identity: HmIdentity,
    mac: MacAddr,
    secrets: Secrets,
    nonces: Nonces,
    hello: Vec<u8>,
    /// Boxed: a table is never full, and its free places should be small.
    sessions: HashMap<MacAddr, Box<Session>>,
    by_vm: HashMap<VmUuid, MacAddr>,
    /// Addresses in the order in which they appeared, of which some are strangers.
    newcomers: VecDeque<MacAddr>,
    registered: HashSet<VmUuid>,
    /// Of the registered ones, those that are not to beat: few.
    unmonitored: HashSet<VmUuid>,
    reminders: Reminders,
    known_addresses: HashSet<MacAddr>,
    /// Grows whenever [`Self::known_addresses`] may have changed; 0 until somebody is registered.
    known_changes: u64,
    schedule: Schedule<MacKey>,
    limit: HelloLimit,
    random: fastrand::Rng,
    partial_bytes: usize,
    scratch: Outputs,
    transmits: VecDeque<Transmit>,
    events: VecDeque<SessionEvent>,
    counters: Counters,
}

/// A MAC address that can be ordered in a schedule.
type MacKey = [u8; 6];

impl Sessions {
    /// No guest yet, and no keys.
    #[must_use]
    pub fn new(config: SessionsConfig) -> Self {
        let SessionsConfig { identity, mac, hello, seed, nonce_seed, authentication } = config;
        let hello = Packet::plain(Version::V2_0, 0, Flags::HEL, hello.as_bytes());
        Self {
            identity,
            mac,
            secrets: Secrets::new(authentication),
            nonces: Nonces::new(&nonce_seed),
            hello: hello.encode(),
            sessions: HashMap::new(),
            by_vm: HashMap::new(),
            newcomers: VecDeque::new(),
            registered: HashSet::new(),
            unmonitored: HashSet::new(),
            reminders: Reminders::default(),
            known_addresses: HashSet::new(),
            known_changes: 0,
            schedule: Schedule::new(),
            limit: HelloLimit::default(),
            random: fastrand::Rng::with_seed(seed),
            partial_bytes: 0,
            scratch: Outputs::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The trunk adapter changed: paths opened from now on use its new address and MTU.
    pub fn handle_readdressed(&mut self, mac: MacAddr, identity: HmIdentity) {
        self.mac = mac;
        self.identity = identity;
    }

    /// Mode and keys of every VM that has keys. An open path whose key is not among them any more is closed; where other
    /// keys or modes are to be used than before, the guest is asked to shake hands anew.
    pub fn handle_keys(&mut self, now: Instant, keys: HashMap<VmUuid, Authentication>) {
        let changed = self.secrets.replace(keys);
        if changed.iter().any(|(vm, _)| !self.is_open(*vm)) {
            // One that was refused may be let in now.
            self.broadcast_hello();
        }
        for (vm, kept) in changed {
            let used = self.view(vm).and_then(|view| view.security).map(|(_, key)| key);
            if self.view(vm).is_some_and(|view| !view.security.is_some_and(|(on, _)| on.incoming)) {
                // It may have keys by now. Which of them an authenticated path uses is up to the guest.
                self.hello_vm(now, vm);
            }
            if used.is_some_and(|key| !kept.contains(&key)) {
                self.close(now, vm, CloseReason::Unauthenticated);
            }
        }
    }

    /// Takes a frame. Allocates nothing for a heartbeat, and looks for its path once.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        source: MacAddr,
        vlan: Option<u16>,
        payload: &[u8],
    ) -> Option<Beat> {
        // A broadcast address is a group's, too.
        if source.is_multicast() {
            self.counters.discard(Discard::Flags);
            return None;
        }
        let packet = match Packet::decode(payload) {
            Ok(packet) => packet,
            Err(malformed) => {
                self.on_malformed(source, malformed);
                return None;
            }
        };
        if packet.has(Flags::HEL) {
            self.on_hello(now, source, vlan, &packet);
        } else if packet.has(Flags::SYN | Flags::BEG | Flags::ACKR) && !packet.has(Flags::ACK) {
            if packet.has(Flags::END) {
                self.counters.discard(Discard::Flags);
            } else {
                self.on_syn(now, source, vlan, &packet);
            }
        } else {
            return self.on_packet(now, source, vlan, &packet);
        }
        None
    }

    /// The owner found its knowledge of this guest here; said again with its next heartbeat.
    pub fn remember(&mut self, mac: MacAddr, hints: Hints) {
        if let Some(session) = self.sessions.get_mut(&mac) {
            session.hints = hints;
        }
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
        queue::pop(&mut self.transmits)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        queue::pop(&mut self.events)
    }

    /// Says Hello to everybody.
    pub fn broadcast_hello(&mut self) {
        self.transmits.push_back(Transmit {
            destination: MacAddr::broadcast(),
            vlan: None,
            payload: self.hello.clone(),
        });
    }

    /// Says Hello to an address whose owner is not one of these guests; how often is up to the caller.
    pub fn hello_at(&mut self, destination: MacAddr) {
        self.transmits.push_back(Transmit { destination, vlan: None, payload: self.hello.clone() });
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

    /// The packet by which the VM's path was opened was read late, or not: it arrived then.
    pub fn handle_arrived(&mut self, vm: VmUuid, arrived: Instant) {
        if let Some(session) = self.by_vm.get(&vm).and_then(|mac| self.sessions.get_mut(mac)) {
            session.opened = arrived;
        }
    }

    /// The VM's path is MISSING (true), or beats or is not watched (false). A missing VM may appear at another address,
    /// whose path takes the place of the old one when it is open; and it is reminded.
    pub fn handle_missing(&mut self, now: Instant, vm: VmUuid, missing: bool) {
        if self.reminders.handle_missing(vm, missing) {
            self.remind(now, vm);
        }
    }

    /// The open path to a VM.
    #[must_use]
    pub fn view(&self, vm: VmUuid) -> Option<SessionView> {
        let mac = *self.by_vm.get(&vm)?;
        self.sessions.get(&mac)?.view(mac)
    }

    /// Every open path.
    pub fn views(&self) -> impl Iterator<Item = SessionView> {
        self.sessions.iter().filter_map(|(mac, session)| session.view(*mac))
    }

    /// A message of a guest was not understood, or is not for a host monitor. [M-2]
    pub fn count_strange_message(&mut self) {
        self.counters.discard(Discard::Message);
    }

    /// Named counts since the start: frames dropped by reason, Hellos sent and withheld.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        self.counters.named()
    }

    fn on_packet(
        &mut self,
        now: Instant,
        source: MacAddr,
        vlan: Option<u16>,
        packet: &Packet<'_>,
    ) -> Option<Beat> {
        let Some(session) = self.sessions.get_mut(&source).filter(|session| !session.responder.is_closed())
        else {
            self.counters.discard(Discard::NotOpen);
            self.say_hello(now, source, vlan);
            return None;
        };
        let held = session.responder.is_held();
        session.responder.handle_packet(now, packet, &self.identity, &mut self.scratch);
        let kept = session.responder.is_held();
        if let Some(vm) = session.vm.filter(|_| kept != held) {
            self.events.push_back(SessionEvent::Guardian { vm, beats: kept });
        }
        let mut beat = None;
        match self.scratch.poll_event() {
            Some(Event::Heartbeat { .. }) => {
                session.heartbeats = session.heartbeats.saturating_add(1);
                self.counters.heartbeats = self.counters.heartbeats.saturating_add(1);
                beat = session.vm.map(|vm| Beat { vm, hints: session.hints });
            }
            Some(event) => self.on_event(now, source, event),
            None => {}
        }
        self.carry(now, source);
        // What is neither acknowledged nor acknowledges moves no deadline and leaves nothing behind.
        if packet.has(Flags::ACKR) || packet.has(Flags::ACK) || packet.has(Flags::SYN) || kept != held {
            self.settle(now, source);
        }
        beat
    }

    fn on_malformed(&mut self, source: MacAddr, malformed: Malformed) {
        self.counters.discard(malformed.into());
        if let Malformed::Major(version) = malformed {
            let (uuid, versions) = (String::new(), version.to_string());
            self.events.push_back(SessionEvent::VersionConflict { mac: source, uuid, versions });
        }
    }

    /// A Hello without an identifier asks for ours; one with an identifier is another host monitor's. [H-7]
    fn on_hello(&mut self, now: Instant, source: MacAddr, vlan: Option<u16>, packet: &Packet<'_>) {
        if packet.payload.is_empty() {
            self.say_hello(now, source, vlan);
        } else {
            self.counters.discard(Discard::Flags);
        }
    }

    fn say_hello(&mut self, now: Instant, destination: MacAddr, vlan: Option<u16>) {
        let known = self.known_addresses.contains(&destination)
            || self.sessions.get(&destination).is_some_and(|session| session.vm.is_some());
        if self.limit.may_say(now, destination, known) {
            self.counters.hellos = self.counters.hellos.saturating_add(1);
            self.transmits.push_back(Transmit { destination, vlan, payload: self.hello.clone() });
        } else {
            self.counters.hellos_withheld = self.counters.hellos_withheld.saturating_add(1);
        }
    }

    fn look(&mut self, now: Instant, mac: MacAddr) {
        let mut unanswered = false;
        if let Some(session) = self.sessions.get_mut(&mac) {
            if session.looked_at.is_none_or(|looked_at| looked_at > now) {
                // An entry that an earlier one has replaced.
                return;
            }
            session.looked_at = None;
        }
        let handshake = self.handshake_at(mac);
        self.with(now, mac, |session, out| unanswered = session.responder.handle_timeout(now, out));
        if let Some((vm, vlan)) = handshake.filter(|_| self.handshake_at(mac).is_none()) {
            self.on_handshake_given_up(now, vm, (mac, vlan));
        }
        let vm = self.sessions.get(&mac).and_then(|session| session.vm);
        if let Some(vm) = vm.filter(|_| unanswered) {
            self.events.push_back(SessionEvent::Unanswered { vm });
        }
    }

    /// Calls a session, carries away what comes of it, and sees to its next look and its share of memory.
    fn with(&mut self, now: Instant, mac: MacAddr, call: impl FnOnce(&mut Session, &mut Outputs)) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        call(session, &mut self.scratch);
        self.carry(now, mac);
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
            return self.carry(now, mac);
        }
        let mut next = session.responder.poll_timeout();
        if session.responder.is_closed() {
            // Kept until it may begin another handshake: whoever opens and closes in turn would begin them at line rate.
            next = session.begun.map(|begun| begun + HANDSHAKE_PERIOD).filter(|until| *until > now);
            if next.is_none() {
                return self.remove(mac);
            }
        }
        if let Some(next) = next.filter(|next| session.looked_at.is_none_or(|looked_at| *next < looked_at)) {
            session.looked_at = Some(next.max(now));
            self.schedule.push(next, mac.octets());
            self.forget_looks();
        }
    }

    fn carry(&mut self, now: Instant, mac: MacAddr) {
        while let Some(payload) = self.scratch.poll_packet() {
            let vlan = self.sessions.get(&mac).and_then(|session| session.vlan_of(&payload));
            self.transmits.push_back(Transmit { destination: mac, vlan, payload });
        }
        while let Some(event) = self.scratch.poll_event() {
            self.on_event(now, mac, event);
        }
    }

    fn on_event(&mut self, now: Instant, mac: MacAddr, event: Event) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        match event {
            Event::Opened { .. } => self.on_opened(now, mac),
            Event::Closed(reason) => {
                if let Some(vm) = session.vm.take() {
                    let place = (mac, session.vlan);
                    if self.by_vm.get(&vm) == Some(&mac) {
                        self.by_vm.remove(&vm);
                    }
                    self.events.push_back(SessionEvent::Closed { vm, mac, reason });
                    if self.registered.contains(&vm) {
                        self.reminders.handle_closed(vm, place);
                        self.remind(now, vm);
                    }
                    self.on_known_changed(vm);
                }
            }
            Event::HandshakeFailed(_) => {
                self.counters.handshakes_failed = self.counters.handshakes_failed.saturating_add(1)
            }
            // Comes of a frame only, and is seen there.
            Event::Heartbeat { .. } => {}
            Event::Message { delivery, payload } => match session.vm {
                Some(vm) => {
                    let receipt = Receipt { mac, delivery };
                    self.events.push_back(SessionEvent::Message { vm, receipt, payload });
                }
                None => session.responder.refuse(delivery),
            },
            Event::Delivered(token) => self.events.push_back(SessionEvent::Delivered { token }),
            Event::HandedBack { token, .. } => self.events.push_back(SessionEvent::HandedBack { token }),
            Event::Discarded(reason) => {
                self.counters.discard(reason);
                if matches!(reason, Discard::Forged | Discard::Replayed)
                    && session.rejections.is_noteworthy(now)
                    && let Some(vm) = session.vm
                {
                    self.events.push_back(SessionEvent::Forgeries { vm, mac });
                }
            }
        }
    }
}
