//! Registering hosts, host monitors and VMs, and starting to monitor.

use crate::sql::db::params;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use super::Turn;
use super::leaving::Listed;
use super::rows::{first, host_key, only, run};
use crate::*;

impl Turn<'_> {
    pub(super) fn hosts_add(self, hosts: &[HostRegistration]) -> Result<(), StoreError> {
        for host in hosts {
            let id = match self.host_id(&host.key) {
                // Adding it twice is no error, and takes no number: an hsTag has room for so many.
                Err(StoreError::UnknownHost(_)) => self.host_insert(&host.key)?,
                found => found?,
            };
            for host_monitor in &host.host_monitors {
                self.host_monitor_add(id, host_monitor)?;
            }
        }
        Ok(())
    }

    fn host_insert(self, key: &HostKey) -> Result<i64, StoreError> {
        let HostKey { machine_type, model, serial } = key;
        run(
            self.db,
            "INSERT INTO host (machine_type, model, serial, created_sequence)
             VALUES (?1, ?2, ?3, (SELECT change_sequence FROM cluster)) ON CONFLICT DO NOTHING",
            [machine_type, model, serial],
        )?;
        self.host_id(key)
    }

    /// Registers, moves or adopts it. A host monitor that changes its host keeps its paths, but what it
    /// discovered is judged anew: a stranger there may be at home here.
    fn host_monitor_add(self, host: i64, registration: &HostMonitorRegistration) -> Result<(), StoreError> {
        let id = self.host_monitor_id(registration.id)?;
        let moved = run(
            self.db,
            "UPDATE host_monitor SET host_id = ?2 WHERE id = ?1 AND host_id IS DISTINCT FROM ?2",
            params![id, host],
        )?;
        run(
            self.db,
            "UPDATE host_monitor SET part_number = ?2, registered_mac = coalesce(?3, registered_mac)
             WHERE id = ?1",
            params![id, registration.part_number, registration.mac],
        )?;
        // One that was taken out is registered anew: DOWN, until it says that it runs.
        let back = "UPDATE host_monitor SET state = 'DOWN' WHERE id = ?1 AND state = 'REMOVED'";
        if run(self.db, back, [id])? + moved == 0 {
            return Ok(());
        }
        self.db.roster_changes();
        self.paths_await_at(id, host)?;
        self.discoveries_judge_again(id, host)
    }

    pub(super) fn vms_add(self, host: &HostKey, vms: &[VmRegistration]) -> Result<(), StoreError> {
        let host = self.host_id(host)?;
        for vm in vms {
            self.vm_add(host, vm)?;
        }
        Ok(())
    }

    fn vm_add(self, host: i64, vm: &VmRegistration) -> Result<(), StoreError> {
        let uuid = vm.uuid.to_string();
        let removing = "SELECT id FROM vm WHERE uuid = ?1 AND state = 'REMOVING'";
        if let Some(removing) = first(self.db, removing, [&uuid], |row| row.get(0))? {
            // It need not be waited for any more, and nothing of it is left.
            self.vm_delete(removing)?;
        }
        let name = vm.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let sql = "SELECT v.host_id, h.machine_type, h.model, h.serial
                   FROM vm v JOIN host h ON h.id = v.host_id WHERE v.uuid = ?1";
        match first(self.db, sql, [&uuid], |row| Ok((row.get::<i64>(0)?, host_key(row, 1)?)))? {
            Some((home, key)) if home != host => {
                Err(StoreError::Elsewhere { vm: vm.uuid, host: key.to_string() })
            }
            Some(_) => {
                let sql = "UPDATE vm SET name = ?2 WHERE uuid = ?1 AND name <> ?2";
                run(self.db, sql, params![uuid, name]).map(drop)
            }
            None => {
                let sql = "INSERT INTO vm (uuid, name, host_id, state, state_changed_at, silence_from)
                           VALUES (?1, coalesce(?2, ?1), ?3, 'ADDED', ?4, ?4) RETURNING id";
                let id = only(self.db, sql, params![uuid, name, host, self.now.0], |row| row.get(0))?;
                self.db.roster_changes();
                self.incidents_close_of(&uuid)?;
                run(self.db, "DELETE FROM removed_vm WHERE uuid = ?1", [&uuid])?;
                self.discovery_registered(&uuid, host, id)
            }
        }
    }

    pub(super) fn vms_start(self, lists: &[VmList]) -> Result<Vec<TransactionTag>, StoreError> {
        let mut tags = Vec::new();
        for (vm, found) in self.listed(lists)? {
            // One that is being removed is as good as gone.
            let found = found.filter(|listed| listed.state != VmState::Removing);
            let found = found.ok_or(StoreError::UnknownVm(vm))?;
            if self.vm_startable(found)? {
                self.vm_start(found.id)?;
                tags.extend(self.ask(found.id, TransactionAction::Start)?);
            }
        }
        Ok(tags)
    }

    fn vm_startable(self, vm: Listed) -> Result<bool, StoreError> {
        match vm.state {
            VmState::Added | VmState::Stopping | VmState::Stopped => Ok(true),
            VmState::Suspended => {
                let sql =
                    "SELECT CASE WHEN suspended_by_administrator = 0 THEN 1 ELSE 0 END FROM vm WHERE id = ?1";
                Ok(first(self.db, sql, [vm.id], |row| row.get::<bool>(0))? == Some(true))
            }
            VmState::Starting | VmState::Started | VmState::Removing | VmState::Unknown => Ok(false),
        }
    }

    fn vm_start(self, vm: i64) -> Result<(), StoreError> {
        let sql = "UPDATE vm SET silence_from = ?2, shutdown = NULL, suspended_at = NULL,
                   state_before_suspension = NULL WHERE id = ?1";
        run(self.db, sql, params![vm, self.now.0])?;
        self.paths_discount(vm)?;
        self.paths_await(vm)?;
        self.discovery_monitored(vm)?;
        self.vm_state_change(vm, VmState::Starting)
    }

    /// Sets the state, and says so until it is acknowledged.
    pub(super) fn vm_state_change(self, vm: i64, state: VmState) -> Result<(), StoreError> {
        let sequence = self.next_sequence()?;
        self.db.roster_changes();
        run(
            self.db,
            "UPDATE vm SET state = ?2, state_changed_at = ?3, state_sequence = ?4 WHERE id = ?1",
            params![vm, state.as_str(), self.now.0, sequence],
        )?;
        match state {
            VmState::Starting | VmState::Started | VmState::Suspended => Ok(()),
            VmState::Added | VmState::Stopping | VmState::Stopped | VmState::Removing | VmState::Unknown => {
                self.paths_await_not(vm)
            }
        }
    }

    pub(super) fn host_id(self, key: &HostKey) -> Result<i64, StoreError> {
        let sql = "SELECT id FROM host WHERE machine_type = ?1 AND model = ?2 AND serial = ?3";
        let found = first(self.db, sql, [&key.machine_type, &key.model, &key.serial], |row| row.get(0))?;
        found.ok_or_else(|| StoreError::UnknownHost(key.to_string()))
    }

    /// Its row, made if there is none: a host monitor may start before anybody registered it.
    pub(super) fn host_monitor_id(self, id: HostMonitorId) -> Result<i64, StoreError> {
        let uuid = id.to_string();
        let sql = "SELECT id FROM host_monitor WHERE uuid = ?1";
        if let Some(found) = first(self.db, sql, [&uuid], |row| row.get(0))? {
            return Ok(found);
        }
        only(self.db, "INSERT INTO host_monitor (uuid) VALUES (?1) RETURNING id", [&uuid], |row| row.get(0))
    }

    pub(super) fn vm_id(self, vm: VmUuid) -> Result<i64, StoreError> {
        let sql = "SELECT id FROM vm WHERE uuid = ?1";
        let found = first(self.db, sql, [vm.to_string()], |row| row.get(0))?;
        found.ok_or(StoreError::UnknownVm(vm))
    }
}
