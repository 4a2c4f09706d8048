//! Settings of host monitors.

use super::Turn;
use super::db::{Row, Value, params};
use super::rows::{NONE, first, only, run};
use super::sundry::in_range;
use crate::*;

/// The row of [`SettingsScope::All`].
const OF_ALL: i64 = 1;

const IN_FORCE: &str = "
    SELECT coalesce(one.log_level, h.log_level, every.log_level),
           coalesce(one.heartbeat_interval_ms, h.heartbeat_interval_ms, every.heartbeat_interval_ms),
           coalesce(one.store_heartbeat_interval_ms, h.store_heartbeat_interval_ms, every.store_heartbeat_interval_ms),
           coalesce(one.versions, h.versions, every.versions),
           coalesce(one.version, 0), coalesce(h.version, 0), every.version
    FROM host_monitor m JOIN monitor_settings every ON every.id = ?2
    LEFT JOIN monitor_settings h ON h.host_id = m.host_id
    LEFT JOIN monitor_settings one ON one.host_monitor_id = m.id
    WHERE m.id = ?1";

impl Turn<'_> {
    pub(super) fn host_monitors_configure(
        self,
        scope: &SettingsScope,
        change: &SettingsChange,
    ) -> Result<i64, StoreError> {
        let SettingsChange { log_level, heartbeat_interval_ms, store_heartbeat_interval_ms, versions } =
            change;
        for (what, value) in [
            ("heartbeat_interval", heartbeat_interval_ms),
            ("store_heartbeat_interval", store_heartbeat_interval_ms),
        ] {
            if let Some(Some(ms)) = value {
                in_range(what, *ms, 100, 60_000, "ms")?;
            }
        }
        let row = self.settings_row(scope)?;
        let number = |value: &Option<u32>| value.map_or(Value::Null, |ms| Value::Int(ms.into()));
        if let Some(level) = log_level {
            self.setting(row, "log_level", level.as_deref().map_or(Value::Null, Value::Text))?;
        }
        if let Some(interval) = heartbeat_interval_ms {
            self.setting(row, "heartbeat_interval_ms", number(interval))?;
        }
        if let Some(interval) = store_heartbeat_interval_ms {
            self.setting(row, "store_heartbeat_interval_ms", number(interval))?;
        }
        if let Some(versions) = versions {
            let text = versions.map(|versions| versions.to_string());
            self.setting(row, "versions", text.as_deref().map_or(Value::Null, Value::Text))?;
            if *scope == SettingsScope::All {
                self.protocol_versions_set(versions.unwrap_or(AcceptedVersions::ALL))?;
            }
        }
        let sql = "UPDATE cluster SET settings_version = settings_version + 1 RETURNING settings_version";
        let version: i64 = only(self.db, sql, NONE, |row| row.get(0))?;
        self.setting(row, "version", Value::Int(version))?;
        self.db.roster_changes();
        Ok(version)
    }

    fn setting(self, row: i64, column: &str, value: Value<'_>) -> Result<(), StoreError> {
        let sql = format!("UPDATE monitor_settings SET {column} = ?2 WHERE id = ?1");
        run(self.db, &sql, [Value::Int(row), value]).map(drop)
    }

    fn protocol_versions_set(self, versions: AcceptedVersions) -> Result<(), StoreError> {
        let sql = "UPDATE cluster SET accepted_versions = ?1, running_version = ?2";
        run(self.db, sql, [versions.to_string(), versions.upper.to_string()]).map(drop)
    }

    /// The row of a scope, made if there is none.
    fn settings_row(self, scope: &SettingsScope) -> Result<i64, StoreError> {
        let (column, id) = match scope {
            SettingsScope::All => return Ok(OF_ALL),
            SettingsScope::Host(key) => ("host_id", self.host_id(key)?),
            SettingsScope::One(uuid) => {
                let sql = "SELECT id FROM host_monitor WHERE uuid = ?1 AND state <> 'REMOVED'";
                let found = first(self.db, sql, [uuid.to_string()], |row| row.get::<i64>(0))?;
                ("host_monitor_id", found.ok_or(StoreError::UnknownHostMonitor(*uuid))?)
            }
        };
        let sql =
            format!("INSERT INTO monitor_settings ({column}, version) VALUES (?1, 0) ON CONFLICT DO NOTHING");
        run(self.db, &sql, [id])?;
        only(self.db, &format!("SELECT id FROM monitor_settings WHERE {column} = ?1"), [id], |row| row.get(0))
    }

    /// What the store says of one host monitor.
    pub(super) fn settings_of(self, monitor: i64) -> Result<MonitorSettings, StoreError> {
        Ok(first(self.db, IN_FORCE, [monitor, OF_ALL], settings)?.unwrap_or_default())
    }

    /// It works by these settings now.
    pub(super) fn on_configured(
        self,
        from: i64,
        version: i64,
        versions: &str,
        heartbeat_interval: std::time::Duration,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE host_monitor SET versions = ?2, heartbeat_interval_us = ?3, heartbeat_at = ?4 WHERE id = ?1";
        let interval_us = i64::try_from(heartbeat_interval.as_micros()).unwrap_or(i64::MAX / 8).max(1);
        run(self.db, sql, params![from, versions, interval_us, self.now.0])?;
        let sql = "UPDATE host_monitor SET settings_version = ?2 WHERE id = ?1 AND settings_version <> ?2";
        if run(self.db, sql, [from, version])? > 0 {
            self.node_event(from, "CONFIGURED", &format!("version {version} of the settings is in force"))?;
        }
        Ok(())
    }
}

fn settings(row: &Row<'_>) -> Result<MonitorSettings, StoreError> {
    let versions = row.get::<Option<String>>(3)?;
    let parse = |text: String| {
        text.parse().map_err(|()| StoreError::Corrupt { what: "accepted versions", value: text.clone() })
    };
    Ok(MonitorSettings {
        version: row.get::<i64>(4)?.max(row.get(5)?).max(row.get(6)?),
        log_level: row.get(0)?,
        heartbeat_interval_ms: row.get(1)?,
        store_heartbeat_interval_ms: row.get(2)?,
        versions: versions.map(parse).transpose()?,
    })
}
