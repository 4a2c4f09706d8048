//! When a VM's failure is decided: its phase says so first. When the store fails then, it is told later, perhaps when the VM is
//! heard again.

use std::collections::BTreeSet;

use super::failure;
use crate::event::Event;
use crate::names::Vm;

/// Of whom it is decided. See the module.
#[derive(Debug, Default)]
pub(super) struct Decided(BTreeSet<Vm>);

impl Decided {
    /// The VM of which it is decided by this.
    pub(super) fn on_event(&mut self, event: &Event) -> Option<Vm> {
        match event {
            Event::Phase(vm, text) if text.starts_with("VM failure detected") => {
                self.0.insert(*vm).then_some(*vm)
            }
            Event::Phase(vm, _) => {
                self.0.remove(vm);
                None
            }
            _ => failure(event).filter(|vm| !self.0.contains(vm)),
        }
    }
}
