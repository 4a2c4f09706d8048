//! What is asked of host monitors about VMs and hosts, and what became of it.

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use crate::{HostKey, HostRegistration, StoreTime, TransactionTag};

/// What became of requests about VMs is kept of the newest so many: starting and stopping 10,000 VMs with two host monitors
/// each, five times.
pub const MAX_TRANSACTIONS: u32 = 100_000;

/// VMs of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmList {
    /// The host they must be registered on, if it is named.
    pub host: Option<HostKey>,
    /// Which.
    pub vms: Vec<VmUuid>,
}

/// A host to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupedHost {
    /// Which, with its host monitors.
    pub host: HostRegistration,
    /// Its host group; `None` leaves it as it is.
    pub group: Option<String>,
}

/// What came of [`Store::vms_remove`](crate::Store::vms_remove).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmsRemoved {
    /// Requests to host monitors to stop heartbeats of monitored ones.
    pub transactions: Vec<TransactionTag>,
    /// Not registered: skipped. As asked for, each once.
    pub unknown: Vec<VmUuid>,
}

text_enum! {
    /// What a transaction asks for.
    TransactionAction {
        /// VIO_HS_START_VM.
        Start = "START_VM",
        /// VIO_HS_STOP_VM.
        Stop = "STOP_VM",
        /// VIO_HS_REMOVE_VM.
        Remove = "REMOVE_VM",
    }
}

text_enum! {
    /// How far a transaction got.
    TransactionState {
        /// The host monitor did not answer yet.
        Asked = "ASKED",
        /// It took it on; of a stop: the guest was told, or has no path there.
        Done = "DONE",
        /// A later request about the VM took its place.
        Replaced = "REPLACED",
        /// The host monitor did not answer and is not waited for: it does not run, or 10 minutes are over, or it was
        /// removed.
        GivenUp = "GIVEN_UP",
    }
}

/// A request to one host monitor about one VM, as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transaction {
    /// As its caller was told.
    pub tag: TransactionTag,
    /// What was asked for.
    pub action: TransactionAction,
    /// Which VM.
    #[serde(serialize_with = "crate::as_text")]
    pub vm: VmUuid,
    /// Who was asked.
    #[serde(serialize_with = "crate::as_text")]
    pub host_monitor: HostMonitorId,
    /// How far it got.
    pub state: TransactionState,
    /// When it was asked.
    #[serde(skip)]
    pub asked_at: StoreTime,
    /// When it left [`TransactionState::Asked`].
    #[serde(skip)]
    pub settled_at: Option<StoreTime>,
}

/// Which transactions are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionsWanted {
    /// Those with these tags; empty: of all tags.
    pub tags: Vec<TransactionTag>,
    /// About this VM only.
    pub vm: Option<VmUuid>,
    /// Only those that are [`TransactionState::Asked`].
    pub open: bool,
    /// The newest so many.
    pub limit: u32,
}
