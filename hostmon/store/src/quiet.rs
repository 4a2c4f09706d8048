//! Announced silences (`QUIET`): what may be granted, and what is known of one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::VmUuid;

use crate::StoreTime;
use crate::text_form::uuid;

/// Announced silence that a VM is granted in any [`QUIET_WINDOW`] (the protocol's figure).
pub const QUIET_BUDGET: Duration = Duration::from_mins(10);

/// What the budget is counted over.
pub const QUIET_WINDOW: Duration = Duration::from_hours(1);

/// What an announced silence costs at least, however early it ended: with it a VM begins at most 60 in an hour, so a
/// guest can fill neither the store nor the event log with announcements of a millisecond.
pub const QUIET_LEAST_COST: Duration = Duration::from_secs(10);

/// An announced silence in force, as host monitors need it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quiet {
    /// Which VM.
    #[serde(with = "uuid")]
    pub vm: VmUuid,
    /// Of the latest announcement; a later one has a higher number, whichever host monitor it came to.
    pub sequence: i64,
    /// How much longer, by the store's clock, and never more than was granted. Whoever knows the sequence already
    /// counts on by a clock of its own.
    pub left: Duration,
    /// Why, in the guest's words: printable ASCII.
    pub reason: String,
}

/// What became of a `QUIET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietAnswer {
    /// Which VM.
    pub vm: VmUuid,
    /// For `QUIET_OK`: counted from the arrival of the `QUIET`; zero if it ended one, or the budget is spent.
    pub granted: Duration,
    /// What is in force now.
    pub quiet: Option<Quiet>,
}

/// An announced silence in force, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietView {
    /// When it will be over by the store's clock. It is over when a host monitor says so.
    pub until: StoreTime,
    /// Why, in the guest's words.
    pub reason: String,
}

/// Something about announced silences that nobody was told of yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietNews {
    /// Names it to [`Store::quiet_tell`](crate::Store::quiet_tell).
    pub key: i64,
    /// Which VM.
    pub vm: VmUuid,
    /// Why, in the guest's words.
    pub reason: String,
    /// What happened.
    pub change: QuietChange,
}

/// What happened to an announced silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuietChange {
    /// It began.
    Began {
        /// What was granted.
        granted: Duration,
    },
    /// It ended.
    Ended {
        /// Whether the guest ended it; else it ran out.
        by_guest: bool,
        /// How long it was in force.
        lasted: Duration,
    },
    /// None was granted: the budget of the hour is spent.
    Refused {
        /// What was asked for.
        asked: Duration,
    },
}

/// One that is over, as the budget sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Since its end.
    pub(crate) ended_ago: Duration,
    /// How long it was in force.
    pub(crate) lasted: Duration,
}

/// What is left of the budget: what lies further back than the window does not count.
pub(crate) fn budget_left(spent: impl IntoIterator<Item = Spent>, in_force: Duration) -> Duration {
    let cost = |spent: Spent| spent.lasted.max(QUIET_LEAST_COST);
    let inside = |spent: Spent| cost(spent).min(QUIET_WINDOW.saturating_sub(spent.ended_ago));
    let used = spent.into_iter().map(inside).fold(in_force, Duration::saturating_add);
    QUIET_BUDGET.saturating_sub(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(ended_ago_s: u64, lasted_s: u64) -> Spent {
        Spent { ended_ago: Duration::from_secs(ended_ago_s), lasted: Duration::from_secs(lasted_s) }
    }

    fn left_s(past: &[Spent], in_force_s: u64) -> u64 {
        budget_left(past.iter().copied(), Duration::from_secs(in_force_s)).as_secs()
    }

    ///
    #[test]
    fn the_budget_is_that_of_the_last_hour() {
        assert_eq!(left_s(&[], 0), 600);
        assert_eq!(left_s(&[spent(100, 300)], 0), 300);
        assert_eq!(left_s(&[spent(100, 300)], 200), 100);
        assert_eq!(left_s(&[spent(100, 300), spent(10, 300)], 0), 0);
        assert_eq!(left_s(&[spent(3500, 300), spent(10, 300)], 0), 200, "a hundred seconds of it are inside");
        assert_eq!(left_s(&[spent(3600, 300)], 0), 600);
        assert_eq!(left_s(&[spent(1, 900)], 100), 0, "never below nothing");
        assert_eq!(left_s(&[spent(1, 0), spent(2, 1)], 0), 580, "the shortest cost something too");
    }

    proptest::proptest! {
        /// Whatever was granted before: another grant of all that is left fills the hour at most.
        #[test]
        fn no_hour_has_more_than_the_budget(asks in proptest::collection::vec((0..1000u64, 1..400u64), 1..40)) {
            let mut past: Vec<(u64, u64)> = Vec::new();
            let mut now = 0;
            for (pause, asked) in asks {
                now += pause;
                let spent = past.iter().map(|(ended, lasted)| spent(now - ended, *lasted));
                let granted = budget_left(spent, Duration::ZERO).as_secs().min(asked);
                now += granted;
                past.push((now, granted));
                let inside = past.iter().map(|(ended, lasted)| (*lasted).min(3600u64.saturating_sub(now - ended)));
                let sum: u64 = inside.sum();
                proptest::prop_assert!(sum <= 600, "{sum} s in the hour up to {now}: {past:?}");
            }
        }
    }
}
