//! The thread that talks to the store, so that a slow one holds up nobody: not the trunk, and not the spool.

pub(super) mod strangers;

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};

use tokio::sync::mpsc::UnboundedSender;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::errors;
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{QuietAnswer, Roster, StartWrites, Store, StoreError};

use super::spool_file;
use super::spool_thread::{Event, Reply};
use crate::clock_mark::{self, ClockMark};
use crate::local_copy;
use crate::spool::record::BootClock;
use crate::store_looks::{self, ClockReadings, LOOK_PERIOD, ROSTER_PERIOD};
use strangers::Strangers;

/// What the store is asked.
#[derive(Debug)]
pub(super) enum Job {
    /// In one transaction.
    Apply(Vec<StartWrites>),
    /// Does it answer?
    Probe,
}

/// What came of it. With the number of the job that it answers; a failure without one came of looking.
#[derive(Debug)]
pub(super) enum StoreWord {
    Ready,
    Applied(Vec<QuietAnswer>),
    Failed(String),
}

/// Opens the store; called until it succeeds.
pub(super) type Opener = Box<dyn FnMut() -> Result<Box<dyn Store>, StoreError> + Send>;

pub(super) struct StoreWorker {
    pub(super) open: Opener,
    pub(super) host_monitor: HostMonitorId,
    pub(super) clock: MonotonicClock,
    pub(super) boot: BootClock,
    /// Numbered: an answer to one that nobody waits for any more must not be taken for another's.
    pub(super) jobs: Receiver<(u64, Job)>,
    pub(super) words: Sender<Event>,
    pub(super) replies: UnboundedSender<Reply>,
    /// The roster was read: a copy is of no use any more.
    pub(super) roster_read: Arc<AtomicBool>,
    /// Where the copy is kept.
    pub(super) copy: PathBuf,
    pub(super) question: strangers::Question,
}

/// What it knows of the store.
struct State {
    store: Option<Box<dyn Store>>,
    /// Nothing waits to be replayed: it may look for what the store wants.
    looks: bool,
    stamp: Option<u64>,
    next_roster: Instant,
    hash: RandomState,
    /// A hash of the roster that was told last: it may name thousands of VMs.
    told: Option<u64>,
    strangers: Strangers,
    /// A hash of the roster that was copied last, or waits for it.
    copied: Option<u64>,
    /// When it was read.
    uncopied: Option<(Roster, Instant)>,
    next_copy: Instant,
    clock: ClockReadings,
    mark: ClockMark,
}

impl StoreWorker {
    /// `opened` hears of the first try to open the store.
    pub(super) fn run(mut self, opened: &SyncSender<Result<(), StoreError>>) {
        let now = self.clock.now();
        let mut state = State {
            store: None,
            looks: false,
            stamp: None,
            next_roster: now,
            hash: RandomState::new(),
            told: None,
            strangers: Strangers::new(self.question.clone()),
            copied: None,
            uncopied: None,
            next_copy: now,
            clock: ClockReadings::default(),
            mark: self.mark(now),
        };
        let first = (self.open)().map(|store| state.store = Some(store));
        if let Err(error) = &first {
            self.say(None, StoreWord::Failed(errors::chain(error)));
        }
        // Whoever started it waits for a moment only.
        let _ = opened.try_send(first);
        loop {
            let job = match self.jobs.recv_timeout(LOOK_PERIOD) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if job.is_none() && !state.looks {
                continue;
            }
            let (number, job) = job.unzip();
            match self.turn(&mut state, job) {
                Ok(Some(word)) => self.say(number, word),
                Ok(None) => {}
                Err(error) => {
                    self.fail(&mut state, number, &error);
                }
            }
            // What was asked for before may have changed what the store wants.
            if state.looks
                && let Err(error) = self.look(&mut state)
            {
                self.fail(&mut state, None, &error);
            }
        }
    }

    fn turn(&mut self, state: &mut State, job: Option<Job>) -> Result<Option<StoreWord>, StoreError> {
        let Some(job) = job else { return Ok(None) };
        let store = match &mut state.store {
            Some(store) => store,
            None => state.store.insert((self.open)()?),
        };
        match job {
            Job::Probe => store.now().map(|_| Some(StoreWord::Ready)),
            Job::Apply(starts) => {
                let applied = store.host_monitor_replay(self.host_monitor, &starts)?;
                if store_looks::change_roster(&starts) {
                    state.next_roster = self.clock.now();
                }
                state.looks = true;
                Ok(Some(StoreWord::Applied(applied.quiets)))
            }
        }
    }

    fn look(&self, state: &mut State) -> Result<(), StoreError> {
        let State { store: Some(store), .. } = state else { return Ok(()) };
        let now = self.clock.now();
        let stamp = store.change_stamp()?;
        if state.stamp != Some(stamp) || now >= state.next_roster {
            let mut roster = store.roster(self.host_monitor)?;
            let read = store.now()?;
            let answered = self.clock.now();
            let stepped = state.clock.steps(read, now, answered);
            if stepped {
                let _ = self.replies.send(Reply::ClockStepped);
            }
            let judgement = state.mark.judge(read, now, answered, stepped);
            let doubted = judgement.bound.is_some_and(|bound| clock_mark::bound_ages(&mut roster, bound));
            self.roster_read.store(true, Ordering::Relaxed);
            state.stamp = Some(stamp);
            state.next_roster = now + ROSTER_PERIOD;
            let hash = state.hash.hash_one(store_looks::without_ages(&roster));
            if state.copied.replace(hash) != Some(hash) {
                state.uncopied = Some((Roster { requests: Vec::new(), ..roster.clone() }, now));
            }
            self.tell_roster(state, roster);
            if doubted {
                let _ = self.replies.send(Reply::AgesDoubted);
            }
            if let Some(bytes) = judgement.keep {
                self.keep_mark(state, &bytes);
            }
            state.strangers.ask_again();
        }
        let State { store: Some(store), strangers, .. } = state else { return Ok(()) };
        if let Some(standings) = strangers.ask(&mut **store, self.host_monitor)? {
            // The driver is gone only when the process ends.
            let _ = self.replies.send(Reply::Standings(standings));
        }
        self.copy(state, false);
        Ok(())
    }

    /// An unchanged roster without requests says nothing new.
    fn tell_roster(&self, state: &mut State, roster: Roster) {
        let hash = state.hash.hash_one(&roster);
        if state.told != Some(hash) || !roster.requests.is_empty() {
            state.told = Some(hash);
            // The driver is gone only when the process ends.
            let _ = self.replies.send(Reply::Roster(roster));
        }
    }

    /// Keeps a copy of what is news; now, if the store fails. Without one a start is as it always was: it waits for the store.
    fn copy(&self, state: &mut State, at_once: bool) {
        let now = self.clock.now();
        if !at_once && now < state.next_copy {
            return;
        }
        let Some((roster, read_at)) = state.uncopied.take() else { return };
        state.next_copy = now + store_looks::copy_period(&roster);
        let bytes = local_copy::encode(&roster, &self.boot, read_at);
        if let Err(error) = spool_file::put(&self.copy, &bytes) {
            state.copied = None;
            tracing::debug!(path = %self.copy.display(), %error, "no copy of the roster");
        }
    }

    /// Beside the roster's copy.
    fn mark_path(&self) -> PathBuf {
        self.copy.with_extension("clock")
    }

    fn mark(&self, now: Instant) -> ClockMark {
        ClockMark::new(&std::fs::read(self.mark_path()).unwrap_or_default(), self.boot.clone(), now)
    }

    fn keep_mark(&self, state: &mut State, bytes: &[u8]) {
        let path = self.mark_path();
        if let Err(error) = spool_file::put(&path, bytes) {
            state.mark.not_kept();
            tracing::debug!(path = %path.display(), %error, "how the store's clock stands is not kept");
        }
    }

    fn fail(&self, state: &mut State, number: Option<u64>, error: &StoreError) {
        state.looks = false;
        self.say(number, StoreWord::Failed(errors::chain(error)));
        self.copy(state, true);
    }

    fn say(&self, number: Option<u64>, word: StoreWord) {
        // The spool is gone only when the process ends.
        let _ = self.words.send(Event::Store(number, word));
    }
}
