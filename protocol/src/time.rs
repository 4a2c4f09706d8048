//! Monotonic time as a value.
//!
//! Durations are [`core::time::Duration`]. Wall-clock time is another type, stamped by drivers on records.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A point on a monotonic clock, in nanoseconds from an origin the driver chose.
///
/// Two instants compare only if they come from one driver; they never cross a process or the store
/// (ages do). Constructible, so that tests and the simulator can make any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The driver's origin.
    pub const ZERO: Self = Self(0);

    /// An instant `nanoseconds` after the origin.
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// An instant `milliseconds` after the origin.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` moved back by `age`, not before the origin.
    #[must_use]
    pub fn back(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(age)))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1000)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// When a frame arrived, from its kernel stamp. [L-2]
///
/// The kernel stamps on the wall clock, which may step. The stamp is therefore turned into an age once, with
/// both clocks read in the same turn (`now`, `realtime_now` since the Unix epoch), and that age is held between
/// zero and the time since the socket was last found empty: a frame cannot have arrived before that.
/// A frame without a stamp counts as arrived `now`.
#[must_use]
pub fn arrival(
    now: Instant,
    realtime_now: Duration,
    stamp: Option<Duration>,
    last_empty: Instant,
) -> Instant {
    let age = stamp.map_or(Duration::ZERO, |stamp| realtime_now.saturating_sub(stamp));
    now.back(age.min(now.since(last_empty)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::ZERO.back(SECOND), Instant::ZERO);
        assert_eq!(Instant::ZERO.since(Instant::from_millis(5)), Duration::ZERO);
        assert_eq!(Instant::from_nanos(u64::MAX) + SECOND, Instant::from_nanos(u64::MAX));
    }

    #[test]
    fn a_stepped_wall_clock_cannot_age_a_frame_beyond_the_last_drain() {
        let now = Instant::from_millis(10_000);
        let last_empty = Instant::from_millis(9_900);
        let hour_back = Some(Duration::from_secs(100));
        assert_eq!(arrival(now, SECOND * 3700, hour_back, last_empty), last_empty);
        let from_the_future = Some(SECOND * 9000);
        assert_eq!(arrival(now, SECOND * 3700, from_the_future, last_empty), now);
        let stamp = Some(SECOND * 3700 - Duration::from_millis(40));
        assert_eq!(arrival(now, SECOND * 3700, stamp, last_empty), Instant::from_millis(9_960));
        assert_eq!(arrival(now, SECOND, None, last_empty), now);
    }
}
