//! The only place that reads clocks and sleeps: everything in the lab waits for a condition with a deadline.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::error::{Lab, LabError};

/// How often a condition is looked at. Short enough not to be felt, long enough not to load two cores.
const POLL_EVERY: Duration = Duration::from_millis(40);

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM end whatever waits, so that it can clean up.
pub(crate) fn listen_for_interrupts() -> Lab<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .map_err(|source| LabError::System { action: "install a signal handler".into(), source })?;
    }
    Ok(())
}

/// Whether somebody wants this to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Looks at `probe` until it has something, fails, or the limit is over.
pub(crate) fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Lab<Option<T>>) -> Lab<T> {
    poll(limit, what, &mut probe, interrupted)
}

/// As [`until`], but an interrupt does not end it: for cleaning up.
pub(crate) fn until_ended<T>(
    limit: Duration,
    what: &str,
    mut probe: impl FnMut() -> Lab<Option<T>>,
) -> Lab<T> {
    poll(limit, what, &mut probe, || false)
}

fn poll<T>(
    limit: Duration,
    what: &str,
    probe: &mut dyn FnMut() -> Lab<Option<T>>,
    give_up: fn() -> bool,
) -> Lab<T> {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if give_up() {
            return Err(LabError::Interrupted);
        }
        if watch.elapsed() > limit {
            let last = String::new();
            return Err(LabError::Deadline { seconds: watch.seconds(), what: what.to_string(), last });
        }
        pause();
    }
}

/// As [`until`], for a text that is to have a property; the last text seen goes into the error.
pub(crate) fn until_text(
    limit: Duration,
    what: &str,
    mut read: impl FnMut() -> Lab<String>,
    good: impl Fn(&str) -> bool,
) -> Lab<String> {
    let mut seen = String::new();
    let found = until(limit, what, || {
        seen = read()?;
        Ok(good(&seen).then_some(()))
    });
    match found {
        Ok(()) => Ok(seen),
        Err(error) => Err(error.seen_last(|| seen)),
    }
}

/// As [`until`], for a JSON value that is to have a property; the last value seen goes into the error.
pub(crate) fn until_value(
    limit: Duration,
    what: &str,
    mut read: impl FnMut() -> Lab<Value>,
    good: impl Fn(&Value) -> bool,
) -> Lab<Value> {
    let mut seen = Value::Null;
    let found = until(limit, what, || {
        seen = read()?;
        Ok(good(&seen).then_some(()))
    });
    match found {
        Ok(()) => Ok(seen),
        Err(error) => Err(error.seen_last(|| format!("{seen:#}"))),
    }
}

/// One turn of a waiting loop.
#[allow(clippy::disallowed_methods)] // The one sleep of the lab, between two looks at a condition.
pub(crate) fn pause() {
    std::thread::sleep(POLL_EVERY);
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)] // The lab is a driver: it measures the real world.
    pub(crate) fn start() -> Self {
        Stopwatch(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

/// The wall clock, since 1970; for comparing with the kernel's receive time stamps only.
#[allow(clippy::disallowed_methods)] // The lab is a driver: it measures the real world.
pub(crate) fn realtime() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The machine's monotonic clock in nanoseconds: every process reads the same, so that what they noted can be put in order.
pub(crate) fn monotonic_nanos() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.ok().and_then(|now| u64::try_from(now.as_nanos()).ok()).unwrap_or(0)
}

/// Every line moved right by four, for quoting output.
pub(crate) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_comes_true_ends_with_what_was_seen() {
        let error = until_text(Duration::ZERO, "green", || Ok("red".to_string()), |text| text == "green")
            .expect_err("red is not green");
        assert!(error.to_string().contains("for green, in vain; seen last:\n    red"), "{error}");
    }

    #[test]
    fn a_failing_probe_is_not_asked_again() {
        let mut asked = 0;
        let answer: Lab<()> = until(Duration::from_secs(60), "anything", || {
            asked += 1;
            Err(LabError::Unexpected("broken".into()))
        });
        assert!(answer.is_err());
        assert_eq!(asked, 1);
    }
}
