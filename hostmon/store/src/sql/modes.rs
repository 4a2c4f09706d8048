//! How host monitors work, and who was told that it changed.

use std::time::Duration;

use super::Turn;
use super::db::params;
use super::rows::{NONE, age, all, host_key, run, typed};
use crate::*;

/// Changes kept per host monitor; a controller that was away for longer is not told of older ones.
const MAX_MODE_CHANGES: i64 = 64;

/// Of registered host monitors: others are nobody's concern yet.
const NEWS: &str = "
    SELECT c.id, m.uuid, m.trunk, h.machine_type, h.model, h.serial, c.mode, c.changed_at, c.text
    FROM mode_change c JOIN host_monitor m ON m.id = c.host_monitor_id JOIN host h ON h.id = m.host_id
    WHERE c.told = 0 ORDER BY c.id";

impl Turn<'_> {
    pub(super) fn on_mode(
        self,
        from: i64,
        mode: MonitorMode,
        age: Duration,
        text: &str,
    ) -> Result<(), StoreError> {
        let changed_at = self.now.back(age).0;
        let sql = "INSERT INTO node_event (host_monitor_id, happened_at, kind, text, sequence)
                   VALUES (?1, ?2, 'MODE', ?3, ?4)";
        run(self.db, sql, params![from, changed_at, format!("{mode}: {text}"), self.next_sequence()?])?;
        let sql = "INSERT INTO mode_change (host_monitor_id, changed_at, mode, text) VALUES (?1, ?2, ?3, ?4)";
        run(self.db, sql, params![from, changed_at, mode.as_str(), text])?;
        let sql = "DELETE FROM mode_change WHERE host_monitor_id = ?1 AND id <=
                   (SELECT id FROM mode_change WHERE host_monitor_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        run(self.db, sql, [from, MAX_MODE_CHANGES])?;
        let sql = "UPDATE host_monitor SET mode = ?2, unknown_from = CASE WHEN mode = 'GLOBAL' AND blind = 0 THEN ?3
                   ELSE unknown_from END WHERE id = ?1";
        run(self.db, sql, params![from, mode.as_str(), changed_at])?;
        self.starting_vms_check(from)
    }

    pub(super) fn mode_news(self) -> Result<Vec<ModeNews>, StoreError> {
        all(self.db, NEWS, NONE, |row| {
            Ok(ModeNews {
                key: row.get(0)?,
                host_monitor: typed(row, 1)?,
                trunk: row.get(2)?,
                host: host_key(row, 3)?,
                mode: typed(row, 6)?,
                age: age(row, 7, self.now)?.unwrap_or_default(),
                text: row.get(8)?,
            })
        })
    }

    pub(super) fn mode_tell(self, news: &ModeNews, event: &NewEvent) -> Result<bool, StoreError> {
        let new = run(self.db, "UPDATE mode_change SET told = 1 WHERE id = ?1 AND told = 0", [news.key])? > 0;
        if new {
            self.event_insert(event, false)?;
        }
        Ok(new)
    }
}
