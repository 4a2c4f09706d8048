//! Registered VMs that have no open path here.

use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::SuspendReason;

use super::Monitor;
use crate::by_vm::Hint;

/// One of them as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsentView {
    /// Which VM.
    pub vm: VmUuid,
    /// Whether its heartbeats are wanted.
    pub wanted: bool,
    /// Why it is suspended, if the store says so.
    pub suspended: Option<SuspendReason>,
    /// Whether it announced to be silent.
    pub quiet: bool,
    /// Whether it is MISSING.
    pub missing: bool,
    /// Since its last heartbeat or, where none was heard, since it was expected here. `None`: it had no path here since it is
    /// monitored.
    pub silence: Option<Duration>,
}

impl Monitor {
    /// Every registered VM without an open path: those of its host, and those of others that were heard here. In no order;
    /// none before the store was read.
    pub fn absent(&self, now: Instant) -> impl Iterator<Item = AbsentView> {
        let without = self.watched.keys().filter(|vm| !self.sessions.is_open(**vm));
        without.filter_map(move |vm| self.absent_view(now, *vm))
    }

    /// A VM that is registered here; to be asked only of one that has no open path.
    #[must_use]
    pub fn absent_view(&self, now: Instant, vm: VmUuid) -> Option<AbsentView> {
        let watched = self.watched.get(&vm)?;
        let watch = self.tracker.view_near(now, vm, Hint::default());
        Some(AbsentView {
            vm,
            wanted: watched.wanted.is_some(),
            suspended: watched.suspended,
            quiet: self.quiets.is_in_force(vm),
            missing: watch.is_some_and(|watch| watch.missing),
            silence: watch.map(|watch| watch.silence),
        })
    }
}
