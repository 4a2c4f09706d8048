//! `query vm`.

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{PathView, Store, StoreTime, SuspendReason, VmState, VmView};

use super::super::CliError;
use super::super::block::{Block, View, local, rfc3339, rfc3339_if, seconds};
use super::named;
use crate::events::upper;
use crate::fde::policy::Detection;

/// A VM as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    name: String,
    uuid: String,
    host: String,
    /// Settings with their origins.
    detection: Detection,
    heartbeating_with: Vec<String>,
    vm_status: &'static str,
    version_conflict: bool,
    last_response: LastResponse,
    restart_phase: Option<String>,
    announced_silence: Option<AnnouncedSilence>,
    ha_monitor_state: VmState,
    suspended: Option<SuspendReason>,
    #[serde(serialize_with = "rfc3339")]
    state_changed_at: StoreTime,
    #[serde(serialize_with = "rfc3339_if")]
    agent_seen_at: Option<StoreTime>,
    paths: Vec<PathView>,
}

/// The guest said that it may be silent.
#[derive(Debug, Serialize)]
struct AnnouncedSilence {
    #[serde(serialize_with = "rfc3339")]
    until: StoreTime,
    reason: String,
}

/// When the VM was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "known")]
enum LastResponse {
    /// So long ago; 0 while heartbeats arrive.
    Since { ago_ms: u64 },
    /// It announced to be silent; whether it is, nobody asks.
    Announced,
    /// No host monitor can say.
    Unknown,
    /// No path was ever open.
    Never,
}

/// The VMs called by `names`, or all.
pub(super) fn views(store: &mut dyn Store, names: &[String]) -> Result<Vec<Shown>, CliError> {
    let system = store.system_settings()?;
    let vms = named(store.vms()?, names, "VM", "query vm", is_called)?;
    Ok(vms.into_iter().map(|vm| shown(vm, &system)).collect())
}

/// By its name, or by its UUID in either case.
pub(in crate::cli) fn is_called(vm: &VmView, name: &str) -> bool {
    vm.name == name || name.parse() == Ok(vm.uuid)
}

fn shown(vm: VmView, system: &vmpulse_store::SystemSettings) -> Shown {
    let beating = vm.paths.iter().filter(|path| path.known && path.missed.is_none() && vm.quiet.is_none());
    Shown {
        uuid: upper(vm.uuid),
        host: vm.host.to_string(),
        detection: Detection::of(system, &vm.settings),
        heartbeating_with: beating.map(monitor_name).collect(),
        // Nothing operates on VMs in this version.
        vm_status: "NO_OPERATION_IN_PROGRESS",
        version_conflict: vm.version_conflict,
        last_response: last_response(&vm),
        restart_phase: Some(vm.phase).filter(|phase| !phase.is_empty()),
        announced_silence: vm
            .quiet
            .map(|quiet| AnnouncedSilence { until: quiet.until, reason: quiet.reason }),
        ha_monitor_state: vm.state,
        suspended: vm.suspended,
        state_changed_at: vm.state_changed_at,
        agent_seen_at: vm.agent_seen_at,
        name: vm.name,
        paths: vm.paths,
    }
}

fn monitor_name(path: &PathView) -> String {
    path.trunk.clone().unwrap_or_else(|| upper(path.host_monitor))
}

fn last_response(vm: &VmView) -> LastResponse {
    let known = || vm.paths.iter().filter(|path| path.known);
    let youngest = known().map(|path| path.missed.unwrap_or_default()).min();
    match youngest {
        Some(_) if vm.quiet.is_some() => LastResponse::Announced,
        Some(age) => LastResponse::Since { ago_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) },
        None if vm.paths.is_empty() => LastResponse::Never,
        None => LastResponse::Unknown,
    }
}

impl View for Shown {
    fn block(&self, verbose: bool, zone: &TimeZone) -> Block {
        let yes_no = if self.version_conflict { "Yes" } else { "No" };
        let speed = &self.detection.speed;
        let from = |origin: &str| if verbose { format!(" ({origin})") } else { String::new() };
        let block = Block::default()
            .line("Name", &self.name)
            .line("UUID", &self.uuid)
            .line("Host", &self.host)
            .line("VM_failure_detection_speed", format!("{}{}", speed.value, from(speed.origin.as_str())));
        let block = if verbose { self.detection_lines(block) } else { block };
        let block = block
            .list("Heartbeating_with", self.heartbeating_with.clone())
            .line("VM_status", self.vm_status)
            .line("Version_conflict", yes_no)
            .line("Last_response", self.last_response_text())
            .line("Restart_phase", self.phase_text(zone))
            .line("HA_monitor_state", self.ha_monitor_state);
        if verbose { self.history_lines(block, zone) } else { block }
    }
}

impl Shown {
    fn detection_lines(&self, block: Block) -> Block {
        let Detection { vmfdt_ms, heartbeat_interval_ms, .. } = &self.detection;
        let vmfdt = crate::fde::vm::seconds(vmfdt_ms.value);
        let interval = heartbeat_interval_ms.value;
        block
            .line("VM_failure_detection_time", format!("{vmfdt} seconds ({})", vmfdt_ms.origin.as_str()))
            .line("Heartbeat_interval", format!("{interval} ms ({})", heartbeat_interval_ms.origin.as_str()))
    }

    fn history_lines(&self, block: Block, zone: &TimeZone) -> Block {
        let seen = self.agent_seen_at.map_or_else(|| "never".to_owned(), |at| local(at, zone));
        block
            .line_if("Suspended_by", self.suspended)
            .line("State_changed", local(self.state_changed_at, zone))
            .line("Agent_first_seen", seen)
            .list("Paths", self.paths.iter().map(|path| self.path_text(path)).collect())
    }

    fn phase_text(&self, zone: &TimeZone) -> String {
        match (&self.restart_phase, &self.announced_silence) {
            (Some(phase), _) => phase.clone(),
            (None, Some(quiet)) => {
                format!("announced silence until {}: {}", local(quiet.until, zone), quiet.reason)
            }
            (None, None) => "none".to_owned(),
        }
    }

    fn last_response_text(&self) -> String {
        match self.last_response {
            LastResponse::Since { ago_ms } => seconds(ago_ms / 1000),
            LastResponse::Announced => "announced silence".to_owned(),
            LastResponse::Unknown => "unknown".to_owned(),
            LastResponse::Never => "never".to_owned(),
        }
    }

    fn path_text(&self, path: &PathView) -> String {
        let state = match (path.known, path.missed) {
            (false, _) => "unknown".to_owned(),
            (true, _) if self.announced_silence.is_some() => "announced silence".to_owned(),
            (true, None) => "beating".to_owned(),
            (true, Some(missed)) => format!("silent for {}", seconds(missed.as_secs())),
        };
        format!("{} with {}: {state}, version {}", monitor_name(path), path.mac, path.version)
    }
}
