//! What needs attention, and acknowledging it.
//!
//! Everything that is reported until it is acknowledged (a doorbell bit, a state change, a discovery) carries a
//! number of one growing sequence. An answer reports everything pending, so its tag need only name the highest
//! number in it: acknowledging clears what is not above. Polling therefore writes nothing, no list of answers is
//! kept, and no tag ever expires.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::db::{Row, params};

use super::Turn;
use super::hosts::known;
use super::rows::{NONE, age, all, first, host_key, only, run, typed};
use super::silence::{PathHealth, excuse, missed};
use super::views::reports_silence;
use crate::*;

/// Low bits of a tag: the sequence number. Above them: the host if the answer was about one, else 0.
/// 2^44 numbers last 500 years at 1,000 a second; 2^18 hosts are 250 times more than ever meant.
const SEQUENCE_BITS: u32 = 44;

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
    "CASE WHEN p.missing_since < v.silence_from THEN v.silence_from ELSE p.missing_since END, ",
    known!(),
    ", p.common, v.quiet_ended_at
     FROM (SELECT DISTINCT vm_id FROM path INDEXED BY path_missing
           WHERE missing_since IS NOT NULL AND counted = 1) c
     CROSS JOIN vm v ON v.id = c.vm_id AND v.state IN ('STARTING', 'STARTED')
           AND NOT EXISTS (SELECT 1 FROM quiet q WHERE q.vm_id = c.vm_id AND q.ended_at IS NULL)
     CROSS JOIN path p ON p.vm_id = c.vm_id AND p.counted = 1
     CROSS JOIN host_monitor m ON m.id = p.host_monitor_id"
);

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
pub(crate) const POLLED: [&str; 5] =
    [PENDING_DOORBELLS, PENDING_STATES, MISSING_PATHS, PENDING_DISCOVERIES, HOSTS];

/// What is to be said of one registered VM.
struct Reasons {
    host: i64,
    uuid: String,
    state: VmState,
    doorbell: u32,
    missed: Option<MissedHeartbeats>,
    state_changed: bool,
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
        let tag = if sequence > 0 { Some(self.tag(of.unwrap_or(0), sequence)?) } else { None };
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
        Ok(entries)
    }

    fn reasons(self) -> Result<BTreeMap<i64, Reasons>, StoreError> {
        let mut reasons = BTreeMap::<i64, Reasons>::new();
        all(self.db, PENDING_DOORBELLS, NONE, |row| {
            let of_vm = of_vm(&mut reasons, row)?;
            of_vm.doorbell |= 1u32.checked_shl(row.get(4)?).unwrap_or(0);
            of_vm.sequence = of_vm.sequence.max(row.get(5)?);
            Ok(())
        })?;
        all(self.db, PENDING_STATES, NONE, |row| {
            let of_vm = of_vm(&mut reasons, row)?;
            of_vm.state_changed = true;
            of_vm.sequence = of_vm.sequence.max(row.get(4)?);
            Ok(())
        })?;
        self.silences(&mut reasons)?;
        Ok(reasons)
    }

    fn silences(self, reasons: &mut BTreeMap<i64, Reasons>) -> Result<(), StoreError> {
        let mut paths = BTreeMap::<i64, (Option<Duration>, Vec<PathHealth>)>::new();
        let mut silent = BTreeMap::new();
        all(self.db, MISSING_PATHS, [self.now.0], |row| {
            of_vm(&mut silent, row)?;
            let path = PathHealth { known: row.get(5)?, missed: age(row, 4, self.now)?, common: row.get(6)? };
            let quiet_ended = age(row, 7, self.now)?;
            paths.entry(row.get(0)?).or_insert((quiet_ended, Vec::new())).1.push(path);
            Ok(())
        })?;
        for (vm, found) in silent {
            let (quiet_ended, paths) = paths.remove(&vm).unwrap_or_default();
            if let Some(missed) = missed(paths).filter(|_| reports_silence(found.state)) {
                reasons.entry(vm).or_insert(found).missed = Some(excuse(missed, quiet_ended));
            }
        }
        Ok(())
    }

    pub(super) fn acknowledge(self, tag: AttentionTag) -> Result<bool, StoreError> {
        let Some((host, sequence)) = self.reported_under(tag)? else {
            return Ok(false);
        };
        let own = "IN (SELECT id FROM vm WHERE ?2 IN (0, host_id))";
        for sql in [
            format!("DELETE FROM doorbell WHERE sequence <= ?1 AND vm_id {own}"),
            format!("UPDATE vm SET state_sequence = NULL WHERE state_sequence <= ?1 AND id {own}"),
            "UPDATE discovered SET sequence = NULL WHERE sequence <= ?1 AND host_monitor_id IN
             (SELECT id FROM host_monitor WHERE host_id IS NOT NULL AND ?2 IN (0, host_id))"
                .to_owned(),
        ] {
            run(self.db, &sql, params![sequence, host])?;
        }
        Ok(true)
    }

    /// The part of [`Self::acknowledge`] that a report's request includes.
    pub(super) fn doorbell_acknowledge(self, vm: i64, tag: AttentionTag) -> Result<(), StoreError> {
        if let Some((host, sequence)) = self.reported_under(tag)? {
            let sql = "DELETE FROM doorbell WHERE vm_id = ?1 AND sequence <= ?2
                       AND EXISTS (SELECT 1 FROM vm WHERE id = ?1 AND ?3 IN (0, host_id))";
            run(self.db, sql, params![vm, sequence, host])?;
        }
        Ok(())
    }

    /// The next number, for something that has just become reportable.
    pub(super) fn next_sequence(self) -> Result<i64, StoreError> {
        let sql = "UPDATE cluster SET change_sequence = change_sequence + 1 RETURNING change_sequence";
        only(self.db, sql, NONE, |row| row.get(0))
    }

    fn tag(self, host: i64, sequence: i64) -> Result<AttentionTag, StoreError> {
        let (_, salt) = self.sequence_and_salt()?;
        Ok(salt.wrapping_add((host << SEQUENCE_BITS) | sequence))
    }

    /// The host (0 for all) and the number that a tag names; `None` if it is none of ours.
    fn reported_under(self, tag: AttentionTag) -> Result<Option<(i64, i64)>, StoreError> {
        let (newest, salt) = self.sequence_and_salt()?;
        let plain = tag.wrapping_sub(salt);
        let (host, sequence) = (plain >> SEQUENCE_BITS, plain & ((1 << SEQUENCE_BITS) - 1));
        // A host with the same id may have been there before: what was said of that one is not above this.
        let sql = "SELECT 1 FROM host WHERE id = ?1 AND created_sequence < ?2";
        let known = host == 0 || first(self.db, sql, [host, sequence], |_| Ok(()))?.is_some();
        Ok((known && (1..=newest).contains(&sequence)).then_some((host, sequence)))
    }

    fn sequence_and_salt(self) -> Result<(i64, i64), StoreError> {
        let sql = "SELECT change_sequence, tag_salt FROM cluster";
        only(self.db, sql, NONE, |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

/// The VM in the row, with what is known of it so far.
fn of_vm<'a>(reasons: &'a mut BTreeMap<i64, Reasons>, row: &Row<'_>) -> Result<&'a mut Reasons, StoreError> {
    let (host, uuid, state) = (row.get(1)?, row.get(2)?, typed(row, 3)?);
    let new = Reasons { host, uuid, state, doorbell: 0, missed: None, state_changed: false, sequence: 0 };
    Ok(reasons.entry(row.get(0)?).or_insert(new))
}

impl Reasons {
    fn entry(self) -> Entry {
        let Self { host: _, uuid, state, doorbell, missed, state_changed, sequence } = self;
        let rank = match (doorbell, missed) {
            (1.., _) => 0,
            (0, Some(_)) => 1,
            (0, None) => 2,
        };
        let vm = VmAttention { uuid, state, doorbell, missed, state_changed, discovery: None };
        Entry { rank, vm, sequence }
    }
}

fn discovery_entry(uuid: String, kind: Discovery, sequence: i64) -> Entry {
    let vm = VmAttention {
        uuid,
        state: VmState::Unknown,
        doorbell: 0,
        missed: None,
        state_changed: false,
        discovery: Some(kind),
    };
    Entry { rank: 3, vm, sequence }
}
