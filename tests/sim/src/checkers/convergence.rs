//! When everything was well for long, everything is said to be well: monitors, VMs, phases; and nothing waits for anybody.

use std::collections::BTreeSet;
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::denied::Denied;
use super::{Checker, doubled};
use crate::event::{Event, FinalVm};
use crate::names::Vm;
use crate::plan::Plan;

/// A guest must have run for so long before it is called well.
const SETTLING: Duration = Duration::from_secs(180);

/// See the module.
#[derive(Debug)]
pub(super) struct Convergence {
    doubled: BTreeSet<Vm>,
    moved: BTreeSet<Vm>,
    homes: Vec<usize>,
    /// Whose guest or agent does not run, or only just began to.
    unsettled: std::collections::BTreeMap<Vm, Option<Instant>>,
    all_run: bool,
    denied: Denied,
}

impl Convergence {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            doubled: doubled(plan),
            moved: BTreeSet::new(),
            homes: (0..plan.cluster.vms).map(|vm| vm % plan.cluster.hosts.max(1)).collect(),
            unsettled: std::collections::BTreeMap::new(),
            all_run: true,
            denied: Denied::default(),
        }
    }

    fn judge(&mut self, at: Instant, end: &FinalVm) -> Result<(), String> {
        let up_since = self.unsettled.get(&end.vm).copied().flatten();
        let settled =
            end.runs && !self.denied.has(end.vm) && up_since.is_some_and(|since| at.since(since) > SETTLING);
        self.all_run &= settled && !end.suspended;
        if self.doubled.contains(&end.vm) || !settled || end.suspended {
            return Ok(());
        }
        let silent_paths = end.missing > 0 && !self.moved.contains(&end.vm);
        if end.state != "STARTED" || end.failed || end.beating == 0 || silent_paths || !end.phase.is_empty() {
            return Err(format!(
                "{} is well, but is {} with {} of {} paths beating, {}, and the phase {:?}",
                end.vm,
                end.state,
                end.beating,
                end.beating + end.missing,
                if end.failed { "an open failure" } else { "no failure" },
                end.phase
            ));
        }
        Ok(())
    }
}

impl Checker for Convergence {
    fn name(&self) -> &'static str {
        "convergence"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.denied.on_event(event);
        match event {
            Event::Credentials { guest, .. } => {
                self.unsettled.insert(*guest, Some(at));
            }
            Event::InstanceStarted(vm, host) if self.homes.get(vm.0) != Some(host) => {
                self.moved.insert(*vm);
                self.unsettled.insert(*vm, Some(at));
            }
            Event::AgentUp(vm) | Event::Thawed(vm) | Event::Reverted(vm) => {
                self.unsettled.insert(*vm, Some(at));
            }
            Event::AgentDown(vm, _) | Event::Frozen(vm) => {
                self.unsettled.insert(*vm, None);
            }
            Event::FinalMonitor { hm, runs: true, well, pending, spooled }
                if !well || *pending > 0 || *spooled > 0 =>
            {
                return Err(format!(
                    "{hm} runs; the store calls it well: {well}; {pending} writes wait, {spooled} bytes are in its spool"
                ));
            }
            Event::FinalVm(end) => return self.judge(at, end),
            Event::FinalRows(table, rows) if *rows > 0 && self.all_run && self.doubled.is_empty() => {
                return Err(format!("{rows} rows of {table} wait for nobody"));
            }
            _ => {}
        }
        Ok(())
    }
}
