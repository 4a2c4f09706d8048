//! The application management engine (AME): decides which script runs when, and what its end means.
//!
//! Pure: it runs nothing itself and never waits for a script. Work is done in rounds, one every `period` for each
//! application: start the scripts that are due, show what has become of those that ended, ring the doorbell. With
//! `period=0` there is a round whenever something is due. Scripts past their time are killed at that time, not at a round.
//!
//! The states of one application are in [`Status`], their transitions in `ame/application.rs`, what applications have to
//! do with each other in `ame/dependencies.rs`, the times of rounds in `ame/rounds.rs`.

mod application;
mod dependencies;
mod orders;
mod rounds;
mod status;
mod table;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use vmpulse_protocol::message::Doorbell;
use vmpulse_protocol::time::Instant;

use crate::config::{Application, Configuration, Dependency, Vmm};
use crate::types::Typed;
use application::{Machine, Running, Why};
use dependencies::Links;
pub use orders::{Order, Refused};
use rounds::{Rounds, slot};
pub use status::{Colour, Outcome, RunResult, ScriptKind, Status};

/// The log level at which each round logs its table.
const TABLE_LOG_LEVEL: u32 = 3;

/// One run of one script; unique in the life of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// What is fed to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AmeInput {
    /// A script that was started, or should have been, is no more. Late and unknown runs are ignored.
    ScriptEnded {
        /// As in [`AmeOutput::StartScript`].
        run: RunId,
        /// How it ended.
        outcome: Outcome,
    },
    /// What the configuration file says now.
    Configure(Configuration),
    /// Whether monitoring of the whole VM is suspended.
    Suspend(bool),
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AmeOutput {
    /// Start a script; its end must be told by [`AmeInput::ScriptEnded`].
    StartScript(StartScript),
    /// End a script that is past its time. Its end must still be told.
    KillScript {
        /// Which.
        run: RunId,
    },
    /// For the log.
    StatusChanged {
        /// Name of the application.
        app: String,
        /// Before.
        from: Status,
        /// After.
        to: Status,
    },
    /// For the log: what the next script of an application waits for.
    Waits {
        /// Name of the application.
        app: String,
        /// Its state: TO_STOP or TO_START.
        status: Status,
        /// Names of those that have to be stopped, or NORMAL, before.
        waits_for: Vec<String>,
    },
    /// Doorbell bits to ring, once per round at most.
    Changed(Doorbell),
    /// For the log at level 3: the state of every application after a round.
    Table(String),
}

/// An order to start a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartScript {
    /// Name of the application.
    pub app: String,
    /// Its uuid.
    pub uuid: String,
    /// Names this run.
    pub run: RunId,
    /// Which of the scripts.
    pub kind: ScriptKind,
    /// Path with arguments; empty if the type supplies it.
    pub command: String,
    /// What stands behind the type of the application.
    pub typed: Option<Arc<Typed>>,
    /// Who runs it.
    pub user: String,
    /// When this has passed the engine will order it killed.
    pub time_limit: Duration,
}

/// What is to be said about one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationStatus {
    /// Its name.
    pub name: String,
    /// Its 19 digits.
    pub uuid: String,
    /// Its state.
    pub status: Status,
    /// The controller acts when it is RED.
    pub critical: bool,
    /// Not suspended.
    pub monitored: bool,
    /// Restart cycles allowed.
    pub max_restart: u32,
    /// Restart cycles that count.
    pub restarts: u32,
    /// Of the application, as configured.
    pub version: String,
    /// Of the last script that ended.
    pub last_result: RunResult,
    /// When the status became what it is.
    pub changed_at: Instant,
    /// Stopped by hand, or being so.
    pub stopped: bool,
    /// Names of the applications that its start or stop waits for.
    pub waits_for: Vec<String>,
}

/// What an engine has to know of the time before it. The default: nothing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// This is the first engine since the guest has booted.
    pub booted: bool,
    /// Monitoring of the whole VM is suspended.
    pub suspended: bool,
    /// Uuids of applications that were stopped by hand since the guest has booted.
    pub stopped: Vec<String>,
}

/// What a step of an application leaves behind.
#[derive(Clone, Debug, Default)]
struct Effects {
    outputs: VecDeque<AmeOutput>,
    doorbell: Doorbell,
    last_run: u64,
    /// A state has changed, which may mean something to other applications.
    unsettled: bool,
}

impl Effects {
    fn ring(&mut self, bits: Doorbell) {
        self.doorbell = self.doorbell.with(bits);
    }

    fn next_run(&mut self) -> RunId {
        self.last_run += 1;
        RunId(self.last_run)
    }
}

/// The engine.
#[derive(Clone, Debug)]
pub struct Ame {
    vmm: Vmm,
    dependencies: Vec<Dependency>,
    machines: Vec<Machine>,
    /// By places in `machines`.
    links: Links,
    /// Scripts of applications that are configured no more; they have their time, like others.
    orphans: Vec<(String, Running)>,
    rounds: Rounds,
    suspended: bool,
    effects: Effects,
}

impl Ame {
    /// An engine that has its first round at once.
    #[must_use]
    pub fn new(configuration: Configuration, past: &Past, now: Instant) -> Self {
        let Configuration { vmm, applications, dependencies, unknown: _ } = configuration;
        let mut machines: Vec<Machine> =
            applications.into_iter().map(|spec| Machine::new(spec, past.suspended, now)).collect();
        for machine in &mut machines {
            if past.stopped.contains(&machine.spec.uuid) {
                machine.held = true;
            } else if past.booted {
                machine.booted(vmm.boot_start);
            }
        }
        Self {
            rounds: Rounds::new(now, vmm.period, machines.len()),
            links: Links::new(&dependencies, &machines),
            vmm,
            dependencies,
            machines,
            orphans: Vec::new(),
            suspended: past.suspended,
            effects: Effects::default(),
        }
    }

    /// Takes news, after the rounds that are due.
    pub fn handle_input(&mut self, now: Instant, input: AmeInput) {
        self.handle_timeout(now);
        match input {
            AmeInput::ScriptEnded { run, outcome } => self.on_script_ended(now, run, outcome),
            AmeInput::Configure(configuration) => self.on_configure(now, configuration),
            AmeInput::Suspend(suspended) => self.on_suspend(now, suspended),
        }
        self.settle(now);
    }

    /// Does what is due. Calls at other times do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.kill_late(now);
        if self.vmm.period.is_zero() {
            return self.round_at_any_time(now);
        }
        for (round, slot) in self.rounds.take_due(now) {
            let first = slot * rounds::PER_SLOT;
            for place in first..first + rounds::PER_SLOT {
                self.round(now, round, place);
            }
            if slot == 0 {
                self.end_round();
            }
        }
    }

    /// The next order, until `None`.
    pub fn poll_output(&mut self) -> Option<AmeOutput> {
        self.effects.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let scripts = self.machines.iter().filter_map(|machine| machine.running.as_ref());
        let orphans = self.orphans.iter().map(|(_, running)| running);
        let kills = scripts.chain(orphans).filter_map(Running::kill_at).min();
        let rounds = (0..self.machines.len())
            .filter_map(|place| Some(self.round_at(slot(place), self.wanted(place)?)))
            .min();
        let table = self.shows_table() && !self.vmm.period.is_zero();
        let own = (table || !self.effects.doorbell.is_empty()).then(|| self.round_at(0, Instant::ZERO));
        kills.into_iter().chain(rounds).chain(own).min()
    }

    /// Every application, in the order of the configuration.
    pub fn applications(&self) -> impl Iterator<Item = ApplicationStatus> + '_ {
        self.machines.iter().enumerate().map(|(place, machine)| {
            let waits = if machine.is_ready() { self.names_waited_for(place) } else { Vec::new() };
            ApplicationStatus { waits_for: waits, ..machine.view() }
        })
    }

    /// What is configured for the engine itself.
    #[must_use]
    pub fn vmm(&self) -> &Vmm {
        &self.vmm
    }

    fn kill_late(&mut self, now: Instant) {
        let scripts = self.machines.iter_mut().filter_map(|machine| machine.running.as_mut());
        let orphans = self.orphans.iter_mut().map(|(_, running)| running);
        for running in scripts.chain(orphans).filter(|running| running.kill_at().is_some_and(|at| now >= at))
        {
            running.killed = true;
            self.effects.outputs.push_back(AmeOutput::KillScript { run: running.id });
        }
    }

    /// With `period=0` each application has a round when it wants one.
    fn round_at_any_time(&mut self, now: Instant) {
        let mut held = !self.effects.doorbell.is_empty();
        for place in 0..self.machines.len() {
            if let Some(wanted) = self.wanted(place).filter(|wanted| now >= *wanted) {
                // What was due a little earlier is due again a little earlier.
                let fresh =
                    wanted + self.machines.get(place).map_or(Duration::ZERO, Machine::monitor_period) > now;
                self.round(now, if fresh && wanted > Instant::ZERO { wanted } else { now }, place);
                held = true;
            }
        }
        if held {
            self.end_round();
        }
    }

    /// The round of one application, which was due at `round`.
    fn round(&mut self, now: Instant, round: Instant, place: usize) {
        let Some(machine) = self.machines.get_mut(place) else { return };
        machine.look(now, round, &mut self.effects);
        self.settle(now);
        let may_go = self.may_go(place);
        if let Some(machine) = self.machines.get_mut(place) {
            machine.start_due(now, round, may_go, &mut self.effects);
        }
    }

    /// The engine's own part of a round.
    fn end_round(&mut self) {
        let bits = std::mem::take(&mut self.effects.doorbell);
        if !bits.is_empty() {
            self.effects.outputs.push_back(AmeOutput::Changed(bits));
        }
        if self.shows_table() {
            let table = table::render(&self.machines, &self.orphans);
            self.effects.outputs.push_back(AmeOutput::Table(table));
        }
    }

    fn shows_table(&self) -> bool {
        self.vmm.log >= TABLE_LOG_LEVEL && !(self.machines.is_empty() && self.orphans.is_empty())
    }

    fn round_at(&self, slot: usize, wanted: Instant) -> Instant {
        if self.vmm.period.is_zero() { wanted } else { self.rounds.next(slot, wanted) }
    }

    fn wanted(&self, place: usize) -> Option<Instant> {
        self.machines.get(place)?.wanted(self.may_go(place))
    }

    /// Whether the dependencies allow the next script of TO_STOP and TO_START.
    fn may_go(&self, place: usize) -> bool {
        let ready = self.machines.get(place).is_some_and(Machine::is_ready);
        ready && self.links.waits_for(&self.machines, place).is_empty()
    }

    fn names_waited_for(&self, place: usize) -> Vec<String> {
        let places = self.links.waits_for(&self.machines, place).into_iter();
        places.filter_map(|place| Some(self.machines.get(place)?.spec.name.clone())).collect()
    }

    /// Carries what has become of one application over to those that depend on it.
    fn settle(&mut self, now: Instant) {
        while std::mem::take(&mut self.effects.unsettled) {
            for place in self.links.bereaved(&self.machines) {
                if let Some(child) = self.machines.get_mut(place) {
                    child.begin_stop(now, Why::Parent, &mut self.effects);
                }
            }
            for place in self.links.stuck(&self.machines) {
                if let Some(parent) = self.machines.get_mut(place) {
                    parent.give_up_stopping(now, &mut self.effects);
                }
            }
            self.note_waits();
        }
    }

    fn note_waits(&mut self) {
        for place in 0..self.machines.len() {
            let unsaid = |machine: &Machine| machine.is_ready() && !machine.wait_noted;
            if !self.machines.get(place).is_some_and(unsaid) {
                continue;
            }
            let waits_for = self.names_waited_for(place);
            if let Some(machine) = self.machines.get_mut(place).filter(|_| !waits_for.is_empty()) {
                machine.wait_noted = true;
                let (app, status) = (machine.spec.name.clone(), machine.status);
                self.effects.outputs.push_back(AmeOutput::Waits { app, status, waits_for });
            }
        }
    }

    fn on_script_ended(&mut self, now: Instant, run: RunId, outcome: Outcome) {
        self.orphans.retain(|(_, running)| running.id != run);
        let effects = &mut self.effects;
        let _ = self.machines.iter_mut().any(|machine| machine.on_script_ended(now, run, outcome, effects));
        // The end of a script may be what another application waited for, whatever it means to its own.
        self.effects.unsettled = true;
    }

    fn on_suspend(&mut self, now: Instant, suspended: bool) {
        if self.suspended == suspended {
            return;
        }
        self.suspended = suspended;
        self.effects.ring(Doorbell::SUSPENSION);
        for machine in &mut self.machines {
            machine.suspend(now, suspended, &mut self.effects);
        }
        self.effects.unsettled = true;
    }

    fn on_configure(&mut self, now: Instant, configuration: Configuration) {
        self.ring_for(&configuration);
        let Configuration { vmm, applications, dependencies, unknown: _ } = configuration;
        self.rounds.change(now, vmm.period, applications.len());
        self.vmm = vmm;
        let mut old = std::mem::take(&mut self.machines);
        for spec in applications {
            let known = old.iter().position(|machine| machine.spec.uuid == spec.uuid);
            let machine = match known {
                Some(index) => {
                    let mut machine = old.swap_remove(index);
                    machine.configure(now, spec, &mut self.effects);
                    machine
                }
                None => self.new_machine(now, spec),
            };
            self.machines.push(machine);
        }
        let left = old.into_iter().filter_map(|machine| Some((machine.spec.uuid, machine.running?)));
        self.orphans.extend(left);
        self.links = Links::new(&dependencies, &self.machines);
        self.dependencies = dependencies;
        self.effects.unsettled = true;
    }

    /// It was in the configuration before, perhaps, and a script of then still runs.
    fn new_machine(&mut self, now: Instant, spec: Application) -> Machine {
        let mut machine = Machine::new(spec, self.suspended, now);
        let script = self.orphans.iter().position(|(uuid, _)| *uuid == machine.spec.uuid);
        machine.running = script.map(|place| self.orphans.swap_remove(place).1);
        machine
    }

    fn ring_for(&mut self, new: &Configuration) {
        let mut same = self.machines.iter().map(|machine| &machine.spec).eq(&new.applications);
        same &= self.vmm == new.vmm;
        if !same {
            self.effects.ring(Doorbell::CONFIGURATION);
        }
        if self.dependencies != new.dependencies {
            self.effects.ring(Doorbell::DEPENDENCY);
        }
    }
}

#[cfg(test)]
mod tests;
