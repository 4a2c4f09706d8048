//! `query host`.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{HostKey, HostStatus, Store};

use super::super::CliError;
use super::super::block::{Block, View};
use super::named;
use super::vios::monitor_name;

/// A host as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    name: String,
    #[serde(flatten)]
    key: HostKey,
    vios: Vec<String>,
    vios_responsive: usize,
    vms: Vec<String>,
}

/// The hosts called by `names`, or all.
pub(super) fn views(store: &mut dyn Store, names: &[String]) -> Result<Vec<Shown>, CliError> {
    let is_called = |host: &HostStatus, name: &str| host.key.to_string() == name;
    let hosts = named(store.quick_query()?.hosts, names, "host", "query host", is_called)?;
    let mut vms = BTreeMap::<HostKey, Vec<String>>::new();
    for vm in store.vms()? {
        vms.entry(vm.host).or_default().push(vm.name);
    }
    let shown = |host: HostStatus| Shown {
        name: host.key.to_string(),
        vios: host.host_monitors.iter().map(monitor_name).collect(),
        vios_responsive: host.host_monitors.iter().filter(|monitor| monitor.responsive).count(),
        vms: vms.remove(&host.key).unwrap_or_default(),
        key: host.key,
    };
    Ok(hosts.into_iter().map(shown).collect())
}

impl View for Shown {
    fn block(&self, verbose: bool, _zone: &TimeZone) -> Block {
        let block = Block::default()
            .line("Name", &self.name)
            .line("Machine_type", &self.key.machine_type)
            .line("Model", &self.key.model)
            .line("Serial", &self.key.serial)
            .list("VIOS", self.vios.clone())
            .line("VIOS_responsive", format!("{} of {}", self.vios_responsive, self.vios.len()));
        if verbose { block.list("VMs", self.vms.clone()) } else { block.line("VMs", self.vms.len()) }
    }
}
