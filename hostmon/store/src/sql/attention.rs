//! What needs attention, and acknowledging it ([`super::tags`]).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::db::{Row, params};

use super::Turn;
use super::hosts::health_columns;
use super::rows::{NONE, age, all, host_key, run, typed};
use super::silence::{PathHealth, excuse, missed};
use super::tags::Reported;
use super::views::reports_silence;
use crate::*;

/// What is said of a VM besides its reasons: the columns of each of these that come first.
macro_rules! vm_columns {
    () => {
        "v.id, v.host_id, v.uuid, v.state, "
    };
}

const PENDING_DOORBELLS: &str = concat!(
    "SELECT ",
    vm_columns!(),
    "rung.bit, rung.sequence FROM doorbell rung CROSS JOIN vm v ON v.id = rung.vm_id"
);

const PENDING_STATES: &str = concat!(
    "SELECT ",
    vm_columns!(),
    "v.state_sequence FROM vm v INDEXED BY vm_state_change WHERE v.state_sequence IS NOT NULL"
);

/// Every counted path of each VM that has one missing. Starts at the missing ones: CROSS keeps that order.
const MISSING_PATHS: &str = concat!(
    "SELECT ",
    vm_columns!(),
    "v.quiet_ended_at, ",
    health_columns!(),
    "
     FROM (SELECT DISTINCT vm_id FROM path INDEXED BY path_missing
           WHERE missing_since IS NOT NULL AND counted = 1) c
     CROSS JOIN vm v ON v.id = c.vm_id AND v.state IN ('STARTING', 'STARTED')
           AND NOT EXISTS (SELECT 1 FROM quiet q WHERE q.vm_id = c.vm_id AND q.ended_at IS NULL)
     CROSS JOIN path p ON p.vm_id = c.vm_id AND p.counted = 1
     CROSS JOIN host_monitor m ON m.id = p.host_monitor_id"
);

/// Paths that should be there and are not.
const NOT_COME: &str = concat!(
    "SELECT ",
    vm_columns!(),
    "m.uuid, p.awaited_sequence FROM path p INDEXED BY path_not_come
     CROSS JOIN vm v ON v.id = p.vm_id CROSS JOIN host_monitor m ON m.id = p.host_monitor_id
     WHERE p.awaited_sequence IS NOT NULL ORDER BY m.uuid"
);

const VERSION_CONFLICTS: &str = concat!(
    "SELECT ",
    vm_columns!(),
    "c.sequence FROM conflict c INDEXED BY conflict_pending
     CROSS JOIN vm v ON v.uuid = c.uuid WHERE c.acknowledged_at IS NULL AND c.kind = 'VERSION'"
);

/// Of guests that are not registered.
const STRANGE_VERSIONS: &str = "
    SELECT m.host_id, c.uuid, max(c.sequence) FROM conflict c INDEXED BY conflict_pending
    CROSS JOIN host_monitor m ON m.id = c.host_monitor_id
    WHERE c.acknowledged_at IS NULL AND c.kind = 'VERSION' AND m.host_id IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM vm v WHERE v.uuid = c.uuid)
    GROUP BY m.host_id, c.uuid ORDER BY c.uuid";

const FENCED: &str =
    concat!("SELECT ", vm_columns!(), "v.fenced FROM vm v INDEXED BY vm_fenced WHERE v.fenced = 1");

const PENDING_DISCOVERIES: &str = "
    SELECT m.host_id, d.uuid, d.kind, max(d.sequence)
    FROM discovered d INDEXED BY discovered_pending CROSS JOIN host_monitor m ON m.id = d.host_monitor_id
    WHERE d.sequence IS NOT NULL AND m.host_id IS NOT NULL
    GROUP BY m.host_id, d.uuid, d.kind ORDER BY d.uuid";

/// A host belongs in the answer while it has a monitored VM, however well.
const HOSTS: &str = "
    SELECT h.id, h.machine_type, h.model, h.serial, (SELECT 1 FROM vm v WHERE v.host_id = h.id
           AND v.state IN ('STARTING', 'STARTED', 'STOPPING', 'SUSPENDED') LIMIT 1) IS NOT NULL
    FROM host h ORDER BY h.machine_type, h.model, h.serial";

/// What a poll asks; the back ends test their plans.
#[cfg(test)]
pub(crate) const POLLED: [&str; 9] = [
    PENDING_DOORBELLS,
    PENDING_STATES,
    MISSING_PATHS,
    NOT_COME,
    VERSION_CONFLICTS,
    STRANGE_VERSIONS,
    FENCED,
    PENDING_DISCOVERIES,
    HOSTS,
];

/// What is to be said of one registered VM.
struct Reasons {
    host: i64,
    vm: VmAttention,
    /// Highest number among what can be acknowledged; 0 if nothing can.
    sequence: i64,
}

/// A VM of an answer with its place in it.
struct Entry {
    rank: u8,
    vm: VmAttention,
    sequence: i64,
}

impl Turn<'_> {
    /// Of every host, or of one.
    pub(super) fn needs_attention(self, of: Option<&HostKey>) -> Result<NeedsAttention, StoreError> {
        let of = of.map(|key| self.host_id(key)).transpose()?;
        let mut entries = self.attention_entries()?;
        if let Some(of) = of {
            entries.retain(|host, _| *host == of);
        }
        let sequence = entries.values().flatten().map(|entry| entry.sequence).max().unwrap_or(0);
        let tag = if sequence > 0 {
            Some(self.tag(Reported::Attention { host: of.unwrap_or(0) }, sequence)?)
        } else {
            None
        };
        let rows = all(self.db, HOSTS, NONE, |row| {
            Ok((row.get::<i64>(0)?, host_key(row, 1)?, row.get::<bool>(4)?))
        })?;
        let mut hosts = Vec::new();
        for (id, key, monitored) in rows {
            let found = entries.remove(&id);
            if of.is_none_or(|of| of == id) && (monitored || found.is_some()) {
                let mut found = found.unwrap_or_default();
                found.sort_by(|one, other| (one.rank, &one.vm.uuid).cmp(&(other.rank, &other.vm.uuid)));
                hosts.push(HostAttention { key, vms: found.into_iter().map(|entry| entry.vm).collect() });
            }
        }
        Ok(NeedsAttention { now: self.now, tag, hosts })
    }

    fn attention_entries(self) -> Result<HashMap<i64, Vec<Entry>>, StoreError> {
        let mut entries = HashMap::<i64, Vec<Entry>>::new();
        for reasons in self.reasons()?.into_values() {
            entries.entry(reasons.host).or_default().push(reasons.entry());
        }
        let discoveries = all(self.db, PENDING_DISCOVERIES, NONE, |row| {
            Ok((row.get::<i64>(0)?, discovery_entry(row.get(1)?, typed(row, 2)?, row.get(3)?)))
        })?;
        for (host, entry) in discoveries {
            entries.entry(host).or_default().push(entry);
        }
        for (host, uuid, sequence) in
            all(self.db, STRANGE_VERSIONS, NONE, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        {
            version_conflict_entry(entries.entry(host).or_default(), uuid, sequence);
        }
        Ok(entries)
    }

    fn reasons(self) -> Result<BTreeMap<i64, Reasons>, StoreError> {
        let mut reasons = BTreeMap::<i64, Reasons>::new();
        all(self.db, PENDING_DOORBELLS, NONE, |row| {
            let of_vm = of_vm(&mut reasons, row)?;
            of_vm.vm.doorbell |= 1u32.checked_shl(row.get(4)?).unwrap_or(0);
            of_vm.reported(row.get(5)?);
            Ok(())
        })?;
        all(self.db, PENDING_STATES, NONE, |row| {
            let of_vm = of_vm(&mut reasons, row)?;
            of_vm.vm.state_changed = true;
            of_vm.reported(row.get(4)?);
            Ok(())
        })?;
        self.silences(&mut reasons)?;
        self.conditions(&mut reasons)?;
        Ok(reasons)
    }

    fn conditions(self, reasons: &mut BTreeMap<i64, Reasons>) -> Result<(), StoreError> {
        all(self.db, NOT_COME, NONE, |row| {
            let of_vm = of_vm(reasons, row)?;
            of_vm.vm.missed_entries.push(typed(row, 4)?);
            of_vm.reported(row.get(5)?);
            Ok(())
        })?;
        all(self.db, VERSION_CONFLICTS, NONE, |row| {
            let of_vm = of_vm(reasons, row)?;
            of_vm.vm.version_conflict = true;
            of_vm.reported(row.get(4)?);
            Ok(())
        })?;
        all(self.db, FENCED, NONE, |row| {
            of_vm(reasons, row)?.vm.fenced = true;
            Ok(())
        })?;
        Ok(())
    }

    fn silences(self, reasons: &mut BTreeMap<i64, Reasons>) -> Result<(), StoreError> {
        let mut paths = BTreeMap::<i64, (Option<Duration>, Vec<PathHealth>)>::new();
        let mut silent = BTreeMap::new();
        all(self.db, MISSING_PATHS, [self.now.0], |row| {
            of_vm(&mut silent, row)?;
            let quiet_ended = age(row, 4, self.now)?;
            let path = self.path_health(row, 5)?;
            paths.entry(row.get(0)?).or_insert((quiet_ended, Vec::new())).1.push(path);
            Ok(())
        })?;
        for (vm, found) in silent {
            let (quiet_ended, paths) = paths.remove(&vm).unwrap_or_default();
            if let Some(missed) = missed(&paths).filter(|_| reports_silence(found.vm.state)) {
                reasons.entry(vm).or_insert(found).vm.missed = Some(excuse(missed, quiet_ended));
            }
        }
        Ok(())
    }

    /// Of one host, or of all (0): what was reported up to this number.
    pub(super) fn attention_acknowledge(self, host: i64, sequence: i64) -> Result<(), StoreError> {
        let own = "IN (SELECT id FROM vm WHERE ?2 IN (0, host_id))";
        for sql in [
            format!("DELETE FROM doorbell WHERE sequence <= ?1 AND vm_id {own}"),
            format!("UPDATE vm SET state_sequence = NULL WHERE state_sequence <= ?1 AND id {own}"),
            format!(
                "UPDATE path SET awaited_since = NULL, awaited_sequence = NULL
                 WHERE awaited_sequence <= ?1 AND vm_id {own}"
            ),
            "UPDATE discovered SET sequence = NULL WHERE sequence <= ?1 AND host_monitor_id IN
             (SELECT id FROM host_monitor WHERE host_id IS NOT NULL AND ?2 IN (0, host_id))"
                .to_owned(),
        ] {
            run(self.db, &sql, params![sequence, host])?;
        }
        // Told at the home of the VM, or of who saw it if it has none.
        let told_at = "coalesce((SELECT v.host_id FROM vm v WHERE v.uuid = conflict.uuid),
                                (SELECT m.host_id FROM host_monitor m WHERE m.id = conflict.host_monitor_id))";
        let sql = format!(
            "UPDATE conflict SET acknowledged_at = ?3 WHERE acknowledged_at IS NULL AND kind = 'VERSION'
             AND sequence <= ?1 AND {told_at} IS NOT NULL AND ?2 IN (0, {told_at})"
        );
        run(self.db, &sql, [sequence, host, self.now.0]).map(drop)
    }
}

/// The VM in the row, with what is known of it so far.
fn of_vm<'a>(reasons: &'a mut BTreeMap<i64, Reasons>, row: &Row<'_>) -> Result<&'a mut Reasons, StoreError> {
    let new = Reasons { host: row.get(1)?, vm: nothing_of(row.get(2)?, typed(row, 3)?), sequence: 0 };
    Ok(reasons.entry(row.get(0)?).or_insert(new))
}

const fn nothing_of(uuid: String, state: VmState) -> VmAttention {
    VmAttention {
        uuid,
        state,
        doorbell: 0,
        missed: None,
        state_changed: false,
        missed_entries: Vec::new(),
        version_conflict: false,
        fenced: false,
        discovery: None,
    }
}

impl Reasons {
    /// Something that has this number is told.
    fn reported(&mut self, sequence: i64) {
        self.sequence = self.sequence.max(sequence);
    }

    fn entry(self) -> Entry {
        let Self { host: _, vm, sequence } = self;
        let rank = match (vm.doorbell, vm.missed, vm.state_changed) {
            (1.., _, _) => 0,
            (0, Some(_), _) => 1,
            (0, None, true) => 2,
            (0, None, false) => 3,
        };
        Entry { rank, vm, sequence }
    }
}

fn discovery_entry(uuid: String, kind: Discovery, sequence: i64) -> Entry {
    let vm = VmAttention { discovery: Some(kind), ..nothing_of(uuid, VmState::Unknown) };
    Entry { rank: 4, vm, sequence }
}

/// Of a guest that is not registered: one that was discovered, too, comes once.
fn version_conflict_entry(entries: &mut Vec<Entry>, uuid: String, sequence: i64) {
    match entries.iter_mut().find(|entry| entry.rank == 4 && entry.vm.uuid == uuid) {
        Some(entry) => {
            entry.vm.version_conflict = true;
            entry.sequence = entry.sequence.max(sequence);
        }
        None => {
            let vm = VmAttention { version_conflict: true, ..nothing_of(uuid, VmState::Unknown) };
            entries.push(Entry { rank: 4, vm, sequence });
        }
    }
}
