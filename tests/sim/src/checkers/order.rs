//! Messages of a path are written in the order in which they were sent: announcements carry growing numbers.

use std::collections::BTreeMap;

use vmpulse_protocol::time::Instant;

use super::Checker;
use crate::event::Event;
use crate::names::Hm;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: BTreeMap<(Hm, String), u64>,
}

impl Checker for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn on_event(&mut self, _at: Instant, event: &Event) -> Result<(), String> {
        let Event::Written(hm, _, text) = event else { return Ok(()) };
        let mut words = text.split(' ');
        if words.next() != Some("QUIET_ASKED") {
            return Ok(());
        }
        let Some(vm) = words.next() else { return Ok(()) };
        let number = words.next().and_then(|reason| reason.strip_prefix('q')?.parse().ok());
        let Some(number) = number else { return Ok(()) };
        let last = self.last.entry((*hm, vm.to_owned())).or_insert(number);
        if number < *last {
            return Err(format!("{hm} writes announcement {number} of {vm} after {last}"));
        }
        *last = number;
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
}
