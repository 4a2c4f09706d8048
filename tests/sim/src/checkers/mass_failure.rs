//! A monitor that was not scheduled accuses nobody for what it did not read, and no stall ends in a declared failure of VMs that
//! went on beating.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::decided::Decided;
use super::heard::OpenPaths;
use super::{Checker, doubled};
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
    /// Since when it has beaten without a pause worth the name.
    steady: BTreeMap<(Vm, Hm), Instant>,
    /// The last write of each.
    written: BTreeMap<Hm, u64>,
    /// What had arrived when everything was committed last that a monitor had written: what one hears that cannot say so is no
    /// proof to anybody else.
    known: BTreeMap<(Vm, Hm), Instant>,
    open: OpenPaths,
    decided: Decided,
    misled: Misled,
}

impl MassFailure {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            arrived: BTreeMap::new(),
            stalled: BTreeMap::new(),
            steady: BTreeMap::new(),
            written: BTreeMap::new(),
            known: BTreeMap::new(),
            open: OpenPaths::default(),
            decided: Decided::default(),
            misled: Misled::default(),
        }
    }

    fn on_beat(&mut self, vm: Vm, hm: Hm, arrived: Instant) {
        let pause = self.limits.interval(vm) * MISSING_TENTHS / 10;
        let latest = self.arrived.entry((vm, hm)).or_insert(arrived);
        if arrived.since(*latest) >= pause {
            self.steady.insert((vm, hm), arrived);
        }
        *latest = (*latest).max(arrived);
    }

    fn on_committed(&mut self, of: Hm, up_to: u64) {
        if self.written.get(&of).is_none_or(|written| *written <= up_to) {
            let arrived = self.arrived.iter().filter(|((_, hm), _)| *hm == of);
            self.known.extend(arrived.map(|(path, arrived)| (*path, *arrived)));
        }
    }

    fn on_monitor_up(&mut self, up: Hm) {
        for paths in [&mut self.arrived, &mut self.steady, &mut self.known] {
            paths.retain(|(_, hm), _| *hm != up);
        }
        self.written.remove(&up);
    }

    /// Of one that beat before the stall and after it.
    fn judge(&self, at: Instant, vm: Vm) -> Result<(), String> {
        let limit = self.limits.shortest(vm);
        for (hm, stalled) in self.stalled.iter().filter(|(_, stalled)| at.since(**stalled) < AFTERMATH) {
            let Some(beat) = self.known.get(&(vm, *hm)) else { continue };
            let steady = self.steady.get(&(vm, *hm)).copied().unwrap_or_default();
            if at.since(*beat) + TOLERANCE + self.misled.by(*beat) < limit
                && beat.since(steady.max(*stalled)) > TOLERANCE * 5
            {
                return Err(format!("{vm} was declared failed after {hm} had stalled, and beats there"));
            }
        }
        Ok(())
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
                self.on_beat(*vm, *hm, *arrived);
            }
            Event::BeatDropped(vm, hm) if self.open.has(*vm, *hm) => self.on_beat(*vm, *hm, at),
            Event::MonitorUp(up) => self.on_monitor_up(*up),
            Event::Written(hm, number, _) => {
                self.written.insert(*hm, *number);
            }
            Event::Committed(hm, up_to) => self.on_committed(*hm, *up_to),
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
        match self.decided.on_event(event).filter(|vm| !self.doubled.contains(vm)) {
            Some(vm) => self.judge(at, vm),
            None => Ok(()),
        }
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

    /// Started and stalled, and every ten seconds a heartbeat until then; the monitor writes every 30 s only, when there is
    /// nothing to say.
    fn stalled_and_beating(until: u64) -> Vec<(u64, Event)> {
        let mut events = vec![(2, Event::Written(HM, 1, "OPENED".to_owned())), (2, Event::Committed(HM, 1))];
        for seconds in (10..=until).step_by(10) {
            events.push(beat(seconds));
            if seconds == 30 {
                events.push((35, Event::Stalled(HM, Duration::from_secs(20))));
            }
            if seconds % 30 == 0 {
                events.push((seconds + 1, Event::Written(HM, seconds, "HEARTBEAT".to_owned())));
                events.push((seconds + 2, Event::Committed(HM, seconds)));
            }
        }
        events
    }

    #[test]
    fn a_failure_of_one_that_goes_on_beating_is_found() {
        let fails = |before: &[(u64, Event)], seconds: u64| {
            is_found(&quiet_plan(), &[before, &[(seconds, failure_of(Vm(0)))]].concat())
        };
        // Its newest heartbeat is younger than the monitor's last commit.
        assert!(fails(&stalled_and_beating(110), 111));
        assert!(!fails(&stalled_and_beating(110), 250), "what is known is older than its limit");
        assert!(!fails(&stalled_and_beating(110), 400), "the stall was long ago");
        let never =
            stalled_and_beating(110).into_iter().filter(|(_, event)| !matches!(event, Event::Stalled(..)));
        assert!(!fails(&never.collect::<Vec<_>>(), 111), "another checker's");
        let cut_off =
            |(seconds, event): &(u64, Event)| *seconds < 30 || !matches!(event, Event::Committed(..));
        let mute = stalled_and_beating(110).into_iter().filter(cut_off);
        assert!(!fails(&mute.collect::<Vec<_>>(), 111), "nobody else knows it");
    }

    #[test]
    fn one_that_was_silent_and_beats_again_may_have_been_declared_failed() {
        let mut events = stalled_and_beating(60);
        events.extend([beat(195), (196, Event::Committed(HM, 100))]);
        events.push((197, failure_of(Vm(0))));
        assert!(!is_found(&quiet_plan(), &events), "that it beats is on its way");
        let mut decided = stalled_and_beating(60);
        decided.push((199, Event::Phase(Vm(0), "VM failure detected".to_owned())));
        decided.extend((200..250).step_by(10).map(beat));
        decided.extend([(250, Event::Committed(HM, 100)), (251, failure_of(Vm(0)))]);
        assert!(!is_found(&quiet_plan(), &decided), "it was decided before, and could not be told");
    }
}
