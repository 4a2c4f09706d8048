//! The guardian's decision: when to beat, and when to say that the daemon hangs or died. Pure.
//!
//! ```text
//! a path:    daemon's --- a heartbeat half an interval overdue, or the daemon fails ---> ours, every interval
//!               ^                                                                         |
//!               +------------- the daemon beats there, or shakes hands anew --------------+
//!
//! the daemon: well --- no life for 1.75 s ---> hangs      (HB:G at once where that is understood)
//!               ^------- shows life again ------+
//! ```
//! A session of an earlier life of the daemon is failing until the daemon has shaken hands anew there, for which it has a while. While the guest has
//! announced a silence or is suspended, and after the daemon's deliberate end, nothing is sent and nobody is blamed.
//! [M-15]

use std::collections::VecDeque;
use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::time::Instant;

/// Paths that a guardian keeps: two trunks with as many host monitors as an adapter has room for. Further ones are not kept.
pub const PATHS: usize = 8;
/// The page tells nobody when it changes, so it is looked at this often, if nothing is due before.
pub const LOOK: Duration = Duration::from_millis(500);
/// A daemon that shows no life for so long hangs. It shows some every [`STAMP_PERIOD`], so one that stops is found out between
/// 1.25 and 1.75 s later, and the event is in the store within 2 s.
pub const HANG: Duration = Duration::from_millis(1750);
/// How often a daemon that has nothing to do shows life.
pub const STAMP_PERIOD: Duration = Duration::from_millis(500);
/// How long a daemon that was started again has for shaking hands: one with a key that the host monitor does not have takes 15.5 s,
/// and the next begins 30 s later. What it has not replaced by then is refused, or is gone, and nobody is to be told that all
/// is well there.
pub const REPLACED_WITHIN: Duration = Duration::from_secs(46);
/// A guardian that itself comes so late was kept from running, and so was the daemon: nobody is blamed for that.
const STALL: Duration = Duration::from_millis(250);

/// A path as the page has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathSeen {
    /// Tells its session from others of the slot.
    pub generation: u64,
    /// The daemon's life in which it was opened.
    pub life: u64,
    /// Interval of its heartbeats.
    pub interval: Duration,
    /// The daemon's last heartbeat.
    pub daemon_beat: Instant,
    /// The guardian's last heartbeat.
    pub guardian_beat: Instant,
    /// Whether its host monitor understands `HB:G`.
    pub knows_guardians: bool,
}

/// What the guardian sees in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Counts the daemon's starts.
    pub life: u64,
    /// The last life that ended on purpose.
    pub ended_life: u64,
    /// Whether the daemon runs, or has not said that it would end.
    pub running: bool,
    /// When it last showed life.
    pub stamp: Instant,
    /// Until when nothing is to be sent in its place.
    pub hold_until: Instant,
    /// Its paths that are to beat.
    pub paths: [Option<PathSeen>; PATHS],
}

/// Why the daemon does not beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It shows no life.
    Hangs,
    /// Another one runs, and the one before never said that it would end.
    Died,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchOutput {
    /// Send a heartbeat.
    Beat {
        /// On the path of this slot.
        slot: usize,
        /// Of the session that was seen.
        generation: u64,
        /// As `HB:G`.
        as_guardian: bool,
    },
    /// The daemon fails: said once.
    Failed(Failure),
    /// A daemon that hung shows life again.
    Recovered,
}

/// Outputs of one turn at most: a heartbeat on each path, and one of each kind.
const OUTPUTS: usize = PATHS + 3;

/// See the module.
#[derive(Clone, Debug)]
pub struct Watch {
    due: Option<Instant>,
    /// Silence before this is not the daemon's fault.
    excused_until: Instant,
    /// Of the daemon that was seen running last, and since when.
    life: Option<u64>,
    since: Instant,
    hangs: bool,
    /// Somebody is still to be told that a daemon died.
    owed: bool,
    /// Sessions on which `HB:G` was sent since the daemon began to fail.
    told: [Option<u64>; PATHS],
    outputs: VecDeque<WatchOutput>,
}

impl Watch {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            due: None,
            excused_until: now,
            life: None,
            since: now,
            hangs: false,
            owed: false,
            told: [None; PATHS],
            outputs: VecDeque::with_capacity(OUTPUTS),
        }
    }

    /// Takes what there is to see, in every turn; then [`poll_output`](Self::poll_output). Never allocates.
    pub fn handle_seen(&mut self, now: Instant, seen: &Seen) {
        if self.due.is_some_and(|due| now.since(due) >= STALL) {
            self.excused_until = now;
        }
        self.due = Some(now + LOOK);
        if !seen.running {
            (self.life, self.hangs, self.owed, self.told) = (None, false, false, [None; PATHS]);
            return;
        }
        if now < seen.hold_until {
            // What is silent now is so on purpose; afterwards the daemon has its time again.
            self.excused_until = seen.hold_until;
            self.see_life(now, seen);
            return self.wake_at(seen.hold_until);
        }
        // What was announced may have ended early.
        self.excused_until = self.excused_until.min(now);
        self.see_life(now, seen);
        self.judge(now, seen);
        self.see_paths(now, seen);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<WatchOutput> {
        self.outputs.pop_front()
    }

    /// When to look again.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// A daemon that did not say that it would end, and in whose place there is another, died.
    fn see_life(&mut self, now: Instant, seen: &Seen) {
        let before = self.life.replace(seen.life);
        if before != Some(seen.life) {
            self.since = now;
        }
        if before.is_some_and(|before| before != seen.life && before != seen.ended_life) {
            self.owed = true;
            // If it hung before, that is over, and was said.
            if !std::mem::take(&mut self.hangs) {
                self.outputs.push_back(WatchOutput::Failed(Failure::Died));
            }
        }
    }

    fn judge(&mut self, now: Instant, seen: &Seen) {
        let silent_since = seen.stamp.max(self.excused_until);
        let hangs = now.since(silent_since) >= HANG;
        if !hangs {
            self.wake_at(silent_since + HANG);
        }
        match (self.hangs, hangs) {
            (false, true) => self.outputs.push_back(WatchOutput::Failed(Failure::Hangs)),
            (true, false) => self.outputs.push_back(WatchOutput::Recovered),
            (true, true) | (false, false) => {}
        }
        self.hangs = hangs;
    }

    fn see_paths(&mut self, now: Instant, seen: &Seen) {
        if is_on(Bug::GuardianSleeps) {
            return;
        }
        let mut told_somebody = false;
        for (slot, path) in seen.paths.iter().enumerate() {
            let left_behind = |path: &&PathSeen| path.life != seen.life;
            let given_up = now.since(self.since) >= REPLACED_WITHIN;
            let Some(path) = path.as_ref().filter(|path| !(left_behind(path) && given_up)) else {
                self.set_told(slot, None);
                continue;
            };
            let failing = self.hangs || left_behind(&path);
            let news = path.knows_guardians && (failing || self.owed) && !self.is_told(slot, path);
            let due = if news { now } else { due(path, failing) };
            if due <= now {
                let as_guardian = news || failing && path.knows_guardians;
                self.outputs.push_back(WatchOutput::Beat { slot, generation: path.generation, as_guardian });
                told_somebody |= as_guardian;
                self.wake_at(now + path.interval);
            } else {
                self.wake_at(due);
            }
            if news {
                self.set_told(slot, Some(path.generation));
            } else if !failing {
                self.set_told(slot, None);
            }
        }
        self.owed &= !told_somebody;
    }

    fn is_told(&self, slot: usize, path: &PathSeen) -> bool {
        self.told.get(slot).copied().flatten() == Some(path.generation)
    }

    fn set_told(&mut self, slot: usize, generation: Option<u64>) {
        if let Some(told) = self.told.get_mut(slot) {
            *told = generation;
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.due = self.due.map(|due| due.min(at));
    }
}

/// When this path's next heartbeat is ours.
fn due(path: &PathSeen, failing: bool) -> Instant {
    let ours = path.guardian_beat > path.daemon_beat;
    let last = path.guardian_beat.max(path.daemon_beat);
    let patience = if ours || failing { Duration::ZERO } else { path.interval / 2 };
    last + path.interval + patience
}

#[cfg(test)]
mod tests;
