//! What a thread, and a core, spent.

use std::io;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU time of one thread. The sum of the two is exact; how it is split is sampled by the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In the program.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
    /// Times it waited and was woken.
    pub wakeups: u64,
}

impl Usage {
    /// Of the calling thread, since it began.
    #[must_use]
    pub fn now() -> Self {
        // It fails for no thread that can ask.
        let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Self::default() };
        let wakeups = u64::try_from(usage.voluntary_context_switches()).unwrap_or_default();
        Self { user: duration(usage.user_time()), system: duration(usage.system_time()), wakeups }
    }

    /// The part spent after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            wakeups: self.wakeups.saturating_sub(earlier.wakeups),
        }
    }

    /// User and system.
    #[must_use]
    pub fn cpu(self) -> Duration {
        self.user + self.system
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or_default());
    seconds + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or_default())
}

/// Time a core was not idle since the machine started, by whatever ran there: interrupts, the kernel's own threads and
/// other programs are in it. Sampled at the kernel's ticks.
///
/// # Errors
/// `/proc/stat` does not tell.
pub fn core_busy(core: usize) -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat")?;
    busy(&text, core).ok_or_else(|| io::Error::other("/proc/stat does not tell of that core"))
}

/// The kernel counts in hundredths of a second: user, nice, system, idle, iowait, irq, softirq, steal.
fn busy(text: &str, core: usize) -> Option<Duration> {
    let name = format!("cpu{core}");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = ticks.try_into().ok()?;
    Some(Duration::from_millis((user + nice + system + irq + softirq + steal) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_with_all_but_idling() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 1 2 3 1000 1000 4 5 6 1 1\ncpu10 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy(text, 1), Some(Duration::from_millis(210)));
        assert_eq!((busy(text, 10), busy(text, 2)), (Some(Duration::from_millis(60)), None));
    }
}
