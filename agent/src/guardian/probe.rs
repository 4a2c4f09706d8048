//! The root disk: whether a read that no cache can answer ends in time.
//!
//! A guest whose disk is gone is dead even if its kernel still runs and its agent still beats. A thread reads, and the guardian
//! looks at when it last succeeded: a read that never ends holds up nobody but the thread.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use vmpulse_protocol::time::Instant;

use super::restart::STACK_BYTES;

/// Bytes of one read, aligned as direct reads must be: whatever the disk's sectors are.
const BLOCK_BYTES: usize = 4096;
/// Reads within the time that the disk may take.
const READS: u32 = 4;

#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// See the module.
#[derive(Debug)]
pub(super) struct Probe {
    limit: Duration,
    last: Arc<AtomicU64>,
    /// It answered once: a disk that never could be read is a wrong setting and no failure.
    answered: bool,
    /// When the guardian looked last, and until when it was itself kept from running: so was the reader then.
    looked: Instant,
    excused_until: Instant,
}

/// The guardian looks much more often.
const STALL: Duration = Duration::from_secs(2);

impl Probe {
    /// Reads `disk` from now on; it may take `limit` to answer. `clock`: the page's.
    pub(super) fn start(disk: &Path, limit: Duration, clock: fn() -> Instant) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(disk)?;
        let last = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&last);
        let rest = limit / READS;
        thread::Builder::new()
            .name("root-probe".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || read_for_ever(&file, rest, &told, clock))?;
        let looked = clock();
        Ok(Self { limit, last, answered: false, looked, excused_until: looked })
    }

    /// Whether the disk is gone: it answered before, and has not for longer than it may take.
    pub(super) fn is_gone(&mut self, now: Instant) -> bool {
        let last = self.last.load(Ordering::SeqCst);
        self.answered |= last > 0;
        if now.since(self.looked) >= STALL {
            self.excused_until = now;
        }
        self.looked = now;
        self.answered && now.since(Instant::from_nanos(last).max(self.excused_until)) > self.limit
    }
}

/// Every read begins where it is asked for; at the beginning, since a disk that answers there answers.
fn read_for_ever(disk: &File, rest: Duration, last: &AtomicU64, clock: fn() -> Instant) {
    let mut block = Block([0; BLOCK_BYTES]);
    loop {
        if disk.read_exact_at(&mut block.0, 0).is_ok() {
            last.store(clock().as_nanos(), Ordering::SeqCst);
        }
        #[allow(clippy::disallowed_methods)] // A driver of its own.
        thread::sleep(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(limit: Duration) -> Probe {
        let zero = Instant::ZERO;
        Probe { limit, last: Arc::default(), answered: false, looked: zero, excused_until: zero }
    }

    fn run(probe: &mut Probe, from_ms: u64, to_ms: u64) -> bool {
        (from_ms..=to_ms).step_by(100).map(|ms| probe.is_gone(Instant::from_millis(ms))).last().unwrap()
    }

    #[test]
    fn a_disk_is_gone_when_it_does_not_answer_in_time_and_back_when_it_does() {
        let mut probe = probe(Duration::from_secs(10));
        assert!(!run(&mut probe, 0, 60_000), "it never answered: a wrong setting");
        probe.last.store(Instant::from_millis(60_000).as_nanos(), Ordering::SeqCst);
        assert!(!run(&mut probe, 60_000, 70_000));
        assert!(run(&mut probe, 70_100, 70_200));
        probe.last.store(Instant::from_millis(70_200).as_nanos(), Ordering::SeqCst);
        assert!(!run(&mut probe, 70_200, 71_000));
    }

    #[test]
    fn a_guest_that_stood_still_has_not_lost_its_disk() {
        let mut probe = probe(Duration::from_secs(10));
        probe.last.store(1, Ordering::SeqCst);
        assert!(!run(&mut probe, 0, 5000));
        assert!(!run(&mut probe, 100_000, 105_000));
        assert!(run(&mut probe, 105_000, 111_000));
    }
}
