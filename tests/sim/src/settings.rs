//! What the product promises, as the checkers need it; written down anew, not asked of the product.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_store::DetectionSpeed;

use crate::event::Event;
use crate::names::Vm;
use crate::plan::{Action, GuestAction, Plan};

/// A monitor whose last heartbeat (every 30 s) is older than 2.5 intervals does not answer.
pub(crate) const MONITOR_RESPONSIVE: Duration = Duration::from_secs(75);
/// A path is missing after 1.9 intervals.
pub(crate) const MISSING_TENTHS: u32 = 19;

/// How long each VM may be silent, and how often it beats.
#[derive(Debug)]
pub(crate) struct Limits {
    usual: Duration,
    own: BTreeMap<Vm, Duration>,
    intervals: BTreeMap<Vm, Duration>,
}

impl Limits {
    pub(crate) fn new(plan: &Plan) -> Self {
        let steps = match plan.cluster.detection {
            DetectionSpeed::Fast => 1,
            DetectionSpeed::Normal => 2,
            DetectionSpeed::Slow => 3,
        };
        let usual = Duration::from_secs(90 + 50 * steps);
        Self { usual, own: BTreeMap::new(), intervals: BTreeMap::new() }
    }

    /// Settings change by actions. Setting one resets the other, as the store's call does.
    pub(crate) fn on_event(&mut self, event: &Event) {
        let Event::Action(text) = event else { return };
        let words: Vec<&str> = text.split(' ').collect();
        match Action::parse(&words) {
            Some(Action::Guest(vm, GuestAction::DetectionTime { ms })) => {
                self.own.insert(vm, Duration::from_millis(ms.into()));
                self.intervals.remove(&vm);
            }
            Some(Action::Guest(vm, GuestAction::Interval { ms })) => {
                self.intervals.insert(vm, Duration::from_millis(ms.into()));
                self.own.remove(&vm);
            }
            _ => {}
        }
    }

    /// VMFDT.
    pub(crate) fn shortest(&self, vm: Vm) -> Duration {
        self.own.get(&vm).copied().unwrap_or(self.usual)
    }

    pub(crate) fn interval(&self, vm: Vm) -> Duration {
        self.intervals.get(&vm).copied().unwrap_or(Duration::from_secs(10))
    }
}

/// How far a store's clock that stepped may mislead a controller that was started since: one that runs bounds ages by what it
/// has seen itself, a new one believes them (docs/development/simulator.md, what is not judged). Only the age of a VM that was
/// last heard before the step has grown by it.
#[derive(Debug, Default)]
pub(crate) struct Misled {
    /// Forward steps that no controller was started after.
    fresh: Vec<(Instant, Duration)>,
    /// And those that one was.
    believed: Vec<(Instant, Duration)>,
}

impl Misled {
    pub(crate) fn on_event(&mut self, at: Instant, event: &Event) {
        if let Event::Action(text) = event {
            let step = text.strip_prefix("store clock-step ").and_then(|ms| ms.parse::<i64>().ok());
            if let Some(forward) = step.and_then(|ms| u64::try_from(ms).ok()) {
                self.fresh.push((at, Duration::from_millis(forward)));
            }
        }
        if *event == Event::ControllerUp {
            self.believed.append(&mut self.fresh);
        }
    }

    /// By how much the age of a VM that was last heard then may be too great.
    pub(crate) fn by(&self, heard: Instant) -> Duration {
        self.believed.iter().filter(|(stepped, _)| *stepped >= heard).map(|(_, by)| *by).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_misleads_about_those_alone_that_were_last_heard_before_it() {
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let (step, minute) = (Event::Action("store clock-step 60000".to_owned()), Duration::from_secs(60));
        let mut misled = Misled::default();
        misled.on_event(at(50), &Event::Action("store clock-step -5000".to_owned()));
        misled.on_event(at(100), &step);
        assert_eq!(misled.by(at(90)), Duration::ZERO, "the controller that runs has seen it");
        misled.on_event(at(150), &Event::ControllerUp);
        misled.on_event(at(200), &step);
        assert_eq!(misled.by(at(90)), minute);
        assert_eq!(misled.by(at(101)), Duration::ZERO);
        misled.on_event(at(250), &Event::ControllerUp);
        assert_eq!(
            [misled.by(at(90)), misled.by(at(199)), misled.by(at(201))],
            [minute * 2, minute, Duration::ZERO]
        );
    }
}
