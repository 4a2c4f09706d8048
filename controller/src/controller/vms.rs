//! A needs-attention answer: silences are judged, doorbells answered, state changes taken in.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{
    MissedHeartbeats, NeedsAttention, Store, StoreError, StoreTime, VmAttention, VmState, VmView,
};

use super::hosts::milliseconds;
use super::{Clock, Controller, DISCOVERIES_REMEMBERED, Outcome, tell};
use crate::events::{self, VmName, incident};
use crate::exchange::Asked;
use crate::fde::incident::{Step, is_failed, steps};
use crate::fde::policy::Detection;
use crate::fde::vm::{Decision, Silence, Verdict, VmCase, decide};

/// Phases written in one turn for VMs that are neither failed nor recovered. Each is a synced transaction of its own,
/// and they are for people only: what is left over comes a moment later.
const PHASES_PER_TURN: usize = 200;

/// When work that was left over goes on.
const LEFT_OVER: Duration = Duration::from_secs(1);

/// A VM is asked to be monitored and reaches STARTED within this, else its operator is told.
const START_LIMIT: Duration = Duration::from_secs(128);

impl Controller {
    pub(super) fn needs_attention(
        &mut self,
        store: &mut dyn Store,
        clock: Clock<'_>,
    ) -> Result<Outcome, StoreError> {
        let asked = clock();
        let answer = store.needs_attention()?;
        let answered = clock();
        self.observe(store, answer.now, asked, answered)?;
        self.refresh_fleet(store, answered)?;
        let (decisions, left_over) = self.judge(store, &answer, answered)?;
        self.tell_delayed_starts(store, answer.now, answered)?;
        self.tell_quiets(store)?;
        self.tell_modes(store)?;
        let doorbells = self.take_in(store, &answer)?;
        let pending = self.reports(store, clock())?;
        let due = next_due(&decisions);
        let more = (left_over || doorbells.left_over).then_some(LEFT_OVER);
        Ok(Outcome {
            again_in: [due, more].into_iter().flatten().min(),
            fast: self.memory.fleet.fast(),
            shortest: self.memory.fleet.shortest(),
            reports_pending: Some(pending),
        })
    }

    fn refresh_fleet(&mut self, store: &mut dyn Store, now: Instant) -> Result<(), StoreError> {
        let memory = &mut self.memory;
        if memory.fleet.refresh(store, now)? {
            let known = |vm: VmUuid| memory.fleet.vms.contains_key(&vm);
            memory.exchange.keep(&known);
            memory.failures_told.retain(|vm| known(*vm));
            memory.starts_told.retain(|vm| known(*vm));
            memory.states_logged.retain(|vm, _| known(*vm));
        }
        Ok(())
    }

    /// Decides about every VM of which there is something to say. Returns the decisions, and whether some of them
    /// are not written yet.
    fn judge(
        &mut self,
        store: &mut dyn Store,
        answer: &NeedsAttention,
        now: Instant,
    ) -> Result<(Vec<Decision>, bool), StoreError> {
        let missed: BTreeMap<VmUuid, MissedHeartbeats> =
            entries(answer).filter_map(|vm| Some((vm.uuid.parse().ok()?, vm.missed?))).collect();
        let mut decisions: Vec<Decision> = Vec::new();
        for view in self.memory.fleet.vms.values() {
            let silent = missed.get(&view.uuid);
            if silent.is_some() || !view.phase.is_empty() || nothing_known(view) {
                decisions.push(decide(self.case(view, silent, answer.now, now)));
            }
        }
        // Failures and their ends first, whatever the number of the others.
        decisions.sort_by_key(|decision| !self.is_urgent(decision));
        let mut budget = PHASES_PER_TURN;
        let mut left_over = false;
        for decision in &decisions {
            let urgent = self.is_urgent(decision);
            if budget == 0 && !urgent {
                left_over = true;
                break;
            }
            let written = self.write(store, decision)?;
            budget = budget.saturating_sub(usize::from(written && !urgent));
        }
        Ok((decisions, left_over))
    }

    fn case(&self, view: &VmView, missed: Option<&MissedHeartbeats>, at: StoreTime, now: Instant) -> VmCase {
        // Whether it is over is told by the host monitors: without one that is known nothing is.
        let announced = view.quiet.is_some() && view.paths.iter().any(|path| path.known);
        let mut hb_offset_ms = 0;
        let silence = match missed {
            _ if announced => Silence::Announced,
            Some(missed) => {
                let youngest = self.guard.bound(self.youngest(view, missed, now), now);
                // What lies before the end of an announced silence does not count.
                let excused = if is_on(Bug::AnnouncedCounts) { Duration::ZERO } else { missed.excused };
                let counted = self.guard.bound(missed.youngest.saturating_sub(excused), now);
                hb_offset_ms = milliseconds(youngest.saturating_sub(counted));
                Silence::Silent {
                    youngest_ms: milliseconds(youngest),
                    oldest_ms: milliseconds(self.guard.bound(missed.oldest, now)),
                    common: missed.common,
                }
            }
            None if view.paths.is_empty() => Silence::NoPath,
            None if view.paths.iter().any(|path| path.known && path.missed.is_none()) => Silence::Heard,
            None => Silence::Unknown,
        };
        VmCase {
            vm: view.uuid,
            name: view.name.clone(),
            state: view.state,
            suspended: view.suspended,
            agent_seen: view.agent_seen_at.is_some(),
            silence,
            hb_offset_ms,
            detection: Detection::of(&self.memory.fleet.system, &view.settings),
            at,
        }
    }

    /// How long the VM has been silent altogether. A path that beat when its host monitor was last heard cannot have
    /// been silent before that: without this a guest with one old silent path would be called failed, with no grace,
    /// at the moment the monitor of its other path dies.
    fn youngest(&self, view: &VmView, missed: &MissedHeartbeats, now: Instant) -> Duration {
        let beat_when_last_known = view.paths.iter().filter(|path| !path.known && path.missed.is_none());
        if is_on(Bug::UnknownForgotten) {
            return missed.youngest;
        }
        let lost_for =
            beat_when_last_known.filter_map(|path| self.memory.hosts.silent_for(path.host_monitor, now));
        lost_for.fold(missed.youngest, Duration::min)
    }

    fn phase_of(&self, vm: VmUuid) -> &str {
        self.memory.fleet.vms.get(&vm).map_or("", |view| view.phase.as_str())
    }

    fn is_urgent(&self, decision: &Decision) -> bool {
        matches!(decision.verdict, Verdict::Failed { .. }) || is_failed(self.phase_of(decision.case.vm))
    }

    /// Writes what follows from a decision. Returns whether that was anything.
    fn write(&mut self, store: &mut dyn Store, decision: &Decision) -> Result<bool, StoreError> {
        let vm = decision.case.vm;
        let steps = steps(self.phase_of(vm), decision);
        if steps == [Step::TellFailure] && self.memory.failures_told.contains(&vm) {
            return Ok(false);
        }
        for step in &steps {
            match self.apply(store, decision, step) {
                // Removed since it was read.
                Err(StoreError::UnknownVm(_)) => return Ok(true),
                other => other?,
            }
        }
        Ok(!steps.is_empty())
    }

    fn apply(&mut self, store: &mut dyn Store, decision: &Decision, step: &Step) -> Result<(), StoreError> {
        let case = &decision.case;
        let name = VmName { vm: case.vm, name: &case.name };
        match step {
            Step::Phase(text) => {
                store.vm_phase_replace(case.vm, text)?;
                if let Some(view) = self.memory.fleet.vms.get_mut(&case.vm) {
                    view.phase.clone_from(text);
                }
            }
            Step::TellFailure => {
                let silent_ms = match decision.verdict {
                    Verdict::Failed { counted_ms } => counted_ms,
                    // Told late, when the VM is heard again: it was silent for VMFDT at least.
                    Verdict::NotEligible { .. }
                    | Verdict::Unknown
                    | Verdict::Heard
                    | Verdict::Announced
                    | Verdict::Waiting { .. } => case.detection.vmfdt_ms.value,
                };
                let vmfdt_ms = case.detection.vmfdt_ms.value;
                tell(store, &events::vm_failure(name, silent_ms, vmfdt_ms, decision.common()))?;
                self.memory.failures_told.insert(case.vm);
            }
            Step::TellRecovery => {
                tell(store, &events::vm_recovered(name))?;
            }
            Step::CloseFailure if is_on(Bug::FailureNeverClosed) => {}
            Step::CloseFailure => {
                store.incident_close(&incident::vm_silent(case.vm))?;
                self.memory.failures_told.remove(&case.vm);
            }
            Step::CloseRecovery => store.incident_close(&incident::vm_recovered(case.vm))?,
        }
        Ok(())
    }

    fn tell_delayed_starts(
        &mut self,
        store: &mut dyn Store,
        at: StoreTime,
        now: Instant,
    ) -> Result<(), StoreError> {
        let memory = &mut self.memory;
        for view in memory.fleet.vms.values().filter(|view| view.state == VmState::Starting) {
            let age = self.guard.bound(at.since(view.state_changed_at), now);
            if age >= START_LIMIT && !memory.starts_told.contains(&view.uuid) {
                let name = VmName { vm: view.uuid, name: &view.name };
                tell(store, &events::vm_start_delayed(name, age.as_secs()))?;
                memory.starts_told.insert(view.uuid);
            }
        }
        Ok(())
    }

    /// Answers doorbells, takes in state changes and discoveries, and then acknowledges them.
    fn take_in(&mut self, store: &mut dyn Store, answer: &NeedsAttention) -> Result<Asked, StoreError> {
        let mut rang = Vec::new();
        let mut changed = false;
        for entry in entries(answer) {
            changed |= entry.state_changed || entry.discovery.is_some();
            self.log_discovery(entry);
            let Ok(vm) = entry.uuid.parse::<VmUuid>() else { continue };
            if entry.doorbell != 0 {
                rang.push(vm);
            }
            if entry.state_changed {
                self.on_state_changed(store, vm, entry.state)?;
            }
        }
        let asked = self.memory.exchange.ask(store, &rang, answer.tag)?;
        // The tag names the doorbells too: it is used only when each of them led to a request.
        if let Some(tag) = answer.tag.filter(|_| changed && asked.all) {
            store.acknowledge(tag)?;
        }
        Ok(asked)
    }

    fn on_state_changed(
        &mut self,
        store: &mut dyn Store,
        vm: VmUuid,
        state: VmState,
    ) -> Result<(), StoreError> {
        if self.memory.states_logged.insert(vm, state) != Some(state) {
            tracing::info!(vm = self.memory.fleet.name_of(vm), to = %state, "monitoring state");
        }
        if state != VmState::Starting {
            self.memory.starts_told.remove(&vm);
            store.incident_close(&incident::vm_starting(vm))?;
        }
        Ok(())
    }

    fn log_discovery(&mut self, entry: &VmAttention) {
        let Some(kind) = entry.discovery else { return };
        let logged = &mut self.memory.discoveries_logged;
        if logged.insert((entry.uuid.clone(), kind)) {
            tracing::info!(vm = events::printable(&entry.uuid), %kind, "guest discovered");
        }
        if logged.len() > DISCOVERIES_REMEMBERED {
            logged.pop_first();
        }
    }
}

fn entries(answer: &NeedsAttention) -> impl Iterator<Item = &VmAttention> {
    answer.hosts.iter().flat_map(|host| &host.vms)
}

/// Whether the VM is monitored and none of its host monitors can say anything about it.
fn nothing_known(view: &VmView) -> bool {
    matches!(view.state, VmState::Starting | VmState::Started)
        && !view.paths.is_empty()
        && view.paths.iter().all(|path| !path.known)
}

/// When the next waiting silence reaches its VMFDT.
fn next_due(decisions: &[Decision]) -> Option<Duration> {
    let due = |decision: &Decision| match decision.verdict {
        Verdict::Waiting { counted_ms } => {
            Some(Duration::from_millis(decision.case.detection.vmfdt_ms.value.saturating_sub(counted_ms)))
        }
        Verdict::NotEligible { .. }
        | Verdict::Unknown
        | Verdict::Heard
        | Verdict::Announced
        | Verdict::Failed { .. } => None,
    };
    decisions.iter().filter_map(due).min()
}
