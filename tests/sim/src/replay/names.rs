//! Who is who in records.

use std::collections::BTreeMap;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use crate::names::{Hm, Vm};

/// Names for the identities in records.
#[derive(Clone, Debug, Default)]
pub struct Names {
    vms: BTreeMap<VmUuid, Vm>,
    monitors: BTreeMap<HostMonitorId, Hm>,
    /// By their boots.
    hosts: Vec<String>,
    learns: bool,
    intervals: BTreeMap<Vm, u32>,
}

impl Names {
    /// These, and no others: of whom nothing is known, nothing is said.
    #[must_use]
    pub fn known(
        vms: impl IntoIterator<Item = (VmUuid, Vm)>,
        monitors: impl IntoIterator<Item = (HostMonitorId, Hm)>,
    ) -> Self {
        Self { vms: vms.into_iter().collect(), monitors: monitors.into_iter().collect(), ..Self::default() }
    }

    /// Everybody gets a name when he is first met: VMs by number, host monitors by host (a boot of a machine) and trunk. What
    /// heartbeat intervals VMs have is learned from the records, too.
    #[must_use]
    pub fn learned() -> Self {
        Self { learns: true, ..Self::default() }
    }

    pub(super) fn vm(&mut self, uuid: VmUuid) -> Option<Vm> {
        let next = Vm(self.vms.len());
        if self.learns { Some(*self.vms.entry(uuid).or_insert(next)) } else { self.vms.get(&uuid).copied() }
    }

    /// A host monitor that has no name is the only one of its kind.
    pub(super) fn monitor(&mut self, id: HostMonitorId, boot: &str) -> Hm {
        if let Some(known) = self.monitors.get(&id) {
            return *known;
        }
        let host = self.hosts.iter().position(|known| known == boot).unwrap_or_else(|| {
            self.hosts.push(boot.to_owned());
            self.hosts.len() - 1
        });
        let trunk = self.monitors.values().filter(|hm| hm.host == host).count();
        let hm = Hm { host, trunk };
        self.monitors.insert(id, hm);
        hm
    }

    /// Whether this VM's interval is another one than was known, of names that are learned.
    pub(super) fn new_interval(&mut self, vm: Vm, ms: u32) -> bool {
        self.learns && self.intervals.insert(vm, ms).unwrap_or(USUAL_INTERVAL_MS) != ms
    }

    /// Who is who, for people.
    #[must_use]
    pub fn legend(&self) -> Vec<String> {
        let mut monitors: Vec<_> = self.monitors.iter().map(|(id, hm)| (*hm, id)).collect();
        monitors.sort_by_key(|(hm, _)| *hm);
        let mut vms: Vec<_> = self.vms.iter().map(|(uuid, vm)| (*vm, uuid)).collect();
        vms.sort_by_key(|(vm, _)| *vm);
        let monitors = monitors.iter().map(|(hm, id)| format!("{hm} is host monitor {id}"));
        monitors.chain(vms.iter().map(|(vm, uuid)| format!("{vm} is VM {uuid}"))).collect()
    }
}

/// What checkers take an interval to be of which nothing was said.
const USUAL_INTERVAL_MS: u32 = 10_000;
