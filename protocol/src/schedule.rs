//! Deadlines of many things, of which most move at every heartbeat.
//!
//! A heartbeat moves its path's deadline, so the schedule must not be touched by it: an entry says when to
//! *look* at a thing, not when the thing is due. Whoever looks and finds the deadline moved schedules anew.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::time::Instant;

/// Room that is never given back.
const KEPT: usize = 64;

/// When to look at which key next. A key may be in it more than once: looking too often is harmless.
#[derive(Debug, Default)]
pub struct Schedule<K: Ord> {
    entries: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Schedule<K> {
    /// Nothing scheduled.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: BinaryHeap::new() }
    }

    /// Look at `key` at `at`.
    pub fn push(&mut self, at: Instant, key: K) {
        self.entries.push(Reverse((at, key)));
    }

    /// The next key to look at, if its time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let due = self.entries.peek().is_some_and(|Reverse((at, _))| *at <= now);
        let popped = if due { self.entries.pop() } else { None };
        // What a burst took is given back, in so few steps that they do not count.
        let capacity = self.entries.capacity();
        if popped.is_some() && capacity > KEPT && self.entries.len() < capacity / 4 {
            self.entries.shrink_to(capacity / 2);
        }
        popped.map(|Reverse((_, key))| key)
    }

    /// When the next look is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse((at, _))| *at)
    }

    /// How many looks are scheduled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no look is scheduled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
