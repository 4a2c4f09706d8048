//! `query vios`: host monitors.

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{
    HostMonitorStatus, MonitorMode, NodeState, REASON_ISOLATED, REASON_NODE_SHUTDOWN, Store,
};

use super::super::CliError;
use super::super::block::{Block, View, seconds};
use super::named;
use crate::events::upper;

/// A host monitor as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    name: String,
    uuid: String,
    /// `None`: it started, and belongs to no registered host.
    host: Option<String>,
    state: NodeState,
    reason: u32,
    hm_responsive: bool,
    hm_mode: MonitorMode,
    hm_versions: Option<String>,
    trunk_heard: bool,
    last_response_ms: Option<u64>,
    has_data: bool,
    mac: Option<String>,
}

/// The host monitors called by `names`, or all, by host.
pub(super) fn views(store: &mut dyn Store, names: &[String]) -> Result<Vec<Shown>, CliError> {
    let mut all = Vec::new();
    for host in store.quick_query()?.hosts {
        let name = host.key.to_string();
        all.extend(host.host_monitors.into_iter().map(|monitor| shown(monitor, Some(name.clone()))));
    }
    all.extend(store.host_monitors_unassigned()?.into_iter().map(|monitor| shown(monitor, None)));
    let is_called =
        |monitor: &Shown, name: &str| monitor.name == name || monitor.uuid.eq_ignore_ascii_case(name);
    named(all, names, "host monitor", "query vios", is_called)
}

/// Its trunk adapter, or its UUID before it ran.
pub(super) fn monitor_name(monitor: &HostMonitorStatus) -> String {
    monitor.trunk.clone().unwrap_or_else(|| upper(monitor.id))
}

fn shown(monitor: HostMonitorStatus, host: Option<String>) -> Shown {
    Shown {
        name: monitor_name(&monitor),
        uuid: upper(monitor.id),
        host,
        state: monitor.state,
        reason: monitor.reason,
        hm_responsive: monitor.responsive,
        hm_mode: monitor.mode,
        hm_versions: monitor.versions,
        trunk_heard: monitor.trunk_heard,
        last_response_ms: monitor.heartbeat_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        has_data: monitor.has_data,
        mac: monitor.mac,
    }
}

impl Shown {
    const fn trunk(&self) -> &'static str {
        match (self.trunk_heard, self.reason & REASON_ISOLATED != 0) {
            (true, _) => "Yes",
            (false, true) => "No: ISOLATED, its paths are unknown",
            (false, false) => "No: its paths are unknown",
        }
    }
}

impl View for Shown {
    fn block(&self, verbose: bool, _zone: &TimeZone) -> Block {
        let last = self.last_response_ms.map_or_else(|| "never".to_owned(), |age| seconds(age / 1000));
        let block = Block::default()
            .line("Name", &self.name)
            .line("UUID", &self.uuid)
            .line("Host", self.host.as_deref().unwrap_or("none: register it with VIO_HS_ADD_MS"))
            .line("State", self.state)
            .line("HM_versions", self.hm_versions.as_deref().unwrap_or("unknown"))
            .line("HM_responsive", if self.hm_responsive { "Yes" } else { "No" })
            .line("HM_mode", self.hm_mode)
            .line("Trunk_heard", self.trunk())
            .line("Last_response", last);
        if !verbose {
            return block;
        }
        let purpose = match (self.reason & REASON_NODE_SHUTDOWN != 0, self.reason & REASON_ISOLATED != 0) {
            (true, _) => " (shut down on purpose)",
            (false, true) => " (isolated)",
            (false, false) => "",
        };
        block
            .line("Reason", format!("0x{:08x}{purpose}", self.reason))
            .line("Has_data", if self.has_data { "Yes" } else { "No" })
            .line("MAC", self.mac.as_deref().unwrap_or("unknown"))
    }
}
