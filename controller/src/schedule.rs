//! When to poll what. Pure.
//!
//! ```text
//!        poll_interval        poll_interval           poll_interval
//!   QUICK ------------> QUICK ------------> ATTENTION ------------> QUICK ...
//!                                              ^
//!     at start, after an outage, when a silence reaches its VMFDT, in fast mode always
//! ```
//!
//! A VM with a VMFDT of its own that is too short for that: every poll asks for attention, and they are no further apart than a
//! third of the VMFDT. A path is missing after 1.9 of at least three intervals in a VMFDT, so that its silence is known in time.
//!
//! Fast mode: some VM is to be called failed after less than 10 s, or the poll interval is below 1 s. Every poll then
//! asks for attention, and the driver looks at the store's change stamp every 100 ms, so that an edge is seen at once.

use std::time::Duration;

use vmpulse_protocol::time::Instant;

/// Every third poll is a needs-attention query.
const CADENCE: u32 = 3;

/// How often the change stamp is looked at in fast mode.
pub const WATCH: Duration = Duration::from_millis(100);

/// How often reports that were asked for are looked for.
pub const REPORT_WATCH: Duration = Duration::from_secs(2);

/// A store that fails is tried again after this, or after the poll interval if that is shorter: soon enough to lose
/// little time, seldom enough not to disturb a store in trouble.
pub const RETRY: Duration = Duration::from_secs(2);

/// Needs-attention queries for silences that reach their VMFDT are at least this far apart, in fast mode and otherwise:
/// a thousand silences of slightly different ages are looked at together.
pub const SHORTEST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What is to be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Hosts and host monitors.
    Quick,
    /// VMs too.
    Attention,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Schedule {
    poll_interval: Duration,
    scan: u32,
    fast: bool,
    /// Attention is to be asked for at least this often.
    within: Option<Duration>,
    next: Instant,
    /// When a silence reaches its VMFDT, or work is left over.
    attention: Option<Instant>,
    reports: Option<Instant>,
}

impl Schedule {
    /// Polls at once.
    #[must_use]
    pub fn new(poll_interval: Duration, now: Instant) -> Self {
        Self {
            poll_interval,
            scan: 0,
            fast: false,
            within: None,
            next: now,
            attention: Some(now),
            reports: None,
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or [`reports_due`](Self::reports_due) next.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        [self.attention, self.reports].into_iter().flatten().fold(self.next, Instant::min)
    }

    /// Whether the change stamp is to be watched.
    #[must_use]
    pub const fn watches(&self) -> bool {
        self.fast
    }

    /// What is due at `now`, if anything.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Poll> {
        if self.attention.is_some_and(|due| due <= now) {
            return Some(self.take_attention(now));
        }
        if self.next > now {
            return None;
        }
        self.scan = self.scan.wrapping_add(1);
        if self.fast || self.within.is_some() || self.scan.is_multiple_of(CADENCE) {
            return Some(self.take_attention(now));
        }
        self.next = now + self.poll_interval;
        Some(Poll::Quick)
    }

    fn take_attention(&mut self, now: Instant) -> Poll {
        self.attention = None;
        self.next = now + self.pause();
        Poll::Attention
    }

    fn pause(&self) -> Duration {
        self.within.map_or(self.poll_interval, |within| within.min(self.poll_interval))
    }

    /// The shortest VMFDT that a VM has of its own; before [`on_answer`](Self::on_answer).
    pub fn on_shortest(&mut self, now: Instant, vmfdt: Option<Duration>) {
        let within = vmfdt.map(|vmfdt| vmfdt / 3);
        self.within = within.filter(|within| *within < self.poll_interval * CADENCE);
        self.next = self.next.min(now + self.pause());
    }

    /// Somebody wrote to the store: ask for attention now.
    pub fn on_change(&mut self, now: Instant) {
        self.attention = Some(now);
    }

    /// A poll was answered. `again_in`: when the next silence reaches its VMFDT. `fast`: some VM has a short one.
    pub fn on_answer(&mut self, now: Instant, again_in: Option<Duration>, fast: bool) {
        self.fast = fast || self.poll_interval < Duration::from_secs(1);
        if let Some(again_in) = again_in {
            let (fast, usual) = SHORTEST;
            self.attention = Some(now + again_in.max(if self.fast { fast } else { usual }));
        }
    }

    /// A poll failed: try again soon, and ask for everything then.
    pub fn on_failure(&mut self, now: Instant) {
        let due = now + self.poll_interval.min(RETRY);
        self.next = due;
        self.attention = Some(due);
        self.reports = None;
    }

    /// Whether reports are to be looked for at `now`.
    pub fn reports_due(&mut self, now: Instant) -> bool {
        self.reports.take_if(|due| *due <= now).is_some()
    }

    /// Reports were looked for or asked for; `pending`: some are still to come.
    pub fn on_reports(&mut self, now: Instant, pending: bool) {
        self.reports = pending.then(|| self.reports.unwrap_or(now + REPORT_WATCH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);

    fn at(milliseconds: u64) -> Instant {
        Instant::from_millis(milliseconds)
    }

    #[test]
    fn quick_quick_attention() {
        let mut schedule = Schedule::new(INTERVAL, at(0));
        let mut polls = Vec::new();
        for _ in 0..7 {
            let now = schedule.poll_timeout();
            polls.push((now.as_nanos() / 1_000_000_000, schedule.handle_timeout(now).unwrap()));
            assert_eq!(schedule.handle_timeout(now), None, "a spurious call is a no-op");
        }
        use Poll::{Attention as A, Quick as Q};
        assert_eq!(polls, [(0, A), (20, Q), (40, Q), (60, A), (80, Q), (100, Q), (120, A)]);
    }

    #[test]
    fn a_silence_is_looked_at_when_it_reaches_its_threshold() {
        let mut schedule = Schedule::new(INTERVAL, at(0));
        schedule.handle_timeout(at(0));
        schedule.on_answer(at(0), Some(Duration::from_secs(7)), false);
        assert_eq!(schedule.poll_timeout(), at(7_000));
        assert_eq!(schedule.handle_timeout(at(7_000)), Some(Poll::Attention));
        schedule.on_answer(at(7_000), Some(Duration::ZERO), false);
        assert_eq!(schedule.poll_timeout(), at(8_000), "never a tight loop");
    }

    #[test]
    fn a_short_detection_time_is_kept() {
        let mut schedule = Schedule::new(INTERVAL, at(0));
        schedule.handle_timeout(at(0));
        schedule.on_shortest(at(0), Some(Duration::from_secs(30)));
        assert_eq!(schedule.poll_timeout(), at(10_000));
        assert_eq!(schedule.handle_timeout(at(10_000)), Some(Poll::Attention));
        schedule.on_shortest(at(10_000), Some(Duration::from_secs(90)));
        assert_eq!(schedule.handle_timeout(at(20_000)), Some(Poll::Attention));
        schedule.on_shortest(at(20_000), Some(Duration::from_secs(90)));
        assert_eq!(schedule.poll_timeout(), at(40_000), "no further apart than polls are");
        schedule.on_shortest(at(20_000), Some(Duration::from_secs(180)));
        assert_eq!(schedule.handle_timeout(at(40_000)), Some(Poll::Attention), "the third poll");
        assert_eq!(
            schedule.handle_timeout(at(60_000)),
            Some(Poll::Quick),
            "long enough for the usual cadence"
        );
    }

    #[test]
    fn fast_mode_asks_for_attention_each_time_and_at_changes() {
        let mut schedule = Schedule::new(INTERVAL, at(0));
        schedule.handle_timeout(at(0));
        assert!(!schedule.watches());
        schedule.on_answer(at(0), None, true);
        assert!(schedule.watches());
        assert_eq!(schedule.handle_timeout(at(20_000)), Some(Poll::Attention));
        schedule.on_change(at(20_300));
        assert_eq!(schedule.handle_timeout(at(20_300)), Some(Poll::Attention));
        schedule.on_answer(at(20_300), None, false);
        assert!(!schedule.watches());
        let mut short = Schedule::new(Duration::from_millis(500), at(0));
        short.on_answer(at(0), None, false);
        assert!(short.watches());
    }

    #[test]
    fn a_failed_poll_is_repeated_soon_and_asks_for_everything() {
        let mut schedule = Schedule::new(INTERVAL, at(0));
        schedule.handle_timeout(at(0));
        schedule.on_failure(at(20_000));
        assert_eq!(schedule.poll_timeout(), at(22_000));
        assert_eq!(schedule.handle_timeout(at(22_000)), Some(Poll::Attention));
    }

    #[test]
    fn reports_are_looked_for_every_two_seconds_while_some_are_pending() {
        let mut schedule = Schedule::new(INTERVAL, at(0));
        schedule.handle_timeout(at(0));
        schedule.on_reports(at(0), true);
        assert_eq!(schedule.poll_timeout(), at(2_000));
        schedule.on_reports(at(1_000), true);
        assert_eq!(schedule.poll_timeout(), at(2_000), "asking for more does not put it off");
        assert!(!schedule.reports_due(at(1_999)) && schedule.reports_due(at(2_000)));
        schedule.on_reports(at(2_000), false);
        assert_eq!(schedule.poll_timeout(), at(20_000));
    }
}
