//! A controller whose turns can be recorded, and the controller that is run again from a record.
//!
//! The core asks the store and the clock while it works. So what is recorded of a turn is every reading of the clock and every
//! answer of the store, in their order, each with a checksum of what was asked: in a replay the same is asked again, or
//! something is different.

mod line;
mod replay;
mod taped;

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vmpulse_local::recorder::Recorder;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{ControllerHeartbeat, Store, StoreError};

use crate::controller::{Clock, Controller, Outcome};
use crate::schedule::Poll;
use line::What;
pub use replay::{Finding, Replay, ReplayError};
use taped::Taped;

/// What a controller is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When.
    pub at_ns: u64,
    /// What it says of itself.
    pub heartbeat: ControllerHeartbeat,
}

/// Stands in the driver's place of a [`Controller`].
#[derive(Debug)]
pub struct Recorded {
    core: Controller,
    recorder: Option<Recorder>,
}

impl Recorded {
    /// With a recorder everything is recorded from now on; nothing may have happened to the core yet.
    #[must_use]
    pub const fn with(core: Controller, recorder: Option<Recorder>) -> Self {
        Self { core, recorder }
    }

    /// As [`Controller::turn`].
    ///
    /// # Errors
    /// As there.
    pub fn turn(
        &mut self,
        store: &mut dyn Store,
        clock: Clock<'_>,
        poll: Poll,
    ) -> Result<Outcome, StoreError> {
        let core = &mut self.core;
        let Some(recorder) = running(&mut self.recorder) else { return core.turn(store, clock, poll) };
        recorder.record(clock(), &What::Turn { attention: poll == Poll::Attention });
        let recorder = Mutex::new(recorder);
        let read = || {
            let now = clock();
            lock(&recorder).record(now, &What::Clock);
            now
        };
        let outcome = core.turn(&mut Taped::new(store, &recorder), &read, poll);
        finish(&mut lock(&recorder), clock(), &outcome);
        outcome
    }

    /// As [`Controller::reports`].
    ///
    /// # Errors
    /// As there.
    pub fn reports(
        &mut self,
        store: &mut dyn Store,
        clock: Clock<'_>,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let core = &mut self.core;
        let Some(recorder) = running(&mut self.recorder) else { return core.reports(store, now) };
        recorder.record(now, &What::Reports);
        let recorder = Mutex::new(recorder);
        let outcome = core.reports(&mut Taped::new(store, &recorder), now);
        finish(&mut lock(&recorder), clock(), &outcome);
        outcome
    }

    /// As [`Controller::on_failure`]; and what failed, if it is known.
    pub fn on_failure(&mut self, now: Instant, error: Option<&StoreError>) {
        if let Some(recorder) = running(&mut self.recorder) {
            let text = error.map(ToString::to_string).unwrap_or_default();
            recorder.record(now, &What::Failure(text.into()));
            recorder.hand_over();
        }
        self.core.on_failure(now);
    }

    /// What is to be said of the recorder, once.
    pub fn take_news(&mut self) -> Option<String> {
        self.recorder.as_mut()?.take_news()
    }

    /// The daemon ends.
    pub fn close(&mut self, now: Instant) {
        if let Some(recorder) = self.recorder.take() {
            recorder.close(now);
        }
    }
}

/// One that ended is not asked for anything: nothing is written down for it any more.
fn running(recorder: &mut Option<Recorder>) -> Option<&mut Recorder> {
    recorder.as_mut().filter(|recorder| recorder.ended().is_none())
}

/// It is locked by nobody else: a store may be given to another thread, and so what is in it.
fn lock<'a, T>(mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn finish<T: std::fmt::Debug>(recorder: &mut Recorder, now: Instant, outcome: &Result<T, StoreError>) {
    let sum = outcome.as_ref().ok().map(line::sum);
    recorder.record(now, &What::Done(sum));
    recorder.hand_over();
}
