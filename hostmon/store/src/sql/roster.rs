//! What a host monitor is to do.

use super::db::{Row, params};
use vmpulse_protocol::id::HostMonitorId;

use super::Turn;
use super::rows::{age, all, first, typed, typed_option};
use crate::*;

/// As [`Turn::roster_vm`] reads them.
macro_rules! vm_columns {
    () => {
        "v.uuid, v.state, CASE WHEN v.suspended_by_administrator = 1 THEN 'ADMINISTRATOR' ELSE v.shutdown END,
           v.heartbeat_interval_ms, p.mac, CASE WHEN p.missing_since < v.silence_from THEN v.silence_from ELSE p.missing_since END"
    };
}

pub(super) use vm_columns;

const VMS: &str = concat!(
    "SELECT ",
    vm_columns!(),
    " FROM vm v LEFT JOIN path p ON p.vm_id = v.id AND p.host_monitor_id = ?1 AND p.counted = 1
    WHERE v.host_id = ?2 ORDER BY v.uuid"
);

/// VMs of others that were heard here.
const VISITING: &str = concat!(
    "SELECT ",
    vm_columns!(),
    " FROM path p JOIN vm v ON v.id = p.vm_id
    WHERE p.host_monitor_id = ?1 AND p.counted = 1 AND v.host_id IS DISTINCT FROM ?2 ORDER BY v.uuid"
);

/// Of the VMs of its host, and of others that shook hands with it.
const QUIET: &str = "
    SELECT v.uuid, q.sequence, q.announced_at, q.granted_us, q.reason
    FROM quiet q INDEXED BY quiet_in_force JOIN vm v ON v.id = q.vm_id
    WHERE q.ended_at IS NULL AND (v.host_id = ?2
          OR EXISTS (SELECT 1 FROM path p WHERE p.vm_id = v.id AND p.host_monitor_id = ?1))";

const REQUESTS: &str = "
    SELECT r.tag, r.opcode, v.uuid, r.message_tag FROM request r JOIN vm v ON v.id = r.vm_id
    WHERE r.host_monitor_id = ?1 AND r.created_at >= ?2 ORDER BY r.tag";

impl Turn<'_> {
    /// One that is not registered with a host has no VMs of its own: all are elsewhere.
    pub(super) fn roster(self, host_monitor: HostMonitorId) -> Result<Roster, StoreError> {
        let sql = "SELECT id, host_id, state, incarnation FROM host_monitor WHERE uuid = ?1";
        let found = first(self.db, sql, [host_monitor.to_string()], |row| {
            let state = typed::<NodeState>(row, 2)?;
            Ok((row.get::<i64>(0)?, row.get::<Option<i64>>(1)?, Some(state), row.get::<Option<String>>(3)?))
        })?;
        let (id, host, state, incarnation) = found.unwrap_or((0, None, None, None));
        let removed = state == Some(NodeState::Removed);
        let settings = self.settings_of(id)?;
        if removed {
            return Ok(Roster { settings, removed, state, incarnation, ..Roster::default() });
        }
        let oldest = self.oldest_request();
        Ok(Roster {
            vms: all(self.db, VMS, params![id, host], |row| self.roster_vm(row))?,
            visiting: all(self.db, VISITING, params![id, host], |row| self.roster_vm(row))?,
            quiet: all(self.db, QUIET, params![id, host], |row| self.quiet(row))?,
            requests: all(self.db, REQUESTS, [id, oldest], request)?,
            settings,
            removed,
            state,
            incarnation,
        })
    }

    /// Its number and its host's.
    pub(super) fn where_it_is(self, host_monitor: HostMonitorId) -> Result<(i64, Option<i64>), StoreError> {
        let sql = "SELECT id, host_id FROM host_monitor WHERE uuid = ?1";
        let found = first(self.db, sql, [host_monitor.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.unwrap_or((0, None)))
    }

    pub(super) fn roster_vm(self, row: &Row<'_>) -> Result<RosterVm, StoreError> {
        let state: VmState = typed(row, 1)?;
        let path = match row.get::<Option<String>>(4)? {
            Some(mac) => Some(RosterPath { mac, missed: age(row, 5, self.now)? }),
            None => None,
        };
        Ok(RosterVm {
            uuid: typed(row, 0)?,
            state,
            suspended: typed_option(row, 2)?.filter(|_| state == VmState::Suspended),
            heartbeat_interval_ms: row.get(3)?,
            path,
        })
    }
}

fn request(row: &Row<'_>) -> Result<HostMonitorRequest, StoreError> {
    let opcode: String = row.get(1)?;
    let vm = typed(row, 2)?;
    let message = row.get::<Option<MessageTag>>(3)?;
    let what = match (opcode.as_str(), message) {
        ("RECONSIDER", None) => RequestKind::Reconsider(vm),
        ("ASK_REPORT", Some(message)) => RequestKind::AskReport { vm, message },
        ("REPORT_TAKEN", Some(message)) => RequestKind::ReportTaken { vm, message },
        _ => return Err(StoreError::Corrupt { what: "a request", value: opcode }),
    };
    Ok(HostMonitorRequest { tag: row.get(0)?, what })
}
