//! When a VM is silent.

use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};

use super::Turn;
use super::db::Row;
use super::rows::age;
use crate::{MissedHeartbeats, StoreError};

/// What one path says of its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathHealth {
    /// Its host monitor is responsive, GLOBAL and not blind; else it says nothing.
    pub(super) known: bool,
    /// Age of its open silence, as far as it counts.
    pub(super) missed: Option<Duration>,
    /// It fell silent with most of its trunk.
    pub(super) common: bool,
    /// The host that it leads to.
    pub(super) host: Option<i64>,
    /// Age of its open silence, all of it.
    pub(super) silent: Option<Duration>,
    /// Age of its last handshake, or of its first heartbeat after a silence.
    pub(super) heard: Duration,
    /// How long ago the VM was last known to live by it, if it is not known.
    pub(super) alive: Option<Duration>,
}

impl PathHealth {
    /// The VM was heard on another host after this path fell silent: it moved, and what is silent here is where it was.
    fn is_left_behind(&self, paths: &[Self]) -> bool {
        self.silent.is_some_and(|silent| {
            paths.iter().any(|other| {
                other.host.is_some() && self.host.is_some() && other.host != self.host && other.heard < silent
            })
        })
    }
}

impl Turn<'_> {
    /// From the columns of `health_columns!`, the first of which is `at`.
    pub(super) fn path_health(self, row: &Row<'_>, at: usize) -> Result<PathHealth, StoreError> {
        let known = row.get(at)?;
        Ok(PathHealth {
            known,
            missed: age(row, at.saturating_add(1), self.now)?,
            common: row.get(at.saturating_add(2))?,
            host: row.get(at.saturating_add(3))?,
            silent: age(row, at.saturating_add(4), self.now)?,
            heard: age(row, at.saturating_add(5), self.now)?.unwrap_or_default(),
            alive: age(row, at.saturating_add(6), self.now)?.filter(|_| !known),
        })
    }
}

/// A VM is silent when every known path misses that was not left behind, and there is at least one: since the youngest of
/// the silences, and not before it was last known to live by a path that is unknown now. [L-9]
pub(super) fn missed(paths: &[PathHealth]) -> Option<MissedHeartbeats> {
    let mut found: Option<MissedHeartbeats> = None;
    let alive = paths.iter().filter_map(|path| path.alive).min();
    let alive = alive.filter(|_| !is_on(Bug::UnknownForgotten)).unwrap_or(Duration::MAX);
    for path in paths.iter().filter(|path| path.known && !path.is_left_behind(paths)) {
        let age = path.missed?;
        let youngest = age.min(alive);
        let new = MissedHeartbeats { youngest, oldest: age, excused: Duration::ZERO, common: true };
        let so_far = found.unwrap_or(new);
        found = Some(MissedHeartbeats {
            youngest: if is_on(Bug::OldestSilence) {
                so_far.youngest.max(age)
            } else {
                so_far.youngest.min(age)
            },
            oldest: so_far.oldest.max(age),
            common: so_far.common && path.common,
            ..so_far
        });
    }
    found
}

/// Silence counts from the end of an announced one, so long ago.
pub(super) fn excuse(missed: MissedHeartbeats, quiet_ended: Option<Duration>) -> MissedHeartbeats {
    let excused = quiet_ended.map_or(Duration::ZERO, |ended| missed.youngest.saturating_sub(ended));
    MissedHeartbeats { excused, ..missed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(known: bool, missed_s: Option<u64>, common: bool) -> PathHealth {
        let missed = missed_s.map(Duration::from_secs);
        let heard = Duration::from_hours(9);
        PathHealth { known, missed, common, host: Some(1), silent: missed, heard, alive: None }
    }

    /// [L-9]
    #[test]
    fn not_silent_for_longer_than_it_was_last_known_to_live() {
        let alive =
            |seconds| PathHealth { alive: Some(Duration::from_secs(seconds)), ..path(false, None, false) };
        let youngest = |paths: &[PathHealth]| missed(paths).map(|missed| missed.youngest.as_secs());
        assert_eq!(
            youngest(&[path(true, Some(3600), false), alive(80)]),
            Some(80),
            "its monitor died 80 s ago"
        );
        assert_eq!(youngest(&[path(true, Some(20), false), alive(3600)]), Some(20));
        assert_eq!(youngest(&[alive(80)]), None);
    }

    /// [L-9]
    #[test]
    fn where_a_vm_was_before_it_moved_says_nothing_of_it() {
        let heard_there = |seconds, known| PathHealth {
            host: Some(2),
            heard: Duration::from_secs(seconds),
            ..path(known, None, false)
        };
        let silent = path(true, Some(300), false);
        assert_eq!(missed(&[silent, heard_there(250, false)]), None, "the new host's monitor is not known");
        assert!(missed(&[silent, heard_there(400, false)]).is_some(), "it was a twin that was heard there");
        let died = PathHealth {
            missed: Some(Duration::from_secs(30)),
            silent: Some(Duration::from_secs(30)),
            ..heard_there(250, true)
        };
        assert_eq!(missed(&[silent, died]).map(|missed| missed.oldest.as_secs()), Some(30));
    }

    /// [L-9]
    #[test]
    fn only_when_every_known_path_misses() {
        let silent = |youngest, oldest, common| {
            let (youngest, oldest) = (Duration::from_secs(youngest), Duration::from_secs(oldest));
            Some(MissedHeartbeats { youngest, oldest, excused: Duration::ZERO, common })
        };
        assert_eq!(missed(&[]), None);
        assert_eq!(missed(&[path(false, Some(50), false)]), None);
        assert_eq!(missed(&[path(true, Some(50), false), path(true, None, false)]), None);
        assert_eq!(missed(&[path(true, Some(50), true), path(false, None, false)]), silent(50, 50, true));
        assert_eq!(
            missed(&[path(true, Some(20), true), path(true, Some(3600), false)]),
            silent(20, 3600, false)
        );
    }
}
