//! Proof by the canary that the trunk carries frames: nobody is accused before the trunk is known to have worked after
//! that guest's time was up.
//!
//! ```text
//!            canary heard                      canary silent, or adapter down
//!  Unproved --------------> Heard(at) --------------------------------------> Cut: nobody is judged
//!     ^        no canary       |                                               |
//!     +------------------------+             trunk back: silences start anew   |
//!     +<----------------------------------------------------------------------+
//! ```
//! A guest and the canary beat in any phase to each other, so when a trunk is cut a guest may be due before the canary is
//! overdue. Deadlines alone would therefore accuse it. What counts is order: a heartbeat of the canary that *arrived
//! after* the guest's time was up proves that the trunk worked up to then.

use vmpulse_protocol::time::Instant;

use super::{State, Tracker, Watch};
use crate::by_vm::Hint;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    /// There is no canary: guests are judged by their own silence.
    #[default]
    Unproved,
    /// When the canary's latest heartbeat arrived.
    Heard(Instant),
    /// The trunk is not trusted.
    Cut,
}

/// See the module. Those that wait are in no line and in no schedule, so they are few or all of a dying trunk.
#[derive(Debug, Default)]
pub(super) struct Proof {
    trust: Trust,
    /// Whose time was up, and when that was found.
    waiting: Vec<(Hint, Instant)>,
    /// Of those, who may be judged now.
    proved: Vec<Hint>,
    /// When the trunk was trusted again: whose silence counts from exactly then was not heard since.
    mended: Option<Instant>,
}

/// What the guests say of the trunk, see [`Tracker::evidence`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Guests heard after the moment asked about, and within their interval.
    pub heard: usize,
    /// Guests that beat before and whose heartbeat is overdue; not who announced to be silent.
    pub overdue: usize,
    /// Guests heard after the moment asked about, and within three of their intervals: one that loses a heartbeat now and then is
    /// among them.
    pub lately: usize,
}

/// Silence that one may have who was heard lately, in intervals.
const LATELY_INTERVALS: u32 = 3;

impl Evidence {
    /// Whether the trunk works by what the guests say: of those whose heartbeat was to come, more came than not.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        self.heard > self.overdue
    }
}

impl Tracker {
    /// There is a canary, and it was heard at `arrived`.
    pub fn handle_proof(&mut self, arrived: Instant) {
        if self.proof.trust == Trust::Cut {
            return;
        }
        let latest = match self.proof.trust {
            Trust::Heard(before) => before.max(arrived),
            Trust::Unproved | Trust::Cut => arrived,
        };
        self.proof.trust = Trust::Heard(latest);
        let Proof { waiting, proved, .. } = &mut self.proof;
        waiting.retain(|(at, due)| {
            let waits = *due > latest;
            if !waits {
                proved.push(*at);
            }
            waits
        });
    }

    /// There is no canary, or it cannot be relied on: whoever waits for it is judged without.
    pub fn handle_unproved(&mut self) {
        if self.proof.trust == Trust::Cut {
            return;
        }
        self.proof.trust = Trust::Unproved;
        let waiting = std::mem::take(&mut self.proof.waiting);
        self.proof.proved.extend(waiting.into_iter().map(|(at, _)| at));
    }

    /// The trunk is not trusted from now on: nobody is judged. Silences that are open stay as they are.
    pub fn handle_cut(&mut self) {
        self.proof = Proof { trust: Trust::Cut, mended: self.proof.mended, ..Proof::default() };
    }

    /// The trunk is trusted again. Silence of whoever was not MISSING before counts from now on: what could not be
    /// heard is not held against anybody.
    pub fn handle_mended(&mut self, now: Instant) {
        if self.proof.trust != Trust::Cut {
            return;
        }
        self.proof = Proof { mended: Some(now), ..Proof::default() };
        let hints: Vec<Hint> = self.watches.hints().collect();
        for at in hints {
            let Some((_, watch)) = self.watches.at_mut(at).filter(|(_, watch)| watch.state != State::Missing)
            else {
                continue;
            };
            watch.silent_from = watch.silent_from.max(now);
            let (state, since, allowed) = (watch.state, watch.silent_from, watch.allowed());
            if state != State::Beating || !self.lines.enter(at, since, allowed) {
                self.schedule_look(at);
            }
        }
    }

    /// Whether somebody whose silence was forgiven when the trunk was trusted again was neither heard nor judged since, and is not
    /// silent by announcement. Looks at all of them.
    #[must_use]
    pub fn has_forgiven(&self, now: Instant) -> bool {
        let mut watches = self.watches.hints().filter_map(|at| self.watches.at(at));
        watches.any(|(vm, watch)| {
            let is_quiet = || self.quiet.get(&vm).is_some_and(|over| *over + watch.allowed() > now);
            watch.state != State::Missing && self.is_forgiven(watch) && !is_quiet()
        })
    }

    fn is_forgiven(&self, watch: &Watch) -> bool {
        self.proof.mended == Some(watch.silent_from)
    }

    /// Whether somebody's time is up and only the canary is waited for.
    #[must_use]
    pub fn wants_proof(&self) -> bool {
        !self.proof.waiting.is_empty()
    }

    /// What the guests say of the trunk since `since`. Looks at all of them.
    #[must_use]
    pub fn evidence(&self, since: Instant, now: Instant) -> Evidence {
        let mut evidence = Evidence::default();
        for at in self.watches.hints() {
            let Some((vm, watch)) = self.watches.at(at).filter(|(_, watch)| watch.state == State::Beating)
            else {
                continue;
            };
            // A tenth of an interval is more than what a heartbeat is late by on a trunk that works.
            let is_overdue = now.since(watch.silent_from) > watch.interval.saturating_mul(11) / 10;
            if is_overdue && self.quiet.get(&vm).is_some_and(|over| *over + watch.allowed() > now) {
                continue;
            }
            evidence.overdue = evidence.overdue.saturating_add(usize::from(is_overdue));
            let since_then = watch.silent_from > since && !self.is_forgiven(watch);
            let is_heard = !is_overdue && since_then;
            evidence.heard = evidence.heard.saturating_add(usize::from(is_heard));
            let is_lately = now.since(watch.silent_from) <= watch.interval.saturating_mul(LATELY_INTERVALS);
            evidence.lately = evidence.lately.saturating_add(usize::from(is_lately && since_then));
        }
        evidence
    }

    /// By when every path that is MISSING now has had the chance to beat, if any is.
    #[must_use]
    pub fn chance_of_the_missing(&self, now: Instant) -> Option<Instant> {
        let watches = self.watches.hints().filter_map(|at| self.watches.at(at));
        let missing = watches.filter(|(_, watch)| watch.state == State::Missing);
        missing.map(|(_, watch)| now + watch.allowed()).max()
    }

    /// Whether heartbeats of one that is MISSING may have come lately without being heard; then until when that is to be waited for.
    #[must_use]
    pub fn doubt_of_the_missing(&self, now: Instant) -> Option<Instant> {
        let watches = self.watches.hints().filter_map(|at| self.watches.at(at));
        let missing = watches.filter(|(_, watch)| watch.state == State::Missing);
        missing.filter_map(|(_, watch)| Some(self.doubts.defer(now, watch.interval)?.0)).max()
    }

    /// Nobody is judged while the trunk is not trusted.
    pub(super) fn is_cut(&self) -> bool {
        self.proof.trust == Trust::Cut
    }

    /// Whose proof has come.
    pub(super) fn take_proved(&mut self) -> Vec<Hint> {
        std::mem::take(&mut self.proof.proved)
    }

    /// Whether somebody may be judged at once.
    pub(super) fn has_proved(&self) -> bool {
        !self.proof.proved.is_empty()
    }

    /// True if the guest must wait for the canary; it is looked at again when that was heard.
    pub(super) fn waits_for_proof(&mut self, now: Instant, at: Hint) -> bool {
        let waits = match self.proof.trust {
            Trust::Unproved => false,
            // Of the same moment is not after it.
            Trust::Heard(heard) => heard <= now,
            Trust::Cut => true,
        };
        if waits {
            self.proof.waiting.push((at, now));
        }
        waits
    }
}
