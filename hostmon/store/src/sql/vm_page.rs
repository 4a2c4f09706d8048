//! VMs with all that is known of them, page by page, and which host has them.

use std::collections::{BTreeSet, HashMap};

use vmpulse_protocol::id::VmUuid;

use super::Turn;
use super::db::{Kind, Row, params};
use super::node_events::list;
use super::rows::{age, all, host_key, typed};
use super::silence::PathHealth;
use super::views::{Shown, path_columns, vm_select};
use crate::*;

/// What is added to the columns of a [`VmView`].
const VM: &str = vm_select!(", v.suspended_at, v.fenced");

const NAMES: &str = "SELECT uuid FROM vm WHERE uuid > ?1 AND (?2 = 0 OR host_id = ?2) ORDER BY uuid LIMIT ?3";

impl Turn<'_> {
    pub(super) fn vms_page(self, wanted: &VmsWanted) -> Result<VmPage, StoreError> {
        let limit = usize::try_from(wanted.limit.clamp(1, ANSWER_LIMIT)).unwrap_or(usize::MAX);
        let mut names = self.names(wanted, limit.saturating_add(1))?;
        let more = names.len() > limit;
        names.truncate(limit);
        let next = names.last().copied().filter(|_| more);
        let vms = self.details(&names)?;
        let known: BTreeSet<VmUuid> = vms.iter().map(|vm| vm.view.uuid).collect();
        let unknown = names.into_iter().filter(|name| !known.contains(name)).collect();
        Ok(VmPage { now: self.now, vms, unknown, next })
    }

    /// The UUIDs to look for, in order.
    fn names(self, wanted: &VmsWanted, most: usize) -> Result<Vec<VmUuid>, StoreError> {
        let host = match &wanted.of {
            VmsOf::List(vms) => {
                let behind = |vm: &&VmUuid| wanted.after.is_none_or(|after| **vm > after);
                let vms: BTreeSet<VmUuid> = vms.iter().filter(behind).copied().collect();
                return Ok(vms.into_iter().take(most).collect());
            }
            VmsOf::All => 0,
            VmsOf::Host(key) => self.host_id(key)?,
        };
        let after = wanted.after.map(|vm| vm.to_string()).unwrap_or_default();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        all(self.db, NAMES, params![after, host, most], |row| typed(row, 0))
    }

    fn details(self, names: &[VmUuid]) -> Result<Vec<VmDetail>, StoreError> {
        let names = list(&names.iter().map(VmUuid::to_string).collect::<Vec<_>>());
        let rows = |parameter| self.db.json_rows(&[("word", Kind::Text)], parameter);
        let mut paths = self.paths_of(&names, &rows(2))?;
        let mut doorbells = HashMap::<i64, u32>::new();
        let sql = format!(
            "SELECT rung.vm_id, rung.bit FROM {} w JOIN vm v ON v.uuid = w.word JOIN doorbell rung ON rung.vm_id = v.id",
            rows(1)
        );
        for (vm, bit) in all(self.db, &sql, [&names], |row| Ok((row.get(0)?, row.get::<u32>(1)?)))? {
            *doorbells.entry(vm).or_default() |= 1u32.checked_shl(bit).unwrap_or(0);
        }
        let sql = format!("{VM} WHERE v.uuid IN (SELECT w.word FROM {} w) ORDER BY v.uuid", rows(1));
        all(self.db, &sql, [&names], |row| {
            let id = row.get(0)?;
            let doorbell = doorbells.remove(&id).unwrap_or(0);
            self.detail(row, paths.remove(&id).unwrap_or_default(), doorbell)
        })
    }

    fn paths_of(
        self,
        names: &str,
        rows: &str,
    ) -> Result<HashMap<i64, Vec<(PathDetail, PathHealth)>>, StoreError> {
        let mut paths = HashMap::<i64, Vec<(PathDetail, PathHealth)>>::new();
        let sql = format!(
            "SELECT {}, p.counted, p.beating, p.authenticated, p.guardian, p.awaited_since
             FROM {rows} w JOIN vm v ON v.uuid = w.word JOIN path p ON p.vm_id = v.id
             JOIN host_monitor m ON m.id = p.host_monitor_id
             WHERE p.counted = 1 OR p.mac <> '' OR p.awaited_since IS NOT NULL ORDER BY p.vm_id, m.uuid",
            path_columns!()
        );
        let found = all(self.db, &sql, params![self.now.0, names], |row| {
            let (view, health) = self.path_view(row)?;
            let path = PathDetail {
                view,
                counted: row.get(12)?,
                beating: row.get(13)?,
                authenticated: row.get(14)?,
                guardian: row.get(15)?,
                awaited: age(row, 16, self.now)?,
            };
            Ok((row.get(0)?, (path, health)))
        })?;
        for (vm, path) in found {
            paths.entry(vm).or_default().push(path);
        }
        Ok(paths)
    }

    fn detail(
        self,
        row: &Row<'_>,
        paths: Vec<(PathDetail, PathHealth)>,
        doorbell: u32,
    ) -> Result<VmDetail, StoreError> {
        let counted = paths.iter().filter(|(path, _)| path.counted);
        let shown: Vec<Shown> = counted.map(|(path, health)| (path.view.clone(), *health)).collect();
        let view = self.vm_view(row, shown)?;
        Ok(VmDetail {
            state_age: self.now.since(view.state_changed_at),
            suspended_age: age(row, 18, self.now)?.filter(|_| view.suspended.is_some()),
            doorbell,
            fenced: row.get(19)?,
            paths: paths.into_iter().map(|(path, _)| path).collect(),
            view,
        })
    }

    pub(super) fn vm_homes(self, vms: &[VmUuid]) -> Result<Vec<VmHome>, StoreError> {
        let sql = format!(
            "SELECT v.uuid, v.state, h.machine_type, h.model, h.serial FROM vm v JOIN host h ON h.id = v.host_id
             WHERE v.uuid IN (SELECT w.word FROM {} w)
             ORDER BY h.machine_type, h.model, h.serial, v.uuid",
            self.db.json_rows(&[("word", Kind::Text)], 1)
        );
        let names = list(&vms.iter().map(VmUuid::to_string).collect::<Vec<_>>());
        all(self.db, &sql, [names], |row| {
            Ok(VmHome { host: host_key(row, 2)?, vm: typed(row, 0)?, state: typed(row, 1)? })
        })
    }
}
