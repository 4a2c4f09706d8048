//! A VM that is silent is declared failed within its bound: its limit and a little, as long as nothing else is wrong; anew from
//! when nothing is, otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::set_back::SetBack;
use super::{Checker, doubled, failure};
use crate::event::{Event, Said};
use crate::names::Vm;
use crate::plan::Plan;
use crate::settings::{Limits, MISSING_TENTHS, MONITOR_RESPONSIVE};

/// Polls, commits and the ticks on which this checker looks.
const SLACK: Duration = Duration::from_secs(15);
/// A poll that asks for attention comes at least this often.
const ATTENTION: Duration = Duration::from_secs(65);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    beat: Option<Instant>,
    /// Silence before this is announced.
    quiet_until: Option<Instant>,
    suspended: bool,
    shut_down: bool,
    /// Until its agent is started again: one that is shutting down may beat once more.
    stopping: bool,
    declared: bool,
    reported: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Bound {
    limits: Limits,
    doubled: BTreeSet<Vm>,
    seen: BTreeMap<Vm, Seen>,
    calm_since: Option<Instant>,
    set_back: SetBack,
}

impl Bound {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            seen: BTreeMap::new(),
            calm_since: None,
            set_back: SetBack::default(),
        }
    }

    fn on_said(&mut self, at: Instant, vm: Vm, said: Said) {
        let seen = self.seen.entry(vm).or_default();
        match said {
            Said::Suspend => seen.suspended = true,
            Said::Resume => {
                seen.suspended = false;
                seen.quiet_until = Some(at);
            }
            Said::Quiet(asked) => seen.quiet_until = Some(at + asked),
            Said::Shutdown => (seen.shut_down, seen.stopping) = (true, true),
        }
    }

    fn look(&mut self, at: Instant) -> Result<(), String> {
        let Some(calm) = self.calm_since else { return Ok(()) };
        for (vm, seen) in &mut self.seen {
            let Some(beat) = seen.beat else { continue };
            let exempt = seen.suspended || seen.shut_down || seen.declared || seen.reported;
            if exempt || self.doubled.contains(vm) {
                continue;
            }
            let from = seen.quiet_until.map_or(beat, |until| until.max(beat));
            let limit = self.limits.shortest(*vm);
            // What was wrong lately may have kept edges back, or bounded ages.
            let undisturbed = calm + MONITOR_RESPONSIVE <= beat;
            let from = if undisturbed && from == beat { from } else { from.max(calm) + ATTENTION };
            let late = if self.set_back.is_late(*vm, beat) {
                self.limits.interval(*vm) * MISSING_TENTHS / 10
            } else {
                Duration::ZERO
            };
            if at > from + limit + late + SLACK {
                seen.reported = true;
                return Err(format!(
                    "{vm} has not been heard for {} s, its limit is {} s, and nobody has said so",
                    at.since(beat).as_secs(),
                    limit.as_secs()
                ));
            }
        }
        Ok(())
    }
}

impl Checker for Bound {
    fn name(&self) -> &'static str {
        "bound"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.limits.on_event(event);
        self.set_back.on_event(at, event);
        if let Some(vm) = failure(event) {
            self.seen.entry(vm).or_default().declared = true;
        }
        match event {
            Event::Beat { vm, arrived, .. } => {
                let seen = self.seen.entry(*vm).or_default();
                // A monitor that was not scheduled reads old ones late.
                seen.beat = seen.beat.max(Some(*arrived));
                seen.shut_down &= seen.stopping;
                seen.reported = false;
            }
            Event::AgentUp(vm) => self.seen.entry(*vm).or_default().stopping = false,
            Event::Told { name, vm: Some(vm), .. } if name == "VM_RECOVERED" => {
                self.seen.entry(*vm).or_default().declared = false;
            }
            Event::Faults(count) => self.calm_since = (*count == 0).then_some(at),
            // A clock that steps leaves no fault behind, but ages are bounded from then on.
            Event::Action(text) if text.starts_with("store clock-step") => {
                self.calm_since = self.calm_since.map(|_| at);
            }
            // Settings and hosts change by these, and what is known of a VM with them.
            Event::Action(text) if text.contains("detection-time") || text.contains("interval") => {
                self.calm_since = self.calm_since.map(|_| at);
            }
            Event::Said(vm, said) => self.on_said(at, *vm, *said),
            Event::Tick => return self.look(at),
            _ => {}
        }
        Ok(())
    }
}
