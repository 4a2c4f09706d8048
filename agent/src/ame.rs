//! The application management engine (AME): decides which script runs when, and what its end means.
//!
//! Pure: it runs nothing itself and never waits for a script. Work is done in rounds, one every `period`: start the
//! scripts that are due, collect those that ended, ring the doorbell. With `period=0` there is a round whenever
//! something is due. Scripts past their time are killed at that time, not at a round.
//!
//! The states of one application are in [`Status`], their transitions in `ame/application.rs`.

mod application;
mod status;
mod table;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use vmpulse_protocol::message::Doorbell;
use vmpulse_protocol::time::Instant;

use crate::config::{Configuration, Vmm};
use crate::types::Typed;
use application::{Machine, Running};
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
}

/// What a step of an application leaves behind.
#[derive(Debug, Default)]
struct Effects {
    outputs: VecDeque<AmeOutput>,
    doorbell: Doorbell,
    last_run: u64,
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
#[derive(Debug)]
pub struct Ame {
    vmm: Vmm,
    machines: Vec<Machine>,
    /// Scripts of applications that are configured no more; they have their time, like others.
    orphans: Vec<(String, Running)>,
    next_round: Instant,
    effects: Effects,
}

impl Ame {
    /// An engine that has its first round at once.
    #[must_use]
    pub fn new(configuration: Configuration, now: Instant) -> Self {
        let machines = configuration.applications.into_iter().map(|spec| Machine::new(spec, now)).collect();
        Self {
            vmm: configuration.vmm,
            machines,
            orphans: Vec::new(),
            next_round: now,
            effects: Effects::default(),
        }
    }

    /// Takes news.
    pub fn handle_input(&mut self, now: Instant, input: AmeInput) {
        match input {
            AmeInput::ScriptEnded { run, outcome } => self.on_script_ended(run, outcome),
            AmeInput::Configure(configuration) => self.on_configure(now, configuration),
        }
    }

    /// Does what is due. Calls at other times do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let scripts = self.machines.iter_mut().filter_map(|machine| machine.running.as_mut());
        let orphans = self.orphans.iter_mut().map(|(_, running)| running);
        for running in scripts.chain(orphans).filter(|running| running.kill_at().is_some_and(|at| now >= at))
        {
            running.killed = true;
            self.effects.outputs.push_back(AmeOutput::KillScript { run: running.id });
        }
        if self.round_due().is_some_and(|due| now >= due) {
            self.round(now);
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
        scripts.chain(orphans).filter_map(Running::kill_at).chain(self.round_due()).min()
    }

    /// Every application, in the order of the configuration.
    pub fn applications(&self) -> impl Iterator<Item = ApplicationStatus> + '_ {
        self.machines.iter().map(Machine::view)
    }

    /// What is configured for the engine itself.
    #[must_use]
    pub fn vmm(&self) -> &Vmm {
        &self.vmm
    }

    fn round_due(&self) -> Option<Instant> {
        let ringing = (!self.effects.doorbell.is_empty()).then_some(Instant::ZERO);
        if self.vmm.period.is_zero() {
            return self.machines.iter().filter_map(Machine::due).chain(ringing).min();
        }
        // Without applications there is nothing a round could do.
        (ringing.is_some() || !self.machines.is_empty()).then_some(self.next_round)
    }

    fn round(&mut self, now: Instant) {
        for machine in &mut self.machines {
            machine.start_due(now, &mut self.effects);
        }
        for machine in &mut self.machines {
            machine.collect(now, &mut self.effects);
        }
        self.ring();
        if self.vmm.log >= TABLE_LOG_LEVEL {
            let table = table::render(&self.machines, &self.orphans);
            self.effects.outputs.push_back(AmeOutput::Table(table));
        }
        let regular = self.next_round + self.vmm.period;
        // After a stall the rounds that were missed are not made up for.
        self.next_round = if regular > now { regular } else { now + self.vmm.period };
    }

    fn ring(&mut self) {
        let bits = std::mem::take(&mut self.effects.doorbell);
        if !bits.is_empty() {
            self.effects.outputs.push_back(AmeOutput::Changed(bits));
        }
    }

    fn on_script_ended(&mut self, run: RunId, outcome: Outcome) {
        self.orphans.retain(|(_, running)| running.id != run);
        for machine in &mut self.machines {
            machine.on_script_ended(run, outcome);
        }
    }

    fn on_configure(&mut self, now: Instant, configuration: Configuration) {
        let before: Vec<_> = self.machines.iter().map(|machine| machine.spec.clone()).collect();
        if before != configuration.applications || self.vmm != configuration.vmm {
            self.effects.ring(Doorbell::CONFIGURATION);
        }
        self.vmm = configuration.vmm;
        self.next_round = self.next_round.min(now + self.vmm.period);
        let mut old = std::mem::take(&mut self.machines);
        for spec in configuration.applications {
            let known = old.iter().position(|machine| machine.spec.uuid == spec.uuid);
            let machine = match known {
                Some(index) => {
                    let mut machine = old.swap_remove(index);
                    machine.configure(now, spec, &mut self.effects);
                    machine
                }
                None => Machine::new(spec, now),
            };
            self.machines.push(machine);
        }
        let left = old.into_iter().filter_map(|machine| Some((machine.spec.uuid, machine.running?)));
        self.orphans.extend(left.filter(|(_, running)| running.ended.is_none()));
    }
}

#[cfg(test)]
mod tests;
