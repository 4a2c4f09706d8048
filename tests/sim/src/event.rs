//! What happens in the world, as values: the trace is made of these, and checkers judge from nothing else. So the same
//! checkers can judge what real daemons recorded.

use std::fmt;
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use crate::names::{Hm, Vm};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The world was told to do this.
    Action(String),
    /// Infrastructure faults in force, of whatever kind; 0: nothing is wrong but what guests do themselves.
    Faults(usize),
    /// A moment passed; for checkers that wait.
    Tick,

    /// The hypervisor started an instance of this VM on a host (from 0).
    InstanceStarted(Vm, usize),
    /// The hypervisor ended the instance of this VM on a host.
    InstanceStopped(Vm, usize),
    /// The guest does not run, although its instance exists.
    Frozen(Vm),
    /// It does again.
    Thawed(Vm),
    /// It is as it was when a snapshot of it was taken.
    Reverted(Vm),
    /// A recovery of this VM was begun by a controller. No controller does that yet: the place is for those that will.
    RecoveryStarted(Vm),

    /// The agent runs.
    AgentUp(Vm),
    /// Where host monitors demand keys: an agent that starts, or whose key is changed, says that it is this VM, and has this
    /// key.
    Credentials {
        /// Whose agent.
        guest: Vm,
        /// Who it says that it is.
        claims: Vm,
        /// What proves it, or does not.
        key: Held,
    },
    /// It does not, or hangs.
    AgentDown(Vm, &'static str),
    /// It logs this.
    Agent(Vm, String),
    /// The status of an application.
    App(Vm, String),
    /// The guest's administrator or the guest itself announces something.
    Said(Vm, Said),
    /// A silence was granted, for so much longer.
    QuietGranted(Vm, Duration),
    /// A host monitor acknowledged the suspension or its end; and whether the store says at this moment that the administrator
    /// has suspended the VM.
    SuspensionHeard {
        /// Which VM.
        vm: Vm,
        /// What was said last.
        suspended: bool,
        /// What the store says.
        stored: bool,
        /// If not that: whether the spool of a host monitor says it last.
        kept: bool,
    },

    /// The monitor runs.
    MonitorUp(Hm),
    /// It does not.
    MonitorDown(Hm, &'static str),
    /// It was not scheduled for this long.
    Stalled(Hm, Duration),
    /// An intact heartbeat of this VM, that arrived at this time, reached a running monitor.
    Beat {
        /// Whose.
        vm: Vm,
        /// Where.
        hm: Hm,
        /// When it arrived.
        arrived: Instant,
        /// Sent by the guardian as such.
        guardian: bool,
    },
    /// An intact heartbeat arrived and was dropped, because the monitor did not read.
    BeatDropped(Vm, Hm),
    /// A path was opened.
    Opened(Vm, Hm),
    /// A path was closed.
    PathClosed(Vm, Hm, String),
    /// The monitor finds a path beating.
    Detected(Vm, Hm),
    /// The monitor finds a path missing.
    Missing {
        /// Whose.
        vm: Vm,
        /// Where.
        hm: Hm,
        /// Since its last heartbeat.
        age: Duration,
        /// With most of the trunk.
        common: bool,
    },
    /// The monitor cannot hear its trunk (true), or can again.
    Blind(Hm, bool),
    /// It logs this.
    Monitor(Hm, String),
    /// It wants this written: the kind and what tells it from others, as `NODE_EVENT STORE_BACK`.
    Written(Hm, u64, String),
    /// It knows that its writes up to this number are committed.
    Committed(Hm, u64),
    /// It knows that its writes up to this number are committed or in its spool's file.
    Kept(Hm, u64),
    /// The store did not take its writes.
    StoreFailed(Hm, String),

    /// The controller runs.
    ControllerUp,
    /// It does not.
    ControllerDown(&'static str),
    /// The store was slow: what follows of it bears the time at which its turn began, and was said so much later.
    SaidLater(Duration),
    /// It recorded an event; true: a new one.
    Told {
        /// `VM_FAILURE_DETECTED`.
        name: String,
        /// What it is about.
        incident: String,
        /// The VM, if it is about one.
        vm: Option<Vm>,
    },
    /// It closed an incident.
    Closed(String),
    /// It says this of a VM.
    Phase(Vm, String),
    /// The store did not answer it.
    ControllerFailed(String),

    /// At the end: a VM by the store and by the truth.
    FinalVm(FinalVm),
    /// At the end: a host monitor by the store.
    FinalMonitor {
        /// Which.
        hm: Hm,
        /// Whether it really runs.
        runs: bool,
        /// Whether the store calls it responsive, GLOBAL, UP and hearing.
        well: bool,
        /// Writes that wait.
        pending: usize,
        /// Bytes in its spool.
        spooled: usize,
    },
    /// At the end: node events of this kind in the store.
    FinalNodeEvents(Hm, String, u64),
    /// At the end: rows that wait for somebody, by table.
    FinalRows(&'static str, u64),
}

/// The key that an agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// None.
    None,
    /// One that is nobody's.
    Wrong,
    /// That of this VM.
    Of(Vm),
}

/// What was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Monitoring is suspended.
    Suspend,
    /// And goes on.
    Resume,
    /// A silence of this length.
    Quiet(Duration),
    /// The agent or the guest is being stopped on purpose.
    Shutdown,
}

/// See [`Event::FinalVm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalVm {
    /// Which.
    pub vm: Vm,
    /// Whether its guest runs, with an agent that runs.
    pub runs: bool,
    /// Whether the administrator said last that monitoring is suspended.
    pub suspended: bool,
    /// The store's state.
    pub state: String,
    /// What the controller says.
    pub phase: String,
    /// Known paths that beat, and known ones that miss.
    pub beating: usize,
    /// See above.
    pub missing: usize,
    /// Whether an incident of its silence is open.
    pub failed: bool,
    /// Applications by the agent, `name=STATUS` in the agent's order, and by the store.
    pub apps: Vec<String>,
    /// See above.
    pub stored_apps: Vec<String>,
}

impl Event {
    /// Whether it happens all the time, and says little to a reader.
    #[must_use]
    pub const fn is_detail(&self) -> bool {
        matches!(
            self,
            Self::Tick | Self::Beat { .. } | Self::Written(..) | Self::Committed(..) | Self::Kept(..)
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(text) => write!(out, "world    {text}"),
            Self::Faults(count) => write!(out, "world    {count} faults in force"),
            Self::Tick => write!(out, "world    tick"),
            Self::InstanceStarted(vm, host) => write!(out, "instance {vm} started on host {}", host + 1),
            Self::InstanceStopped(vm, host) => write!(out, "instance {vm} ended on host {}", host + 1),
            Self::Frozen(vm) => write!(out, "instance {vm} does not run"),
            Self::Thawed(vm) => write!(out, "instance {vm} runs again"),
            Self::Reverted(vm) => write!(out, "instance {vm} is as it was at its snapshot"),
            Self::RecoveryStarted(vm) => write!(out, "recovery {vm} begins"),
            Self::AgentUp(vm) => write!(out, "agent    {vm} started"),
            Self::Credentials { guest, claims, key } => {
                write!(out, "agent    {guest} says that it is {claims}, with {key}")
            }
            Self::AgentDown(vm, why) => write!(out, "agent    {vm} {why}"),
            Self::Agent(vm, text) => write!(out, "agent    {vm} {text}"),
            Self::App(vm, text) => write!(out, "agent    {vm} application {text}"),
            Self::Said(vm, said) => write!(out, "agent    {vm} says {said}"),
            Self::QuietGranted(vm, left) => write!(out, "agent    {vm} is granted {} ms", left.as_millis()),
            Self::SuspensionHeard { vm, suspended, stored, kept } => {
                let known = known(*stored, *kept);
                write!(out, "agent    {vm} is heard: suspended {suspended}, and {known}")
            }
            Self::MonitorUp(hm) => write!(out, "monitor  {hm} started"),
            Self::MonitorDown(hm, why) => write!(out, "monitor  {hm} {why}"),
            Self::Stalled(hm, time) => {
                write!(out, "monitor  {hm} was not scheduled for {} ms", time.as_millis())
            }
            Self::Beat { vm, hm, guardian, .. } => {
                let whose = if *guardian { "'s guardian" } else { "" };
                write!(out, "monitor  {hm} gets a heartbeat of {vm}{whose}")
            }
            Self::BeatDropped(vm, hm) => write!(out, "monitor  {hm} drops a heartbeat of {vm} unread"),
            Self::Opened(vm, hm) => write!(out, "monitor  {hm} path to {vm} is open"),
            Self::PathClosed(vm, hm, why) => write!(out, "monitor  {hm} path to {vm} is closed: {why}"),
            Self::Detected(vm, hm) => write!(out, "monitor  {hm} {vm} beats"),
            Self::Missing { vm, hm, age, common } => {
                let common = if *common { ", as most do" } else { "" };
                write!(out, "monitor  {hm} {vm} misses for {} ms{common}", age.as_millis())
            }
            Self::Blind(hm, true) => write!(out, "monitor  {hm} is blind"),
            Self::Blind(hm, false) => write!(out, "monitor  {hm} hears again"),
            Self::Monitor(hm, text) => write!(out, "monitor  {hm} {text}"),
            Self::Written(hm, number, text) => write!(out, "monitor  {hm} write {number}: {text}"),
            Self::Committed(hm, number) => write!(out, "monitor  {hm} committed up to {number}"),
            Self::Kept(hm, number) => write!(out, "monitor  {hm} kept up to {number}"),
            Self::StoreFailed(hm, text) => write!(out, "monitor  {hm} store: {text}"),
            Self::ControllerUp => write!(out, "control  started"),
            Self::ControllerDown(why) => write!(out, "control  {why}"),
            Self::SaidLater(after) => write!(out, "control  says {} ms later:", after.as_millis()),
            Self::Told { name, incident, vm } => {
                let vm = vm.map(|vm| format!(" {vm}")).unwrap_or_default();
                write!(out, "control  {name}{vm} [{}]", incident.split(':').next().unwrap_or_default())
            }
            Self::Closed(incident) => write!(out, "control  closed {incident}"),
            Self::Phase(vm, text) => write!(out, "control  {vm}: {text}"),
            Self::ControllerFailed(text) => write!(out, "control  store: {text}"),
            Self::FinalVm(vm) => write!(out, "final    {vm}"),
            Self::FinalMonitor { hm, runs, well, pending, spooled } => {
                let spooled = if *spooled > 0 { format!(" spooled {spooled}") } else { String::new() };
                write!(out, "final    {hm} runs {runs} well {well} pending {pending}{spooled}")
            }
            Self::FinalNodeEvents(hm, kind, count) => {
                write!(out, "final    {hm} node events {kind}: {count}")
            }
            Self::FinalRows(table, count) => write!(out, "final    rows in {table}: {count}"),
        }
    }
}

/// Where what somebody is told to be known is known.
const fn known(stored: bool, kept: bool) -> &'static str {
    match (kept, stored) {
        (true, _) => "that is kept for the store",
        (false, true) => "the store says true",
        (false, false) => "the store says false",
    }
}

impl fmt::Display for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(out, "no key"),
            Self::Wrong => write!(out, "a wrong key"),
            Self::Of(vm) => write!(out, "the key of {vm}"),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspend => write!(out, "suspend"),
            Self::Resume => write!(out, "resume"),
            Self::Quiet(asked) => write!(out, "quiet for {} ms", asked.as_millis()),
            Self::Shutdown => write!(out, "shutdown"),
        }
    }
}

impl fmt::Display for FinalVm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} runs {} suspended {} state {} failed {} paths {}/{} apps {} stored {} phase {:?}",
            self.vm,
            self.runs,
            self.suspended,
            self.state,
            self.failed,
            self.beating,
            self.beating + self.missing,
            self.apps.join(","),
            self.stored_apps.join(","),
            self.phase
        )
    }
}
