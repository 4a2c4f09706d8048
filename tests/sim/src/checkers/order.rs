//! Messages of a path are written in the order in which they were sent: announcements carry growing numbers. A guest that is set
//! back to a snapshot says again what it said then, once for each time.

use std::collections::BTreeMap;

use vmpulse_protocol::time::Instant;

use super::Checker;
use crate::event::Event;
use crate::names::Hm;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: BTreeMap<(Hm, String), Last>,
    /// How often a guest was set back, by the number that its UUID ends with.
    reverts: BTreeMap<usize, u64>,
}

/// Of an announcement, and of how many times that the guest was set back it is the consequence.
#[derive(Clone, Copy, Debug)]
struct Last {
    number: u64,
    reverts: u64,
}

impl Checker for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn on_event(&mut self, _at: Instant, event: &Event) -> Result<(), String> {
        if let Event::Reverted(vm) = event {
            *self.reverts.entry(vm.0 + 1).or_default() += 1;
        }
        let Event::Written(hm, _, text) = event else { return Ok(()) };
        let mut words = text.split(' ');
        if words.next() != Some("QUIET_ASKED") {
            return Ok(());
        }
        let Some(vm) = words.next() else { return Ok(()) };
        let number = words.next().and_then(|reason| reason.strip_prefix('q')?.parse().ok());
        let Some(number) = number else { return Ok(()) };
        let uuid = usize::from_str_radix(vm, 16).ok();
        let reverts = uuid.and_then(|uuid| self.reverts.get(&uuid)).copied().unwrap_or_default();
        let last = self.last.entry((*hm, vm.to_owned())).or_insert(Last { number, reverts: 0 });
        if number < last.number {
            if last.reverts >= reverts {
                return Err(format!("{hm} writes announcement {number} of {vm} after {}", last.number));
            }
            last.reverts += 1;
        }
        last.number = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HM: Hm = Hm { host: 0, trunk: 0 };

    #[test]
    fn an_announcement_that_is_written_after_a_later_one_is_found() {
        let mut checker = Order::default();
        let mut feed =
            |hm, text: &str| checker.on_event(Instant::ZERO, &Event::Written(hm, 1, text.to_owned())).is_ok();
        assert!(feed(HM, "QUIET_ASKED A q1 said by its agent"));
        assert!(feed(HM, "QUIET_ASKED A q3"));
        assert!(feed(HM, "QUIET_ASKED A q3"), "one may be said again");
        assert!(feed(HM, "QUIET_ASKED B q1"), "of another VM");
        assert!(feed(Hm { host: 1, trunk: 0 }, "QUIET_ASKED A q1"), "of another path");
        assert!(feed(HM, "QUIET_OVER A q1"), "no announcement");
        assert!(!feed(HM, "QUIET_ASKED A q2"));
    }
    #[test]
    fn a_guest_that_was_set_back_may_say_again_what_it_said_once_for_each_time() {
        let mut checker = Order::default();
        let mut feed = |event: &Event| checker.on_event(Instant::ZERO, event).is_ok();
        let asked = |text: &str| Event::Written(HM, 1, format!("QUIET_ASKED {text}"));
        let set_back = Event::Reverted(crate::names::Vm(0));
        assert!(feed(&asked("0001 q2")) && feed(&asked("0002 q2")) && feed(&set_back));
        assert!(feed(&asked("0001 q3")), "it was on its way");
        assert!(feed(&asked("0001 q1")));
        assert!(!feed(&asked("0002 q1")), "another one was not");
        assert!(feed(&asked("0001 q2")));
        assert!(!feed(&asked("0001 q1")), "not twice");
        assert!(feed(&set_back) && feed(&asked("0001 q1")));
    }
}
