//! The only clock and the only sleep of the injector.
#![expect(clippy::disallowed_methods, reason = "a driver: it waits for what others do")]

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Inject, InjectError};

/// Between two looks.
const STEP: Duration = Duration::from_millis(20);
/// Nobody is left to wonder for longer.
const TELL_AFTER: Duration = Duration::from_secs(2);
/// How long a process may take to stop, to end or to continue; far more than it ever does.
pub const SOON: Duration = Duration::from_secs(10);

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Waits until `look` says so.
///
/// # Errors
/// `Failed` with `what` when it did not within `limit`; what `look` says.
pub fn until(what: &str, limit: Duration, mut look: impl FnMut() -> Inject<bool>) -> Inject<()> {
    let begun = Instant::now();
    let mut told = false;
    while !look()? {
        if begun.elapsed() >= limit {
            return Err(InjectError::Failed(format!("Waited {} s in vain: {what}.", limit.as_secs())));
        }
        if !told && begun.elapsed() >= TELL_AFTER {
            eprintln!("waiting for at most {} s: {what}", limit.as_secs());
            told = true;
        }
        sleep(STEP);
    }
    Ok(())
}

/// Sleeps: for workers, and between two looks of `--expect`.
pub fn pause(time: Duration) {
    sleep(time);
}

/// How long something has taken so far.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Whole seconds.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.0.elapsed().as_secs()
    }
}
