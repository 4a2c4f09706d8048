//! Of which VMs a monitor has said last that they are silent, in what it knows to be committed: for the store they are, from then
//! on until it says otherwise, whether it runs or not.

use std::collections::{BTreeMap, VecDeque};

use vmpulse_protocol::time::Instant;

use crate::event::Event;
use crate::names::{Hm, Vm};

/// What a monitor says of a VM: silent since its last heartbeat, then; or not silent.
type Word = (Vm, Option<Instant>);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Silences {
    /// Not committed yet, by number.
    said: BTreeMap<Hm, VecDeque<(u64, Word)>>,
    since: BTreeMap<(Vm, Hm), Instant>,
}

impl Silences {
    /// `heard`: when a VM was heard last at a monitor.
    pub(super) fn on_event(&mut self, event: &Event, heard: impl Fn((Vm, Hm)) -> Option<Instant>) {
        match event {
            Event::Written(hm, number, text) => {
                let word = match text.split_once(' ') {
                    Some(("MISSING", vm)) => named(vm).map(|vm| (vm, heard((vm, *hm)))),
                    Some(("DETECTED" | "OPENED" | "PATH_QUIET" | "FORGOTTEN", vm)) => {
                        named(vm).map(|vm| (vm, None))
                    }
                    _ => None,
                };
                self.said.entry(*hm).or_default().extend(word.map(|word| (*number, word)));
            }
            Event::Committed(hm, up_to) => self.on_committed(*hm, *up_to),
            // It counts anew; what it has said before stands.
            Event::MonitorUp(hm) => {
                self.said.remove(hm);
            }
            _ => {}
        }
    }

    fn on_committed(&mut self, hm: Hm, up_to: u64) {
        let Some(said) = self.said.get_mut(&hm) else { return };
        while let Some((_, (vm, silent))) = said.pop_front_if(|(number, _)| *number <= up_to) {
            match silent {
                Some(since) => self.since.insert((vm, hm), since),
                None => self.since.remove(&(vm, hm)),
            };
        }
    }

    /// Since when it is silent by this monitor's word, if it is.
    pub(super) fn since(&self, vm: Vm, hm: Hm) -> Option<Instant> {
        self.since.get(&(vm, hm)).copied()
    }
}

/// Writes name a VM by the end of its UUID: its number, from 1.
fn named(text: &str) -> Option<Vm> {
    usize::from_str_radix(text, 16).ok()?.checked_sub(1).map(Vm)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HM: Hm = Hm { host: 0, trunk: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn written(number: u64, text: &str) -> Event {
        Event::Written(HM, number, text.to_owned())
    }

    /// Since when vm16 is silent after these.
    fn since(events: &[Event]) -> Option<Instant> {
        let mut silences = Silences::default();
        events
            .iter()
            .for_each(|event| silences.on_event(event, |path| (path == (Vm(15), HM)).then(|| at(10))));
        silences.since(Vm(15), HM)
    }

    #[test]
    fn what_is_committed_counts_until_its_end_is() {
        let said = [written(1, "MISSING 0010"), Event::Committed(HM, 1), written(2, "DETECTED 0010")];
        let with = |more: &[Event]| since(&[&said, more].concat());
        assert_eq!(since(&said[..1]), None, "nobody knows it");
        assert_eq!(with(&[]), Some(at(10)));
        assert_eq!(with(&[Event::Committed(HM, 2)]), None);
        assert_eq!(
            with(&[Event::MonitorUp(HM), Event::Committed(HM, 2)]),
            Some(at(10)),
            "another start's number"
        );
        assert_eq!(with(&[written(3, "MISSING 000f"), Event::Committed(HM, 3)]), None, "another VM");
    }
}
