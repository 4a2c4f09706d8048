//! What people and scripts ask the store, as values.

use std::time::Duration;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use crate::{AttentionTag, HostKey, MessageTag, PathView, StoreTime, VmState, VmView};

/// Most entries of one answer: with a hundred bytes or a few to each, an answer stays below some megabytes. What is left
/// over comes with the next question.
pub const ANSWER_LIMIT: u32 = 1000;

/// Node events of host monitors that nobody acknowledged, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeData {
    /// The store's clock.
    pub now: StoreTime,
    /// Acknowledges exactly these; `None` if there are none.
    pub tag: Option<AttentionTag>,
    /// At most so many as were asked for.
    pub events: Vec<NodeEvent>,
    /// Whether there are more; they come once these are acknowledged.
    pub more: bool,
}

/// A node event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// Who recorded it.
    pub host_monitor: HostMonitorId,
    /// Its trunk adapter, once it ran.
    pub trunk: Option<String>,
    /// The host it is registered with, if it is.
    pub host: Option<HostKey>,
    /// One word.
    pub kind: String,
    /// A sentence. It may hold what a guest said.
    pub text: String,
    /// Since the store took it.
    pub age: Duration,
}

/// Conflicts that nobody acknowledged, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts {
    /// The store's clock.
    pub now: StoreTime,
    /// Acknowledges exactly these; `None` if there are none.
    pub tag: Option<AttentionTag>,
    /// At most so many as were asked for.
    pub conflicts: Vec<Conflict>,
    /// Whether there are more; they come once these are acknowledged.
    pub more: bool,
}

/// A conflict. Its texts may hold what a guest said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `VERSION` or `UUID`.
    pub kind: String,
    /// As it came; lower case if it is a UUID; empty if none came.
    pub uuid: String,
    /// The guest's MAC address.
    pub mac: String,
    /// Who saw it.
    pub host_monitor: HostMonitorId,
    /// The host it is registered with, if it is.
    pub host: Option<HostKey>,
    /// A sentence.
    pub text: String,
    /// Since it was first seen.
    pub age: Duration,
}

/// Which VMs are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmsOf {
    /// All there are.
    All,
    /// Those registered on this host.
    Host(HostKey),
    /// These.
    List(Vec<VmUuid>),
}

/// A question for VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmsWanted {
    /// Which.
    pub of: VmsOf,
    /// Only those behind this one in the order of UUIDs.
    pub after: Option<VmUuid>,
    /// At most so many, and never more than [`ANSWER_LIMIT`].
    pub limit: u32,
}

/// VMs in the order of their UUIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPage {
    /// The store's clock.
    pub now: StoreTime,
    /// Those that are registered.
    pub vms: Vec<VmDetail>,
    /// Of those asked for by name and looked for in this answer, the ones that are not registered.
    pub unknown: Vec<VmUuid>,
    /// Where to go on, if there are more.
    pub next: Option<VmUuid>,
}

/// All that the store holds of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmDetail {
    /// As `hamgr` shows it.
    pub view: VmView,
    /// Since its state changed.
    pub state_age: Duration,
    /// Since it was suspended, if it is.
    pub suspended_age: Option<Duration>,
    /// Pending doorbell bits.
    pub doorbell: u32,
    /// Whether it is kept from running.
    pub fenced: bool,
    /// Every path, those that do not count included, by host monitor.
    pub paths: Vec<PathDetail>,
}

/// A path of a VM to a host monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathDetail {
    /// As `hamgr` shows it. Its MAC address and version are empty until it was opened.
    pub view: PathView,
    /// Whether it counts: heard beating or missing since START_VM.
    pub counted: bool,
    /// Whether heartbeats come.
    pub beating: bool,
    /// Whether what comes is authenticated.
    pub authenticated: bool,
    /// Whether the guest's guardian beats in the place of its agent.
    pub guardian: bool,
    /// Since when it should be there and was not heard, if nobody said that it need not.
    pub awaited: Option<Duration>,
}

/// Which host has a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmHome {
    /// The host.
    pub host: HostKey,
    /// The VM.
    pub vm: VmUuid,
    /// Its monitoring state.
    pub state: VmState,
}

/// Which exchanges are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagesWanted {
    /// Of these VMs; empty: of all.
    pub vms: Vec<VmUuid>,
    /// Only those behind this one in the order of tags.
    pub after: Option<MessageTag>,
    /// At most so many, and never more than [`ANSWER_LIMIT`].
    pub limit: u32,
}

/// Exchanges in the order of their tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePage {
    /// At most so many as were asked for.
    pub messages: Vec<MessageView>,
    /// Where to go on, if there are more.
    pub next: Option<MessageTag>,
}

/// An application-report exchange with its report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The exchange.
    pub view: MessageView,
    /// The report as the agent sent it while it waits to be taken; guest bytes, not to be trusted.
    pub payload: Option<Vec<u8>>,
}

/// An application-report exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Its name.
    pub tag: MessageTag,
    /// The how-manieth it is of its VM, from 1.
    pub sequence: i64,
    /// Whose report.
    pub vm: VmUuid,
    /// Who was asked; once it arrived: who received it.
    pub host_monitor: HostMonitorId,
    /// How far it is.
    pub state: crate::MessageState,
    /// Since it was asked for.
    pub asked_age: Duration,
    /// Since it arrived, if it did.
    pub arrived_age: Option<Duration>,
    /// Length of the report while it waits to be taken.
    pub bytes: Option<u64>,
}
