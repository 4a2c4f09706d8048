//! A monitor that was not scheduled accuses nobody for what it did not read, and no stall ends in a declared failure of VMs that
//! went on beating.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::heard::OpenPaths;
use super::{Checker, doubled, failure};
use crate::event::Event;
use crate::names::{Hm, Vm};
use crate::plan::Plan;
use crate::settings::{Limits, MISSING_TENTHS, Misled};

/// A failure so long after a stall may have come of it.
const AFTERMATH: Duration = Duration::from_secs(300);
const TOLERANCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct MassFailure {
    limits: Limits,
    doubled: BTreeSet<Vm>,
    /// What arrived at the socket, read or not.
    arrived: BTreeMap<(Vm, Hm), Instant>,
    stalled: BTreeMap<Hm, Instant>,
    /// What one hears that cannot say so is no proof to anybody else.
    committed: BTreeMap<Hm, Instant>,
    open: OpenPaths,
    misled: Misled,
}

impl MassFailure {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            arrived: BTreeMap::new(),
            stalled: BTreeMap::new(),
            committed: BTreeMap::new(),
            open: OpenPaths::default(),
            misled: Misled::default(),
        }
    }
}

impl Checker for MassFailure {
    fn name(&self) -> &'static str {
        "mass_failure"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.limits.on_event(event);
        self.open.on_event(event);
        self.misled.on_event(at, event);
        match event {
            Event::Beat { vm, hm, arrived, .. } if self.open.has(*vm, *hm) => {
                let latest = self.arrived.entry((*vm, *hm)).or_insert(*arrived);
                *latest = (*latest).max(*arrived);
            }
            Event::BeatDropped(vm, hm) if self.open.has(*vm, *hm) => {
                self.arrived.insert((*vm, *hm), at);
            }
            Event::MonitorUp(up) => self.arrived.retain(|(_, hm), _| hm != up),
            Event::Committed(hm, _) => {
                self.committed.insert(*hm, at);
            }
            Event::Stalled(hm, _) => {
                self.stalled.insert(*hm, at);
            }
            Event::Missing { vm, hm, .. } if !self.doubled.contains(vm) => {
                let allowed = self.limits.interval(*vm) * MISSING_TENTHS / 10;
                let silence = self.arrived.get(&(*vm, *hm)).map(|arrived| at.since(*arrived));
                if let Some(silence) =
                    silence.filter(|silence| *silence + Duration::from_millis(20) < allowed)
                {
                    return Err(format!(
                        "{hm} accuses {vm}, whose last heartbeat it dropped unread {} ms ago",
                        silence.as_millis()
                    ));
                }
            }
            _ => {}
        }
        let Some(vm) = failure(event).filter(|vm| !self.doubled.contains(vm)) else { return Ok(()) };
        let limit = self.limits.shortest(vm);
        for (hm, stalled) in self.stalled.iter().filter(|(_, stalled)| at.since(**stalled) < AFTERMATH) {
            let beat = self.arrived.get(&(vm, *hm)).copied().unwrap_or_default();
            let said = self.committed.get(hm).is_some_and(|committed| *committed >= beat);
            // One that beat before the stall, in it and after it.
            if said
                && beat > *stalled
                && at.since(beat) + TOLERANCE + self.misled.by(beat) < limit
                && beat.since(*stalled) > TOLERANCE * 5
            {
                return Err(format!("{vm} was declared failed after {hm} had stalled, and beats there"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{doubled_plan, failure_of, quiet_plan};

    const HM: Hm = Hm { host: 0, trunk: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn beat(seconds: u64) -> (u64, Event) {
        (seconds, Event::Beat { vm: Vm(0), hm: HM, arrived: at(seconds), guardian: false })
    }

    /// Whether the last of these is found; the others are in order.
    fn is_found(plan: &Plan, events: &[(u64, Event)]) -> bool {
        let mut checker = MassFailure::new(plan);
        let (last, before) = events.split_last().unwrap();
        for (when, event) in [&[(1, Event::Opened(Vm(0), HM))], before].concat() {
            assert_eq!(checker.on_event(at(when), &event), Ok(()));
        }
        checker.on_event(at(last.0), &last.1).is_err()
    }

    #[test]
    fn an_accusation_for_what_was_not_read_is_found() {
        let missing = |seconds| {
            (seconds, Event::Missing { vm: Vm(0), hm: HM, age: Duration::from_secs(90), common: false })
        };
        let dropped = (95, Event::BeatDropped(Vm(0), HM));
        assert!(is_found(&quiet_plan(), &[beat(10), dropped.clone(), missing(100)]));
        assert!(!is_found(&quiet_plan(), &[beat(10), missing(100)]));
        assert!(!is_found(&quiet_plan(), &[beat(10), dropped.clone(), missing(115)]), "1.9 intervals later");
        assert!(!is_found(&doubled_plan(), &[beat(10), dropped, missing(100)]));
    }
}
