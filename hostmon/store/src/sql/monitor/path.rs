//! Paths: edges from host monitors, and when a VM is STARTED.

use std::time::Duration;

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::VmRow;
use super::guest::Word;
use crate::sql::Turn;
use crate::sql::hosts::known;
use crate::sql::rows::{all, first, run};
use crate::*;

/// STARTING is over when a known path beats, and every one that the VM was verified to have at host monitors of its host
/// that are up and whose paths are known. While none is verified every such host monitor must have one. Any other says
/// nothing: it neither starts the VM nor holds it back.
const EVERY_PATH_BEATS: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM path p JOIN host_monitor m ON m.id = p.host_monitor_id
            WHERE p.vm_id = ?2 AND p.beating = 1 AND ",
    known!(),
    ")
        AND NOT EXISTS (SELECT 1 FROM vm v JOIN host_monitor m ON m.host_id = v.host_id
            LEFT JOIN path p ON p.vm_id = v.id AND p.host_monitor_id = m.id
            WHERE v.id = ?2 AND m.state = 'UP' AND coalesce(p.beating, 0) = 0 AND (coalesce(p.verified, 0) = 1
                  OR NOT EXISTS (SELECT 1 FROM path q JOIN host_monitor n ON n.id = q.host_monitor_id
                     WHERE q.vm_id = v.id AND q.verified = 1 AND n.host_id = v.host_id)) AND ",
    known!(),
    ")"
);

/// VMs in STARTING that a host monitor has a say in: those of its host, and those of others that beat here.
const STARTING_VMS: &str = "
    SELECT v.id, v.host_id FROM host_monitor m JOIN vm v ON v.host_id = m.host_id
    WHERE m.id = ?1 AND v.state = 'STARTING'
    UNION SELECT v.id, v.host_id FROM path p JOIN vm v ON v.id = p.vm_id
    WHERE p.host_monitor_id = ?1 AND p.beating = 1 AND v.state = 'STARTING'";

/// What is said of a handshake.
pub(super) struct Opening<'a> {
    pub(super) mac: &'a str,
    pub(super) version: &'a str,
    pub(super) authenticated: bool,
    pub(super) word: Word,
}

impl Turn<'_> {
    pub(super) fn on_opened(self, from: i64, vm: VmUuid, opening: &Opening<'_>) -> Result<(), StoreError> {
        let Opening { mac, version, .. } = *opening;
        let uuid = vm.to_string();
        let Some(vm) = self.vm_row(vm)? else {
            return self.on_discovered(from, &uuid, mac, version, Discovery::Unmanaged);
        };
        let sql = "UPDATE vm SET agent_seen_at = ?2 WHERE id = ?1 AND agent_seen_at IS NULL";
        run(self.db, sql, [vm.id, self.now.0])?;
        run(self.db, "DELETE FROM conflict WHERE uuid = ?1 AND kind = 'VERSION'", [&uuid])?;
        self.path_keep(from, vm, opening)?;
        self.shutdown_over(vm, opening.word)?;
        match self.host_of(from)? {
            Some(host) if host != vm.host => self.on_discovered(from, &uuid, mac, version, Discovery::Moved),
            Some(_) => self.came_home(from, vm, &uuid, mac, version),
            None => Ok(()),
        }
    }

    /// A handshake proves no heartbeat: whether the path counts, and an open silence, stay as they are.
    fn path_keep(self, from: i64, vm: VmRow, opening: &Opening<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at, authenticated,
                   handshake, opened_at) VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?6, ?7, ?8)
                   ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET mac = excluded.mac, version = excluded.version,
                   heard_at = excluded.heard_at, authenticated = excluded.authenticated, guardian = 0,
                   handshake = excluded.handshake, opened_at = coalesce(excluded.opened_at, path.opened_at)";
        let Opening { mac, version, authenticated, word } = *opening;
        let (handshake, opened_at) = (self.next_sequence()?, word.known());
        let values = params![vm.id, from, mac, version, self.now.0, authenticated, handshake, opened_at];
        run(self.db, sql, values).map(drop)
    }

    pub(super) fn on_path_guardian(self, from: i64, vm: VmUuid, guardian: bool) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)? else {
            return Ok(());
        };
        let sql =
            "UPDATE path SET guardian = ?3 WHERE vm_id = ?1 AND host_monitor_id = ?2 AND guardian <> ?3";
        run(self.db, sql, params![vm.id, from, guardian]).map(drop)
    }

    pub(super) fn on_detected(self, from: i64, vm: VmUuid) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)?.filter(|vm| vm.monitored()) else {
            return Ok(());
        };
        let sql = "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at, verified)
                   VALUES (?1, ?2, '', '', 1, 1, ?3, ?4)
                   ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET counted = 1, beating = 1, missing_since = NULL, common = 0,
                   heard_at = excluded.heard_at, awaited_since = NULL, awaited_sequence = NULL,
                   verified = CASE WHEN excluded.verified = 1 THEN 1 ELSE path.verified END";
        run(self.db, sql, params![vm.id, from, self.now.0, vm.state == VmState::Started])?;
        self.starting_check(vm)
    }

    pub(super) fn on_missing(
        self,
        from: i64,
        vm: VmUuid,
        age: Duration,
        common: bool,
    ) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)?.filter(|vm| vm.monitored()) else {
            return Ok(());
        };
        // From when silence counts lies in the future if the clock was set back: as if it were now. Otherwise it would excuse
        // every silence until the clock came there again.
        let sql =
            "UPDATE vm SET quiet_ended_at = CASE WHEN quiet_ended_at > ?2 THEN ?2 ELSE quiet_ended_at END,
                   silence_from = CASE WHEN silence_from > ?2 THEN ?2 ELSE silence_from END
                   WHERE id = ?1 AND (quiet_ended_at > ?2 OR silence_from > ?2)";
        run(self.db, sql, [vm.id, self.now.0])?;
        let since = self.now.back(age).0;
        let sql = "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, missing_since,
                   common, heard_at) VALUES (?1, ?2, '', '', 1, 0, ?3, ?4, ?3)
                   ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET counted = 1, beating = 0, missing_since = excluded.missing_since,
                   common = CASE WHEN path.common = 1 THEN 1 ELSE excluded.common END, awaited_since = NULL, awaited_sequence = NULL";
        run(self.db, sql, params![vm.id, from, since, common]).map(drop)
    }

    /// Whether it beats is not known now.
    pub(super) fn on_path_quiet(self, from: i64, vm: VmUuid) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)? else {
            return Ok(());
        };
        let sql =
            "UPDATE path SET missing_since = NULL, common = 0 WHERE vm_id = ?1 AND host_monitor_id = ?2";
        run(self.db, sql, [vm.id, from]).map(drop)
    }

    /// Its MAC address stays known, should monitoring start while the guest's session is still open.
    pub(super) fn on_forgotten(self, from: i64, vm: VmUuid) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)? else {
            return Ok(());
        };
        let sql = "UPDATE path SET counted = 0, beating = 0, missing_since = NULL, common = 0
                   WHERE vm_id = ?1 AND host_monitor_id = ?2";
        run(self.db, sql, [vm.id, from]).map(drop)
    }

    /// A host monitor's own condition may have been all that a STARTING VM waited for.
    pub(in crate::sql) fn starting_vms_check(self, from: i64) -> Result<(), StoreError> {
        for (id, host) in all(self.db, STARTING_VMS, [from], |row| Ok((row.get(0)?, row.get(1)?)))? {
            self.starting_check(VmRow { id, host, state: VmState::Starting })?;
        }
        Ok(())
    }

    pub(super) fn starting_check(self, vm: VmRow) -> Result<(), StoreError> {
        if vm.state != VmState::Starting {
            return Ok(());
        }
        let started = first(self.db, EVERY_PATH_BEATS, [self.now.0, vm.id], |row| row.get::<bool>(0))?;
        if started != Some(true) {
            return Ok(());
        }
        run(
            self.db,
            "UPDATE path SET verified = 1 WHERE vm_id = ?1 AND beating = 1 AND verified = 0",
            [vm.id],
        )?;
        self.vm_state_change(vm.id, VmState::Started)
    }
}
