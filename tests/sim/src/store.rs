//! The health store of the world: the real SQLite back end in memory, with a clock that the world sets, behind a caller that
//! may wait, fail, or lose an answer.
//!
//! It is the same for every caller, as a PostgreSQL server would be: what the back ends have in common is proved by
//! their conformance suite, so what holds here holds for both.

mod arena;
mod faulty;
pub(crate) mod look;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_store::StoreError;

use arena::{Arena, Lease};
pub(crate) use faulty::FaultyStore;
use look::Look;

use crate::names::Hm;
use crate::plan::StoreAction;

/// The wall clock when the world begins, in microseconds.
const EPOCH_US: i64 = 1_700_000_000_000_000;
/// One call of a store that is well, at least and at most, in microseconds.
const USUAL_US: (u64, u64) = (300, 2000);
/// One call of a slow one.
const SLOW_US: (u64, u64) = (100_000, 1_500_000);
/// Until a caller gives up one that does not answer: as SQLite's and PostgreSQL's callers do.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until it hears that it cannot connect.
const REFUSAL: Duration = Duration::from_millis(2);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    Monitor(Hm),
    /// From 1.
    Controller(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Well,
    Refuses,
    Hangs,
    Slow,
}

/// What a call did that others should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreNews {
    Told { name: String, incident: String },
    Closed(String),
    Phase(vmpulse_protocol::id::VmUuid, String),
}

#[derive(Debug)]
struct Inner {
    // Always there, until it is put back.
    arena: Option<Arena>,
    random: fastrand::Rng,
    mode: Mode,
    loses_answers: u16,
    cut: BTreeSet<Caller>,
    /// The wall clock when the present turn began, and how far its calls have moved it.
    begun_us: i64,
    elapsed: Duration,
    stepped_us: i64,
    /// Grows with every commit that may mean something to anybody.
    revision: u64,
    /// With how long the turn had taken.
    news: Vec<(Duration, StoreNews)>,
    /// Incidents that are open: closing others says nothing.
    open: BTreeSet<String>,
}

/// What all callers share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    inner: Arc<Mutex<Inner>>,
}

impl Inner {
    fn tell(&mut self, news: StoreNews) {
        self.news.push((self.elapsed, news));
    }

    fn arena(&mut self) -> &mut Arena {
        self.arena.as_mut().expect("it is there until this is dropped")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(arena) = self.arena.take() {
            arena.put_back();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Backing {
    // Always there, until it is put back.
    look: Option<Look>,
    pub(crate) shared: Shared,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn of a caller begins.
    pub(crate) fn begin(&self, now: Instant) {
        let mut inner = self.lock();
        let us = i64::try_from(now.as_nanos() / 1000).unwrap_or(i64::MAX);
        inner.begun_us = EPOCH_US.saturating_add(us).saturating_add(inner.stepped_us);
        inner.elapsed = Duration::ZERO;
        self.set(&mut inner);
    }

    /// How long the calls of this turn have taken.
    pub(crate) fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    pub(crate) fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// With how long after the turn's begin each was committed.
    pub(crate) fn take_news(&self) -> Vec<(Duration, StoreNews)> {
        let mut inner = self.lock();
        let mut news = std::mem::take(&mut inner.news);
        news.retain(|(_, news)| match news {
            StoreNews::Told { incident, .. } => {
                inner.open.insert(incident.clone());
                true
            }
            StoreNews::Closed(incident) => inner.open.remove(incident),
            StoreNews::Phase(..) => true,
        });
        news
    }

    pub(crate) fn faults(&self) -> usize {
        let inner = self.lock();
        usize::from(inner.mode != Mode::Well) + usize::from(inner.loses_answers > 0) + inner.cut.len()
    }

    pub(crate) fn act(&self, action: StoreAction) {
        let mut inner = self.lock();
        match action {
            StoreAction::Refuses => inner.mode = Mode::Refuses,
            StoreAction::Hangs => inner.mode = Mode::Hangs,
            StoreAction::Slow => inner.mode = Mode::Slow,
            StoreAction::LosesAnswers { permille } => inner.loses_answers = permille,
            StoreAction::Mend => (inner.mode, inner.loses_answers) = (Mode::Well, 0),
            StoreAction::ClockStep { ms } => {
                inner.stepped_us = inner.stepped_us.saturating_add(ms.saturating_mul(1000));
            }
        }
    }

    pub(crate) fn set_cut(&self, caller: Caller, cut: bool) {
        let mut inner = self.lock();
        if cut {
            inner.cut.insert(caller);
        } else {
            inner.cut.remove(&caller);
        }
    }

    pub(crate) fn mend(&self) {
        let mut inner = self.lock();
        (inner.mode, inner.loses_answers) = (Mode::Well, 0);
        inner.cut.clear();
    }

    fn set(&self, inner: &mut Inner) {
        let elapsed = i64::try_from(inner.elapsed.as_micros()).unwrap_or(i64::MAX);
        let us = inner.begun_us.saturating_add(elapsed);
        inner.arena().clock.store(us, Ordering::Relaxed);
    }
}

impl Backing {
    /// # Errors
    /// The store cannot be made.
    pub(crate) fn new(random: fastrand::Rng) -> Result<Self, StoreError> {
        let mut arena = Arena::take()?;
        let look = arena.look.take();
        let inner = Inner {
            arena: Some(arena),
            random,
            mode: Mode::Well,
            loses_answers: 0,
            cut: BTreeSet::new(),
            begun_us: EPOCH_US,
            elapsed: Duration::ZERO,
            stepped_us: 0,
            revision: 0,
            news: Vec::new(),
            open: BTreeSet::new(),
        };
        Ok(Self { look, shared: Shared { inner: Arc::new(Mutex::new(inner)) } })
    }

    /// A connection that never fails, for what is no part of the run.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn administrator(&self) -> Result<Lease, StoreError> {
        Lease::new(&self.shared)
    }

    /// A caller's connection.
    ///
    /// # Errors
    /// It cannot reach the store.
    pub(crate) fn connect(&self, caller: Caller) -> Result<FaultyStore, StoreError> {
        FaultyStore::connect(self.administrator()?, caller, self.shared.clone())
    }

    pub(crate) fn look(&self) -> &Look {
        self.look.as_ref().expect("it is there until this is dropped")
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.shared.lock().arena().look = self.look.take();
    }
}
