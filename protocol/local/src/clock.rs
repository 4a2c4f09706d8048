//! The clocks of a running daemon. Drivers read them once per turn and pass the values on.
#![allow(clippy::disallowed_methods)] // This is the one place where a daemon reads the clock.

use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use vmpulse_protocol::time::Instant;

/// The monotonic clock, counted from the start of the process, and the wall clock beside it.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: StdInstant,
}

impl MonotonicClock {
    /// A clock that reads zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: StdInstant::now() }
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// Wall-clock time since the Unix epoch; zero if the wall clock stands before it.
    #[must_use]
    pub fn realtime(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The same point in time in the standard library's type, for timers.
    #[must_use]
    pub fn std_instant(&self, instant: Instant) -> StdInstant {
        // An Instant spans 584 years, the standard type far more: this cannot overflow.
        self.origin + Duration::from_nanos(instant.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_convert_both_ways() {
        let clock = MonotonicClock::start();
        let (before, now, after) = (StdInstant::now(), clock.now(), StdInstant::now());
        assert!(before <= clock.std_instant(now) && clock.std_instant(now) <= after);
        assert!(clock.std_instant(Instant::from_nanos(u64::MAX)) > after);
    }

    #[test]
    fn realtime_counts_from_the_epoch() {
        let clock = MonotonicClock::start();
        assert!(clock.realtime() > Duration::from_secs(1_700_000_000));
    }
}
