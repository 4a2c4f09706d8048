//! Requests and answers as values.

mod message;
mod query;

use std::error::Error;

use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{
    AttentionTag, GroupedHost, HostKey, HostRegistration, NeedsAttention, QuickQuery, SettingsChange,
    SettingsScope, StoreError, TransactionTag, VmList, VmRegistration, VmsRemoved,
};

pub use message::{MessageAnswer, MessageRequest};
pub use query::{QueryAnswer, QueryRequest};

/// A request that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// VIO_HS_ADD_MS.
    AddHosts(Vec<GroupedHost>),
    /// VIO_HS_ADD_VM.
    AddVms {
        /// Where.
        host: HostKey,
        /// Which.
        vms: Vec<VmRegistration>,
    },
    /// VIO_HS_START_VM.
    StartVms(Vec<VmList>),
    /// VIO_HS_QUICK_QUERY.
    QuickQuery,
    /// VIO_HS_NEEDS_ATTENTION.
    NeedsAttention(Scope),
    /// VIO_HS_ACKNOWLEDGE.
    Acknowledge(AttentionTag),
    /// VIO_HS_STOP_VM.
    StopVms(Vec<VmList>),
    /// VIO_HS_REMOVE_VM.
    RemoveVms(Vec<VmList>),
    /// VIO_HS_ADD_VIOS.
    AddMonitors(Vec<HostRegistration>),
    /// VIO_HS_REMOVE_VIOS.
    RemoveMonitors(Vec<HostMonitorId>),
    /// VIO_HS_REMOVE_MS.
    RemoveHosts(Vec<HostKey>),
    /// VIO_HS_REMOVE_HOST_GROUP, by its name.
    RemoveHostGroup(String),
    /// VIO_HS_CONFIGURE_HM.
    Configure {
        /// Whose settings.
        scope: SettingsScope,
        /// What becomes of them.
        change: SettingsChange,
    },
    /// A question for what is recorded.
    Query(QueryRequest),
    /// A step of the application-report exchange.
    Message(MessageRequest),
}

/// Of what a needs-attention query tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every host in the store.
    Global,
    /// The host of this machine's host monitors.
    Local,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Hosts and their host monitors are registered.
    HostsAdded,
    /// VMs are registered.
    VmsAdded,
    /// Requests to host monitors, by their tags.
    VmsStarted(Vec<TransactionTag>),
    /// As polled.
    QuickQuery(QuickQuery),
    /// As polled.
    NeedsAttention(NeedsAttention),
    /// It will not be reported again.
    Acknowledged,
    /// Requests to host monitors, by their tags.
    VmsStopped(Vec<TransactionTag>),
    /// What was asked of host monitors, and what was not there.
    VmsRemoved(VmsRemoved),
    /// Host monitors are registered.
    MonitorsAdded,
    /// Host monitors are taken out, but for these, which are not known.
    MonitorsRemoved(Vec<HostMonitorId>),
    /// Hosts are removed, but for these, which are not registered.
    HostsRemoved(Vec<HostKey>),
    /// The hosts that were in the group.
    HostGroupRemoved(Vec<HostKey>),
    /// The version of the settings now.
    Configured(i64),
    /// What is recorded.
    Query(QueryAnswer),
    /// How the exchange goes on.
    Message(MessageAnswer),
    /// Nothing was changed.
    Error(Refusal),
}

/// Why a request was refused: a word for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// What happened, to what, and what to do.
    pub text: String,
}

impl Refusal {
    /// From its two parts.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The input is no request of ours.
    Malformed,
    /// The input is too long.
    TooLarge,
    /// No such action.
    UnknownAction,
    /// The host is not registered.
    UnknownHost,
    /// A VM is not registered.
    UnknownVm,
    /// A VM is registered on another host.
    Elsewhere,
    /// No host is in the host group.
    UnknownHostGroup,
    /// The hsTag was never given out.
    UnknownTag,
    /// No path of the VM can carry a message now.
    NoPath,
    /// There is no such exchange any more.
    UnknownMessage,
    /// The report of an exchange is not there yet.
    NotArrived,
    /// The store cannot be used.
    Store,
}

impl Code {
    /// As in the answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::TooLarge => "TOO_LARGE",
            Self::UnknownAction => "UNKNOWN_ACTION",
            Self::UnknownHost => "UNKNOWN_HOST",
            Self::UnknownVm => "UNKNOWN_VM",
            Self::Elsewhere => "ELSEWHERE",
            Self::UnknownHostGroup => "UNKNOWN_HOST_GROUP",
            Self::UnknownTag => "UNKNOWN_TAG",
            Self::NoPath => "NO_PATH",
            Self::UnknownMessage => "UNKNOWN_MESSAGE",
            Self::NotArrived => "NOT_ARRIVED",
            Self::Store => "STORE",
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::UnknownHost(_) | StoreError::UnknownHostMonitor(_) => Code::UnknownHost,
            StoreError::UnknownHostGroup(_) => Code::UnknownHostGroup,
            StoreError::UnknownVm(_) => Code::UnknownVm,
            StoreError::Elsewhere { .. } => Code::Elsewhere,
            StoreError::UnknownTag(_) => Code::UnknownTag,
            StoreError::Url { .. }
            | StoreError::Open { .. }
            | StoreError::NotAStore { .. }
            | StoreError::TooNew { .. }
            | StoreError::OutOfRange { .. }
            | StoreError::Backend(_)
            | StoreError::Access { .. }
            | StoreError::Connect { .. }
            | StoreError::Slow { .. }
            | StoreError::Outdated { .. }
            | StoreError::Grants { .. }
            | StoreError::Superseded(_)
            | StoreError::TagRoom(_)
            | StoreError::Corrupt { .. } => Code::Store,
        };
        let reason = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        Self::new(code, format!("{error}{reason}"))
    }
}
