//! The catalogue of events: name, severity, entity, stable message id, text.
//!
//! `docs/reference/events.md` lists them for people; a test compares the two.

pub mod block;
pub mod log;

use std::time::Duration;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{HostKey, MonitorMode, NewEvent, QUIET_BUDGET, Severity};

use crate::fde::host::HostMonitorFailure;
use crate::fde::vm::seconds;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entity {
    /// A guest.
    Vm,
    /// An application in a guest.
    App,
    /// A host monitor.
    Vios,
    /// A host.
    Host,
    /// The whole.
    System,
}

impl Entity {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "VM",
            Self::App => "APP",
            Self::Vios => "VIOS",
            Self::Host => "HOST",
            Self::System => "SYSTEM",
        }
    }
}

/// The kinds of events this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A VM was silent on every path for its VMFDT.
    VmFailureDetected,
    /// A VM that was failed is heard again.
    VmRecovered,
    /// A VM is STARTING for long.
    VmStartDelayed,
    /// A guest announced to be silent.
    VmQuietBegan,
    /// An announced silence ended.
    VmQuietEnded,
    /// A guest wanted to announce more silence than it may.
    VmQuietRefused,
    /// An application is RED.
    AppFailureDetected,
    /// A report of a guest cannot be read.
    AppReportRejected,
    /// A host monitor is gone, and nobody shut it down.
    ViosFailure,
    /// A host monitor was shut down on purpose.
    ViosNodeShutdown,
    /// A host monitor answers, for the first time or again.
    ViosHmRespDetected,
    /// A host monitor could not write to the store.
    ViosModeLocal,
    /// A host monitor works with the store again.
    ViosModeGlobal,
    /// A host monitor runs, and its loop does not turn.
    ViosModeDown,
    /// A host monitor says that its trunk cannot be trusted.
    ViosIsolated,
    /// It says that it can again.
    ViosIsolationOver,
    /// No host monitor of a host answers.
    AllViosUnreachable,
    /// The store's clock stepped.
    StoreClockStepped,
    /// The store could not be reached and is back, or was replaced.
    StoreUnreachable,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::VmFailureDetected,
        Self::VmRecovered,
        Self::VmStartDelayed,
        Self::VmQuietBegan,
        Self::VmQuietEnded,
        Self::VmQuietRefused,
        Self::AppFailureDetected,
        Self::AppReportRejected,
        Self::ViosFailure,
        Self::ViosNodeShutdown,
        Self::ViosHmRespDetected,
        Self::ViosModeLocal,
        Self::ViosModeGlobal,
        Self::ViosModeDown,
        Self::ViosIsolated,
        Self::ViosIsolationOver,
        Self::AllViosUnreachable,
        Self::StoreClockStepped,
        Self::StoreUnreachable,
    ];

    /// Name, severity, entity and message id. The id of a message never changes and is never used again.
    #[must_use]
    pub const fn entry(self) -> (&'static str, Severity, Entity, &'static str) {
        use Severity::{Critical, Informational, Maintenance, Warning};
        match self {
            Self::VmFailureDetected => ("VM_FAILURE_DETECTED", Critical, Entity::Vm, "0000-187"),
            Self::VmRecovered => ("VM_RECOVERED", Informational, Entity::Vm, "0000-188"),
            Self::VmStartDelayed => ("VM_START_DELAYED", Warning, Entity::Vm, "0000-189"),
            Self::VmQuietBegan => ("VM_QUIET_BEGAN", Maintenance, Entity::Vm, "0000-205"),
            Self::VmQuietEnded => ("VM_QUIET_ENDED", Maintenance, Entity::Vm, "0000-206"),
            Self::VmQuietRefused => ("VM_QUIET_REFUSED", Warning, Entity::Vm, "0000-207"),
            Self::AppFailureDetected => ("APP_FAILURE_DETECTED", Critical, Entity::App, "0000-190"),
            Self::AppReportRejected => ("APP_REPORT_REJECTED", Warning, Entity::Vm, "0000-191"),
            Self::ViosFailure => ("VIOS_FAILURE", Critical, Entity::Vios, "0000-192"),
            Self::ViosNodeShutdown => ("VIOS_NODE_SHUTDOWN", Informational, Entity::Vios, "0000-193"),
            Self::ViosHmRespDetected => ("VIOS_HM_RESP_DETECTED", Informational, Entity::Vios, "0000-194"),
            Self::ViosModeLocal => ("VIOS_MODE_LOCAL", Warning, Entity::Vios, "0000-220"),
            Self::ViosModeGlobal => ("VIOS_MODE_GLOBAL", Informational, Entity::Vios, "0000-221"),
            Self::ViosModeDown => ("VIOS_MODE_DOWN", Critical, Entity::Vios, "0000-222"),
            Self::ViosIsolated => ("VIOS_ISOLATED", Warning, Entity::Vios, "0000-208"),
            Self::ViosIsolationOver => ("VIOS_ISOLATION_OVER", Informational, Entity::Vios, "0000-209"),
            Self::AllViosUnreachable => ("ALL_VIOS_UNREACHABLE", Critical, Entity::Host, "0000-195"),
            Self::StoreClockStepped => ("STORE_CLOCK_STEPPED", Warning, Entity::System, "0000-196"),
            Self::StoreUnreachable => ("STORE_UNREACHABLE", Warning, Entity::System, "0000-197"),
        }
    }

    /// Its name, as `VM_FAILURE_DETECTED`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    fn event(self, incident: String, resource: &str, text: &str) -> NewEvent {
        let (name, severity, entity, message) = self.entry();
        NewEvent {
            incident,
            name: name.to_owned(),
            severity,
            entity: entity.as_str().to_owned(),
            resource: printable(&format!("{} : {resource}", entity.as_str())),
            description: printable(&format!("{message} {text}")),
        }
    }
}

/// Incident keys: unique while the incident is open.
pub mod incident {
    use super::{HostKey, HostMonitorId, VmUuid};

    /// Of a VM's silence.
    #[must_use]
    pub fn vm_silent(vm: VmUuid) -> String {
        format!("vm-silent:{vm}")
    }
    /// Of a VM's recovery since its last failure.
    #[must_use]
    pub fn vm_recovered(vm: VmUuid) -> String {
        format!("vm-recovered:{vm}")
    }
    /// Of a VM that is STARTING for long.
    #[must_use]
    pub fn vm_starting(vm: VmUuid) -> String {
        format!("vm-starting:{vm}")
    }
    /// Of a VM's announced silences. It is never open: the store itself sees to it that each is told once.
    #[must_use]
    pub fn vm_quiet(vm: VmUuid) -> String {
        format!("vm-quiet:{vm}")
    }
    /// Of an application that is RED.
    #[must_use]
    pub fn app_red(vm: VmUuid, application: &str) -> String {
        format!("app-red:{vm}:{application}")
    }
    /// Of reports of a VM that cannot be read.
    #[must_use]
    pub fn report_rejected(vm: VmUuid) -> String {
        format!("report-rejected:{vm}")
    }
    /// Of a host monitor that is gone.
    #[must_use]
    pub fn vios_failed(monitor: HostMonitorId) -> String {
        format!("vios-failed:{monitor}")
    }
    /// Of a host monitor that was shut down on purpose.
    #[must_use]
    pub fn vios_shutdown(monitor: HostMonitorId) -> String {
        format!("vios-shutdown:{monitor}")
    }
    /// Of a host monitor that answers.
    #[must_use]
    pub fn vios_answers(monitor: HostMonitorId) -> String {
        format!("vios-answers:{monitor}")
    }
    /// Of a host monitor's mode. It is never open: the store itself sees to it that each change is told once.
    #[must_use]
    pub fn vios_mode(monitor: HostMonitorId) -> String {
        format!("vios-mode:{monitor}")
    }
    /// Of a host monitor that is isolated.
    #[must_use]
    pub fn vios_isolated(monitor: HostMonitorId) -> String {
        format!("vios-isolated:{monitor}")
    }
    /// Of its return.
    #[must_use]
    pub fn vios_isolation_over(monitor: HostMonitorId) -> String {
        format!("vios-isolation-over:{monitor}")
    }
    /// Of a host without a monitor that answers.
    #[must_use]
    pub fn host_unreachable(host: &HostKey) -> String {
        format!("host-unreachable:{host}")
    }
    /// Of the store's clock.
    pub const STORE_CLOCK: &str = "store-clock";
    /// Of the store's absence.
    pub const STORE_UNREACHABLE: &str = "store-unreachable";
}

/// A VM as events name it.
#[derive(Clone, Copy, Debug)]
pub struct VmName<'a> {
    /// Which.
    pub vm: VmUuid,
    /// For people.
    pub name: &'a str,
}

impl VmName<'_> {
    fn resource(self) -> String {
        format!("{} UUID {}", self.name, upper(self.vm))
    }
}

/// VM_FAILURE_DETECTED.
#[must_use]
pub fn vm_failure(vm: VmName<'_>, silent_ms: u64, vmfdt_ms: u64, common: bool) -> NewEvent {
    let together =
        if common { ", together with most guests of its trunk: look at the trunk first" } else { "" };
    let text = format!(
        "VM: {} failure detected. Silent on all its paths for {} seconds, VMFDT {}{together}.",
        vm.name,
        silent_ms / 1000,
        seconds(vmfdt_ms)
    );
    EventKind::VmFailureDetected.event(incident::vm_silent(vm.vm), &vm.resource(), &text)
}

/// VM_RECOVERED.
#[must_use]
pub fn vm_recovered(vm: VmName<'_>) -> NewEvent {
    let text = format!("VM: {} is heard again.", vm.name);
    EventKind::VmRecovered.event(incident::vm_recovered(vm.vm), &vm.resource(), &text)
}

/// VM_START_DELAYED.
#[must_use]
pub fn vm_start_delayed(vm: VmName<'_>, age_s: u64) -> NewEvent {
    let text = format!(
        "VM: {} was asked to be monitored {age_s} seconds ago and is still STARTING: not every path of it has \
         heartbeats. Is its agent running?",
        vm.name
    );
    EventKind::VmStartDelayed.event(incident::vm_starting(vm.vm), &vm.resource(), &text)
}

/// VM_QUIET_BEGAN.
#[must_use]
pub fn vm_quiet_began(vm: VmName<'_>, granted: Duration, reason: &str) -> NewEvent {
    let text = format!(
        "VM: {} announced to be silent for up to {}: {}. Until then its silence is not counted.",
        vm.name,
        duration(granted),
        given(reason)
    );
    EventKind::VmQuietBegan.event(incident::vm_quiet(vm.vm), &vm.resource(), &text)
}

/// VM_QUIET_ENDED.
#[must_use]
pub fn vm_quiet_ended(vm: VmName<'_>, by_guest: bool, lasted: Duration, reason: &str) -> NewEvent {
    let how = if by_guest { "was ended by the guest" } else { "ran out" };
    let text = format!(
        "VM: the announced silence of {} {how} after {}: {}. Its silence counts again.",
        vm.name,
        duration(lasted),
        given(reason)
    );
    EventKind::VmQuietEnded.event(incident::vm_quiet(vm.vm), &vm.resource(), &text)
}

/// VM_QUIET_REFUSED.
#[must_use]
pub fn vm_quiet_refused(vm: VmName<'_>, asked: Duration, reason: &str) -> NewEvent {
    let text = format!(
        "VM: {} wanted to be silent for {}: {}. It was refused, because it has had its {} of the last hour: its silence \
         counts.",
        vm.name,
        duration(asked),
        given(reason),
        duration(QUIET_BUDGET)
    );
    EventKind::VmQuietRefused.event(incident::vm_quiet(vm.vm), &vm.resource(), &text)
}

/// To a tenth of a second: what a guest says on two paths arrives a moment apart.
fn duration(duration: Duration) -> String {
    let tenths = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).saturating_add(50) / 100;
    format!("{} seconds", seconds(tenths.saturating_mul(100)))
}

fn given(reason: &str) -> &str {
    if reason.is_empty() { "no reason was given" } else { reason }
}

/// APP_FAILURE_DETECTED.
#[must_use]
pub fn app_failure(vm: VmName<'_>, name: &str, uuid: &str, status: &str, critical: bool) -> NewEvent {
    let critical = if critical { "critical " } else { "" };
    let text = format!(
        "Application: {name} of VM {} failed for good. The {critical}application is {status}.",
        vm.name
    );
    let resource = format!("{name} ID {uuid} VM {}", vm.resource());
    EventKind::AppFailureDetected.event(incident::app_red(vm.vm, uuid), &resource, &text)
}

/// APP_REPORT_REJECTED.
#[must_use]
pub fn report_rejected(vm: VmName<'_>, why: &str) -> NewEvent {
    let text = format!(
        "VM: {} sent an application report that cannot be read: {why}. What was known of its applications stays.",
        vm.name
    );
    EventKind::AppReportRejected.event(incident::report_rejected(vm.vm), &vm.resource(), &text)
}

/// A host monitor as events name it.
#[derive(Clone, Copy, Debug)]
pub struct MonitorName<'a> {
    /// Which.
    pub id: HostMonitorId,
    /// Its trunk adapter, once it ran.
    pub trunk: Option<&'a str>,
    /// Its host.
    pub host: &'a HostKey,
}

impl MonitorName<'_> {
    fn name(self) -> String {
        self.trunk.map_or_else(|| upper(self.id), ToOwned::to_owned)
    }
    fn resource(self) -> String {
        format!("{} UUID {}", self.name(), upper(self.id))
    }
}

/// VIOS_FAILURE.
#[must_use]
pub fn vios_failure(monitor: MonitorName<'_>, how: HostMonitorFailure, age_ms: u64) -> NewEvent {
    let text = format!(
        "VIOS: the host monitor {} of host {} {}. Its last heartbeat is {} seconds old.",
        monitor.name(),
        monitor.host,
        how.words(),
        age_ms / 1000
    );
    EventKind::ViosFailure.event(incident::vios_failed(monitor.id), &monitor.resource(), &text)
}

/// VIOS_NODE_SHUTDOWN.
#[must_use]
pub fn vios_shutdown(monitor: MonitorName<'_>) -> NewEvent {
    let text = format!(
        "VIOS: the host monitor {} of host {} was shut down on purpose.",
        monitor.name(),
        monitor.host
    );
    EventKind::ViosNodeShutdown.event(incident::vios_shutdown(monitor.id), &monitor.resource(), &text)
}

/// VIOS_HM_RESP_DETECTED.
#[must_use]
pub fn vios_answers(monitor: MonitorName<'_>) -> NewEvent {
    let text = format!("VIOS: the host monitor {} of host {} answers.", monitor.name(), monitor.host);
    EventKind::ViosHmRespDetected.event(incident::vios_answers(monitor.id), &monitor.resource(), &text)
}

/// VIOS_MODE_LOCAL, VIOS_MODE_GLOBAL or VIOS_MODE_DOWN.
#[must_use]
pub fn vios_mode(monitor: MonitorName<'_>, mode: MonitorMode, age: Duration, why: &str) -> NewEvent {
    let kind = match mode {
        MonitorMode::Local => EventKind::ViosModeLocal,
        MonitorMode::Global => EventKind::ViosModeGlobal,
        MonitorMode::Down => EventKind::ViosModeDown,
    };
    let text = format!(
        "VIOS: the host monitor {} of host {} became {mode} {} ago: {why}.",
        monitor.name(),
        monitor.host,
        duration(age)
    );
    kind.event(incident::vios_mode(monitor.id), &monitor.resource(), &text)
}

/// VIOS_ISOLATED.
#[must_use]
pub fn vios_isolated(monitor: MonitorName<'_>) -> NewEvent {
    let text = format!(
        "VIOS: the host monitor {} of host {} is isolated: its adapter is down or its trunk carries nothing. What it \
         would say of VMs is unknown.",
        monitor.name(),
        monitor.host
    );
    EventKind::ViosIsolated.event(incident::vios_isolated(monitor.id), &monitor.resource(), &text)
}

/// VIOS_ISOLATION_OVER.
#[must_use]
pub fn vios_isolation_over(monitor: MonitorName<'_>) -> NewEvent {
    let text =
        format!("VIOS: the host monitor {} of host {} hears its trunk again.", monitor.name(), monitor.host);
    EventKind::ViosIsolationOver.event(incident::vios_isolation_over(monitor.id), &monitor.resource(), &text)
}

/// ALL_VIOS_UNREACHABLE.
#[must_use]
pub fn all_vios_unreachable(host: &HostKey) -> NewEvent {
    let text = format!(
        "HOST: no host monitor of host {host} answers. Nothing is known of its VMs through the trunks, and nothing is \
         done about them."
    );
    EventKind::AllViosUnreachable.event(incident::host_unreachable(host), &host.to_string(), &text)
}

/// STORE_CLOCK_STEPPED.
#[must_use]
pub fn store_clock_stepped(by_ms: i64) -> NewEvent {
    let direction = if by_ms < 0 { "backwards" } else { "forward" };
    let text = format!(
        "The clock of the health store stepped {direction} by about {} seconds. No silence counts for longer than \
         seen since.",
        seconds(by_ms.unsigned_abs())
    );
    EventKind::StoreClockStepped.event(incident::STORE_CLOCK.to_owned(), "store", &text)
}

/// STORE_UNREACHABLE.
#[must_use]
pub fn store_unreachable(for_s: u64) -> NewEvent {
    let text = format!(
        "The health store is back after {for_s} seconds out of reach, or was replaced. No silence counts for longer \
         than seen since."
    );
    EventKind::StoreUnreachable.event(incident::STORE_UNREACHABLE.to_owned(), "store", &text)
}

/// Identities are shown to people in upper case.
#[must_use]
pub fn upper(id: impl std::fmt::Display) -> String {
    id.to_string().to_uppercase()
}

/// Names come from files and guests: what would break a line or a terminal is replaced.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn vm(name: &str) -> VmName<'_> {
        VmName { vm: "04e86341-e7c0-45dd-b903-cf9a1ceb7e2c".parse().unwrap(), name }
    }

    #[test]
    fn names_and_message_ids_are_unique() {
        let names: BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        let ids: BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.entry().3).collect();
        assert_eq!((names.len(), ids.len()), (EventKind::ALL.len(), EventKind::ALL.len()));
    }

    #[test]
    fn the_reference_lists_every_event_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/events.md");
        let page = std::fs::read_to_string(path).unwrap();
        for kind in EventKind::ALL {
            let (name, severity, entity, message) = kind.entry();
            let row = format!("| {name} | {severity} | {} | {message} |", entity.as_str());
            assert!(page.contains(&row), "{row} is not in {path}");
        }
    }

    #[test]
    fn a_common_silence_is_said_to_be_one() {
        let alone = vm_failure(vm("ziti032"), 191_000, 190_000, false);
        assert!(
            alone.description.starts_with("0000-187 VM: ziti032 failure detected."),
            "{}",
            alone.description
        );
        assert!(!alone.description.contains("trunk"));
        let together = vm_failure(vm("ziti032"), 191_000, 190_000, true);
        assert!(together.description.contains("together with most guests of its trunk"));
    }

    #[test]
    fn durations_are_told_to_a_tenth_of_a_second() {
        let told = [8001, 8000, 1249, 1250, 20].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(told, ["8 seconds", "8 seconds", "1.2 seconds", "1.3 seconds", "0 seconds"]);
    }

    #[test]
    fn a_name_cannot_break_out_of_its_line() {
        let hostile = "a\n-----EVENT END-----\x1b[2J";
        for event in [vm_recovered(vm(hostile)), vm_quiet_began(vm("a"), Duration::from_secs(1), hostile)] {
            assert!(!event.resource.chars().chain(event.description.chars()).any(char::is_control));
        }
    }
}
