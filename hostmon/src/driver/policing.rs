//! Keeps the kernel told which guests are known, on a thread of its own: `nft` may take its time, heartbeats may not wait.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::errors;
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::Instant;

use crate::monitor::Monitor;
use crate::policing::{Lane, PolicingStatus};
use crate::settings::Settings;
use crate::trunk_setup::TrunkError;
use crate::trunk_setup::programs::Programs;
use crate::trunk_setup::{rules, seen};

/// Between two batches of addresses: guests that come together are told together.
const BATCH_PERIOD: Duration = Duration::from_secs(1);
/// Between looks at the table: that it is there, that it is the same one, and what it counts. A look takes `nft` some
/// 10 ms, and 35 ms with 16,000 known addresses.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// Between readings of the whole set, which somebody may have changed.
const READ_PERIOD: Duration = Duration::from_secs(60);

/// The driver's end.
pub(super) struct Policing {
    wanted: Sender<BTreeSet<MacAddr>>,
    status: Arc<Mutex<PolicingStatus>>,
    /// As of the last batch; 0: nothing yet.
    told: u64,
    next_batch: Instant,
}

impl Policing {
    pub(super) fn start(settings: &Settings, clock: MonotonicClock) -> std::io::Result<Self> {
        let (wanted, received) = channel();
        let status = Arc::new(Mutex::new(PolicingStatus::default()));
        let now = clock.now();
        let worker = Worker {
            programs: Programs::new(settings.policing_netns()),
            table: rules::table(&settings.trunk),
            clock,
            wanted: received,
            status: Arc::clone(&status),
            lane: Lane::default(),
            mark: Err(String::new()),
            next_look: now,
            next_reading: now,
            told: None,
        };
        std::thread::Builder::new().name("policing".to_owned()).spawn(move || worker.run())?;
        Ok(Self { wanted, status, told: 0, next_batch: now })
    }

    /// Tells the thread of guests that came and went, once a second at most. Costs nothing while none does.
    pub(super) fn poll(&mut self, now: Instant, monitor: &Monitor) {
        let changes = monitor.known_changes();
        // Before the store was read nobody is known, and those who were must not lose their lane.
        if now < self.next_batch || changes == self.told {
            return;
        }
        self.next_batch = now + BATCH_PERIOD;
        self.told = changes;
        // The thread ends only with the daemon.
        let _ = self.wanted.send(monitor.known_addresses());
    }

    pub(super) fn status(&self) -> PolicingStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Worker {
    programs: Programs,
    table: String,
    clock: MonotonicClock,
    wanted: Receiver<BTreeSet<MacAddr>>,
    status: Arc<Mutex<PolicingStatus>>,
    lane: Lane,
    /// The mark of the table that the lane is in, as of the last look; or why there is none.
    mark: Result<String, String>,
    next_look: Instant,
    next_reading: Instant,
    /// What was logged last: on, or why not.
    told: Option<Result<(), String>>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let patience = self.next_look.since(self.clock.now()).max(Duration::from_millis(1));
            match self.wanted.recv_timeout(patience) {
                Ok(wanted) => self.lane.want(wanted),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(wanted) = self.wanted.try_recv() {
                self.lane.want(wanted);
            }
            let turn = self.turn();
            self.tell(turn);
        }
    }

    /// Error: why the trunk is not policed.
    fn turn(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        let due = now >= self.next_look;
        if due {
            self.next_look = now + LOOK_PERIOD;
            self.look();
        }
        self.mark.as_ref().map_err(Clone::clone)?;
        let written = self.fill(now).and_then(|()| if due { self.count() } else { Ok(()) });
        written.map_err(|error| {
            // The table may be another one by now.
            self.lane.doubt();
            errors::chain(&error)
        })
    }

    fn look(&mut self) {
        let found = self.programs.nft_list(&["chains", "netdev"]).map_err(TrunkError::from);
        let found = found.and_then(|chains| Ok(seen::Table::parse(&chains, &self.table)?));
        let mark = match found {
            Ok(table) => table.filter(seen::Table::polices).and_then(|table| table.mark).ok_or_else(|| {
                format!(
                    "there is no table {} that polices; `hmmgr trunk create` makes the trunk and its table",
                    self.table
                )
            }),
            Err(error) => Err(errors::chain(&error)),
        };
        if mark != self.mark {
            self.lane.doubt();
            self.mark = mark;
        }
    }

    fn fill(&mut self, now: Instant) -> Result<(), TrunkError> {
        if self.lane.is_doubtful() || now >= self.next_reading {
            self.next_reading = now + READ_PERIOD;
            let answer = self.programs.nft_list(&["set", "netdev", &self.table, rules::KNOWN])?;
            self.lane.found(seen::elements(&answer)?);
        }
        if let Some(script) = self.lane.script(&self.table) {
            self.programs.nft(&script)?;
            self.lane.done();
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), TrunkError> {
        let answer = self.programs.nft_list(&["counters", "table", "netdev", &self.table])?;
        let counters = seen::counters(&answer)?;
        self.status.lock().unwrap_or_else(PoisonError::into_inner).counters = counters;
        Ok(())
    }

    /// For the status always, for the log once.
    fn tell(&mut self, turn: Result<(), String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.on = turn.is_ok();
        status.reason = turn.as_ref().err().cloned();
        status.known = if turn.is_ok() { self.lane.len() } else { 0 };
        if turn.is_err() {
            status.counters.clear();
        }
        drop(status);
        if self.told.as_ref() == Some(&turn) {
            return;
        }
        match &turn {
            Ok(()) => {
                tracing::info!(table = %self.table, known = self.lane.len(), "the kernel polices the trunk")
            }
            Err(reason) if self.told.is_none() => tracing::info!(%reason, "policing: off"),
            Err(reason) => tracing::warn!(%reason, "policing: off"),
        }
        self.told = Some(turn);
    }
}
