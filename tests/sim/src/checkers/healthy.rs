//! A healthy VM is never declared failed.
//!
//! Heard is what arrived at a monitor that runs, and that the monitor could report: as long as it commits and hears its trunk, and
//! until it did that last otherwise. What it could not report is unknown to everybody, and no proof of life. [K1]
//!
//! Judged when it is decided, which is not always when it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::Checker;
use super::decided::Decided;
use super::heard::OpenPaths;
use crate::event::Event;
use crate::names::{Hm, Vm};
use crate::plan::Plan;
use crate::settings::{Limits, MONITOR_RESPONSIVE, Misled};

/// An edge that says that a VM beats again is on its way for so long: commits, retries, a slow store.
const ON_ITS_WAY: Duration = Duration::from_secs(20);
/// Ages are measured, sent and rounded.
const TOLERANCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
struct Heard {
    last: Instant,
    /// The end of the last silence worth the name, and how long it was.
    gap: Option<(Instant, Duration)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Healthy {
    limits: Limits,
    heard: BTreeMap<(Vm, Hm), Heard>,
    committed: BTreeMap<Hm, Instant>,
    /// Since when it does not hear its trunk reliably, by its own word.
    blind: BTreeMap<Hm, Instant>,
    up: BTreeSet<Hm>,
    open: OpenPaths,
    misled: Misled,
    decided: Decided,
    /// What the controller says next was said so long after the time it bears.
    later: Duration,
}

impl Healthy {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            heard: BTreeMap::new(),
            committed: BTreeMap::new(),
            blind: BTreeMap::new(),
            up: BTreeSet::new(),
            open: OpenPaths::default(),
            misled: Misled::default(),
            decided: Decided::default(),
            later: Duration::ZERO,
        }
    }

    fn on_beat(&mut self, vm: Vm, hm: Hm, arrived: Instant) {
        let heard = self.heard.entry((vm, hm)).or_insert(Heard { last: arrived, gap: None });
        let silence = arrived.since(heard.last);
        if silence + TOLERANCE >= self.limits.shortest(vm) {
            heard.gap = Some((arrived, silence));
        }
        heard.last = heard.last.max(arrived);
    }

    /// How long nobody who could say so has heard the VM.
    fn silence(&self, at: Instant, vm: Vm) -> Option<(Hm, Duration)> {
        let of_vm = self.heard.iter().filter(|((of, _), _)| *of == vm);
        let silences = of_vm.filter_map(|((_, hm), heard)| {
            let committed = *self.committed.get(hm)?;
            let answers = at.since(committed) < MONITOR_RESPONSIVE;
            let heard_by = self.blind.get(hm).copied().unwrap_or(at);
            let known = if answers && self.up.contains(hm) { heard.last } else { heard.last.min(committed) };
            let known = known.min(heard_by);
            // An edge may not have arrived yet.
            let ended = heard.gap.filter(|(ended, _)| at.since(*ended) < ON_ITS_WAY);
            let silence = ended.map_or(at.since(known), |(ended, gap)| at.since(ended) + gap);
            Some((*hm, silence))
        });
        silences.min_by_key(|(_, silence)| *silence)
    }

    fn judge(&self, at: Instant, later: Duration, vm: Vm) -> Result<(), String> {
        let limit = self.limits.shortest(vm);
        let believed = |silence: Duration| silence + self.misled.by(at.back(silence));
        match self.silence(at, vm).filter(|(_, silence)| believed(*silence) + TOLERANCE + later < limit) {
            Some((hm, silence)) => Err(format!(
                "{vm} was declared failed, and {hm} heard it {} ms ago; its limit is {} ms",
                silence.as_millis(),
                limit.as_millis()
            )),
            None => Ok(()),
        }
    }
}

impl Checker for Healthy {
    fn name(&self) -> &'static str {
        "healthy"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.limits.on_event(event);
        self.open.on_event(event);
        self.misled.on_event(at, event);
        match event {
            Event::SaidLater(after) => self.later = *after,
            Event::Beat { vm, hm, arrived, .. } if self.open.has(*vm, *hm) => {
                self.on_beat(*vm, *hm, *arrived)
            }
            Event::Written(hm, _, text) if text == "TRUNK_HEARD false" => {
                self.blind.entry(*hm).or_insert(at);
            }
            Event::Written(hm, _, text) if text == "TRUNK_HEARD true" => {
                self.blind.remove(hm);
            }
            Event::Committed(hm, _) => {
                self.committed.insert(*hm, at);
            }
            Event::MonitorDown(hm, _) => {
                self.up.remove(hm);
            }
            Event::MonitorUp(hm) => {
                self.up.insert(*hm);
                self.blind.remove(hm);
            }
            _ => {}
        }
        let says = matches!(event, Event::Told { .. } | Event::Closed(_) | Event::Phase(..));
        let later = if says { std::mem::take(&mut self.later) } else { Duration::ZERO };
        match self.decided.on_event(event) {
            Some(vm) => self.judge(at, later, vm),
            None => Ok(()),
        }
    }
}
