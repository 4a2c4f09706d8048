//! Announced silences: the event log says that they began, ended or were refused.

use vmpulse_store::{QuietChange, QuietNews, Store, StoreError};

use super::Controller;
use crate::events::{self, VmName};

/// Told in one turn, each in a synced transaction; what is left over is told in the next one.
const NEWS_PER_TURN: usize = 100;

impl Controller {
    /// The store remembers what was told, so nothing is told twice, whoever is killed in between.
    pub(super) fn tell_quiets(&self, store: &mut dyn Store) -> Result<(), StoreError> {
        for news in store.quiet_news()?.into_iter().take(NEWS_PER_TURN) {
            let name = self.memory.fleet.name_of(news.vm);
            let event = event(&news, VmName { vm: news.vm, name: &name });
            if store.quiet_tell(&news, &event)? {
                tracing::info!(event = event.name, "{}: {}", event.resource, event.description);
            }
        }
        Ok(())
    }
}

fn event(news: &QuietNews, vm: VmName<'_>) -> vmpulse_store::NewEvent {
    match news.change {
        QuietChange::Began { granted } => events::vm_quiet_began(vm, granted, &news.reason),
        QuietChange::Ended { by_guest, lasted } => events::vm_quiet_ended(vm, by_guest, lasted, &news.reason),
        QuietChange::Refused { asked } => events::vm_quiet_refused(vm, asked, &news.reason),
    }
}
