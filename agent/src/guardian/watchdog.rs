//! The hardware watchdog: it resets the guest unless it is fed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use vmpulse_protocol::time::Instant;

/// Written before closing it, this says that it is not to act (the "magic close" of the kernel's watchdog drivers).
const MAGIC_CLOSE: &[u8] = b"V";
/// Anything else feeds it.
const FOOD: &[u8] = b"\0";
/// Times that it is fed within its time: three may be lost.
const FEEDINGS: u32 = 4;

/// An open watchdog. Dropped without [`release`](Self::release) it acts.
#[derive(Debug)]
pub(super) struct Watchdog {
    device: File,
    period: Duration,
    next: Instant,
}

impl Watchdog {
    /// Opens it, which starts it, and tells it after how long without being fed it is to act; it may know other times only.
    pub(super) fn open(path: &Path, after: Duration, now: Instant) -> io::Result<Self> {
        let device = OpenOptions::new().write(true).open(path)?;
        let seconds = u16::try_from(after.as_secs()).unwrap_or(u16::MAX);
        let given = vmpulse_link::set_watchdog_timeout(&device, seconds)
            .or_else(|_| vmpulse_link::watchdog_timeout(&device));
        let given = given.map_or(after, |seconds| Duration::from_secs(seconds.into()));
        let mut watchdog = Self { device, period: given.min(after) / FEEDINGS, next: now };
        watchdog.feed_if_due(now)?;
        Ok(watchdog)
    }

    pub(super) fn feed_if_due(&mut self, now: Instant) -> io::Result<()> {
        if now < self.next {
            return Ok(());
        }
        self.next = now + self.period;
        self.device.write_all(FOOD)
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// The guest is not to be reset because nobody feeds it any more.
    pub(super) fn release(mut self) -> io::Result<()> {
        self.device.write_all(MAGIC_CLOSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in the device's place: what is written to it is what the driver would get.
    #[test]
    fn it_is_fed_four_times_within_its_time_and_released_by_the_magic_close() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        let mut now = Instant::from_millis(5);
        let mut watchdog = Watchdog::open(&path, Duration::from_secs(20), now).unwrap();
        assert_eq!(watchdog.next(), now + Duration::from_secs(5));
        for _ in 0..40 {
            now = now + Duration::from_millis(500);
            watchdog.feed_if_due(now).unwrap();
        }
        watchdog.release().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0\0\0\0V");
    }
}
