//! Settings, events, controllers.

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::Turn;
use super::requests::Opcode;
use super::rows::{NONE, age, all, first, only, run, typed};
use crate::*;

/// Events kept: a month of an unhappy site. Older ones of closed incidents are dropped.
const MAX_EVENTS: i64 = 100_000;

/// Controllers shown: far more than ever run. The longest silent are forgotten.
const MAX_CONTROLLERS: i64 = 64;

impl Turn<'_> {
    pub(super) fn system_settings(self) -> Result<SystemSettings, StoreError> {
        let sql = "SELECT host_failure_detection_time_s, vm_failure_detection_speed FROM cluster";
        let found = first(self.db, sql, NONE, |row| {
            let host_failure_detection_time_s = row.get(0)?;
            Ok(SystemSettings { host_failure_detection_time_s, vm_failure_detection_speed: typed(row, 1)? })
        })?;
        Ok(found.unwrap_or_default())
    }

    pub(super) fn system_settings_replace(self, settings: &SystemSettings) -> Result<(), StoreError> {
        let time_s = settings.host_failure_detection_time_s;
        in_range("host_failure_detection_time", time_s, 90, 600, "s")?;
        let sql = "UPDATE cluster SET host_failure_detection_time_s = ?1, vm_failure_detection_speed = ?2";
        run(self.db, sql, params![time_s, settings.vm_failure_detection_speed.as_str()]).map(drop)
    }

    pub(super) fn vm_settings_replace(self, vm: VmUuid, settings: &VmSettings) -> Result<(), StoreError> {
        check(settings)?;
        let id = self.vm_id(vm)?;
        let sql = "SELECT heartbeat_interval_ms FROM vm WHERE id = ?1";
        let before = first(self.db, sql, [id], |row| row.get::<Option<u32>>(0))?.flatten();
        let sql = "UPDATE vm SET heartbeat_interval_ms = ?2, vm_failure_detection_speed = ?3,
                   vm_failure_detection_time_ms = ?4 WHERE id = ?1";
        let speed = settings.vm_failure_detection_speed.map(DetectionSpeed::as_str);
        let values =
            params![id, settings.heartbeat_interval_ms, speed, settings.vm_failure_detection_time_ms];
        run(self.db, sql, values)?;
        if before != settings.heartbeat_interval_ms {
            self.request_every_monitor(id, Opcode::Reconsider)?;
        }
        Ok(())
    }

    pub(super) fn event_append(self, event: &NewEvent) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM event WHERE incident = ?1 AND open = 1";
        if first(self.db, sql, [&event.incident], |_| Ok(()))?.is_some() {
            return Ok(false);
        }
        self.event_insert(event, true)?;
        Ok(true)
    }

    /// Writes it down; `open`: whether its incident goes on.
    pub(super) fn event_insert(self, event: &NewEvent, open: bool) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO event (recorded_at, incident, open, name, severity, entity, resource, description)
                   VALUES (?1, ?2, ?8, ?3, ?4, ?5, ?6, ?7) RETURNING id";
        let NewEvent { incident, name, severity, entity, resource, description } = event;
        let values =
            params![self.now.0, incident, name, severity.as_str(), entity, resource, description, open];
        let newest: i64 = only(self.db, sql, values, |row| row.get(0))?;
        let oldest = newest - MAX_EVENTS;
        run(self.db, "DELETE FROM event WHERE id <= ?1 AND open = 0", [oldest]).map(drop)
    }

    pub(super) fn incident_close(self, incident: &str) -> Result<(), StoreError> {
        run(self.db, "UPDATE event SET open = 0 WHERE incident = ?1 AND open = 1", [incident]).map(drop)
    }

    pub(super) fn events(self, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        let sql = "SELECT id, recorded_at, incident, name, severity, entity, resource, description
                   FROM event ORDER BY id DESC LIMIT ?1";
        let mut events = all(self.db, sql, [limit], |row| {
            let event = NewEvent {
                incident: row.get(2)?,
                name: row.get(3)?,
                severity: typed(row, 4)?,
                entity: row.get(5)?,
                resource: row.get(6)?,
                description: row.get(7)?,
            };
            Ok(EventRecord { id: row.get(0)?, at: StoreTime(row.get(1)?), event })
        })?;
        events.reverse();
        Ok(events)
    }

    pub(super) fn vm_phase_replace(self, vm: VmUuid, phase: &str) -> Result<(), StoreError> {
        let id = self.vm_id(vm)?;
        run(self.db, "UPDATE vm SET phase = ?2 WHERE id = ?1 AND phase <> ?2", params![id, phase]).map(drop)
    }

    pub(super) fn controller_heartbeat(self, controller: &ControllerHeartbeat) -> Result<(), StoreError> {
        let sql = "INSERT INTO controller (name, pid, version, poll_interval_ms, heartbeat_at)
                   VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (name) DO UPDATE SET pid = excluded.pid, version = excluded.version,
                   poll_interval_ms = excluded.poll_interval_ms, heartbeat_at = excluded.heartbeat_at";
        let ControllerHeartbeat { name, pid, version, poll_interval_ms } = controller;
        let interval = i64::try_from(*poll_interval_ms).unwrap_or(i64::MAX);
        run(self.db, sql, params![name, pid, version, interval, self.now.0])?;
        let sql = "DELETE FROM controller WHERE name IN
                   (SELECT name FROM controller ORDER BY heartbeat_at DESC LIMIT 9223372036854775807 OFFSET ?1)";
        run(self.db, sql, [MAX_CONTROLLERS])?;
        self.heartbeats_come_by_now()?;
        self.leaving_vms_check()
    }

    pub(super) fn controllers(self) -> Result<Vec<ControllerView>, StoreError> {
        let sql = "SELECT name, pid, version, poll_interval_ms, heartbeat_at FROM controller ORDER BY name";
        all(self.db, sql, NONE, |row| {
            let heartbeat = ControllerHeartbeat {
                name: row.get(0)?,
                pid: row.get(1)?,
                version: row.get(2)?,
                poll_interval_ms: row.get(3)?,
            };
            Ok(ControllerView { heartbeat, age: age(row, 4, self.now)?.unwrap_or_default() })
        })
    }
}

/// A detection time is checked against the VM's own interval only: the host monitors' default is not known here.
fn check(settings: &VmSettings) -> Result<(), StoreError> {
    if let Some(interval_ms) = settings.heartbeat_interval_ms {
        in_range("heartbeat_interval", interval_ms, 100, 60_000, "ms")?;
    }
    if let Some(time_ms) = settings.vm_failure_detection_time_ms {
        let least_ms = settings.heartbeat_interval_ms.unwrap_or(100).saturating_mul(3);
        in_range("vm_failure_detection_time", time_ms, least_ms, u32::MAX, "ms")?;
    }
    Ok(())
}

pub(super) fn in_range(
    what: &'static str,
    value: u32,
    least: u32,
    most: u32,
    unit: &'static str,
) -> Result<(), StoreError> {
    let allowed = if (least..=most).contains(&value) {
        return Ok(());
    } else if most == u32::MAX {
        format!("at least {least} {unit}, three heartbeat intervals")
    } else {
        format!("{least} to {most} {unit}")
    };
    Err(StoreError::OutOfRange { what, value, unit, allowed })
}
