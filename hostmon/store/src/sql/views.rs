//! VMs and applications as shown to people.

use std::collections::HashMap;

use crate::sql::db::Row;

use super::Turn;
use super::rows::{NONE, age, all, host_key, typed, typed_option};
use super::silence::{PathHealth, excuse, missed};
use crate::*;

/// SQL: of a path `p` of the VM `v` to the host monitor `m` at `?1`: what [`Turn::path_view`] reads.
macro_rules! path_columns {
    () => {
        concat!("p.vm_id, m.uuid, m.trunk, p.mac, p.version, ", $crate::sql::hosts::health_columns!())
    };
}

/// SQL: VMs `v`: what [`Turn::vm_view`] reads, and whatever is to follow.
macro_rules! vm_select {
    ($more:literal) => {
        concat!(
            "
    SELECT v.id, v.uuid, v.name, h.machine_type, h.model, h.serial, v.state,
           CASE WHEN v.suspended_by_administrator = 1 THEN 'ADMINISTRATOR' ELSE v.shutdown END,
           v.state_changed_at, v.agent_seen_at,
           EXISTS (SELECT 1 FROM conflict c WHERE c.uuid = v.uuid AND c.kind = 'VERSION'),
           v.heartbeat_interval_ms, v.vm_failure_detection_speed, v.vm_failure_detection_time_ms, v.phase,
           q.announced_at + q.granted_us, q.reason, v.quiet_ended_at",
            $more,
            "
    FROM vm v JOIN host h ON h.id = v.host_id
    LEFT JOIN quiet q ON q.vm_id = v.id AND q.ended_at IS NULL"
        )
    };
}

pub(super) use {path_columns, vm_select};

const PATHS: &str = concat!(
    "SELECT ",
    path_columns!(),
    "
     FROM path p JOIN vm v ON v.id = p.vm_id JOIN host_monitor m ON m.id = p.host_monitor_id
     WHERE p.counted = 1 ORDER BY p.vm_id, m.trunk, m.uuid"
);

const VMS: &str = concat!(vm_select!(""), " ORDER BY v.name, v.uuid");

const APPLICATIONS: &str = "
    SELECT v.uuid, v.name, v.reported_at, a.name, a.uuid, a.status, a.colour, a.critical, a.monitored,
           a.max_restart, a.restarted, a.version, a.last_result, a.last_change_age_s
    FROM application a JOIN vm v ON v.id = a.vm_id ORDER BY v.name, v.uuid, a.name";

/// A path as shown, and what it says of its VM.
pub(super) type Shown = (PathView, PathHealth);

impl Turn<'_> {
    pub(super) fn vms(self) -> Result<Vec<VmView>, StoreError> {
        let mut paths = HashMap::<i64, Vec<Shown>>::new();
        for (vm, path) in all(self.db, PATHS, [self.now.0], |row| Ok((row.get(0)?, self.path_view(row)?)))? {
            paths.entry(vm).or_default().push(path);
        }
        all(self.db, VMS, NONE, |row| self.vm_view(row, paths.remove(&row.get(0)?).unwrap_or_default()))
    }

    pub(super) fn path_view(self, row: &Row<'_>) -> Result<Shown, StoreError> {
        let health = self.path_health(row, 5)?;
        let view = PathView {
            host_monitor: typed(row, 1)?,
            trunk: row.get(2)?,
            mac: row.get(3)?,
            version: row.get(4)?,
            missed: health.missed,
            known: health.known,
        };
        Ok((view, health))
    }

    pub(super) fn vm_view(self, row: &Row<'_>, paths: Vec<Shown>) -> Result<VmView, StoreError> {
        let state: VmState = typed(row, 6)?;
        let quiet = row
            .get::<Option<i64>>(15)?
            .map(|until| Ok::<_, StoreError>(QuietView { until: StoreTime(until), reason: row.get(16)? }))
            .transpose()?;
        let health: Vec<PathHealth> = paths.iter().map(|(_, health)| *health).collect();
        let quiet_ended = age(row, 17, self.now)?;
        let missed = missed(&health).filter(|_| reports_silence(state) && quiet.is_none());
        Ok(VmView {
            uuid: typed(row, 1)?,
            name: row.get(2)?,
            host: host_key(row, 3)?,
            state,
            suspended: typed_option(row, 7)?.filter(|_| state == VmState::Suspended),
            state_changed_at: StoreTime(row.get(8)?),
            agent_seen_at: row.get::<Option<i64>>(9)?.map(StoreTime),
            version_conflict: row.get(10)?,
            missed: missed.map(|missed| excuse(missed, quiet_ended)),
            paths: paths.into_iter().map(|(path, _)| path).collect(),
            settings: VmSettings {
                heartbeat_interval_ms: row.get(11)?,
                vm_failure_detection_speed: typed_option(row, 12)?,
                vm_failure_detection_time_ms: row.get(13)?,
            },
            phase: row.get(14)?,
            quiet,
        })
    }

    pub(super) fn applications(self) -> Result<Vec<ApplicationView>, StoreError> {
        all(self.db, APPLICATIONS, NONE, |row| {
            Ok(ApplicationView {
                vm: typed(row, 0)?,
                vm_name: row.get(1)?,
                reported_at: StoreTime(row.get::<Option<i64>>(2)?.unwrap_or_default()),
                report: application(row)?,
            })
        })
    }
}

/// Whether the silence of a VM in this state is anybody's concern.
pub(super) const fn reports_silence(state: VmState) -> bool {
    match state {
        VmState::Starting | VmState::Started => true,
        VmState::Added
        | VmState::Stopping
        | VmState::Stopped
        | VmState::Removing
        | VmState::Suspended
        | VmState::Unknown => false,
    }
}

fn application(row: &Row<'_>) -> Result<ApplicationReport, StoreError> {
    let age_s: i64 = row.get(13)?;
    Ok(ApplicationReport {
        name: row.get(3)?,
        uuid: row.get(4)?,
        status: row.get(5)?,
        colour: typed(row, 6)?,
        critical: row.get(7)?,
        monitored: row.get(8)?,
        max_restart: row.get(9)?,
        restarted: row.get(10)?,
        version: row.get(11)?,
        last_result: row.get(12)?,
        last_change_age_s: u64::try_from(age_s).unwrap_or_default(),
    })
}
