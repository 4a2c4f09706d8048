//! The guests of one trunk by their MAC address: handshakes, messages, and what they were told.
//!
//! Pure. It knows nothing of liveness or of the store; [`monitor`](crate::monitor) puts them together.

mod counters;
mod hellos;
mod looks;
mod reminders;
mod secrets;
mod sizes;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, KeyId, Mode, Nonces};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::{Message, VmmSyn};
use vmpulse_protocol::path::{
    CloseReason, Delivery, Directions, Discard, Event, HmIdentity, Outputs, Reception, Refusal, Responder,
    SynOutcome, Token,
};
use vmpulse_protocol::schedule::Schedule;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Malformed, Packet, Version};

use crate::by_vm::Hint;
use crate::queue;
use counters::Counters;
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
    /// A handshake was asked for under a UUID that cannot be one; it is not answered. [S-20]
    CannotManage {
        /// The guest's address.
        mac: MacAddr,
        /// As it came.
        uuid: String,
    },
    /// A handshake was asked for from another address than the open path's; `open_at` decides. [S-21]
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
    /// A handshake was refused for want of authentication.
    Refused {
        /// Which VM.
        vm: VmUuid,
        /// Who asks.
        mac: MacAddr,
        /// Why.
        refusal: Refusal,
    },
    /// The VM was authenticated for the first time: from now on it must be.
    Authenticated {
        /// Which VM.
        vm: VmUuid,
    },
    /// Packets on an authenticated path were forged or replayed: three in a minute, said once in that minute.
    Forgeries {
        /// Which VM's path.
        vm: VmUuid,
        /// The address that they seem to come from.
        mac: MacAddr,
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
    /// The guardian of a guest beats in its agent's place (true), or the agent beats again. [M-14]
    Guardian {
        /// Which VM's path.
        vm: VmUuid,
        /// Whether the guardian beats.
        beats: bool,
    },
    /// Messages to the guest went unanswered; they were handed back before.
    Unanswered {
        /// Which VM.
        vm: VmUuid,
    },
}

/// A heartbeat on an open path. There are too many of them to be events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Which VM.
    pub vm: VmUuid,
    /// What was given to [`Sessions::remember`].
    pub hints: Hints,
}

/// Where the owner of the sessions keeps what it knows of a guest.
pub type Hints = [Hint; 2];

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
    /// Of the SYN by which the path was opened, and of the handshake under way: a forged SYN must not lead the answers
    /// of an open path elsewhere.
    vlan: Option<u16>,
    candidate_vlan: Option<u16>,
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
    /// Which directions are authenticated, and with which key, if any is.
    pub security: Option<(Directions, KeyId)>,
    /// Whether the guest's guardian beats, because its agent does not.
    pub guardian: bool,
    /// See [`Beat::hints`].
    pub hints: Hints,
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

    /// Which VMs are registered, and addresses at which some of them were heard before: they do not share the
    /// bounds of strangers.
    pub fn handle_registered(&mut self, vms: HashSet<VmUuid>, addresses: HashSet<MacAddr>) {
        self.reminders.retain(&vms);
        let first = self.known_changes == 0;
        if first || (&self.registered, &self.known_addresses) != (&vms, &addresses) {
            self.known_changes = self.known_changes.saturating_add(1);
        }
        self.registered = vms;
        self.known_addresses = addresses;
    }

    /// Addresses of registered VMs: those of open paths first, then where the store says that one was heard. At most
    /// [`SESSIONS_MAXIMUM`].
    #[must_use]
    pub fn known_addresses(&self) -> BTreeSet<MacAddr> {
        let open = self.by_vm.iter().filter(|(vm, _)| self.registered.contains(vm)).map(|(_, mac)| *mac);
        let mut known: BTreeSet<MacAddr> = open.take(SESSIONS_MAXIMUM).collect();
        for mac in &self.known_addresses {
            if known.len() >= SESSIONS_MAXIMUM {
                break;
            }
            // What a store holds need not be an address that a frame can come from.
            if !mac.is_multicast() {
                known.insert(*mac);
            }
        }
        known
    }

    /// Changes when [`known_addresses`](Self::known_addresses) may have; 0 until it is told who is registered.
    #[must_use]
    pub const fn known_changes(&self) -> u64 {
        self.known_changes
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
            self.on_syn(now, source, vlan, &packet);
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

    /// The VM's path is MISSING (true), or beats or is not watched (false). A missing VM may appear at another address,
    /// whose path takes the place of the old one when it is open; and it is reminded.
    pub fn handle_missing(&mut self, now: Instant, vm: VmUuid, missing: bool) {
        if self.reminders.handle_missing(vm, missing) {
            self.remind(now, vm);
        }
    }

    /// A guest whose packets are all refused, or that waits on a channel that was given up here, learns of it only by a
    /// Hello of its own: to be called every 30 s. [H-10]
    pub fn remind_missing(&mut self, now: Instant) {
        for vm in self.reminders.missing() {
            self.remind(now, vm);
        }
    }

    /// Says Hello where the VM was heard last.
    fn remind(&mut self, now: Instant, vm: VmUuid) {
        if self.by_vm.contains_key(&vm) {
            self.hello_vm(now, vm);
        } else if let Some((mac, vlan)) = self.reminders.last_place(vm) {
            self.say_hello(now, mac, vlan);
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

    fn on_syn(&mut self, now: Instant, source: MacAddr, vlan: Option<u16>, packet: &Packet<'_>) {
        let Ok(syn) = VmmSyn::parse(packet.payload) else { return self.counters.discard(Discard::Syn) };
        let Ok(vm) = syn.uuid.parse::<VmUuid>() else {
            return self.events.push_back(SessionEvent::CannotManage { mac: source, uuid: syn.uuid });
        };
        if let Some(open_at) = self.by_vm.get(&vm).copied().filter(|open_at| *open_at != source)
            && !self.reminders.is_missing(vm)
        {
            return self.events.push_back(SessionEvent::AnotherAddress { vm, open_at, mac: source });
        }
        if !self.make_room_for(source) {
            return self.counters.discard(Discard::Paths);
        }
        let identity = self.identity;
        let reception = Reception {
            vm,
            addresses: Addresses { vmm: source, hm: self.mac },
            authentication: &self.secrets.of(vm).clone(),
            nonce: self.nonces.next_nonce(),
            gives_way: self.gives_way(source),
            seed: self.random.u64(..),
        };
        let mut outcome = SynOutcome::Repeated;
        let session = self.sessions.entry(source).or_default();
        let too_soon = session.begun.is_some_and(|begun| now.since(begun) < HANDSHAKE_PERIOD);
        if !session.responder.is_repetition(now, packet) {
            if too_soon {
                return self.counters.discard(Discard::Handshaking);
            }
            session.begun = Some(now);
        }
        self.with(now, source, |session, out| {
            outcome = session.responder.handle_syn(now, packet, &syn, &identity, &reception, out);
            if matches!(outcome, SynOutcome::Begun | SynOutcome::VersionConflict) {
                session.candidate_vlan = vlan;
            }
        });
        match outcome {
            SynOutcome::Repeated | SynOutcome::Dropped | SynOutcome::Begun => {}
            SynOutcome::VersionConflict => {
                let versions = format!("{}-{}", syn.lower, syn.upper);
                let event = SessionEvent::VersionConflict { mac: source, uuid: syn.uuid, versions };
                self.events.push_back(event);
            }
            SynOutcome::Refused(refusal) => {
                self.counters.handshakes_refused = self.counters.handshakes_refused.saturating_add(1);
                self.events.push_back(SessionEvent::Refused { vm, mac: source, refusal });
            }
        }
    }

    /// Whether a path at this address may be replaced by another VM's: its own VM is missing, or nobody's.
    fn gives_way(&self, mac: MacAddr) -> bool {
        let vm = self.sessions.get(&mac).and_then(|session| session.vm);
        vm.is_none_or(|vm| self.reminders.is_missing(vm) || !self.registered.contains(&vm))
    }

    /// True for a known address or a free place; the oldest stranger gives way to a newcomer.
    fn make_room_for(&mut self, source: MacAddr) -> bool {
        if self.sessions.contains_key(&source) {
            return true;
        }
        if self.newcomers.len() >= STRANGERS_MAXIMUM
            && let Some(oldest) = self.newcomers.pop_front()
            && self.is_stranger(oldest)
        {
            self.remove(oldest);
        }
        let room = self.sessions.len() < SESSIONS_MAXIMUM;
        if room {
            self.newcomers.push_back(source);
        }
        room
    }

    fn is_stranger(&self, mac: MacAddr) -> bool {
        let vm = self.sessions.get(&mac).and_then(|session| session.vm);
        vm.is_none_or(|vm| !self.registered.contains(&vm))
    }

    fn remove(&mut self, mac: MacAddr) {
        let Some(mut session) = self.sessions.remove(&mac) else { return };
        self.partial_bytes = self.partial_bytes.saturating_sub(session.partial_bytes);
        // Outputs of its own: this may happen while another's are being carried away.
        let mut out = Outputs::new();
        session.responder.close(CloseReason::Unanswered, &mut out);
        while let Some(event) = out.poll_event() {
            if let Event::HandedBack { token, .. } = event {
                self.events.push_back(SessionEvent::HandedBack { token });
            }
        }
        if let Some(vm) = session.vm.filter(|vm| self.by_vm.get(vm) == Some(&mac)) {
            self.by_vm.remove(&vm);
            self.on_known_changed();
        }
    }

    const fn on_known_changed(&mut self) {
        if self.known_changes > 0 {
            self.known_changes = self.known_changes.saturating_add(1);
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
                    self.on_known_changed();
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

    /// The UUID is the one of the SYN that opened the path: a guest may change it only by a new handshake.
    fn on_opened(&mut self, now: Instant, mac: MacAddr) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        session.vlan = session.candidate_vlan;
        let (Some(vm), Some(version)) = (session.responder.vm(), session.responder.version()) else { return };
        if let Some(open_at) = self.by_vm.get(&vm).copied().filter(|open_at| *open_at != mac) {
            if !self.reminders.is_missing(vm) {
                return self.on_opened_twice(now, mac, vm, open_at);
            }
            // The VM has another adapter now; whoever still is at the old address has lost the path.
            let reason = CloseReason::Unanswered;
            self.remove(open_at);
            self.events.push_back(SessionEvent::Closed { vm, mac: open_at, reason });
        }
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        if let Some(old) = session.vm.replace(vm).filter(|old| *old != vm) {
            self.by_vm.remove(&old);
        }
        self.by_vm.insert(vm, mac);
        let authenticated = session.responder.is_authenticated();
        self.on_known_changed();
        self.events.push_back(SessionEvent::Opened { vm, mac, version });
        if authenticated && self.secrets.is_first(vm) {
            self.events.push_back(SessionEvent::Authenticated { vm });
        }
    }

    /// A handshake that was begun while nobody had the UUID is complete when somebody else has it: it comes too late,
    /// and is told to shake hands anew, in case the other one is dead. [S-21]
    fn on_opened_twice(&mut self, now: Instant, mac: MacAddr, vm: VmUuid, open_at: MacAddr) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        let (vlan, old) = (session.vlan, session.vm.take());
        session.responder.close(CloseReason::Unanswered, &mut self.scratch);
        if let Some(old) = old {
            // The address had another VM's path open before, which this handshake has ended.
            self.by_vm.remove(&old);
            self.on_known_changed();
            self.events.push_back(SessionEvent::Closed { vm: old, mac, reason: CloseReason::Unanswered });
        }
        self.events.push_back(SessionEvent::AnotherAddress { vm, open_at, mac });
        self.say_hello(now, mac, vlan);
    }
}
