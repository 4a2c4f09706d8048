//! The part of a store that answers: announced silences.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, Quiet, QuietAnswer};

/// Grants what is asked, without a budget.
#[derive(Debug, Default)]
pub(super) struct Store {
    sequence: i64,
    /// What was written and not committed yet.
    asked: VecDeque<(VmUuid, Duration)>,
    quiets: BTreeMap<VmUuid, (i64, Instant)>,
}

impl Store {
    pub(super) fn handle_write(&mut self, write: &HostMonitorWrite) {
        match write {
            HostMonitorWrite::QuietAsked { vm, asked, .. } => self.asked.push_back((*vm, *asked)),
            HostMonitorWrite::QuietEnded { vm, .. } => self.asked.push_back((*vm, Duration::ZERO)),
            HostMonitorWrite::QuietOver { vm, sequence, .. } => {
                if self.quiets.get(vm).is_some_and(|(known, _)| known == sequence) {
                    self.quiets.remove(vm);
                }
            }
            _ => {}
        }
    }

    /// The monitor that wrote it is no more.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// The answer to the oldest announcement, which is committed now.
    pub(super) fn poll_answer(&mut self, now: Instant) -> Option<QuietAnswer> {
        let (vm, granted) = self.asked.pop_front()?;
        self.sequence += 1;
        if granted.is_zero() {
            self.quiets.remove(&vm);
        } else {
            self.quiets.insert(vm, (self.sequence, now + granted));
        }
        let quiet = self.quiets(now).into_iter().find(|quiet| quiet.vm == vm);
        Some(QuietAnswer { vm, granted, quiet })
    }

    /// What is in force, for a roster.
    pub(super) fn quiets(&self, now: Instant) -> Vec<Quiet> {
        let in_force = self.quiets.iter().filter(|(_, (_, until))| *until > now);
        let quiet = |(vm, (sequence, until)): (&VmUuid, &(i64, Instant))| Quiet {
            vm: *vm,
            sequence: *sequence,
            left: until.since(now),
            reason: "backup".to_owned(),
        };
        in_force.map(quiet).collect()
    }
}
