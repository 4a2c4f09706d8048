//! What guests are that shook hands where they are not at home.

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use super::Turn;
use super::db::{Kind, params};
use super::roster::vm_columns;
use super::rows::{all, typed};
use crate::*;

impl Turn<'_> {
    pub(super) fn standings(
        self,
        host_monitor: HostMonitorId,
        guests: &[VmUuid],
    ) -> Result<Vec<(VmUuid, Standing)>, StoreError> {
        let (id, host) = self.where_it_is(host_monitor)?;
        let asked: Vec<_> = guests.iter().map(|vm| serde_json::json!({ "vm": vm.to_string() })).collect();
        let found = all(
            self.db,
            &standings_sql(&self.db.json_rows(&[("vm", Kind::Text)], 1)),
            params![serde_json::Value::from(asked).to_string(), id, host],
            |row| {
                let here = row.get(6)?;
                let known = row.get::<Option<String>>(0)?.is_some();
                let standing = match (known, here) {
                    (true, true) => Standing::Here,
                    (true, false) => Standing::Elsewhere(self.roster_vm(row)?),
                    (false, _) if row.get(7)? => Standing::Removed,
                    (false, _) => Standing::Unknown,
                };
                Ok((typed::<VmUuid>(row, 8)?, standing))
            },
        )?;
        let found: std::collections::HashMap<_, _> = found.into_iter().collect();
        Ok(guests.iter().filter_map(|vm| Some((*vm, found.get(vm)?.clone()))).collect())
    }
}

/// Guests in `rows`, each found by the index of what it may be in.
pub(crate) fn standings_sql(rows: &str) -> String {
    format!(
        "SELECT {}, CASE WHEN v.host_id = ?3 THEN 1 ELSE 0 END,
                CASE WHEN r.uuid IS NULL THEN 0 ELSE 1 END, e.vm
         FROM {rows} e LEFT JOIN vm v ON v.uuid = e.vm
         LEFT JOIN path p ON p.vm_id = v.id AND p.host_monitor_id = ?2 AND p.counted = 1
         LEFT JOIN removed_vm r ON r.uuid = e.vm",
        vm_columns!()
    )
}
