//! Unknown is never silence: nobody is declared failed unless a monitor that answers, and hears its trunk, has known it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::{Checker, failure};
use crate::event::Event;
use crate::names::{Hm, Vm};
use crate::settings::MONITOR_RESPONSIVE;

/// Between a poll and what is told of it, with a slow store.
const TOLERANCE: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    heard: BTreeSet<(Vm, Hm)>,
    committed: BTreeMap<Hm, Instant>,
    blind: BTreeMap<Hm, Instant>,
}

impl Checker for Unknown {
    fn name(&self) -> &'static str {
        "unknown"
    }

    fn on_event(&mut self, at: Instant, event: &Event) -> Result<(), String> {
        match event {
            Event::Beat { vm, hm, .. } | Event::Opened(vm, hm) => {
                self.heard.insert((*vm, *hm));
            }
            Event::Committed(hm, _) => {
                self.committed.insert(*hm, at);
            }
            // What it writes when it runs again may be read before it knows that it is written.
            Event::Stalled(hm, _) => {
                self.committed.insert(*hm, at);
            }
            Event::Blind(hm, true) => {
                self.blind.insert(*hm, at);
            }
            Event::Blind(hm, false) => {
                self.blind.remove(hm);
            }
            // Its start is in the store a moment before it knows that.
            Event::MonitorUp(hm) => {
                self.blind.remove(hm);
                self.committed.insert(*hm, at);
            }
            _ => {}
        }
        let Some(vm) = failure(event) else { return Ok(()) };
        let knows = |(_, hm): &&(Vm, Hm)| {
            let committed = self.committed.get(hm).map(|committed| at.since(*committed));
            let blind = self.blind.get(hm).is_some_and(|since| at.since(*since) > TOLERANCE);
            !blind && committed.is_some_and(|age| age < MONITOR_RESPONSIVE + TOLERANCE)
        };
        if self.heard.iter().filter(|(of, _)| *of == vm).any(|known| knows(&known)) {
            return Ok(());
        }
        Err(format!("{vm} was declared failed, and no monitor that answers has known it"))
    }
}
