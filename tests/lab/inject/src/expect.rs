//! `--expect`: the events that a failure must bring, within their bounds, and that nothing worse comes. Pure; [`watch`] asks.

pub mod watch;

use serde::Serialize;

use crate::class::{After, Expected, Source, Subject, Within};

/// Whom a failure is about, as events name them: what of, and a name or UUID.
pub type Named = (Subject, String);

/// What bounds depend on, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The longest VMFDT of the VMs it is about.
    pub vmfdt_s: u64,
    /// `host_failure_detection_time`.
    pub host_s: u64,
    /// What the class itself says.
    pub own_s: u64,
    /// From the moment it could be told until it is: the controller's poll, and a host monitor's write.
    pub slack_s: u64,
}

impl Bounds {
    fn of(self, within: Within) -> u64 {
        let most = match within {
            Within::Seconds(seconds) => u64::from(seconds),
            Within::Vmfdt => self.vmfdt_s,
            Within::HostFdt => self.host_s,
            Within::Own => self.own_s,
        };
        most + self.slack_s
    }
}

/// One event that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Its name.
    pub event: &'static str,
    /// Where it is found.
    pub source: Source,
    /// Whom it names; none for anybody.
    pub about: Option<String>,
    /// How soon, in seconds.
    pub within_s: u64,
    /// What the product does then.
    pub reaction: &'static str,
    /// After how many seconds it was seen.
    pub came_after_s: Option<u64>,
}

/// One event that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Its name.
    pub event: String,
    /// Who told.
    pub source: Source,
    /// Whether it says that something is lost.
    pub critical: bool,
    /// Whom and what it names.
    pub text: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// What is to come.
    pub expected: Vec<Wanted>,
    /// What must not: events of severity Critical that nobody expects.
    pub unexpected: Vec<Seen>,
}

impl Expectation {
    /// The events of a class after `on` or after `off`: one for each that is named, else one for anybody.
    #[must_use]
    pub fn of(events: &[Expected], after: After, named: &[Named], bounds: Bounds) -> Expectation {
        let expected = events
            .iter()
            .filter(|one| one.after == after)
            .flat_map(|one| wanted(one, named, bounds))
            .collect();
        Expectation { expected, unexpected: Vec::new() }
    }

    /// Takes in what is there after so many seconds: everything since the failure was made, each time.
    pub fn take(&mut self, seen: &[Seen], after_s: u64) {
        self.unexpected = seen.iter().filter(|one| one.critical && !self.expects(one)).cloned().collect();
        for wanted in &mut self.expected {
            if wanted.came_after_s.is_none() && seen.iter().any(|one| wanted.is(one)) {
                wanted.came_after_s = Some(after_s);
            }
        }
    }

    /// Nothing more is waited for: all came, or the last bound is over.
    #[must_use]
    pub fn is_over(&self, after_s: u64) -> bool {
        self.expected.iter().all(|wanted| wanted.came_after_s.is_some() || after_s > wanted.within_s)
    }

    /// Everything came within its bound, and nothing that must not.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.unexpected.is_empty() && self.expected.iter().all(Wanted::is_met)
    }

    /// What is still waited for, for people.
    #[must_use]
    pub fn missing(&self) -> String {
        let missing = self.expected.iter().filter(|wanted| wanted.came_after_s.is_none()).map(Wanted::title);
        missing.collect::<Vec<_>>().join(", ")
    }

    fn expects(&self, seen: &Seen) -> bool {
        self.expected.iter().any(|wanted| wanted.is(seen))
    }
}

impl Wanted {
    fn is(&self, seen: &Seen) -> bool {
        self.event == seen.event
            && self.source == seen.source
            && self.about.as_deref().is_none_or(|name| names(&seen.text, name))
    }

    fn is_met(&self) -> bool {
        self.came_after_s.is_some_and(|after| after <= self.within_s)
    }

    /// `VM_FAILURE_DETECTED of vm1`.
    #[must_use]
    pub fn title(&self) -> String {
        self.about
            .as_ref()
            .map_or_else(|| self.event.to_owned(), |about| format!("{} of {about}", self.event))
    }
}

fn wanted(one: &Expected, named: &[Named], bounds: Bounds) -> Vec<Wanted> {
    let mut names: Vec<Option<String>> =
        named.iter().filter(|(of, _)| *of == one.about).map(|(_, name)| Some(name.clone())).collect();
    if names.is_empty() {
        names.push(None);
    }
    let with = |about| Wanted {
        event: one.event,
        source: one.source,
        about,
        within_s: bounds.of(one.within),
        reaction: one.reaction,
        came_after_s: None,
    };
    names.into_iter().map(with).collect()
}

/// Whether a name or UUID stands in a text as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || ",;:()".contains(c);
    text.split(ends)
        .any(|word| word.eq_ignore_ascii_case(name) || word.trim_end_matches('.').eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILURE: Expected = Expected {
        event: "VM_FAILURE_DETECTED",
        source: Source::Controller,
        about: Subject::Vm,
        after: After::On,
        within: Within::Vmfdt,
        reaction: "",
    };
    const BACK: Expected =
        Expected { event: "VM_RECOVERED", after: After::Off, within: Within::Seconds(60), ..FAILURE };
    const BOUNDS: Bounds = Bounds { vmfdt_s: 190, host_s: 90, own_s: 0, slack_s: 25 };

    fn seen(event: &str, critical: bool, text: &str) -> Seen {
        Seen { event: event.to_owned(), source: Source::Controller, critical, text: text.to_owned() }
    }

    fn failure_of(vms: &[&str]) -> Expectation {
        let named: Vec<Named> = vms.iter().map(|vm| (Subject::Vm, (*vm).to_owned())).collect();
        Expectation::of(&[FAILURE, BACK], After::On, &named, BOUNDS)
    }

    #[test]
    fn every_vm_that_is_named_must_fail_within_its_bound_and_no_other_may() {
        let mut expectation = failure_of(&["vm1", "vm2"]);
        assert_eq!(expectation.expected.iter().map(|wanted| wanted.within_s).collect::<Vec<_>>(), [215, 215]);
        let first = seen("VM_FAILURE_DETECTED", true, "VM : vm1 UUID 7E57 silent");
        expectation.take(std::slice::from_ref(&first), 200);
        assert!(!expectation.is_over(200) && !expectation.is_met());
        assert_eq!(expectation.missing(), "VM_FAILURE_DETECTED of vm2");
        let second = seen("VM_FAILURE_DETECTED", true, "VM : vm2 UUID 7E58 silent");
        expectation.take(&[first.clone(), second.clone()], 215);
        assert!(expectation.is_over(215) && expectation.is_met());
        let other = seen("VM_FAILURE_DETECTED", true, "VM : vm11 UUID 7E59 silent");
        expectation.take(&[first, second, other], 216);
        assert!(!expectation.is_met());
    }

    #[test]
    fn too_late_is_not_within() {
        let mut expectation = failure_of(&["VM1"]);
        assert!(!expectation.is_over(215) && expectation.is_over(216));
        expectation.take(&[seen("VM_FAILURE_DETECTED", true, "VM : vm1")], 216);
        assert!(expectation.is_over(216) && !expectation.is_met());
    }

    #[test]
    fn what_is_not_critical_may_come() {
        let mut expectation = failure_of(&[]);
        expectation
            .take(&[seen("VM_FAILURE_DETECTED", true, "anybody"), seen("VM_QUIET_BEGAN", false, "vm9")], 1);
        assert!(expectation.is_met());
        expectation.take(&[seen("VIOS_FAILURE", true, "VIOS : trunkA")], 2);
        assert_eq!(expectation.unexpected.len(), 1);
    }

    #[test]
    fn a_remark_of_a_host_monitor_is_no_event_of_the_controller() {
        let mut expectation = failure_of(&[]);
        let remark = Seen { source: Source::Monitor, ..seen("VM_FAILURE_DETECTED", false, "x") };
        expectation.take(&[remark], 1);
        assert!(!expectation.is_met());
    }

    #[test]
    fn names_are_words() {
        assert!(names("the agent of VM 7e57ab1e-0001 hangs", "7E57AB1E-0001"));
        assert!(names("VM: a is heard again: b.", "b"));
        assert!(names("VM: vm-1.example is", "vm-1.example"));
        assert!(!names("guest11", "guest1"));
    }
}
