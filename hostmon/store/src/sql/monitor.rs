//! What host monitors write.

mod discovery;
mod guest;
mod many;
mod path;
mod quiet;

use crate::sql::db::params;
use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use many::Run;

use super::rows::{first, run, typed};
use super::{Numbered, Numbering, Turn};
use crate::*;

/// Node events kept per host monitor until acknowledged: a day of trouble every 90 s. Older ones are dropped.
const MAX_NODE_EVENTS: i64 = 1024;

/// Bytes kept of a sentence and of a word that a host monitor wrote.
const MAX_TEXT: usize = 1024;
const MAX_WORD: usize = 64;

/// A registered VM as the writes need it.
#[derive(Clone, Copy)]
struct VmRow {
    id: i64,
    host: i64,
    state: VmState,
}

/// The host monitor that writes.
struct Writer {
    id: i64,
    incarnation: Option<String>,
    /// Number of its last write that was applied since that start.
    written_up_to: Option<u64>,
    /// It was taken out.
    removed: bool,
}

/// Whose writes they are.
#[derive(Clone, Copy)]
struct Source {
    id: i64,
    /// Their ages are what they say, and not the least that they can be.
    sure: bool,
}

impl VmRow {
    /// Whether its paths are of account.
    const fn monitored(self) -> bool {
        match self.state {
            VmState::Starting | VmState::Started | VmState::Suspended => true,
            VmState::Added | VmState::Stopping | VmState::Stopped | VmState::Removing | VmState::Unknown => {
                false
            }
        }
    }
}

impl Turn<'_> {
    pub(super) fn host_monitor_apply(
        self,
        host_monitor: HostMonitorId,
        known: Option<&str>,
        starts: &[Numbering<'_>],
    ) -> Result<Applied, StoreError> {
        let writer = self.writer(host_monitor)?;
        if let (Some(known), Some(current)) = (known, &writer.incarnation)
            && known != current
        {
            // Of two processes under one UUID the later start is the host monitor: a late word of the other, above all
            // its DOWN at its end, must not be taken for this one's.
            return Err(StoreError::Superseded(host_monitor));
        }
        let heard_of = |start: &Numbering<'_>| {
            writer.incarnation.is_some() && start.incarnation == writer.incarnation.as_deref()
        };
        let reached = starts.iter().position(heard_of);
        let mut applied = Applied::default();
        for (index, start) in starts.iter().enumerate() {
            let already = match reached {
                _ if is_on(Bug::AppliedTwice) => None,
                Some(reached) if index < reached => Some(u64::MAX),
                Some(reached) if index == reached => writer.written_up_to,
                Some(_) | None => None,
            };
            self.apply_start(&writer, start, already, &mut applied)?;
        }
        Ok(applied)
    }

    /// What is numbered `already` or lower was applied before.
    fn apply_start(
        self,
        writer: &Writer,
        start: &Numbering<'_>,
        already: Option<u64>,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let is_done = |(number, _): &Numbered<'_>| number.is_some() && *number <= already;
        let (done, new): (Vec<Numbered<'_>>, Vec<_>) = start.writes.iter().copied().partition(is_done);
        for (_, write) in done {
            applied.quiets.extend(self.quiet_answer_again(write)?);
        }
        // A start begins to count anew; otherwise what follows may ask whether the monitor answers.
        let begins = new.iter().any(|(_, write)| write.start().is_some());
        if !begins {
            self.on_commit(writer.id, &new)?;
        }
        if writer.removed {
            new.iter().try_for_each(|(_, write)| self.apply_of_removed(writer.id, write))?;
        } else {
            let from = Source { id: writer.id, sure: !start.of_earlier_boot };
            self.apply_all(from, &new, applied)?;
        }
        if begins { self.on_commit(writer.id, &new) } else { Ok(()) }
    }

    /// Whatever reaches the store for the first time is a sign of life, as a heartbeat is: until then, too, everything that was
    /// heard is known here. Unless it says that the monitor's loop stands: that is another thread's word.
    ///
    /// One statement, and no indexed column: on PostgreSQL one row version, in the same page if there is room.
    fn on_commit(self, from: i64, new: &[Numbered<'_>]) -> Result<(), StoreError> {
        let number = new.iter().filter_map(|(number, _)| *number).max();
        let number = number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let alive = (!new.is_empty() && !says_it_stands(new)).then_some(self.now.0);
        if alive.is_none() && number.is_none() {
            return Ok(());
        }
        let sql = "UPDATE host_monitor SET heartbeat_at = coalesce(?2, heartbeat_at),
                   written_up_to = coalesce(?3, written_up_to) WHERE id = ?1";
        run(self.db, sql, params![from, alive, number]).map(drop)
    }

    fn apply_all(
        self,
        source: Source,
        writes: &[Numbered<'_>],
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let same = |(_, one): &Numbered<'_>, (_, other): &Numbered<'_>| {
            Run::of(one).is_some() && Run::of(one) == Run::of(other)
        };
        for run_of in writes.chunk_by(same) {
            if let [(_, first), _, ..] = run_of
                && let Some(what) = Run::of(first)
            {
                self.apply_run(source, what, run_of)?;
                continue;
            }
            for (_, write) in run_of {
                applied.quiets.extend(self.apply_quiet(write)?);
                self.apply(source, write)?;
            }
        }
        if writes.iter().any(|(_, write)| is_node_event(write)) {
            self.node_events_bound(source.id)?;
        }
        if writes.iter().any(|(_, write)| may_discover(write)) {
            self.discoveries_bound(source.id)?;
        }
        Ok(())
    }

    /// Who writes; its row is made if there is none.
    fn writer(self, uuid: HostMonitorId) -> Result<Writer, StoreError> {
        let sql = "SELECT id, incarnation, written_up_to, state FROM host_monitor WHERE uuid = ?1";
        let found = first(self.db, sql, [uuid.to_string()], |row| {
            let removed = typed::<NodeState>(row, 3)? == NodeState::Removed;
            Ok(Writer { id: row.get(0)?, incarnation: row.get(1)?, written_up_to: row.get(2)?, removed })
        })?;
        match found {
            Some(writer) => Ok(writer),
            None => {
                let id = self.host_monitor_id(uuid)?;
                Ok(Writer { id, incarnation: None, written_up_to: None, removed: false })
            }
        }
    }

    fn apply(self, source: Source, write: &HostMonitorWrite) -> Result<(), StoreError> {
        use HostMonitorWrite as Write;
        let from = source.id;
        match write {
            Write::Started(start) => self.on_started(from, start),
            Write::Configured { version, versions, heartbeat_interval } => {
                self.on_configured(from, *version, versions, *heartbeat_interval)
            }
            Write::Heartbeat => self.on_heartbeat(from),
            Write::NodeChanged { state, reason, mode } => self.on_node(from, *state, *reason, *mode),
            Write::ModeChanged { mode, age, text } => self.on_mode(from, *mode, *age, text),
            Write::NodeEvent { kind, text } => self.node_event(from, kind, text),
            Write::TrunkHeard { heard } => self.on_trunk_heard(from, *heard),
            Write::Isolated { isolated } => self.on_isolated(from, *isolated),
            Write::PathOpened { vm, mac, version, authenticated, age } => {
                let word = self.word_of(source, *age);
                self.on_opened(
                    from,
                    *vm,
                    &path::Opening { mac, version, authenticated: *authenticated, word },
                )
            }
            Write::PathGuardian { vm, guardian } => self.on_path_guardian(from, *vm, *guardian),
            Write::PathDetected { vm } => self.on_detected(from, *vm),
            Write::PathMissing { vm, age, common } => self.on_missing(from, *vm, *age, *common),
            Write::PathQuiet { vm } => self.on_path_quiet(from, *vm),
            Write::PathForgotten { vm } => self.on_forgotten(from, *vm),
            Write::Suspended { vm, reason, age } => {
                self.on_suspended(*vm, *reason, self.word_of(source, *age))
            }
            Write::Resumed { vm, age } => self.on_resumed(*vm, self.word_of(source, *age)),
            // Answered: see `apply_quiet`.
            Write::QuietAsked { .. } | Write::QuietEnded { .. } => Ok(()),
            Write::QuietOver { vm, sequence, age } => self.on_quiet_over(*vm, *sequence, *age),
            Write::Doorbell { vm, bits } => self.on_doorbell(*vm, *bits),
            Write::Report { vm, message, payload } => match self.vm_row(*vm)? {
                Some(vm) => self.report_arrived(from, vm.id, *message, payload),
                None => Ok(()),
            },
            Write::ReportCleared { vm, message } => match self.vm_row(*vm)? {
                Some(vm) => self.report_cleared(vm.id, *message),
                None => Ok(()),
            },
            Write::RequestDone { tag } => self.request_done(from, *tag),
            Write::Discovered { uuid, mac, kind } => self.on_discovered(from, uuid, mac, "", *kind),
            Write::Conflict { uuid, mac, kind, text } => self.on_conflict(from, uuid, mac, *kind, text),
        }
    }

    /// It runs, hears its trunk, and its writes reach the store: UP and GLOBAL.
    fn on_started(self, from: i64, start: &HostMonitorStart) -> Result<(), StoreError> {
        self.start_record(from, start)?;
        let sql = "UPDATE host_monitor SET state = 'UP', reason = 0, mode = 'GLOBAL', blind = 0, isolated = 0 WHERE id = ?1";
        run(self.db, sql, [from])?;
        self.awaits_begin(from)?;
        self.starting_vms_check(from)?;
        self.leaving_vms_check()
    }

    /// What it says of itself.
    pub(super) fn start_record(self, from: i64, start: &HostMonitorStart) -> Result<(), StoreError> {
        let sql = "UPDATE host_monitor SET trunk = ?2, mac = ?3, vlan = ?4, incarnation = ?5, versions = ?6,
                   heartbeat_interval_us = ?7, heartbeat_at = ?8, written_up_to = NULL WHERE id = ?1";
        let interval_us = i64::try_from(start.heartbeat_interval.as_micros()).unwrap_or(i64::MAX / 8).max(1);
        let HostMonitorStart { trunk, mac, vlan, incarnation, versions, heartbeat_interval: _ } = start;
        run(self.db, sql, params![from, trunk, mac, vlan, incarnation, versions, interval_us, self.now.0])
            .map(drop)
    }

    /// That it lives says its commit; this is when it is looked at what nobody else sees.
    fn on_heartbeat(self, from: i64) -> Result<(), StoreError> {
        self.awaits_check(from)?;
        self.two_hosts_check(from)?;
        self.starting_vms_check(from)?;
        self.leaving_vms_check()
    }

    fn on_node(self, from: i64, state: NodeState, reason: u32, mode: MonitorMode) -> Result<(), StoreError> {
        let sql = "UPDATE host_monitor SET state = ?2, reason = ?3, mode = ?4,
                   unknown_from = CASE WHEN mode = 'GLOBAL' AND blind = 0 THEN ?5 ELSE unknown_from END
                   WHERE id = ?1 AND (state <> ?2 OR reason <> ?3 OR mode <> ?4)";
        if run(self.db, sql, params![from, state.as_str(), reason, mode.as_str(), self.now.0])? > 0 {
            self.node_event(from, "NODE", &format!("node {state}, reason {reason:#010x}, mode {mode}"))?;
            self.starting_vms_check(from)?;
            self.leaving_vms_check()?;
        }
        Ok(())
    }

    fn on_trunk_heard(self, from: i64, heard: bool) -> Result<(), StoreError> {
        let sql = "UPDATE host_monitor SET blind = ?2,
                   unknown_from = CASE WHEN blind = 0 AND mode = 'GLOBAL' THEN ?3 ELSE unknown_from END
                   WHERE id = ?1 AND blind <> ?2";
        if run(self.db, sql, params![from, !heard, self.now.0])? > 0 {
            self.starting_vms_check(from)
        } else {
            Ok(())
        }
    }

    fn on_isolated(self, from: i64, isolated: bool) -> Result<(), StoreError> {
        let sql = "UPDATE host_monitor SET isolated = ?2 WHERE id = ?1 AND isolated <> ?2";
        run(self.db, sql, params![from, isolated]).map(drop)
    }

    pub(super) fn node_event(self, from: i64, kind: &str, text: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO node_event (host_monitor_id, happened_at, kind, text, sequence)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let sequence = self.next_sequence()?;
        let values = params![from, self.now.0, clip(kind, MAX_WORD), clip(text, MAX_TEXT), sequence];
        run(self.db, sql, values).map(drop)
    }

    pub(super) fn node_events_bound(self, from: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM node_event WHERE host_monitor_id = ?1 AND id <=
                   (SELECT id FROM node_event WHERE host_monitor_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        run(self.db, sql, [from, MAX_NODE_EVENTS]).map(drop)
    }

    fn vm_row(self, vm: VmUuid) -> Result<Option<VmRow>, StoreError> {
        let sql = "SELECT id, host_id, state FROM vm WHERE uuid = ?1";
        first(self.db, sql, [vm.to_string()], |row| {
            Ok(VmRow { id: row.get(0)?, host: row.get(1)?, state: typed(row, 2)? })
        })
    }

    /// The host it is registered with, if it is.
    fn host_of(self, host_monitor: i64) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT host_id FROM host_monitor WHERE id = ?1";
        Ok(first(self.db, sql, [host_monitor], |row| row.get::<Option<i64>>(0))?.flatten())
    }
}

const fn is_node_event(write: &HostMonitorWrite) -> bool {
    matches!(
        write,
        HostMonitorWrite::NodeEvent { .. }
            | HostMonitorWrite::NodeChanged { .. }
            | HostMonitorWrite::Configured { .. }
            | HostMonitorWrite::ModeChanged { .. }
    )
}

/// Whether it is the last word about its mode that its loop does not turn.
fn says_it_stands(writes: &[Numbered<'_>]) -> bool {
    let mode = |write: &HostMonitorWrite| {
        if let HostMonitorWrite::ModeChanged { mode, .. } = write { Some(*mode) } else { None }
    };
    writes.iter().rev().find_map(|(_, write)| mode(write)) == Some(MonitorMode::Down)
}

const fn may_discover(write: &HostMonitorWrite) -> bool {
    matches!(
        write,
        HostMonitorWrite::PathOpened { .. }
            | HostMonitorWrite::Discovered { .. }
            | HostMonitorWrite::Conflict { .. }
    )
}

/// The longest start of `text` that has at most `most` bytes.
fn clip(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}
