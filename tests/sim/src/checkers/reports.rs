//! No report is lost: at the end the store has every application as its agent has it, unless it changed only just now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::denied::Denied;
use super::{Checker, doubled};
use crate::event::Event;
use crate::names::Vm;
use crate::plan::Plan;

/// A change is in the store after this: a poll every 60 s, a request, a repetition.
const UNDER_WAY: Duration = Duration::from_secs(180);

/// See the module.
#[derive(Debug)]
pub(super) struct Reports {
    doubled: BTreeSet<Vm>,
    changed: BTreeMap<Vm, Instant>,
    denied: Denied,
}

impl Reports {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { doubled: doubled(plan), changed: BTreeMap::new(), denied: Denied::default() }
    }
}

impl Checker for Reports {
    fn name(&self) -> &'static str {
        "reports"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.denied.on_event(event);
        match event {
            Event::App(vm, _)
            | Event::AgentUp(vm)
            | Event::Reverted(vm)
            | Event::Credentials { guest: vm, .. } => {
                self.changed.insert(*vm, at);
            }
            Event::FinalVm(end) => {
                let changed = self.changed.get(&end.vm).copied().unwrap_or_default();
                let settled =
                    end.runs && !end.suspended && !self.denied.has(end.vm) && at.since(changed) > UNDER_WAY;
                if settled && !self.doubled.contains(&end.vm) && end.apps != end.stored_apps {
                    return Err(format!(
                        "{} has {:?}, and the store says {:?}",
                        end.vm, end.apps, end.stored_apps
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
