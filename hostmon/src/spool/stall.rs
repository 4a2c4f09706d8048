//! Whether the core's loop turns, as another thread sees it.
//!
//! Pure. Whoever looks may have been stopped as well: what passed between two of its looks counts for a look's period only, so
//! that a process that was stopped as a whole accuses nobody.

use std::time::Duration;

use vmpulse_protocol::time::Instant;

/// Between two looks.
pub const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// The loop comes round at least once a second, and its parts are bounded to milliseconds; after this it stands.
pub const STANDS_AFTER: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    turns: u64,
    looked_at: Instant,
    stood: Duration,
}

impl Stall {
    /// The loop has made `turns` so far.
    #[must_use]
    pub const fn new(turns: u64, now: Instant) -> Self {
        Self { turns, looked_at: now, stood: Duration::ZERO }
    }

    /// When to look next.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.looked_at + LOOK_PERIOD
    }

    /// For how long the loop has stood, if that is long; it has made `turns` in all.
    pub fn look(&mut self, now: Instant, turns: u64) -> Option<Duration> {
        let passed = now.since(self.looked_at).min(LOOK_PERIOD * 2);
        self.looked_at = now;
        let turned = std::mem::replace(&mut self.turns, turns) != turns;
        self.stood = if turned { Duration::ZERO } else { self.stood.saturating_add(passed) };
        (self.stood >= STANDS_AFTER).then_some(self.stood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_is_told_from_a_process_that_stood() {
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let mut stall = Stall::new(1, at(0));
        assert_eq!(stall.look(at(1), 2), None);
        assert_eq!(stall.look(at(600), 2), None, "the one who looks was stopped, too");
        assert_eq!(stall.look(at(601), 3), None);
        let stood: Vec<_> = (602..608).map(|second| stall.look(at(second), 3)).collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(stood, [None, None, None, None, seconds(5), seconds(6)]);
        assert_eq!(stall.look(at(608), 4), None);
    }
}
