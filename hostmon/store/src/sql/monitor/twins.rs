//! One UUID on two hosts: a copy of a guest, or an original that was thought dead.

use crate::sql::Turn;
use crate::sql::db::params;
use crate::sql::hosts::known;
use crate::sql::rows::all;
use crate::*;

/// VMs of other hosts that have beaten here for so long that their home would have missed them, had they moved: and it has
/// not. Of those that were discovered as MOVED here, which are few.
const TWINS: &str = concat!(
    "SELECT v.uuid, p.mac, t.serial FROM discovered d JOIN vm v ON v.uuid = d.uuid JOIN host t ON t.id = v.host_id
     JOIN path p ON p.vm_id = v.id AND p.host_monitor_id = d.host_monitor_id
     WHERE d.host_monitor_id = ?2 AND d.kind = 'MOVED' AND p.counted = 1 AND p.beating = 1
       AND p.heard_at < ?1 - 2000 * coalesce(v.heartbeat_interval_ms, 60000) - 10000000
       AND EXISTS (SELECT 1 FROM path h JOIN host_monitor m ON m.id = h.host_monitor_id
                   WHERE h.vm_id = v.id AND m.host_id = v.host_id AND h.counted = 1 AND h.beating = 1 AND ",
    known!(),
    ")"
);

impl Turn<'_> {
    /// Looked for with each heartbeat of a host monitor: nothing else happens while two guests beat.
    pub(super) fn twins_check(self, from: i64) -> Result<(), StoreError> {
        let twins = all(self.db, TWINS, params![self.now.0, from], |row| {
            Ok((row.get::<String>(0)?, row.get::<String>(1)?, row.get::<String>(2)?))
        })?;
        for (uuid, mac, home) in twins {
            let text =
                format!("beats here at {mac}, and at home on host {home} too: two guests have one UUID");
            self.on_conflict(from, &uuid, &mac, ConflictKind::Uuid, &text)?;
        }
        Ok(())
    }
}
