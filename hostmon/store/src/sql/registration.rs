//! Registering hosts, host monitors and VMs, and starting to monitor.

use crate::sql::db::params;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use super::Turn;
use super::requests::Opcode;
use super::rows::{first, host_key, only, run, typed};
use crate::*;

impl Turn<'_> {
    pub(super) fn hosts_add(self, hosts: &[HostRegistration]) -> Result<(), StoreError> {
        for host in hosts {
            let HostKey { machine_type, model, serial } = &host.key;
            run(
                self.db,
                "INSERT INTO host (machine_type, model, serial) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                [machine_type, model, serial],
            )?;
            let id = self.host_id(&host.key)?;
            for host_monitor in &host.host_monitors {
                self.host_monitor_add(id, host_monitor)?;
            }
        }
        Ok(())
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
        if moved == 0 {
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
                run(self.db, "DELETE FROM removed_vm WHERE uuid = ?1", [&uuid])?;
                self.discovery_registered(&uuid, host, id)
            }
        }
    }

    pub(super) fn vms_start(self, vms: &[VmUuid]) -> Result<Vec<TransactionTag>, StoreError> {
        let mut tags = Vec::new();
        for vm in vms {
            let (id, startable) = self.vm_startable(*vm)?;
            if startable {
                self.vm_start(id)?;
                tags.extend(self.request_every_monitor(id, Opcode::Reconsider)?);
            }
        }
        Ok(tags)
    }

    fn vm_startable(self, vm: VmUuid) -> Result<(i64, bool), StoreError> {
        let sql = "SELECT id, state, suspended_by_administrator FROM vm WHERE uuid = ?1";
        let found = first(self.db, sql, [vm.to_string()], |row| {
            let by_administrator: bool = row.get(2)?;
            let startable = match typed::<VmState>(row, 1)? {
                VmState::Added | VmState::Stopped => true,
                VmState::Suspended => !by_administrator,
                VmState::Starting
                | VmState::Started
                | VmState::Stopping
                | VmState::Removing
                | VmState::Unknown => false,
            };
            Ok((row.get(0)?, startable))
        })?;
        found.ok_or(StoreError::UnknownVm(vm))
    }

    /// Paths known from before count again when they are detected or missing again.
    fn vm_start(self, vm: i64) -> Result<(), StoreError> {
        let sql = "UPDATE vm SET silence_from = ?2, shutdown = NULL, suspended_at = NULL,
                   state_before_suspension = NULL WHERE id = ?1";
        run(self.db, sql, params![vm, self.now.0])?;
        let sql =
            "UPDATE path SET counted = 0, beating = 0, missing_since = NULL, common = 0 WHERE vm_id = ?1";
        run(self.db, sql, [vm])?;
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
