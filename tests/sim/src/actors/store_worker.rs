//! The store thread of a host monitor: what `hostmon/src/driver/store_thread.rs` does, as a state machine, around the product's
//! own [`Pending`]. The one place that changes when that thread does.
//!
//! Looks that would find nothing new are left out: the world says when somebody else has written.

use std::time::Duration;

use vmpulse_hostmon::pending::{Pending, Waiting};
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, QuietAnswer, Roster, Store, StoreError};

use crate::store::{FaultyStore, Shared};

const LOOK_PERIOD: Duration = Duration::from_millis(40);
const ROSTER_PERIOD: Duration = Duration::from_secs(5);
const COMMIT_PERIOD: Duration = Duration::from_millis(20);
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// What the store said.
#[derive(Debug)]
pub(crate) enum Reply {
    Stored { up_to: u64, quiets: Vec<QuietAnswer> },
    Roster(Roster),
    Unreachable { error: String },
}

/// See the module.
pub(crate) struct StoreWorker {
    store: FaultyStore,
    shared: Shared,
    host_monitor: HostMonitorId,
    pending: Pending,
    /// Told while the store was busy.
    channel: Vec<Waiting>,
    stamp: Option<u64>,
    told: Option<Roster>,
    /// In the world's time.
    next_roster: Instant,
    next_try: Instant,
    busy_until: Instant,
    look_at: Option<Instant>,
    /// The roster changes as time passes: it names a silence or a request.
    ages: bool,
    failing: bool,
}

impl StoreWorker {
    pub(crate) fn new(store: FaultyStore, shared: Shared, host_monitor: HostMonitorId, now: Instant) -> Self {
        Self {
            store,
            shared,
            host_monitor,
            pending: Pending::default(),
            channel: Vec::new(),
            stamp: None,
            told: None,
            next_roster: now,
            next_try: now,
            busy_until: now,
            look_at: Some(now),
            ages: true,
            failing: false,
        }
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.channel.push(waiting);
    }

    /// Somebody else has written, or the store is not as it was: seen at the next look.
    pub(crate) fn stir(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + LOOK_PERIOD);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() + self.channel.len()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let writes = (self.waiting() > 0).then_some(self.next_try);
        let roster = self.ages.then_some(self.next_roster);
        let failing = self.failing.then_some(self.next_try);
        let due = [writes, roster, failing, self.look_at].into_iter().flatten().min();
        due.map(|due| due.max(self.busy_until).max(self.next_try))
    }

    /// A turn of its loop. `own` is the monitor's clock. Returns what it says, and when.
    pub(crate) fn turn(&mut self, now: Instant, own: Instant) -> Vec<(Instant, Reply)> {
        for waiting in self.channel.drain(..) {
            self.pending.push(waiting);
        }
        let mut replies = Vec::new();
        self.look_at = None;
        self.shared.begin(now);
        let result = self.work(now, own, &mut replies);
        let end = now + self.shared.elapsed();
        self.busy_until = end;
        self.failing = result.is_err();
        // As the real one: from the beginning of the turn.
        self.next_try = now + COMMIT_PERIOD;
        if let Err(error) = result {
            self.next_try = now + RETRY_PERIOD;
            self.pending.failed();
            replies.push((end, Reply::Unreachable { error: error.to_string() }));
        }
        replies
    }

    fn work(
        &mut self,
        now: Instant,
        own: Instant,
        replies: &mut Vec<(Instant, Reply)>,
    ) -> Result<(), StoreError> {
        while let Some((up_to, batch)) = self.pending.batch(own) {
            let applied = self.store.host_monitor_apply_once(self.host_monitor, &batch)?;
            self.pending.committed();
            if batch.iter().any(|(_, write)| changes_roster(write)) {
                self.next_roster = now;
            }
            replies.push((now + self.shared.elapsed(), Reply::Stored { up_to, quiets: applied.quiets }));
        }
        let stamp = self.store.change_stamp()?;
        if self.stamp != Some(stamp) || now >= self.next_roster {
            let roster = self.store.roster(self.host_monitor)?;
            self.stamp = Some(stamp);
            self.next_roster = now + ROSTER_PERIOD;
            self.ages = ages(&roster);
            if self.told.as_ref() != Some(&roster) || !roster.requests.is_empty() {
                self.told = Some(roster.clone());
                replies.push((now + self.shared.elapsed(), Reply::Roster(roster)));
            }
        }
        Ok(())
    }
}

fn ages(roster: &Roster) -> bool {
    let paths = roster.vms.iter().chain(&roster.visiting).filter_map(|vm| vm.path.as_ref());
    !roster.requests.is_empty()
        || !roster.quiet.is_empty()
        || paths.into_iter().any(|path| path.missed.is_some())
}

/// Our own commits do not change the stamp, but these may change what the store wants.
const fn changes_roster(write: &HostMonitorWrite) -> bool {
    !matches!(write, HostMonitorWrite::Heartbeat | HostMonitorWrite::NodeEvent { .. })
}
