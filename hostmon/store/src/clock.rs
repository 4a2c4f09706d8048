//! The store's own clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A time of the store's clock: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoreTime(pub i64);

impl StoreTime {
    /// `self` moved back by `age`.
    #[must_use]
    pub fn back(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As RFC 3339 in UTC, with microseconds.
    #[must_use]
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    }
}

impl fmt::Display for StoreTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.rfc3339())
    }
}

/// Where a store that runs in this process takes its time from.
pub trait StoreClock: Send {
    /// Now.
    fn now(&self) -> StoreTime;
}

/// The machine's wall clock: SQLite lives on the host that uses it, so this is the store's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl StoreClock for SystemClock {
    // The store's clock is an edge; this is the one place that reads it.
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> StoreTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        StoreTime(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that tests set.
#[derive(Debug, Default)]
pub struct FixedClock(pub std::sync::Arc<AtomicI64>);

impl StoreClock for FixedClock {
    fn now(&self) -> StoreTime {
        StoreTime(self.0.load(Ordering::Relaxed))
    }
}
