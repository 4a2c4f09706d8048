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

/// What a core did since the machine started, whoever caused it. Sampled at the kernel's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreTime {
    /// Not idle: other programs are in it.
    pub busy: Duration,
    /// Handling interrupts: the kernel's part of receiving is here.
    pub interrupts: Duration,
}

impl CoreTime {
    /// Until now.
    ///
    /// # Errors
    /// `/proc/stat` does not tell.
    pub fn now(core: usize) -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        Self::parse(&text, core).ok_or_else(|| io::Error::other("/proc/stat does not tell of that core"))
    }

    /// The part after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            interrupts: self.interrupts.saturating_sub(earlier.interrupts),
        }
    }

    /// The kernel counts in hundredths of a second: user, nice, system, idle, iowait, irq, softirq, steal.
    fn parse(text: &str, core: usize) -> Option<Self> {
        let name = format!("cpu{core}");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '))?;
        let numbers: Result<Vec<u64>, _> = line.split_whitespace().take(8).map(str::parse).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, steal] = numbers.ok()?.try_into().ok()?;
        let time = |hundredths| Duration::from_millis(hundredths * 10);
        let interrupts = time(irq + softirq);
        Some(Self { busy: time(user + nice + system + steal) + interrupts, interrupts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_with_all_but_idling() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 1 2 3 1000 1000 4 5 6 1 1\ncpu10 1 1 1 1 1 1 1 1 1 1\n";
        let times = |busy, interrupts| {
            let [busy, interrupts] = [busy, interrupts].map(Duration::from_millis);
            Some(CoreTime { busy, interrupts })
        };
        assert_eq!(CoreTime::parse(text, 1), times(210, 90));
        assert_eq!((CoreTime::parse(text, 10), CoreTime::parse(text, 2)), (times(60, 20), None));
    }
}
