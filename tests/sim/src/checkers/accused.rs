//! No path is called missing before 1.9 intervals without a heartbeat have passed, and never with more silence than there was.
//! A silence that was said goes on, also over a restart of the monitor, and may be said again at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::heard::OpenPaths;
use super::{Checker, doubled};
use crate::event::Event;
use crate::names::{Hm, Vm};
use crate::plan::Plan;
use crate::settings::{Limits, MISSING_TENTHS};

/// Timers are rounded.
const TOLERANCE: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Accused {
    limits: Limits,
    doubled: BTreeSet<Vm>,
    /// Since the monitor's start, and ever.
    beats: BTreeMap<(Vm, Hm), Instant>,
    ever: BTreeMap<(Vm, Hm), Instant>,
    said: BTreeSet<(Vm, Hm)>,
    /// Said, and ended by a heartbeat that is neither committed nor kept yet: the monitor's next start knows nothing of that end.
    ending: BTreeSet<(Vm, Hm)>,
    /// Number of the last write of such an end.
    end: BTreeMap<Hm, u64>,
    up: BTreeMap<Hm, Instant>,
    open: OpenPaths,
}

impl Accused {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            beats: BTreeMap::new(),
            ever: BTreeMap::new(),
            said: BTreeSet::new(),
            ending: BTreeSet::new(),
            end: BTreeMap::new(),
            up: BTreeMap::new(),
            open: OpenPaths::default(),
        }
    }

    fn on_missing(&self, at: Instant, vm: Vm, hm: Hm, age: Duration) -> Result<(), String> {
        let allowed = self.limits.interval(vm) * MISSING_TENTHS / 10;
        let again = self.said.contains(&(vm, hm));
        if let Some(beat) = self.ever.get(&(vm, hm)).filter(|_| again) {
            let silence = at.since(*beat);
            if age > silence + TOLERANCE {
                return Err(format!(
                    "{hm} says again that {vm} misses, for {} ms, but its last heartbeat arrived {} ms ago",
                    age.as_millis(),
                    silence.as_millis()
                ));
            }
        } else if let Some(beat) = self.beats.get(&(vm, hm)) {
            let silence = at.since(*beat);
            if silence + TOLERANCE < allowed || age > silence + TOLERANCE {
                return Err(format!(
                    "{hm} says that {vm} misses for {} ms, but its last heartbeat arrived {} ms ago",
                    age.as_millis(),
                    silence.as_millis()
                ));
            }
        } else if let Some(up) = self.up.get(&hm).filter(|up| at.since(**up) + TOLERANCE < allowed) {
            return Err(format!(
                "{hm} started {} ms ago and says that {vm} misses",
                at.since(*up).as_millis()
            ));
        }
        Ok(())
    }
}

impl Checker for Accused {
    fn name(&self) -> &'static str {
        "accused"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.limits.on_event(event);
        self.open.on_event(event);
        match event {
            Event::Beat { vm, hm, arrived, .. } if self.open.has(*vm, *hm) => {
                self.beats.insert((*vm, *hm), *arrived);
                self.ever.insert((*vm, *hm), *arrived);
            }
            Event::Detected(vm, hm) => self.ending.extend(self.said.take(&(*vm, *hm))),
            Event::Written(hm, number, text) if text.starts_with("DETECTED ") => {
                self.end.insert(*hm, *number);
            }
            Event::Committed(hm, up_to) | Event::Kept(hm, up_to) if self.end.get(hm) <= Some(up_to) => {
                self.ending.retain(|(_, of)| of != hm);
            }
            Event::MonitorUp(hm) => {
                self.said.extend(self.ending.extract_if(.., |(_, of)| of == hm));
                self.up.insert(*hm, at);
                self.beats.retain(|(_, of), _| of != hm);
            }
            Event::Missing { vm, hm, age, .. } if !self.doubled.contains(vm) => {
                let judged = self.on_missing(at, *vm, *hm, *age);
                self.said.insert((*vm, *hm));
                return judged;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found when the monitor is started anew after it said that a VM is silent, then that it beats, and what follows of that.
    fn found(then: &[Event]) -> bool {
        let (vm, hm) = (Vm(0), Hm { host: 0, trunk: 0 });
        let up = Event::MonitorUp(hm);
        let missing = Event::Missing { vm, hm, age: Duration::from_millis(19_000), common: false };
        let again = Event::Missing { vm, hm, age: Duration::from_millis(24), common: false };
        let plan = Plan::parse("cluster seed=1 hosts=1 trunks=1 vms=1\nend 100\n").unwrap();
        let mut accused = Accused::new(&plan);
        let before = [
            Event::MonitorUp(hm),
            Event::Opened(vm, hm),
            Event::Beat { vm, hm, arrived: Instant::ZERO, guardian: false },
            missing,
            Event::Detected(vm, hm),
            Event::Written(hm, 7, "DETECTED 0001".to_owned()),
        ];
        let events = before.iter().chain(then).chain([&up, &again]);
        let mut seconds = (0..).map(|n| Instant::from_millis(n * 1000 + 20_000));
        events.fold(false, |found, event| {
            let at = seconds.next().unwrap_or(Instant::ZERO);
            found | accused.on_event(at, event).is_err()
        })
    }

    #[test]
    fn an_end_that_was_neither_committed_nor_kept_is_not_known_to_the_next_start() {
        let hm = Hm { host: 0, trunk: 0 };
        assert!(!found(&[]));
        assert!(!found(&[Event::Committed(hm, 6)]));
        assert!(found(&[Event::Committed(hm, 7)]));
        assert!(found(&[Event::Kept(hm, 8)]));
    }
}
