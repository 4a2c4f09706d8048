//! The host monitor's own copy of its roster, for a start while the store cannot be read.
//!
//! Pure. The copy is as old as the store's last answer; what the spool holds since is put on top. Ages grow by what is known
//! to have passed, and never by more ([`BootClock::since`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, Roster, RosterPath, RosterVm, StartWrites, SuspendReason, VmState};

use crate::spool::record::{BootClock, frame, unframe};

#[derive(Serialize, Deserialize)]
struct Copy {
    boot: String,
    at_us: u64,
    roster: Roster,
}

/// The copy as bytes. Requests are not in it: they are the store's to repeat.
#[must_use]
pub fn encode(roster: &Roster, clock: &BootClock, now: Instant) -> Vec<u8> {
    let at_us = u64::try_from(clock.at(now).as_micros()).unwrap_or(u64::MAX);
    let roster = Roster { requests: Vec::new(), ..roster.clone() };
    let copy = Copy { boot: clock.boot.clone(), at_us, roster };
    frame_large(&serde_json::to_vec(&copy).unwrap_or_default())
}

/// A copy, with ages as of `now`; `None` if there is none, or it is not sound.
#[must_use]
pub fn decode(bytes: &[u8], clock: &BootClock, now: Instant) -> Option<Roster> {
    let Copy { boot, at_us, mut roster } = serde_json::from_slice(&unframe_large(bytes)?).ok()?;
    let waited = clock.since(now, &boot, Duration::from_micros(at_us));
    for vm in roster.vms.iter_mut().chain(&mut roster.visiting) {
        if let Some(missed) = vm.path.as_mut().and_then(|path| path.missed.as_mut()) {
            *missed = missed.saturating_add(waited);
        }
    }
    for quiet in &mut roster.quiet {
        quiet.left = quiet.left.saturating_sub(waited);
    }
    Some(roster)
}

/// A record's size is bounded; a copy is many of them.
const PIECE_BYTES: usize = 256 * 1024;

fn frame_large(text: &[u8]) -> Vec<u8> {
    let pieces = text.chunks(PIECE_BYTES).flat_map(|piece| frame(piece, &[]));
    pieces.chain(frame(&[], &[])).collect()
}

/// All pieces, the empty one at the end included.
fn unframe_large(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let (piece, _, rest) = unframe(bytes)?;
        if piece.is_empty() {
            return Some(text);
        }
        text.extend(piece);
        bytes = rest;
    }
}

/// Puts on top of the copy what was written since, and has not reached the store perhaps.
pub fn put_on_top(roster: &mut Roster, starts: &[StartWrites]) {
    for (_, write) in starts.iter().flat_map(|start| &start.writes) {
        apply(roster, write);
    }
}

fn apply(roster: &mut Roster, write: &HostMonitorWrite) {
    use HostMonitorWrite as Write;
    match write {
        Write::PathDetected { vm } | Write::PathQuiet { vm } => {
            on_path(roster, *vm, |path| path.missed = None)
        }
        Write::PathMissing { vm, age, .. } => on_path(roster, *vm, |path| path.missed = Some(*age)),
        Write::PathForgotten { vm } => on_vm(roster, *vm, |vm| vm.path = None),
        Write::PathOpened { vm, mac, .. } => on_vm(roster, *vm, |vm| {
            if let Some(path) = &mut vm.path {
                path.mac.clone_from(mac);
            }
            if vm.suspended.is_some_and(|reason| reason != SuspendReason::Administrator) {
                resume(vm);
            }
        }),
        Write::Suspended { vm, reason, .. } => on_vm(roster, *vm, |vm| {
            if matches!(vm.state, VmState::Starting | VmState::Started | VmState::Suspended) {
                (vm.state, vm.suspended) = (VmState::Suspended, Some(*reason));
            }
        }),
        Write::Resumed { vm, .. } => on_vm(roster, *vm, resume),
        Write::QuietEnded { vm, .. } | Write::QuietOver { vm, .. } => {
            roster.quiet.retain(|quiet| quiet.vm != *vm);
        }
        // What was asked for is granted by the store only.
        Write::QuietAsked { .. }
        | Write::Started(_)
        | Write::Configured { .. }
        | Write::Heartbeat
        | Write::NodeChanged { .. }
        | Write::ModeChanged { .. }
        | Write::NodeEvent { .. }
        | Write::TrunkHeard { .. }
        | Write::Isolated { .. }
        | Write::PathGuardian { .. }
        | Write::Doorbell { .. }
        | Write::Report { .. }
        | Write::ReportCleared { .. }
        | Write::RequestDone { .. }
        | Write::Discovered { .. }
        | Write::Conflict { .. } => {}
    }
}

fn resume(vm: &mut RosterVm) {
    if vm.state == VmState::Suspended {
        (vm.state, vm.suspended) = (VmState::Started, None);
    }
}

fn on_vm(roster: &mut Roster, vm: VmUuid, change: impl FnOnce(&mut RosterVm)) {
    if let Some(found) = roster.vms.iter_mut().chain(&mut roster.visiting).find(|other| other.uuid == vm) {
        change(found);
    }
}

/// It counts from then on.
fn on_path(roster: &mut Roster, vm: VmUuid, change: impl FnOnce(&mut RosterPath)) {
    on_vm(roster, vm, |vm| {
        change(vm.path.get_or_insert_with(|| RosterPath { mac: String::new(), missed: None }));
    });
}

#[cfg(test)]
mod tests;
