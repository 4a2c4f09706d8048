//! The VMs' keys, and what is demanded of each.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use vmpulse_protocol::auth::{Authentication, KeyId, Mode};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

/// Forged or replayed packets of a path within [`MINUTE`] that are worth an event.
const NOTEWORTHY: u8 = 3;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Secrets {
    /// Of VMs without keys.
    without: Authentication,
    of: HashMap<VmUuid, Authentication>,
    /// VMs of which was said that they were authenticated.
    said: HashSet<VmUuid>,
}

impl Secrets {
    pub(super) fn new(mode: Mode) -> Self {
        Self { without: Authentication::new(mode, []), of: HashMap::new(), said: HashSet::new() }
    }

    pub(super) fn of(&self, vm: VmUuid) -> &Authentication {
        self.of.get(&vm).unwrap_or(&self.without)
    }

    /// The VMs for which something has changed, each with the keys that are as they were.
    pub(super) fn replace(&mut self, of: HashMap<VmUuid, Authentication>) -> Vec<(VmUuid, Vec<KeyId>)> {
        let before = std::mem::replace(&mut self.of, of);
        let vms: BTreeSet<VmUuid> = before.keys().chain(self.of.keys()).copied().collect();
        let changed = vms.into_iter().filter(|vm| before.get(vm) != self.of.get(vm));
        let kept = |vm: VmUuid| {
            let (old, new) = (before.get(&vm), self.of(vm));
            let same = |id: &KeyId| old.is_some_and(|old| old.key(*id) == new.key(*id));
            new.ids().filter(same).collect()
        };
        let changed: Vec<(VmUuid, Vec<KeyId>)> = changed.map(|vm| (vm, kept(vm))).collect();
        for (vm, _) in &changed {
            // Of which less was demanded for a while: it is to be said again.
            self.said.remove(vm);
        }
        changed
    }

    /// Whether this is the first time that the VM was authenticated. From now on it must be, unless this monitor
    /// demands nothing of anybody.
    pub(super) fn is_first(&mut self, vm: VmUuid) -> bool {
        let Some(authentication) = self.of.get_mut(&vm) else { return false };
        match authentication.mode {
            Mode::Off | Mode::ReceiveOnly => return false,
            Mode::Optional => authentication.mode = Mode::Required,
            Mode::Required => {}
        }
        self.said.insert(vm)
    }
}

/// Forged and replayed packets of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rejections {
    /// Of no consequence while there are none.
    since: Instant,
    count: u8,
}

impl Rejections {
    /// Counts one; true for the third within a minute.
    pub(super) fn is_noteworthy(&mut self, now: Instant) -> bool {
        if self.count == 0 || now.since(self.since) >= MINUTE {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count == NOTEWORTHY
    }
}
