//! Requests to host monitors.

use std::time::Duration;

use crate::sql::db::params;

use super::Turn;
use super::rows::{all, first, run};
use crate::*;

/// A request that its host monitor did not confirm in this time is dropped. It was not running: at its start the
/// roster itself tells what Reconsider would have told, and the controller asks again for a report after 30 s.
const REQUEST_MAX_AGE: Duration = Duration::from_mins(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Reconsider,
    AskReport(MessageTag),
    ReportTaken(MessageTag),
}

impl Opcode {
    const fn columns(self) -> (&'static str, Option<MessageTag>) {
        match self {
            Self::Reconsider => ("RECONSIDER", None),
            Self::AskReport(tag) => ("ASK_REPORT", Some(tag)),
            Self::ReportTaken(tag) => ("REPORT_TAKEN", Some(tag)),
        }
    }
}

impl Turn<'_> {
    /// Asks one host monitor. A request of the same kind for the same VM is replaced.
    pub(super) fn request(
        self,
        host_monitor: i64,
        vm: i64,
        opcode: Opcode,
    ) -> Result<TransactionTag, StoreError> {
        let sql = "DELETE FROM request WHERE created_at < ?1 RETURNING tag";
        for tag in all(self.db, sql, [self.oldest_request()], |row| row.get(0))? {
            self.progress_settle(tag, TransactionState::GivenUp)?;
        }
        let (opcode, message) = opcode.columns();
        let sql =
            "DELETE FROM request WHERE host_monitor_id = ?1 AND vm_id = ?2 AND opcode = ?3 RETURNING tag";
        for tag in all(self.db, sql, params![host_monitor, vm, opcode], |row| row.get(0))? {
            self.progress_settle(tag, TransactionState::Replaced)?;
        }
        // A number of the sequence: what is rolled back leaves no gap, on any back end.
        let tag = self.next_sequence()?;
        let sql = "INSERT INTO request (tag, host_monitor_id, vm_id, opcode, message_tag, created_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.db.roster_changes();
        run(self.db, sql, params![tag, host_monitor, vm, opcode, message, self.now.0])?;
        Ok(tag)
    }

    /// Asks every host monitor of the VM's host, and others it has a path to; none that was removed.
    pub(super) fn request_every_monitor(
        self,
        vm: i64,
        opcode: Opcode,
    ) -> Result<Vec<TransactionTag>, StoreError> {
        let sql = "SELECT m.id FROM host_monitor m JOIN vm v ON v.host_id = m.host_id
                   WHERE v.id = ?1 AND m.state <> 'REMOVED'
                   UNION SELECT host_monitor_id FROM path WHERE vm_id = ?1 ORDER BY 1";
        let monitors = all(self.db, sql, [vm], |row| row.get(0))?;
        monitors.into_iter().map(|monitor| self.request(monitor, vm, opcode)).collect()
    }

    pub(super) fn request_done(self, host_monitor: i64, tag: TransactionTag) -> Result<(), StoreError> {
        let sql = "DELETE FROM request WHERE tag = ?1 AND host_monitor_id = ?2 RETURNING vm_id";
        let Some(vm) = first(self.db, sql, [tag, host_monitor], |row| row.get(0))? else { return Ok(()) };
        self.progress_settle(tag, TransactionState::Done)?;
        self.leaving_check(vm)
    }

    /// Requests made before this are dropped.
    pub(super) fn oldest_request(self) -> i64 {
        self.now.back(REQUEST_MAX_AGE).0
    }
}
