//! Host monitors' modes: the event log says of each change what and why, once.

use vmpulse_store::{Store, StoreError};

use super::Controller;
use crate::events::{self, MonitorName};

/// Told in one turn, each in a synced transaction; what is left over is told in the next one.
const NEWS_PER_TURN: usize = 100;

impl Controller {
    /// A monitor that could not write says so when it can again: both changes are told then.
    pub(super) fn tell_modes(&self, store: &mut dyn Store) -> Result<(), StoreError> {
        for news in store.mode_news()?.into_iter().take(NEWS_PER_TURN) {
            let name = MonitorName { id: news.host_monitor, trunk: news.trunk.as_deref(), host: &news.host };
            let event = events::vios_mode(name, news.mode, news.age, &news.text);
            if store.mode_tell(&news, &event)? {
                tracing::info!(event = event.name, "{}: {}", event.resource, event.description);
            }
        }
        Ok(())
    }
}
