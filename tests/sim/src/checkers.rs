//! What must hold, each in a file of its own. A checker knows nothing but events.

// An event that a checker does not look at says nothing to it, and so does one that is added.
#![allow(clippy::wildcard_enum_match_arm)]

mod accused;
mod acknowledged;
mod alive;
mod announced;
mod bound;
mod convergence;
mod decided;
mod denied;
mod entitled;
mod healthy;
mod heard;
mod incidents;
mod mass_failure;
mod once;
mod one_recovery;
mod order;
mod reports;
mod set_back;
mod silences;
mod two_running;
mod unknown;

use std::collections::BTreeSet;

use vmpulse_protocol::time::Instant;

use crate::event::Event;
use crate::names::Vm;
use crate::plan::{Action, GuestAction, Plan};

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who found it.
    pub checker: &'static str,
    /// When.
    pub at: Instant,
    /// What.
    pub text: String,
}

/// Judges a run by its events.
pub trait Checker {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

    /// Something happened.
    ///
    /// # Errors
    /// What must not be.
    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String>;

    /// The run is over.
    ///
    /// # Errors
    /// What should have been.
    fn at_end(&mut self, _at: Instant) -> Result<(), String> {
        Ok(())
    }
}

/// All of them, for this plan.
#[must_use]
pub fn all(plan: &Plan) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(healthy::Healthy::new(plan)),
        Box::new(alive::Alive::new(plan)),
        Box::new(bound::Bound::new(plan)),
        Box::new(accused::Accused::new(plan)),
        Box::new(mass_failure::MassFailure::new(plan)),
        Box::new(announced::Announced::new(plan)),
        Box::new(unknown::Unknown::default()),
        Box::new(acknowledged::Acknowledged::new(plan)),
        Box::new(entitled::Entitled::new(plan)),
        Box::new(order::Order::default()),
        Box::new(once::Once::default()),
        Box::new(incidents::Incidents::default()),
        Box::new(reports::Reports::new(plan)),
        Box::new(two_running::TwoRunning::default()),
        Box::new(one_recovery::OneRecovery::default()),
        Box::new(convergence::Convergence::new(plan)),
    ]
}

/// Those that can judge daemons by what they recorded, when nothing else is known of their world.
#[must_use]
pub fn of_records(plan: &Plan) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(accused::Accused::new(plan)),
        Box::new(mass_failure::MassFailure::new(plan)),
        Box::new(order::Order::default()),
        Box::new(once::Once::default()),
        Box::new(incidents::Incidents::default()),
    ]
}

/// VMs of which there are two with one UUID: whose heartbeats are whose nobody can say. Where keys are demanded there are none, but
/// by a stolen key.
fn doubled(plan: &Plan) -> BTreeSet<Vm> {
    let stolen = |vm: Vm, other: Vm| {
        let steals = Action::Guest(vm, GuestAction::KeyOf { vm: other });
        plan.actions.iter().any(|(_, action)| *action == steals)
    };
    let pretends = plan.actions.iter().filter_map(|(_, action)| match action {
        Action::Guest(vm, GuestAction::Pretend { vm: other }) => {
            (!plan.cluster.auth || stolen(*vm, *other)).then_some([*vm, *other])
        }
        _ => None,
    });
    pretends.flatten().collect()
}

/// Whether this is the declaration of a VM's failure.
fn failure(event: &Event) -> Option<Vm> {
    match event {
        Event::Told { name, vm, .. } if name == "VM_FAILURE_DETECTED" => *vm,
        _ => None,
    }
}

/// A declaration of this VM's failure.
#[cfg(test)]
fn failure_of(vm: Vm) -> Event {
    Event::Told { name: "VM_FAILURE_DETECTED".to_owned(), incident: format!("vm-silent:{vm}"), vm: Some(vm) }
}

/// Nothing happens in it, and no VM has another one's UUID.
#[cfg(test)]
fn quiet_plan() -> Plan {
    crate::plan::random::quiet(crate::plan::Cluster::default(), 60)
}

/// A second guest that says that it is the first one.
#[cfg(test)]
fn doubled_plan() -> Plan {
    let pretends = Action::Guest(Vm(1), GuestAction::Pretend { vm: Vm(0) });
    Plan { actions: vec![(Instant::ZERO, pretends)], ..quiet_plan() }
}

/// Keeps everything, and finds nothing.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Everything(std::rc::Rc<std::cell::RefCell<Vec<(Instant, Event)>>>);

#[cfg(test)]
impl Everything {
    pub(crate) fn take(&self) -> Vec<(Instant, Event)> {
        self.0.take()
    }
}

#[cfg(test)]
impl Checker for Everything {
    fn name(&self) -> &'static str {
        "everything"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.0.borrow_mut().push((at, event.clone()));
        Ok(())
    }
}
