//! What can be done to a cluster. Written as the simulator's plans are, so that its checkers understand what was done, and
//! so that a schedule can be run there too.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A host monitor: its host and its trunk, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hm {
    /// Which host.
    pub host: usize,
    /// Which of the host's trunks.
    pub trunk: usize,
}

impl fmt::Display for Hm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "h{}{}", self.host + 1, char::from(b'a' + u8::try_from(self.trunk).unwrap_or(25)))
    }
}

/// What is done to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToGuest {
    /// Its first process is killed, and everything in it with that.
    Crash,
    /// It is started again.
    Boot,
    /// Every process of it is stopped where it stands.
    Freeze,
    /// And goes on.
    Thaw,
    /// Its agent is killed; its init starts it again after 2 s.
    AgentKill,
    /// Its agent is killed, and nobody starts it.
    AgentBreak,
    /// Its agent stands still.
    AgentHang,
    /// Its agent is stopped as an administrator does.
    AgentStop,
    /// Its agent is started; one that hangs is killed first.
    AgentStart,
    /// Its administrator suspends monitoring.
    Suspend,
    /// And resumes it.
    Resume,
    /// It announces a silence of so many milliseconds; 0 ends one.
    Quiet(u32),
    /// Its application fails, whatever is tried.
    AppFail,
    /// Its application can run again.
    AppMend,
    /// Nothing passes between it and this host monitor.
    PathCut(Hm),
    /// And passes again.
    PathMend(Hm),
    /// Its VMFDT is set, in milliseconds.
    DetectionTime(u32),
}

/// What is done to a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToTrunk {
    /// So many frames of a thousand are lost.
    Loss(u16),
    /// Nothing reaches the host monitor.
    CutUp,
    /// Nothing reaches the guests.
    CutDown,
    /// Neither.
    Cut,
    /// The host monitor's adapter is down.
    Down,
    /// All of that is over.
    Mend,
}

/// What is done to a host monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToMonitor {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Stop,
    /// It is started.
    Start,
    /// SIGSTOP, and SIGCONT after so many milliseconds.
    Stall(u64),
    /// It cannot reach the store.
    StoreCut,
    /// It can again.
    StoreJoin,
}

/// What is done to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToStore {
    /// The server is killed.
    Refuses,
    /// The server is stopped where it stands.
    Hangs,
    /// It runs again.
    Mend,
}

/// What is done to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToController {
    /// SIGKILL.
    Kill,
    /// It is started.
    Start,
    /// SIGSTOP, and SIGCONT after so many milliseconds.
    Stall(u64),
}

/// One thing done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// To a guest, from 0.
    Guest(usize, ToGuest),
    /// To a trunk.
    Trunk(Hm, ToTrunk),
    /// To a host monitor.
    Monitor(Hm, ToMonitor),
    /// To the store.
    Store(ToStore),
    /// To the controller.
    Controller(ToController),
    /// Everything is made well.
    Heal,
}

impl fmt::Display for Deed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(vm, what) => write!(out, "guest vm{} {what}", vm + 1),
            Self::Trunk(hm, what) => write!(out, "trunk {hm} {what}"),
            Self::Monitor(hm, what) => write!(out, "monitor {hm} {what}"),
            Self::Store(what) => write!(out, "store {what}"),
            Self::Controller(what) => write!(out, "controller {what}"),
            Self::Heal => out.write_str("heal"),
        }
    }
}

impl fmt::Display for ToGuest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash => out.write_str("crash"),
            Self::Boot => out.write_str("boot"),
            Self::Freeze => out.write_str("freeze"),
            Self::Thaw => out.write_str("thaw"),
            Self::AgentKill => out.write_str("agent-kill"),
            Self::AgentBreak => out.write_str("agent-break"),
            Self::AgentHang => out.write_str("agent-hang"),
            Self::AgentStop => out.write_str("agent-stop"),
            Self::AgentStart => out.write_str("agent-start"),
            Self::Suspend => out.write_str("suspend"),
            Self::Resume => out.write_str("resume"),
            Self::Quiet(ms) => write!(out, "quiet {ms}"),
            Self::AppFail => out.write_str("app-fail 1"),
            Self::AppMend => out.write_str("app-mend 1"),
            Self::PathCut(hm) => write!(out, "path-cut {hm}"),
            Self::PathMend(hm) => write!(out, "path-mend {hm}"),
            Self::DetectionTime(ms) => write!(out, "detection-time {ms}"),
        }
    }
}

impl fmt::Display for ToTrunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(permille) => write!(out, "loss {permille}"),
            Self::CutUp => out.write_str("cut-up"),
            Self::CutDown => out.write_str("cut-down"),
            Self::Cut => out.write_str("cut"),
            Self::Down => out.write_str("down"),
            Self::Mend => out.write_str("mend"),
        }
    }
}

impl fmt::Display for ToMonitor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => out.write_str("kill"),
            Self::Stop => out.write_str("stop"),
            Self::Start => out.write_str("start"),
            Self::Stall(ms) => write!(out, "stall {ms}"),
            Self::StoreCut => out.write_str("store-cut"),
            Self::StoreJoin => out.write_str("store-join"),
        }
    }
}

impl fmt::Display for ToStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Refuses => "refuses",
            Self::Hangs => "hangs",
            Self::Mend => "mend",
        })
    }
}

impl fmt::Display for ToController {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => out.write_str("kill"),
            Self::Start => out.write_str("start"),
            Self::Stall(ms) => write!(out, "stall {ms}"),
        }
    }
}
