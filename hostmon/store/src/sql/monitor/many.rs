//! Edges of many paths at once, in as many statements as of two: a server may be far away.
//!
//! The result is that of one after the other. Of two about one VM within a run the later one counts.

use std::collections::BTreeMap;

use vmpulse_protocol::id::VmUuid;

use super::path::Opening;
use super::{Source, VmRow};
use crate::sql::db::{Kind, params, storable};
use crate::sql::rows::{all, run, typed};
use crate::sql::{Numbered, Turn};
use crate::*;

/// What is written of many in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Opened,
    Detected,
    Missing,
}

impl Run {
    /// What a write can be a part of.
    pub(super) const fn of(write: &HostMonitorWrite) -> Option<Self> {
        if let HostMonitorWrite::PathOpened { .. } = write {
            Some(Self::Opened)
        } else if let HostMonitorWrite::PathDetected { .. } = write {
            Some(Self::Detected)
        } else if let HostMonitorWrite::PathMissing { .. } = write {
            Some(Self::Missing)
        } else {
            None
        }
    }
}

/// States in which a VM's paths are of account: [`VmRow::monitored`].
macro_rules! monitored {
    () => {
        "v.state IN ('STARTING', 'STARTED', 'SUSPENDED')"
    };
}

impl Turn<'_> {
    pub(super) fn apply_run(
        self,
        source: Source,
        what: Run,
        writes: &[Numbered<'_>],
    ) -> Result<(), StoreError> {
        match what {
            Run::Opened => self.on_opened_many(source, writes),
            Run::Detected => self.on_detected_many(source.id, writes),
            Run::Missing => self.on_missing_many(source.id, writes),
        }
    }

    /// Those that are at home and not suspended, so nearly all; the others one by one.
    fn on_opened_many(self, source: Source, writes: &[Numbered<'_>]) -> Result<(), StoreError> {
        let from = source.id;
        let mut opened: BTreeMap<String, (VmUuid, Opening<'_>)> = BTreeMap::new();
        for (_, write) in writes {
            if let HostMonitorWrite::PathOpened { vm, mac, version, authenticated, age } = write {
                let word = self.word_of(source, *age);
                opened.insert(
                    vm.to_string(),
                    (*vm, Opening { mac, version, authenticated: *authenticated, word }),
                );
            }
        }
        let rows = self.db.json_rows(&[("vm", Kind::Text)], 1);
        let sql = format!(
            "SELECT v.uuid FROM {rows} e JOIN vm v ON v.uuid = e.vm
             JOIN host_monitor m ON m.id = ?2 AND m.host_id = v.host_id
             WHERE v.state <> 'SUSPENDED' AND v.shutdown IS NULL AND v.suspended_by_administrator = 0"
        );
        let names = json(opened.keys().map(|vm| serde_json::json!({ "vm": vm })));
        let plain = all(self.db, &sql, params![names, from], |row| row.get::<String>(0))?;
        let plain: Vec<_> = plain.iter().filter_map(|vm| Some((vm, opened.remove(vm)?))).collect();
        self.opened_at_home(
            from,
            &json(plain.iter().map(|(vm, (_, opening))| {
                // As they will be stored: JSON may hold what a text of the store may not.
                let (mac, version) = (storable(opening.mac), storable(opening.version));
                let (auth, at) = (i64::from(opening.authenticated), opening.word.known());
                serde_json::json!({ "vm": vm, "mac": mac, "version": version, "auth": auth, "at": at })
            })),
        )?;
        opened.into_values().try_for_each(|(vm, opening)| self.on_opened(from, vm, &opening))
    }

    fn opened_at_home(self, from: i64, opened: &str) -> Result<(), StoreError> {
        let columns = [
            ("vm", Kind::Text),
            ("mac", Kind::Text),
            ("version", Kind::Text),
            ("auth", Kind::Int),
            ("at", Kind::Int),
        ];
        let rows = self.db.json_rows(&columns, 1);
        let sql = format!(
            "UPDATE vm SET agent_seen_at = ?2 WHERE agent_seen_at IS NULL AND uuid IN (SELECT e.vm FROM {rows} e)"
        );
        run(self.db, &sql, params![opened, self.now.0])?;
        let sql =
            format!("DELETE FROM conflict WHERE kind = 'VERSION' AND uuid IN (SELECT e.vm FROM {rows} e)");
        run(self.db, &sql, [opened])?;
        let sql = format!(
            "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at, authenticated, handshake, opened_at)
             SELECT v.id, ?2, e.mac, e.version, 0, 0, ?3, e.auth, ?4, e.at FROM {rows} e JOIN vm v ON v.uuid = e.vm
             WHERE 1 = 1
             ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET mac = excluded.mac, version = excluded.version,
                    heard_at = excluded.heard_at, authenticated = excluded.authenticated, guardian = 0,
                    handshake = excluded.handshake, opened_at = coalesce(excluded.opened_at, path.opened_at)"
        );
        run(self.db, &sql, params![opened, from, self.now.0, self.next_sequence()?])?;
        let sql = format!(
            "DELETE FROM discovered WHERE uuid IN (SELECT e.vm FROM {rows} e) AND kind <> 'MANAGED'
                    AND (host_monitor_id = ?2 OR (kind = 'MOVED' AND sequence IS NULL))"
        );
        run(self.db, &sql, params![opened, from])?;
        self.managed_opened(from, opened, &rows)
    }

    fn on_detected_many(self, from: i64, writes: &[Numbered<'_>]) -> Result<(), StoreError> {
        let mut vms: Vec<String> = Vec::new();
        for (_, write) in writes {
            if let HostMonitorWrite::PathDetected { vm } = write {
                vms.push(vm.to_string());
            }
        }
        vms.sort_unstable();
        vms.dedup();
        let detected = json(vms.iter().map(|vm| serde_json::json!({ "vm": vm })));
        let rows = self.db.json_rows(&[("vm", Kind::Text)], 1);
        let sql = format!(
            "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at, verified)
             SELECT v.id, ?2, '', '', 1, 1, ?3, CASE WHEN v.state = 'STARTED' THEN 1 ELSE 0 END
             FROM {rows} e JOIN vm v ON v.uuid = e.vm WHERE {}
             ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET counted = 1, beating = 1, missing_since = NULL,
                    common = 0, heard_at = excluded.heard_at, awaited_since = NULL, awaited_sequence = NULL,
                    verified = CASE WHEN excluded.verified = 1 THEN 1 ELSE path.verified END",
            monitored!()
        );
        run(self.db, &sql, params![detected, from, self.now.0])?;
        let sql = format!(
            "SELECT v.id, v.host_id, v.state FROM {rows} e JOIN vm v ON v.uuid = e.vm WHERE v.state = 'STARTING'
             ORDER BY v.id"
        );
        let starting = all(self.db, &sql, [&detected], |row| {
            Ok(VmRow { id: row.get(0)?, host: row.get(1)?, state: typed(row, 2)? })
        })?;
        starting.into_iter().try_for_each(|vm| self.starting_check(vm))
    }

    fn on_missing_many(self, from: i64, writes: &[Numbered<'_>]) -> Result<(), StoreError> {
        let mut edges: BTreeMap<String, (i64, bool)> = BTreeMap::new();
        for (_, write) in writes {
            if let HostMonitorWrite::PathMissing { vm, age, common } = write {
                edges.insert(vm.to_string(), (self.now.back(*age).0, *common));
            }
        }
        let missing = json(edges.into_iter().map(|(vm, (since, common))| {
            serde_json::json!({ "vm": vm, "since": since, "common": i64::from(common) })
        }));
        let rows = self.db.json_rows(&[("vm", Kind::Text), ("since", Kind::Int), ("common", Kind::Int)], 1);
        // As in `on_missing`: of a clock that was set back.
        let sql = format!(
            "UPDATE vm AS v SET quiet_ended_at = CASE WHEN quiet_ended_at > ?2 THEN ?2 ELSE quiet_ended_at END,
                    silence_from = CASE WHEN silence_from > ?2 THEN ?2 ELSE silence_from END
             WHERE uuid IN (SELECT e.vm FROM {rows} e) AND (quiet_ended_at > ?2 OR silence_from > ?2) AND {}",
            monitored!()
        );
        run(self.db, &sql, params![missing, self.now.0])?;
        let sql = format!(
            "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, missing_since, common,
                    heard_at)
             SELECT v.id, ?2, '', '', 1, 0, e.since, e.common, e.since FROM {rows} e JOIN vm v ON v.uuid = e.vm
             WHERE {}
             ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET counted = 1, beating = 0,
                    missing_since = excluded.missing_since, common = CASE WHEN path.common = 1 THEN 1 ELSE excluded.common END, awaited_since = NULL,
                    awaited_sequence = NULL",
            monitored!()
        );
        run(self.db, &sql, params![missing, from]).map(drop)
    }
}

fn json(rows: impl Iterator<Item = serde_json::Value>) -> String {
    serde_json::Value::from_iter(rows).to_string()
}
