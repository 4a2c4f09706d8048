//! What people and scripts see and do of the application-report exchange; the exchange itself is in [`super::reports`].

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use super::Turn;
use super::db::{Row, params};
use super::node_events::list;
use super::reports::BEST_PATH;
use super::requests::Opcode;
use super::rows::{NONE, age, all, first, run, typed};
use crate::*;

macro_rules! message_columns {
    () => {
        "r.tag, r.sequence, v.uuid, m.uuid, r.state, r.asked_at, r.arrived_at, length(r.payload)"
    };
}

macro_rules! message_tables {
    () => {
        " FROM message r JOIN vm v ON v.id = r.vm_id JOIN host_monitor m ON m.id = r.host_monitor_id "
    };
}

const ONE: &str =
    concat!("SELECT ", message_columns!(), ", r.payload", message_tables!(), "WHERE r.tag = ?1");

const MESSAGES: &str =
    concat!("SELECT ", message_columns!(), message_tables!(), "WHERE r.tag > ?1 ORDER BY r.tag LIMIT ?2");

/// What a host monitor was asked and did not answer, and what it has to tell its guest.
const UNFINISHED: &str = "
    SELECT tag, vm_id, host_monitor_id, state FROM message
    WHERE state IN ('ASKED', 'TAKEN') AND ?1 IN (0, host_monitor_id) ORDER BY tag LIMIT ?2";

impl Turn<'_> {
    pub(super) fn messages(self, wanted: &MessagesWanted) -> Result<MessagePage, StoreError> {
        let limit = wanted.limit.clamp(1, ANSWER_LIMIT);
        let (after, one_more) = (wanted.after.unwrap_or(i64::MIN), i64::from(limit) + 1);
        let read = |row: &Row<'_>| self.message_view(row);
        let mut messages = if wanted.vms.is_empty() {
            all(self.db, MESSAGES, [after, one_more], read)?
        } else {
            let vms: Vec<String> = wanted.vms.iter().map(VmUuid::to_string).collect();
            let rows = self.db.json_rows(&[("word", super::db::Kind::Text)], 3);
            let sql = format!(
                "SELECT {}{}WHERE r.tag > ?1 AND v.uuid IN (SELECT w.word FROM {rows} w) ORDER BY r.tag LIMIT ?2",
                message_columns!(),
                message_tables!()
            );
            all(self.db, &sql, params![after, one_more, list(&vms)], read)?
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = messages.len() > limit;
        messages.truncate(limit);
        let next = messages.last().filter(|_| more).map(|message| message.tag);
        Ok(MessagePage { messages, next })
    }

    pub(super) fn message(self, tag: MessageTag) -> Result<Option<Message>, StoreError> {
        first(self.db, ONE, [tag], |row| Ok(Message { view: self.message_view(row)?, payload: row.get(8)? }))
    }

    fn message_view(self, row: &Row<'_>) -> Result<MessageView, StoreError> {
        Ok(MessageView {
            tag: row.get(0)?,
            sequence: row.get(1)?,
            vm: typed(row, 2)?,
            host_monitor: typed(row, 3)?,
            state: typed(row, 4)?,
            asked_age: age(row, 5, self.now)?.unwrap_or_default(),
            arrived_age: age(row, 6, self.now)?,
            bytes: row.get(7)?,
        })
    }

    /// The exchange stays the same, so a report that was on its way is still waited for.
    pub(super) fn messages_sync(self, of: Option<HostMonitorId>) -> Result<Vec<TransactionTag>, StoreError> {
        let of = of.map(|uuid| self.host_monitor_known(uuid)).transpose()?.unwrap_or(0);
        let unfinished = all(self.db, UNFINISHED, [of, i64::from(ANSWER_LIMIT)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, typed(row, 3)?))
        })?;
        let mut tags = Vec::new();
        for (tag, vm, host_monitor, state) in unfinished {
            tags.extend(self.message_sync(tag, vm, host_monitor, state)?);
        }
        Ok(tags)
    }

    fn message_sync(
        self,
        tag: MessageTag,
        vm: i64,
        host_monitor: i64,
        state: MessageState,
    ) -> Result<Option<TransactionTag>, StoreError> {
        match state {
            MessageState::Asked => {
                let best = first(self.db, BEST_PATH, [self.now.0, vm], |row| row.get::<i64>(0))?;
                let Some(best) = best else { return Ok(None) };
                run(self.db, "UPDATE message SET host_monitor_id = ?2 WHERE tag = ?1", [tag, best])?;
                run(self.db, "DELETE FROM request WHERE vm_id = ?1 AND opcode = 'ASK_REPORT'", [vm])?;
                self.request(best, vm, Opcode::AskReport(tag)).map(Some)
            }
            MessageState::Taken => self.request(host_monitor, vm, Opcode::ReportTaken(tag)).map(Some),
            MessageState::Arrived => Ok(None),
        }
    }

    pub(super) fn messages_remove(self, of: Option<&[VmUuid]>) -> Result<u64, StoreError> {
        let mut removed = 0;
        match of {
            None => {
                removed += run(self.db, "DELETE FROM message", NONE)?;
                run(self.db, "DELETE FROM request WHERE message_tag IS NOT NULL", NONE)?;
            }
            Some(vms) => {
                for vm in vms {
                    let vm = self.vm_id(*vm)?;
                    removed += run(self.db, "DELETE FROM message WHERE vm_id = ?1", [vm])?;
                    let sql = "DELETE FROM request WHERE vm_id = ?1 AND message_tag IS NOT NULL";
                    run(self.db, sql, [vm])?;
                }
            }
        }
        Ok(u64::try_from(removed).unwrap_or(u64::MAX))
    }
}
