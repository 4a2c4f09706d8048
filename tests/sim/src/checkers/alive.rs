//! A guest that runs, with an agent or a guardian that beats for it, on trunks and a store with which nothing is wrong, is never
//! declared failed: by what is true, not by what anybody heard. And where an agent fails its guardian does beat.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

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
        if *event == Event::Tick {
            return self.look_at_guardians(at);
        }
        match event {
            Event::Action(text) => self.on_action(at, text),
            Event::Faults(faults) => {
                self.faults = *faults;
                self.calm_since = (*faults == 0 && self.cut.is_empty()).then_some(at);
            }
            Event::AgentUp(vm) | Event::Thawed(vm) => {
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
