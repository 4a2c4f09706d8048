//! Looks into the store behind the product's back, for what is judged.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::names::{Hm, Vm};

/// A reader that shares nothing with the product.
#[derive(Debug)]
pub(crate) struct Look(Connection);

/// What the store says of a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmRow {
    pub(crate) state: String,
    pub(crate) phase: String,
    pub(crate) beating: usize,
    pub(crate) missing: usize,
    pub(crate) failed: bool,
    pub(crate) apps: Vec<String>,
}

impl Look {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        Ok(Self(Connection::open_with_flags(path, flags)?))
    }

    /// Whether the administrator has suspended the VM.
    pub(crate) fn is_suspended(&self, vm: Vm) -> rusqlite::Result<bool> {
        let sql = "SELECT suspended_by_administrator FROM vm WHERE uuid = ?1";
        self.0.prepare_cached(sql)?.query_row([vm.uuid().to_string()], |row| row.get(0))
    }

    pub(crate) fn vm(&self, vm: Vm) -> rusqlite::Result<VmRow> {
        let uuid = vm.uuid().to_string();
        let sql = "SELECT state, phase, \
                   (SELECT count(*) FROM path WHERE vm_id = vm.id AND counted = 1 AND missing_since IS NULL), \
                   (SELECT count(*) FROM path WHERE vm_id = vm.id AND counted = 1 AND missing_since IS NOT NULL), \
                   (SELECT count(*) FROM event WHERE open = 1 AND incident = 'vm-silent:' || vm.uuid) \
                   FROM vm WHERE uuid = ?1";
        let count = |row: &rusqlite::Row<'_>, column| {
            row.get::<_, i64>(column).map(|count| usize::try_from(count).unwrap_or(0))
        };
        let mut found = self.0.prepare_cached(sql)?.query_row([&uuid], |row| {
            Ok(VmRow {
                state: row.get(0)?,
                phase: row.get(1)?,
                beating: count(row, 2)?,
                missing: count(row, 3)?,
                failed: count(row, 4)? > 0,
                apps: Vec::new(),
            })
        })?;
        let sql = "SELECT application.name || '=' || status FROM application JOIN vm ON vm.id = vm_id \
                   WHERE vm.uuid = ?1 ORDER BY application.name";
        let mut statement = self.0.prepare_cached(sql)?;
        found.apps = statement.query_map([&uuid], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(found)
    }

    /// How many node events of each kind a host monitor has.
    pub(crate) fn node_events(&self, hm: Hm) -> rusqlite::Result<BTreeMap<String, u64>> {
        let sql = "SELECT kind, count(*) FROM node_event JOIN host_monitor ON host_monitor.id = host_monitor_id \
                   WHERE uuid = ?1 GROUP BY kind";
        let mut statement = self.0.prepare_cached(sql)?;
        let rows = statement.query_map([hm.id().to_string()], |row| {
            Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)))
        })?;
        rows.collect()
    }

    /// Whether it is UP, GLOBAL and hears its trunk, by what it said last.
    pub(crate) fn is_monitor_well(&self, hm: Hm) -> rusqlite::Result<bool> {
        let sql = "SELECT state = 'UP' AND mode = 'GLOBAL' AND blind = 0 FROM host_monitor WHERE uuid = ?1";
        self.0.prepare_cached(sql)?.query_row([hm.id().to_string()], |row| row.get(0))
    }

    pub(crate) fn rows(&self, table: &str) -> rusqlite::Result<u64> {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = self.0.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
