//! A suspension, or its end, that was acknowledged to an agent is kept: at the moment it is told so, the store says so too, or
//! the spool of a host monitor does, whose last word on it it is. What else is acknowledged, as silences, shutdowns and reports, is
//! judged by what comes of it, by other checkers.

use std::collections::BTreeSet;

use vmpulse_protocol::time::Instant;

use super::{Checker, doubled};
use crate::event::Event;
use crate::names::Vm;
use crate::plan::Plan;

/// See the module.
#[derive(Debug)]
pub(super) struct Acknowledged {
    doubled: BTreeSet<Vm>,
}

impl Acknowledged {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { doubled: doubled(plan) }
    }
}

impl Checker for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn on_event(&mut self, _at: Instant, event: &Event) -> Result<(), String> {
        match event {
            Event::SuspensionHeard { vm, suspended, stored, kept: false }
                if suspended != stored && !self.doubled.contains(vm) =>
            {
                Err(format!(
                    "{vm} was told that its suspension ({suspended}) is known, and the store says {stored}, and no spool anything else"
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{doubled_plan, quiet_plan};

    fn heard(suspended: bool, stored: bool, kept: bool) -> Event {
        Event::SuspensionHeard { vm: Vm(0), suspended, stored, kept }
    }

    #[test]
    fn a_suspension_that_nobody_keeps_is_found() {
        let mut checker = Acknowledged::new(&quiet_plan());
        let mut feed = |event| checker.on_event(Instant::ZERO, &event).is_ok();
        assert!(!feed(heard(true, false, false)));
        assert!(!feed(heard(false, true, false)), "its end is kept as well");
        assert!(feed(heard(true, true, false)));
        assert!(feed(heard(false, false, false)));
        assert!(feed(heard(true, false, true)), "a spool says it");
    }

    #[test]
    fn of_two_with_one_uuid_nobody_can_say() {
        let mut checker = Acknowledged::new(&doubled_plan());
        assert!(checker.on_event(Instant::ZERO, &heard(true, false, false)).is_ok());
    }
}
