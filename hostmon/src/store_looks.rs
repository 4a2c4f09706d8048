//! What the thread that talks to the store decides by: when it looks, what is news, whether the store's clock was set. Pure, so that
//! the simulator's thread decides by the same.

use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, Roster, StartWrites, StoreTime};

/// Between looks at whether somebody else wrote to the store: a request is known of well within 100 ms.
pub const LOOK_PERIOD: Duration = Duration::from_millis(40);
/// The roster is read this often even if nothing seems to have changed.
pub const ROSTER_PERIOD: Duration = Duration::from_secs(5);
/// Between two copies of the roster, and more for each VM: ten thousand are a megabyte or two, every ten seconds at most.
const COPY_PERIOD: Duration = Duration::from_secs(1);
const COPY_PERIOD_OF_A_VM: Duration = Duration::from_millis(1);
/// The store's clock and ours may drift apart by this much between two readings; a clock that is set moves by more.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// Readings of the store's clock.
#[derive(Debug, Default)]
pub struct ClockReadings {
    /// The last, and ours before and after it.
    last: Option<(StoreTime, Instant, Instant)>,
}

impl ClockReadings {
    /// It was not read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Takes a reading, `asked` for and `answered` by our clock. Returns whether the store's advanced otherwise than ours since the
    /// one before.
    pub fn steps(&mut self, store: StoreTime, asked: Instant, answered: Instant) -> bool {
        let Some((before, asked_before, answered_before)) = self.last.replace((store, asked, answered))
        else {
            return false;
        };
        let least = asked.since(answered_before).saturating_sub(CLOCK_TOLERANCE);
        let most = answered.since(asked_before).saturating_add(CLOCK_TOLERANCE);
        // Backwards within the tolerance is an advance of nothing.
        let set_back = before.since(store) > CLOCK_TOLERANCE;
        set_back || !(least..=most).contains(&store.since(before))
    }
}

/// After a copy of this roster the next one is made no sooner.
#[must_use]
pub fn copy_period(roster: &Roster) -> Duration {
    let vms = roster.vms.len().saturating_add(roster.visiting.len());
    COPY_PERIOD.max(COPY_PERIOD_OF_A_VM.saturating_mul(u32::try_from(vms).unwrap_or(u32::MAX)))
}

/// What of a roster does not change by itself: ages grow.
#[must_use]
pub fn without_ages(roster: &Roster) -> Roster {
    let mut roster = Roster { requests: Vec::new(), ..roster.clone() };
    for vm in roster.vms.iter_mut().chain(&mut roster.visiting) {
        if let Some(missed) = vm.path.as_mut().and_then(|path| path.missed.as_mut()) {
            *missed = Duration::ZERO;
        }
    }
    roster.quiet.iter_mut().for_each(|quiet| quiet.left = Duration::ZERO);
    roster
}

/// Our own commits do not change the stamp, but these may change what the store wants. A silence does not: thousands at once
/// must not wait for rosters in between.
#[must_use]
pub fn change_roster(starts: &[StartWrites]) -> bool {
    let changes = |write: &HostMonitorWrite| {
        !matches!(
            write,
            HostMonitorWrite::Heartbeat
                | HostMonitorWrite::NodeEvent { .. }
                | HostMonitorWrite::PathMissing { .. }
        )
    };
    starts.iter().any(|start| start.writes.iter().any(|(_, write)| changes(write)))
}
