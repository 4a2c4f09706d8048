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
            Event::Detected(vm, hm) => {
                self.said.remove(&(*vm, *hm));
            }
            Event::MonitorUp(hm) => {
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
