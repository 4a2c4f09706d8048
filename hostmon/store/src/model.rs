//! What the store holds, as values.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use crate::{QuietView, StoreTime};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// As stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// From its stored text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.pad(self.as_str())
            }
        }
    };
}

text_enum! {
    /// Monitoring state of a VM.
    VmState {
        /// Registered, not monitored.
        Added = "ADDED",
        /// Asked to monitor; not every path beats yet.
        Starting = "STARTING",
        /// Every path that the VM has been verified to have beats, or did.
        Started = "STARTED",
        /// Asked to stop.
        Stopping = "STOPPING",
        /// Not monitored any more.
        Stopped = "STOPPED",
        /// Being removed.
        Removing = "REMOVING",
        /// Suspended by its administrator or by an announced shutdown ([`SuspendReason`]).
        Suspended = "SUSPENDED",
        /// Seen on the wire, not added.
        Unknown = "UNKNOWN",
    }
}

text_enum! {
    /// Why a VM is SUSPENDED.
    SuspendReason {
        /// `SHDN:DAEMON`: the agent was stopped on purpose. Ends with the next handshake.
        Daemon = "DAEMON",
        /// `SHDN:OS`: the guest is shutting down on purpose. Ends with the next handshake.
        Os = "OS",
        /// `SUSPEND`: by the guest's administrator. Ends with `RESUME` only.
        Administrator = "ADMINISTRATOR",
    }
}

text_enum! {
    /// State of a host monitor's node.
    NodeState {
        /// Running.
        Up = "UP",
        /// Stopped, with a reason.
        Down = "DOWN",
        /// Taken out.
        Removed = "REMOVED",
    }
}

text_enum! {
    /// How a host monitor works.
    MonitorMode {
        /// Its writes reach the store.
        Global = "GLOBAL",
        /// The store cannot be reached; edges are kept.
        Local = "LOCAL",
        /// Its core loop is not turning, or it does not run.
        Down = "DOWN",
    }
}

text_enum! {
    /// What a discovered guest is.
    Discovery {
        /// A VM that is registered on another host.
        Moved = "MOVED",
        /// A registered VM of this host.
        Managed = "MANAGED",
        /// Not registered anywhere.
        Unmanaged = "UNMANAGED",
        /// Its handshake carries no valid UUID.
        CannotManage = "CANNOT_MANAGE",
    }
}

text_enum! {
    /// How far an application-report exchange is.
    MessageState {
        /// The agent was asked, or is about to be.
        Asked = "ASKED",
        /// The report waits to be taken.
        Arrived = "ARRIVED",
        /// It was taken; the agent was not told yet, or did not say yet that it knows.
        Taken = "TAKEN",
    }
}

text_enum! {
    /// Severity of an event.
    Severity {
        /// Service is lost or about to be.
        Critical = "Critical",
        /// Redundancy is lost.
        Warning = "Warning",
        /// A planned operation.
        Maintenance = "Maintenance",
        /// For the record.
        Informational = "Informational",
    }
}

text_enum! {
    /// Colour of an application's status.
    Colour {
        /// Well.
        Green = "GREEN",
        /// Being looked after.
        Yellow = "YELLOW",
        /// Failed for good.
        Red = "RED",
        /// Not monitored.
        Gray = "GRAY",
    }
}

text_enum! {
    /// How fast a VM's failure is detected: k of VMFDT = host_failure_detection_time + k x 50 s.
    DetectionSpeed {
        /// k = 1.
        Fast = "fast",
        /// k = 2.
        Normal = "normal",
        /// k = 3.
        Slow = "slow",
    }
}

/// Node shut down on purpose.
pub const REASON_NODE_SHUTDOWN: u32 = 0x40;
/// Bit of a node's reason: the host monitor is isolated. It is UP, and its paths are unknown.
pub const REASON_ISOLATED: u32 = 0x100;

/// A host by what its firmware says (Linux: DMI vendor, product, serial).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostKey {
    /// `machine_type`.
    pub machine_type: String,
    /// `model`.
    pub model: String,
    /// `serial`.
    pub serial: String,
}

impl std::fmt::Display for HostKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}-{}", self.machine_type, self.model, self.serial)
    }
}

/// A host to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRegistration {
    /// Which.
    pub key: HostKey,
    /// Its host monitors.
    pub host_monitors: Vec<HostMonitorRegistration>,
}

/// A host monitor to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMonitorRegistration {
    /// Which.
    pub id: HostMonitorId,
    /// `partNum`: a number for people, 0 if none was given.
    pub part_number: u32,
    /// MAC address of its trunk adapter as registered, if given.
    pub mac: Option<String>,
}

/// A VM to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmRegistration {
    /// Which.
    pub uuid: VmUuid,
    /// For people; the uuid's text if none was given.
    pub name: Option<String>,
}

/// Names a request to a host monitor.
pub type TransactionTag = i64;
/// Names one needs-attention answer (`hsTag`).
pub type AttentionTag = i64;
/// Names one application-report exchange.
pub type MessageTag = i64;

/// Answer of a quick query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuickQuery {
    /// The store's clock at the poll.
    pub now: StoreTime,
    /// Every host.
    pub hosts: Vec<HostStatus>,
}

/// A host in a quick query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Which.
    pub key: HostKey,
    /// Its host monitors.
    pub host_monitors: Vec<HostMonitorStatus>,
}

/// A host monitor in a quick query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMonitorStatus {
    /// Which.
    pub id: HostMonitorId,
    /// Name of its trunk adapter, once it ran.
    pub trunk: Option<String>,
    /// MAC address of its trunk adapter.
    pub mac: Option<String>,
    /// State of its node.
    pub state: NodeState,
    /// Why the state is what it is; bits [`REASON_NODE_SHUTDOWN`] and [`REASON_ISOLATED`].
    pub reason: u32,
    /// Its mode.
    pub mode: MonitorMode,
    /// Whether the last heartbeat, which any new write is, is younger than 2.5 of its intervals.
    pub responsive: bool,
    /// Whether it hears its trunk, as it last said; until it ran nothing else is known. Otherwise its paths are unknown.
    pub trunk_heard: bool,
    /// Age of the last heartbeat, which any new write is; `None` before the first.
    pub heartbeat_age: Option<Duration>,
    /// Whether it has node events that nobody acknowledged.
    pub has_data: bool,
    /// Whether something that it was asked for longer than 30 s ago is not answered: SYNC_MSG asks again.
    pub sync_message: bool,
    /// Protocol versions it accepts, as text.
    pub versions: Option<String>,
}

/// Answer of a needs-attention query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsAttention {
    /// The store's clock at the poll.
    pub now: StoreTime,
    /// Present when something in the answer can be acknowledged.
    pub tag: Option<AttentionTag>,
    /// Every host that has monitored VMs.
    pub hosts: Vec<HostAttention>,
}

/// A host in a needs-attention answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAttention {
    /// Which.
    pub key: HostKey,
    /// Doorbells first, then missed heartbeats, then state changes, then other conditions of VMs, then discoveries; a VM appears once, at
    /// its first reason, with everything that is to be said of it.
    pub vms: Vec<VmAttention>,
}

/// A VM in a needs-attention answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmAttention {
    /// Which; its text as it came for CANNOT_MANAGE guests.
    pub uuid: String,
    /// Its monitoring state.
    pub state: VmState,
    /// `shortMsg`: pending doorbell bits, 0 if none.
    pub doorbell: u32,
    /// Only when every path misses.
    pub missed: Option<MissedHeartbeats>,
    /// `stateChg`: the state changed and nobody acknowledged it yet.
    pub state_changed: bool,
    /// `missedHMEntry`: these host monitors of its host should have a path to it and do not. Nobody acknowledged it yet.
    pub missed_entries: Vec<HostMonitorId>,
    /// `versionConflict`: a guest under its UUID speaks another version. Nobody acknowledged it yet.
    pub version_conflict: bool,
    /// `isFenced`: it is kept from running.
    pub fenced: bool,
    /// A guest that was discovered.
    pub discovery: Option<Discovery>,
}

/// Silence of a VM. Only when every counted path misses that is known, and at least one is. A path counts from its
/// first heartbeats or its first silence since START_VM, not from its handshake. It is known while its host monitor
/// is responsive, GLOBAL and hears its trunk. Never while an announced silence is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedHeartbeats {
    /// Age of the *youngest* silence: how long the VM has been silent altogether.
    pub youngest: Duration,
    /// Age of the oldest silence of a path.
    pub oldest: Duration,
    /// What of the youngest lies before the end of the VM's last announced silence: it is shown, and does not count.
    pub excused: Duration,
    /// Whether every one of the edges came together with those of most other guests of its trunk.
    pub common: bool,
}

/// A VM as `hamgr query vm` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmView {
    /// Which.
    pub uuid: VmUuid,
    /// For people.
    pub name: String,
    /// Where it is registered.
    pub host: HostKey,
    /// Its monitoring state.
    pub state: VmState,
    /// Why it is suspended, if it is.
    pub suspended: Option<SuspendReason>,
    /// When the state changed.
    pub state_changed_at: StoreTime,
    /// When an agent first shook hands, if ever.
    pub agent_seen_at: Option<StoreTime>,
    /// Whether a version conflict of its agent is on record.
    pub version_conflict: bool,
    /// Every path that counts: heard beating or missing since START_VM.
    pub paths: Vec<PathView>,
    /// See [`MissedHeartbeats`]; `None` while any known path beats, or none is known.
    pub missed: Option<MissedHeartbeats>,
    /// Its own settings.
    pub settings: VmSettings,
    /// What the controller last said of it; empty before.
    pub phase: String,
    /// The announced silence in force. Its paths are not silent then, and nobody can tell whether they beat.
    pub quiet: Option<QuietView>,
}

/// A path as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathView {
    /// The host monitor at its other end.
    #[serde(serialize_with = "as_text")]
    pub host_monitor: HostMonitorId,
    /// The trunk adapter's name, once known.
    pub trunk: Option<String>,
    /// The guest's MAC address on this trunk.
    pub mac: String,
    /// `None` while heartbeats come; else how long none came.
    pub missed: Option<Duration>,
    /// Whether its host monitor is responsive, GLOBAL and hears its trunk; else the path is *unknown*.
    pub known: bool,
    /// Running protocol version.
    pub version: String,
}

/// Serialises anything by its text form.
pub fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// An application as `hamgr query app` shows it: the last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationView {
    /// The VM that reported it.
    pub vm: VmUuid,
    /// Its name.
    pub vm_name: String,
    /// When the report was applied.
    pub reported_at: StoreTime,
    /// What it said.
    pub report: ApplicationReport,
}

/// One application in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationReport {
    /// 1-64 of letters, digits, `_.-`.
    pub name: String,
    /// AppID: 19 digits.
    pub uuid: String,
    /// State's name, as `FAILURE`.
    pub status: String,
    /// Its colour.
    pub colour: Colour,
    /// Whether the controller acts when it is RED.
    pub critical: bool,
    /// Whether it is monitored.
    pub monitored: bool,
    /// Restart cycles before FAILURE.
    pub max_restart: u32,
    /// Restart cycles so far.
    pub restarted: u32,
    /// Free text of the administrator.
    pub version: String,
    /// `NORMAL`, `ABNORM`, `TIMOUT` or `NOTSET`.
    pub last_result: String,
    /// Seconds since the status changed, at the report.
    pub last_change_age_s: u64,
}

/// Settings that hold for everything unless a VM says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemSettings {
    /// 90-600 s.
    pub host_failure_detection_time_s: u32,
    /// See [`DetectionSpeed`].
    pub vm_failure_detection_speed: DetectionSpeed,
}

impl Default for SystemSettings {
    fn default() -> Self {
        Self { host_failure_detection_time_s: 90, vm_failure_detection_speed: DetectionSpeed::Normal }
    }
}

/// Settings of one VM; `None` inherits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSettings {
    /// 100-60,000 ms; the host monitor's own default if `None`.
    pub heartbeat_interval_ms: Option<u32>,
    /// See [`DetectionSpeed`].
    pub vm_failure_detection_speed: Option<DetectionSpeed>,
    /// Overrides the formula; at least 3 heartbeat intervals.
    pub vm_failure_detection_time_ms: Option<u32>,
}

/// A report that arrived from a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivedReport {
    /// The request it answers.
    pub tag: MessageTag,
    /// The guest.
    pub vm: VmUuid,
    /// The host monitor that received it.
    pub host_monitor: HostMonitorId,
    /// The XML as the agent sent it; guest bytes, not to be trusted.
    pub payload: Vec<u8>,
}

/// A request that waits for its report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReport {
    /// The request.
    pub tag: MessageTag,
    /// The guest.
    pub vm: VmUuid,
    /// How long it waits.
    pub age: Duration,
}

/// An event to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Unique while the incident is open, as `vm-silent:<uuid>`.
    pub incident: String,
    /// `VM_FAILURE_DETECTED`.
    pub name: String,
    /// Its severity.
    pub severity: Severity,
    /// `VM`, `HOST`, `VIOS`, `APP`, `SYSTEM`.
    pub entity: String,
    /// `VM : ziti032 UUID ...`.
    pub resource: String,
    /// With its stable message id.
    pub description: String,
}

/// An event on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// Grows by one.
    pub id: i64,
    /// When it was recorded.
    pub at: StoreTime,
    /// What was recorded.
    pub event: NewEvent,
}

/// A controller says that it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerHeartbeat {
    /// Its host name.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// Program version.
    pub version: String,
    /// Pause between polls, in milliseconds.
    pub poll_interval_ms: u64,
}

/// A controller as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControllerView {
    /// What it said last.
    pub heartbeat: ControllerHeartbeat,
    /// How long ago.
    pub age: Duration,
}
