//! What overtakes what.

use vmpulse_protocol::id::VmUuid;
use vmpulse_store::{HostMonitorWrite, MessageTag, NodeState, SuspendReason};

/// Kind of the remark by which a guest announces that it will not beat any more: the only one that a guest is waiting for.
pub(crate) const GUEST_DYING: &str = "GUEST_DYING";

/// Of two writes with one key the newer is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Heartbeat,
    /// A start that says another address.
    Readdressed,
    Node(NodeState),
    TrunkHeard,
    Isolated,
    Configured,
    /// Beating, missing or quiet: the state of a path.
    Edge(VmUuid),
    /// No edge: it also ends a suspension.
    Opened(VmUuid),
    Guardian(VmUuid),
    Forgotten(VmUuid),
    /// Of suspensions and their ends the last of each kind, in their order.
    SuspendedByAdministrator(VmUuid),
    ShutDown(VmUuid),
    Resumed(VmUuid),
    /// Likewise of announced silences.
    QuietAsked(VmUuid),
    QuietEnded(VmUuid),
    QuietOver(VmUuid),
    /// Rings are told apart that the store may have.
    Doorbell(VmUuid, u8),
    /// The store keeps the newest report of a VM only.
    Report(VmUuid),
    ReportCleared(VmUuid, MessageTag),
    RequestDone(i64),
}

impl Key {
    pub(super) fn of(write: &HostMonitorWrite) -> Option<Self> {
        use HostMonitorWrite as Write;
        Some(match write {
            Write::Heartbeat => Self::Heartbeat,
            Write::NodeChanged { state, .. } => Self::Node(*state),
            Write::TrunkHeard { .. } => Self::TrunkHeard,
            Write::Isolated { .. } => Self::Isolated,
            Write::Configured { .. } => Self::Configured,
            Write::PathDetected { vm } | Write::PathMissing { vm, .. } | Write::PathQuiet { vm } => {
                Self::Edge(*vm)
            }
            Write::PathOpened { vm, .. } => Self::Opened(*vm),
            Write::PathGuardian { vm, .. } => Self::Guardian(*vm),
            Write::PathForgotten { vm } => Self::Forgotten(*vm),
            Write::Suspended { vm, reason, .. } => match reason {
                SuspendReason::Administrator => Self::SuspendedByAdministrator(*vm),
                SuspendReason::Daemon | SuspendReason::Os => Self::ShutDown(*vm),
            },
            Write::Resumed { vm, .. } => Self::Resumed(*vm),
            Write::QuietAsked { vm, .. } => Self::QuietAsked(*vm),
            Write::QuietEnded { vm, .. } => Self::QuietEnded(*vm),
            Write::QuietOver { vm, .. } => Self::QuietOver(*vm),
            Write::Report { vm, .. } => Self::Report(*vm),
            Write::ReportCleared { vm, message } => Self::ReportCleared(*vm, *message),
            Write::RequestDone { tag } => Self::RequestDone(*tag),
            // A doorbell adds up; a start is where its numbers begin; of the others each counts, within bounds.
            Write::Doorbell { .. }
            | Write::Started(_)
            | Write::ModeChanged { .. }
            | Write::NodeEvent { .. }
            | Write::Discovered { .. }
            | Write::Conflict { .. } => return None,
        })
    }
}

/// Bounded together; the oldest are dropped. Starts beyond the first come with an adapter's other address.
pub(super) const fn is_remark(write: &HostMonitorWrite) -> bool {
    matches!(
        write,
        HostMonitorWrite::NodeEvent { .. }
            | HostMonitorWrite::ModeChanged { .. }
            | HostMonitorWrite::Discovered { .. }
            | HostMonitorWrite::Conflict { .. }
    )
}

/// Whether a guest waits for the acknowledgement of it.
#[must_use]
pub fn is_said_by_guest(write: &HostMonitorWrite) -> bool {
    use HostMonitorWrite as Write;
    match write {
        Write::Suspended { .. }
        | Write::Resumed { .. }
        | Write::QuietAsked { .. }
        | Write::QuietEnded { .. }
        | Write::Doorbell { .. }
        | Write::Report { .. }
        | Write::ReportCleared { .. } => true,
        Write::NodeEvent { kind, .. } => kind == GUEST_DYING,
        Write::Started(_)
        | Write::Heartbeat
        | Write::NodeChanged { .. }
        | Write::ModeChanged { .. }
        | Write::TrunkHeard { .. }
        | Write::Isolated { .. }
        | Write::Configured { .. }
        | Write::PathOpened { .. }
        | Write::PathGuardian { .. }
        | Write::PathDetected { .. }
        | Write::PathMissing { .. }
        | Write::PathQuiet { .. }
        | Write::PathForgotten { .. }
        | Write::QuietOver { .. }
        | Write::RequestDone { .. }
        | Write::Discovered { .. }
        | Write::Conflict { .. } => false,
    }
}
