//! What became of requests about VMs: rows that outlive the requests, for those who asked.

use super::Turn;
use super::db::{Kind, params};
use super::requests::Opcode;
use super::rows::{all, only, run, typed};
use crate::*;

/// See [`Turn::progress_bound`].
const BOUND_EVERY: TransactionTag = 1000;

impl Turn<'_> {
    /// Asks every host monitor that has to do with the VM to look at it again. Returns the tags.
    pub(super) fn ask(self, vm: i64, action: TransactionAction) -> Result<Vec<TransactionTag>, StoreError> {
        let tags = self.request_every_monitor(vm, Opcode::Reconsider)?;
        let (Some(first), Some(last)) = (tags.first(), tags.last()) else { return Ok(tags) };
        let sql = "INSERT INTO progress (tag, action, vm, host_monitor, state, asked_at)
                   SELECT r.tag, ?2, v.uuid, m.uuid, 'ASKED', r.created_at FROM request r
                   JOIN vm v ON v.id = r.vm_id JOIN host_monitor m ON m.id = r.host_monitor_id
                   WHERE r.vm_id = ?1 AND r.tag BETWEEN ?3 AND ?4";
        run(self.db, sql, params![vm, action.as_str(), first, last])?;
        self.progress_bound(*first)?;
        Ok(tags)
    }

    /// Tags are numbers of a sequence that much else takes from, so rows are counted. That takes milliseconds, and is done each
    /// time that the newest tag comes to another multiple of [`BOUND_EVERY`]: so many rows more may be there.
    fn progress_bound(self, first: TransactionTag) -> Result<(), StoreError> {
        let sql = "SELECT coalesce(max(tag), 0) FROM progress WHERE tag < ?1";
        let before: TransactionTag = only(self.db, sql, [first], |row| row.get(0))?;
        if before / BOUND_EVERY == first / BOUND_EVERY {
            return Ok(());
        }
        let sql = "DELETE FROM progress WHERE tag <=
                   (SELECT tag FROM progress ORDER BY tag DESC LIMIT 1 OFFSET ?1)";
        run(self.db, sql, [i64::from(MAX_TRANSACTIONS)]).map(drop)
    }

    /// Whoever is not asked any more, because the request was dropped by its age or with its host monitor, is not waited for.
    pub(super) fn progress_give_up(self) -> Result<(), StoreError> {
        let sql = "UPDATE progress SET state = 'GIVEN_UP', settled_at = ?1 WHERE state = 'ASKED'
                   AND NOT EXISTS (SELECT 1 FROM request r WHERE r.tag = progress.tag)";
        run(self.db, sql, [self.now.0]).map(drop)
    }

    /// The request with this tag is no more.
    pub(super) fn progress_settle(
        self,
        tag: TransactionTag,
        state: TransactionState,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE progress SET state = ?2, settled_at = ?3 WHERE tag = ?1 AND state = 'ASKED'";
        run(self.db, sql, params![tag, state.as_str(), self.now.0]).map(drop)
    }

    pub(super) fn transactions(self, wanted: &TransactionsWanted) -> Result<Vec<Transaction>, StoreError> {
        let TransactionsWanted { tags, vm, open, limit } = wanted;
        // An empty list is of all.
        let sql = format!(
            "SELECT p.tag, p.action, p.vm, p.host_monitor, p.state, p.asked_at, p.settled_at FROM progress p
             WHERE (?1 = 0 OR p.tag IN (SELECT w.tag FROM {} w)) AND (?3 = 0 OR p.vm = ?4)
                   AND (?5 = 0 OR p.state = 'ASKED') ORDER BY p.tag DESC LIMIT ?6",
            self.db.json_rows(&[("tag", Kind::Int)], 2)
        );
        let list = serde_json::Value::from_iter(tags.iter().map(|tag| serde_json::json!({ "tag": tag })))
            .to_string();
        let of_vm = vm.map(|vm| vm.to_string()).unwrap_or_default();
        let limit = (*limit).min(MAX_TRANSACTIONS);
        let values = params![!tags.is_empty(), list, vm.is_some(), of_vm, *open, limit];
        let mut found = all(self.db, &sql, values, |row| {
            Ok(Transaction {
                tag: row.get(0)?,
                action: typed(row, 1)?,
                vm: typed(row, 2)?,
                host_monitor: typed(row, 3)?,
                state: typed(row, 4)?,
                asked_at: StoreTime(row.get(5)?),
                settled_at: row.get::<Option<i64>>(6)?.map(StoreTime),
            })
        })?;
        found.reverse();
        Ok(found)
    }
}
