//! A VM whose suspension was acknowledged, or whose silence was granted, is not declared failed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::{Checker, doubled, failure};
use crate::event::{Event, Said};
use crate::names::Vm;
use crate::plan::Plan;
use crate::settings::Limits;

const TOLERANCE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Announced {
    limits: Limits,
    doubled: BTreeSet<Vm>,
    suspended: BTreeSet<Vm>,
    quiet_until: BTreeMap<Vm, Instant>,
}

impl Announced {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            suspended: BTreeSet::new(),
            quiet_until: BTreeMap::new(),
        }
    }
}

impl Checker for Announced {
    fn name(&self) -> &'static str {
        "announced"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.limits.on_event(event);
        match event {
            Event::SuspensionHeard { vm, suspended: true, .. } => {
                self.suspended.insert(*vm);
            }
            Event::Said(vm, Said::Resume) => {
                self.suspended.remove(vm);
            }
            Event::QuietGranted(vm, left) => {
                self.quiet_until.insert(*vm, at + *left);
            }
            // The next life of an agent has announced nothing.
            Event::Said(vm, Said::Quiet(_)) | Event::AgentUp(vm) => {
                self.quiet_until.remove(vm);
            }
            _ => {}
        }
        let Some(vm) = failure(event).filter(|vm| !self.doubled.contains(vm)) else { return Ok(()) };
        if self.suspended.contains(&vm) {
            return Err(format!("{vm} was declared failed, and its suspension is known"));
        }
        let earliest = self.quiet_until.get(&vm).map(|until| *until + self.limits.shortest(vm));
        match earliest.filter(|earliest| at + TOLERANCE < *earliest) {
            Some(_) => Err(format!("{vm} was declared failed for a silence that was granted")),
            None => Ok(()),
        }
    }
}
