//! A healthy VM is never declared failed.
//!
//! Heard is what arrived at a monitor that runs, and that the monitor could report: as long as it commits and hears its trunk, and
//! until it did that last otherwise. What it could not report is unknown to everybody, and no proof of life. [K1] Nor is the return of
//! a VM of which it had said last that it is silent: one that ends before that is committed leaves the silence in the store.
//!
//! Judged when it is decided, which is not always when it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::Checker;
use super::decided::Decided;
use super::heard::OpenPaths;
use super::silences::Silences;
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
    silences: Silences,
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
            silences: Silences::default(),
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

    /// Until when one that ended or does not answer had said that it hears the VM.
    fn said(&self, vm: Vm, hm: Hm, last: Instant, committed: Instant) -> Instant {
        self.silences.since(vm, hm).map_or(last.min(committed), |since| last.min(since))
    }

    /// How long nobody who could say so has heard the VM.
    fn silence(&self, at: Instant, vm: Vm) -> Option<(Hm, Duration)> {
        let of_vm = self.heard.iter().filter(|((of, _), _)| *of == vm);
        let silences = of_vm.filter_map(|((_, hm), heard)| {
            let committed = *self.committed.get(hm)?;
            let answers = at.since(committed) < MONITOR_RESPONSIVE;
            let heard_by = self.blind.get(hm).copied().unwrap_or(at);
            let answers = answers && self.up.contains(hm);
            let known = if answers { heard.last } else { self.said(vm, *hm, heard.last, committed) };
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
        let heard = &self.heard;
        self.silences.on_event(event, |path| heard.get(&path).map(|heard| heard.last));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{failure_of, quiet_plan};

    const HM: Hm = Hm { host: 0, trunk: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn beat(seconds: u64) -> (u64, Event) {
        (seconds, Event::Beat { vm: Vm(0), hm: HM, arrived: at(seconds), guardian: false })
    }

    fn written(seconds: u64, number: u64, text: &str) -> (u64, Event) {
        (seconds, Event::Written(HM, number, text.to_owned()))
    }

    fn committed(seconds: u64, up_to: u64) -> (u64, Event) {
        (seconds, Event::Committed(HM, up_to))
    }

    /// Whether it is wrong that a VM fails 180 s after it fell silent at 20 s, and this.
    fn found(then: &[(u64, Event)]) -> bool {
        let before = [(0, Event::MonitorUp(HM)), (1, Event::Opened(Vm(0), HM)), beat(20)];
        let mut healthy = Healthy::new(&quiet_plan());
        for (seconds, event) in before.iter().chain(then) {
            assert_eq!(healthy.on_event(at(*seconds), event), Ok(()));
        }
        healthy.on_event(at(200), &failure_of(Vm(0))).is_err()
    }

    #[test]
    fn a_return_that_a_monitor_did_not_commit_before_it_ended_is_no_proof_of_life() {
        let silent = [written(39, 5, "MISSING 0001"), committed(40, 5), committed(150, 6)];
        let (back, down) =
            ([beat(151), written(151, 7, "DETECTED 0001")], (160, Event::MonitorDown(HM, "ended")));
        let with = |more: &[(u64, Event)]| found(&[&silent, &back[..], more].concat());
        assert!(with(&[]), "it answers, and hears the VM");
        assert!(!with(std::slice::from_ref(&down)), "the store has the silence alone");
        assert!(with(&[committed(155, 7), down.clone()]), "the store has its end");
        assert!(!with(&[committed(155, 6), down.clone()]), "what was committed then is not its end");
        assert!(
            found(&[committed(40, 5), beat(149), committed(150, 6), down]),
            "it never said that the VM is silent"
        );
    }
}
