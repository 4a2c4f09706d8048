//! The application-report exchange.
//!
//! ```text
//!  report_request          Report             report_apply           ReportCleared
//! ----------------> ASKED ---------> ARRIVED --------------> TAKEN ----------------> (no row)
//!                   |  ^ asked anew: a new tag, the old one is forgotten
//!                   +--+
//! ```
//! A VM has at most one row in each state, so nothing piles up however often an exchange is interrupted. Only one
//! request of a VM is open at a time, so a report asked for later is newer. Besides, a report is the agent's incarnation
//! and a number: of one incarnation the higher number is newer, of two the one that shook hands later. A report carries
//! the number of the handshake of the path that it came by, for that.

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::Turn;
use super::hosts::known;
use super::requests::Opcode;
use super::rows::{NONE, age, all, first, only, run, typed};
use crate::*;

/// The counted path without a silence that was heard last.
pub(super) const BEST_PATH: &str = concat!(
    "SELECT p.host_monitor_id FROM path p JOIN host_monitor m ON m.id = p.host_monitor_id
     WHERE p.vm_id = ?2 AND p.counted = 1 AND p.missing_since IS NULL AND ",
    known!(),
    " ORDER BY p.beating DESC, p.heard_at DESC, m.uuid LIMIT 1"
);

/// The last report of a VM that was applied.
struct AppliedReport {
    tag: MessageTag,
    incarnation: Option<String>,
    sequence: i64,
    handshake: i64,
    last_handshake: i64,
}

impl AppliedReport {
    /// Whether the report `content`, asked for as `tag`, is newer: then by which handshakes. It `came` by a path of this
    /// handshake, when the last of any path of its VM was that one; `None` if that is not known any more.
    fn newer(
        &self,
        tag: MessageTag,
        content: &ReportContent,
        came: Option<(i64, i64)>,
    ) -> Option<(i64, i64)> {
        let (handshake, last) = came.unwrap_or((self.handshake, self.last_handshake));
        let in_order = if self.incarnation.as_deref() != Some(content.incarnation.as_str()) {
            handshake >= self.handshake
        } else {
            // A guest that was restored from a snapshot shakes hands anew, and counts on from what it was then.
            let restored = handshake > self.last_handshake && content.sequence < self.sequence;
            content.sequence > self.sequence || restored
        };
        (self.tag < tag && in_order).then_some((handshake.max(self.handshake), last.max(self.last_handshake)))
    }
}

impl Turn<'_> {
    pub(super) fn message_put(
        self,
        vm: VmUuid,
        acknowledge: Option<AttentionTag>,
    ) -> Result<Option<MessageView>, StoreError> {
        let id = self.vm_id(vm)?;
        let best = first(self.db, BEST_PATH, [self.now.0, id], |row| row.get::<i64>(0))?;
        let Some(host_monitor) = best else {
            return Ok(None);
        };
        run(self.db, "DELETE FROM message WHERE vm_id = ?1 AND state = 'ASKED'", [id])?;
        run(self.db, "DELETE FROM request WHERE vm_id = ?1 AND opcode = 'ASK_REPORT'", [id])?;
        let tag = self.next_sequence()?;
        let sql =
            "UPDATE vm SET message_sequence = message_sequence + 1 WHERE id = ?1 RETURNING message_sequence";
        let sequence: i64 = only(self.db, sql, [id], |row| row.get(0))?;
        let sql = "INSERT INTO message (tag, vm_id, host_monitor_id, state, asked_at, sequence)
                   VALUES (?1, ?2, ?3, 'ASKED', ?4, ?5)";
        run(self.db, sql, [tag, id, host_monitor, self.now.0, sequence])?;
        self.request(host_monitor, id, Opcode::AskReport(tag))?;
        if let Some(attention) = acknowledge {
            self.doorbell_acknowledge(id, attention)?;
        }
        Ok(self.message(tag)?.map(|message| message.view))
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
        let sql = "UPDATE message SET state = 'ARRIVED', host_monitor_id = ?2, arrived_at = ?3, payload = ?4,
                   handshake = coalesce((SELECT p.handshake FROM path p WHERE p.vm_id = message.vm_id
                                         AND p.host_monitor_id = ?2), 0),
                   last_handshake = coalesce((SELECT max(p.handshake) FROM path p WHERE p.vm_id = message.vm_id), 0)
                   WHERE tag = ?1";
        run(self.db, sql, params![tag, host_monitor, self.now.0, payload])?;
        run(self.db, "DELETE FROM request WHERE vm_id = ?1 AND opcode = 'ASK_REPORT'", [vm]).map(drop)
    }

    pub(super) fn report_apply(
        self,
        report: &ArrivedReport,
        content: Option<&ReportContent>,
    ) -> Result<bool, StoreError> {
        let vm = self.vm_id(report.vm)?;
        let applied = match content {
            Some(content) => self.report_content_apply(vm, report.tag, content)?,
            None => false,
        };
        let taken = self.report_taken(vm, report.tag)?;
        let sql = "SELECT id FROM host_monitor WHERE uuid = ?1";
        let host_monitor = first(self.db, sql, [report.host_monitor.to_string()], |row| row.get::<i64>(0))?;
        if let (true, Some(host_monitor)) = (taken, host_monitor) {
            self.request(host_monitor, vm, Opcode::ReportTaken(report.tag))?;
        }
        Ok(applied)
    }

    /// Unless what was applied before is as new.
    fn report_content_apply(
        self,
        vm: i64,
        tag: MessageTag,
        content: &ReportContent,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT handshake, last_handshake FROM message WHERE tag = ?1 AND vm_id = ?2";
        let came = first(self.db, sql, [tag, vm], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let sql =
            "SELECT report_tag, report_incarnation, report_sequence, report_handshake, report_last_handshake
                   FROM vm WHERE id = ?1";
        let newer = only(self.db, sql, [vm], |row| {
            let applied = AppliedReport {
                tag: row.get(0)?,
                incarnation: row.get(1)?,
                sequence: row.get(2)?,
                handshake: row.get(3)?,
                last_handshake: row.get(4)?,
            };
            Ok(applied.newer(tag, content, came))
        })?;
        let Some((handshake, last_handshake)) = newer else { return Ok(false) };
        let sql =
            "UPDATE vm SET report_tag = ?2, reported_at = ?3, report_incarnation = ?4, report_sequence = ?5,
                   report_handshake = ?6, report_last_handshake = ?7 WHERE id = ?1";
        let ReportContent { incarnation, sequence, applications: _ } = content;
        run(self.db, sql, params![vm, tag, self.now.0, incarnation, *sequence, handshake, last_handshake])?;
        run(self.db, "DELETE FROM application WHERE vm_id = ?1", [vm])?;
        content.applications.iter().try_for_each(|application| self.application_insert(vm, application))?;
        Ok(true)
    }

    /// The row stays without its payload until the guest clears it. Returns whether there was one.
    fn report_taken(self, vm: i64, tag: MessageTag) -> Result<bool, StoreError> {
        let sql = "DELETE FROM message WHERE vm_id = ?1 AND state = 'TAKEN' AND tag <> ?2";
        run(self.db, sql, [vm, tag])?;
        // To a host monitor that the guest has left nobody would ever answer it.
        let sql = "DELETE FROM request WHERE vm_id = ?1 AND opcode = 'REPORT_TAKEN' AND message_tag <> ?2";
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
