//! What was seen of a host.

use std::time::Duration;

use crate::status::Status;
use crate::trunk_setup::plan::TrunkPlan;
use crate::trunk_setup::steps::Observed;

/// Everything that was looked at. `None` anywhere: it was not, and nothing is said of it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Effective capabilities of whoever looks, as the kernel numbers them.
    pub capabilities: u64,
    /// The wall clock.
    pub clock: Option<ClockFacts>,
    /// The health store.
    pub store: Option<StoreFacts>,
    /// The keys of VMs.
    pub keys: Option<KeyFacts>,
    /// Frames that the kernel lost between adapters and protocols while it was looked at.
    pub backlog_drops: u64,
    /// Tables of rules that no trunk has.
    pub orphan_tables: Vec<String>,
    /// The trunks.
    pub trunks: Vec<TrunkFacts>,
}

/// The wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockFacts {
    /// Something keeps it in step; `None`: the kernel does not say.
    pub synchronised: Option<bool>,
    /// How much it ran ahead of (or behind) the monotonic clock while it was looked at, in microseconds.
    pub stepped_us: i64,
    /// How far the kernel's stamps on frames are from it, in microseconds; `None`: no frame was seen.
    pub stamps_off_us: Option<i64>,
}

/// The health store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFacts {
    /// It answers.
    Answers {
        /// How far its clock is ahead of ours, in microseconds; what the question itself took is taken off.
        clock_off_us: i64,
    },
    /// There is no such file yet.
    Missing,
    /// Its schema is not what this version needs.
    Schema(String),
    /// It cannot be used.
    Fails(String),
}

/// The keys of VMs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFacts {
    /// Their directory.
    pub directory: String,
    /// The directory is not there.
    pub missing: bool,
    /// No path is let in without a key.
    pub required: bool,
    /// What is wrong with the directory, or with files in it.
    pub problems: Vec<String>,
}

/// A trunk.
#[derive(Clone, Debug, Default)]
pub struct TrunkFacts {
    /// Its name.
    pub name: String,
    /// What it is to be, if `hmmgr trunk create` made it.
    pub plan: Option<TrunkPlan>,
    /// What is there of it, or why that cannot be seen.
    pub observed: Option<Result<Observed, String>>,
    /// The adapter that the monitor listens on.
    pub monitor_adapter: String,
    /// The adapter that guests hang on, if it is here.
    pub guests_adapter: Option<String>,
    /// What became of the frames that were sent; error: why none were.
    pub probe: Option<Result<Probe, String>>,
    /// Frames that the monitor's adapter, or the one that it stands on, lost while it was looked at.
    pub lost_frames: Option<u64>,
    /// The host monitor.
    pub daemon: Option<DaemonFacts>,
    /// EtherType and VLAN in the settings of this trunk's host monitor, if they were found.
    pub settings: Option<(u16, Option<u16>)>,
    /// Whether the settings want priority, and locked memory.
    pub wants: (bool, bool),
    /// The settings' receive buffer, in bytes.
    pub receive_buffer_bytes: usize,
}

/// The host monitor of a trunk.
#[derive(Clone, Debug)]
pub enum DaemonFacts {
    /// It answers.
    Answers {
        /// What it says.
        status: Box<Status>,
        /// Its effective capabilities, if they could be read.
        capabilities: Option<u64>,
    },
    /// None runs.
    Missing,
    /// It has a socket and does not answer.
    Silent(String),
}

/// What became of the frames that were sent from two ports, as guests have them, to each other and to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Frames that were sent.
    pub sent: usize,
    /// Those of them that were seen to leave by the trunk.
    pub left: usize,
    /// Those that came back.
    pub reflected: Vec<Reflected>,
    /// How long was waited for them.
    pub waited: Duration,
}

/// Frames that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflected {
    /// To the other port, and addressed to it.
    Unicast,
    /// To the other port, and addressed to all.
    Broadcast,
}

/// Names of capabilities that matter here, with their numbers in linux/capability.h.
const CAPABILITIES: [(u32, &str); 6] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (14, "CAP_IPC_LOCK"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (23, "CAP_SYS_NICE"),
];

/// Whether a set holds the capability of a name.
#[must_use]
pub fn has_capability(set: u64, name: &str) -> bool {
    let number = CAPABILITIES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    number.is_some_and(|number| set & (1 << number) != 0)
}

/// Those of the wanted that a set lacks.
#[must_use]
pub fn capability_names(set: u64, wanted: &[&'static str]) -> Vec<&'static str> {
    wanted.iter().filter(|name| !has_capability(set, name)).copied().collect()
}
