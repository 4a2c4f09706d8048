//! What guests were told of their suspensions, held against the store.
//!
//! A host monitor may acknowledge what only its spool has. Which of its writes those are nobody outside can see, so an answer that
//! the store does not bear out waits until no host monitor keeps anything back, and is judged by what the store says then.

use std::collections::BTreeMap;

use vmpulse_soak::fact::Fact;

use super::cluster::Cluster;
use super::guest::{Answer, Guest};
use super::log::Log;
use crate::error::Lab;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By guest, what it was told; one each, for its administrator's last word.
    open: BTreeMap<usize, bool>,
    /// Held against the store.
    pub(super) judged: u64,
    /// Never, as the administrator said something else before that could be done.
    pub(super) overtaken: u64,
}

impl Answers {
    /// For people.
    pub(super) fn unjudged(&self) -> impl Iterator<Item = String> {
        self.open.iter().map(|(vm, suspended)| {
            format!(
                "vm{} was told that its suspension ({suspended}) is known, and the store cannot be asked yet",
                vm + 1
            )
        })
    }

    fn heard(&mut self, vm: usize, suspended: bool) {
        self.overtaken += u64::from(self.open.insert(vm, suspended).is_some());
    }

    /// Leaves those that their administrators' last words bear out.
    fn leave_out_overtaken(&mut self, last: impl Fn(usize) -> Option<bool>) {
        let before = self.open.len();
        self.open.retain(|vm, suspended| last(*vm) == Some(*suspended));
        self.overtaken += (before - self.open.len()) as u64;
    }
}

/// The store's word, if it can be judged: it bears out the answer, or nobody keeps anything back.
fn judgeable(suspended: bool, stored: Option<bool>, kept: bool) -> Option<bool> {
    stored.filter(|stored| *stored == suspended || !kept)
}

impl Cluster {
    /// Notes what guests were told, and whether it is so.
    pub(super) fn note_answers(&mut self, log: &mut Log) -> Lab<()> {
        let told = |guest: &mut Guest| (guest.vm(), guest.answers());
        let answers: Vec<_> = self.guests.iter_mut().map(told).collect();
        for (vm, answers) in answers {
            for answer in answers {
                match answer {
                    Answer::Quiet(left) => log.note(Fact::QuietGranted(vm, left))?,
                    Answer::Suspension(suspended) => self.answers.heard(vm, suspended),
                }
            }
        }
        self.judge_answers(log)
    }

    fn judge_answers(&mut self, log: &mut Log) -> Lab<()> {
        let guests = &self.guests;
        self.answers.leave_out_overtaken(|vm| guests.get(vm).map(Guest::suspended));
        if self.answers.open.is_empty() {
            return Ok(());
        }
        // Before the store is asked: what is committed in between is then seen there.
        let kept = self.keeps_writes()?;
        for (vm, suspended) in self.answers.open.clone() {
            let uuid = self.guest(vm)?.uuid().to_string();
            if let Some(stored) = judgeable(suspended, self.is_suspended(&uuid)?, kept) {
                self.answers.open.remove(&vm);
                self.answers.judged += 1;
                log.note(Fact::SuspensionHeard { vm, suspended, stored, kept: false })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_the_store_does_not_bear_out_waits_only_while_something_is_kept_back() {
        assert_eq!(judgeable(true, Some(true), true), Some(true));
        assert_eq!(judgeable(true, Some(false), true), None, "it may be what is kept back");
        assert_eq!(judgeable(true, Some(false), false), Some(false), "lost");
        assert_eq!(judgeable(true, None, false), None, "the store does not answer");
    }

    #[test]
    fn the_last_word_overtakes_the_others_and_open_ones_are_told() {
        let mut answers = Answers::default();
        answers.heard(0, true);
        answers.heard(1, true);
        answers.heard(1, false);
        answers.leave_out_overtaken(|_| Some(false));
        assert_eq!((answers.open.len(), answers.overtaken), (1, 2));
        assert!(answers.unjudged().all(|line| line.contains("vm2") && line.contains("(false)")));
    }
}
