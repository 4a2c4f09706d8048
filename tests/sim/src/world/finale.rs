//! The end: what the store says is put beside what is true.

use super::World;
use crate::checkers::Violation;
use crate::event::{Event, FinalVm};
use crate::names::Vm;

/// Tables whose rows wait for somebody, and must not pile up.
const WAITING_TABLES: [&str; 3] = ["request", "message", "doorbell"];

impl World<'_> {
    pub(super) fn finish(&mut self) {
        if self.plan.converges
            && let Err(error) = self.compare()
        {
            let text = format!("the store cannot be read: {error}");
            self.violations.push(Violation { checker: "world", at: self.now, text });
        }
        for checker in &mut self.checkers {
            if let Err(text) = checker.at_end(self.now) {
                self.violations.push(Violation { checker: checker.name(), at: self.now, text });
            }
        }
    }

    fn compare(&mut self) -> rusqlite::Result<()> {
        for index in 0..self.monitors.len() {
            let monitor = &self.monitors[index];
            let (hm, runs, pending) = (monitor.hm, monitor.is_up(), monitor.waiting());
            let spooled = monitor.spooled();
            let well = self.store.look().is_monitor_well(hm)?;
            let events = self.store.look().node_events(hm)?;
            self.event(&Event::FinalMonitor { hm, runs, well, pending, spooled });
            for (kind, count) in events {
                self.event(&Event::FinalNodeEvents(hm, kind, count));
            }
        }
        for vm in (0..self.guests.len()).map(Vm) {
            let row = self.store.look().vm(vm)?;
            let guest = &self.guests[vm.0];
            let event = Event::FinalVm(FinalVm {
                vm,
                runs: self.hypervisor.host_of(vm).is_some() && guest.is_well(),
                suspended: guest.suspension.suspended,
                state: row.state,
                phase: row.phase,
                beating: row.beating,
                missing: row.missing,
                failed: row.failed,
                apps: guest.applications(),
                stored_apps: row.apps,
            });
            self.event(&event);
        }
        for table in WAITING_TABLES {
            let rows = self.store.look().rows(table)?;
            self.event(&Event::FinalRows(table, rows));
        }
        Ok(())
    }
}
