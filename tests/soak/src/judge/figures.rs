//! What is measured while events pass.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_sim::event::{Event, Said};
use vmpulse_sim::names::{Hm, Vm};
use vmpulse_sim::plan::{Action, GuestAction};

use crate::verdict::Figures;

/// A VM's limit before it is set.
const USUAL_LIMIT: Duration = Duration::from_secs(140);
/// Beyond a limit until a silence has to be declared: as the checker `bound` has it.
const SLACK: Duration = Duration::from_secs(15);
/// After something was done to it a path beats as usual again.
const SETTLING: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Default)]
struct Guest {
    limit: Option<Duration>,
    /// Since when it does not run, and what it announced does not cover.
    silent_from: Option<Instant>,
    quiet_until: Option<Instant>,
    excused: bool,
    /// When something was last done to it.
    touched: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Meter {
    guests: Vec<Guest>,
    beats: BTreeMap<(Vm, Hm), Instant>,
    calm_since: Option<Instant>,
    detections: Vec<Duration>,
    figures: Figures,
}

impl Meter {
    pub(super) fn new(vms: usize) -> Self {
        Self {
            guests: vec![Guest::default(); vms],
            beats: BTreeMap::new(),
            calm_since: None,
            detections: Vec::new(),
            figures: Figures::default(),
        }
    }

    // What is not measured is passed over.
    #[allow(clippy::wildcard_enum_match_arm)]
    pub(super) fn on_event(&mut self, now: Instant, event: &Event) {
        match event {
            Event::Faults(count) => self.calm_since = (*count == 0).then_some(now),
            Event::Action(text) => self.on_action(now, text),
            Event::Frozen(vm) | Event::InstanceStopped(vm, _) => self.silent(now, *vm),
            Event::Thawed(vm) | Event::InstanceStarted(vm, _) => self.heard(now, *vm),
            Event::Said(vm, said) => self.on_said(now, *vm, *said),
            Event::AgentUp(vm) => self.with(*vm, |guest| guest.excused = false),
            Event::Beat { vm, hm, arrived, .. } => self.on_beat(*vm, *hm, *arrived),
            Event::Told { name, vm: Some(vm), .. } if name == "VM_FAILURE_DETECTED" => {
                self.on_failure(now, *vm)
            }
            Event::Stalled(_, time) if self.calm_since.is_some() => {
                self.figures.stalls += 1;
                self.figures.worst_stall_ms = self.figures.worst_stall_ms.max(ms(*time));
            }
            _ => {}
        }
    }

    fn with(&mut self, vm: Vm, change: impl FnOnce(&mut Guest)) {
        if let Some(guest) = self.guests.get_mut(vm.0) {
            change(guest);
        }
    }

    // Nothing else is set by an action.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn on_action(&mut self, now: Instant, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        match Action::parse(&words) {
            Some(Action::Guest(vm, what)) => self.with(vm, |guest| {
                guest.touched = now;
                if let GuestAction::DetectionTime { ms } = what {
                    guest.limit = Some(Duration::from_millis(ms.into()));
                }
            }),
            Some(Action::Heal) => self.guests.iter_mut().for_each(|guest| guest.touched = now),
            _ => {}
        }
    }

    fn on_said(&mut self, now: Instant, vm: Vm, said: Said) {
        self.with(vm, |guest| match said {
            Said::Suspend | Said::Shutdown => guest.excused = true,
            Said::Resume => guest.excused = false,
            Said::Quiet(asked) => guest.quiet_until = Some(now + asked),
        });
    }

    fn silent(&mut self, now: Instant, vm: Vm) {
        self.with(vm, |guest| {
            guest.silent_from.get_or_insert(now);
        });
    }

    fn heard(&mut self, now: Instant, vm: Vm) {
        let Some(guest) = self.guests.get_mut(vm.0) else { return };
        let Some(from) = guest.silent_from.take() else { return };
        let from = guest.quiet_until.map_or(from, |until| until.max(from));
        let limit = guest.limit.unwrap_or(USUAL_LIMIT);
        if !guest.excused && now.since(from) > limit {
            self.figures.silences += 1;
            self.figures.failures_due += u64::from(now.since(from) > limit + SLACK);
        }
    }

    fn on_beat(&mut self, vm: Vm, hm: Hm, arrived: Instant) {
        let Some(before) = self.beats.insert((vm, hm), arrived) else { return };
        let touched = self.guests.get(vm.0).map_or(Instant::ZERO, |guest| guest.touched);
        let calm = self.calm_since.is_some_and(|since| since + SETTLING < before);
        if calm && touched + SETTLING < before {
            self.figures.worst_gap_ms = self.figures.worst_gap_ms.max(ms(arrived.since(before)));
        }
    }

    fn on_failure(&mut self, now: Instant, vm: Vm) {
        self.figures.failures_told += 1;
        let Some(guest) = self.guests.get(vm.0) else { return };
        let Some(from) = guest.silent_from else { return };
        let calm = self.calm_since.is_some_and(|since| since + SETTLING < from);
        let heard = self.beats.iter().filter(|((of, _), _)| *of == vm).map(|(_, at)| *at).max();
        if let Some(heard) = heard.filter(|_| calm && guest.quiet_until.is_none_or(|until| until < from)) {
            self.detections.push(now.since(heard).saturating_sub(guest.limit.unwrap_or(USUAL_LIMIT)));
        }
    }

    pub(super) fn figures(mut self) -> Figures {
        self.detections.sort_unstable();
        let at = |index: usize| self.detections.get(index).copied().map(ms);
        let count = self.detections.len();
        self.figures.detections = count;
        self.figures.detection_ms = at(0)
            .zip(at(count / 2))
            .zip(at(count.saturating_sub(1)))
            .map(|((least, median), most)| [least, median, most]);
        self.figures
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_is_measured_from_the_last_heartbeat_less_its_limit() {
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let (vm, hm) = (Vm(0), Hm { host: 0, trunk: 0 });
        let mut meter = Meter::new(1);
        let told =
            Event::Told { name: "VM_FAILURE_DETECTED".to_owned(), incident: String::new(), vm: Some(vm) };
        for (when, event) in [
            (10, Event::Faults(0)),
            (20, Event::Action("guest vm1 detection-time 30000".to_owned())),
            (90, Event::Beat { vm, hm, arrived: at(90), guardian: false }),
            (100, Event::Beat { vm, hm, arrived: at(100), guardian: false }),
            (105, Event::Frozen(vm)),
            (137, told),
            (150, Event::Thawed(vm)),
        ] {
            meter.on_event(at(when), &event);
        }
        let figures = meter.figures();
        assert_eq!((figures.failures_told, figures.silences, figures.failures_due), (1, 1, 0));
        assert_eq!((figures.detections, figures.detection_ms), (1, Some([7000; 3])));
        assert_eq!(figures.worst_gap_ms, 10_000);
    }
}
