//! A VM whose suspension was acknowledged, or whose silence was granted, is not declared failed for it.
//!
//! Judged when it is decided: what is told minutes later, because the store did not take it, was not decided for a silence that
//! was granted meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::decided::Decided;
use super::{Checker, doubled};
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
    decided: Decided,
}

impl Announced {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            suspended: BTreeSet::new(),
            quiet_until: BTreeMap::new(),
            decided: Decided::default(),
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
        let decided = self.decided.on_event(event);
        let Some(vm) = decided.filter(|vm| !self.doubled.contains(vm)) else { return Ok(()) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{failure_of, quiet_plan};

    fn is_found(events: &[(u64, Event)]) -> bool {
        let mut checker = Announced::new(&quiet_plan());
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        events.iter().any(|(when, event)| checker.on_event(at(*when), event).is_err())
    }

    #[test]
    fn a_failure_that_is_decided_in_a_granted_silence_is_found_and_one_told_in_it_is_not() {
        let decided = |seconds| (seconds, Event::Phase(Vm(0), "VM failure detected".to_owned()));
        let granted = (200, Event::QuietGranted(Vm(0), Duration::from_secs(100)));
        let told = (250, failure_of(Vm(0)));
        assert!(is_found(&[granted.clone(), told.clone()]));
        assert!(is_found(&[granted.clone(), decided(250), told.clone()]));
        assert!(!is_found(&[decided(190), granted.clone(), told.clone()]), "it could not be told before");
        let over = (195, Event::Phase(Vm(0), String::new()));
        assert!(is_found(&[decided(190), over, granted, told]), "that was another one");
    }
}
