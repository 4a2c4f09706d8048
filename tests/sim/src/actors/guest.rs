//! A guest: its agent (engine and trunks), its guardian, its applications, what it keeps on its disk.

mod snapshot;

use std::path::PathBuf;
use std::time::Duration;

use vmpulse_agent::ame::{Ame, AmeInput, AmeOutput, Outcome, Past, RunId, StartScript};
use vmpulse_agent::config::Configuration;
use vmpulse_agent::guardian::keeper::Keeper;
use vmpulse_agent::record::{Beginning, RecordedEngine, RecordedTrunks, Recording};
use vmpulse_agent::report::Reporter;
use vmpulse_agent::suspension::Suspension;
use vmpulse_agent::trunks::{AdapterId, TrunkEvent, TrunkInput, TrunkOutput, Trunks, TrunksConfig};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::message::Shutdown;
use vmpulse_protocol::time::Instant;

use self::snapshot::{Script, Snapshot};
use super::guardian::Guardian;
use super::keys;
use super::scripts::{App, SCRIPT_TIME, configuration};
use crate::event::{Event, Held, Said};
use crate::names::Vm;
use crate::plan::Cluster;
use crate::random::entropy;
use crate::{replay, says};

/// EtherType of the trunks.
const ETHERTYPE: u16 = 0x88b5;
const MTU: usize = 1500;
/// Frames that wait in the sockets of a guest that does not run, or whose agent hangs.
const WAITING_MAXIMUM: usize = 64;
/// How long the host monitors have to acknowledge that the agent is being stopped: as in its driver.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

/// What a guest wants of the world.
#[derive(Debug)]
pub(crate) enum Wish {
    Event(Event),
    /// It has opened its path to the host monitor of this trunk.
    Opened {
        trunk: usize,
    },
    Send {
        trunk: usize,
        destination: MacAddr,
        payload: Vec<u8>,
    },
    ScriptEnds {
        after: Duration,
        life: u64,
        run: RunId,
        outcome: Outcome,
    },
    /// A host monitor knows of the suspension, or its end.
    SuspensionHeard,
    /// The agent is to be started again, as its init does.
    RestartAgent,
    /// The agent has ended on purpose; true: and the guest with it.
    Ended {
        shutdown: bool,
    },
}

/// A frame for one of its adapters.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) trunk: usize,
    pub(crate) source: MacAddr,
    pub(crate) destination: MacAddr,
    pub(crate) payload: Vec<u8>,
}

/// A process, from its start to its end.
struct Agent {
    started: Instant,
    /// Who it says that it is, and with which key.
    claims: Vm,
    key: Held,
    trunks: RecordedTrunks,
    ame: RecordedEngine,
    recording: Recording,
    reporter: Reporter,
    keeper: Option<Keeper>,
    hangs: bool,
    stop: Option<(Instant, Shutdown)>,
}

/// See the module.
pub(crate) struct Guest {
    pub(crate) vm: Vm,
    /// Who it says that it is from its next start on.
    claims: Vm,
    /// Of the keys, where there are any; and the one that its agent has.
    keys: Option<u64>,
    key: Held,
    trunks: usize,
    guarded: bool,
    agent: Option<Agent>,
    /// Counts the agents' lives.
    pub(crate) life: u64,
    pub(crate) guardian: Option<Guardian>,
    pub(crate) suspension: Suspension,
    booted: bool,
    apps: Vec<App>,
    waiting: Vec<Frame>,
    random: fastrand::Rng,
    wishes: Vec<Wish>,
    pub(crate) frozen: bool,
    /// Numbers what is announced, so that its order can be told.
    announced: u64,
    quiet_until: Option<Instant>,
    /// Where its agents and guardians record what happens, as their daemons do.
    records: Option<PathBuf>,
    scripts: Vec<Script>,
    snapshot: Option<Box<Snapshot>>,
    /// Its agent has said that it stops, and was not started since.
    stopped: bool,
    /// A snapshot knows nothing of what its agent has announced since.
    pub(crate) forgot: bool,
}

impl Guest {
    pub(crate) fn new(vm: Vm, cluster: &Cluster, random: fastrand::Rng) -> Self {
        Self {
            vm,
            claims: vm,
            keys: cluster.auth.then_some(cluster.seed),
            key: Held::Of(vm),
            trunks: cluster.trunks,
            guarded: cluster.guardian,
            agent: None,
            life: 0,
            guardian: None,
            suspension: Suspension { suspended: false, heard: true },
            booted: true,
            apps: vec![App::new(); cluster.apps],
            waiting: Vec::new(),
            random,
            wishes: Vec::new(),
            frozen: false,
            announced: 0,
            quiet_until: None,
            records: None,
            scripts: Vec::new(),
            snapshot: None,
            stopped: false,
            forgot: false,
        }
    }

    /// Recorded there, if anywhere.
    pub(crate) fn recorded(self, records: Option<PathBuf>) -> Self {
        Self { records, ..self }
    }

    /// The instance is gone, with everything in its memory.
    pub(crate) fn power_off(&mut self) {
        if self.agent.take().is_some() {
            self.wishes.push(Wish::Event(Event::AgentDown(self.vm, "is gone with its guest")));
        }
        self.guardian = None;
        self.waiting.clear();
        (self.frozen, self.booted) = (false, true);
        self.life += 1;
    }

    pub(crate) fn is_agent_up(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| !agent.hangs)
    }

    /// Whether it runs, with an agent that does, and is not about to end.
    pub(crate) fn is_well(&self) -> bool {
        !self.frozen && self.agent.as_ref().is_some_and(|agent| !agent.hangs && agent.stop.is_none())
    }

    /// Starts the agent, unless there is one.
    pub(crate) fn start_agent(&mut self, now: Instant) {
        if self.agent.is_some() {
            return;
        }
        self.life += 1;
        self.waiting.clear();
        self.scripts.clear();
        self.stopped = false;
        let own = Instant::from_nanos(1);
        let config = TrunksConfig {
            vm: self.claims.uuid().to_string(),
            incarnation_seed: self.random.u64(..),
            nonce_seed: entropy(&mut self.random),
            unheard_suspension: self.suspension.unheard(),
        };
        let past = Past { booted: self.booted, suspended: self.suspension.suspended, stopped: Vec::new() };
        self.booted = false;
        let configuration = Configuration::read(&configuration(self.apps.len()), 16).unwrap_or_default();
        let beginning = Beginning {
            at: own,
            trunks: &config,
            kept: self.guarded,
            configuration: &configuration,
            past: &past,
        };
        let recording = Recording::begin(self.records.is_some(), &beginning, |start| {
            replay::agent_recorder(self.records.as_deref()?, self.vm, self.life, start)
        });
        let mut trunks = Trunks::new(config, own);
        let keeper = self.begin_guarded_life(now, &mut trunks, &recording);
        let mut trunks = RecordedTrunks::new(trunks, recording.clone());
        if let Some(seed) = self.keys {
            self.say_credentials(self.claims, self.key);
            trunks.handle_authentication(own, keys::of_agent(seed, self.key));
        }
        for trunk in 0..self.trunks {
            let input = TrunkInput::AdapterUp {
                adapter: adapter(trunk),
                mac: self.vm.mac(trunk),
                mtu: MTU,
                name: format!("eth{trunk}"),
            };
            trunks.handle_input(own, input);
        }
        self.agent = Some(Agent {
            started: now,
            claims: self.claims,
            key: self.key,
            trunks,
            ame: RecordedEngine::new(Ame::new(configuration, &past, own), recording.clone()),
            recording,
            reporter: Reporter::new(self.claims.uuid().to_string(), self.random.u64(..)),
            keeper,
            hangs: false,
            stop: None,
        });
        self.wishes.push(Wish::Event(Event::AgentUp(self.vm)));
        self.turn(now);
    }

    /// From its next start on it says that it is this VM.
    pub(crate) const fn pretend(&mut self, other: Vm) {
        self.claims = other;
    }

    /// Its key file is changed; an agent that runs is told so.
    pub(crate) fn hold_key(&mut self, now: Instant, key: Held) {
        let Some(seed) = self.keys.filter(|_| key != self.key) else { return };
        self.key = key;
        let frozen = self.frozen;
        let Some(agent) = self.agent.as_mut().filter(|agent| !frozen && !agent.hangs) else { return };
        let own = agent.own(now);
        agent.trunks.handle_authentication(own, keys::of_agent(seed, key));
        agent.key = key;
        let claims = agent.claims;
        self.say_credentials(claims, key);
        self.turn(now);
    }

    fn say_credentials(&mut self, claims: Vm, key: Held) {
        let said = Event::Credentials { guest: self.vm, claims, key };
        self.wishes.push(Wish::Event(said));
    }

    fn begin_guarded_life(
        &mut self,
        now: Instant,
        trunks: &mut Trunks,
        recording: &Recording,
    ) -> Option<Keeper> {
        if !self.guarded {
            return None;
        }
        let guardian = self.guardian.get_or_insert_with(|| {
            let recording = self.records.as_deref();
            let recording =
                recording.and_then(|directory| replay::guardian_recorder(directory, self.vm, self.life, now));
            Guardian::new(now, recording)
        });
        guardian.awake(now);
        guardian.reassure(now);
        let own = Instant::from_nanos(1);
        let keeper = Keeper::begin(guardian.page.clone(), guardian.own(now).since(own), own, true);
        let mut paths = keeper.paths(ETHERTYPE, None);
        if let Some(draws) = recording.draws() {
            paths.see_draws(draws);
        }
        trunks.keep_with(paths);
        Some(keeper)
    }

    /// The agent is killed.
    pub(crate) fn kill_agent(&mut self, now: Instant, why: &'static str) {
        self.stamp_before_failure(now);
        if self.agent.take().is_some() {
            self.wishes.push(Wish::Event(Event::AgentDown(self.vm, why)));
        }
    }

    pub(crate) fn hang_agent(&mut self, now: Instant) {
        self.stamp_before_failure(now);
        if let Some(agent) = &mut self.agent {
            agent.hangs = true;
            self.wishes.push(Wish::Event(Event::AgentDown(self.vm, "hangs")));
        }
    }

    /// The agent has shown life until now.
    fn stamp_before_failure(&mut self, now: Instant) {
        let Some(guardian) = &mut self.guardian else { return };
        if let Some(agent) = self.agent.as_ref().filter(|agent| !agent.hangs)
            && let Some(keeper) = &agent.keeper
        {
            keeper.show_life(agent.own(guardian.last_look(now)));
        }
        guardian.awake(now);
    }

    pub(crate) fn stop_agent(&mut self, now: Instant, kind: Shutdown) {
        let frozen = self.frozen;
        let able = |agent: &&mut Agent| !frozen && !agent.hangs && agent.stop.is_none();
        let Some(agent) = self.agent.as_mut().filter(able) else {
            return;
        };
        if let Some(keeper) = &agent.keeper {
            keeper.stop();
        }
        agent.stop = Some((now + SHUTDOWN_WAIT, kind));
        self.stopped = true;
        let own = agent.own(now);
        agent.trunks.handle_input(own, TrunkInput::Shutdown(kind));
        self.wishes.push(Wish::Event(Event::Said(self.vm, Said::Shutdown)));
        self.turn(now);
    }

    /// Kept on its disk before it is said, as in the driver.
    pub(crate) fn suspend(&mut self, now: Instant, suspend: bool) {
        let frozen = self.frozen;
        let Some(agent) = self.agent.as_mut().filter(|agent| !frozen && !agent.hangs) else { return };
        self.suspension = Suspension { suspended: suspend, heard: false };
        let own = agent.own(now);
        agent.ame.handle_input(own, AmeInput::Suspend(suspend));
        agent.trunks.handle_input(own, if suspend { TrunkInput::Suspend } else { TrunkInput::Resume });
        let said = if suspend { Said::Suspend } else { Said::Resume };
        self.wishes.push(Wish::Event(Event::Said(self.vm, said)));
        self.turn(now);
    }

    pub(crate) fn quiet(&mut self, now: Instant, asked: Duration) {
        let frozen = self.frozen;
        let Some(agent) = self.agent.as_mut().filter(|agent| !frozen && !agent.hangs) else { return };
        self.announced += 1;
        let reason = if asked.is_zero() { String::new() } else { format!("q{}", self.announced) };
        let own = agent.own(now);
        agent.trunks.handle_input(own, TrunkInput::Quiet { asked, reason });
        self.wishes.push(Wish::Event(Event::Said(self.vm, Said::Quiet(asked))));
        self.turn(now);
    }

    pub(crate) fn set_app_broken(&mut self, app: usize, broken: bool) {
        if let Some(app) = app.checked_sub(1).and_then(|app| self.apps.get_mut(app)) {
            app.set_broken(broken);
        }
    }

    pub(crate) fn thaw(&mut self, now: Instant) {
        self.frozen = false;
        self.turn(now);
    }

    pub(crate) fn receive(&mut self, now: Instant, frame: Frame) {
        if self.agent.is_none() {
            return;
        }
        if self.waiting.len() < WAITING_MAXIMUM {
            self.waiting.push(frame);
        }
        self.turn(now);
    }

    pub(crate) fn script_ended(&mut self, now: Instant, life: u64, run: RunId, outcome: Outcome) {
        if let Some(agent) = self.agent.as_mut().filter(|_| life == self.life) {
            self.scripts.retain(|script| script.run != run);
            let own = agent.own(now);
            agent.ame.handle_input(own, AmeInput::ScriptEnded { run, outcome });
        }
        self.turn(now);
    }

    /// A turn of the agent's loop.
    pub(crate) fn turn(&mut self, now: Instant) {
        if self.frozen {
            return;
        }
        let Some(agent) = self.agent.as_mut().filter(|agent| !agent.hangs) else { return };
        let own = agent.own(now);
        for frame in self.waiting.drain(..) {
            agent.trunks.handle_entropy(own, &entropy(&mut self.random));
            let Frame { trunk, source, destination, payload } = &frame;
            let (adapter, source, destination) = (adapter(*trunk), *source, *destination);
            agent
                .trunks
                .handle_input(own, TrunkInput::Frame { adapter, source, destination, vlan: None, payload });
        }
        agent.guard(own, self.suspension.suspended);
        agent.trunks.handle_timeout(own);
        if agent.stop.is_none() {
            agent.ame.handle_timeout(own);
        }
        let told = self.carry(now);
        self.look_at_quiet(now);
        let stop = self.agent.as_ref().and_then(|agent| agent.stop);
        if let Some((until, kind)) = stop.filter(|(until, _)| told || *until <= now) {
            let _ = until;
            self.end_agent(now, kind == Shutdown::Os);
        }
    }

    /// What is granted anew.
    fn look_at_quiet(&mut self, now: Instant) {
        let Some(agent) = &self.agent else { return };
        let own = agent.own(now);
        let granted = agent.trunks.quiet(own).filter(|quiet| quiet.granted).map(|quiet| quiet.left);
        let until = granted.map(|left| now + left);
        if until != self.quiet_until {
            self.quiet_until = until;
            self.wishes.extend(granted.map(|left| Wish::Event(Event::QuietGranted(self.vm, left))));
        }
    }

    fn end_agent(&mut self, now: Instant, shutdown: bool) {
        if let Some(agent) = self.agent.take() {
            agent.recording.close(agent.own(now));
            if let Some(keeper) = agent.keeper {
                keeper.end();
            }
            self.wishes.push(Wish::Event(Event::AgentDown(self.vm, "ended")));
            self.wishes.push(Wish::Ended { shutdown });
        }
    }

    /// Drains both cores. True when the host monitors know that the agent stops.
    fn carry(&mut self, now: Instant) -> bool {
        let mut told = false;
        while let Some(agent) = &mut self.agent {
            if let Some(output) = agent.ame.poll_output() {
                self.carry_engine(now, output);
            } else if let Some(output) = agent.trunks.poll_output() {
                told |= output == TrunkOutput::ShutdownDone;
                self.carry_trunk(now, output);
            } else {
                break;
            }
        }
        told
    }

    fn carry_engine(&mut self, now: Instant, output: AmeOutput) {
        let Some(agent) = &mut self.agent else { return };
        self.wishes.extend(says::managed(self.vm, &output).map(Wish::Event));
        match output {
            AmeOutput::StartScript(_) if agent.stop.is_some() => {}
            AmeOutput::StartScript(order) => self.start_script(now, &order),
            AmeOutput::KillScript { run } => {
                let wish = Wish::ScriptEnds {
                    after: Duration::ZERO,
                    life: self.life,
                    run,
                    outcome: Outcome::Timeout,
                };
                self.wishes.push(wish);
            }
            AmeOutput::StatusChanged { .. } | AmeOutput::Waits { .. } | AmeOutput::Table(_) => {}
            AmeOutput::Changed(bits) => {
                let own = agent.own(now);
                agent.trunks.handle_input(own, TrunkInput::Ring(bits));
            }
        }
    }

    fn start_script(&mut self, now: Instant, order: &StartScript) {
        let app = order.app.strip_prefix("app").and_then(|number| number.parse::<usize>().ok());
        let app = app.and_then(|number| self.apps.get_mut(number.checked_sub(1)?));
        let outcome = app.map_or(Outcome::CouldNotStart, |app| app.run(order.kind));
        let wish = Wish::ScriptEnds { after: SCRIPT_TIME, life: self.life, run: order.run, outcome };
        self.scripts.push(Script { run: order.run, ends: now + SCRIPT_TIME, outcome });
        self.wishes.push(wish);
    }

    fn carry_trunk(&mut self, now: Instant, output: TrunkOutput) {
        let Some(agent) = &mut self.agent else { return };
        self.wishes.extend(says::connected(self.vm, &output).map(Wish::Event));
        match output {
            TrunkOutput::Transmit { adapter, destination, vlan: _, payload } => {
                let trunk = adapter.0 as usize;
                self.wishes.push(Wish::Send { trunk, destination, payload });
            }
            TrunkOutput::ReportWanted { tag } => {
                let own = agent.own(now);
                let xml = agent.reporter.build(own, agent.ame.applications(), |_| "");
                agent.trunks.handle_input(own, TrunkInput::Report { tag, xml });
            }
            TrunkOutput::SuspensionHeard => {
                self.suspension.heard = true;
                self.wishes.push(Wish::SuspensionHeard);
            }
            TrunkOutput::Log(TrunkEvent::Opened { adapter, .. }) => {
                let trunk = adapter.strip_prefix("eth").and_then(|trunk| trunk.parse().ok());
                self.wishes.extend(trunk.map(|trunk| Wish::Opened { trunk }));
            }
            TrunkOutput::Log(_) | TrunkOutput::ReportTaken { .. } | TrunkOutput::ShutdownDone => {}
        }
    }

    /// A look of the guardian.
    pub(crate) fn guardian_turn(&mut self, now: Instant) {
        if self.frozen {
            return;
        }
        if let Some(agent) = self.agent.as_ref().filter(|agent| !agent.hangs) {
            // Its loop has turned within the last half second, if it was not for this.
            agent.guard(agent.own(now), self.suspension.suspended);
        }
        let Some(guardian) = &mut self.guardian else { return };
        let looked = guardian.turn(now);
        for says in looked.says {
            self.wishes.push(Wish::Event(Event::Agent(self.vm, says.to_owned())));
        }
        for (to, payload) in looked.frames {
            let trunk = to.adapter as usize;
            self.wishes.push(Wish::Send { trunk, destination: to.destination, payload });
        }
        if looked.restart {
            self.wishes.push(Wish::RestartAgent);
        }
    }

    pub(crate) fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// When the agent is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let agent = self.agent.as_ref().filter(|agent| !agent.hangs && !self.frozen)?;
        let engine = agent.ame.poll_timeout().filter(|_| agent.stop.is_none());
        let cores = agent.trunks.poll_timeout().into_iter().chain(engine).min();
        let stop = agent.stop.map(|(until, _)| until);
        cores.map(|own| agent.world(own)).into_iter().chain(stop).min()
    }

    /// Applications, as `name=STATUS`.
    pub(crate) fn applications(&self) -> Vec<String> {
        let all = self.agent.iter().flat_map(|agent| agent.ame.applications());
        all.map(|app| format!("{}={}", app.name, app.status)).collect()
    }
}

impl Agent {
    /// Its own clock begins with it.
    fn own(&self, now: Instant) -> Instant {
        Instant::from_nanos(1) + now.since(self.started)
    }

    fn world(&self, own: Instant) -> Instant {
        self.started + own.since(Instant::from_nanos(1))
    }

    /// The guardian sees that the agent runs, and until when it is to hold still: as in the driver.
    fn guard(&self, own: Instant, suspended: bool) {
        let Some(keeper) = &self.keeper else { return };
        let hold = if suspended {
            Some(Instant::from_nanos(u64::MAX))
        } else {
            self.trunks.quiet(own).filter(|quiet| quiet.granted).map(|quiet| own + quiet.left)
        };
        keeper.show_life(own);
        keeper.hold(hold);
    }
}

fn adapter(trunk: usize) -> AdapterId {
    AdapterId(u32::try_from(trunk).unwrap_or(u32::MAX))
}
