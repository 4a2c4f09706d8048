//! Guests that are not monitored VMs of the host they showed themselves on, and conflicts.

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::{MAX_TEXT, MAX_WORD, VmRow, clip};
use crate::sql::Turn;
use crate::sql::rows::{all, first, run, typed};
use crate::*;

/// Discovered guests kept per host monitor: more than guests fit on a host. The oldest are replaced, MOVED last:
/// those are registered VMs, not whatever somebody makes up.
const MAX_DISCOVERED: i64 = 1024;

/// Conflicts kept per host monitor; the oldest are replaced.
const MAX_CONFLICTS: i64 = 1024;

impl Turn<'_> {
    /// Reported once, until it changes its kind. The store judges what the host monitor says by what is
    /// registered now.
    pub(super) fn on_discovered(
        self,
        from: i64,
        uuid: &str,
        mac: &str,
        version: &str,
        kind: Discovery,
    ) -> Result<(), StoreError> {
        let (uuid, mac) = (canonical(uuid), clip(mac, MAX_WORD));
        let Some(kind) = self.judged(from, &uuid, kind)? else {
            return Ok(());
        };
        let sql =
            "SELECT 1 FROM discovered WHERE host_monitor_id = ?1 AND uuid = ?2 AND mac = ?3 AND kind = ?4";
        if first(self.db, sql, params![from, uuid, mac, kind.as_str()], |_| Ok(()))?.is_some() {
            return Ok(());
        }
        let replaced = "DELETE FROM discovered WHERE host_monitor_id = ?1 AND uuid = ?2 AND mac = ?3";
        run(self.db, replaced, params![from, uuid, mac])?;
        let sql = "INSERT INTO discovered (host_monitor_id, uuid, mac, version, kind, sequence, recorded_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let sequence = self.next_sequence()?;
        let version = clip(version, MAX_WORD);
        run(self.db, sql, params![from, uuid, mac, version, kind.as_str(), sequence, self.now.0]).map(drop)
    }

    /// `None` if there is nothing to record: it is at home here, or where "here" is is not known yet, or it was removed
    /// lately and is still on its way out.
    fn judged(self, from: i64, uuid: &str, told: Discovery) -> Result<Option<Discovery>, StoreError> {
        let vm = match uuid.parse::<VmUuid>() {
            Ok(vm) if told != Discovery::CannotManage => self.vm_row(vm)?,
            _ => None,
        };
        let Some(VmRow { host: home, .. }) = vm else {
            if told != Discovery::CannotManage && self.is_tombstone(uuid)? {
                return Ok(None);
            }
            return Ok(Some(match told {
                Discovery::CannotManage => Discovery::CannotManage,
                Discovery::Moved | Discovery::Managed | Discovery::Unmanaged => Discovery::Unmanaged,
            }));
        };
        let here = self.host_of(from)?;
        Ok(match (here, told) {
            (Some(here), _) if here != home => Some(Discovery::Moved),
            (Some(_), Discovery::Managed) => Some(Discovery::Managed),
            _ => None,
        })
    }

    /// A VM at home is no stranger to this host monitor. That it was seen elsewhere stays until acknowledged;
    /// should it move again, that is news again. If it is not monitored it is MANAGED: it could be.
    pub(super) fn came_home(
        self,
        from: i64,
        vm: VmRow,
        uuid: &str,
        mac: &str,
        version: &str,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM discovered WHERE uuid = ?1 AND kind <> 'MANAGED' AND
                   (host_monitor_id = ?2 OR (kind = 'MOVED' AND sequence IS NULL))";
        run(self.db, sql, params![uuid, from])?;
        match vm.state {
            VmState::Added | VmState::Stopped => {
                self.on_discovered(from, uuid, mac, version, Discovery::Managed)
            }
            VmState::Starting
            | VmState::Started
            | VmState::Stopping
            | VmState::Removing
            | VmState::Suspended
            | VmState::Unknown => Ok(()),
        }
    }

    /// The same of many, in a fixed number of statements: `opened` is what `rows` reads as e.vm, e.mac and e.version.
    pub(super) fn managed_opened(self, from: i64, opened: &str, rows: &str) -> Result<(), StoreError> {
        let new = format!(
            "FROM {rows} e JOIN vm v ON v.uuid = e.vm AND v.state IN ('ADDED', 'STOPPED')
             WHERE NOT EXISTS (SELECT 1 FROM discovered d WHERE d.host_monitor_id = ?2 AND d.uuid = e.vm
                               AND d.mac = e.mac)"
        );
        if first(self.db, &format!("SELECT 1 {new} LIMIT 1"), params![opened, from], |_| Ok(()))?.is_none() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO discovered (host_monitor_id, uuid, mac, version, kind, sequence, recorded_at)
             SELECT ?2, e.vm, e.mac, e.version, 'MANAGED', ?3, ?4 {new}"
        );
        run(self.db, &sql, params![opened, from, self.next_sequence()?, self.now.0]).map(drop)
    }

    /// Monitoring of the VM starts: it needs not be told any more that it could.
    pub(in crate::sql) fn discovery_monitored(self, vm: i64) -> Result<(), StoreError> {
        let sql =
            "DELETE FROM discovered WHERE kind = 'MANAGED' AND uuid = (SELECT uuid FROM vm WHERE id = ?1)";
        run(self.db, sql, [vm]).map(drop)
    }

    /// A VM was registered: those who saw it as a stranger may have its session open, so its path is known.
    pub(in crate::sql) fn discovery_registered(
        self,
        uuid: &str,
        host: i64,
        vm: i64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at)
                   SELECT ?2, host_monitor_id, mac, version, 0, 0, ?3 FROM discovered
                   WHERE uuid = ?1 AND kind = 'UNMANAGED' ORDER BY id DESC ON CONFLICT DO NOTHING";
        run(self.db, sql, params![uuid, vm, self.now.0])?;
        let sql = "DELETE FROM discovered WHERE uuid = ?1 AND kind = 'UNMANAGED' AND host_monitor_id IN
                   (SELECT id FROM host_monitor WHERE host_id IS NULL)";
        run(self.db, sql, [uuid])?;
        let sql =
            "UPDATE discovered SET kind = 'MANAGED', sequence = ?3 WHERE uuid = ?1 AND kind = 'UNMANAGED'
                   AND host_monitor_id IN (SELECT id FROM host_monitor WHERE host_id = ?2)";
        run(self.db, sql, params![uuid, host, self.next_sequence()?])?;
        let sql =
            "UPDATE discovered SET kind = 'MOVED', sequence = ?2 WHERE uuid = ?1 AND kind = 'UNMANAGED'";
        run(self.db, sql, params![uuid, self.next_sequence()?]).map(drop)
    }

    /// A host monitor was registered with `host`.
    pub(in crate::sql) fn discoveries_judge_again(
        self,
        host_monitor: i64,
        host: i64,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM discovered WHERE host_monitor_id = ?1
                   AND uuid IN (SELECT uuid FROM vm WHERE host_id = ?2)";
        run(self.db, sql, [host_monitor, host])?;
        let sql = "UPDATE discovered SET sequence = ?2, kind = CASE
                   WHEN uuid IN (SELECT uuid FROM vm) THEN 'MOVED' ELSE kind END WHERE host_monitor_id = ?1";
        run(self.db, sql, [host_monitor, self.next_sequence()?])?;
        let sql = "SELECT v.uuid, p.mac, p.version FROM path p JOIN vm v ON v.id = p.vm_id
                   WHERE p.host_monitor_id = ?1 AND v.host_id <> ?2 AND (p.counted = 1 OR p.mac <> '')";
        let moved = all(self.db, sql, [host_monitor, host], |row| {
            Ok((typed::<VmUuid>(row, 0)?, row.get::<String>(1)?, row.get::<String>(2)?))
        })?;
        for (vm, mac, version) in moved {
            self.on_discovered(host_monitor, &vm.to_string(), &mac, &version, Discovery::Moved)?;
        }
        Ok(())
    }

    /// The first report of a conflict stands.
    pub(in crate::sql) fn on_conflict(
        self,
        from: i64,
        uuid: &str,
        mac: &str,
        kind: ConflictKind,
        text: &str,
    ) -> Result<(), StoreError> {
        let kind = match kind {
            ConflictKind::Version => "VERSION",
            ConflictKind::Uuid => "UUID",
        };
        let (uuid, mac, text) = (canonical(uuid), clip(mac, MAX_WORD), clip(text, MAX_TEXT));
        let sql =
            "SELECT 1 FROM conflict WHERE host_monitor_id = ?1 AND kind = ?2 AND uuid = ?3 AND mac = ?4";
        if first(self.db, sql, params![from, kind, uuid, mac], |_| Ok(()))?.is_some() {
            return Ok(());
        }
        let sql = "INSERT INTO conflict (host_monitor_id, kind, uuid, mac, text, first_seen_at, sequence)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let sequence = self.next_sequence()?;
        run(self.db, sql, params![from, kind, uuid, mac, text, self.now.0, sequence]).map(drop)
    }

    pub(super) fn discoveries_bound(self, from: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM discovered WHERE id IN (SELECT id FROM discovered WHERE host_monitor_id = ?1
                   ORDER BY kind = 'MOVED' DESC, id DESC LIMIT 9223372036854775807 OFFSET ?2)";
        run(self.db, sql, [from, MAX_DISCOVERED])?;
        let sql = "DELETE FROM conflict WHERE id IN (SELECT id FROM conflict WHERE host_monitor_id = ?1
                   ORDER BY id DESC LIMIT 9223372036854775807 OFFSET ?2)";
        run(self.db, sql, [from, MAX_CONFLICTS]).map(drop)
    }
}

/// In lower case if it is a UUID, else as it came.
fn canonical(uuid: &str) -> String {
    uuid.parse::<VmUuid>().map_or_else(|_| clip(uuid, MAX_WORD).to_owned(), |uuid| uuid.to_string())
}
