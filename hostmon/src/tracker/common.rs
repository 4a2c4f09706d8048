//! Telling a dead trunk from dead guests: most of a trunk falls silent together.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

/// Fewer paths than this falling silent together are never called common.
const AT_LEAST: usize = 3;

/// Paths that fell silent within the last two intervals. A whole trunk may fall silent in one turn, so nothing here
/// looks at all of them for each.
#[derive(Debug, Default)]
pub(super) struct RecentEdges {
    edges: HashMap<VmUuid, RecentEdge>,
    /// Oldest first; also of edges that were forgotten since.
    order: VecDeque<(Instant, VmUuid)>,
    /// Of which it was not said that they are common; also of edges that were forgotten since.
    unsaid: Vec<VmUuid>,
}

#[derive(Debug)]
struct RecentEdge {
    at: Instant,
    interval: Duration,
}

impl RecentEdges {
    pub(super) fn push(&mut self, at: Instant, vm: VmUuid, interval: Duration) {
        self.edges.insert(vm, RecentEdge { at, interval });
        self.order.push_back((at, vm));
        self.unsaid.push(vm);
    }

    pub(super) fn forget(&mut self, vm: VmUuid) {
        self.edges.remove(&vm);
        if self.edges.is_empty() {
            *self = Self::default();
        }
    }

    /// Whether at least three paths, and more than half of those that beat before, fell silent within two intervals. [L-8]
    pub(super) fn is_common(&mut self, now: Instant, interval: Duration, still_beating: usize) -> bool {
        self.forget_old(now, interval);
        let silent = self.edges.len();
        silent >= AT_LEAST && silent > still_beating
    }

    /// The VMs of which it was not said yet.
    pub(super) fn mark_common(&mut self) -> Vec<VmUuid> {
        let mut unsaid = std::mem::take(&mut self.unsaid);
        unsaid.retain(|vm| self.edges.contains_key(vm));
        unsaid
    }

    /// One with a longer interval than those behind it holds them back; they count for a little longer then.
    fn forget_old(&mut self, now: Instant, interval: Duration) {
        while let Some((at, vm)) = self.order.front().copied() {
            let edge = self.edges.get(&vm).filter(|edge| edge.at == at);
            let counts = |edge: &RecentEdge| now.since(at) <= edge.interval.max(interval).saturating_mul(2);
            if edge.is_some_and(counts) {
                return;
            }
            if edge.is_some() {
                self.edges.remove(&vm);
            }
            self.order.pop_front();
        }
    }
}
