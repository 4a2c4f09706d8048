//! Announced silences as rosters and the event log want them.

use crate::sql::db::Row;

use super::Turn;
use super::rows::{NONE, all, duration, run, typed};
use crate::*;

const NEWS: &str = "
    SELECT q.id, v.uuid, q.reason, q.told, q.granted_us, q.ended_by, q.lasted_us
    FROM quiet q INDEXED BY quiet_untold JOIN vm v ON v.id = q.vm_id
    WHERE q.told < 2 AND (q.told = 0 OR q.ended_at IS NOT NULL) ORDER BY q.id";

const REFUSALS: &str = "
    SELECT r.vm_id, v.uuid, r.reason, r.asked_us FROM quiet_refusal r JOIN vm v ON v.id = r.vm_id
    WHERE r.told = 0 ORDER BY r.refused_at";

impl Turn<'_> {
    /// A roster's row: uuid, sequence, announced, granted, reason. A clock that was set back prolongs nothing.
    pub(super) fn quiet(self, row: &Row<'_>) -> Result<Quiet, StoreError> {
        let granted = duration(row, 3)?;
        let left = granted.saturating_sub(self.now.since(StoreTime(row.get(2)?)));
        Ok(Quiet { vm: typed(row, 0)?, sequence: row.get(1)?, left, reason: row.get(4)? })
    }

    pub(super) fn quiet_news(self) -> Result<Vec<QuietNews>, StoreError> {
        let mut news = Vec::new();
        for of_one in all(self.db, NEWS, NONE, of_row)? {
            news.extend(of_one);
        }
        news.extend(all(self.db, REFUSALS, NONE, |row| {
            let change = QuietChange::Refused { asked: duration(row, 3)? };
            Ok(QuietNews { key: row.get(0)?, vm: typed(row, 1)?, reason: row.get(2)?, change })
        })?);
        Ok(news)
    }

    pub(super) fn quiet_tell(self, news: &QuietNews, event: &NewEvent) -> Result<bool, StoreError> {
        let sql = match news.change {
            QuietChange::Began { .. } => "UPDATE quiet SET told = 1 WHERE id = ?1 AND told = 0",
            QuietChange::Ended { .. } => "UPDATE quiet SET told = 2 WHERE id = ?1 AND told = 1",
            QuietChange::Refused { .. } => "UPDATE quiet_refusal SET told = 1 WHERE vm_id = ?1 AND told = 0",
        };
        let new = run(self.db, sql, [news.key])? > 0;
        if new {
            self.event_insert(event, false)?;
        }
        Ok(new)
    }
}

/// Its beginning and its end, as far as nobody was told of them.
fn of_row(row: &Row<'_>) -> Result<Vec<QuietNews>, StoreError> {
    let told: i64 = row.get(3)?;
    let began = (told == 0).then_some(QuietChange::Began { granted: duration(row, 4)? });
    let lasted = duration(row, 6)?;
    let ended_by: Option<String> = row.get(5)?;
    let ended = ended_by.map(|by| QuietChange::Ended { by_guest: by == "GUEST", lasted });
    let news = |change| Ok(QuietNews { key: row.get(0)?, vm: typed(row, 1)?, reason: row.get(2)?, change });
    began.into_iter().chain(ended).map(news).collect()
}
