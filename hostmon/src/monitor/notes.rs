//! What is worth a line in the log, each transition once.

use std::collections::HashSet;
use std::fmt;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::path::CloseReason;
use vmpulse_protocol::wire::Version;

use crate::tracker::Edge;

/// Strangers reported once each, until this many were; a flood of forged addresses grows nothing.
const REPORTED_MAXIMUM: usize = 4096;

/// A transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A path was opened.
    Opened {
        /// Which VM.
        vm: VmUuid,
        /// The guest's address.
        mac: MacAddr,
        /// Running version.
        version: Version,
        /// Whether the store knows the VM.
        registered: bool,
    },
    /// A path was closed.
    Closed {
        /// Which VM.
        vm: VmUuid,
        /// Why.
        reason: CloseReason,
    },
    /// Liveness changed.
    Edge(Edge),
    /// A guest showed itself that cannot be monitored.
    Stranger {
        /// The guest's address.
        mac: MacAddr,
        /// Why not.
        text: String,
    },
    /// The guest announced something.
    Announced {
        /// Which VM.
        vm: VmUuid,
        /// What.
        what: &'static str,
    },
    /// The store cannot be written.
    StoreLost,
    /// The store can be written again.
    StoreBack,
    /// The trunk adapter.
    Adapter {
        /// Whether it is up.
        up: bool,
    },
}

impl Note {
    /// Whether an operator should look.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::Opened { .. } | Self::Announced { .. } | Self::StoreBack | Self::Adapter { up: true } => {
                false
            }
            Self::Edge(edge) => !matches!(edge, Edge::Detected { .. } | Edge::Sighted),
            Self::Closed { .. } | Self::Stranger { .. } | Self::StoreLost | Self::Adapter { up: false } => {
                true
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { vm, mac, version, registered: true } => {
                write!(out, "path to VM {vm} at {mac} is open, version {version}")
            }
            Self::Opened { vm, mac, version, registered: false } => {
                write!(out, "path to VM {vm} at {mac} is open, version {version}; the VM is not registered")
            }
            Self::Closed { vm, reason } => write!(out, "path to VM {vm} is closed: {reason}"),
            Self::Edge(Edge::Detected { vm }) => write!(out, "VM {vm} beats"),
            Self::Edge(Edge::Missing { vm, age, common }) => {
                let common = if *common { ", together with most of the trunk" } else { "" };
                write!(out, "VM {vm} is silent for {} ms{common}", age.as_millis())
            }
            Self::Edge(Edge::Deferred { doubt }) => {
                write!(out, "nobody is accused for one interval: {doubt}")
            }
            Self::Edge(Edge::Blind) => {
                out.write_str("three doubtful intervals in a row: all paths are unknown")
            }
            Self::Edge(Edge::Sighted) => out.write_str("the trunk is heard again"),
            Self::Stranger { mac, text } => write!(out, "guest at {mac}: {text}"),
            Self::Announced { vm, what } => write!(out, "VM {vm} announced: {what}"),
            Self::StoreLost => out.write_str("the store cannot be written; edges are kept until it can"),
            Self::StoreBack => out.write_str("the store can be written again"),
            Self::Adapter { up: true } => out.write_str("the trunk adapter is up"),
            Self::Adapter { up: false } => {
                out.write_str("the trunk adapter is down or gone: nobody is accused")
            }
        }
    }
}

/// Which strangers were reported already.
#[derive(Debug, Default)]
pub(super) struct Reported(HashSet<(MacAddr, String)>);

impl Reported {
    /// Whether this is to be reported: new, and there is room to remember it.
    pub(super) fn is_new(&mut self, mac: MacAddr, what: &str) -> bool {
        self.0.len() < REPORTED_MAXIMUM && self.0.insert((mac, what.to_owned()))
    }
}
