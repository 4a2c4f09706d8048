//! When a VM is silent.

use std::time::Duration;

use crate::MissedHeartbeats;

/// What one path says of its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathHealth {
    /// Its host monitor is responsive, GLOBAL and not blind; else it says nothing.
    pub(super) known: bool,
    /// Age of its open silence.
    pub(super) missed: Option<Duration>,
    /// It fell silent with most of its trunk.
    pub(super) common: bool,
}

/// A VM is silent when every known path misses, and there is at least one: since the youngest of the silences. [L-9]
pub(super) fn missed(paths: impl IntoIterator<Item = PathHealth>) -> Option<MissedHeartbeats> {
    let mut found: Option<MissedHeartbeats> = None;
    for path in paths.into_iter().filter(|path| path.known) {
        let age = path.missed?;
        let new = MissedHeartbeats { youngest: age, oldest: age, excused: Duration::ZERO, common: true };
        let so_far = found.unwrap_or(new);
        found = Some(MissedHeartbeats {
            youngest: so_far.youngest.min(age),
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
        PathHealth { known, missed: missed_s.map(Duration::from_secs), common }
    }

    /// [L-9]
    #[test]
    fn only_when_every_known_path_misses() {
        let silent = |youngest, oldest, common| {
            let (youngest, oldest) = (Duration::from_secs(youngest), Duration::from_secs(oldest));
            Some(MissedHeartbeats { youngest, oldest, excused: Duration::ZERO, common })
        };
        assert_eq!(missed([]), None);
        assert_eq!(missed([path(false, Some(50), false)]), None);
        assert_eq!(missed([path(true, Some(50), false), path(true, None, false)]), None);
        assert_eq!(missed([path(true, Some(50), true), path(false, None, false)]), silent(50, 50, true));
        assert_eq!(
            missed([path(true, Some(20), true), path(true, Some(3600), false)]),
            silent(20, 3600, false)
        );
    }
}
