//! When rounds are: every `period`, each application at a fixed place within it.
//!
//! Up to [`PER_SLOT`] applications share one instant. More are spread over the period, so that 256 scripts are not started
//! at once. Nobody need wake for a round in which nothing is to be done: it counts as held when its time has passed.

use std::time::Duration;

use vmpulse_protocol::time::Instant;

/// Applications that have their round at the same instant: few enough that the last of their scripts is not late, enough
/// that a guest with a handful of applications wakes once in a period.
pub(super) const PER_SLOT: usize = 8;

/// The instants of rounds.
#[derive(Clone, Debug)]
pub(super) struct Rounds {
    origin: Instant,
    period: Duration,
    /// The last round that each slot has held; `None` before the first.
    held: Vec<Option<Instant>>,
}

impl Rounds {
    /// The first slot has its first round at `origin`.
    pub(super) fn new(origin: Instant, period: Duration, applications: usize) -> Self {
        Self { origin, period, held: vec![None; slots(applications)] }
    }

    /// Another number of applications, or another period, from `now` on. All that was due has been held.
    pub(super) fn change(&mut self, now: Instant, period: Duration, applications: usize) {
        if period != self.period {
            self.origin = now;
        }
        self.period = period;
        self.held = vec![Some(now); slots(applications)];
    }

    /// The slots whose round is due, each with the time of that round, in the order of these times. They count as held.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(Instant, usize)> {
        let mut due: Vec<(Instant, usize)> = (0..self.held.len())
            .filter_map(|slot| Some((self.latest(slot, now)?, slot)))
            .filter(|(round, slot)| {
                self.held.get(*slot).is_some_and(|held| held.is_none_or(|held| held < *round))
            })
            .collect();
        for (round, slot) in &due {
            if let Some(held) = self.held.get_mut(*slot) {
                *held = Some(*round);
            }
        }
        due.sort_unstable();
        due
    }

    /// The first round of a slot that is yet to be held, and not before `wanted`.
    pub(super) fn next(&self, slot: usize, wanted: Instant) -> Instant {
        let first = self.origin + self.phase(slot);
        let next = match self.held.get(slot).copied().flatten() {
            Some(held) if held >= first => self.steps(first, held + self.period, false),
            Some(_) | None => first,
        };
        if wanted <= next { next } else { self.steps(first, wanted, true) }
    }

    /// The latest round of a slot until `now`.
    fn latest(&self, slot: usize, now: Instant) -> Option<Instant> {
        let first = self.origin + self.phase(slot);
        (now >= first).then(|| self.steps(first, now, false))
    }

    /// The last instant of the grid until `at`, or with `up` the first from then on.
    fn steps(&self, first: Instant, at: Instant, up: bool) -> Instant {
        let period = self.period.as_nanos().max(1);
        let passed = at.since(first).as_nanos();
        let steps = if up { passed.div_ceil(period) } else { passed / period };
        let nanos = u64::try_from(steps.saturating_mul(period)).unwrap_or(u64::MAX);
        first + Duration::from_nanos(nanos)
    }

    fn phase(&self, slot: usize) -> Duration {
        let slots = u32::try_from(self.held.len().max(1)).unwrap_or(u32::MAX);
        self.period * u32::try_from(slot).unwrap_or(0) / slots
    }
}

/// The slot of an application.
pub(super) const fn slot(index: usize) -> usize {
    index / PER_SLOT
}

/// There is always one: the engine's own.
fn slots(applications: usize) -> usize {
    applications.div_ceil(PER_SLOT).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn a_round_is_held_once_and_a_stall_is_not_made_up_for() {
        let mut rounds = Rounds::new(at(500), SECOND, 3);
        assert_eq!(rounds.next(0, Instant::ZERO), at(500));
        assert_eq!(rounds.take_due(at(499)), []);
        assert_eq!(rounds.take_due(at(500)), [(at(500), 0)]);
        assert_eq!(rounds.take_due(at(1400)), []);
        assert_eq!(rounds.next(0, Instant::ZERO), at(1500));
        assert_eq!((rounds.next(0, at(2500)), rounds.next(0, at(2501))), (at(2500), at(3500)));
        assert_eq!(rounds.take_due(at(60_499)), [(at(59_500), 0)]);
        assert_eq!(rounds.take_due(at(60_499)), []);
        assert_eq!(rounds.next(0, Instant::ZERO), at(60_500));
    }

    #[test]
    fn slots_are_spread_and_held_in_the_order_of_time() {
        let mut rounds = Rounds::new(Instant::ZERO, SECOND, 4 * PER_SLOT);
        assert_eq!(rounds.take_due(at(500)), [(at(0), 0), (at(250), 1), (at(500), 2)]);
        assert_eq!(rounds.take_due(at(2600)), [(at(1750), 3), (at(2000), 0), (at(2250), 1), (at(2500), 2)]);
        assert_eq!(rounds.next(3, Instant::ZERO), at(2750));
        assert_eq!((slot(PER_SLOT - 1), slot(PER_SLOT)), (0, 1));
    }

    #[test]
    fn another_number_of_applications_keeps_the_grid_and_another_period_begins_one() {
        let mut rounds = Rounds::new(Instant::ZERO, SECOND, 1);
        let _ = rounds.take_due(at(0));
        rounds.change(at(300), SECOND, 2 * PER_SLOT);
        assert_eq!((rounds.next(0, at(0)), rounds.next(1, at(0))), (at(1000), at(500)));
        rounds.change(at(600), 2 * SECOND, 1);
        assert_eq!(rounds.next(0, at(0)), at(2600));
    }
}
