//! How far an age read from the store may be believed.
//!
//! Ages come from the store's wall clock. That clock may step, and while the store could not be reached nobody could
//! record that a guest was heard. After either, no age may exceed what this process has itself seen elapse since.
//!
//! ```text
//!            advance agrees            clock stepped, or unreachable and back
//!           +-------------+           +-------------+
//!           v             |           v             |
//!   start -> TRUSTING ----+---------> BOUNDED since t
//!            (ages as read)           (ages at most now - t; grows, so true ages fit again)
//! ```
//!
//! A new process trusts: a controller that was killed goes on where it was.

use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::time::Instant;
use vmpulse_store::StoreTime;

/// The store's clock and ours may drift apart by this much between two polls. NTP slews by at most 500 ppm, a stepped
/// clock moves by more.
pub const TOLERANCE: Duration = Duration::from_secs(1);

/// What a poll said about the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockVerdict {
    /// It advanced as ours did.
    Steady,
    /// The store answers again after it could not be reached.
    Back {
        /// How long it could not be reached, seen from here.
        unreachable_for: Duration,
    },
    /// It stepped against ours by this many milliseconds; negative: backwards.
    Stepped {
        /// Distance to the nearest reading that would have been plausible.
        by_ms: i64,
    },
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct AgeGuard {
    last: Option<Reading>,
    unreachable_since: Option<Instant>,
    bounded_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    store: StoreTime,
    asked: Instant,
    answered: Instant,
}

impl AgeGuard {
    /// A poll that was asked for at `asked` and answered at `answered` on our clock carried the store's `now`.
    pub fn observe(&mut self, store: StoreTime, asked: Instant, answered: Instant) -> ClockVerdict {
        let reading = Reading { store, asked, answered };
        let last = self.last.replace(reading);
        let verdict = match (self.unreachable_since.take(), last) {
            (Some(since), _) => ClockVerdict::Back { unreachable_for: answered.since(since) },
            (None, None) => ClockVerdict::Steady,
            (None, Some(last)) => compare(last, reading),
        };
        if verdict != ClockVerdict::Steady {
            self.bounded_since = Some(answered);
        }
        verdict
    }

    /// The store could not be asked.
    pub fn on_unreachable(&mut self, now: Instant) {
        self.unreachable_since.get_or_insert(now);
    }

    /// `age` as far as it may be believed at `now`.
    #[must_use]
    pub fn bound(&self, age: Duration, now: Instant) -> Duration {
        if is_on(Bug::AgesBelieved) {
            return age;
        }
        self.bounded_since.map_or(age, |since| age.min(now.since(since)))
    }
}

/// The store read its clock somewhere between asking and answering, so its advance is known to an interval only.
fn compare(last: Reading, this: Reading) -> ClockVerdict {
    let advance_us = i128::from(this.store.0) - i128::from(last.store.0);
    let shortest = micros(this.asked.since(last.answered)) - micros(TOLERANCE);
    let longest = micros(this.answered.since(last.asked)) + micros(TOLERANCE);
    let by_us = if advance_us < shortest {
        advance_us - shortest
    } else if advance_us > longest {
        advance_us - longest
    } else {
        return ClockVerdict::Steady;
    };
    let saturated = if by_us < 0 { i64::MIN } else { i64::MAX };
    ClockVerdict::Stepped { by_ms: i64::try_from(by_us / 1000).unwrap_or(saturated) }
}

fn micros(duration: Duration) -> i128 {
    i128::try_from(duration.as_micros()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn store(milliseconds: i64) -> StoreTime {
        StoreTime(1_600_000_000_000_000 + milliseconds * 1000)
    }

    fn polled(guard: &mut AgeGuard, ours_s: u64, store_ms: i64) -> ClockVerdict {
        guard.observe(store(store_ms), at(ours_s), at(ours_s))
    }

    #[test]
    fn a_new_process_and_a_steady_clock_are_trusted() {
        let mut guard = AgeGuard::default();
        assert_eq!(polled(&mut guard, 0, 0), ClockVerdict::Steady);
        assert_eq!(polled(&mut guard, 20, 20_900), ClockVerdict::Steady);
        assert_eq!(polled(&mut guard, 40, 40_000), ClockVerdict::Steady);
        assert_eq!(guard.bound(HOUR, at(40)), HOUR);
    }

    #[test]
    fn a_clock_stepped_forward_makes_nobody_older_than_what_was_seen_since() {
        let mut guard = AgeGuard::default();
        polled(&mut guard, 0, 0);
        assert_eq!(polled(&mut guard, 20, 3_620_000), ClockVerdict::Stepped { by_ms: 3_599_000 });
        assert_eq!(guard.bound(HOUR, at(20)), Duration::ZERO);
        assert_eq!(polled(&mut guard, 200, 3_800_000), ClockVerdict::Steady);
        assert_eq!(guard.bound(HOUR, at(200)), Duration::from_secs(180));
        assert_eq!(guard.bound(Duration::from_secs(5), at(200)), Duration::from_secs(5), "a true age fits");
    }

    #[test]
    fn a_clock_stepped_backwards_is_seen_too() {
        let mut guard = AgeGuard::default();
        polled(&mut guard, 100, 100_000);
        assert_eq!(polled(&mut guard, 120, 60_000), ClockVerdict::Stepped { by_ms: -59_000 });
        assert_eq!(guard.bound(HOUR, at(130)), Duration::from_secs(10));
    }

    #[test]
    fn a_slow_answer_is_no_step() {
        let mut guard = AgeGuard::default();
        guard.observe(store(4_900), at(0), at(5));
        assert_eq!(guard.observe(store(25_100), at(25), at(30)), ClockVerdict::Steady);
    }

    #[test]
    fn an_outage_bounds_ages_from_its_end() {
        let mut guard = AgeGuard::default();
        polled(&mut guard, 0, 0);
        guard.on_unreachable(at(20));
        guard.on_unreachable(at(25));
        assert_eq!(
            polled(&mut guard, 30, 30_000),
            ClockVerdict::Back { unreachable_for: Duration::from_secs(10) }
        );
        assert_eq!(guard.bound(HOUR, at(37)), Duration::from_secs(7));
        assert_eq!(polled(&mut guard, 50, 50_000), ClockVerdict::Steady);
    }

    #[test]
    fn a_store_that_was_never_reached_before_is_not_trusted_either() {
        let mut guard = AgeGuard::default();
        guard.on_unreachable(at(0));
        polled(&mut guard, 10, 0);
        assert_eq!(guard.bound(HOUR, at(12)), Duration::from_secs(2));
    }
}
