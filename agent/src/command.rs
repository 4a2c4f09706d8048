//! What `vmmgr` and the daemon say to each other over the command socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A request. Only root (or the daemon's own user) may ask for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The daemon and its paths.
    Status,
    /// The state of every application.
    Applications,
    /// Load the configuration file. A change.
    Sync,
    /// Announce a silence to the host monitors. A change. Answered with [`Reply::Told`].
    Quiet {
        /// For so many milliseconds; 0: the announced silence is over.
        ms: u32,
        /// Why; empty when it is over.
        reason: String,
    },
    /// Suspend (true) or resume monitoring of this VM. A change. Answered with [`Reply::Told`].
    Suspension {
        /// Which of them.
        suspend: bool,
    },
    /// What the host monitors made of what they were told last: waits a moment for those that did not answer yet.
    Told {
        /// Of the silence; else of the suspension.
        quiet: bool,
    },
    /// Read the key file anew, and the mode of authentication. A change.
    LoadKeys,
    /// Start an application that does not run, as its dependencies allow. It ends a final state. A change. Answered with
    /// [`Reply::Ordered`] or [`Reply::NotDone`].
    StartApplication {
        /// Which.
        name: String,
    },
    /// Stop an application, and its children before it; it stays stopped until it is started or resumed, or the guest
    /// boots. A change. Answered with [`Reply::Ordered`] or [`Reply::NotDone`].
    StopApplication {
        /// Which.
        name: String,
    },
    /// Monitor an application anew that is in a final state, or was stopped by hand: what `resume app` asks for when the
    /// file says `monitored=1` and is loaded. A change. Answered with [`Reply::Ordered`] or [`Reply::NotDone`].
    ResumeApplication {
        /// Which.
        name: String,
    },
}

impl Request {
    /// Whether it changes anything.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        match self {
            Self::Status | Self::Applications | Self::Told { .. } => false,
            Self::Sync
            | Self::LoadKeys
            | Self::Quiet { .. }
            | Self::Suspension { .. }
            | Self::StartApplication { .. }
            | Self::StopApplication { .. }
            | Self::ResumeApplication { .. } => true,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<DaemonStatus>),
    /// To [`Request::Applications`].
    Applications {
        /// In the order of the configuration.
        applications: Vec<LiveApplication>,
    },
    /// To [`Request::Sync`]: loaded.
    Synced {
        /// How many applications there are now.
        applications: usize,
    },
    /// To [`Request::LoadKeys`]: loaded.
    KeysLoaded {
        /// The mode of authentication.
        mode: String,
        /// Ids of the keys; the last is used.
        ids: Vec<u8>,
    },
    /// To [`Request::Sync`] and [`Request::LoadKeys`]: the file is not valid, the daemon keeps what it had.
    NotLoaded {
        /// What is wrong, with its place.
        problem: String,
    },
    /// What the host monitors made of it so far.
    Told {
        /// Whether no answer is waited for any more.
        settled: bool,
        /// One for each path that was open.
        paths: Vec<LiveTold>,
    },
    /// To [`Request::StartApplication`], [`Request::StopApplication`] and [`Request::ResumeApplication`]: the engine
    /// does it at its next round, or when what it waits for is so. [`Request::Applications`] tells how far it is.
    Ordered {
        /// Names of the applications that have to be NORMAL, or stopped, before.
        waits_for: Vec<String>,
    },
    /// To [`Request::Quiet`], [`Request::Suspension`] and the orders for one application: nothing was done.
    NotDone {
        /// Why.
        problem: String,
    },
    /// The caller may not do this.
    NotAllowed,
}

/// What one host monitor made of what it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveTold {
    /// Name of the adapter.
    pub adapter: String,
    /// The host monitor's UUID.
    pub host_monitor: Option<String>,
    /// `waiting`, `acknowledged`, `granted`, `too_old`, `lost`.
    pub answer: String,
    /// Silence that it granted; 0: refused, or ended.
    pub granted_ms: Option<u64>,
}

/// An announced silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveQuiet {
    /// What was asked for.
    pub asked_ms: u64,
    /// How much longer: by what was granted, or by what was asked for if nobody has granted anything yet.
    pub left_ms: u64,
    /// Whether a host monitor has granted any of it.
    pub granted: bool,
    /// Why.
    pub reason: String,
    /// What the host monitors made of it.
    pub paths: Vec<LiveTold>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// UUID of the VM; empty if it has none.
    pub vm_uuid: String,
    /// The XML file.
    pub config: String,
    /// What is wrong with that file, if it could not be loaded.
    pub config_problem: Option<String>,
    /// What the loaded file has and this version does not know, as sentences.
    #[serde(default)]
    pub config_warnings: Vec<String>,
    /// Applications that are loaded.
    pub applications: usize,
    /// Whether the administrator of this guest has suspended monitoring.
    pub suspended: bool,
    /// Whether a host monitor knows what the administrator said last of that.
    pub suspension_heard: bool,
    /// The announced silence, while it lasts.
    pub quiet: Option<Box<LiveQuiet>>,
    /// One per adapter.
    pub paths: Vec<LivePath>,
    /// What keeps adapters from being used.
    pub adapter_problems: Vec<String>,
    /// The mode of authentication.
    pub authentication: String,
    /// Ids of the keys; the last is used.
    pub key_ids: Vec<u8>,
    /// What is wrong with the key file, if it could not be loaded.
    pub key_problem: Option<String>,
    /// Packets dropped since the start, by reason.
    #[serde(default)]
    pub discarded: BTreeMap<String, u64>,
    /// Who beats if this daemon hangs.
    #[serde(default)]
    pub guardian: Box<LiveGuardian>,
}

/// The guardian.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveGuardian {
    /// Its process, if there is one.
    pub pid: Option<u32>,
    /// Why there is none, if there should be one.
    pub problem: Option<String>,
}

/// One adapter, and the host monitor on it if one was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePath {
    /// Name of the adapter.
    pub adapter: String,
    /// The host monitor's UUID.
    pub host_monitor: Option<String>,
    /// Its MAC address.
    pub host_monitor_mac: Option<String>,
    /// What the path is doing.
    pub state: String,
    /// The protocol version that runs.
    pub version: Option<String>,
    /// Interval of the heartbeats.
    pub interval_ms: Option<u64>,
    /// Age of the last Hello.
    pub last_hello_age_ms: Option<u64>,
    /// Heartbeats sent since the path was opened.
    pub heartbeats_sent: u64,
    /// Whether what the host monitor sends is authenticated.
    pub authenticated_in: bool,
    /// Whether what is sent to it is.
    pub authenticated_out: bool,
    /// The key behind that.
    pub key_id: Option<u8>,
}

/// One application in the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveApplication {
    /// Its name.
    pub name: String,
    /// Its 19 digits.
    pub uuid: String,
    /// Its state, as in the report.
    pub status: String,
    /// Its colour, as in the report.
    pub colour: String,
    /// Restart cycles that count.
    pub nooftimes_restarted: u32,
    /// Result of the last script that ended.
    pub last_result: String,
    /// Age of the state.
    pub last_change_ms: u64,
    /// Stopped by hand: NOT_MONITORED, or on its way there.
    pub stopped: bool,
    /// What its start or stop waits for: names of applications it depends on.
    pub waits_for: Vec<String>,
    /// Whether a load balancer would be told that it is healthy.
    #[serde(default)]
    pub healthy: bool,
    /// Not suspended.
    #[serde(default)]
    pub monitored: bool,
    /// The script that ended last; none before the first has.
    #[serde(default)]
    pub last_script: Option<LiveScript>,
}

/// A script that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveScript {
    /// `monitor`, `stop` or `start`.
    pub action: String,
    /// How it ended, for people.
    pub end: String,
    /// Its last lines, parted by ` | `; at most 5 lines and 2 KiB.
    pub output: String,
}
