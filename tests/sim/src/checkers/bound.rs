//! A VM that is silent is declared failed within its bound: its limit and a little, as long as nothing else is wrong; anew from
//! when nothing is, otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::heard::OpenPaths;
use super::set_back::SetBack;
use super::{Checker, doubled, failure};
use crate::event::{Event, Said};
use crate::names::Vm;
use crate::plan::Plan;
use crate::settings::{Limits, MISSING_TENTHS, MONITOR_RESPONSIVE};

/// Polls, commits and the ticks on which this checker looks.
const SLACK: Duration = Duration::from_secs(15);
/// A poll that asks for attention comes at least this often.
const ATTENTION: Duration = Duration::from_secs(65);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    beat: Option<Instant>,
    /// Silence before this is announced.
    quiet_until: Option<Instant>,
    suspended: bool,
    shut_down: bool,
    /// Until its agent is started again: one that is shutting down may beat once more.
    stopping: bool,
    /// It said that it is suspended no more: so it is when somebody has heard that.
    resumed: Option<Instant>,
    /// When that was last.
    started: Instant,
    declared: bool,
    reported: bool,
}

/// A guest that is heard tells so soon that it is resumed.
const RESUMED_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Bound {
    limits: Limits,
    doubled: BTreeSet<Vm>,
    seen: BTreeMap<Vm, Seen>,
    calm_since: Option<Instant>,
    set_back: SetBack,
    /// Guests that say that they are another VM: what they announce is not of theirs.
    others: BTreeSet<Vm>,
    /// A shutdown ends with a heartbeat that its host monitor knows for what it is.
    open: OpenPaths,
}

impl Bound {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            limits: Limits::new(plan),
            doubled: doubled(plan),
            seen: BTreeMap::new(),
            calm_since: None,
            set_back: SetBack::default(),
            others: BTreeSet::new(),
            open: OpenPaths::default(),
        }
    }

    fn on_said(&mut self, at: Instant, vm: Vm, said: Said) {
        if self.others.contains(&vm) {
            return;
        }
        let seen = self.seen.entry(vm).or_default();
        match said {
            Said::Suspend => (seen.suspended, seen.resumed) = (true, None),
            Said::Resume => {
                seen.resumed = Some(at);
                seen.quiet_until = Some(at);
            }
            Said::Quiet(asked) => seen.quiet_until = Some(at + asked),
            Said::Shutdown => (seen.shut_down, seen.stopping) = (true, true),
        }
    }

    fn look(&mut self, at: Instant) -> Result<(), String> {
        let Some(calm) = self.calm_since else { return Ok(()) };
        for (vm, seen) in &mut self.seen {
            let Some(beat) = seen.beat else { continue };
            let exempt = seen.suspended || seen.shut_down || seen.declared || seen.reported;
            if exempt || self.doubled.contains(vm) {
                continue;
            }
            let from = seen.quiet_until.map_or(beat, |until| until.max(beat));
            let limit = self.limits.shortest(*vm);
            // What was wrong lately may have kept edges back, or bounded ages.
            let undisturbed = calm + MONITOR_RESPONSIVE <= beat;
            let from = if undisturbed && from == beat { from } else { from.max(calm) + ATTENTION };
            let late = if self.set_back.is_late(*vm, beat) {
                self.limits.interval(*vm) * MISSING_TENTHS / 10
            } else {
                Duration::ZERO
            };
            if at > from + limit + late + SLACK {
                seen.reported = true;
                return Err(format!(
                    "{vm} has not been heard for {} s, its limit is {} s, and nobody has said so",
                    at.since(beat).as_secs(),
                    limit.as_secs()
                ));
            }
        }
        Ok(())
    }
}

impl Checker for Bound {
    fn name(&self) -> &'static str {
        "bound"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        self.limits.on_event(event);
        self.set_back.on_event(at, event);
        self.open.on_event(event);
        if let Some(vm) = failure(event) {
            self.seen.entry(vm).or_default().declared = true;
        }
        match event {
            Event::Beat { vm, hm, arrived, .. } => {
                let known = self.open.has(*vm, *hm);
                let seen = self.seen.entry(*vm).or_default();
                // A monitor that was not scheduled reads old ones late.
                seen.beat = seen.beat.max(Some(*arrived));
                seen.shut_down &= seen.stopping || *arrived < seen.started || !known;
                seen.suspended &= seen.resumed.is_none_or(|said| *arrived < said + RESUMED_WITHIN);
                seen.reported = false;
            }
            Event::AgentUp(vm) if !self.others.contains(vm) => {
                let seen = self.seen.entry(*vm).or_default();
                (seen.stopping, seen.started) = (false, at);
            }
            Event::Told { name, vm: Some(vm), .. } if name == "VM_RECOVERED" => {
                self.seen.entry(*vm).or_default().declared = false;
            }
            Event::Faults(count) => self.calm_since = (*count == 0).then_some(at),
            // A clock that steps leaves no fault behind, but ages are bounded from then on.
            Event::Action(text) if text.starts_with("store clock-step") => {
                self.calm_since = self.calm_since.map(|_| at);
            }
            // Settings and hosts change by these, and what is known of a VM with them.
            Event::Action(text) if text.contains("detection-time") || text.contains("interval") => {
                self.calm_since = self.calm_since.map(|_| at);
            }
            Event::Credentials { guest, claims, .. } if guest != claims => {
                self.others.insert(*guest);
            }
            Event::Credentials { guest, .. } => {
                self.others.remove(guest);
            }
            Event::Said(vm, said) => self.on_said(at, *vm, *said),
            Event::SuspensionHeard { vm, suspended: false, .. } if !self.others.contains(vm) => {
                let seen = self.seen.entry(*vm).or_default();
                seen.suspended = false;
                seen.quiet_until = seen.quiet_until.max(Some(at));
            }
            Event::Tick => return self.look(at),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::quiet_plan;
    use crate::event::Held;

    const HM: crate::names::Hm = crate::names::Hm { host: 0, trunk: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn beat(arrived: u64) -> Event {
        Event::Beat { vm: Vm(0), hm: HM, arrived: at(arrived), guardian: false }
    }

    /// Whether a VM is found that beat at 100 s, said this, and was never declared failed.
    fn is_found(said: &[Event]) -> bool {
        let mut bound = Bound::new(&quiet_plan());
        for event in [Event::Faults(0), Event::Opened(Vm(0), HM), beat(100)].iter().chain(said) {
            assert_eq!(bound.on_event(at(100), event), Ok(()));
        }
        bound.on_event(at(2000), &Event::Tick).is_err()
    }

    #[test]
    fn what_one_says_in_another_s_name_ends_no_suspension() {
        let says = |claims| Event::Credentials { guest: Vm(0), claims, key: Held::Of(Vm(0)) };
        let (suspend, resume) = (Event::Said(Vm(0), Said::Suspend), Event::Said(Vm(0), Said::Resume));
        assert!(is_found(&[]));
        assert!(!is_found(std::slice::from_ref(&suspend)));
        let heard = Event::SuspensionHeard { vm: Vm(0), suspended: false, stored: true, kept: false };
        assert!(is_found(&[suspend.clone(), resume.clone(), heard.clone()]));
        assert!(is_found(&[suspend.clone(), resume.clone(), beat(111)]), "who is heard is told as well");
        assert!(!is_found(&[suspend.clone(), resume.clone()]), "nobody can know");
        assert!(!is_found(&[suspend.clone(), says(Vm(1)), resume.clone(), heard.clone()]));
        assert!(is_found(&[says(Vm(1)), suspend.clone()]), "nor does it begin one");
        assert!(is_found(&[suspend, says(Vm(1)), says(Vm(0)), resume, heard]));
    }
    #[test]
    fn a_shutdown_ends_with_a_heartbeat_of_the_next_agent() {
        let (stops, starts) = (Event::Said(Vm(0), Said::Shutdown), Event::AgentUp(Vm(0)));
        let other = Event::Credentials { guest: Vm(0), claims: Vm(1), key: Held::Of(Vm(0)) };
        assert!(!is_found(&[stops.clone(), beat(100)]), "its last");
        assert!(is_found(&[stops.clone(), starts.clone(), beat(100)]));
        assert!(!is_found(&[stops.clone(), starts.clone(), beat(99)]), "read late");
        assert!(!is_found(&[stops.clone(), other, starts.clone(), beat(100)]), "of another VM");
        let (set_back, opens) = (Event::Reverted(Vm(0)), Event::Opened(Vm(0), HM));
        let counted_before = [stops.clone(), set_back.clone(), starts.clone(), beat(100)];
        assert!(!is_found(&counted_before), "it may have been said before");
        assert!(is_found(&[stops, set_back, starts, opens, beat(100)]));
    }
}
