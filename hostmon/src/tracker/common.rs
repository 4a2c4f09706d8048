//! Telling a dead trunk from dead guests: most of a trunk falls silent together.

use std::collections::VecDeque;
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

/// Fewer paths than this falling silent together are never called common.
const AT_LEAST: usize = 3;

/// Paths that fell silent within the last two intervals, oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentEdges {
    edges: VecDeque<RecentEdge>,
}

#[derive(Debug)]
struct RecentEdge {
    at: Instant,
    vm: VmUuid,
    interval: Duration,
    said: bool,
}

impl RecentEdges {
    pub(super) fn push(&mut self, at: Instant, vm: VmUuid, interval: Duration) {
        self.edges.push_back(RecentEdge { at, vm, interval, said: false });
    }

    pub(super) fn forget(&mut self, vm: VmUuid) {
        self.edges.retain(|edge| edge.vm != vm);
    }

    /// Whether at least three paths, and more than half of those that beat before, fell silent within two intervals.
    pub(super) fn is_common(&mut self, now: Instant, interval: Duration, still_beating: usize) -> bool {
        self.edges.retain(|edge| now.since(edge.at) <= edge.interval.max(interval).saturating_mul(2));
        let silent = self.edges.len();
        silent >= AT_LEAST && silent > still_beating
    }

    /// The VMs of which it was not said yet.
    pub(super) fn mark_common(&mut self) -> Vec<VmUuid> {
        let unsaid = self.edges.iter_mut().filter(|edge| !edge.said);
        unsaid.map(|edge| (edge.said = true, edge.vm).1).collect()
    }
}
