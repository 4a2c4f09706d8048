//! An incident is recorded once while it is open, however often its controller starts.

use std::collections::BTreeSet;

use vmpulse_protocol::time::Instant;

use super::Checker;
use crate::event::Event;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    open: BTreeSet<String>,
}

impl Checker for Incidents {
    fn name(&self) -> &'static str {
        "incidents"
    }

    fn on_event(&mut self, _at: Instant, event: &Event) -> Result<(), String> {
        match event {
            // Announced silences are told once by the store itself, and are never open.
            Event::Told { incident, .. } if incident.starts_with("vm-quiet:") => {}
            Event::Told { name, incident, .. } if !self.open.insert(incident.clone()) => {
                return Err(format!("{name} was recorded twice for {incident}"));
            }
            Event::Closed(incident) => {
                self.open.remove(incident);
            }
            _ => {}
        }
        Ok(())
    }
}
