//! At most one recovery of a VM for each time it was declared failed. No controller recovers anything yet, so that today only
//! its own test calls it.

use std::collections::BTreeMap;

use vmpulse_protocol::time::Instant;

use super::{Checker, failure};
use crate::event::Event;
use crate::names::Vm;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneRecovery {
    /// Recoveries that may still be begun.
    allowed: BTreeMap<Vm, bool>,
}

impl Checker for OneRecovery {
    fn name(&self) -> &'static str {
        "one_recovery"
    }

    fn on_event(&mut self, _at: Instant, event: &Event) -> Result<(), String> {
        if let Some(vm) = failure(event) {
            self.allowed.insert(vm, true);
        }
        match event {
            Event::RecoveryStarted(vm) if self.allowed.insert(*vm, false) != Some(true) => Err(format!(
                "a recovery of {vm} was begun, and it was not declared failed since the last one"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_recovery_and_one_without_a_failure_are_found() {
        let told = || Event::Told {
            name: "VM_FAILURE_DETECTED".to_owned(),
            incident: "vm-silent".to_owned(),
            vm: Some(Vm(0)),
        };
        let mut checker = OneRecovery::default();
        let mut feed = |event| checker.on_event(Instant::ZERO, &event).is_ok();
        assert!(!feed(Event::RecoveryStarted(Vm(0))), "nobody said that it failed");
        assert!(feed(told()));
        assert!(feed(Event::RecoveryStarted(Vm(0))));
        assert!(!feed(Event::RecoveryStarted(Vm(0))));
        assert!(feed(told()));
        assert!(feed(Event::RecoveryStarted(Vm(0))));
    }
}
