//! Many seeds, several at a time. What is found does not depend on how many.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use vmpulse_store::StoreError;

use crate::plan::Plan;
use crate::run::{self, Outcome};

/// Between two reports of how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// What is taken out of one batch: more than anybody has processors.
pub const JOBS_MAXIMUM: usize = 64;

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// In how many of them something was found.
    pub failed: u64,
}

/// Which seeds, and how.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// What becomes of a seed.
    pub plan: fn(u64) -> Plan,
    /// The first seed.
    pub first: u64,
    /// The last one; `None`: until the time is over.
    pub last: Option<u64>,
    /// For how long seeds are begun.
    pub time: Option<Duration>,
    /// How many are run at a time; at most [`JOBS_MAXIMUM`].
    pub jobs: usize,
}

impl Batch {
    /// Runs them. `on_outcome` is called for each in the order of the seeds; when it returns false no other seed is begun.
    /// `on_progress` is called every 10 s.
    ///
    /// # Errors
    /// As [`run::run`].
    // How long it takes is shown to a person; nothing depends on it but when a batch that has a time ends.
    #[allow(clippy::disallowed_methods)]
    pub fn run(
        &self,
        mut on_outcome: impl FnMut(u64, &Outcome) -> bool,
        mut on_progress: impl FnMut(Summary, Duration),
    ) -> Result<Summary, StoreError> {
        let began = Instant::now();
        let next = Mutex::new(Some(self.first));
        let (sender, receiver) = mpsc::sync_channel(JOBS_MAXIMUM);
        let mut summary = Summary::default();
        thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, JOBS_MAXIMUM) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while let Some(seed) = self.take(next, began.elapsed()) {
                        if sender.send((seed, run::run(&(self.plan)(seed), None))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let stop = || *next.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let (mut waiting, mut expected, mut said) = (BTreeMap::new(), self.first, began);
            loop {
                match receiver.recv_timeout(PROGRESS) {
                    Ok((seed, outcome)) => {
                        waiting.insert(seed, outcome);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(summary),
                }
                while let Some(outcome) = waiting.remove(&expected) {
                    let outcome = outcome.inspect_err(|_| stop())?;
                    summary.seeds += 1;
                    summary.failed += u64::from(!outcome.is_well());
                    if !on_outcome(expected, &outcome) {
                        stop();
                    }
                    expected += 1;
                }
                if said.elapsed() >= PROGRESS {
                    said = Instant::now();
                    on_progress(summary, began.elapsed());
                }
            }
        })
    }

    /// The next seed to run.
    fn take(&self, next: &Mutex<Option<u64>>, elapsed: Duration) -> Option<u64> {
        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = next.filter(|seed| self.last.is_none_or(|last| *seed <= last))?;
        if self.time.is_some_and(|time| elapsed >= time) {
            return None;
        }
        *next = seed.checked_add(1);
        Some(seed)
    }
}
