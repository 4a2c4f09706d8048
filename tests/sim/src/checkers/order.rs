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
