//! Never two running instances of a UUID.

use std::collections::BTreeMap;

use vmpulse_protocol::time::Instant;

use super::Checker;
use crate::event::Event;
use crate::names::Vm;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TwoRunning {
    running: BTreeMap<Vm, usize>,
}

impl Checker for TwoRunning {
    fn name(&self) -> &'static str {
        "two_running"
    }

    fn on_event(&mut self, _at: Instant, event: &Event) -> Result<(), String> {
        match event {
            Event::InstanceStarted(vm, host) => {
                if let Some(other) = self.running.insert(*vm, *host) {
                    return Err(format!("{vm} runs on host {} and on host {}", other + 1, host + 1));
                }
            }
            Event::InstanceStopped(vm, host) if self.running.get(vm) == Some(host) => {
                self.running.remove(vm);
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
    fn a_second_instance_is_found_and_a_move_is_none() {
        let mut checker = TwoRunning::default();
        let mut feed = |event| checker.on_event(Instant::ZERO, &event).is_ok();
        assert!(feed(Event::InstanceStarted(Vm(0), 0)));
        assert!(feed(Event::InstanceStopped(Vm(0), 0)));
        assert!(feed(Event::InstanceStarted(Vm(0), 1)));
        assert!(!feed(Event::InstanceStarted(Vm(0), 0)));
    }
}
