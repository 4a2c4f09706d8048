//! The state machine of one application.
//!
//! ```text
//!               suspended (monitored=0, or the whole VM), from any state
//!   NOT_MONITORED <------------------------------------------------------ *
//!     |      |  ^
//!     |      |  +------------- stopped by hand: stop script ended with 0
//!     |      |                                                  |
//!     |      | after a boot (rebootappstarttype=VMM)            |
//!     |      | start by hand                                    |
//!     |      +-------------------------------> TO_START         |
//!     | monitored                                               |
//!     v           ok                    ok                      |
//!   UNSET -----------------> NORMAL <--------- FAILING <--+     |
//!     | ^ ^                    | failed           |  |    |     |
//!     | | | not up yet         +------------------|->+----+ failed, fewer than
//!     | | +-+ after a boot (OS)                   |         monitor_failure_threshold
//!     | |                                         |             |
//!     +-|-- failed, threshold reached ------------+             |
//!       |                 |                                     |
//!       |                 +-- as many cycles as max_restart --> FAILURE
//!       |                 v fewer                               |
//!       |              TO_STOP --- stop_max_failures failed, ---|---> NOT_STOPPABLE
//!       |                 |        or a child is not stoppable  |
//!       |                 | stop script ended with 0            |
//!       |                 +-------------------------------------+
//!       |                 v
//!       +------------- TO_START -- start_max_failures failed --> NOT_STARTABLE
//!  start script ended with 0: the cycle counts
//!
//!   UNSET, NORMAL, FAILING ---> TO_STOP    stop by hand (from any state), or the parent stops or fails
//!   UNSET ---> TO_START                    not up after a boot (OS) when start_stabilization_time is over
//!   * a script that is missing or not executable ---> ABNORMAL
//!   RED states are final. A changed configuration or a resumption leads back to UNSET, start by hand to TO_START,
//!   stop by hand to TO_STOP.
//! ```
//!
//! A script that fails is judged when it has ended, one that succeeds in monitoring at the round after that. Scripts are
//! started at rounds only: at the first after whatever made them due, if the dependencies allow it.
//!
//! A cycle is a stop and a start that the monitor asked for. It counts until it is older than `restart_window`. With
//! `restart_window=0` all cycles count until the monitor has then answered `monitor_failure_threshold` times in a row that
//! the application works: a repaired application has its full allowance again, one that dies as soon as it is started
//! does not.

mod orders;

use std::collections::VecDeque;
use std::time::Duration;

use vmpulse_protocol::message::Doorbell;
use vmpulse_protocol::time::Instant;

use super::{
    AmeOutput, ApplicationStatus, Effects, Outcome, RunId, RunResult, ScriptKind, StartScript, Status,
};
use crate::config::{Application, BootStart};

/// A script between its start and its end.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) id: RunId,
    pub(super) kind: ScriptKind,
    deadline: Instant,
    pub(super) killed: bool,
}

impl Running {
    /// When it is to be killed; `None` once it was.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        (!self.killed).then_some(self.deadline)
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

/// Why an application is being stopped or started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its monitor says that it does not work: a restart cycle, which counts.
    Cycle,
    /// Its parent stops or fails.
    Parent,
    /// Somebody asked for it.
    Hand,
    /// The guest has booted.
    Boot,
}

/// What an application is at its first round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boot {
    /// Whatever its monitor will say.
    None,
    /// To be started.
    Start,
    /// To be started if it is not up after its stabilisation time.
    Wait,
    /// Waited for, until then.
    Until(Instant),
}

/// One application.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) spec: Application,
    pub(super) status: Status,
    pub(super) last_result: RunResult,
    pub(super) running: Option<Running>,
    /// Stopped by hand, or on the way to it.
    pub(super) held: bool,
    /// It has been said what its start or stop waits for.
    pub(super) wait_noted: bool,
    vm_suspended: bool,
    changed_at: Instant,
    monitor_due: Instant,
    /// The monitor has said that it works; the next round shows it.
    answered: bool,
    counts: Counts,
    why: Why,
    boot: Boot,
    /// The script that is missing, when ABNORMAL.
    missing: Option<ScriptKind>,
    /// When the cycles that count were completed, oldest first; at most `max_restart` of them.
    restarts: VecDeque<Instant>,
}

impl Machine {
    pub(super) fn new(spec: Application, vm_suspended: bool, now: Instant) -> Self {
        Self {
            spec,
            status: Status::NotMonitored,
            last_result: RunResult::NotSet,
            running: None,
            held: false,
            wait_noted: false,
            vm_suspended,
            changed_at: now,
            monitor_due: now,
            answered: false,
            counts: Counts::default(),
            why: Why::Cycle,
            boot: Boot::None,
            missing: None,
            restarts: VecDeque::new(),
        }
    }

    /// The guest has just booted. What is suspended is nobody's business then either.
    pub(super) fn booted(&mut self, who: BootStart) {
        if !self.is_suspended() {
            self.boot = match who {
                BootStart::Agent => Boot::Start,
                BootStart::System => Boot::Wait,
            };
        }
    }

    pub(super) fn monitor_period(&self) -> Duration {
        self.spec.monitor_period
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn restart_count(&self) -> u32 {
        u32::try_from(self.restarts.len()).unwrap_or(u32::MAX)
    }

    /// `waits_for` is for the engine to say.
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
            stopped: self.held,
            waits_for: Vec::new(),
        }
    }

    /// Neither monitored nor considered in dependencies.
    pub(super) fn is_suspended(&self) -> bool {
        !self.spec.monitored || self.vm_suspended
    }

    /// To be looked at from the next round on.
    fn is_arriving(&self) -> bool {
        self.status == Status::NotMonitored && !self.is_suspended() && !self.held
    }

    /// Whether a script of TO_STOP or TO_START could be started, were it for the application alone.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.status, Status::ToStop | Status::ToStart) && self.running.is_none()
    }

    /// Its monitor runs, or will.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.status, Status::Unset | Status::Normal | Status::Failing)
    }

    /// Nothing of it runs, as far as the engine can know; or the engine cannot do more about it.
    pub(super) fn is_down(&self) -> bool {
        match self.status {
            Status::NotMonitored => !self.is_arriving(),
            Status::ToStart => self.running.is_none(),
            Status::Unset | Status::Normal | Status::Failing | Status::ToStop => false,
            Status::NotStoppable | Status::NotStartable | Status::Abnormal | Status::Failure => true,
        }
    }

    /// As a parent: it does not work, or will soon not, so that its children must not run.
    pub(super) fn is_leaving(&self) -> bool {
        match self.status {
            Status::NotMonitored => self.held && !self.is_suspended(),
            Status::ToStop
            | Status::ToStart
            | Status::NotStoppable
            | Status::NotStartable
            | Status::Failure => true,
            // That its monitor script is missing says nothing of the application.
            Status::Abnormal => self.missing != Some(ScriptKind::Monitor),
            Status::Unset | Status::Normal | Status::Failing => false,
        }
    }

    /// The engine was to stop it and could not.
    pub(super) fn is_stuck(&self) -> bool {
        self.status == Status::NotStoppable
            || (self.status == Status::Abnormal && self.missing == Some(ScriptKind::Stop))
    }

    /// Its start is due but was not tried yet.
    pub(super) fn has_start_ahead(&self) -> bool {
        match self.status {
            Status::NotMonitored => self.is_arriving() && self.boot == Boot::Start,
            Status::ToStop => !self.held,
            Status::ToStart => self.counts.start_failures == 0 && !self.runs(ScriptKind::Start),
            Status::Unset
            | Status::Normal
            | Status::Failing
            | Status::NotStoppable
            | Status::NotStartable
            | Status::Abnormal
            | Status::Failure => false,
        }
    }

    /// Its stop is due but was not tried yet.
    pub(super) fn has_stop_ahead(&self) -> bool {
        self.status == Status::ToStop && self.counts.stop_failures == 0 && !self.runs(ScriptKind::Stop)
    }

    pub(super) fn runs(&self, kind: ScriptKind) -> bool {
        self.running.as_ref().is_some_and(|running| running.kind == kind)
    }

    /// From when on a round has something to do here; `ZERO` means at the next. `may_go`: what depends on others may.
    pub(super) fn wanted(&self, may_go: bool) -> Option<Instant> {
        if self.answered || self.is_arriving() {
            return Some(Instant::ZERO);
        }
        let script = match self.status {
            Status::Unset | Status::Normal | Status::Failing => Some(self.monitor_due),
            Status::ToStop | Status::ToStart => may_go.then_some(Instant::ZERO),
            Status::NotMonitored
            | Status::NotStoppable
            | Status::NotStartable
            | Status::Abnormal
            | Status::Failure => None,
        };
        let script = script.filter(|_| self.running.is_none());
        script.into_iter().chain(self.restart_forgotten()).min()
    }

    /// First part of a round: what has become of it.
    pub(super) fn look(&mut self, now: Instant, round: Instant, effects: &mut Effects) {
        self.forget_old_restarts(now, effects);
        if self.is_arriving() {
            self.arrive(now, round, effects);
        }
        if std::mem::take(&mut self.answered) {
            self.on_answered(now, effects);
        }
    }

    fn arrive(&mut self, now: Instant, round: Instant, effects: &mut Effects) {
        self.monitor_due = round;
        match std::mem::replace(&mut self.boot, Boot::None) {
            Boot::Start => self.begin_start(now, Why::Boot, effects),
            Boot::Wait => {
                self.boot = Boot::Until(round + self.spec.start_stabilization_time);
                self.change(now, Status::Unset, effects);
            }
            Boot::None | Boot::Until(_) => self.change(now, Status::Unset, effects),
        }
    }

    /// Second part of a round: starts what is due.
    pub(super) fn start_due(&mut self, now: Instant, round: Instant, may_go: bool, effects: &mut Effects) {
        if self.running.is_some() {
            return;
        }
        match self.status {
            Status::Unset | Status::Normal | Status::Failing if round >= self.monitor_due => {
                self.monitor_due = round + self.spec.monitor_period;
                self.start(now, ScriptKind::Monitor, effects);
            }
            Status::ToStop if may_go => self.start(now, ScriptKind::Stop, effects),
            Status::ToStart if may_go => self.start(now, ScriptKind::Start, effects),
            Status::Unset
            | Status::Normal
            | Status::Failing
            | Status::ToStop
            | Status::ToStart
            | Status::NotMonitored
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
        self.running = Some(Running { id: run, kind, deadline: now + time_limit, killed: false });
    }

    /// Judges the script that ended, if it is this application's. True if it was.
    pub(super) fn on_script_ended(
        &mut self,
        now: Instant,
        run: RunId,
        outcome: Outcome,
        effects: &mut Effects,
    ) -> bool {
        let Some(Running { kind, killed, .. }) = self.running.take_if(|running| running.id == run) else {
            return false;
        };
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
        // Otherwise the application was suspended, stopped or repaired while it ran.
        if expected != Some(kind) {
            return true;
        }
        match kind {
            _ if outcome == Outcome::CouldNotStart => {
                self.missing = Some(kind);
                self.change(now, Status::Abnormal, effects);
            }
            ScriptKind::Monitor if outcome.result() == RunResult::Normal => self.answered = true,
            ScriptKind::Monitor => self.on_monitor_failed(now, outcome, effects),
            ScriptKind::Stop => self.on_stopped(now, outcome, effects),
            ScriptKind::Start => self.on_started(now, outcome, effects),
        }
        true
    }

    fn on_answered(&mut self, now: Instant, effects: &mut Effects) {
        self.boot = Boot::None;
        self.counts.failures = 0;
        self.counts.successes = self.counts.successes.saturating_add(1);
        if self.spec.restart_window.is_zero() && self.counts.successes >= self.spec.monitor_failure_threshold
        {
            self.forget_restarts(effects);
        }
        self.change(now, Status::Normal, effects);
    }

    fn on_monitor_failed(&mut self, now: Instant, outcome: Outcome, effects: &mut Effects) {
        if outcome == Outcome::Timeout {
            self.monitor_due = now;
        }
        if let Boot::Until(until) = self.boot {
            return self.on_not_up(now, until, effects);
        }
        self.counts.successes = 0;
        self.counts.failures += 1;
        if self.counts.failures < self.spec.monitor_failure_threshold {
            self.change(now, Status::Failing, effects);
        } else if self.restart_count() >= self.spec.max_restart {
            self.change(now, Status::Failure, effects);
        } else {
            self.begin_stop(now, Why::Cycle, effects);
        }
    }

    /// After a boot the system has its time; then the agent does it.
    fn on_not_up(&mut self, now: Instant, until: Instant, effects: &mut Effects) {
        if now < until {
            self.monitor_due = self.monitor_due.min(until);
        } else {
            self.begin_start(now, Why::Boot, effects);
        }
    }

    pub(super) fn begin_stop(&mut self, now: Instant, why: Why, effects: &mut Effects) {
        self.why = why;
        self.boot = Boot::None;
        self.counts.stop_failures = 0;
        self.change(now, Status::ToStop, effects);
    }

    fn begin_start(&mut self, now: Instant, why: Why, effects: &mut Effects) {
        self.why = why;
        self.boot = Boot::None;
        self.counts = Counts::default();
        self.change(now, Status::ToStart, effects);
    }

    fn on_stopped(&mut self, now: Instant, outcome: Outcome, effects: &mut Effects) {
        if outcome.result() == RunResult::Normal {
            self.counts.stop_failures = 0;
            self.counts.start_failures = 0;
            let to = if self.held { Status::NotMonitored } else { Status::ToStart };
            return self.change(now, to, effects);
        }
        self.counts.stop_failures += 1;
        if self.counts.stop_failures >= self.spec.stop_max_failures {
            self.give_up_stopping(now, effects);
        }
    }

    /// Also when a child of it cannot be stopped.
    pub(super) fn give_up_stopping(&mut self, now: Instant, effects: &mut Effects) {
        self.change(now, Status::NotStoppable, effects);
    }

    fn on_started(&mut self, now: Instant, outcome: Outcome, effects: &mut Effects) {
        if outcome.result() == RunResult::Normal {
            self.counts = Counts::default();
            match self.why {
                Why::Cycle => {
                    self.restarts.push_back(now);
                    effects.ring(Doorbell::RESTARTS);
                }
                Why::Parent | Why::Hand | Why::Boot => {}
            }
            self.monitor_due = now;
            return self.change(now, Status::Unset, effects);
        }
        self.counts.start_failures += 1;
        if self.counts.start_failures >= self.spec.start_max_failures {
            self.change(now, Status::NotStartable, effects);
        }
    }

    fn forget_restarts(&mut self, effects: &mut Effects) {
        if !self.restarts.is_empty() {
            self.restarts.clear();
            effects.ring(Doorbell::RESTARTS);
        }
    }

    /// When the oldest cycle is to be forgotten. A final state keeps the count that led to it.
    fn restart_forgotten(&self) -> Option<Instant> {
        let window = self.spec.restart_window;
        let counts = !window.is_zero() && !self.status.is_final();
        self.restarts.front().filter(|_| counts).map(|done| *done + window)
    }

    fn forget_old_restarts(&mut self, now: Instant, effects: &mut Effects) {
        while self.restart_forgotten().is_some_and(|at| now >= at) {
            self.restarts.pop_front();
            effects.ring(Doorbell::RESTARTS);
        }
    }

    fn change(&mut self, now: Instant, to: Status, effects: &mut Effects) {
        self.answered = false;
        if self.status == to {
            return;
        }
        let from = std::mem::replace(&mut self.status, to);
        self.changed_at = now;
        self.wait_noted = false;
        effects.ring(Doorbell::STATUS);
        effects.unsettled = true;
        effects.outputs.push_back(AmeOutput::StatusChanged { app: self.spec.name.clone(), from, to });
    }
}
