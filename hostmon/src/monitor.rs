//! The core of a host monitor: sessions, liveness and the store, put together.
//!
//! Pure. Frames, replies of the store and doubts go in; frames, writes to the store and notes for the log come
//! out. The store is a peer: writes carry growing numbers and later come back as [`Input::Stored`], so a slow
//! store never delays a heartbeat, and a guest's message is acknowledged only once its write is committed.

mod absent;
mod canary;
mod configured;
mod flapping;
mod guests;
mod io;
mod isolation;
mod notes;
mod quiet;
mod reports;
mod revenants;
mod roster;
mod sizes;
mod spoken;
mod stops;
mod strangers;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::path::{HmIdentity, Token};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{
    HostMonitorStart, HostMonitorWrite, MessageTag, MonitorMode, MonitorSettings, NodeState,
    REASON_NODE_SHUTDOWN,
};

use crate::by_vm::ByVm;
use crate::queue;
use crate::sessions::{Receipt, SessionView, Sessions, SessionsConfig};
use crate::tracker::{Doubt, Edge, Tracker};

pub use absent::AbsentView;
use canary::Canary;
pub use canary::{CanaryReport, CanaryState, CanaryView};
use configured::OwnSettings;
use guests::{Trouble, Watched};
pub use io::{Input, MonitorConfig, Output, PathView};
use isolation::Isolation;
pub use notes::Note;
use notes::{Reported, StrangerLines};
pub use quiet::QuietView;
use quiet::Quiets;
use roster::Asked;
pub use sizes::Sizes;
use spoken::Spoken;
use stops::Stops;
use strangers::Questions;

/// Hellos after the start, then every [`HELLO_PERIOD`]. [H-1]
const HELLOS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(7)];
const HELLO_PERIOD: Duration = Duration::from_secs(30);
/// Messages of a VM that wait for the store, over all its handshakes. [B-7]
const UNDECIDED_MAXIMUM: usize = 8;
/// Lateness of the loop below this is not even noted.
const LATENESS_NOTED: Duration = Duration::from_millis(1);

/// See [`Input::Heard`].
#[derive(Clone, Copy, Debug)]
struct Heard {
    until: Instant,
    lag: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Monitor {
    config: MonitorConfig,
    own_settings: OwnSettings,
    /// As the store last said.
    settings: MonitorSettings,
    removed: bool,
    /// The write by which it said who it is since the store took it to be down, until that is committed.
    said_anew: Option<u64>,
    /// It said that it stops.
    shutting_down: bool,
    sessions: Sessions,
    tracker: Tracker,
    started: Instant,
    watched: ByVm<Watched>,
    /// Of watched VMs only, so the bound is theirs.
    troubles: HashMap<VmUuid, Trouble>,
    /// See [`Self::remind_revenants`]; of watched VMs only.
    revenants: BTreeSet<VmUuid>,
    questions: Questions,
    roster_known: bool,
    /// Messages to guests under way: what each is for.
    under_way: HashMap<Token, Asked>,
    /// Requests of the store being carried out.
    requests: BTreeSet<i64>,
    stops: Stops,
    next_token: u64,
    next_write: u64,
    /// Messages of guests to be acknowledged when the write of this number is committed.
    to_accept: BTreeMap<u64, (VmUuid, Receipt)>,
    /// How many of them each VM has.
    undecided: HashMap<VmUuid, usize>,
    spoken: Spoken,
    /// The report that each VM was asked for, and the one it was told is taken.
    asked_reports: HashMap<VmUuid, i64>,
    taken_reports: HashMap<VmUuid, i64>,
    quiets: Quiets,
    reported: Reported,
    stranger_lines: StrangerLines,
    hellos: usize,
    next_hello: Instant,
    next_store_heartbeat: Instant,
    heard: Option<Heard>,
    /// How long ago the frame arrived of which the sessions tell now; zero otherwise.
    read_late: Duration,
    /// When the loop was to come round again, as of its last turn.
    due: Option<Instant>,
    adapter_down: bool,
    adapter_is: Cow<'static, str>,
    canary: Option<Box<Canary>>,
    isolation: Isolation,
    store_reachable: bool,
    late: u64,
    deferrals: u64,
    outputs: VecDeque<Output>,
}

impl Monitor {
    /// Starts: tells the store, and says Hello at the first timeout.
    #[must_use]
    pub fn new(config: MonitorConfig, now: Instant) -> Self {
        let sessions = Sessions::new(SessionsConfig {
            identity: config.identity,
            mac: config.mac,
            hello: config.incarnation.to_string(),
            seed: config.seed,
            nonce_seed: config.nonce_seed,
            authentication: config.authentication,
        });
        let canary = config.canary.clone().map(|identity| {
            let (interval, nonces) = (config.heartbeat_interval_ms, &config.nonce_seed);
            Box::new(Canary::new(identity, interval, config.seed, nonces, now))
        });
        let mut monitor = Self {
            own_settings: OwnSettings::of(&config),
            settings: MonitorSettings::default(),
            removed: false,
            said_anew: None,
            shutting_down: false,
            sessions,
            tracker: Tracker::new(),
            started: now,
            watched: ByVm::new(),
            troubles: HashMap::new(),
            revenants: BTreeSet::new(),
            questions: Questions::default(),
            roster_known: false,
            under_way: HashMap::new(),
            requests: BTreeSet::new(),
            stops: Stops::new(),
            next_token: 0,
            next_write: 0,
            to_accept: BTreeMap::new(),
            undecided: HashMap::new(),
            spoken: Spoken::default(),
            asked_reports: HashMap::new(),
            taken_reports: HashMap::new(),
            quiets: Quiets::default(),
            reported: Reported::default(),
            stranger_lines: StrangerLines::default(),
            hellos: 0,
            next_hello: now,
            next_store_heartbeat: now + config.store_heartbeat,
            heard: None,
            read_late: Duration::ZERO,
            due: None,
            adapter_down: false,
            adapter_is: Cow::default(),
            canary,
            isolation: Isolation::default(),
            store_reachable: true,
            late: 0,
            deferrals: 0,
            outputs: VecDeque::new(),
            config,
        };
        let start = monitor.start_record();
        monitor.write(HostMonitorWrite::Started(start));
        let text = format!("host monitor of trunk {} started", monitor.config.trunk);
        monitor.write(HostMonitorWrite::NodeEvent { kind: "STARTED".to_owned(), text });
        monitor
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Frame { arrived, source, payload, .. } if self.is_canary(source) => {
                self.on_canary_frame(now, arrived, payload);
            }
            Input::Frame { arrived, source, vlan, payload } => {
                match self.sessions.handle_frame(now, source, vlan, payload) {
                    Some(beat) => self.on_heartbeat(now, arrived, source, beat),
                    None => {
                        self.read_late = now.since(arrived);
                        self.on_session_events(now);
                        self.read_late = Duration::ZERO;
                    }
                }
            }
            Input::Roster(roster) => self.on_roster(now, roster),
            Input::Standings(standings) => self.on_standings(now, standings),
            Input::Keys(keys) => self.sessions.handle_keys(now, keys),
            Input::KeyProblem(text) => {
                self.write(HostMonitorWrite::NodeEvent { kind: "KEY_PROBLEM".to_owned(), text });
            }
            Input::Stored { up_to } => self.on_stored(now, up_to),
            Input::NotTaken { number, report } => self.on_not_taken(number, report),
            Input::Quiet(answer) => self.on_quiet_answer(now, answer),
            Input::StoreReachable(reachable) => self.on_store_reachable(reachable),
            Input::Dropped(frames) => self.on_doubt(now, Doubt::Dropped(frames)),
            Input::AdapterIs(what) => self.adapter_is = what,
            Input::Canary(report) => self.on_canary_report(now, report),
            Input::StoreClockStepped => self.repeat_silences(now),
            Input::Heard { until, lag } => {
                self.heard =
                    Some(Heard { until: self.heard.map_or(until, |heard| heard.until.max(until)), lag });
            }
            Input::Adapter(up) => self.on_adapter(now, up),
            Input::Readdressed { mac, mtu } => self.on_readdressed(now, mac, mtu),
            Input::Shutdown => {
                self.shutting_down = true;
                self.write(HostMonitorWrite::NodeChanged {
                    state: NodeState::Down,
                    reason: REASON_NODE_SHUTDOWN,
                    mode: MonitorMode::Down,
                });
            }
        }
        self.settle(now);
    }

    /// Does what is due; to be called in every turn, since it also says when the loop is to come round again, from which
    /// lateness counts. The link must have been read in this turn, and [`Input::Heard`] said how far: otherwise a guest could
    /// be accused of a silence that waits in the socket.
    pub fn handle_timeout(&mut self, now: Instant) {
        let as_of = self.on_lateness(now);
        if self.next_hello <= now {
            self.sessions.broadcast_hello();
            self.sessions.remind_missing(now);
            self.remind_revenants(now);
            // Also those who were too many to be reported at once when they came.
            self.questions.ask();
            self.hellos = self.hellos.saturating_add(1);
            self.next_hello = match HELLOS.get(self.hellos) {
                Some(after) => self.started + *after,
                None => now + HELLO_PERIOD,
            };
        }
        if self.next_store_heartbeat <= now {
            self.next_store_heartbeat = now + self.config.store_heartbeat;
            self.write(HostMonitorWrite::Heartbeat);
            self.reconcile_guardians(now);
        }
        self.sessions.handle_timeout(now);
        self.end_quiets(now);
        self.note_left_out(now);
        if self.adapter_down {
            self.tracker.handle_doubt(now, Doubt::AdapterDown);
        }
        self.canary_timeout(now, as_of);
        self.tracker.handle_timeout(as_of);
        self.on_return(now);
        self.settle(now);
        self.due = self.next_turn().map(|due| due.max(now));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // To be late with a question is no reason for doubt.
        self.next_turn().into_iter().chain(self.questions.poll_timeout()).min()
    }

    fn next_turn(&self) -> Option<Instant> {
        let own = [Some(self.next_hello), Some(self.next_store_heartbeat), self.quiets.poll_timeout()];
        let lag = self.heard.map_or(Duration::ZERO, |heard| heard.lag);
        let judgement = self.tracker.poll_timeout().map(|due| due + lag);
        let trunk = [self.canary_poll_timeout(), self.isolation.poll_timeout()];
        own.into_iter().chain([self.sessions.poll_timeout(), judgement]).chain(trunk).flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.sessions.poll_transmit().map(Output::Transmit).or_else(|| queue::pop(&mut self.outputs))
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &MonitorConfig {
        &self.config
    }

    /// Every open path, with whether it beats and how long ago it last did.
    pub fn paths(&self, now: Instant) -> impl Iterator<Item = PathView> {
        self.sessions.views().map(move |session| self.path_view(now, session))
    }

    /// The open path of one VM.
    #[must_use]
    pub fn path(&self, now: Instant, vm: VmUuid) -> Option<PathView> {
        self.sessions.view(vm).map(|session| self.path_view(now, session))
    }

    fn path_view(&self, now: Instant, session: SessionView) -> PathView {
        let [watch, known] = session.hints;
        let watch = self.tracker.view_near(now, session.vm, watch);
        let known = self.watched.get_near(&session.vm, known);
        PathView {
            watched: watch.is_some(),
            beating: watch.is_some_and(|watch| watch.beating),
            missing: watch.is_some_and(|watch| watch.missing),
            quiet: self.quiets.is_in_force(session.vm),
            silence: watch.map(|watch| watch.silence),
            interval_ms: known.and_then(|watched| watched.told).flatten(),
            suspended: known.and_then(|watched| watched.suspended),
            session,
        }
    }

    /// Every announced silence in force.
    pub fn quiets(&self, now: Instant) -> impl Iterator<Item = QuietView> {
        self.quiets.views(now)
    }

    /// Whether it can hear its trunk: its adapter is up, and not too much was lost.
    #[must_use]
    pub fn hears_trunk(&self) -> bool {
        !self.is_isolated() && !self.adapter_down && !self.tracker.is_blind()
    }

    /// Whether it was late, or lost frames, for too long to judge anybody.
    #[must_use]
    pub const fn is_blind(&self) -> bool {
        self.tracker.is_blind()
    }

    /// How much longer a VM's announced silence lasts, if one is in force.
    #[must_use]
    pub fn quiet_left(&self, now: Instant, vm: VmUuid) -> Option<Duration> {
        self.quiets.left(now, vm)
    }

    /// Addresses of registered VMs and of the canary, which the kernel is to keep apart from strangers.
    #[must_use]
    pub fn known_addresses(&self) -> BTreeSet<MacAddr> {
        let mut known = self.sessions.known_addresses();
        known.extend(self.canary.as_ref().and_then(|canary| canary.address()));
        known
    }

    /// Changes when [`known_addresses`](Self::known_addresses) may have; 0 until the store was read.
    #[must_use]
    pub fn known_changes(&self) -> u64 {
        match self.sessions.known_changes() {
            0 => 0,
            guests => guests.saturating_add(self.canary.as_ref().map_or(0, |canary| canary.ups())),
        }
    }

    /// Named counts since the start.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        let (watched, beating) = self.tracker.counts();
        let mut counters = self.sessions.counters();
        let more = [
            ("vms_watched", watched as u64),
            ("vms_beating", beating as u64),
            ("late_turns", self.late),
            ("deferrals", self.deferrals),
            ("writes", self.next_write),
            ("canary_discarded", self.canary.as_ref().map_or(0, |canary| canary.discarded())),
            ("log_lines_left_out", self.stranger_lines.left_out()),
        ];
        counters.extend(more.map(|(name, count)| (name.to_owned(), count)));
        counters
    }

    fn start_record(&self) -> HostMonitorStart {
        let HmIdentity { lower, upper, .. } = self.config.identity;
        HostMonitorStart {
            trunk: self.config.trunk.clone(),
            mac: self.config.mac.to_string(),
            vlan: self.config.vlan,
            incarnation: self.config.incarnation.to_string(),
            versions: format!("{lower}-{upper}"),
            heartbeat_interval: self.config.store_heartbeat,
        }
    }

    /// A turn that comes much later than it was asked for, or does not get to the end of what waits, may have missed
    /// frames. Returns until when everything was heard.
    fn on_lateness(&mut self, now: Instant) -> Instant {
        let heard = self.heard.map_or(now, |heard| heard.until.min(now));
        let behind = self.heard.map_or(Duration::ZERO, |heard| now.since(heard.until + heard.lag));
        let late = self.due.map_or(Duration::ZERO, |due| now.since(due)).max(behind);
        if late > LATENESS_NOTED {
            self.on_doubt(now, Doubt::Late(late));
            if Doubt::Late(late).is_noteworthy() {
                self.late = self.late.saturating_add(1);
            }
        }
        heard
    }

    fn on_stored(&mut self, now: Instant, up_to: u64) {
        if self.store_reachable {
            self.said_anew = self.said_anew.filter(|number| *number > up_to);
        }
        let later = self.to_accept.split_off(&up_to.saturating_add(1));
        let committed = std::mem::replace(&mut self.to_accept, later);
        for (vm, receipt) in committed.into_values() {
            self.sessions.accept(now, receipt);
            self.decide(vm);
        }
        self.on_session_events(now);
    }

    /// A message of this VM is decided on.
    fn decide(&mut self, vm: VmUuid) {
        if let Entry::Occupied(mut undecided) = self.undecided.entry(vm) {
            *undecided.get_mut() = undecided.get().saturating_sub(1);
            if *undecided.get() == 0 {
                undecided.remove();
            }
        }
    }

    fn on_not_taken(&mut self, number: u64, report: Option<MessageTag>) {
        let Some((vm, receipt)) = self.to_accept.remove(&number) else { return };
        self.sessions.refuse(receipt);
        self.decide(vm);
        if let Some(message) = report {
            // It is still wanted when it comes again.
            self.asked_reports.entry(vm).or_insert(message);
        }
    }

    fn on_store_reachable(&mut self, reachable: bool) {
        if reachable == self.store_reachable {
            return;
        }
        self.store_reachable = reachable;
        self.note(if reachable { Note::StoreBack } else { Note::StoreLost });
    }

    fn on_doubt(&mut self, now: Instant, doubt: Doubt) {
        self.tracker.handle_doubt(now, doubt);
        if let Some(canary) = &mut self.canary {
            canary.handle_doubt(now, doubt);
        }
    }

    /// Silences are said again with their ages by this monitor's clock.
    fn repeat_silences(&mut self, now: Instant) {
        let silent = self.watched.keys().filter(|vm| self.tracker.is_missing(**vm));
        // In an order that does not depend on the table's: a replay says the same.
        for vm in silent.copied().collect::<BTreeSet<_>>() {
            self.tracker.repeat(now, vm);
        }
    }

    fn on_adapter(&mut self, now: Instant, up: bool) {
        if up != self.adapter_down {
            return;
        }
        self.adapter_down = !up;
        if let Some(canary) = &mut self.canary {
            canary.handle_adapter(now, up);
        }
        // The doubt holds for an interval beyond the adapter's return.
        self.tracker.handle_doubt(now, Doubt::AdapterDown);
        let kind = if up { "ADAPTER_UP" } else { "ADAPTER_DOWN" };
        let what = std::mem::take(&mut self.adapter_is);
        let text = match (up, what.as_ref()) {
            (true, _) => format!("trunk adapter {} is up", self.config.trunk),
            (false, "") => format!("trunk adapter {} is down", self.config.trunk),
            (false, what) => format!("trunk adapter {} {what}", self.config.trunk),
        };
        self.remark(now, kind, text);
        if up {
            self.sessions.broadcast_hello();
        }
    }

    fn on_readdressed(&mut self, now: Instant, mac: MacAddr, mtu: usize) {
        let before = (self.config.mac, self.config.identity.mtu);
        if (mac, mtu) == before {
            return;
        }
        self.config.mac = mac;
        self.config.identity.mtu = mtu;
        self.sessions.handle_readdressed(mac, self.config.identity);
        let start = self.start_record();
        self.write(HostMonitorWrite::Started(start));
        self.isolation.on_started();
        // What waited in the old socket is lost.
        self.on_doubt(now, Doubt::AdapterDown);
        let text = format!(
            "trunk adapter {} has address {mac} and MTU {mtu} now, before {} and {}",
            self.config.trunk, before.0, before.1
        );
        self.remark(now, "ADAPTER_CHANGED", text);
    }

    /// Findings of the tracker become writes.
    fn settle(&mut self, now: Instant) {
        self.on_session_events(now);
        while let Some(edge) = self.tracker.poll_edge() {
            self.on_edge(now, edge);
        }
        self.weigh_trunk(now);
    }

    fn on_edge(&mut self, now: Instant, edge: Edge) {
        self.note(Note::Edge(edge));
        let unsaid = match edge {
            Edge::Detected { .. } => is_on(Bug::DetectedNotSaid),
            Edge::Missing { .. } => is_on(Bug::MissingNotSaid),
            Edge::Deferred { .. } | Edge::Blind | Edge::Sighted => false,
        };
        if unsaid {
            return;
        }
        match edge {
            Edge::Detected { vm } => {
                self.sessions.handle_missing(now, vm, false);
                self.write(HostMonitorWrite::PathDetected { vm });
            }
            Edge::Missing { vm, age, common } => {
                self.sessions.handle_missing(now, vm, true);
                self.write(HostMonitorWrite::PathMissing { vm, age, common })
            }
            Edge::Deferred { doubt } => {
                self.deferrals = self.deferrals.saturating_add(1);
                self.write(HostMonitorWrite::NodeEvent {
                    kind: "DEFERRED".to_owned(),
                    text: doubt.to_string(),
                });
            }
            Edge::Blind => {
                let text = "the monitor cannot hear its trunk reliably; its paths are unknown".to_owned();
                self.write(HostMonitorWrite::NodeEvent { kind: "BLIND".to_owned(), text });
            }
            Edge::Sighted => {
                let text = "the monitor hears its trunk again".to_owned();
                self.write(HostMonitorWrite::NodeEvent { kind: "SIGHTED".to_owned(), text });
            }
        }
    }

    fn write(&mut self, write: HostMonitorWrite) {
        self.next_write = self.next_write.saturating_add(1);
        self.outputs.push_back(Output::Store { number: self.next_write, write });
    }

    /// Writes what a guest said; its message is acknowledged when the write is committed. A guest that says more
    /// than can be taken must say it again later: it cannot make the queue to the store grow. Returns whether it was taken.
    fn write_for(&mut self, now: Instant, vm: VmUuid, receipt: Receipt, write: HostMonitorWrite) -> bool {
        if !self.spoken.may_speak(now, vm) {
            self.sessions.refuse(receipt);
            return false;
        }
        let undecided = self.undecided.entry(vm).or_default();
        if *undecided >= UNDECIDED_MAXIMUM {
            self.sessions.refuse(receipt);
            return false;
        }
        *undecided = undecided.saturating_add(1);
        self.write(write);
        if is_on(Bug::AcknowledgedEarly) {
            self.sessions.accept(now, receipt);
            return true;
        }
        self.to_accept.insert(self.next_write, (vm, receipt));
        true
    }

    fn note(&mut self, note: Note) {
        self.outputs.push_back(Output::Note(note));
    }
}
