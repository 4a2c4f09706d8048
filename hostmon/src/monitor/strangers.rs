//! Guests that shook hands and are not in the roster: what they are is asked of the store.
//!
//! A roster names the VMs of this host only, so that its size does not follow the fleet's. Who else opened a path (a VM
//! that moved here, one that was removed, whatever somebody makes up) is asked for by name: few at once, since the
//! sessions hold at most [`STRANGERS_MAXIMUM`](crate::sessions::STRANGERS_MAXIMUM) of them. Until the answer is there
//! nothing is said of them and nothing is told them.

use std::collections::BTreeSet;
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{RosterVm, Standing};

use super::Monitor;
use super::notes::Note;

/// Between two questions: a flood of made-up guests is asked about in large groups, and a VM that moved here waits
/// for less than its shortest interval.
const ASK_PERIOD: Duration = Duration::from_millis(50);

/// Strangers that beat and are asked about at once; others are when these are answered.
const BEATING_MAXIMUM: usize = 64;

/// Whether there is something to ask, and when it may be asked.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: bool,
    not_before: Option<Instant>,
    /// They beat, and are to stop if they are nobody's.
    beating: BTreeSet<VmUuid>,
    /// Of these open paths the store has said that they are nobody's here: as many as the sessions hold strangers at most.
    not_ours: BTreeSet<VmUuid>,
}

impl Questions {
    /// There is a stranger of whom nothing is known, or not of late.
    pub(super) fn ask(&mut self) {
        self.open = true;
    }

    /// Whether the store has said of this open path that it is nobody's here. What the guest says is of no consequence only then: until
    /// it is answered the VM may be one that moved here.
    pub(super) fn is_not_ours(&self, vm: VmUuid) -> bool {
        self.not_ours.contains(&vm)
    }

    /// Its path was opened or closed: what was answered before does not hold.
    pub(super) fn forget(&mut self, vm: VmUuid) {
        self.not_ours.remove(&vm);
    }

    /// Whether another stranger that beats may be asked about.
    pub(super) fn has_room(&self) -> bool {
        self.beating.len() < BEATING_MAXIMUM
    }

    /// A stranger beats.
    pub(super) fn ask_of_beating(&mut self, vm: VmUuid) {
        self.beating.insert(vm);
        self.ask();
    }

    /// Whether it was asked about for that; it is not any more.
    pub(super) fn take_beating(&mut self, vm: VmUuid) -> bool {
        self.beating.remove(&vm)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.open.then(|| self.not_before.unwrap_or(Instant::ZERO))
    }
}

impl Monitor {
    /// Every guest with an open path that is not in the roster, if the store is to be asked now: for
    /// [`Store::standings`](vmpulse_store::Store::standings), whose answer is
    /// [`Input::Standings`](super::Input::Standings). The same are asked about again after each roster that was read,
    /// until there is another question.
    pub fn take_question(&mut self, now: Instant) -> Option<Vec<VmUuid>> {
        self.questions.poll_timeout().filter(|due| *due <= now)?;
        self.questions.open = false;
        // Before, nobody is known to be a stranger; and whoever was taken out has nobody to ask about.
        if !self.roster_known || self.removed {
            return None;
        }
        self.questions.not_before = Some(now + ASK_PERIOD);
        let sessions = &self.sessions;
        self.questions.beating.retain(|vm| sessions.is_open(*vm));
        let mut guests: Vec<VmUuid> = self.sessions.unregistered().collect();
        guests.sort_unstable();
        Some(guests)
    }

    pub(super) fn on_standings(&mut self, now: Instant, standings: Vec<(VmUuid, Standing)>) {
        for (vm, standing) in standings {
            self.questions.forget(vm);
            if matches!(standing, Standing::Unknown | Standing::Removed) && self.sessions.is_open(vm) {
                self.questions.not_ours.insert(vm);
            }
            if self.sessions.is_registered(vm) {
                // By a roster that is newer than the question.
                self.questions.take_beating(vm);
                continue;
            }
            match standing {
                Standing::Elsewhere(moved) => {
                    self.questions.take_beating(vm);
                    self.on_moved(now, &moved);
                }
                Standing::Unknown => {
                    self.on_not_ours(now, vm);
                    self.stop_if_beating(now, vm);
                    self.report_unmanaged(now, vm);
                }
                Standing::Removed => {
                    self.on_not_ours(now, vm);
                    self.stop_if_beating(now, vm);
                }
                // The next roster has it, and what it is to be told follows from that.
                Standing::Here => drop(self.questions.take_beating(vm)),
            }
        }
        // Who came by may beat faster than everybody here, or was the fastest and is gone.
        self.on_intervals_changed(now);
    }

    /// Alive is alive, whichever host's monitor hears it. [S-20]
    fn on_moved(&mut self, now: Instant, moved: &RosterVm) {
        let vm = moved.uuid;
        if !self.sessions.is_open(vm) {
            return;
        }
        if !self.watched.contains_key(&vm) {
            self.write_opened(now, vm);
            self.note(Note::Moved { vm });
        }
        self.on_visiting(now, moved);
    }

    /// It was of this host, or came by, until now.
    fn on_not_ours(&mut self, now: Instant, vm: VmUuid) {
        if self.watched.contains_key(&vm) {
            self.on_roster_vm_gone(now, vm);
        }
    }
}
