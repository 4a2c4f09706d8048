//! Guests that are not heard, and where they were heard last.

use std::collections::{HashMap, HashSet};

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;

/// Address and tag.
type Place = (MacAddr, Option<u16>);

/// Of registered VMs only, so the bound is theirs. [H-10]
#[derive(Debug, Default)]
pub(super) struct Reminders {
    missing: HashSet<VmUuid>,
    closed_at: HashMap<VmUuid, Place>,
}

impl Reminders {
    /// True if that is new.
    pub(super) fn handle_missing(&mut self, vm: VmUuid, missing: bool) -> bool {
        if missing {
            return self.missing.insert(vm);
        }
        self.missing.remove(&vm);
        false
    }

    pub(super) fn is_missing(&self, vm: VmUuid) -> bool {
        self.missing.contains(&vm)
    }

    /// In an order that does not depend on the table's: a replay says Hello to them in the same one.
    pub(super) fn missing(&self) -> Vec<VmUuid> {
        let mut missing: Vec<VmUuid> = self.missing.iter().copied().collect();
        missing.sort_unstable();
        missing
    }

    pub(super) fn handle_closed(&mut self, vm: VmUuid, place: Place) {
        self.closed_at.insert(vm, place);
    }

    pub(super) fn last_place(&self, vm: VmUuid) -> Option<Place> {
        self.closed_at.get(&vm).copied()
    }

    pub(super) fn retain(&mut self, registered: &HashSet<VmUuid>) {
        self.missing.retain(|vm| registered.contains(vm));
        self.closed_at.retain(|vm, _| registered.contains(vm));
    }
}
