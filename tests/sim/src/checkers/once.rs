//! What a monitor writes is applied once: node events, of which the store keeps each, are as many as were written. Those of a
//! monitor that died with writes under way may be there or not; what was in its spool's file is there once it runs again.

use std::collections::{BTreeMap, BTreeSet};

use vmpulse_protocol::time::Instant;

use super::Checker;
use crate::event::Event;
use crate::names::Hm;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    certain: u64,
    possible: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Once {
    under_way: BTreeMap<(Hm, u64), String>,
    counts: BTreeMap<(Hm, String), Count>,
    found: BTreeMap<(Hm, String), u64>,
    ended: bool,
    /// They do not run, and may have kept what they wrote.
    away: BTreeSet<Hm>,
}

impl Once {
    fn settle(&mut self, hm: Hm, up_to: u64, certain: bool) {
        let written = self.under_way.extract_if(.., |(of, number), _| *of == hm && *number <= up_to);
        for ((_, _), kind) in written.collect::<Vec<_>>() {
            let count = self.counts.entry((hm, kind)).or_default();
            if certain {
                count.certain += 1;
            } else {
                count.possible += 1;
            }
        }
    }
}

impl Checker for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn on_event(&mut self, _at: Instant, event: &Event) -> Result<(), String> {
        match event {
            Event::Written(hm, number, text) => {
                if let Some(kind) = text.strip_prefix("NODE_EVENT ") {
                    self.under_way.insert((*hm, *number), kind.to_owned());
                }
            }
            Event::Committed(hm, up_to) | Event::Kept(hm, up_to) => self.settle(*hm, *up_to, true),
            Event::MonitorDown(hm, _) => self.settle(*hm, u64::MAX, false),
            Event::FinalNodeEvents(hm, kind, count) => {
                self.found.insert((*hm, kind.clone()), *count);
            }
            Event::FinalMonitor { hm, runs, .. } => {
                self.ended = true;
                if !runs {
                    self.away.insert(*hm);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, _at: Instant) -> Result<(), String> {
        if !self.ended {
            return Ok(());
        }
        let all: Vec<Hm> = self.under_way.keys().map(|(hm, _)| *hm).collect();
        all.into_iter().for_each(|hm| self.settle(hm, u64::MAX, false));
        for ((hm, kind), count) in &self.counts {
            let found = self.found.get(&(*hm, kind.clone())).copied().unwrap_or(0);
            let most = count.certain + count.possible;
            let least = if self.away.contains(hm) { 0 } else { count.certain };
            if found < least || found > most {
                return Err(format!(
                    "{hm} wrote {most} {kind}, {} of them surely; the store has {found}",
                    count.certain
                ));
            }
        }
        Ok(())
    }
}
