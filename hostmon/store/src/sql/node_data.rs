//! Node events and conflicts that nobody acknowledged: the oldest first, as many as are asked for. What is left comes
//! when they were acknowledged, so an answer is bounded however much was recorded.

use vmpulse_protocol::id::HostMonitorId;

use super::Turn;
use super::rows::{age, all, first, host_key, typed};
use super::tags::Reported;
use crate::*;

macro_rules! monitor_columns {
    () => {
        "m.uuid, m.trunk, h.id IS NOT NULL, h.machine_type, h.model, h.serial"
    };
}

macro_rules! monitor_tables {
    () => {
        " JOIN host_monitor m ON m.id = e.host_monitor_id LEFT JOIN host h ON h.id = m.host_id"
    };
}

const PENDING: &str = concat!(
    "SELECT e.sequence, ",
    monitor_columns!(),
    ", e.happened_at, e.kind, e.text FROM node_event e",
    monitor_tables!(),
    " WHERE e.acknowledged_at IS NULL ORDER BY e.sequence LIMIT ?1"
);

const PENDING_OF: &str = concat!(
    "SELECT e.sequence, ",
    monitor_columns!(),
    ", e.happened_at, e.kind, e.text FROM node_event e",
    monitor_tables!(),
    " WHERE e.acknowledged_at IS NULL AND e.host_monitor_id = ?2 ORDER BY e.sequence LIMIT ?1"
);

const PENDING_CONFLICTS: &str = concat!(
    "SELECT e.sequence, ",
    monitor_columns!(),
    ", e.first_seen_at, e.kind, e.text, e.uuid, e.mac FROM conflict e",
    monitor_tables!(),
    " WHERE e.acknowledged_at IS NULL ORDER BY e.sequence LIMIT ?1"
);

/// Found, with their numbers; one more than wanted says that there are more.
type Found<T> = Vec<(i64, T)>;

impl Turn<'_> {
    pub(super) fn node_data(self, of: Option<HostMonitorId>, limit: u32) -> Result<NodeData, StoreError> {
        let of = of.map(|uuid| self.host_monitor_known(uuid)).transpose()?;
        let limit = limit.clamp(1, ANSWER_LIMIT);
        let read = |row: &super::db::Row<'_>| {
            let event = NodeEvent {
                host_monitor: typed(row, 1)?,
                trunk: row.get(2)?,
                host: if row.get(3)? { Some(host_key(row, 4)?) } else { None },
                kind: row.get(8)?,
                text: row.get(9)?,
                age: age(row, 7, self.now)?.unwrap_or_default(),
            };
            Ok((row.get(0)?, event))
        };
        let one_more = i64::from(limit) + 1;
        let found = match of {
            Some(of) => all(self.db, PENDING_OF, [one_more, of], read)?,
            None => all(self.db, PENDING, [one_more], read)?,
        };
        let (events, last, more) = cut(found, limit);
        let what = Reported::NodeData { host_monitor: of.unwrap_or(0) };
        let tag = last.map(|last| self.tag(what, last)).transpose()?;
        Ok(NodeData { now: self.now, tag, events, more })
    }

    pub(super) fn conflicts(self, limit: u32) -> Result<Conflicts, StoreError> {
        let limit = limit.clamp(1, ANSWER_LIMIT);
        let found = all(self.db, PENDING_CONFLICTS, [i64::from(limit) + 1], |row| {
            let conflict = Conflict {
                kind: row.get(8)?,
                uuid: row.get(10)?,
                mac: row.get(11)?,
                host_monitor: typed(row, 1)?,
                host: if row.get(3)? { Some(host_key(row, 4)?) } else { None },
                text: row.get(9)?,
                age: age(row, 7, self.now)?.unwrap_or_default(),
            };
            Ok((row.get(0)?, conflict))
        })?;
        let (conflicts, last, more) = cut(found, limit);
        let tag = last.map(|last| self.tag(Reported::Conflicts, last)).transpose()?;
        Ok(Conflicts { now: self.now, tag, conflicts, more })
    }

    /// Its row; a host monitor that the store never heard of is refused.
    pub(super) fn host_monitor_known(self, uuid: HostMonitorId) -> Result<i64, StoreError> {
        let sql = "SELECT id FROM host_monitor WHERE uuid = ?1";
        let found = first(self.db, sql, [uuid.to_string()], |row| row.get(0))?;
        found.ok_or(StoreError::UnknownHostMonitor(uuid))
    }
}

/// What was wanted, the last number in it, and whether there is more.
fn cut<T>(mut found: Found<T>, limit: u32) -> (Vec<T>, Option<i64>, bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().map(|(sequence, _)| *sequence);
    (found.into_iter().map(|(_, one)| one).collect(), last, more)
}
