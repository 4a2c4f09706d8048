//! One UUID that beats on two hosts: a VM that was copied, or started twice.
//!
//! While a VM is moved both ends are heard for a while, so it counts only when both have been heard for longer than it
//! takes to notice that one of them is silent. Host monitors have it looked for when they say that they live.

use super::Turn;
use super::db::params;
use super::hosts::known;
use super::rows::all;
use crate::*;

/// Two of its intervals (the longest there is where it has none of its own), in microseconds, and 10 s of room.
macro_rules! heard_before {
    () => {
        "?1 - 2000 * coalesce(v.heartbeat_interval_ms, 60000) - 10000000"
    };
}

/// Of the guests that this host monitor reported as MOVED, so few: those that beat here, and on another host, too.
const ON_TWO_HOSTS: &str = concat!(
    "SELECT v.uuid, p.mac, h.machine_type, h.model, h.serial
     FROM host_monitor here JOIN discovered d ON d.host_monitor_id = here.id AND d.kind = 'MOVED'
     JOIN vm v ON v.uuid = d.uuid
     JOIN path p ON p.vm_id = v.id AND p.host_monitor_id = here.id AND p.beating = 1 AND p.heard_at < ",
    heard_before!(),
    " JOIN path q ON q.vm_id = v.id AND q.beating = 1 AND q.heard_at < ",
    heard_before!(),
    " JOIN host_monitor m ON m.id = q.host_monitor_id AND m.host_id <> here.host_id AND ",
    known!(),
    " JOIN host h ON h.id = m.host_id
     WHERE here.id = ?2 AND here.mode = 'GLOBAL' AND here.blind = 0
     ORDER BY v.uuid, h.machine_type, h.model, h.serial"
);

impl Turn<'_> {
    pub(super) fn two_hosts_check(self, from: i64) -> Result<(), StoreError> {
        let found = all(self.db, ON_TWO_HOSTS, params![self.now.0, from], |row| {
            let host = super::rows::host_key(row, 2)?;
            Ok((row.get::<String>(0)?, row.get::<String>(1)?, host))
        })?;
        for (uuid, mac, host) in found {
            let text =
                format!("VM {uuid} beats here at {mac}, and on host {host}, too: two guests have one UUID");
            self.on_conflict(from, &uuid, &mac, ConflictKind::Uuid, &text)?;
        }
        Ok(())
    }
}
