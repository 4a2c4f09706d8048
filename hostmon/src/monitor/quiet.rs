//! Announced silences: what guests say, what the store granted, and when it is over.
//!
//! The store grants, so that the host monitors of a VM and their later lives are of one mind. From when this monitor hears
//! of an announcement it counts on its own monotonic clock: another roster with the same announcement changes nothing,
//! whatever the store's clock did meanwhile.
//!
//! ```text
//!             granted, or in a roster                    its time passed: the store is told
//!  (nothing) -------------------------> in force --------------------------------------------> over
//!      ^                                 |    ^  a newer announcement                           |
//!      |                                 |    +---------------------------------------------+   |
//!      +---------------------------------+--------------------------------------------------+---+
//!            ended by the guest, and in no roster any more
//! ```

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::Message;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;
use vmpulse_store::{HostMonitorWrite, Quiet, QuietAnswer};

use super::Monitor;
use super::notes::Note;
use super::roster::Asked;
use crate::sessions::Receipt;

/// An announced silence that this monitor knows of.
#[derive(Debug)]
struct Known {
    sequence: i64,
    until: Instant,
    reason: String,
    /// The store was told so.
    over: bool,
}

/// The announced silences of the few VMs that are silent so. At most one for each VM of the roster.
#[derive(Debug, Default)]
pub(super) struct Quiets {
    known: HashMap<VmUuid, Known>,
    due: BTreeSet<(Instant, VmUuid)>,
}

/// An announced silence as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietView {
    /// Which VM.
    pub vm: VmUuid,
    /// How much longer.
    pub left: Duration,
    /// Why, in the guest's words.
    pub reason: String,
}

impl Quiets {
    /// When the next one is over.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    pub(super) fn is_in_force(&self, vm: VmUuid) -> bool {
        self.known.get(&vm).is_some_and(|known| !known.over)
    }

    pub(super) fn left(&self, now: Instant, vm: VmUuid) -> Option<Duration> {
        self.known.get(&vm).filter(|known| !known.over).map(|known| known.until.since(now))
    }

    pub(super) fn views(&self, now: Instant) -> impl Iterator<Item = QuietView> {
        let in_force = self.known.iter().filter(|(_, known)| !known.over);
        in_force.map(move |(vm, known)| QuietView {
            vm: *vm,
            left: known.until.since(now),
            reason: known.reason.clone(),
        })
    }

    /// Returns whether the announcement is news.
    fn learn(&mut self, now: Instant, quiet: &Quiet) -> bool {
        if self.known.get(&quiet.vm).is_some_and(|known| known.sequence >= quiet.sequence) {
            return false;
        }
        self.forget(quiet.vm);
        let (until, reason) = (now + quiet.left, quiet.reason.clone());
        self.due.insert((until, quiet.vm));
        self.known.insert(quiet.vm, Known { sequence: quiet.sequence, until, reason, over: false });
        true
    }

    /// Returns whether it was in force.
    fn forget(&mut self, vm: VmUuid) -> bool {
        let Some(known) = self.known.remove(&vm) else { return false };
        self.due.remove(&(known.until, vm));
        !known.over
    }

    /// The next one that is over now: since when, and its sequence. It stays known, so that a roster read before the
    /// store was told does not begin it anew.
    fn pop_over(&mut self, now: Instant) -> Option<(VmUuid, i64, Duration)> {
        let (until, vm) = self.due.first().copied().filter(|(until, _)| *until <= now)?;
        self.due.remove(&(until, vm));
        let known = self.known.get_mut(&vm)?;
        known.over = true;
        Some((vm, known.sequence, now.since(until)))
    }
}

impl Monitor {
    /// `QUIET`. Acknowledged when the store has granted something, or nothing. [Q-4]
    pub(super) fn on_quiet(&mut self, now: Instant, vm: VmUuid, receipt: Receipt, ms: u32, reason: &str) {
        if !self.speaks_quiet(vm) {
            // Not a message of the version that was agreed on.
            self.sessions.count_strange_message();
            return self.take_and_drop(now, receipt);
        }
        let asked = Duration::from_millis(ms.into()).min(self.config.quiet_max);
        let age = Duration::ZERO;
        if !self.watched.contains_key(&vm) || (ms > 0 && asked.is_zero()) {
            // Nobody counts its silence; or nothing is ever granted here. The store has nothing to say to that.
            self.take_and_drop(now, receipt);
            self.answer_quiet(now, vm, asked);
        } else if ms == 0 {
            self.write_for(now, vm, receipt, HostMonitorWrite::QuietEnded { vm, age });
        } else {
            let reason = reason.to_owned();
            self.write_for(now, vm, receipt, HostMonitorWrite::QuietAsked { vm, asked, age, reason });
        }
    }

    /// The store's answer to a `QUIET`.
    pub(super) fn on_quiet_answer(&mut self, now: Instant, answer: QuietAnswer) {
        let QuietAnswer { vm, granted, quiet } = answer;
        match quiet {
            Some(quiet) => self.learn_quiet(now, quiet),
            None => self.forget_quiet(now, vm),
        }
        self.answer_quiet(now, vm, granted);
    }

    fn answer_quiet(&mut self, now: Instant, vm: VmUuid, granted: Duration) {
        if self.speaks_quiet(vm) {
            let ms = u32::try_from(granted.as_millis()).unwrap_or(u32::MAX);
            self.send(now, vm, Asked::QuietAnswer, &Message::QuietOk { ms });
        }
    }

    fn speaks_quiet(&self, vm: VmUuid) -> bool {
        self.sessions.view(vm).is_some_and(|session| session.version >= Version::V2_1)
    }

    /// What is in force by the store. What is not any more was ended by the guest, through another host monitor perhaps.
    /// [Q-7]
    pub(super) fn on_roster_quiets(&mut self, now: Instant, quiets: Vec<Quiet>) {
        let in_force: BTreeSet<VmUuid> = quiets.iter().map(|quiet| quiet.vm).collect();
        let ended: BTreeSet<VmUuid> =
            self.quiets.known.keys().filter(|vm| !in_force.contains(vm)).copied().collect();
        for vm in ended {
            self.forget_quiet(now, vm);
        }
        for quiet in quiets {
            self.learn_quiet(now, quiet);
        }
    }

    fn learn_quiet(&mut self, now: Instant, quiet: Quiet) {
        let prolonged = self.quiets.is_in_force(quiet.vm);
        if !self.watched.contains_key(&quiet.vm) || !self.quiets.learn(now, &quiet) {
            return;
        }
        let Quiet { vm, left, reason, .. } = quiet;
        if self.tracker.is_missing(vm) && !left.is_zero() {
            // Not MISSING any more: nobody else may take its place.
            self.sessions.handle_missing(now, vm, false);
            self.write(HostMonitorWrite::PathQuiet { vm });
        }
        self.tracker.handle_quiet(now, vm, now + left);
        self.note(Note::Quiet { vm, left, reason, prolonged });
    }

    fn forget_quiet(&mut self, now: Instant, vm: VmUuid) {
        if self.quiets.forget(vm) {
            self.tracker.handle_quiet(now, vm, now);
            self.tracker.handle_quiet_over(vm);
            self.remind_silent(now, vm);
            self.note(Note::QuietOver { vm, ended: true });
        }
    }

    /// A guest that was restored from a snapshot meanwhile beats with numbers that are refused: it must shake hands anew
    /// before its silence counts again. [Q-6] [X-23]
    fn remind_silent(&mut self, now: Instant, vm: VmUuid) {
        if self.tracker.is_overdue(now, vm) {
            self.sessions.remind(now, vm);
        }
    }

    /// The VM is none of this monitor's any more.
    pub(super) fn drop_quiet(&mut self, vm: VmUuid) {
        self.quiets.forget(vm);
    }

    /// Tells the store of those that ran out. [Q-5]
    pub(super) fn end_quiets(&mut self, now: Instant) {
        while let Some((vm, sequence, age)) = self.quiets.pop_over(now) {
            self.tracker.handle_quiet_over(vm);
            self.remind_silent(now, vm);
            self.write(HostMonitorWrite::QuietOver { vm, sequence, age });
            self.note(Note::QuietOver { vm, ended: false });
        }
    }
}
