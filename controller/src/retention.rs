//! Old records are removed from the store: by the controller's daemon, and by nobody else.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_store::{PRUNE_MAXIMUM, Retention, Store, StoreError};

/// Between two looks for old records.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between two steps of one look: others write meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest time that anything can be kept.
const DAYS_MAX: u32 = 3650;

/// `[retention]` of `controller.toml`: days, 1 to 3650.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// [`Retention::events`].
    pub events_days: u32,
    /// [`Retention::node_events`].
    pub node_events_days: u32,
    /// [`Retention::conflicts`].
    pub conflicts_days: u32,
    /// [`Retention::discoveries`].
    pub discoveries_days: u32,
    /// [`Retention::removed_vms`].
    pub removed_vms_days: u32,
    /// [`Retention::exchanges`].
    pub exchanges_days: u32,
    /// [`Retention::unregistered_monitors`].
    pub unregistered_monitors_days: u32,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            events_days: 365,
            node_events_days: 30,
            conflicts_days: 30,
            discoveries_days: 30,
            removed_vms_days: 90,
            exchanges_days: 1,
            unregistered_monitors_days: 30,
        }
    }
}

impl RetentionSettings {
    /// As the store takes it.
    #[must_use]
    pub fn retention(&self) -> Retention {
        let days = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
        Retention {
            events: days(self.events_days),
            node_events: days(self.node_events_days),
            conflicts: days(self.conflicts_days),
            discoveries: days(self.discoveries_days),
            removed_vms: days(self.removed_vms_days),
            exchanges: days(self.exchanges_days),
            unregistered_monitors: days(self.unregistered_monitors_days),
        }
    }

    /// The first key that is out of range, with a sentence.
    pub(crate) fn first_fault(&self) -> Option<(&'static str, String)> {
        let keys = [
            ("retention.events_days", self.events_days),
            ("retention.node_events_days", self.node_events_days),
            ("retention.conflicts_days", self.conflicts_days),
            ("retention.discoveries_days", self.discoveries_days),
            ("retention.removed_vms_days", self.removed_vms_days),
            ("retention.exchanges_days", self.exchanges_days),
            ("retention.unregistered_monitors_days", self.unregistered_monitors_days),
        ];
        let (key, days) = keys.into_iter().find(|(_, days)| !(1..=DAYS_MAX).contains(days))?;
        Some((key, format!("{days} is not in 1 to {DAYS_MAX}")))
    }
}

/// Removes what is old, now and every minute, until nobody holds the other end of `stop`. In small steps, each a
/// transaction of its own. `store` may fail: the next look tries again, and the polling thread says what is wrong.
pub(crate) fn keep_tidy(
    keep: &Retention,
    stop: &Receiver<()>,
    mut with_store: impl FnMut(&mut dyn FnMut(&mut dyn Store) -> Result<bool, StoreError>) -> bool,
) {
    let mut rows = 0_u64;
    loop {
        let more = with_store(&mut |store| {
            let pruned = store.prune(keep, PRUNE_MAXIMUM)?;
            rows = rows.saturating_add(u64::from(pruned.rows));
            Ok(pruned.more)
        });
        if !more && rows > 0 {
            tracing::debug!(rows, "old records removed from the health store");
            rows = 0;
        }
        let wait = if more { PAUSE } else { LOOK_EVERY };
        if stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;
    use std::sync::mpsc::channel;

    use vmpulse_store::{FixedClock, NewEvent, Severity, SqliteStore};

    use super::*;

    #[test]
    fn everything_old_goes_in_small_steps() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000_000));
        let fixed = Box::new(FixedClock(Arc::clone(&clock)));
        let mut store = SqliteStore::open(&folder.path().join("health.db"), fixed).unwrap();
        for number in 0..PRUNE_MAXIMUM + 5 {
            let incident = number.to_string();
            let event = NewEvent {
                incident: incident.clone(),
                name: "X".into(),
                severity: Severity::Warning,
                entity: "VM".into(),
                resource: "r".into(),
                description: "d".into(),
            };
            store.event_append(&event).unwrap();
            store.incident_close(&incident).unwrap();
        }
        clock.fetch_add(366 * 86_400 * 1_000_000, std::sync::atomic::Ordering::Relaxed);
        let (sender, stop) = channel();
        let (mut sender, mut steps) = (Some(sender), 0);
        keep_tidy(&RetentionSettings::default().retention(), &stop, |step| {
            steps += 1;
            let more = step(&mut store).unwrap();
            if !more {
                // The next wait ends the loop.
                sender = None;
            }
            more
        });
        assert_eq!((steps, store.events(1000).unwrap().len()), (2, 0));
    }

    #[test]
    fn the_store_means_the_same_by_default() {
        assert_eq!(RetentionSettings::default().retention(), Retention::default());
    }
}
