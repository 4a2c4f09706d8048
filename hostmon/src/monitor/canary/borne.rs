//! For how long the trunk has been distrusted although some guests beat.
//!
//! With each return of the canary the silence of guests counts anew, so a canary that gets a heartbeat through now and then would
//! hide the dead for ever. Therefore the time is added up over returns that were too short for anybody to be
//! judged. Only time counts in which guests were heard and the canary was not: while a trunk is cut there is none.

use std::time::Duration;

use vmpulse_protocol::time::Instant;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Borne {
    spent: Duration,
    /// The latest look at which some were heard, if the time counts.
    counting: Option<Instant>,
    /// When enough was spent.
    over: Option<Instant>,
}

impl Borne {
    /// The canary accuses the trunk. `is_another`: what was spent on the trouble of before has nothing to do with it.
    pub(super) fn begin(&mut self, is_another: bool) {
        self.counting = None;
        if is_another {
            *self = Self::default();
        }
    }

    /// What passes until the next look does not count.
    pub(super) fn pause(&mut self) {
        self.counting = None;
    }

    /// `heard`: somebody lately, since what the canary sent was lost. `at_all`: lately, be it before that.
    pub(super) fn look(&mut self, now: Instant, patience: Duration, heard: bool, at_all: bool) {
        if !heard {
            // All have fallen silent, that is what a dead trunk looks like; or nobody could be heard yet.
            return self.begin(!at_all || self.counting.is_some());
        }
        let passed = self.counting.map_or(Duration::ZERO, |before| now.since(before));
        self.spent = self.spent.saturating_add(passed);
        self.counting = Some(now);
        if self.spent >= patience {
            self.over.get_or_insert(now);
        }
    }

    /// Since when it has been too long, if it is.
    pub(super) const fn over(&self) -> Option<Instant> {
        self.over
    }
}
