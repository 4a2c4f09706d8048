//! Questions for what is recorded.

use std::collections::BTreeSet;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{Conflicts, NodeData, VmHome, VmPage, VmsWanted};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryRequest {
    /// VIO_HS_QUERY_NODE_DATA.
    NodeData {
        /// Of this host monitor; `None`: of all.
        of: Option<HostMonitorId>,
        /// At most so many.
        limit: u32,
    },
    /// VIO_HS_QUERY_VM.
    Vms(VmsWanted),
    /// VIO_HS_QUERY_MS_FOR_VMS.
    Homes(Vec<VmUuid>),
    /// VIO_HS_QUERY_CONFLICT.
    Conflicts {
        /// At most so many.
        limit: u32,
    },
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    /// Node events.
    NodeData(NodeData),
    /// VMs.
    Vms(VmPage),
    /// Which hosts have the VMs.
    Homes {
        /// By host.
        homes: Vec<VmHome>,
        /// Those that no host has.
        unknown: BTreeSet<VmUuid>,
    },
    /// Conflicts.
    Conflicts(Conflicts),
}
