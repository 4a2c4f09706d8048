//! What the injector knows to be true, and what it found in the store behind the product's back: lines of JSON in a file, each
//! with the machine's monotonic clock, which the daemons' records have too.

use serde::{Deserialize, Serialize};

use crate::deed::Hm;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// CLOCK_MONOTONIC, in nanoseconds.
    pub at: u64,
    /// What is so.
    pub fact: Fact,
}

/// Something true. VMs and hosts count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// This is being done: a deed's text.
    Action(String),
    /// So many faults of the infrastructure are in force.
    Faults(usize),
    /// A guest was started on a host.
    Started(usize, usize),
    /// A guest ended on a host.
    Stopped(usize, usize),
    /// A guest stands still.
    Frozen(usize),
    /// And goes on.
    Thawed(usize),
    /// An agent runs.
    AgentUp(usize),
    /// It does not, or hangs: why.
    AgentDown(usize, String),
    /// Something was announced in a guest.
    Said(usize, Said),
    /// A silence was granted, for so many milliseconds from now.
    QuietGranted(usize, u64),
    /// A guest was told that a host monitor knows of its suspension, or of its end.
    SuspensionHeard {
        /// Which VM.
        vm: usize,
        /// What was said.
        suspended: bool,
        /// What the store says.
        stored: bool,
        /// If not that: whether a host monitor has writes that the store does not have yet.
        kept: bool,
    },
    /// A host monitor runs.
    MonitorUp(Hm),
    /// It does not, or stands still: why.
    MonitorDown(Hm, String),
    /// The controller runs.
    ControllerUp,
    /// It does not: why.
    ControllerDown(String),
    /// The controller recorded an event: its name, its incident, and the VM, if it is about one. As the store has it; for a
    /// controller that is not recorded.
    Told(String, String, Option<usize>),
    /// A round begins, from 1.
    Round(u64),
    /// The injector itself was not scheduled for so many milliseconds: the machine is loaded.
    Late(u64),
    /// The store's state at a round's end: a VM.
    FinalVm(FinalVm),
    /// A host monitor.
    FinalMonitor(FinalMonitor),
    /// Node events of a kind that a host monitor has.
    FinalNodeEvents(Hm, String, u64),
    /// Rows that wait for somebody, by table.
    FinalRows(String, u64),
}

/// What was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Monitoring is suspended.
    Suspend,
    /// And goes on.
    Resume,
    /// A silence of so many milliseconds.
    Quiet(u32),
    /// The agent is being stopped on purpose.
    Shutdown,
}

/// A VM by the store and by the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalVm {
    /// Which.
    pub vm: usize,
    /// Whether its guest runs, with an agent that runs.
    pub runs: bool,
    /// Whether its administrator said last that monitoring is suspended.
    pub suspended: bool,
    /// The store's state.
    pub state: String,
    /// What the controller says.
    pub phase: String,
    /// Known paths that beat.
    pub beating: usize,
    /// Known paths that miss.
    pub missing: usize,
    /// Whether an incident of its silence is open.
    pub failed: bool,
    /// Applications as `name=STATUS` in the agent's order.
    pub apps: Vec<String>,
    /// The same by the store.
    pub stored_apps: Vec<String>,
}

/// A host monitor by the store and by the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalMonitor {
    /// Which.
    pub hm: Hm,
    /// Whether it really runs.
    pub runs: bool,
    /// Whether the store calls it UP, GLOBAL and hearing.
    pub well: bool,
    /// Writes that wait in its memory.
    pub pending: usize,
    /// Writes that wait in its spool.
    pub spooled: usize,
}

/// Who takes part, for the judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cast {
    /// Of every random choice.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// Trunks of each.
    pub trunks: usize,
    /// UUIDs of the VMs, in their order.
    pub vms: Vec<String>,
    /// Host monitors with their UUIDs.
    pub monitors: Vec<(Hm, String)>,
}
