//! What is said of a VM in a needs-attention answer besides doorbells, silence and changed states: paths that should be
//! there, conflicts of versions, fences.
//!
//! A path is *awaited* from START_VM on, on every host monitor of the VM's host. It is reported as not come when that
//! monitor lives and has waited for [`AWAITED_FOR`]; until it is heard, somebody acknowledges it, or monitoring ends.

use std::time::Duration;

use super::Turn;
use super::db::params;
use super::rows::{first, run};
use crate::*;

/// As long as a VM may be STARTING without anybody being told.
const AWAITED_FOR: Duration = Duration::from_secs(128);

impl Turn<'_> {
    /// Monitoring of the VM starts: nothing was heard of any path yet.
    pub(super) fn paths_await(self, vm: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at, awaited_since)
                   SELECT v.id, m.id, '', '', 0, 0, ?2, ?2 FROM vm v JOIN host_monitor m ON m.host_id = v.host_id
                   WHERE v.id = ?1 AND m.state <> 'REMOVED'
                   ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET awaited_since = excluded.awaited_since,
                   awaited_sequence = NULL";
        run(self.db, sql, [vm, self.now.0]).map(drop)
    }

    /// A host monitor was registered with `host`: the monitored VMs there should have a path to it, and others need not.
    pub(super) fn paths_await_at(self, host_monitor: i64, host: i64) -> Result<(), StoreError> {
        let sql = "UPDATE path SET awaited_since = NULL, awaited_sequence = NULL WHERE host_monitor_id = ?1";
        run(self.db, sql, [host_monitor])?;
        let sql = "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at, awaited_since)
                   SELECT v.id, ?1, '', '', 0, 0, ?3, ?3 FROM vm v
                   WHERE v.host_id = ?2 AND v.state IN ('STARTING', 'STARTED', 'SUSPENDED')
                   ON CONFLICT (vm_id, host_monitor_id) DO UPDATE SET awaited_since =
                   CASE WHEN path.counted = 0 THEN excluded.awaited_since END";
        run(self.db, sql, [host_monitor, host, self.now.0]).map(drop)
    }

    /// Nobody waits for its paths any more.
    pub(super) fn paths_await_not(self, vm: i64) -> Result<(), StoreError> {
        let sql = "UPDATE path SET awaited_since = NULL, awaited_sequence = NULL
                   WHERE vm_id = ?1 AND awaited_since IS NOT NULL";
        run(self.db, sql, [vm]).map(drop)
    }

    /// A host monitor that has just started has not waited yet.
    pub(super) fn awaits_begin(self, host_monitor: i64) -> Result<(), StoreError> {
        let sql = "UPDATE path SET awaited_since = ?2
                   WHERE host_monitor_id = ?1 AND awaited_since IS NOT NULL AND awaited_sequence IS NULL";
        run(self.db, sql, [host_monitor, self.now.0]).map(drop)
    }

    /// The host monitor lives. If it hears its trunk, what it has waited for long enough has not come.
    pub(super) fn awaits_check(self, host_monitor: i64) -> Result<(), StoreError> {
        let since = self.now.back(AWAITED_FOR).0;
        let sql = "SELECT 1 FROM host_monitor m JOIN path p ON p.host_monitor_id = m.id
                   JOIN vm v ON v.id = p.vm_id AND v.host_id = m.host_id
                   WHERE m.id = ?1 AND m.state = 'UP' AND m.mode = 'GLOBAL' AND m.blind = 0 AND p.awaited_since <= ?2
                   AND p.awaited_since IS NOT NULL AND p.awaited_sequence IS NULL
                   AND v.state IN ('STARTING', 'STARTED') LIMIT 1";
        if first(self.db, sql, [host_monitor, since], |_| Ok(()))?.is_none() {
            return Ok(());
        }
        let sql = "UPDATE path SET awaited_sequence = ?3
                   WHERE host_monitor_id = ?1 AND awaited_since <= ?2 AND awaited_sequence IS NULL
                   AND vm_id IN (SELECT v.id FROM vm v JOIN host_monitor m ON m.id = ?1 AND m.host_id = v.host_id
                                 WHERE v.state IN ('STARTING', 'STARTED'))";
        run(self.db, sql, [host_monitor, since, self.next_sequence()?]).map(drop)
    }

    pub(super) fn vm_fence(self, vm: vmpulse_protocol::id::VmUuid, fenced: bool) -> Result<(), StoreError> {
        let id = self.vm_id(vm)?;
        run(self.db, "UPDATE vm SET fenced = ?2 WHERE id = ?1 AND fenced <> ?2", params![id, fenced])
            .map(drop)
    }
}
