//! A guest that runs, with an agent or a guardian that beats for it, on trunks and a store with which nothing is wrong, is never
//! declared failed: by what is true, not by what anybody heard. And where an agent fails its guardian does beat.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::denied::Denied;
use super::{Checker, doubled, failure};
use crate::event::{Event, Said};
use crate::names::{Hm, Vm};
use crate::plan::{Action, GuestAction, Plan};
use crate::settings::Limits;

/// Handshakes after whatever was wrong: solicitations come every 30 s, and an attempt takes 15.5 s.
const SETTLING: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Alive {
    limits: Limits,
    doubled: BTreeSet<Vm>,
    guarded: bool,
    /// Since when each guest runs and somebody beats for it.
    alive: BTreeMap<Vm, Instant>,
    cut: BTreeSet<(Vm, Hm)>,
    faults: usize,
    calm_since: Option<Instant>,
    /// Agents that failed, and when.
    failed: BTreeMap<Vm, Instant>,
    beats: BTreeMap<Vm, Instant>,
    announced: BTreeSet<Vm>,
    denied: Denied,
}

impl Alive {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            guarded: plan.cluster.guardian,
            alive: BTreeMap::new(),
            cut: BTreeSet::new(),
            faults: 0,
            calm_since: None,
            failed: BTreeMap::new(),
            beats: BTreeMap::new(),
            announced: BTreeSet::new(),
            denied: Denied::default(),
        }
    }

    fn on_action(&mut self, at: Instant, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        match Action::parse(&words) {
            Some(Action::Guest(vm, GuestAction::PathCut { hm })) => {
                self.cut.insert((vm, hm));
            }
            Some(Action::Guest(vm, GuestAction::PathMend { hm })) => {
                self.cut.remove(&(vm, hm));
            }
            Some(Action::Heal) => self.cut.clear(),
            // Clocks leave nothing behind, and ages are bounded.
            Some(Action::Store(_)) => {}
            _ => return,
        }
        self.calm_since = (self.faults == 0 && self.cut.is_empty()).then_some(at);
    }
}

impl Alive {
    fn follow_agents(&mut self, at: Instant, event: &Event) {
        match event {
            Event::Beat { vm, arrived, .. } => {
                self.beats.insert(*vm, *arrived);
            }
            Event::AgentDown(vm, _) if self.alive.contains_key(vm) => {
                self.failed.entry(*vm).or_insert(at);
            }
            Event::AgentUp(vm)
            | Event::AgentDown(vm, _)
            | Event::Frozen(vm)
            | Event::InstanceStopped(vm, _) => {
                self.failed.remove(vm);
            }
            // Its guardian holds still then.
            Event::Said(vm, _) => {
                self.announced.insert(*vm);
            }
            _ => {}
        }
    }

    /// One that beat when its agent failed goes on beating.
    fn look_at_guardians(&mut self, at: Instant) -> Result<(), String> {
        let Some(calm) = self.calm_since.filter(|_| self.guarded) else { return Ok(()) };
        for (vm, failed) in &self.failed {
            let interval = self.limits.interval(*vm);
            let beat = self.beats.get(vm).copied().unwrap_or_default();
            let beat_before = failed.since(beat) < interval * 2 && calm + interval * 3 < *failed;
            let well = !self.announced.contains(vm) && !self.doubled.contains(vm);
            if well && beat_before && at.since(beat) > interval * 2 {
                return Err(format!("the agent of {vm} failed, and its guardian does not beat"));
            }
        }
        Ok(())
    }
}

impl Checker for Alive {
    fn name(&self) -> &'static str {
        "alive"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.limits.on_event(event);
        self.follow_agents(at, event);
        if let Some(denied) = self.denied.on_event(event) {
            self.alive.remove(&denied);
        }
        if *event == Event::Tick {
            return self.look_at_guardians(at);
        }
        match event {
            Event::Action(text) => self.on_action(at, text),
            Event::Faults(faults) => {
                self.faults = *faults;
                self.calm_since = (*faults == 0 && self.cut.is_empty()).then_some(at);
            }
            // A guest that has its key again, too.
            Event::AgentUp(vm) | Event::Thawed(vm) | Event::Credentials { guest: vm, .. }
                if !self.denied.has(*vm) =>
            {
                self.alive.entry(*vm).or_insert(at);
            }
            Event::AgentDown(vm, _) if !self.guarded => {
                self.alive.remove(vm);
            }
            Event::AgentDown(vm, "ended")
            | Event::Said(vm, Said::Shutdown)
            | Event::Frozen(vm)
            | Event::InstanceStopped(vm, _) => {
                self.alive.remove(vm);
            }
            _ => {}
        }
        let Some(vm) = failure(event).filter(|vm| !self.doubled.contains(vm)) else { return Ok(()) };
        let limit = self.limits.shortest(vm) + SETTLING;
        let well = self.alive.get(&vm).is_some_and(|since| at.since(*since) > limit);
        if well && self.calm_since.is_some_and(|since| at.since(since) > limit) {
            return Err(format!("{vm} was declared failed, and all is well with it"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{doubled_plan, failure_of, quiet_plan};

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// What it says of the last of these; the others are in order.
    fn last(plan: &Plan, events: &[(u64, Event)]) -> Result<(), String> {
        let mut checker = Alive::new(plan);
        let (last, before) = events.split_last().unwrap();
        for (when, event) in before {
            assert_eq!(checker.on_event(at(*when), event), Ok(()));
        }
        checker.on_event(at(last.0), &last.1)
    }

    fn well() -> Vec<(u64, Event)> {
        vec![(1, Event::Faults(0)), (2, Event::AgentUp(Vm(0)))]
    }

    /// A limit of 140 s, and a minute.
    #[test]
    fn a_failure_of_one_with_which_all_is_well_is_found() {
        let plan = quiet_plan();
        let fails = |more: &[(u64, Event)], seconds: u64| {
            last(&plan, &[&well()[..], more, &[(seconds, failure_of(Vm(0)))]].concat()).is_err()
        };
        assert!(fails(&[], 300));
        assert!(!fails(&[], 150), "it was started lately");
        assert!(!fails(&[(100, Event::Frozen(Vm(0)))], 300), "it does not run");
        assert!(fails(&[(50, Event::Frozen(Vm(0))), (60, Event::Thawed(Vm(0)))], 300), "it does again");
        assert!(!fails(&[(100, Event::Faults(1))], 300), "something is wrong");
        assert!(!fails(&[(100, Event::Faults(1)), (250, Event::Faults(0))], 300), "something was");
        let cut = Event::Action("guest vm1 path-cut h1a".to_owned());
        assert!(!fails(&[(100, cut)], 300));
        let events = [well(), vec![(300, failure_of(Vm(0)))]].concat();
        assert!(last(&doubled_plan(), &events).is_ok(), "whose heartbeats are missing?");
    }

    #[test]
    fn a_guardian_that_does_not_beat_is_found() {
        let plan = quiet_plan();
        let beat = |seconds, guardian| {
            let hm = Hm { host: 0, trunk: 0 };
            (seconds, Event::Beat { vm: Vm(0), hm, arrived: at(seconds), guardian })
        };
        let down = (100, Event::AgentDown(Vm(0), "hangs"));
        let silent = |more: &[(u64, Event)]| {
            let failed = [well(), vec![beat(95, false), down.clone()]].concat();
            last(&plan, &[&failed[..], more, &[(120, Event::Tick)]].concat()).is_err()
        };
        assert!(silent(&[]));
        assert!(!silent(&[beat(105, true)]));
        assert!(!silent(&[(101, Event::AgentUp(Vm(0)))]));
        assert!(!silent(&[(101, Event::Frozen(Vm(0)))]));
    }
}
