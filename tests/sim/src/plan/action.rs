//! What can be done to the world, and how that is written.

use std::fmt;

use crate::names::{Hm, Vm};

macro_rules! actions {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal $(($($arg:ident: $type:ty),+))?),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant $({ $(
            #[doc = concat!("`", stringify!($arg), "`")]
            $arg: $type
        ),+ })?),+ }

        impl $name {
            fn parse(words: &[&str]) -> Option<Self> {
                let (word, rest) = words.split_first()?;
                $(if *word == $word {
                    #[allow(unused_mut)]
                    let mut rest = rest.iter();
                    let action = Self::$variant $({ $($arg: <$type as Word>::read(rest.next()?)?),+ })?;
                    return rest.next().is_none().then_some(action);
                })+
                None
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant $({ $($arg),+ })? => {
                        out.write_str($word)?;
                        $($(write!(out, " {}", Word::shown($arg))?;)+)?
                        Ok(())
                    })+
                }
            }
        }
    };
}

/// What an action may be told.
trait Word: Sized {
    fn read(text: &str) -> Option<Self>;
    fn shown(&self) -> String;
}

macro_rules! words {
    ($($type:ty),+) => {
        $(impl Word for $type {
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn shown(&self) -> String {
                self.to_string()
            }
        })+
    };
}

words!(u16, u32, u64, i64, usize);

impl Word for Vm {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Word for Hm {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

actions! {
    /// What happens to a guest. Times in milliseconds.
    GuestAction {
        /// The instance ends, as after a power cut.
        Crash = "crash",
        /// An instance is started, if there is none.
        Boot = "boot",
        /// It does not run, although it exists.
        Freeze = "freeze",
        /// It does again.
        Thaw = "thaw",
        /// The guest is shut down: it says so, and ends.
        Shutdown = "shutdown",
        /// The agent is stopped on purpose.
        AgentStop = "agent-stop",
        /// The agent is killed, and started again 2 s later.
        AgentKill = "agent-kill",
        /// The agent hangs; its guardian has it restarted.
        AgentHang = "agent-hang",
        /// The agent is killed, and nobody starts it.
        AgentBreak = "agent-break",
        /// The agent is started, if it does not run.
        AgentStart = "agent-start",
        /// Monitoring is suspended by the administrator.
        Suspend = "suspend",
        /// And resumed.
        Resume = "resume",
        /// A silence is announced; zero ends one.
        Quiet = "quiet" (ms: u32),
        /// An application (from 1) fails, and cannot be restarted.
        AppFail = "app-fail" (app: usize),
        /// It can be started again.
        AppMend = "app-mend" (app: usize),
        /// It moves to another host (from 1), and does not run meanwhile.
        Migrate = "migrate" (host: usize, ms: u64),
        /// From its next boot on it says that it is this VM: a copy that kept the UUID.
        Pretend = "pretend" (vm: Vm),
        /// A snapshot is taken of it, if it is well; one that was taken before is forgotten.
        Snapshot = "snapshot",
        /// It is as it was at its snapshot, with its memory, its disk and its clock; it runs, whatever it did until now.
        Revert = "revert",
        /// Its agent has no key any more.
        KeyNone = "key-none",
        /// It has one that is nobody's.
        KeyWrong = "key-wrong",
        /// It has the key of this VM.
        KeyOf = "key-of" (vm: Vm),
        /// It has its own again.
        KeyOwn = "key-own",
        /// The path to this monitor is cut in both directions.
        PathCut = "path-cut" (hm: Hm),
        /// And mended.
        PathMend = "path-mend" (hm: Hm),
        /// Its heartbeat interval is set.
        Interval = "interval" (ms: u32),
        /// Its failure detection time is set.
        DetectionTime = "detection-time" (ms: u32),
    }
}

actions! {
    /// What happens to a trunk.
    TrunkAction {
        /// So many frames of a thousand are lost.
        Loss = "loss" (permille: u16),
        /// So many are delivered twice.
        Duplicate = "duplicate" (permille: u16),
        /// So many are damaged.
        Corrupt = "corrupt" (permille: u16),
        /// Frames take between these times, so they overtake each other.
        Delay = "delay" (from_ms: u64, to_ms: u64),
        /// Nothing reaches the monitor.
        CutUp = "cut-up",
        /// Nothing reaches the guests.
        CutDown = "cut-down",
        /// Neither.
        Cut = "cut",
        /// The monitor's adapter is down.
        Down = "down",
        /// All of that is over.
        Mend = "mend",
    }
}

actions! {
    /// What happens to a host monitor.
    MonitorAction {
        /// It is killed, and stays so.
        Kill = "kill",
        /// It is stopped on purpose.
        Stop = "stop",
        /// It is started, if it does not run.
        Start = "start",
        /// It is not scheduled.
        Stall = "stall" (ms: u64),
        /// It cannot reach the store.
        StoreCut = "store-cut",
        /// It can again.
        StoreJoin = "store-join",
    }
}

actions! {
    /// What happens to the store.
    StoreAction {
        /// Nobody can connect.
        Refuses = "refuses",
        /// It does not answer.
        Hangs = "hangs",
        /// It is slow.
        Slow = "slow",
        /// It commits, and so many answers of a thousand are lost.
        LosesAnswers = "loses-answers" (permille: u16),
        /// All of that is over.
        Mend = "mend",
        /// Its wall clock steps.
        ClockStep = "clock-step" (ms: i64),
    }
}

actions! {
    /// What happens to the controller.
    ControllerAction {
        /// It is killed, and stays so.
        Kill = "kill",
        /// It is started, if it does not run.
        Start = "start",
        /// It is not scheduled.
        Stall = "stall" (ms: u64),
        /// It cannot reach the store.
        StoreCut = "store-cut",
        /// It can again.
        StoreJoin = "store-join",
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `guest vm1 freeze`
    Guest(Vm, GuestAction),
    /// `trunk h1a loss 100`
    Trunk(Hm, TrunkAction),
    /// `monitor h1a kill`
    Monitor(Hm, MonitorAction),
    /// `store refuses`
    Store(StoreAction),
    /// `controller kill`
    Controller(ControllerAction),
    /// `heal`: every fault of the infrastructure is over, and every guest boots, thaws and resumes.
    Heal,
}

impl Action {
    /// From its words.
    #[must_use]
    pub fn parse(words: &[&str]) -> Option<Self> {
        Some(match words {
            ["guest", vm, rest @ ..] => Self::Guest(Vm::parse(vm)?, GuestAction::parse(rest)?),
            ["trunk", hm, rest @ ..] => Self::Trunk(Hm::parse(hm)?, TrunkAction::parse(rest)?),
            ["monitor", hm, rest @ ..] => Self::Monitor(Hm::parse(hm)?, MonitorAction::parse(rest)?),
            ["store", rest @ ..] => Self::Store(StoreAction::parse(rest)?),
            ["controller", rest @ ..] => Self::Controller(ControllerAction::parse(rest)?),
            ["heal"] => Self::Heal,
            _ => return None,
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(vm, action) => write!(out, "guest {vm} {action}"),
            Self::Trunk(hm, action) => write!(out, "trunk {hm} {action}"),
            Self::Monitor(hm, action) => write!(out, "monitor {hm} {action}"),
            Self::Store(action) => write!(out, "store {action}"),
            Self::Controller(action) => write!(out, "controller {action}"),
            Self::Heal => out.write_str("heal"),
        }
    }
}
