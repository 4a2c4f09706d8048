//! VMs whose monitoring began, or whose announced silence ended, in the future of the store's clock, as that was set back since.
//! Each is counted silent from its next edge only.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use crate::event::{Event, Said};
use crate::names::Vm;

/// From what begins it to its being in the store, if nothing is wrong.
const UNTIL_STORED: Duration = Duration::from_secs(65);

#[derive(Clone, Copy, Debug, Default)]
struct Began {
    /// Not stored later than this, except what is `kept`.
    until: Option<Instant>,
    /// Something is wrong, and may keep it from the store.
    kept: bool,
    /// The latest that it may bear, in milliseconds of the store's clock, as of the last step. All were registered at 0.
    stamp: i64,
    /// Its agent was stopped on purpose: a path that is opened ends that.
    left: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SetBack {
    /// By how many milliseconds the store's clock is fast.
    fast: i64,
    faults: usize,
    vms: BTreeMap<Vm, Began>,
}

impl SetBack {
    pub(super) fn on_event(&mut self, at: Instant, event: &Event) {
        match event {
            Event::Said(vm, Said::Resume) | Event::SuspensionHeard { vm, suspended: false, .. } => {
                self.begins(*vm, at);
            }
            Event::Said(vm, Said::Quiet(asked)) => self.begins(*vm, at + *asked),
            Event::QuietGranted(vm, left) => self.begins(*vm, at + *left),
            Event::Said(vm, Said::Shutdown) => self.vms.entry(*vm).or_default().left = true,
            Event::AgentUp(vm) | Event::Opened(vm, _) if self.vms.get(vm).is_some_and(|vm| vm.left) => {
                self.begins(*vm, at);
            }
            Event::Faults(faults) => self.on_faults(at, *faults),
            Event::Action(text) => {
                let step = text.strip_prefix("store clock-step ").and_then(|ms| ms.parse::<i64>().ok());
                if let Some(ms) = step {
                    self.step(at, ms);
                }
            }
            _ => {}
        }
    }

    fn begins(&mut self, vm: Vm, at: Instant) {
        let kept = self.faults > 0;
        let began = self.vms.entry(vm).or_default();
        began.until = began.until.max(Some(at + UNTIL_STORED));
        began.kept |= kept;
    }

    fn on_faults(&mut self, at: Instant, faults: usize) {
        self.faults = faults;
        for began in self.vms.values_mut() {
            if faults == 0 && std::mem::take(&mut began.kept) {
                began.until = began.until.max(Some(at + UNTIL_STORED));
            }
            began.kept |= faults > 0 && began.until.is_some_and(|until| until > at);
        }
    }

    fn step(&mut self, at: Instant, ms: i64) {
        for began in self.vms.values_mut() {
            let stored = if began.kept { Some(at) } else { began.until.map(|until| until.min(at)) };
            if let Some(stored) = stored {
                began.stamp = began.stamp.max(milliseconds(stored).saturating_add(self.fast));
            }
            began.until = began.until.filter(|until| *until > at);
        }
        self.fast = self.fast.saturating_add(ms);
    }

    /// Whether a silence of this VM that began then may be counted late.
    pub(super) fn is_late(&self, vm: Vm, silent: Instant) -> bool {
        let stamp = self.vms.get(&vm).map_or(0, |began| began.stamp);
        milliseconds(silent).saturating_add(self.fast) < stamp
    }
}

fn milliseconds(at: Instant) -> i64 {
    i64::try_from(at.as_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// Whether a silence is late that begins then, after these.
    fn is_late(events: &[(u64, Event)], silent: u64) -> bool {
        let mut set_back = SetBack::default();
        for (when, event) in events {
            set_back.on_event(at(*when), event);
        }
        set_back.is_late(Vm(0), at(silent))
    }

    fn step(seconds: u64, by: i64) -> (u64, Event) {
        (seconds, Event::Action(format!("store clock-step {}", by * 1000)))
    }

    #[test]
    fn late_are_those_whose_monitoring_began_after_the_time_stepped_to() {
        let resumed = |seconds| (seconds, Event::Said(Vm(0), Said::Resume));
        assert!(!is_late(&[resumed(300)], 310), "no step");
        assert!(is_late(&[resumed(300), step(500, -300)], 510));
        assert!(!is_late(&[resumed(300), step(500, -100)], 510), "it began before that");
        assert!(!is_late(&[resumed(300), step(500, -300)], 700), "the clock is past it again");
        assert!(!is_late(&[step(500, -300), resumed(600)], 700), "it began by the new clock");
        assert!(!is_late(&[step(500, -300)], 510), "it was registered before that");
        assert!(is_late(&[step(200, -300)], 210), "not even registered then");
        assert!(is_late(&[resumed(300), step(500, -100), step(510, -100)], 511), "in two steps");
        assert!(!is_late(&[resumed(300), step(400, 200), step(500, -300)], 510), "and one forward");
        let other = (300, Event::Said(Vm(1), Said::Resume));
        assert!(!is_late(&[other, step(500, -300)], 510));
    }

    #[test]
    fn what_is_kept_from_the_store_begins_later() {
        let resumed = (300, Event::Said(Vm(0), Said::Resume));
        let wrong = |seconds, count| (seconds, Event::Faults(count));
        let events = [wrong(290, 1), resumed.clone(), wrong(600, 0), step(800, -250)];
        assert!(is_late(&events, 810));
        assert!(
            !is_late(&[resumed, wrong(500, 1), wrong(600, 0), step(800, -250)], 810),
            "it was in the store"
        );
    }
}
