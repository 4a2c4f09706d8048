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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_twice_while_it_is_open_is_found() {
        let told = |incident: &str| Event::Told {
            name: "VM_FAILURE_DETECTED".to_owned(),
            incident: incident.to_owned(),
            vm: None,
        };
        let mut checker = Incidents::default();
        let mut feed = |event| checker.on_event(Instant::ZERO, &event).is_ok();
        assert!(feed(told("vm-silent:A")));
        assert!(feed(told("vm-silent:B")));
        // The same controller, or one that was started since.
        assert!(!feed(told("vm-silent:A")));
        assert!(feed(Event::ControllerUp));
        assert!(!feed(told("vm-silent:B")));
        assert!(feed(Event::Closed("vm-silent:A".to_owned())));
        assert!(feed(told("vm-silent:A")));
        assert!(feed(told("vm-quiet:A")));
        assert!(feed(told("vm-quiet:A")), "never open");
    }
}
