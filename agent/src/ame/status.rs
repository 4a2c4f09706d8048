//! States, colours, results.

use std::fmt;

/// State of an application, with the number and colour that the log and the report show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Suspended, or the engine is not running.
    NotMonitored = 0,
    /// No result yet.
    Unset = 1,
    /// The monitor script answered 0.
    Normal = 2,
    /// Fewer than `monitor_failure_threshold` successive failures.
    Failing = 3,
    /// Being stopped.
    ToStop = 4,
    /// `stop_max_failures` reached; final.
    NotStoppable = 5,
    /// Being started.
    ToStart = 6,
    /// `start_max_failures` reached; final.
    NotStartable = 7,
    /// A script is missing or not executable; final.
    Abnormal = 8,
    /// `max_restart` reached; final.
    Failure = 9,
}

impl Status {
    /// Every state, by number.
    pub const ALL: [Self; 10] = [
        Self::NotMonitored,
        Self::Unset,
        Self::Normal,
        Self::Failing,
        Self::ToStop,
        Self::NotStoppable,
        Self::ToStart,
        Self::NotStartable,
        Self::Abnormal,
        Self::Failure,
    ];

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotMonitored => "NOT_MONITORED",
            Self::Unset => "UNSET",
            Self::Normal => "NORMAL",
            Self::Failing => "FAILING",
            Self::ToStop => "TO_STOP",
            Self::NotStoppable => "NOT_STOPPABLE",
            Self::ToStart => "TO_START",
            Self::NotStartable => "NOT_STARTABLE",
            Self::Abnormal => "ABNORMAL",
            Self::Failure => "FAILURE",
        }
    }

    /// The colour.
    #[must_use]
    pub const fn colour(self) -> Colour {
        match self {
            Self::NotMonitored => Colour::Gray,
            Self::Normal => Colour::Green,
            Self::Unset | Self::Failing | Self::ToStop | Self::ToStart => Colour::Yellow,
            Self::NotStoppable | Self::NotStartable | Self::Abnormal | Self::Failure => Colour::Red,
        }
    }

    /// Whether only a repair ends it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self.colour(), Colour::Red)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// How an application looks from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Nothing is known.
    Gray,
    /// It works.
    Green,
    /// Being judged or repaired.
    Yellow,
    /// It does not work, and the agent cannot help it.
    Red,
}

impl fmt::Display for Colour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Gray => "GRAY",
            Self::Green => "GREEN",
            Self::Yellow => "YELLOW",
            Self::Red => "RED",
        })
    }
}

/// Result of a script: NORMAL 0, ABNORM 1, TIMOUT 2, NOTSET 99.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunResult {
    /// It ended with 0.
    Normal = 0,
    /// It ended otherwise, or could not be started.
    Abnormal = 1,
    /// It was killed.
    TimedOut = 2,
    /// None has ended yet.
    #[default]
    NotSet = 99,
}

impl fmt::Display for RunResult {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Normal => "NORMAL",
            Self::Abnormal => "ABNORM",
            Self::TimedOut => "TIMOUT",
            Self::NotSet => "NOTSET",
        })
    }
}

/// The scripts of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScriptKind {
    /// Ends with 0 if the application works.
    Monitor,
    /// Stops it.
    Stop,
    /// Starts it.
    Start,
}

impl fmt::Display for ScriptKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Monitor => "monitor",
            Self::Stop => "stop",
            Self::Start => "start",
        })
    }
}

/// How a run ended, as the runner saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended by itself with this code.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// It was killed because the engine ordered so, or would not die.
    Timeout,
    /// The script, its interpreter or its user is missing, or it is not executable.
    CouldNotStart,
    /// The system had no process, memory or descriptor for it: a failure, but not the script's.
    NoResources,
}

impl Outcome {
    /// What it counts as.
    #[must_use]
    pub const fn result(self) -> RunResult {
        match self {
            Self::Exit(0) => RunResult::Normal,
            Self::Exit(_) | Self::Signal(_) | Self::CouldNotStart | Self::NoResources => RunResult::Abnormal,
            Self::Timeout => RunResult::TimedOut,
        }
    }
}
