//! What is written to the store for a decision about a VM, so that each incident is told once.
//!
//! The state of the machine is the VM's Restart_phase in the store: a controller that is killed between two writes
//! goes on where it was. Every step may be repeated, and the phase is written before the event it stands for:
//! whatever is repeated meets an incident key that is still open.
//!
//! ```text
//!            silent, below VMFDT            silent for VMFDT: FAILURE is told
//!    NONE <----------------------> WAITING ----------------------------------> FAILED
//!     ^ ^         heard                                                          |
//!     | |  not judged any more: the incident is closed, nothing is told          |
//!     | +------------------------------------------------------------------------+
//!     |        the incident is closed                 heard: RECOVERED is told   |
//!     +---------------------------------- HEARD AGAIN <--------------------------+
//! ```
//!
//! In FAILED a silence that looks shorter than VMFDT (the VM was heard for a moment between two polls, the age may not
//! be believed, VMFDT was raised), an announced one and an unknown one change nothing: it is the same incident until the VM is heard.

use super::vm::{Decision, Silence, Verdict};

/// How the phase of a failed VM begins.
const FAILED: &str = "VM failure detected for VM ";
/// How the phase between telling a recovery and closing its incident begins.
const HEARD_AGAIN: &str = "Heartbeats arrive again from VM ";

/// One write for a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Replace its Restart_phase; empty: none.
    Phase(String),
    /// Write VM_FAILURE_DETECTED unless its incident is open.
    TellFailure,
    /// Write VM_RECOVERED unless it was written since the last failure.
    TellRecovery,
    /// Close the failure's incident.
    CloseFailure,
    /// Let the next recovery be told.
    CloseRecovery,
}

/// The phase as the machine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    None,
    Other,
    Failed,
    HeardAgain,
}

impl Phase {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            Self::None
        } else if text.starts_with(FAILED) {
            Self::Failed
        } else if text.starts_with(HEARD_AGAIN) {
            Self::HeardAgain
        } else {
            Self::Other
        }
    }
}

/// Whether this phase says that a failure of the VM is open.
#[must_use]
pub fn is_failed(phase: &str) -> bool {
    Phase::of(phase) == Phase::Failed
}

/// The writes that follow from `decision` for a VM whose phase in the store is `phase`, in their order.
#[must_use]
pub fn steps(phase: &str, decision: &Decision) -> Vec<Step> {
    let mut steps = match Phase::of(phase) {
        Phase::Failed => from_failed(decision),
        Phase::HeardAgain => {
            let mut steps = vec![Step::CloseFailure];
            steps.extend(from_calm(decision));
            steps
        }
        Phase::None | Phase::Other => from_calm(decision),
    };
    steps.retain(|step| *step != Step::Phase(phase.to_owned()));
    steps
}

fn from_calm(decision: &Decision) -> Vec<Step> {
    match decision.verdict {
        Verdict::NotEligible { .. } | Verdict::Heard | Verdict::Announced => {
            vec![Step::Phase(String::new())]
        }
        Verdict::Unknown if decision.case.silence == Silence::NoPath => vec![Step::Phase(String::new())],
        Verdict::Unknown | Verdict::Waiting { .. } => vec![Step::Phase(decision.rationale())],
        // An incident still open here is of a VM that was removed meanwhile.
        Verdict::Failed { .. } => vec![
            Step::CloseFailure,
            Step::CloseRecovery,
            Step::Phase(format!("{FAILED}{}. No recovery in this version", decision.case.name)),
            Step::TellFailure,
        ],
    }
}

fn from_failed(decision: &Decision) -> Vec<Step> {
    match decision.verdict {
        Verdict::NotEligible { .. } => vec![Step::CloseFailure, Step::Phase(String::new())],
        Verdict::Unknown | Verdict::Announced | Verdict::Waiting { .. } => Vec::new(),
        Verdict::Failed { .. } => vec![Step::TellFailure],
        Verdict::Heard => vec![
            // Told late if the process ended right after it had decided.
            Step::TellFailure,
            Step::TellRecovery,
            Step::Phase(format!("{HEARD_AGAIN}{}", decision.case.name)),
            Step::CloseFailure,
            Step::Phase(String::new()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::vm::tests::{case, silent};
    use super::super::vm::{Silence, VmCase, decide};
    use super::*;

    /// A store of one VM.
    #[derive(Clone, Default)]
    struct Record {
        phase: String,
        open: BTreeSet<&'static str>,
        events: Vec<&'static str>,
    }

    impl Record {
        fn apply(&mut self, step: &Step) {
            match step {
                Step::Phase(text) => self.phase.clone_from(text),
                Step::TellFailure => self.tell("failure"),
                Step::TellRecovery => self.tell("recovery"),
                Step::CloseFailure => {
                    self.open.remove("failure");
                }
                Step::CloseRecovery => {
                    self.open.remove("recovery");
                }
            }
        }

        fn tell(&mut self, name: &'static str) {
            if self.open.insert(name) {
                self.events.push(name);
            }
        }

        /// One poll that is killed after `survives` writes.
        fn poll(&mut self, silence: Silence, survives: usize) {
            for step in steps(&self.phase, &decide(case(silence))).iter().take(survives) {
                self.apply(step);
            }
        }
    }

    const ALL: usize = usize::MAX;

    #[test]
    fn an_incident_is_told_once_and_so_is_its_end() {
        let mut record = Record::default();
        record.poll(silent(50), ALL);
        assert_eq!(record.phase, "Missed HB count 50 for VM vmraix1 is less than its VMFDT 190");
        for age in [190, 250, 300] {
            record.poll(silent(age), ALL);
        }
        assert_eq!(record.phase, "VM failure detected for VM vmraix1. No recovery in this version");
        assert_eq!(record.events, ["failure"]);
        record.poll(Silence::Unknown, ALL);
        record.poll(Silence::Announced, ALL);
        record.poll(silent(10), ALL);
        assert!(is_failed(&record.phase), "neither unknown nor announced nor a shorter silence ends it");
        record.poll(Silence::Heard, ALL);
        record.poll(Silence::Heard, ALL);
        assert_eq!((record.phase.as_str(), record.events.as_slice()), ("", &["failure", "recovery"][..]));
        record.poll(silent(200), ALL);
        record.poll(Silence::Heard, ALL);
        assert_eq!(record.events, ["failure", "recovery", "failure", "recovery"]);
    }

    #[test]
    fn killed_between_any_two_writes_nothing_is_lost_and_nothing_doubled() {
        let story = [silent(50), silent(200), Silence::Heard, silent(200), Silence::Heard];
        for first in 0..6 {
            for second in 0..6 {
                for third in 0..6 {
                    let mut record = Record::default();
                    for (index, silence) in story.into_iter().enumerate() {
                        let cuts = [ALL, first, second, third, ALL];
                        record.poll(silence, cuts[index]);
                        // The controller is started again: the same situation, a new poll.
                        record.poll(silence, ALL);
                    }
                    assert_eq!(
                        record.events,
                        ["failure", "recovery", "failure", "recovery"],
                        "killed after {first}, {second}, {third} writes"
                    );
                    assert_eq!((record.phase.as_str(), record.open.contains("failure")), ("", false));
                }
            }
        }
    }

    #[test]
    fn killed_before_the_event_and_heard_again_meanwhile_it_is_told_late() {
        let mut record = Record::default();
        record.poll(silent(200), 3);
        assert!(is_failed(&record.phase) && record.events.is_empty());
        record.poll(Silence::Heard, ALL);
        assert_eq!(record.events, ["failure", "recovery"]);
    }

    #[test]
    fn a_vm_that_is_not_judged_any_more_leaves_nothing_open() {
        let mut record = Record::default();
        record.poll(silent(200), ALL);
        let stopped = decide(VmCase { state: vmpulse_store::VmState::Stopped, ..case(silent(300)) });
        for step in steps(&record.phase, &stopped) {
            record.apply(&step);
        }
        assert_eq!((record.phase.as_str(), record.open.contains("failure")), ("", false));
        assert_eq!(record.events, ["failure"]);
    }

    #[test]
    fn a_steady_situation_writes_nothing() {
        assert_eq!(steps("", &decide(case(Silence::Heard))), []);
        assert_eq!(steps("", &decide(case(Silence::NoPath))), []);
        assert_eq!(steps("", &decide(case(Silence::Announced))), []);
        let waiting = decide(case(silent(50)));
        assert_eq!(steps(&waiting.rationale(), &waiting), []);
    }
}
