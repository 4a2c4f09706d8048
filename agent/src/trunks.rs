//! The agent's side of the wire: every adapter, every host monitor heard on it, and what is told them.
//!
//! Pure. Frames and changes go in; frames to send, requests for a report and things worth logging come out.
//!
//! ```text
//! adapter: asks for a Hello (0, 1, 3, 7 s, then every 30 s) while it has no path
//!   |  Hello of a host monitor
//!   v
//! path:   Waiting --connect--> Connecting --both SYNs--> Open --START_HB--> beating
//!           ^                      |  unanswered           |  unanswered
//!           +----------------------+-----------------------+
//! ```

mod adapter;
mod announce;
mod doorbell;
mod events;
mod path;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, KeyId, Nonces};
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::message::{Doorbell, Message, Shutdown};
use vmpulse_protocol::path::{Directions, Discard, Outputs, Token, VmmIdentity, VmmSecurity};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;

use crate::guardian::keeper::PathKeeper;
use adapter::Adapter;
use announce::Announcements;
pub use announce::{Announced, Announcement, PathTold, QuietStatus, Told};
use doorbell::Bell;
pub use events::TrunkEvent;
use path::HmPath;

/// An adapter, by its interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(pub u32);

/// What a VMM says of itself, and the seed of its numbers.
#[derive(Clone, Debug)]
pub struct TrunksConfig {
    /// The VM's UUID as it will be sent.
    pub vm: String,
    /// Different at each start.
    pub incarnation_seed: u64,
    /// Of the nonces: from the kernel's source of randomness, different at each start.
    pub nonce_seed: [u8; 32],
    /// `SUSPEND` (true) or `RESUME` (false) that was said in an earlier life and that no host monitor has acknowledged.
    pub unheard_suspension: Option<bool>,
}

/// What happens to it.
#[derive(Debug)]
pub enum TrunkInput<'a> {
    /// An adapter can be used.
    AdapterUp {
        /// Which.
        adapter: AdapterId,
        /// Its address.
        mac: MacAddr,
        /// Its MTU.
        mtu: usize,
        /// Its name, for people.
        name: String,
    },
    /// An adapter is gone; its paths with it.
    AdapterDown {
        /// Which.
        adapter: AdapterId,
    },
    /// A frame arrived.
    Frame {
        /// On which adapter.
        adapter: AdapterId,
        /// From whom.
        source: MacAddr,
        /// To us, or to everybody.
        destination: MacAddr,
        /// TCI of its tag.
        vlan: Option<u16>,
        /// What follows the Ethernet header.
        payload: &'a [u8],
    },
    /// Something changed that the controller should know.
    Ring(Doorbell),
    /// The report that was wanted, as it is now.
    Report {
        /// The exchange.
        tag: i64,
        /// The report.
        xml: Vec<u8>,
    },
    /// The agent or the guest is being stopped on purpose: say so, then [`TrunkOutput::ShutdownDone`].
    Shutdown(Shutdown),
    /// The guest's administrator suspends monitoring of the VM.
    Suspend,
    /// And resumes it.
    Resume,
    /// The guest's administrator announces that heartbeats may stop.
    Quiet {
        /// For so long; zero: the announced silence is over.
        asked: Duration,
        /// Why: see [`vmpulse_protocol::message::is_quiet_reason`].
        reason: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrunkOutput {
    /// Send this frame.
    Transmit {
        /// On which adapter.
        adapter: AdapterId,
        /// To whom.
        destination: MacAddr,
        /// TCI to tag it with; `None`: as the socket is configured.
        vlan: Option<u16>,
        /// What follows the Ethernet header.
        payload: Vec<u8>,
    },
    /// A host monitor asks for the report: answer with [`TrunkInput::Report`] in the same turn.
    ReportWanted {
        /// The exchange.
        tag: i64,
    },
    /// The controller has the report.
    ReportTaken {
        /// The exchange.
        tag: i64,
    },
    /// Every host monitor that was told has acknowledged the suspension, or its end: it need not be said again.
    SuspensionHeard,
    /// Worth a line in the log.
    Log(TrunkEvent),
    /// Every host monitor has acknowledged the shutdown, or cannot.
    ShutdownDone,
}

/// A path as `vmmgr status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Name of the adapter.
    pub adapter: String,
    /// Its address.
    pub mac: MacAddr,
    /// `WAITING` for a Hello, `CONNECTING`, `OPEN`, `BEATING`.
    pub state: &'static str,
    /// Address of the host monitor; `None` before any was heard.
    pub host_monitor_mac: Option<MacAddr>,
    /// Which host monitor, while open.
    pub host_monitor: Option<HostMonitorId>,
    /// Running version, while open.
    pub version: Option<Version>,
    /// Interval of the heartbeats, while beating.
    pub interval: Option<Duration>,
    /// Since the last Hello.
    pub last_hello_age: Option<Duration>,
    /// Sent on this path since the agent started.
    pub heartbeats_sent: u64,
    /// Which directions are authenticated, and with which key, if any is.
    pub security: Option<(Directions, KeyId)>,
}

/// Why a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Doorbell,
    Report,
    Clear,
    LastWords,
    Suspension { suspend: bool },
    Quiet,
    Shutdown,
}

type PathKey = (AdapterId, MacAddr);

/// See the module.
#[derive(Clone, Debug)]
pub struct Trunks {
    identity: VmmIdentity,
    random: fastrand::Rng,
    nonces: Nonces,
    authentication: Authentication,
    adapters: BTreeMap<AdapterId, Adapter>,
    bell: Bell,
    /// Messages under way, by token.
    under_way: BTreeMap<Token, (PathKey, Purpose)>,
    next_token: u64,
    /// Who asked for which report, newest last.
    asked: VecDeque<(i64, PathKey)>,
    announcements: Announcements,
    /// What is being stopped, until every host monitor was told.
    shutting_down: Option<Shutdown>,
    /// Packets dropped since the start, by reason. [K-1]
    discards: BTreeMap<Discard, u64>,
    /// Where the guardian finds the paths.
    keeper: Option<PathKeeper>,
    /// No heartbeats are sent: this guest is as good as dead.
    silenced: bool,
    scratch: Outputs,
    outputs: VecDeque<TrunkOutput>,
}

/// Exchanges remembered: one per path, and a few that were interrupted.
const ASKED_MAXIMUM: usize = 16;

impl Trunks {
    /// No adapter yet.
    #[must_use]
    pub fn new(config: TrunksConfig, _now: Instant) -> Self {
        let identity = VmmIdentity {
            uuid: config.vm,
            os_type: "Linux".to_owned(),
            lower: Version::V2_0,
            upper: Version::V2_1,
        };
        Self {
            identity,
            random: fastrand::Rng::with_seed(config.incarnation_seed),
            nonces: Nonces::new(&config.nonce_seed),
            authentication: Authentication::NONE,
            adapters: BTreeMap::new(),
            bell: Bell::default(),
            under_way: BTreeMap::new(),
            next_token: 0,
            asked: VecDeque::new(),
            announcements: Announcements::new(config.unheard_suspension),
            shutting_down: None,
            discards: BTreeMap::new(),
            keeper: None,
            silenced: false,
            scratch: Outputs::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: TrunkInput<'_>) {
        match input {
            TrunkInput::AdapterUp { adapter, mac, mtu, name } => {
                self.outputs.push_back(TrunkOutput::Log(TrunkEvent::AdapterUp { name: name.clone(), mac }));
                self.adapters.insert(adapter, Adapter::new(now, mac, mtu, name));
            }
            TrunkInput::AdapterDown { adapter } => self.on_adapter_down(adapter),
            TrunkInput::Frame { adapter, source, destination, vlan, payload } => {
                self.on_frame(now, (adapter, source), destination, vlan, payload);
            }
            TrunkInput::Ring(bits) => self.bell.ring(now, bits),
            TrunkInput::Report { tag, xml } => self.on_report(now, tag, &xml),
            TrunkInput::Shutdown(kind) => self.on_shutdown(now, kind),
            TrunkInput::Suspend => self.on_suspension(now, true),
            TrunkInput::Resume => self.on_suspension(now, false),
            TrunkInput::Quiet { asked, reason } => self.on_quiet(now, asked, reason),
        }
        self.settle(now);
    }

    /// Mode and keys, at the start and whenever they change. Open paths stay open, and are replaced by new handshakes
    /// beside them; the others use it from their next handshake on.
    pub fn handle_authentication(&mut self, now: Instant, authentication: Authentication) {
        if authentication == self.authentication {
            return;
        }
        self.authentication = authentication;
        for key in self.path_keys() {
            let Some(security) = self.security(key) else { continue };
            self.with_path(now, key, |path, out| path.handle_security(now, security, out));
        }
        self.settle(now);
    }

    /// Paths opened from now on are kept by a guardian as well.
    pub fn keep_with(&mut self, keeper: PathKeeper) {
        self.keeper = Some(keeper);
    }

    /// From now on no heartbeats are sent, and the host monitors are told why; `None`: they are sent again. What else is to be
    /// said is said. [M-16]
    pub fn handle_silenced(&mut self, now: Instant, why: Option<&str>) {
        let silenced = why.is_some();
        self.silenced = silenced;
        if let Some(reason) = why {
            let of_2_1 = |key: &PathKey| {
                let peer = self.path(*key).and_then(|path| path.initiator.peer());
                peer.is_some_and(|(_, version)| version >= Version::V2_1)
            };
            let paths: Vec<PathKey> = self.open_paths().into_iter().filter(of_2_1).collect();
            for key in paths {
                self.send(now, key, Purpose::LastWords, &Message::Dying { reason });
            }
        }
        for path in self.adapters.values_mut().flat_map(|adapter| adapter.paths.values_mut()) {
            path.silence(silenced);
        }
    }

    /// Fresh entropy for handshakes begun in this turn. A guest that goes on from a snapshot must not repeat the nonces
    /// and marks of its earlier life.
    pub fn handle_entropy(&mut self, entropy: &[u8; 32]) {
        self.nonces.stir(entropy);
        for path in self.adapters.values_mut().flat_map(|adapter| adapter.paths.values_mut()) {
            // Two paths stirred alike still have sources of their own.
            path.stir(entropy);
        }
    }

    /// For the path between this adapter and this host monitor.
    fn security(&mut self, key: PathKey) -> Option<VmmSecurity> {
        let addresses = Addresses { vmm: self.adapters.get(&key.0)?.mac, hm: key.1 };
        let nonces = self.nonces.fork();
        Some(VmmSecurity { authentication: self.authentication.clone(), addresses, nonces })
    }

    /// Heartbeats, retransmissions, solicitations and doorbells that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for key in self.path_keys() {
            self.with_path(now, key, |path, out| path.handle_timeout(now, out));
        }
        for (id, adapter) in &mut self.adapters {
            self.outputs.extend(adapter.solicit(now, *id));
        }
        self.settle(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let adapters = self.adapters.values().filter_map(Adapter::poll_timeout);
        let bell = self.bell.poll_timeout().filter(|_| self.may_ring());
        adapters.chain(bell).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<TrunkOutput> {
        self.outputs.pop_front()
    }

    /// Every path, and every adapter that has none.
    #[must_use]
    pub fn paths(&self, now: Instant) -> Vec<PathStatus> {
        self.adapters.values().flat_map(|adapter| adapter.status(now)).collect()
    }

    /// Packets dropped since the start, by reason. [K-1]
    pub fn discards(&self) -> impl Iterator<Item = (Discard, u64)> {
        self.discards.iter().map(|(reason, count)| (*reason, *count))
    }

    fn on_adapter_down(&mut self, id: AdapterId) {
        if let Some(adapter) = self.adapters.remove(&id) {
            if let Some(keeper) = &mut self.keeper {
                keeper.close_adapter(id.0);
            }
            self.outputs.push_back(TrunkOutput::Log(TrunkEvent::AdapterDown { name: adapter.name }));
            self.asked.retain(|(_, (adapter, _))| *adapter != id);
            // What was under way there will not be answered; the other paths have the same messages.
            self.under_way.retain(|_, ((adapter, _), _)| *adapter != id);
            self.announcements.on_adapter_down(id);
            self.on_fewer_paths();
        }
    }

    fn on_report(&mut self, now: Instant, tag: i64, xml: &[u8]) {
        let Some(key) = self.asked.iter().rev().find(|(asked, _)| *asked == tag).map(|(_, key)| *key) else {
            return;
        };
        self.bell.on_reported(tag);
        self.send(now, key, Purpose::Report, &Message::Report { tag, xml });
    }

    fn on_shutdown(&mut self, now: Instant, kind: Shutdown) {
        self.shutting_down = Some(kind);
        for key in self.open_paths() {
            self.send(now, key, Purpose::Shutdown, &Message::Shutdown(kind));
        }
        self.on_fewer_paths();
    }

    /// The shutdown is done when no host monitor is left that has not acknowledged it.
    fn on_fewer_paths(&mut self) {
        // A host monitor that was restarted is told when the new handshake is through.
        let connecting = |key| self.path(key).is_some_and(|path| path.initiator.is_connecting());
        let unheard = self.is_under_way(Purpose::Shutdown) || self.path_keys().into_iter().any(connecting);
        if self.shutting_down.is_some() && !unheard {
            self.shutting_down = None;
            self.outputs.push_back(TrunkOutput::ShutdownDone);
        }
    }

    fn tell_shutdown(&mut self, now: Instant, key: PathKey) {
        if let Some(kind) = self.shutting_down {
            self.send(now, key, Purpose::Shutdown, &Message::Shutdown(kind));
        }
    }

    fn is_under_way(&self, wanted: Purpose) -> bool {
        self.under_way.values().any(|(_, purpose)| *purpose == wanted)
    }

    /// Rings if that is due and anybody may hear it.
    fn settle(&mut self, now: Instant) {
        let ears: Vec<PathKey> =
            self.path_keys().into_iter().filter(|key| self.path(*key).is_some_and(HmPath::hears)).collect();
        if ears.is_empty() {
            return;
        }
        if self.is_under_way(Purpose::Doorbell) {
            return self.bell.on_under_way(now);
        }
        let Some(bits) = self.bell.poll(now) else { return };
        for key in ears {
            self.send(now, key, Purpose::Doorbell, &Message::Doorbell(bits));
        }
    }

    fn send(&mut self, now: Instant, key: PathKey, purpose: Purpose, message: &Message<'_>) {
        if self.path(key).is_none() {
            return;
        }
        self.next_token = self.next_token.wrapping_add(1);
        let token = Token(self.next_token);
        self.under_way.insert(token, (key, purpose));
        self.with_path(now, key, |path, out| path.initiator.send(now, token, message, out));
    }

    /// Calls a path, and carries away what comes of it.
    fn with_path(&mut self, now: Instant, key: PathKey, call: impl FnOnce(&mut HmPath, &mut Outputs)) {
        let Some(path) = self.adapters.get_mut(&key.0).and_then(|adapter| adapter.paths.get_mut(&key.1))
        else {
            return;
        };
        let sent = path.heartbeats_sent();
        call(path, &mut self.scratch);
        let beat = path.heartbeats_sent() != sent;
        self.carry(now, key);
        self.keep(now, key, beat);
    }

    /// The guardian sees when the path beat last, and how often it is to.
    fn keep(&mut self, now: Instant, key: PathKey, beat: bool) {
        let path = self.adapters.get(&key.0).and_then(|adapter| adapter.paths.get(&key.1));
        let (Some(keeper), Some(path)) = (&mut self.keeper, path) else { return };
        let name = (key.0.0, key.1);
        if beat {
            keeper.on_beat(name, now);
        }
        keeper.set_interval(name, path.beating());
    }

    fn path(&self, key: PathKey) -> Option<&HmPath> {
        self.adapters.get(&key.0)?.paths.get(&key.1)
    }

    fn path_keys(&self) -> Vec<PathKey> {
        let keys = |(id, adapter): (&AdapterId, &Adapter)| {
            let id = *id;
            adapter.paths.keys().map(move |mac| (id, *mac)).collect::<Vec<_>>()
        };
        self.adapters.iter().flat_map(keys).collect()
    }

    fn open_paths(&self) -> Vec<PathKey> {
        self.path_keys()
            .into_iter()
            .filter(|key| self.path(*key).is_some_and(|path| path.initiator.is_open()))
            .collect()
    }

    fn may_ring(&self) -> bool {
        self.path_keys().into_iter().any(|key| self.path(key).is_some_and(HmPath::hears))
    }
}
