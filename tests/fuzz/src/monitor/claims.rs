//! What is held against the monitor: every write, by what was said and heard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::Doorbell;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, SuspendReason};

use super::guest::{Said, report};
use super::{PROTECTED, vm};

/// Of every VM without an interval of its own.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Remarks about strangers of one kind in a second; twice, as a second here is not the monitor's.
const REMARKS_PER_KIND: usize = 2 * 32;
/// Kinds of such remarks: four of them, and three refusals. What the monitor says of itself is less than one kind.
const KINDS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Whom any roster had.
    pub(super) rostered: BTreeSet<VmUuid>,
    /// Who is MISSING now.
    pub(super) missing: BTreeSet<VmUuid>,
    /// When a heartbeat of a VM was last heard.
    pub(super) beats: BTreeMap<VmUuid, Instant>,
    /// A monitor that was started anew does not know exactly since when a VM is silent.
    restarted: bool,
    /// When the adapter came back last: silence of whoever was not MISSING counts from there.
    pub(super) heard_again: Option<Instant>,
    number: u64,
    remarks: Vec<Instant>,
}

/// The number of a protected VM.
pub(super) fn protected(id: VmUuid) -> Option<u8> {
    PROTECTED.into_iter().find(|number| vm(*number) == id)
}

impl Claims {
    pub(super) fn on_beat(&mut self, arrived: Instant, vm: VmUuid) {
        let latest = self.beats.entry(vm).or_insert(arrived);
        *latest = arrived.max(*latest);
    }

    pub(super) fn on_restarted(&mut self) {
        (self.number, self.restarted) = (0, true);
    }

    pub(super) fn on_write(&mut self, now: Instant, number: u64, write: &HostMonitorWrite) {
        assert_eq!(number, self.number + 1, "a write is left out");
        self.number = number;
        if let Some(vm) = subject(write) {
            assert!(self.rostered.contains(&vm), "{write:?}: nobody registered that VM");
        }
        match write {
            HostMonitorWrite::PathMissing { vm, age, .. } => self.on_missing(now, *vm, *age),
            HostMonitorWrite::PathDetected { vm }
            | HostMonitorWrite::PathForgotten { vm }
            | HostMonitorWrite::PathQuiet { vm } => {
                self.missing.remove(vm);
            }
            HostMonitorWrite::Discovered { .. }
            | HostMonitorWrite::Conflict { .. }
            | HostMonitorWrite::NodeEvent { .. } => self.on_remark(now, write),
            _ => {}
        }
    }

    fn on_missing(&mut self, now: Instant, vm: VmUuid, age: Duration) {
        self.missing.insert(vm);
        let Some(beat) = self.beats.get(&vm).filter(|_| protected(vm).is_some()) else { return };
        let silence = now.since(*beat);
        assert!(silence >= INTERVAL * 19 / 10, "{vm} is called MISSING and beat {silence:?} ago");
        let since_return = self.heard_again.map_or(silence, |again| now.since(again));
        let right = age == silence || age == since_return.min(silence) || (self.restarted && age < silence);
        assert!(right, "{vm} is silent for {silence:?}, or {since_return:?}, not for {age:?}");
    }

    fn on_remark(&mut self, now: Instant, write: &HostMonitorWrite) {
        self.remarks.retain(|at| now.since(*at) < Duration::from_secs(1));
        self.remarks.push(now);
        let count = self.remarks.len();
        assert!(count <= KINDS * REMARKS_PER_KIND, "{count} remarks in a second, the last is {write:?}");
    }
}

/// The VM that must be registered for this to be written.
fn subject(write: &HostMonitorWrite) -> Option<VmUuid> {
    match write {
        HostMonitorWrite::PathOpened { vm, .. }
        | HostMonitorWrite::PathDetected { vm }
        | HostMonitorWrite::PathMissing { vm, .. }
        | HostMonitorWrite::PathForgotten { vm }
        | HostMonitorWrite::Suspended { vm, .. }
        | HostMonitorWrite::Resumed { vm, .. }
        | HostMonitorWrite::Doorbell { vm, .. }
        | HostMonitorWrite::Report { vm, .. }
        | HostMonitorWrite::PathQuiet { vm }
        | HostMonitorWrite::PathGuardian { vm, .. }
        | HostMonitorWrite::QuietAsked { vm, .. }
        | HostMonitorWrite::QuietEnded { vm, .. }
        | HostMonitorWrite::QuietOver { vm, .. }
        | HostMonitorWrite::ReportCleared { vm, .. } => Some(*vm),
        _ => None,
    }
}

/// Nothing is written of a protected guest that it did not say.
pub(super) fn check_said(number: u8, said: &Said, write: &HostMonitorWrite) {
    let right = match write {
        HostMonitorWrite::Suspended { reason: SuspendReason::Administrator, .. } => said.suspend,
        HostMonitorWrite::Suspended { reason: SuspendReason::Daemon | SuspendReason::Os, .. } => {
            said.shutdown
        }
        HostMonitorWrite::Resumed { .. } => said.resume,
        HostMonitorWrite::QuietAsked { .. } | HostMonitorWrite::QuietEnded { .. } => said.quiet,
        HostMonitorWrite::Doorbell { bits, .. } => {
            // Those that the agent adds by itself.
            let own = Doorbell::CONNECTED.with(Doorbell::SUSPENSION).0;
            bits & !(said.bits | own) == 0
        }
        HostMonitorWrite::Report { message, payload, .. } => {
            said.reports.contains(message) && *payload == report(number, *message)
        }
        _ => true,
    };
    assert!(right, "VM {number} never said {write:?}: {said:?}");
}

/// Of which VM, for [`check_said`].
pub(super) fn said_by(write: &HostMonitorWrite) -> Option<u8> {
    subject(write).and_then(protected)
}
