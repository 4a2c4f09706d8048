//! Node events and conflicts, newest first in the store, newest last in the answer.

use super::Turn;
use super::db::{Kind, params};
use super::rows::{all, host_key, typed};
use crate::*;

/// Both kinds of trouble in one list. A person asks for it now and then, and both tables are bounded for each host
/// monitor, so it has no index of its own.
const NODE_EVENTS: &str = "
    SELECT e.happened_at, m.uuid, m.trunk, e.kind, e.text, h.machine_type, h.model, h.serial, h.id IS NOT NULL,
           e.acknowledged
    FROM (SELECT host_monitor_id, happened_at, kind, text, 0 AS origin, id, acknowledged_at IS NOT NULL AS acknowledged
          FROM node_event
          UNION ALL
          SELECT host_monitor_id, first_seen_at, kind || '_CONFLICT',
                 CASE kind WHEN 'VERSION' THEN 'guest at ' || mac || ', UUID ' || uuid || ': ' || text ELSE text END,
                 1, id, acknowledged_at IS NOT NULL FROM conflict) e
    JOIN host_monitor m ON m.id = e.host_monitor_id
    LEFT JOIN host h ON h.id = m.host_id
    WHERE e.happened_at >= ?1";

impl Turn<'_> {
    pub(super) fn node_events(self, wanted: &NodeEventsWanted) -> Result<Vec<NodeEventRecord>, StoreError> {
        let NodeEventsWanted { host_monitors, kinds, since, limit } = wanted;
        let texts = |parameter| self.db.json_rows(&[("word", Kind::Text)], parameter);
        // An empty list is of all.
        let sql = format!(
            "{NODE_EVENTS} AND (?2 = 0 OR lower(e.kind) IN (SELECT lower(w.word) FROM {kinds} w))
                 AND (?4 = 0 OR m.uuid IN (SELECT lower(w.word) FROM {monitors} w)
                      OR m.trunk IN (SELECT w.word FROM {monitors} w))
             ORDER BY e.happened_at DESC, e.origin DESC, e.id DESC LIMIT ?6",
            kinds = texts(3),
            monitors = texts(5),
        );
        let limit = (*limit).min(NODE_EVENTS_LIMIT);
        let since = since.map_or(i64::MIN, |since| since.0);
        let values = params![
            since,
            !kinds.is_empty(),
            list(kinds),
            !host_monitors.is_empty(),
            list(host_monitors),
            limit
        ];
        let mut events = all(self.db, &sql, values, |row| {
            Ok(NodeEventRecord {
                at: StoreTime(row.get(0)?),
                host_monitor: typed(row, 1)?,
                trunk: row.get(2)?,
                host: if row.get(8)? { Some(host_key(row, 5)?) } else { None },
                kind: row.get(3)?,
                text: row.get(4)?,
                acknowledged: row.get(9)?,
            })
        })?;
        events.reverse();
        Ok(events)
    }
}

/// As SQL takes a list.
pub(super) fn list(texts: &[String]) -> String {
    serde_json::Value::from_iter(texts.iter().map(|text| serde_json::json!({ "word": text }))).to_string()
}
