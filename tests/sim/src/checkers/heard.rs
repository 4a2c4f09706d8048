//! Heartbeats that a monitor can know for what they are: on a path that was opened since it started. What else it gets it answers
//! with a Hello, without looking at it.

use std::collections::BTreeSet;

use crate::event::Event;
use crate::names::{Hm, Vm};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OpenPaths(BTreeSet<(Vm, Hm)>);

impl OpenPaths {
    pub(super) fn on_event(&mut self, event: &Event) {
        match event {
            Event::Opened(vm, hm) => {
                self.0.insert((*vm, *hm));
            }
            Event::PathClosed(vm, hm, _) => {
                self.0.remove(&(*vm, *hm));
            }
            // What it says until its next handshake may have been said before.
            Event::Reverted(vm) => self.0.retain(|(of, _)| of != vm),
            Event::MonitorUp(hm) => self.0.retain(|(_, of)| of != hm),
            _ => {}
        }
    }

    /// Whether this heartbeat, or one of this guest there, counts.
    pub(super) fn has(&self, vm: Vm, hm: Hm) -> bool {
        self.0.contains(&(vm, hm))
    }
}
