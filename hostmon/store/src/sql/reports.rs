//! The application-report exchange.
//!
//! ```text
//!  report_request          Report             report_apply           ReportCleared
//! ----------------> ASKED ---------> ARRIVED --------------> TAKEN ----------------> (no row)
//!                   |  ^ asked anew: a new tag, the old one is forgotten
//!                   +--+
//! ```
//! A VM has at most one row in each state, so nothing piles up however often an exchange is interrupted. A
//! report asked for later is newer: only one request of a VM is open at a time.

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::Turn;
use super::hosts::known;
use super::requests::Opcode;
use super::rows::{NONE, age, all, first, only, run, typed};
use crate::*;

/// The counted path without a silence that was heard last.
const BEST_PATH: &str = concat!(
    "SELECT p.host_monitor_id FROM path p JOIN host_monitor m ON m.id = p.host_monitor_id
     WHERE p.vm_id = ?2 AND p.counted = 1 AND p.missing_since IS NULL AND ",
    known!(),
    " ORDER BY p.beating DESC, p.heard_at DESC, m.uuid LIMIT 1"
);

impl Turn<'_> {
    pub(super) fn report_request(
        self,
        vm: VmUuid,
        acknowledge: Option<AttentionTag>,
    ) -> Result<Option<MessageTag>, StoreError> {
        let id = self.vm_id(vm)?;
        let best = first(self.db, BEST_PATH, [self.now.0, id], |row| row.get::<i64>(0))?;
        let Some(host_monitor) = best else {
            return Ok(None);
        };
        run(self.db, "DELETE FROM message WHERE vm_id = ?1 AND state = 'ASKED'", [id])?;
        run(self.db, "DELETE FROM request WHERE vm_id = ?1 AND opcode = 'ASK_REPORT'", [id])?;
        let sql = "INSERT INTO message (vm_id, host_monitor_id, state, asked_at) VALUES (?1, ?2, 'ASKED', ?3) RETURNING tag";
        let tag = only(self.db, sql, params![id, host_monitor, self.now.0], |row| row.get(0))?;
        self.request(host_monitor, id, Opcode::AskReport(tag))?;
        if let Some(attention) = acknowledge {
            self.doorbell_acknowledge(id, attention)?;
        }
        Ok(Some(tag))
    }

    pub(super) fn reports_arrived(self) -> Result<Vec<ArrivedReport>, StoreError> {
        let sql = "SELECT r.tag, v.uuid, m.uuid, r.payload FROM message r JOIN vm v ON v.id = r.vm_id
                   JOIN host_monitor m ON m.id = r.host_monitor_id WHERE r.state = 'ARRIVED' ORDER BY r.tag";
        all(self.db, sql, NONE, |row| {
            let (vm, host_monitor) = (typed(row, 1)?, typed(row, 2)?);
            Ok(ArrivedReport { tag: row.get(0)?, vm, host_monitor, payload: row.get(3)? })
        })
    }

    pub(super) fn reports_pending(self) -> Result<Vec<PendingReport>, StoreError> {
        let sql = "SELECT r.tag, v.uuid, r.asked_at FROM message r JOIN vm v ON v.id = r.vm_id
                   WHERE r.state = 'ASKED' ORDER BY r.tag";
        all(self.db, sql, NONE, |row| {
            let age = age(row, 2, self.now)?.unwrap_or_default();
            Ok(PendingReport { tag: row.get(0)?, vm: typed(row, 1)?, age })
        })
    }

    /// Kept only for the exchange that waits for it; the older report it replaces was never taken.
    pub(super) fn report_arrived(
        self,
        host_monitor: i64,
        vm: i64,
        tag: MessageTag,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let sql = "SELECT 1 FROM message WHERE tag = ?1 AND vm_id = ?2 AND state = 'ASKED'";
        let waits = first(self.db, sql, [tag, vm], |_| Ok(()))?.is_some();
        if !waits || payload.len() > MAX_REPORT {
            tracing::debug!(tag, bytes = payload.len(), "report not waited for, or too large: ignored");
            return Ok(());
        }
        run(self.db, "DELETE FROM message WHERE vm_id = ?1 AND state = 'ARRIVED'", [vm])?;
        let sql = "UPDATE message SET state = 'ARRIVED', host_monitor_id = ?2, arrived_at = ?3, payload = ?4
                   WHERE tag = ?1";
        run(self.db, sql, params![tag, host_monitor, self.now.0, payload])?;
        run(self.db, "DELETE FROM request WHERE vm_id = ?1 AND opcode = 'ASK_REPORT'", [vm]).map(drop)
    }

    pub(super) fn report_apply(
        self,
        report: &ArrivedReport,
        applications: &[ApplicationReport],
    ) -> Result<(), StoreError> {
        let vm = self.vm_id(report.vm)?;
        let sql = "UPDATE vm SET report_tag = ?2, reported_at = ?3 WHERE id = ?1 AND report_tag < ?2";
        if run(self.db, sql, [vm, report.tag, self.now.0])? > 0 {
            run(self.db, "DELETE FROM application WHERE vm_id = ?1", [vm])?;
            for application in applications {
                self.application_insert(vm, application)?;
            }
        }
        let taken = self.report_taken(vm, report.tag)?;
        let sql = "SELECT id FROM host_monitor WHERE uuid = ?1";
        let host_monitor = first(self.db, sql, [report.host_monitor.to_string()], |row| row.get::<i64>(0))?;
        if let (true, Some(host_monitor)) = (taken, host_monitor) {
            self.request(host_monitor, vm, Opcode::ReportTaken(report.tag))?;
        }
        Ok(())
    }

    /// The row stays without its payload until the guest clears it. Returns whether there was one.
    fn report_taken(self, vm: i64, tag: MessageTag) -> Result<bool, StoreError> {
        let sql = "DELETE FROM message WHERE vm_id = ?1 AND state = 'TAKEN' AND tag <> ?2";
        run(self.db, sql, [vm, tag])?;
        let sql = "UPDATE message SET state = 'TAKEN', payload = NULL
                   WHERE tag = ?2 AND vm_id = ?1 AND state = 'ARRIVED'";
        Ok(run(self.db, sql, [vm, tag])? > 0)
    }

    fn application_insert(self, vm: i64, application: &ApplicationReport) -> Result<(), StoreError> {
        let sql = "INSERT INTO application (vm_id, name, uuid, status, colour, critical, monitored,
                   max_restart, restarted, version, last_result, last_change_age_s)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                   ON CONFLICT (vm_id, name) DO UPDATE SET uuid = excluded.uuid, status = excluded.status,
                   colour = excluded.colour, critical = excluded.critical, monitored = excluded.monitored,
                   max_restart = excluded.max_restart, restarted = excluded.restarted,
                   version = excluded.version, last_result = excluded.last_result,
                   last_change_age_s = excluded.last_change_age_s";
        let values = params![
            vm,
            application.name,
            application.uuid,
            application.status,
            application.colour.as_str(),
            application.critical,
            application.monitored,
            application.max_restart,
            application.restarted,
            application.version,
            application.last_result,
            i64::try_from(application.last_change_age_s).unwrap_or(i64::MAX),
        ];
        run(self.db, sql, values).map(drop)
    }

    pub(super) fn report_cleared(self, vm: i64, tag: MessageTag) -> Result<(), StoreError> {
        run(self.db, "DELETE FROM message WHERE tag = ?1 AND vm_id = ?2", [tag, vm])?;
        run(self.db, "DELETE FROM request WHERE message_tag = ?1 AND vm_id = ?2", [tag, vm]).map(drop)
    }
}
