//! The hypervisor: which instance of which VM exists where. Today it only obeys the plan; controllers that recover will ask it.

use crate::event::Event;
use crate::names::Vm;

/// See the module.
#[derive(Debug)]
pub(crate) struct Hypervisor {
    /// The host on which each VM has an instance.
    instances: Vec<Option<usize>>,
    /// Where each is started: where it was last.
    homes: Vec<usize>,
    events: Vec<Event>,
}

impl Hypervisor {
    pub(crate) fn new(vms: usize, hosts: usize) -> Self {
        let homes = (0..vms).map(|vm| vm % hosts.max(1)).collect();
        Self { instances: vec![None; vms], homes, events: Vec::new() }
    }

    pub(crate) fn host_of(&self, vm: Vm) -> Option<usize> {
        self.instances.get(vm.0).copied().flatten()
    }

    /// Whether there was none.
    pub(crate) fn start(&mut self, vm: Vm) -> bool {
        let (Some(instance), Some(home)) = (self.instances.get_mut(vm.0), self.homes.get(vm.0)) else {
            return false;
        };
        if instance.is_some() {
            return false;
        }
        *instance = Some(*home);
        self.events.push(Event::InstanceStarted(vm, *home));
        true
    }

    /// Whether there was one.
    pub(crate) fn stop(&mut self, vm: Vm) -> bool {
        let Some(host) = self.instances.get_mut(vm.0).and_then(Option::take) else { return false };
        self.events.push(Event::InstanceStopped(vm, host));
        true
    }

    /// The end of a migration: it goes on elsewhere.
    pub(crate) fn move_to(&mut self, vm: Vm, host: usize) {
        if self.stop(vm) {
            self.homes[vm.0] = host;
            self.start(vm);
        }
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
