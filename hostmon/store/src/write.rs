//! What a host monitor writes: its own heartbeat, and edges.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::VmUuid;

use crate::text_form::uuid;
use crate::{Discovery, MessageTag, MonitorMode, NodeState, QuietAnswer, SuspendReason};

/// Largest payload of a [`HostMonitorWrite::Report`] that is kept, in bytes: what one message of the protocol
/// carries.
pub const MAX_REPORT: usize = 256 * 1024;

/// By so much a word of a guest must be newer than one that another host monitor writes after it, to overtake it. More than
/// what a write takes on its way to the store, so that the times of any two are in their order: a PostgreSQL server
/// answers within 6 s or is given up, and SQLite's clock is read before its lock is waited for.
pub const OVERTAKEN_BY: Duration = Duration::from_secs(10);

/// One write of a host monitor. Ages were measured on its monotonic clock when the write was made; the writer
/// adds the time that the write then waited.
///
/// Serialised it is what a host monitor's spool keeps: a later version must still read it, so what is added has a
/// default, and nothing is renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMonitorWrite {
    /// It started: its adapter, its incarnation, what it speaks. Makes the node UP and its mode GLOBAL, and is its
    /// first heartbeat.
    Started(HostMonitorStart),
    /// It works by these settings of the roster now.
    Configured {
        /// Their version.
        version: i64,
        /// Versions it accepts, as `2.0-2.1`.
        versions: String,
        /// Interval of its own heartbeat to the store.
        heartbeat_interval: Duration,
    },
    /// It lives: so says any write that is new, but for one of mode DOWN. This is for when there is nothing else to write, and
    /// makes the store look at what only time changes.
    Heartbeat,
    /// Its node or mode changed; recorded as a node event.
    NodeChanged {
        /// New node state.
        state: NodeState,
        /// Why.
        reason: u32,
        /// New mode.
        mode: MonitorMode,
    },
    /// Its way to work changed; recorded as a node event, and told by the controller. GLOBAL is a sign of life, too.
    ModeChanged {
        /// New mode.
        mode: MonitorMode,
        /// Since it changed.
        age: Duration,
        /// Why, as a sentence.
        text: String,
    },
    /// Something an operator should see, as `trunk adapter down`; recorded as a node event.
    NodeEvent {
        /// One word, as `ADAPTER_DOWN`.
        kind: String,
        /// A sentence.
        text: String,
    },
    /// Whether it can hear its trunk reliably. While it cannot, its paths are *unknown*: neither silent nor
    /// proof of life, nor awaited by a STARTING VM. A start ([`HostMonitorWrite::Started`]) hears again.
    TrunkHeard {
        /// False: blind.
        heard: bool,
    },
    /// Whether it is isolated: its own trunk adapter is down, or its trunk's canary is silent
    /// ([`REASON_ISOLATED`](crate::REASON_ISOLATED)). Says why its trunk is not heard, no more: it is told beside
    /// [`HostMonitorWrite::TrunkHeard`]. A start is not isolated.
    Isolated {
        /// Whether it is.
        isolated: bool,
    },
    /// A handshake completed. A suspension by SHDN ends with it, unless that was said later; a VM of another host or an unregistered one is
    /// recorded as discovered. Proves no heartbeat: a new path does not count, and one that counts keeps its open
    /// silence. It counts from its first [`HostMonitorWrite::PathDetected`] or [`HostMonitorWrite::PathMissing`]
    /// since START_VM.
    PathOpened {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// The guest's MAC address.
        mac: String,
        /// Running version, as `2.1`.
        version: String,
        /// Whether what the guest says there is authenticated.
        authenticated: bool,
        /// Since it completed, also if the path is said again or was open before the VM was known.
        #[serde(default)]
        age: Duration,
    },
    /// The guest's guardian beats on the path in place of its agent, or (false) does no more. A handshake says that, too.
    PathGuardian {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// Whether it does.
        guardian: bool,
    },
    /// Heartbeats arrive: the path counts and beats. Ends an open silence. STARTING becomes STARTED when a path
    /// beats and every host monitor of the host that is UP and whose paths are known has one that does.
    /// Ignored unless the VM is monitored.
    PathDetected {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
    },
    /// The path counts and is silent. Ignored unless the VM is monitored.
    PathMissing {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// Since its last heartbeat.
        age: Duration,
        /// With most other paths of the trunk.
        common: bool,
    },
    /// The path was silent, and an announced silence excuses it now. It is said to be missing again if the guest is
    /// still silent some time after its end.
    PathQuiet {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
    },
    /// The path is of no account any more (the VM is not monitored, or it moved).
    PathForgotten {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
    },
    /// SHDN or SUSPEND. Ignored unless the VM is monitored, and if another host monitor has written what is newer by more
    /// than [`OVERTAKEN_BY`]: a handshake, or of a SUSPEND the guest's last SUSPEND or RESUME.
    Suspended {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// Which of them.
        reason: SuspendReason,
        /// Since the message arrived.
        #[serde(default)]
        age: Duration,
    },
    /// RESUME. Ignored like a SUSPEND.
    Resumed {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// Since the message arrived.
        #[serde(default)]
        age: Duration,
    },
    /// QUIET: the guest announces a silence. It is granted what is left of its budget ([`QuietAnswer`]), counted from
    /// the arrival of the message, and takes the place of one in force. While it is in force the VM is not
    /// silent, whichever host monitor it was announced to. Ignored, and granted, unless the VM is monitored.
    QuietAsked {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// What it asks for, the host monitor's own bound applied.
        asked: Duration,
        /// Since the message arrived.
        age: Duration,
        /// Printable ASCII.
        reason: String,
    },
    /// QUIET:0: the guest ends its announced silence, unless it announced another one since.
    QuietEnded {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// Since the message arrived.
        age: Duration,
    },
    /// An announced silence ran out, by the host monitor's clock. Ignored unless the one in force has this sequence.
    QuietOver {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// Which announcement.
        sequence: i64,
        /// Since it ran out.
        age: Duration,
    },
    /// A doorbell: the bits are added to those pending, and the generation grows.
    Doorbell {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// The bits.
        bits: u32,
    },
    /// PMSG_RSP: the report of an exchange. Ignored unless the exchange waits for it, or above [`MAX_REPORT`].
    Report {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// The exchange.
        message: MessageTag,
        /// The XML, as it came. Not serialised: whoever keeps it keeps the bytes beside.
        #[serde(skip)]
        payload: Vec<u8>,
    },
    /// CLEAR_DB: the rows of this exchange are removed. Only if they belong to this VM.
    ReportCleared {
        /// Which VM.
        #[serde(with = "uuid")]
        vm: VmUuid,
        /// The exchange.
        message: MessageTag,
    },
    /// A request of the roster was carried out, or cannot be.
    RequestDone {
        /// Its tag.
        tag: i64,
    },
    /// A guest that is not a monitored VM of this host showed itself. The store corrects the kind by what is
    /// registered now; the same again is no news. At most 1024 are kept per host monitor.
    Discovered {
        /// Its UUID as it came, at most 64 bytes; empty if none.
        uuid: String,
        /// The guest's MAC address.
        mac: String,
        /// What it is.
        kind: Discovery,
    },
    /// A peer that does not speak our version, or a UUID from two MACs.
    Conflict {
        /// Its UUID as it came, at most 64 bytes; empty if none.
        uuid: String,
        /// The guest's MAC address.
        mac: String,
        /// What conflicts.
        kind: ConflictKind,
        /// A sentence.
        text: String,
    },
}

impl HostMonitorWrite {
    /// What a start says, if it is one.
    #[must_use]
    pub const fn start(&self) -> Option<&HostMonitorStart> {
        if let Self::Started(start) = self { Some(start) } else { None }
    }
}

/// What a host monitor learns from its writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The answers to [`HostMonitorWrite::QuietAsked`] and [`HostMonitorWrite::QuietEnded`], in their order.
    pub quiets: Vec<QuietAnswer>,
}

/// What one start of a host monitor wrote, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartWrites {
    /// Of which start.
    pub incarnation: String,
    /// In the order in which they are applied, with their numbers, counted from that start on.
    pub writes: Vec<(u64, HostMonitorWrite)>,
    /// They were made before the machine was started last: their ages are the least that they can be, and nothing is overtaken
    /// by them.
    pub of_earlier_boot: bool,
}

/// What conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConflictKind {
    /// No common protocol version.
    Version,
    /// One UUID on two MACs.
    Uuid,
}

/// What a host monitor says of itself at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMonitorStart {
    /// Name of its trunk adapter.
    pub trunk: String,
    /// MAC address of its trunk adapter.
    pub mac: String,
    /// Its VLAN, if configured.
    pub vlan: Option<u16>,
    /// This start.
    pub incarnation: String,
    /// Versions it accepts, as `2.0-2.1`.
    pub versions: String,
    /// Interval of its own heartbeat to the store.
    pub heartbeat_interval: Duration,
}
