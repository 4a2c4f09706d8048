//! The VMs as last read, and the settings that hold for them.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{Store, StoreError, SystemSettings, VmState, VmView};

use crate::fde::vm::SHORT_VMFDT_MS;

/// Read again after this even if nobody wrote: whether a path is known also depends on the passing of time.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) system: SystemSettings,
    pub(super) vms: BTreeMap<VmUuid, VmView>,
    read: Option<(u64, Instant)>,
}

impl Fleet {
    /// Reads the VMs again if anybody wrote since, or a while ago.
    pub(super) fn refresh(&mut self, store: &mut dyn Store, now: Instant) -> Result<bool, StoreError> {
        let stamp = store.change_stamp()?;
        let fresh = self.read.is_some_and(|(read, at)| read == stamp && now.since(at) < READ_AGAIN);
        if !fresh {
            self.system = store.system_settings()?;
            self.vms = store.vms()?.into_iter().map(|vm| (vm.uuid, vm)).collect();
            self.read = Some((stamp, now));
        }
        Ok(!fresh)
    }

    /// Whether some VM is to be called failed so soon that every edge must be seen at once.
    pub(super) fn fast(&self) -> bool {
        self.shortest().is_some_and(|shortest| shortest < Duration::from_millis(SHORT_VMFDT_MS))
    }

    /// The shortest VMFDT that a monitored VM has of its own.
    pub(super) fn shortest(&self) -> Option<Duration> {
        let monitored =
            |vm: &&VmView| matches!(vm.state, VmState::Starting | VmState::Started | VmState::Suspended);
        let times = self.vms.values().filter(monitored);
        let times = times.filter_map(|vm| vm.settings.vm_failure_detection_time_ms);
        times.min().map(|time_ms| Duration::from_millis(time_ms.into()))
    }

    /// What people call a VM.
    pub(super) fn name_of(&self, vm: VmUuid) -> String {
        self.vms.get(&vm).map_or_else(|| vm.to_string(), |view| view.name.clone())
    }
}
