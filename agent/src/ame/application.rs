//! The state machine of one application.
//!
//! ```text
//!                       monitored=0, from any state
//!   NOT_MONITORED <------------------------------------ *
//!        | monitored=1
//!        v           ok                    ok
//!      UNSET -----------------> NORMAL <--------- FAILING <--+
//!        | ^                      | failed           |  |    | failed, fewer than
//!        | |                      +------------------|->+----+ monitor_failure_threshold
//!        | |                                         |
//!        +-|-- failed, threshold reached ------------+
//!          |                 |
//!          |                 +-- as many cycles as max_restart --> FAILURE
//!          |                 v fewer
//!          |              TO_STOP --- stop_max_failures failed ---> NOT_STOPPABLE
//!          |                 | stop script ended with 0
//!          |                 v
//!          +------------- TO_START -- start_max_failures failed --> NOT_STARTABLE
//!     start script ended with 0: the cycle counts
//!
//!   * a script that is missing or not executable ---> ABNORMAL
//!   RED states are final: a changed configuration of the application leads back to UNSET.
//! ```
//!
//! A cycle counts until it is older than `restart_window`. With `restart_window=0` all cycles count until the
//! monitor has then answered `monitor_failure_threshold` times in a row that the application works: a repaired
//! application has its full allowance again, one that dies as soon as it is started does not.

use std::collections::VecDeque;

use vmpulse_protocol::message::Doorbell;
use vmpulse_protocol::time::Instant;

use super::{
    AmeOutput, ApplicationStatus, Effects, Outcome, RunId, RunResult, ScriptKind, StartScript, Status,
};
use crate::config::Application;

/// A script between its start and the round that collects it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: RunId,
    pub(super) kind: ScriptKind,
    deadline: Instant,
    pub(super) killed: bool,
    pub(super) ended: Option<Outcome>,
}

impl Running {
    /// When it is to be killed; `None` once it ended or was.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        (!self.killed && self.ended.is_none()).then_some(self.deadline)
    }
}

/// Successive results.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) failures: u32,
    pub(super) stop_failures: u32,
    pub(super) start_failures: u32,
    successes: u32,
}

/// One application.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) spec: Application,
    pub(super) status: Status,
    pub(super) last_result: RunResult,
    pub(super) running: Option<Running>,
    changed_at: Instant,
    monitor_due: Instant,
    counts: Counts,
    /// When the cycles that count were completed, oldest first; at most `max_restart` of them.
    restarts: VecDeque<Instant>,
}

impl Machine {
    pub(super) fn new(spec: Application, now: Instant) -> Self {
        Self {
            spec,
            status: Status::NotMonitored,
            last_result: RunResult::NotSet,
            running: None,
            changed_at: now,
            monitor_due: now,
            counts: Counts::default(),
            restarts: VecDeque::new(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn restart_count(&self) -> u32 {
        u32::try_from(self.restarts.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn view(&self) -> ApplicationStatus {
        ApplicationStatus {
            name: self.spec.name.clone(),
            uuid: self.spec.uuid.clone(),
            status: self.status,
            critical: self.spec.critical,
            monitored: self.spec.monitored,
            max_restart: self.spec.max_restart,
            restarts: self.restart_count(),
            version: self.spec.values.text("version").to_owned(),
            last_result: self.last_result,
            changed_at: self.changed_at,
        }
    }

    /// When a round has something to do here; `ZERO` means at once.
    pub(super) fn due(&self) -> Option<Instant> {
        if let Some(running) = &self.running {
            return running.ended.map(|_| Instant::ZERO);
        }
        match self.status {
            Status::NotMonitored => self.spec.monitored.then_some(Instant::ZERO),
            Status::Unset | Status::Normal | Status::Failing => Some(self.monitor_due),
            Status::ToStop | Status::ToStart => Some(Instant::ZERO),
            Status::NotStoppable | Status::NotStartable | Status::Abnormal | Status::Failure => None,
        }
    }

    /// First part of a round: starts what is due.
    pub(super) fn start_due(&mut self, now: Instant, effects: &mut Effects) {
        self.forget_old_restarts(now, effects);
        if self.status == Status::NotMonitored && self.spec.monitored {
            self.monitor_due = now;
            self.change(now, Status::Unset, effects);
        }
        if self.running.is_some() {
            return;
        }
        match self.status {
            Status::Unset | Status::Normal | Status::Failing if now >= self.monitor_due => {
                self.start(now, ScriptKind::Monitor, effects);
            }
            Status::ToStop => self.start(now, ScriptKind::Stop, effects),
            Status::ToStart => self.start(now, ScriptKind::Start, effects),
            Status::Unset | Status::Normal | Status::Failing => {}
            Status::NotMonitored
            | Status::NotStoppable
            | Status::NotStartable
            | Status::Abnormal
            | Status::Failure => {}
        }
    }

    fn start(&mut self, now: Instant, kind: ScriptKind, effects: &mut Effects) {
        let (command, time_limit) = match kind {
            ScriptKind::Monitor => (&self.spec.monitor_script, self.spec.monitor_timeout),
            ScriptKind::Stop => (&self.spec.stop_script, self.spec.stop_stabilization_time),
            ScriptKind::Start => (&self.spec.start_script, self.spec.start_stabilization_time),
        };
        if kind == ScriptKind::Monitor {
            self.monitor_due = now + self.spec.monitor_period;
        }
        let run = effects.next_run();
        effects.outputs.push_back(AmeOutput::StartScript(StartScript {
            app: self.spec.name.clone(),
            uuid: self.spec.uuid.clone(),
            run,
            kind,
            command: command.clone(),
            typed: self.spec.typed.clone(),
            user: self.spec.user.clone(),
            time_limit,
        }));
        self.running =
            Some(Running { id: run, kind, deadline: now + time_limit, killed: false, ended: None });
    }

    /// Notes the end of a script for the next round.
    pub(super) fn on_script_ended(&mut self, run: RunId, outcome: Outcome) {
        if let Some(running) = self.running.as_mut().filter(|running| running.id == run) {
            running.ended = Some(outcome);
        }
    }

    /// Second part of a round: judges the script that ended.
    pub(super) fn collect(&mut self, now: Instant, effects: &mut Effects) {
        let Some((kind, killed, outcome)) = self.take_ended() else { return };
        // One that ended while it was being killed was late all the same.
        let outcome = if killed && outcome != Outcome::CouldNotStart { Outcome::Timeout } else { outcome };
        self.last_result = outcome.result();
        let expected = match self.status {
            Status::Unset | Status::Normal | Status::Failing => Some(ScriptKind::Monitor),
            Status::ToStop => Some(ScriptKind::Stop),
            Status::ToStart => Some(ScriptKind::Start),
            Status::NotMonitored
            | Status::NotStoppable
            | Status::NotStartable
            | Status::Abnormal
            | Status::Failure => None,
        };
        // Otherwise the application was suspended or repaired while it ran.
        if expected != Some(kind) {
            return;
        }
        if outcome == Outcome::CouldNotStart {
            return self.change(now, Status::Abnormal, effects);
        }
        match kind {
            ScriptKind::Monitor => self.on_monitored(now, outcome, effects),
            ScriptKind::Stop => self.on_stopped(now, outcome, effects),
            ScriptKind::Start => self.on_started(now, outcome, effects),
        }
    }

    fn take_ended(&mut self) -> Option<(ScriptKind, bool, Outcome)> {
        let running = self.running.as_ref()?;
        let ended = (running.kind, running.killed, running.ended?);
        self.running = None;
        Some(ended)
    }

    fn on_monitored(&mut self, now: Instant, outcome: Outcome, effects: &mut Effects) {
        if outcome.result() == RunResult::Normal {
            self.counts.failures = 0;
            self.counts.successes = self.counts.successes.saturating_add(1);
            if self.spec.restart_window.is_zero()
                && self.counts.successes >= self.spec.monitor_failure_threshold
            {
                self.forget_restarts(effects);
            }
            return self.change(now, Status::Normal, effects);
        }
        self.counts.successes = 0;
        self.counts.failures += 1;
        if outcome == Outcome::Timeout {
            self.monitor_due = now;
        }
        if self.counts.failures < self.spec.monitor_failure_threshold {
            self.change(now, Status::Failing, effects);
        } else if self.restart_count() >= self.spec.max_restart {
            self.change(now, Status::Failure, effects);
        } else {
            self.counts.stop_failures = 0;
            self.change(now, Status::ToStop, effects);
        }
    }

    fn on_stopped(&mut self, now: Instant, outcome: Outcome, effects: &mut Effects) {
        if outcome.result() == RunResult::Normal {
            self.counts.stop_failures = 0;
            self.counts.start_failures = 0;
            return self.change(now, Status::ToStart, effects);
        }
        self.counts.stop_failures += 1;
        if self.counts.stop_failures >= self.spec.stop_max_failures {
            self.change(now, Status::NotStoppable, effects);
        }
    }

    fn on_started(&mut self, now: Instant, outcome: Outcome, effects: &mut Effects) {
        if outcome.result() == RunResult::Normal {
            self.counts = Counts::default();
            self.restarts.push_back(now);
            effects.ring(Doorbell::RESTARTS);
            self.monitor_due = now;
            return self.change(now, Status::Unset, effects);
        }
        self.counts.start_failures += 1;
        if self.counts.start_failures >= self.spec.start_max_failures {
            self.change(now, Status::NotStartable, effects);
        }
    }

    /// Takes new attributes. A script that runs goes on under the old ones.
    pub(super) fn configure(&mut self, now: Instant, spec: Application, effects: &mut Effects) {
        if self.spec == spec {
            return;
        }
        self.spec = spec;
        if !self.spec.monitored {
            self.repair(now, Status::NotMonitored, effects);
        } else if self.status.is_final() {
            self.repair(now, Status::Unset, effects);
        }
    }

    /// Begins anew, as if nothing had ever failed.
    fn repair(&mut self, now: Instant, to: Status, effects: &mut Effects) {
        self.counts = Counts::default();
        self.forget_restarts(effects);
        self.monitor_due = now;
        self.change(now, to, effects);
    }

    fn forget_restarts(&mut self, effects: &mut Effects) {
        if !self.restarts.is_empty() {
            self.restarts.clear();
            effects.ring(Doorbell::RESTARTS);
        }
    }

    /// A final state keeps the count that led to it.
    fn forget_old_restarts(&mut self, now: Instant, effects: &mut Effects) {
        let window = self.spec.restart_window;
        if window.is_zero() || self.status.is_final() {
            return;
        }
        while self.restarts.front().is_some_and(|done| now.since(*done) >= window) {
            self.restarts.pop_front();
            effects.ring(Doorbell::RESTARTS);
        }
    }

    fn change(&mut self, now: Instant, to: Status, effects: &mut Effects) {
        if self.status == to {
            return;
        }
        let from = std::mem::replace(&mut self.status, to);
        self.changed_at = now;
        effects.ring(Doorbell::STATUS);
        effects.outputs.push_back(AmeOutput::StatusChanged { app: self.spec.name.clone(), from, to });
    }
}
