//! Guests that beat though they announced their end: set back to a snapshot in which they run, they know nothing of it.

use std::collections::BTreeSet;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::SuspendReason;

use super::Monitor;

impl Monitor {
    /// A guest that goes on beating on the path on which it announced its end has no reason to shake hands, which alone ends the
    /// suspension: a Hello of its own is one. Only to those that did so when this was called before, which is some seconds at least:
    /// an agent that is being stopped is gone by then, and what it hears cannot tempt it. To be called with the Hellos. [H-11]
    pub(super) fn remind_revenants(&mut self, now: Instant) {
        let found: BTreeSet<VmUuid> = self.revenants().collect();
        let before = std::mem::replace(&mut self.revenants, found);
        for vm in before.intersection(&self.revenants) {
            self.sessions.remind(now, *vm);
        }
    }

    /// Whose end the store knows, and who beats here.
    fn revenants(&self) -> impl Iterator<Item = VmUuid> {
        let shut_down = self.watched.iter().filter(|(_, watched)| match watched.suspended {
            Some(SuspendReason::Daemon | SuspendReason::Os) => true,
            Some(SuspendReason::Administrator) | None => false,
        });
        let beats = |vm: &VmUuid| self.sessions.is_open(*vm) && self.tracker.is_beating(*vm);
        shut_down.map(|(vm, _)| vm).filter(beats)
    }
}
