//! Questions about guests that are not in the roster.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{Standing, Store, StoreError};

/// The newest question, until it was taken: it takes the place of an older one, so it never queues.
#[derive(Clone, Default)]
pub(in crate::driver) struct Question(Arc<Mutex<Option<Vec<VmUuid>>>>);

impl Question {
    pub(in crate::driver) fn put(&self, guests: Vec<VmUuid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(guests);
    }

    fn take(&self) -> Option<Vec<VmUuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whom to ask about, and what was answered.
pub(super) struct Strangers {
    question: Question,
    guests: Vec<VmUuid>,
    due: bool,
    hash: RandomState,
    /// A hash of the answer that was told last.
    told: Option<u64>,
}

impl Strangers {
    pub(super) fn new(question: Question) -> Self {
        Self { question, guests: Vec::new(), due: false, hash: RandomState::new(), told: None }
    }

    /// The store changed, so the answer may have.
    pub(super) fn ask_again(&mut self) {
        self.due = true;
    }

    /// The answer to a new question, or another answer to the last one.
    pub(super) fn ask(
        &mut self,
        store: &mut dyn Store,
        host_monitor: HostMonitorId,
    ) -> Result<Option<Vec<(VmUuid, Standing)>>, StoreError> {
        if let Some(guests) = self.question.take() {
            self.guests = guests;
            self.told = None;
            self.due = true;
        }
        if !self.due || self.guests.is_empty() {
            self.due = false;
            return Ok(None);
        }
        let standings = store.standings(host_monitor, &self.guests)?;
        self.due = false;
        let hash = self.hash.hash_one(&standings);
        Ok((self.told.replace(hash) != Some(hash)).then_some(standings))
    }
}
