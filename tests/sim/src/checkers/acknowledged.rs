//! What was acknowledged to an agent is kept: at the moment it is told of a suspension, the store says so too, or
//! the spool of a host monitor does, whose last word on it it is.

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
