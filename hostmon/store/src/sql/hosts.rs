//! Hosts and their host monitors as polled.

use std::time::Duration;

use crate::sql::db::Row;

use super::Turn;
use super::rows::{NONE, age, all, first, host_key, run, typed};
use crate::*;

/// SQL: whether the host monitor `m` is responsive at `?1`, the store's now: its last heartbeat is younger than
/// 2.5 of its intervals.
macro_rules! responsive {
    () => {
        "(m.heartbeat_at IS NOT NULL AND (?1 - m.heartbeat_at) * 2 < m.heartbeat_interval_us * 5)"
    };
}

/// SQL: whether what the host monitor `m` says of its paths counts at `?1`; else they are *unknown*. It must live,
/// reach the store and hear its trunk.
macro_rules! known {
    () => {
        concat!("(m.mode = 'GLOBAL' AND m.blind = 0 AND ", $crate::sql::hosts::responsive!(), ")")
    };
}

/// SQL: of a path `p` of the VM `v` to the host monitor `m` at `?1`: what [`Turn::path_health`] reads.
macro_rules! health_columns {
    () => {
        concat!(
            $crate::sql::hosts::known!(),
            ", CASE WHEN p.missing_since < v.silence_from THEN v.silence_from ELSE p.missing_since END, p.common, m.host_id, \
             p.missing_since, p.heard_at, coalesce(p.missing_since, CASE WHEN m.unknown_from IS NOT NULL \
             AND (m.mode <> 'GLOBAL' OR m.blind = 1) THEN m.unknown_from ELSE m.heartbeat_at END)"
        )
    };
}

pub(super) use {health_columns, known, responsive};

macro_rules! status_columns {
    () => {
        concat!(
            "m.uuid, m.trunk, coalesce(m.mac, m.registered_mac), m.state, m.reason, m.mode, m.heartbeat_at, ",
            responsive!(),
            ", EXISTS (SELECT 1 FROM node_event e WHERE e.host_monitor_id = m.id AND e.acknowledged_at IS NULL), m.versions, \
             m.blind = 0, EXISTS (SELECT 1 FROM message asked WHERE asked.host_monitor_id = m.id \
             AND asked.state = 'ASKED' AND asked.asked_at <= ?1 - 30000000), m.isolated"
        )
    };
}

const HOSTS: &str = "SELECT id, machine_type, model, serial FROM host ORDER BY machine_type, model, serial";

const HOST_MONITORS: &str = concat!(
    "SELECT m.host_id, ",
    status_columns!(),
    " FROM host_monitor m WHERE m.host_id IS NOT NULL ORDER BY m.host_id, m.uuid"
);

const UNASSIGNED: &str = concat!(
    "SELECT m.host_id, ",
    status_columns!(),
    " FROM host_monitor m WHERE m.host_id IS NULL ORDER BY m.uuid"
);

/// What a quick query asks; the back ends test their plans.
#[cfg(test)]
pub(crate) const QUICK: [&str; 2] = [HOSTS, HOST_MONITORS];

/// By how much a last heartbeat may lie ahead of a turn's now and be no sign of a clock that was set back: turns that run beside
/// each other do not end in the order in which they began.
const AHEAD: Duration = Duration::from_secs(1);

impl Turn<'_> {
    /// The store's clock may be set back, and a host monitor die before its next commit: for the store it would answer until the
    /// clock was where it had been. So a last heartbeat that lies ahead came now: when the step is first noticed, never earlier than in truth.
    pub(super) fn heartbeats_come_by_now(self) -> Result<(), StoreError> {
        let latest = self.now.0.saturating_add(i64::try_from(AHEAD.as_micros()).unwrap_or(i64::MAX));
        let ahead = "SELECT 1 FROM host_monitor WHERE heartbeat_at > ?1 LIMIT 1";
        if first(self.db, ahead, [latest], |_| Ok(()))?.is_none() {
            return Ok(());
        }
        let sql = "UPDATE host_monitor SET heartbeat_at = ?2 WHERE heartbeat_at > ?1";
        run(self.db, sql, [latest, self.now.0]).map(drop)
    }

    pub(super) fn quick_query(self) -> Result<QuickQuery, StoreError> {
        let mut monitors = std::collections::HashMap::<i64, Vec<HostMonitorStatus>>::new();
        for (host, status) in
            all(self.db, HOST_MONITORS, [self.now.0], |row| Ok((row.get::<i64>(0)?, self.status(row)?)))?
        {
            monitors.entry(host).or_default().push(status);
        }
        let hosts = all(self.db, HOSTS, NONE, |row| {
            let host_monitors = monitors.remove(&row.get::<i64>(0)?).unwrap_or_default();
            Ok(HostStatus { key: host_key(row, 1)?, host_monitors })
        })?;
        Ok(QuickQuery { now: self.now, hosts })
    }

    pub(super) fn host_monitors_unassigned(self) -> Result<Vec<HostMonitorStatus>, StoreError> {
        all(self.db, UNASSIGNED, [self.now.0], |row| self.status(row))
    }

    fn status(self, row: &Row<'_>) -> Result<HostMonitorStatus, StoreError> {
        let isolated = if row.get(13)? { REASON_ISOLATED } else { 0 };
        Ok(HostMonitorStatus {
            id: typed(row, 1)?,
            trunk: row.get(2)?,
            mac: row.get(3)?,
            state: typed(row, 4)?,
            reason: row.get::<u32>(5)? | isolated,
            mode: typed(row, 6)?,
            heartbeat_age: age(row, 7, self.now)?,
            responsive: row.get(8)?,
            has_data: row.get(9)?,
            versions: row.get(10)?,
            trunk_heard: row.get(11)?,
            sync_message: row.get(12)?,
        })
    }
}
