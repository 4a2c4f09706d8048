//! Unknown is never silence: nobody is declared failed unless a monitor that answers, and hears its trunk, has known it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::{Checker, failure};
use crate::event::Event;
use crate::names::{Hm, Vm};
use crate::settings::MONITOR_RESPONSIVE;

/// Between a poll and what is told of it, with a slow store.
const TOLERANCE: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    heard: BTreeSet<(Vm, Hm)>,
    committed: BTreeMap<Hm, Instant>,
    blind: BTreeMap<Hm, Instant>,
}

impl Checker for Unknown {
    fn name(&self) -> &'static str {
        "unknown"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        match event {
            Event::Beat { vm, hm, .. } | Event::Opened(vm, hm) => {
                self.heard.insert((*vm, *hm));
            }
            Event::Committed(hm, _) => {
                self.committed.insert(*hm, at);
            }
            // What it writes when it runs again may be read before it knows that it is written.
            Event::Stalled(hm, _) => {
                self.committed.insert(*hm, at);
            }
            Event::Blind(hm, true) => {
                self.blind.insert(*hm, at);
            }
            Event::Blind(hm, false) => {
                self.blind.remove(hm);
            }
            // Its start is in the store a moment before it knows that.
            Event::MonitorUp(hm) => {
                self.blind.remove(hm);
                self.committed.insert(*hm, at);
            }
            _ => {}
        }
        let Some(vm) = failure(event) else { return Ok(()) };
        let knows = |(_, hm): &&(Vm, Hm)| {
            let committed = self.committed.get(hm).map(|committed| at.since(*committed));
            let blind = self.blind.get(hm).is_some_and(|since| at.since(*since) > TOLERANCE);
            !blind && committed.is_some_and(|age| age < MONITOR_RESPONSIVE + TOLERANCE)
        };
        if self.heard.iter().filter(|(of, _)| *of == vm).any(|known| knows(&known)) {
            return Ok(());
        }
        Err(format!("{vm} was declared failed, and no monitor that answers has known it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::failure_of;

    const HM: Hm = Hm { host: 0, trunk: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// Whether a failure may be declared so many seconds after this.
    fn may_fail(before: &[(u64, Event)], seconds: u64) -> bool {
        let mut checker = Unknown::default();
        for (when, event) in before {
            assert_eq!(checker.on_event(at(*when), event), Ok(()));
        }
        checker.on_event(at(seconds), &failure_of(Vm(0))).is_ok()
    }

    #[test]
    fn a_failure_of_one_that_no_monitor_that_answers_has_known_is_found() {
        let opened = (10, Event::Opened(Vm(0), HM));
        let committed = |seconds| (seconds, Event::Committed(HM, 1));
        assert!(may_fail(&[opened.clone(), committed(200)], 210));
        assert!(!may_fail(&[], 210), "nobody has known it");
        let other = (10, Event::Opened(Vm(1), HM));
        assert!(!may_fail(&[other, committed(200)], 210), "nor has this one");
        assert!(!may_fail(std::slice::from_ref(&opened), 210), "it has never reached the store");
        assert!(!may_fail(&[opened, committed(100)], 210), "it does not answer any more");
    }

    #[test]
    fn a_failure_by_the_word_of_a_monitor_that_is_blind_is_found() {
        let known = [(10, Event::Opened(Vm(0), HM)), (200, Event::Committed(HM, 1))];
        let blind = |seconds, is| (seconds, Event::Blind(HM, is));
        let with = |more: &[(u64, Event)]| may_fail(&[&known, more].concat(), 230);
        assert!(!with(&[blind(205, true)]));
        assert!(with(&[blind(225, true)]), "it has only just become so");
        assert!(with(&[blind(205, true), blind(206, false)]), "it hears again");
    }
}
