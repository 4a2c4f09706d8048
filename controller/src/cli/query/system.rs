//! `query system`.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{Colour, ControllerView, Store, StoreTime, SystemSettings, VmState};

use super::super::CliError;
use super::super::block::{Block, View, local, rfc3339, seconds};

/// A controller is taken for gone after this many of its poll intervals, but not within [`ALIVE_S`] of its last word:
/// it writes every 10 s at most.
const POLLS_MISSED: u64 = 3;
const ALIVE_S: u64 = 25;

/// The whole as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(serialize_with = "rfc3339")]
    time: StoreTime,
    settings: SystemSettings,
    controllers: Vec<Controller>,
    hosts: usize,
    host_monitors: usize,
    host_monitors_responsive: usize,
    vms: usize,
    vms_by_state: BTreeMap<VmState, usize>,
    applications: usize,
    applications_by_status: BTreeMap<Colour, usize>,
}

/// A controller as shown.
#[derive(Debug, Serialize)]
struct Controller {
    name: String,
    pid: u32,
    version: String,
    poll_interval_ms: u64,
    last_response_ms: u64,
    alive: bool,
}

pub(super) fn view(store: &mut dyn Store) -> Result<Shown, CliError> {
    let hosts = store.quick_query()?;
    let monitors = || hosts.hosts.iter().flat_map(|host| &host.host_monitors);
    let vms = store.vms()?;
    let applications = store.applications()?;
    Ok(Shown {
        time: hosts.now,
        settings: store.system_settings()?,
        controllers: store.controllers()?.into_iter().map(controller).collect(),
        hosts: hosts.hosts.len(),
        host_monitors: monitors().count(),
        host_monitors_responsive: monitors().filter(|monitor| monitor.responsive).count(),
        vms: vms.len(),
        vms_by_state: count(vms.iter().map(|vm| vm.state)),
        applications: applications.len(),
        applications_by_status: count(applications.iter().map(|app| app.report.colour)),
    })
}

fn controller(view: ControllerView) -> Controller {
    let age_ms = u64::try_from(view.age.as_millis()).unwrap_or(u64::MAX);
    let limit_ms = view.heartbeat.poll_interval_ms.saturating_mul(POLLS_MISSED).max(ALIVE_S * 1000);
    Controller {
        name: view.heartbeat.name,
        pid: view.heartbeat.pid,
        version: view.heartbeat.version,
        poll_interval_ms: view.heartbeat.poll_interval_ms,
        last_response_ms: age_ms,
        alive: age_ms <= limit_ms,
    }
}

fn count<T: Ord>(things: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    counts
}

impl View for Shown {
    fn block(&self, verbose: bool, zone: &TimeZone) -> Block {
        let responsive = format!("{} ({} responsive)", self.host_monitors, self.host_monitors_responsive);
        let counted = |counts: Vec<(&'static str, usize)>| -> Vec<String> {
            counts.into_iter().map(|(what, count)| format!("{what} {count}")).collect()
        };
        let states =
            counted(self.vms_by_state.iter().map(|(state, count)| (state.as_str(), *count)).collect());
        let colours = counted(
            self.applications_by_status.iter().map(|(colour, count)| (colour.as_str(), *count)).collect(),
        );
        Block::default()
            .line("Time", local(self.time, zone))
            .line("Host_failure_detection_time", seconds(self.settings.host_failure_detection_time_s.into()))
            .line("VM_failure_detection_speed", self.settings.vm_failure_detection_speed)
            .list("Controllers", self.controllers.iter().map(|one| controller_text(one, verbose)).collect())
            .line("Hosts", self.hosts)
            .line("Host_monitors", responsive)
            .line("VMs", self.vms)
            .list("VM_states", states)
            .line("Applications", self.applications)
            .list("Application_status", colours)
    }
}

fn controller_text(controller: &Controller, verbose: bool) -> String {
    let state = if controller.alive { "" } else { ", NOT RUNNING" };
    let more = if verbose {
        format!(", version {}, polls every {} ms", controller.version, controller.poll_interval_ms)
    } else {
        String::new()
    };
    let age = seconds(controller.last_response_ms / 1000);
    format!("{} (PID {}): heard of {age} ago{more}{state}", controller.name, controller.pid)
}
