//! Node events and conflicts, newest first in the store, newest last in the answer.

use rusqlite::params;

use super::Turn;
use super::rows::{all, host_key, typed};
use crate::*;

/// Both kinds of trouble in one list. A person asks for it now and then, and both tables are bounded for each host
/// monitor, so it has no index of its own.
const NODE_EVENTS: &str = "
    SELECT e.happened_at, m.uuid, m.trunk, e.kind, e.text, h.machine_type, h.model, h.serial, h.id IS NOT NULL
    FROM (SELECT host_monitor_id, happened_at, kind, text, 0 AS origin, id FROM node_event
          UNION ALL
          SELECT host_monitor_id, first_seen_at, kind || '_CONFLICT',
                 CASE kind WHEN 'VERSION' THEN 'guest at ' || mac || ', UUID ' || uuid || ': ' || text ELSE text END,
                 1, id FROM conflict) e
    JOIN host_monitor m ON m.id = e.host_monitor_id
    LEFT JOIN host h ON h.id = m.host_id
    WHERE (?1 IS NULL OR e.happened_at >= ?1)
          AND (?2 = '[]' OR e.kind COLLATE NOCASE IN (SELECT value FROM json_each(?2)))
          AND (?3 = '[]' OR m.uuid COLLATE NOCASE IN (SELECT value FROM json_each(?3))
               OR m.trunk IN (SELECT value FROM json_each(?3)))
    ORDER BY e.happened_at DESC, e.origin DESC, e.id DESC LIMIT ?4";

impl Turn<'_> {
    pub(super) fn node_events(self, wanted: &NodeEventsWanted) -> Result<Vec<NodeEventRecord>, StoreError> {
        let NodeEventsWanted { host_monitors, kinds, since, limit } = wanted;
        let (kinds, host_monitors) = (list(kinds), list(host_monitors));
        let limit = (*limit).min(NODE_EVENTS_LIMIT);
        let values = params![since.map(|since| since.0), kinds, host_monitors, limit];
        let mut events = all(self.db, NODE_EVENTS, values, |row| {
            Ok(NodeEventRecord {
                at: StoreTime(row.get(0)?),
                host_monitor: typed(row, 1)?,
                trunk: row.get(2)?,
                host: if row.get(8)? { Some(host_key(row, 5)?) } else { None },
                kind: row.get(3)?,
                text: row.get(4)?,
            })
        })?;
        events.reverse();
        Ok(events)
    }
}

/// As SQL takes a list.
fn list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}
