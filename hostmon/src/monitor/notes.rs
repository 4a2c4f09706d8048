//! What is worth a line in the log, each transition once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::path::{CloseReason, Refusal};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;

use crate::tracker::Edge;

/// Strangers of a kind that are remembered as reported; the oldest is forgotten, and may be reported again.
const REPORTED_MAXIMUM: usize = 1024;
/// Reports of a kind in a [`WINDOW`]: a flood of forged addresses must not become a flood of writes.
const REPORTS_PER_WINDOW: usize = 32;
const WINDOW: Duration = Duration::from_secs(1);
/// Lines about paths of strangers in a [`LINES_WINDOW`]: a host's new guests are all told of, a flood of made-up ones writes
/// three lines a second.
const LINES_PER_WINDOW: u64 = 32;
const LINES_WINDOW: Duration = Duration::from_secs(10);
/// Guests that nobody registered are told of again after this: the store may have forgotten by then that it did not want to
/// know, because their VMs were removed.
const AGAIN_AFTER: Duration = Duration::from_hours(24);

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
        /// Whether it is a VM of this host, as far as is known.
        registered: bool,
    },
    /// A guest that shook hands is a VM of another host.
    Moved {
        /// Which VM.
        vm: VmUuid,
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
    /// The guest's agent hangs or died, and its guardian beats (true); or the agent is back.
    Agent {
        /// Which VM.
        vm: VmUuid,
        /// Whether it does not beat itself.
        failed: bool,
    },
    /// The guest will not beat any more.
    Dying {
        /// Which VM.
        vm: VmUuid,
        /// Why, in its words.
        reason: String,
    },
    /// The guest announced to be silent.
    Quiet {
        /// Which VM.
        vm: VmUuid,
        /// For how much longer.
        left: Duration,
        /// Why, in its words.
        reason: String,
        /// It had announced before, and that was not over.
        prolonged: bool,
    },
    /// An announced silence is over.
    QuietOver {
        /// Which VM's.
        vm: VmUuid,
        /// The guest ended it; else it ran out.
        ended: bool,
    },
    /// Lines about opened and closed paths of VMs that are not registered were not written: there were too many at once.
    LeftOut {
        /// How many.
        lines: u64,
    },
    /// Settings of the store are in force.
    Configured {
        /// Their version.
        version: i64,
    },
    /// This host monitor was taken out of the store (true), or registered again.
    Removed {
        /// Which.
        removed: bool,
    },
    /// The store cannot be written.
    StoreLost,
    /// The store can be written again.
    StoreBack,
    /// Of the trunk: its adapter, its canary, and whether it is trusted.
    Remark {
        /// The node event.
        kind: &'static str,
        /// A sentence.
        text: String,
    },
}

impl Note {
    /// Whether an operator should look.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::Opened { .. }
            | Self::Moved { .. }
            | Self::Announced { .. }
            | Self::Quiet { .. }
            | Self::QuietOver { .. }
            | Self::StoreBack
            | Self::Configured { .. }
            | Self::Removed { removed: false }
            | Self::Agent { failed: false, .. } => false,
            Self::Edge(edge) => !matches!(edge, Edge::Detected { .. } | Edge::Sighted),
            Self::Closed { .. }
            | Self::LeftOut { .. }
            | Self::Stranger { .. }
            | Self::StoreLost
            | Self::Removed { removed: true }
            | Self::Agent { failed: true, .. }
            | Self::Dying { .. } => true,
            Self::Remark { kind, .. } => !is_relief(kind),
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
                write!(out, "path to VM {vm} at {mac} is open, version {version}; the VM is not of this host")
            }
            Self::Moved { vm } => {
                write!(out, "VM {vm} is registered with another host; its heartbeats count here as there")
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
            Self::Agent { vm, failed: true } => {
                write!(out, "the agent of VM {vm} hangs or died; its guardian beats in its place")
            }
            Self::Dying { vm, reason } => write!(out, "VM {vm} stops beating, in its own words: {reason}"),
            Self::Agent { vm, failed: false } => write!(out, "the agent of VM {vm} is back"),
            Self::Quiet { vm, left, reason, prolonged } => {
                let again = if *prolonged { "again " } else { "" };
                write!(out, "VM {vm} {again}announced to be silent for {} ms: {reason}", left.as_millis())
            }
            Self::QuietOver { vm, ended: true } => {
                write!(out, "the announced silence of VM {vm} was ended by the guest")
            }
            Self::QuietOver { vm, ended: false } => {
                write!(out, "the announced silence of VM {vm} is over: silence counts again")
            }
            Self::LeftOut { lines } => write!(
                out,
                "{lines} lines about opened and closed paths of VMs that are not registered were left out"
            ),
            Self::Configured { version } => {
                write!(out, "version {version} of the store's settings of this host monitor is in force")
            }
            Self::Removed { removed: true } => out.write_str(
                "this host monitor was removed from the store: what it sees is ignored until VIO_HS_ADD_VIOS registers it again",
            ),
            Self::Removed { removed: false } => out.write_str("this host monitor is registered again"),
            Self::StoreLost => out.write_str("the store cannot be written; edges are kept until it can"),
            Self::StoreBack => out.write_str("the store can be written again"),
            Self::Remark { text, .. } => out.write_str(text),
        }
    }
}

/// Whether a node event says that something is over.
const fn is_relief(kind: &str) -> bool {
    matches!(kind.as_bytes(), b"ADAPTER_UP" | b"CANARY_BACK" | b"ISOLATION_OVER")
}

/// What is strange about a guest. Few kinds, none of which a guest can invent: each has a budget and a memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stranger {
    Unmanaged,
    /// It beats, and is no VM of anybody.
    Beats,
    CannotManage,
    UuidConflict,
    VersionConflict,
    NotOffered,
    UnknownKey,
    Downgrade,
    AnotherVm,
}

impl From<Refusal> for Stranger {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotOffered => Self::NotOffered,
            Refusal::UnknownKey(_) => Self::UnknownKey,
            Refusal::Downgrade => Self::Downgrade,
            Refusal::AnotherVm(_) => Self::AnotherVm,
        }
    }
}

/// Which strangers were reported already, by kind.
#[derive(Debug, Default)]
pub(super) struct Reported(HashMap<Stranger, Kind>);

#[derive(Debug, Default)]
struct Kind {
    known: HashSet<MacAddr>,
    order: VecDeque<MacAddr>,
    since: Option<Instant>,
    in_window: usize,
    /// When the first of those known was reported.
    begun: Option<Instant>,
}

impl Reported {
    /// Whether this is to be reported: it was not, and not too much is at once. [P-5]
    pub(super) fn is_new(&mut self, now: Instant, mac: MacAddr, kind: Stranger) -> bool {
        let again = matches!(kind, Stranger::Unmanaged | Stranger::Beats);
        let kind = self.0.entry(kind).or_default();
        if again && kind.begun.is_some_and(|begun| now.since(begun) >= AGAIN_AFTER) {
            (kind.known, kind.order, kind.begun) = (HashSet::new(), VecDeque::new(), None);
        }
        if kind.known.contains(&mac) {
            return false;
        }
        if kind.since.is_none_or(|since| now.since(since) >= WINDOW) {
            kind.since = Some(now);
            kind.in_window = 0;
        }
        if kind.in_window >= REPORTS_PER_WINDOW {
            return false;
        }
        kind.in_window = kind.in_window.saturating_add(1);
        if kind.order.len() >= REPORTED_MAXIMUM
            && let Some(oldest) = kind.order.pop_front()
        {
            kind.known.remove(&oldest);
        }
        let _ = kind.begun.get_or_insert(now);
        kind.order.push_back(mac);
        kind.known.insert(mac)
    }
}

/// Keeps lines about paths of strangers few.
#[derive(Debug, Default)]
pub(super) struct StrangerLines {
    since: Option<Instant>,
    in_window: u64,
    left_out: u64,
}

impl StrangerLines {
    /// Whether a line may be written now; if not it is counted. [`take_left_out`](Self::take_left_out) comes before.
    pub(super) fn may_write(&mut self, now: Instant) -> bool {
        let _ = self.since.get_or_insert(now);
        self.in_window = self.in_window.saturating_add(1);
        let may = self.in_window <= LINES_PER_WINDOW;
        self.left_out = self.left_out.saturating_add(u64::from(!may));
        may
    }

    /// When a window is over, how many lines were left out in it, if any: once.
    pub(super) fn take_left_out(&mut self, now: Instant) -> Option<u64> {
        self.since.filter(|since| now.since(*since) >= LINES_WINDOW)?;
        self.since = None;
        let lines = std::mem::take(&mut self.in_window).saturating_sub(LINES_PER_WINDOW);
        (lines > 0).then_some(lines)
    }

    /// How many were left out since the start.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use vmpulse_protocol::auth::KeyId;

    use super::*;

    #[test]
    fn a_flood_of_one_kind_hides_no_other_and_is_slowed_down() {
        let mut reported = Reported::default();
        let mac = |number: u16| MacAddr(2, 0, 0, 0, number.to_be_bytes()[0], number.to_be_bytes()[1]);
        let now = Instant::from_millis(0);
        let flood =
            (0..5000).filter(|number| reported.is_new(now, mac(*number), Stranger::VersionConflict)).count();
        assert_eq!(flood, REPORTS_PER_WINDOW);
        assert!(reported.is_new(now, mac(1), Stranger::Unmanaged));
        assert!(!reported.is_new(now, mac(1), Stranger::Unmanaged));
        let later = Instant::from_millis(1000);
        assert!(reported.is_new(later, mac(4999), Stranger::VersionConflict));
        let day = Instant::from_millis(24 * 3_600_000);
        assert!(!reported.is_new(day, mac(4999), Stranger::VersionConflict), "told once");
        assert!(reported.is_new(day, mac(1), Stranger::Unmanaged), "still there after a day");
        assert!(!reported.is_new(day, mac(1), Stranger::Unmanaged));
    }

    #[test]
    fn key_ids_that_a_guest_makes_up_are_one_kind() {
        let mut reported = Reported::default();
        let refusals = (1..=u8::MAX).filter_map(KeyId::new).map(Refusal::UnknownKey);
        let new = refusals.filter(|refusal| {
            reported.is_new(Instant::from_millis(0), MacAddr(2, 0, 0, 0, 0, 1), Stranger::from(*refusal))
        });
        assert_eq!(new.count(), 1);
    }

    #[test]
    fn a_flood_of_paths_is_a_few_lines_and_a_count() {
        let mut lines = StrangerLines::default();
        let write = |lines: &mut StrangerLines, at_ms: u64, times: usize| {
            let now = Instant::from_millis(at_ms);
            let told = lines.take_left_out(now);
            (told, (0..times).filter(|_| lines.may_write(now)).count())
        };
        assert_eq!(write(&mut lines, 5, 20), (None, 20));
        assert_eq!(write(&mut lines, 9_000, 5000), (None, 12));
        assert_eq!(write(&mut lines, 10_004, 1), (None, 0), "the window began at 5");
        assert_eq!(write(&mut lines, 10_005, 10), (Some(4989), 10), "told once, and a new window");
        assert_eq!(write(&mut lines, 90_000, 0), (None, 0), "nothing was left out");
        assert_eq!(lines.left_out(), 4989);
        let text = Note::LeftOut { lines: 7 }.to_string();
        assert!(text.starts_with("7 lines about") && Note::LeftOut { lines: 7 }.is_warning());
    }
}
