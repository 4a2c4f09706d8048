//! The trunk, or the canary? What a silent canary, or one that ended silent, is worth against what the guests say, and for how long.
//!
//! ```text
//! heard again                                                              at once: the trunk works
//! it did not try to beat                                                   at once: the canary is broken
//! more guests heard than overdue, at two looks with others heard between   the canary is broken
//! some guests heard, however few, for DISTRUSTED_MAXIMUM                    the canary is broken
//! its own end explains its silence, and it cannot come back for that long, though the guests' side is there
//!                                                                          there is no canary
//! nobody heard at all                                                      the trunk is dead, for as long as that lasts
//! ```
//! A return that is too short for those to be judged who were silent when it began does not begin that time anew: see [`borne`](super::borne).
//! The last is what a dead trunk looks like, and the paths stay unknown: to judge guests then would be to accuse the living.

use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::{Canary, CanaryState, Monitor, TRIED_WITHIN_TENTHS};

/// How long the trunk may be distrusted when it is likely the canary that is broken. While it is silent it is asked five times a second:
/// no trunk that is merely bad loses 1,500 of its heartbeats and carries those of a guest. Far longer than a flood
/// that drowns everybody else is left to itself, and than the canary needs to be made anew (five attempts in 62 s).
pub(super) const DISTRUSTED_MAXIMUM: Duration = Duration::from_secs(300);
/// And at least so many intervals of the canary.
const DISTRUSTED_INTERVALS: u32 = 3;
/// Within which its thread notices that its adapter is gone or down (it looks every second), and says so.
const END_SEEN_WITHIN: Duration = Duration::from_secs(2);

/// That it ended while it accused the trunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    since: Instant,
    /// It was not silent for longer than its end takes to be noticed, so that alone may be why.
    explains: bool,
}

/// What became clear.
enum Verdict {
    /// It is the canary that has failed.
    Broken(&'static str),
    /// One that had ended accuses the trunk no more; what is to be told of it.
    TakenBack(Option<&'static str>),
}

impl Canary {
    /// It says that it cannot run. It may have said so before, of the same end.
    pub(super) fn end_accusing(&mut self, now: Instant) {
        if self.ended_accusing.is_none() && self.accuses_trunk() {
            let noticed = self.interval() + END_SEEN_WITHIN;
            let explains = self.heard.is_some_and(|heard| now.since(heard) <= noticed);
            self.ended_accusing = Some(Ended { since: now, explains });
        }
    }

    /// What it stood on is gone or down, so no guest is heard by it either. Said once for each time that it is: guests that are heard
    /// refute it. One that was never heard has not proved that it stood on the guests' side.
    pub(super) fn begin_cut(&mut self, now: Instant, forgiven: bool) {
        if std::mem::replace(&mut self.cut, true) || self.accuses_trunk() || self.heard.is_none() {
            return;
        }
        self.ended_accusing = Some(Ended { since: now, explains: true });
        self.lost_since = now;
        self.next_look = now + self.interval();
        self.accuse_anew(now, forgiven);
    }

    /// It accuses the trunk from now on. `forgiven`: the last return has forgiven somebody who was neither heard nor judged since.
    pub(super) fn accuse_anew(&mut self, now: Instant, forgiven: bool) {
        self.guests_beat_since = None;
        let is_another = !forgiven || now.since(self.since) >= self.distrusted_maximum();
        self.borne.begin(is_another);
    }

    /// What it stood on is there again, and it cannot be made there. Guests could have been heard from now on only.
    pub(super) fn end_cut(&mut self, now: Instant) {
        if std::mem::take(&mut self.cut)
            && let Some(ended) = &mut self.ended_accusing
        {
            ended.since = now;
        }
    }

    /// It came up once more, and nothing of it arrives: its end was not why.
    pub(super) fn is_unheard_again(&mut self) {
        if let Some(ended) = &mut self.ended_accusing {
            ended.explains = false;
        }
    }

    fn distrusted_maximum(&self) -> Duration {
        DISTRUSTED_MAXIMUM.max(self.interval().saturating_mul(DISTRUSTED_INTERVALS))
    }

    /// Nobody knows anything while the monitor's own adapter is down: that time does not count, and what had passed before does.
    pub(in crate::monitor) fn handle_adapter(&mut self, now: Instant, up: bool) {
        self.borne.pause();
        if !up {
            self.deaf_since.get_or_insert(now);
            return;
        }
        let since = self.deaf_since.take().unwrap_or(now);
        if let Some(ended) = &mut self.ended_accusing {
            ended.since = ended.since + now.since(since.max(ended.since));
        }
    }
}

impl Monitor {
    /// To be called at each look while the canary accuses the trunk, or has ended so.
    pub(super) fn weigh_canary(&mut self, now: Instant, as_of: Instant) {
        if !self.adapter_down
            && let Some(verdict) = self.verdict(now, as_of)
        {
            self.on_verdict(now, verdict);
        }
    }

    fn verdict(&mut self, now: Instant, as_of: Instant) -> Option<Verdict> {
        let canary = self.canary.as_mut()?;
        let heard_since = |since| self.tracker.evidence(since, as_of);
        let evidence = heard_since(canary.lost_since);
        let alive = evidence.is_alive();
        let later = canary.guests_beat_since.is_some_and(|since| heard_since(since).heard > 0);
        canary.spares_trunk &= alive;
        canary.guests_beat_since = alive.then(|| canary.guests_beat_since.unwrap_or(as_of));
        let patience = canary.distrusted_maximum();
        let lately = evidence.lately > 0;
        canary.borne.look(as_of, patience, lately, lately || heard_since(Instant::ZERO).lately > 0);
        // Somebody was heard all that time, and one again after it.
        let some_beat = canary.borne.over().is_some_and(|over| heard_since(over).heard > 0);
        let most_beat = alive && later;
        if let Some(ended) = canary.ended_accusing {
            let may_end = ended.explains && !canary.cut && canary.state == CanaryState::Off;
            let gone = may_end && ended.since + patience <= now;
            return match (most_beat, some_beat, gone) {
                (true, ..) => Some(Verdict::TakenBack(None)),
                (false, true, _) => Some(Verdict::TakenBack(Some("some guests have beaten for minutes"))),
                (false, false, true) => Some(Verdict::TakenBack(Some("it cannot be made any more"))),
                (false, false, false) => None,
            };
        }
        let tried_within = canary.interval().saturating_mul(TRIED_WITHIN_TENTHS) / 10;
        let tries = canary.tried.is_some_and(|tried| now.since(tried) < tried_within);
        match (tries, most_beat, some_beat) {
            (false, ..) => Some(Verdict::Broken("it did not even try to beat: its thread is held up")),
            (true, true, _) => Some(Verdict::Broken("guests of the same trunk beat")),
            (true, false, true) => {
                Some(Verdict::Broken("some guests of the same trunk have beaten for minutes"))
            }
            (true, false, false) => None,
        }
    }

    fn on_verdict(&mut self, now: Instant, verdict: Verdict) {
        let Some(canary) = &mut self.canary else { return };
        match verdict {
            Verdict::Broken(reason) => {
                canary.set(now, CanaryState::Broken, Some(reason.to_owned()));
                self.tracker.handle_unproved();
                let text = format!("the canary is silent, and the trunk works: {reason}");
                self.remark(now, "CANARY_SILENT", text);
            }
            Verdict::TakenBack(why) => {
                canary.ended_accusing = None;
                if let Some(why) = why {
                    let text = format!("the trunk is watched without a canary, which ended silent: {why}");
                    self.remark(now, "CANARY_OFF", text);
                }
            }
        }
    }
}
