//! What a host monitor is to do, as it reads it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::VmUuid;

use crate::text_form::uuid;
use crate::{MessageTag, MonitorSettings, NodeState, Quiet, SuspendReason, VmState};

/// What a host monitor is to do. Serialised, without requests, it is the copy that a host monitor keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Roster {
    /// The VMs of its host.
    pub vms: Vec<RosterVm>,
    /// VMs registered on other hosts whose path here counts: they were heard here and must be watched here, also by a
    /// monitor that was restarted since. `path` is always there. Who else may come by is asked for when it does:
    /// [`Store::standings`](crate::Store::standings).
    pub visiting: Vec<RosterVm>,
    /// Announced silences in force of the VMs that it has, or may have, a path to.
    pub quiet: Vec<Quiet>,
    /// Requests to it, oldest first.
    #[serde(skip)]
    pub requests: Vec<HostMonitorRequest>,
    /// What the store says of its settings.
    pub settings: MonitorSettings,
    /// It was taken out: nothing of what it writes is kept but signs of life.
    pub removed: bool,
    /// Its state in the store; `None`: the store does not have it.
    pub state: Option<NodeState>,
    /// Which of its starts the store heard of last.
    pub incarnation: Option<String>,
}

/// A VM in a roster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RosterVm {
    /// Which.
    #[serde(with = "uuid")]
    pub uuid: VmUuid,
    /// Its monitoring state; heartbeats are wanted in STARTING, STARTED and SUSPENDED.
    pub state: VmState,
    /// Why it is suspended, if it is.
    pub suspended: Option<SuspendReason>,
    /// `None`: the host monitor's default.
    pub heartbeat_interval_ms: Option<u32>,
    /// This host monitor's path to it, if it counts ([`MissedHeartbeats`]): its open silence.
    pub path: Option<RosterPath>,
}

/// What a guest is that shook hands with a host monitor whose roster does not have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Registered with this host: since the roster was read, so the next one has it.
    Here,
    /// Registered with another host. Its heartbeats are worth as much here as there.
    Elsewhere(RosterVm),
    /// It was removed, and the record of that is still kept: nobody is told that it was seen.
    Removed,
    /// Not registered anywhere.
    Unknown,
}

/// This host monitor's path in a roster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RosterPath {
    /// The guest's MAC address.
    pub mac: String,
    /// Age of its open silence; `None` if it was beating when last heard of.
    pub missed: Option<Duration>,
}

/// A request to a host monitor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostMonitorRequest {
    /// Its tag, to be confirmed with [`HostMonitorWrite::RequestDone`](crate::HostMonitorWrite::RequestDone).
    pub tag: i64,
    /// What to do.
    pub what: RequestKind,
}

/// What a host monitor is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// The VM's row changed (state or interval): apply the roster.
    Reconsider(VmUuid),
    /// Send `PMSG_REQ:<tag>:apps` to the VM.
    AskReport {
        /// Which VM.
        vm: VmUuid,
        /// The exchange.
        message: MessageTag,
    },
    /// Send `GMSG:<tag>` to the VM.
    ReportTaken {
        /// Which VM.
        vm: VmUuid,
        /// The exchange.
        message: MessageTag,
    },
}
