//! What people want of an application: other attributes, suspended or not, started, stopped.

use vmpulse_protocol::message::Doorbell;
use vmpulse_protocol::time::Instant;

use super::{Boot, Counts, Effects, Machine, Status, Why};
use crate::config::Application;

impl Machine {
    /// Takes new attributes. A script that runs goes on under the old ones.
    pub(in crate::ame) fn configure(&mut self, now: Instant, spec: Application, effects: &mut Effects) {
        if self.spec == spec {
            return;
        }
        if self.spec.monitored != spec.monitored {
            effects.ring(Doorbell::SUSPENSION);
        }
        self.spec = spec;
        if !self.spec.monitored {
            self.repair(now, Status::NotMonitored, effects);
        } else if self.status.is_final() && self.held {
            // It was to be stopped, and perhaps now it can be.
            self.begin_stop(now, Why::Hand, effects);
        } else if self.status.is_final() {
            self.repair(now, Status::Unset, effects);
        }
    }

    /// The whole VM is suspended, or resumed.
    pub(in crate::ame) fn suspend(&mut self, now: Instant, suspended: bool, effects: &mut Effects) {
        self.vm_suspended = suspended;
        if suspended {
            self.repair(now, Status::NotMonitored, effects);
        }
    }

    /// Stops it, and lets it be.
    pub(in crate::ame) fn hold(&mut self, now: Instant, effects: &mut Effects) {
        if self.held && matches!(self.status, Status::NotMonitored | Status::ToStop) {
            return;
        }
        self.held = true;
        self.forget_restarts(effects);
        match self.status {
            // Its stop goes on, with what has failed of it.
            Status::ToStop => self.why = Why::Hand,
            Status::NotMonitored
            | Status::Unset
            | Status::Normal
            | Status::Failing
            | Status::ToStart
            | Status::NotStoppable
            | Status::NotStartable
            | Status::Abnormal
            | Status::Failure => self.begin_stop(now, Why::Hand, effects),
        }
    }

    /// Starts it, if it does not run. False: it does.
    pub(in crate::ame) fn start_by_hand(&mut self, now: Instant, effects: &mut Effects) -> bool {
        if self.is_up() || self.is_arriving() {
            return false;
        }
        if !matches!(self.status, Status::ToStop | Status::ToStart) {
            self.forget_restarts(effects);
            self.begin_start(now, Why::Hand, effects);
        }
        self.held = false;
        true
    }

    /// Monitors it anew, if it is in a final state or was stopped by hand.
    pub(in crate::ame) fn resume(&mut self, now: Instant, effects: &mut Effects) {
        if self.status.is_final() || (self.held && self.status == Status::NotMonitored) {
            self.held = false;
            self.repair(now, Status::Unset, effects);
        }
        self.held = false;
    }

    /// Begins anew, as if nothing had ever failed.
    fn repair(&mut self, now: Instant, to: Status, effects: &mut Effects) {
        self.counts = Counts::default();
        self.boot = Boot::None;
        self.forget_restarts(effects);
        self.monitor_due = now;
        self.change(now, to, effects);
    }
}
