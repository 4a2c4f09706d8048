//! The application-report exchange, the controller's side.
//!
//! ```text
//!   doorbell seen --- report_request ---> PENDING --- arrived ---> events told --- report_apply ---> taken
//!                          ^                 |
//!                          +---- 30 s -------+
//! ```
//!
//! Everything may be repeated: a request replaces the one before, an event has its incident key, and a report stays in
//! the store until it was applied. A report that cannot be read is taken like any other, so that neither side repeats
//! it for ever; the applications' rows stay what they were, and the event says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{
    ApplicationReport, ArrivedReport, AttentionTag, Colour, PendingReport, Store, StoreError,
};

use crate::events::{self, VmName, incident};
use crate::report;

/// A request is made again after this.
pub const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Requests made in one turn. Each is a transaction of its own; what is left over keeps its doorbell and comes next.
pub const REQUESTS_PER_TURN: usize = 256;

/// What became of the doorbells of one needs-attention answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Requests made.
    pub made: usize,
    /// Whether every doorbell led to a request: only then may the whole answer be acknowledged.
    pub all: bool,
    /// Whether some were left for the next turn.
    pub left_over: bool,
}

/// What is remembered between turns, only to save repetition.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// When each pending VM was last asked again.
    asked_again: BTreeMap<VmUuid, Instant>,
    /// VMs whose incidents are known: the applications that are RED. Others have theirs closed at their next report.
    red: BTreeMap<VmUuid, BTreeSet<String>>,
    /// VMs whose last report was refused, or not known to be well.
    readable: BTreeSet<VmUuid>,
}

impl Exchange {
    /// Asks every VM whose doorbell rang for its report.
    ///
    /// # Errors
    /// What the store says.
    pub fn ask(
        &mut self,
        store: &mut dyn Store,
        vms: &[VmUuid],
        tag: Option<AttentionTag>,
    ) -> Result<Asked, StoreError> {
        let mut asked =
            Asked { made: 0, all: vms.len() <= REQUESTS_PER_TURN, left_over: vms.len() > REQUESTS_PER_TURN };
        for vm in vms.iter().take(REQUESTS_PER_TURN) {
            if request(store, *vm, tag)? {
                asked.made += 1;
            } else {
                // Its doorbell is seen again at the next query; a path may be open then.
                asked.all = false;
            }
        }
        Ok(asked)
    }

    /// Takes what arrived and asks again for what is late. Returns how many reports were taken and whether some are
    /// still to come. `name_of` is what people call a VM.
    ///
    /// # Errors
    /// What the store says.
    pub fn collect(
        &mut self,
        store: &mut dyn Store,
        now: Instant,
        name_of: &dyn Fn(VmUuid) -> String,
    ) -> Result<(usize, bool), StoreError> {
        // Asked before what arrived is: what arrives in between is still pending by this, and so looked for again. The other way
        // round it would wait for the next doorbell.
        let pending = store.reports_pending()?;
        let arrived = store.reports_arrived()?;
        if !arrived.is_empty() {
            let mut known = known_applications(store)?;
            for report in &arrived {
                let name = name_of(report.vm);
                let applied =
                    self.take(store, report, &name, known.get(&report.vm).map_or(&[], Vec::as_slice))?;
                known.insert(report.vm, applied);
            }
        }
        let taken: BTreeSet<VmUuid> = arrived.iter().map(|report| report.vm).collect();
        for vm in self.late(&pending, now).into_iter().filter(|vm| !taken.contains(vm)) {
            request(store, vm, None)?;
        }
        Ok((arrived.len(), !pending.is_empty()))
    }

    /// Takes one report. Returns the applications' rows after it.
    fn take(
        &mut self,
        store: &mut dyn Store,
        report: &ArrivedReport,
        name: &str,
        known: &[ApplicationReport],
    ) -> Result<Vec<ApplicationReport>, StoreError> {
        let vm = VmName { vm: report.vm, name };
        let content = match report::parse(&report.payload, report.vm) {
            Ok(content) => {
                self.tell_applications(store, vm, &content.applications, known)?;
                if !self.readable.contains(&report.vm) {
                    store.incident_close(&incident::report_rejected(report.vm))?;
                    self.readable.insert(report.vm);
                }
                Some(content)
            }
            Err(error) => {
                self.readable.remove(&report.vm);
                if store.event_append(&events::report_rejected(vm, &error.to_string()))? {
                    tracing::warn!(vm = name, err = %error, "application report refused");
                }
                None
            }
        };
        match store.report_apply(report, content.as_ref().filter(|_| !is_on(Bug::ReportNotKept))) {
            // The VM was removed meanwhile, and the report with it.
            Err(StoreError::UnknownVm(_)) => Ok(Vec::new()),
            other => other.map(|_| content.map_or_else(|| known.to_vec(), |content| content.applications)),
        }
    }

    /// Tells each application that is RED, once; closes the incidents of those that are not.
    fn tell_applications(
        &mut self,
        store: &mut dyn Store,
        vm: VmName<'_>,
        applications: &[ApplicationReport],
        known: &[ApplicationReport],
    ) -> Result<(), StoreError> {
        let (red, well): (Vec<_>, Vec<_>) = applications.iter().partition(|app| app.colour == Colour::Red);
        let red_now: BTreeSet<String> = red.iter().map(|app| app.uuid.clone()).collect();
        let before = self.red.get(&vm.vm);
        // A new process does not know what is open, so it closes what is not RED once.
        let mut close: BTreeSet<String> = match before {
            Some(before) => before.difference(&red_now).cloned().collect(),
            None => well.iter().map(|app| app.uuid.clone()).collect(),
        };
        let red_before = known.iter().filter(|app| app.colour == Colour::Red && !red_now.contains(&app.uuid));
        close.extend(red_before.map(|app| app.uuid.clone()));
        for uuid in &close {
            store.incident_close(&incident::app_red(vm.vm, uuid))?;
        }
        for app in red.iter().filter(|app| before.is_none_or(|before| !before.contains(&app.uuid))) {
            if store.event_append(&events::app_failure(
                vm,
                &app.name,
                &app.uuid,
                &app.status,
                app.critical,
            ))? {
                tracing::warn!(vm = vm.name, app = app.name, status = app.status, "application failed");
            }
        }
        self.red.insert(vm.vm, red_now);
        Ok(())
    }

    /// The VMs to be asked again: waiting for long, and not asked again lately.
    fn late(&mut self, pending: &[PendingReport], now: Instant) -> Vec<VmUuid> {
        let waiting: BTreeSet<VmUuid> = pending.iter().map(|report| report.vm).collect();
        self.asked_again.retain(|vm, _| waiting.contains(vm));
        let mut late = Vec::new();
        for report in pending.iter().filter(|report| report.age >= ASK_AGAIN) {
            let lately = self.asked_again.get(&report.vm).is_some_and(|asked| now.since(*asked) < ASK_AGAIN);
            if !lately && late.len() < REQUESTS_PER_TURN {
                self.asked_again.insert(report.vm, now);
                late.push(report.vm);
            }
        }
        late
    }

    /// Forgets the VMs that are not in `vms` any more.
    pub fn keep(&mut self, vms: &dyn Fn(VmUuid) -> bool) {
        self.red.retain(|vm, _| vms(*vm));
        self.readable.retain(|vm| vms(*vm));
    }
}

/// Whether a request was made. A VM that is gone meanwhile is asked nothing.
fn request(store: &mut dyn Store, vm: VmUuid, tag: Option<AttentionTag>) -> Result<bool, StoreError> {
    match store.report_request(vm, tag) {
        Ok(tag) => Ok(tag.is_some()),
        Err(StoreError::UnknownVm(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

fn known_applications(store: &mut dyn Store) -> Result<BTreeMap<VmUuid, Vec<ApplicationReport>>, StoreError> {
    let mut known: BTreeMap<VmUuid, Vec<ApplicationReport>> = BTreeMap::new();
    for view in store.applications()? {
        known.entry(view.vm).or_default().push(view.report);
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_long_is_asked_again_every_thirty_seconds() {
        let vm: VmUuid = "61be20f0-09a8-4753-b5e5-564f8a545ed5".parse().unwrap();
        let pending = |age_s| [PendingReport { tag: 1, vm, age: Duration::from_secs(age_s) }];
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let mut exchange = Exchange::default();
        assert_eq!(exchange.late(&pending(29), at(100)), []);
        assert_eq!(exchange.late(&pending(31), at(102)), [vm]);
        // No path was open: the request stays as old as it is.
        assert_eq!(exchange.late(&pending(33), at(104)), []);
        assert_eq!(exchange.late(&pending(61), at(132)), [vm]);
        assert_eq!(exchange.late(&[], at(134)), []);
        assert_eq!(exchange.late(&pending(40), at(136)), [vm], "a new wait starts anew");
    }
}
