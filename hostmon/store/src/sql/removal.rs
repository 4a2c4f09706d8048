//! Taking hosts and host monitors out, and tombstones.
//!
//! A host monitor that was taken out keeps its row, REMOVED: should it run on, or be started again, nothing that it says is
//! taken for the word of one that is registered.

use std::collections::HashSet;
use vmpulse_protocol::id::HostMonitorId;

use super::Turn;
use super::db::params;
use super::rows::{NONE, all, first, host_key, run};
use crate::*;

/// REMOVED host monitors of hosts that were removed, too: the newest are kept, far more than a site takes out in years.
const MAX_REMOVED_MONITORS: i64 = 1024;

impl Turn<'_> {
    pub(super) fn hosts_add_grouped(self, hosts: &[GroupedHost]) -> Result<(), StoreError> {
        for GroupedHost { host, group } in hosts {
            self.hosts_add(std::slice::from_ref(host))?;
            if let Some(group) = group {
                let id = self.host_id(&host.key)?;
                run(self.db, "UPDATE host SET host_group = ?2 WHERE id = ?1", params![id, group])?;
            }
        }
        Ok(())
    }

    pub(super) fn host_monitors_add(self, hosts: &[HostRegistration]) -> Result<(), StoreError> {
        for host in hosts {
            self.host_id(&host.key)?;
        }
        self.hosts_add(hosts)
    }

    pub(super) fn hosts_remove(self, hosts: &[HostKey]) -> Result<Vec<HostKey>, StoreError> {
        let (mut seen, mut unknown) = (HashSet::new(), Vec::new());
        for key in hosts.iter().filter(|key| seen.insert(*key)) {
            match self.host_id(key) {
                Ok(id) => self.host_delete(id)?,
                Err(StoreError::UnknownHost(_)) => unknown.push(key.clone()),
                Err(error) => return Err(error),
            }
        }
        Ok(unknown)
    }

    pub(super) fn host_group_remove(self, group: &str) -> Result<Vec<HostKey>, StoreError> {
        let sql = "SELECT id, machine_type, model, serial FROM host WHERE host_group = ?1
                   ORDER BY machine_type, model, serial";
        let hosts = all(self.db, sql, [group], |row| Ok((row.get::<i64>(0)?, host_key(row, 1)?)))?;
        if hosts.is_empty() {
            return Err(StoreError::UnknownHostGroup(group.to_owned()));
        }
        for (id, _) in &hosts {
            self.host_delete(*id)?;
        }
        Ok(hosts.into_iter().map(|(_, key)| key).collect())
    }

    fn host_delete(self, host: i64) -> Result<(), StoreError> {
        let sql = "UPDATE event SET open = 0 WHERE open = 1 AND EXISTS (SELECT 1 FROM vm v
                   WHERE v.host_id = ?1 AND event.incident LIKE '%:' || v.uuid || '%')";
        run(self.db, sql, [host])?;
        let sql = "UPDATE event SET open = 0 WHERE open = 1 AND incident IN (SELECT
                   'host-unreachable:' || machine_type || '-' || model || '-' || serial FROM host WHERE id = ?1)";
        run(self.db, sql, [host])?;
        let sql = "INSERT INTO removed_vm (uuid, removed_at) SELECT uuid, ?2 FROM vm WHERE host_id = ?1
                   ON CONFLICT (uuid) DO UPDATE SET removed_at = excluded.removed_at";
        run(self.db, sql, params![host, self.now.0])?;
        let sql = "UPDATE progress SET state = 'GIVEN_UP', settled_at = ?2 WHERE state = 'ASKED'
                   AND vm IN (SELECT uuid FROM vm WHERE host_id = ?1)";
        run(self.db, sql, params![host, self.now.0])?;
        run(
            self.db,
            "DELETE FROM discovered WHERE uuid IN (SELECT uuid FROM vm WHERE host_id = ?1)",
            [host],
        )?;
        run(self.db, "DELETE FROM vm WHERE host_id = ?1", [host])?;
        for monitor in
            all(self.db, "SELECT id FROM host_monitor WHERE host_id = ?1", [host], |row| row.get(0))?
        {
            self.host_monitor_retire(monitor)?;
        }
        run(self.db, "UPDATE host_monitor SET host_id = NULL WHERE host_id = ?1", [host])?;
        run(self.db, "DELETE FROM host WHERE id = ?1", [host])?;
        let sql = "DELETE FROM host_monitor WHERE id IN (SELECT id FROM host_monitor
                   WHERE state = 'REMOVED' AND host_id IS NULL ORDER BY id DESC LIMIT 9223372036854775807 OFFSET ?1)";
        run(self.db, sql, [MAX_REMOVED_MONITORS])?;
        self.db.roster_changes();
        Ok(())
    }

    pub(super) fn host_monitors_remove(
        self,
        monitors: &[HostMonitorId],
    ) -> Result<Vec<HostMonitorId>, StoreError> {
        let (mut seen, mut unknown) = (HashSet::new(), Vec::new());
        for uuid in monitors.iter().filter(|uuid| seen.insert(**uuid)) {
            let sql = "SELECT id FROM host_monitor WHERE uuid = ?1";
            match first(self.db, sql, [uuid.to_string()], |row| row.get(0))? {
                Some(id) => self.host_monitor_retire(id)?,
                None => unknown.push(*uuid),
            }
        }
        Ok(unknown)
    }

    /// Nobody waits for it, and nothing of what it saw is left but its node events.
    fn host_monitor_retire(self, monitor: i64) -> Result<(), StoreError> {
        let sql = "UPDATE host_monitor SET state = 'REMOVED', reason = 0, mode = 'DOWN', settings_version = 0
                   WHERE id = ?1 AND state <> 'REMOVED'";
        if run(self.db, sql, [monitor])? == 0 {
            return Ok(());
        }
        let sql = "UPDATE event SET open = 0 WHERE open = 1 AND EXISTS (SELECT 1 FROM host_monitor m
                   WHERE m.id = ?1 AND event.incident LIKE '%:' || m.uuid || '%')";
        run(self.db, sql, [monitor])?;
        let sql = "DELETE FROM request WHERE host_monitor_id = ?1 RETURNING tag";
        for tag in all(self.db, sql, [monitor], |row| row.get(0))? {
            self.progress_settle(tag, TransactionState::GivenUp)?;
        }
        for table in ["path", "discovered", "conflict", "monitor_settings"] {
            run(self.db, &format!("DELETE FROM {table} WHERE host_monitor_id = ?1"), [monitor])?;
        }
        let text = "the host monitor was removed; what it says is ignored until it is registered again";
        self.node_event(monitor, "REMOVED", text)?;
        self.node_events_bound(monitor)?;
        self.db.roster_changes();
        self.starting_vms_check(monitor)?;
        self.leaving_vms_check()
    }

    /// It was removed: beside its start only that it wrote is kept, so that people see that it still runs.
    pub(super) fn apply_of_removed(self, from: i64, write: &HostMonitorWrite) -> Result<(), StoreError> {
        write.start().map_or(Ok(()), |start| self.start_record(from, start))
    }

    /// Closes the incidents that the controller opened about a VM or host monitor: nobody else will, and should it be
    /// registered again they would be taken for told. Their keys are `kind:uuid` and `kind:uuid:more`.
    pub(super) fn incidents_close_of(self, uuid: &str) -> Result<(), StoreError> {
        let sql = "UPDATE event SET open = 0 WHERE open = 1 AND incident LIKE '%:' || ?1 || '%'";
        run(self.db, sql, [uuid]).map(drop)
    }

    /// Whether the VM was removed, and its tombstone lives.
    pub(super) fn is_tombstone(self, uuid: &str) -> Result<bool, StoreError> {
        Ok(first(self.db, "SELECT 1 FROM removed_vm WHERE uuid = ?1", [uuid], |_| Ok(()))?.is_some())
    }

    pub(super) fn protocol_versions(self) -> Result<ProtocolVersions, StoreError> {
        let sql = "SELECT running_version, accepted_versions FROM cluster";
        super::rows::only(self.db, sql, NONE, |row| {
            Ok(ProtocolVersions { running: row.get(0)?, accepted: row.get(1)? })
        })
    }
}
