//! The thread that talks to the store, so that a slow one holds up nobody.

mod strangers;

use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::errors;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, QuietAnswer, Roster, Standing, Store, StoreError};

use crate::pending::{Pending, Waiting};
use strangers::{Question, Strangers};

/// Between looks at whether somebody else wrote to the store: a request is known of well within 100 ms.
const LOOK_PERIOD: Duration = Duration::from_millis(40);
/// The roster is read this often even if nothing seems to have changed.
const ROSTER_PERIOD: Duration = Duration::from_secs(5);
/// Between two commits: what guests say meanwhile is committed together, so that one that talks without end does not
/// keep the disk busy. Far below the retransmission timeout.
const COMMIT_PERIOD: Duration = Duration::from_millis(20);
/// After a failure the store is tried again this late.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// What the store said.
#[derive(Debug)]
pub(super) enum Reply {
    Stored { up_to: u64, quiets: Vec<QuietAnswer> },
    Roster(Roster),
    Standings(Vec<(VmUuid, Standing)>),
    Unreachable { error: String },
}

/// The driver's end. Both queues are unbounded as channels; what can be in them is bounded by [`Pending`] and by
/// the reader's period.
pub(super) struct StoreThread {
    writes: Sender<Waiting>,
    replies: UnboundedReceiver<Reply>,
    question: Question,
}

impl StoreThread {
    pub(super) fn start(
        store: Box<dyn Store>,
        host_monitor: HostMonitorId,
        clock: MonotonicClock,
    ) -> std::io::Result<Self> {
        let (writes, waiting) = channel();
        let (replies, received) = unbounded_channel();
        let now = clock.now();
        let question = Question::default();
        let worker = Worker {
            strangers: Strangers::new(question.clone()),
            store,
            host_monitor,
            clock,
            waiting,
            replies,
            pending: Pending::default(),
            stamp: None,
            next_roster: now,
            next_try: now,
            hash: RandomState::new(),
            told: None,
        };
        std::thread::Builder::new().name("store".to_owned()).spawn(move || worker.run())?;
        Ok(Self { writes, replies: received, question })
    }

    /// The guests to ask about from now on: at once, and after each roster that was read.
    pub(super) fn ask_about(&self, guests: Vec<VmUuid>) {
        self.question.put(guests);
    }

    pub(super) fn push(&self, waiting: Waiting) {
        // The thread ends only with the daemon; `reply` tells of that.
        let _ = self.writes.send(waiting);
    }

    pub(super) fn reply_now(&mut self) -> Option<Reply> {
        self.replies.try_recv().ok()
    }

    pub(super) async fn reply(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }
}

struct Worker {
    store: Box<dyn Store>,
    host_monitor: HostMonitorId,
    clock: MonotonicClock,
    waiting: Receiver<Waiting>,
    replies: UnboundedSender<Reply>,
    pending: Pending,
    stamp: Option<u64>,
    next_roster: Instant,
    next_try: Instant,
    hash: RandomState,
    /// A hash of the roster that was told last: it may name thousands of VMs.
    told: Option<u64>,
    strangers: Strangers,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.waiting.recv_timeout(self.patience()) {
                Ok(waiting) => self.pending.push(waiting),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(waiting) = self.waiting.try_recv() {
                self.pending.push(waiting);
            }
            let now = self.clock.now();
            if now < self.next_try {
                continue;
            }
            self.next_try = now + COMMIT_PERIOD;
            if let Err(error) = self.turn(now) {
                self.next_try = now + RETRY_PERIOD;
                self.pending.failed();
                self.tell(Reply::Unreachable { error: errors::chain(&error) });
            }
        }
    }

    /// Not longer than until what waits may be committed.
    fn patience(&self) -> Duration {
        let until = self.next_try.since(self.clock.now());
        if self.pending.is_empty() { LOOK_PERIOD } else { until.clamp(Duration::from_millis(1), LOOK_PERIOD) }
    }

    fn turn(&mut self, now: Instant) -> Result<(), StoreError> {
        while let Some((up_to, batch)) = self.pending.batch(now) {
            let applied = self.store.host_monitor_apply_once(self.host_monitor, &batch)?;
            self.pending.committed();
            if batch.iter().any(|(_, write)| changes_roster(write)) {
                self.next_roster = now;
            }
            self.tell(Reply::Stored { up_to, quiets: applied.quiets });
        }
        let stamp = self.store.change_stamp()?;
        if self.stamp != Some(stamp) || now >= self.next_roster {
            let roster = self.store.roster(self.host_monitor)?;
            self.stamp = Some(stamp);
            self.next_roster = now + ROSTER_PERIOD;
            self.tell_roster(roster);
            self.strangers.ask_again();
        }
        if let Some(standings) = self.strangers.ask(&mut *self.store, self.host_monitor)? {
            self.tell(Reply::Standings(standings));
        }
        Ok(())
    }

    /// An unchanged roster without requests says nothing new.
    fn tell_roster(&mut self, roster: Roster) {
        let hash = self.hash.hash_one(&roster);
        if self.told != Some(hash) || !roster.requests.is_empty() {
            self.told = Some(hash);
            self.tell(Reply::Roster(roster));
        }
    }

    fn tell(&self, reply: Reply) {
        // The driver is gone only when the process ends.
        let _ = self.replies.send(reply);
    }
}

/// Our own commits do not change the stamp, but these may change what the store wants. A silence does not: thousands at once
/// must not wait for rosters in between.
const fn changes_roster(write: &HostMonitorWrite) -> bool {
    !matches!(
        write,
        HostMonitorWrite::Heartbeat
            | HostMonitorWrite::NodeEvent { .. }
            | HostMonitorWrite::PathMissing { .. }
    )
}
