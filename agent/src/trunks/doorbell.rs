//! What the controller has not been told yet, and when to ring for it again.
//!
//! ```text
//!            change                 report asked for and sent, GMSG for it
//!  quiet ------------> unreported ---------------------------------------> quiet
//!                       |      ^  every 30 s, or when a doorbell was handed back: ring again
//!                       +------+  a newer change stays unreported
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::message::Doorbell;
use vmpulse_protocol::time::Instant;

/// [M-11]
const RING_PERIOD: Duration = Duration::from_secs(30);
/// Between two rings in any case: changes meanwhile are told by one ring.
const RING_REST: Duration = Duration::from_secs(1);
/// While a doorbell is on its way, the next one waits this long for its acknowledgement.
const UNDER_WAY_REST: Duration = Duration::from_millis(100);
/// Reports remembered until GMSG comes: more are never under way at once.
const REPORTS_REMEMBERED: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Bell {
    /// Everything that changed and is in no report that the controller has.
    unreported: Doorbell,
    /// Counts changes; a report is at least as new as the change it was built after.
    change: u64,
    next_ring: Option<Instant>,
    reports: VecDeque<(i64, u64)>,
}

impl Bell {
    pub(super) fn ring(&mut self, now: Instant, bits: Doorbell) {
        if bits.is_empty() {
            return;
        }
        self.unreported = self.unreported.with(bits);
        self.change = self.change.saturating_add(1);
        self.next_ring = Some(now);
    }

    /// A doorbell came back: ring again, but not at once.
    pub(super) fn on_handed_back(&mut self, now: Instant) {
        if !self.unreported.is_empty() && !is_on(Bug::RingsOnce) {
            self.next_ring = Some(now + RING_REST);
        }
    }

    /// The doorbell before is still on its way.
    pub(super) fn on_under_way(&mut self, now: Instant) {
        if let Some(next) = self.next_ring.filter(|next| *next <= now) {
            self.next_ring = Some(next.max(now) + UNDER_WAY_REST);
        }
    }

    /// A report with everything up to now was sent.
    pub(super) fn on_reported(&mut self, tag: i64) {
        if self.reports.len() >= REPORTS_REMEMBERED {
            self.reports.pop_front();
        }
        self.reports.push_back((tag, self.change));
    }

    /// The controller has the report.
    pub(super) fn on_taken(&mut self, tag: i64) {
        let newest = self.reports.iter().filter(|(other, _)| *other == tag).map(|(_, change)| *change).max();
        self.reports.retain(|(other, _)| *other != tag);
        if newest.is_some_and(|change| change >= self.change) {
            self.unreported = Doorbell::default();
            self.next_ring = None;
        }
    }

    /// The bits to ring with, if that is due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Doorbell> {
        self.next_ring.filter(|next| *next <= now)?;
        self.next_ring = (!is_on(Bug::RingsOnce)).then(|| now + RING_PERIOD);
        Some(self.unreported)
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.next_ring
    }
}
