//! A turn of the polling thread: what the schedule has due is asked of the store and given to the core. The daemon and the
//! simulator drive the same one.

use vmpulse_protocol::time::Instant;
use vmpulse_store::{Store, StoreError};

use crate::controller::Clock;
use crate::record::Recorded;
use crate::schedule::Schedule;

/// See the module.
#[derive(Debug)]
pub struct Polling {
    /// The core.
    pub controller: Recorded,
    schedule: Schedule,
    /// The store's change stamp, as it was seen last.
    stamp: Option<u64>,
}

impl Polling {
    /// Nothing was asked yet.
    #[must_use]
    pub const fn new(controller: Recorded, schedule: Schedule) -> Self {
        Self { controller, schedule, stamp: None }
    }

    /// When something is due.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Does what is due.
    ///
    /// # Errors
    /// What the store says; then [`on_failure`](Self::on_failure) is to follow.
    pub fn turn(&mut self, store: &mut dyn Store, clock: Clock<'_>) -> Result<(), StoreError> {
        if self.schedule.watches() {
            let stamp = store.change_stamp()?;
            if self.stamp.replace(stamp).is_some_and(|before| before != stamp) {
                self.schedule.on_change(clock());
            }
        }
        if let Some(poll) = self.schedule.handle_timeout(clock()) {
            let outcome = self.controller.turn(store, clock, poll)?;
            self.schedule.on_shortest(clock(), outcome.shortest);
            self.schedule.on_answer(clock(), outcome.again_in, outcome.fast);
            if let Some(pending) = outcome.reports_pending {
                self.schedule.on_reports(clock(), pending);
            }
        }
        if self.schedule.reports_due(clock()) {
            let pending = self.controller.reports(store, clock, clock())?;
            self.schedule.on_reports(clock(), pending);
        }
        Ok(())
    }

    /// A store that was opened again may be another one: nothing that was remembered of it need hold.
    pub fn on_reopened(&mut self, now: Instant) {
        self.stamp = None;
        self.controller.on_failure(now, None);
        self.schedule.on_change(now);
    }

    /// The store could not be asked.
    pub fn on_failure(&mut self, now: Instant, error: &StoreError) {
        self.stamp = None;
        self.controller.on_failure(now, Some(error));
        self.schedule.on_failure(now);
    }
}
