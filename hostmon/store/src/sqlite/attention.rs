//! What needs attention, and acknowledging it.
//!
//! Everything that is reported until it is acknowledged (a doorbell bit, a state change, a discovery) carries a
//! number of one growing sequence. An answer reports everything pending, so its tag need only name the highest
//! number in it: acknowledging clears what is not above. Polling therefore writes nothing, no list of answers is
//! kept, and no tag ever expires.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rusqlite::params;

use super::Turn;
use super::hosts::known;
use super::rows::{age, all, first, host_key, run, typed};
use super::silence::{PathHealth, excuse, missed};
use super::views::reports_silence;
use crate::*;

/// Low bits of a tag: the sequence number. Above them: the host if the answer was about one, else 0.
/// 2^44 numbers last 500 years at 1,000 a second; 2^18 hosts are 250 times more than ever meant.
const SEQUENCE_BITS: u32 = 44;

pub(super) const PENDING_DOORBELLS: &str = "SELECT vm_id, bit, sequence FROM doorbell ORDER BY vm_id";

pub(super) const PENDING_STATES: &str =
    "SELECT id, state_sequence FROM vm INDEXED BY vm_state_change WHERE state_sequence IS NOT NULL";

/// Every counted path of each VM that has one missing. Starts at the missing ones: CROSS keeps that order.
pub(super) const MISSING_PATHS: &str = concat!(
    "SELECT p.vm_id, max(p.missing_since, v.silence_from), ",
    known!(),
    ", p.common, v.quiet_ended_at
     FROM (SELECT DISTINCT vm_id FROM path INDEXED BY path_missing
           WHERE missing_since IS NOT NULL AND counted = 1) c
     CROSS JOIN vm v ON v.id = c.vm_id AND v.state IN ('STARTING', 'STARTED')
           AND NOT EXISTS (SELECT 1 FROM quiet q WHERE q.vm_id = c.vm_id AND q.ended_at IS NULL)
     CROSS JOIN path p ON p.vm_id = c.vm_id AND p.counted = 1
     CROSS JOIN host_monitor m ON m.id = p.host_monitor_id"
);

pub(super) const PENDING_DISCOVERIES: &str = "
    SELECT m.host_id, d.uuid, d.kind, max(d.sequence)
    FROM discovered d INDEXED BY discovered_pending CROSS JOIN host_monitor m ON m.id = d.host_monitor_id
    WHERE d.sequence IS NOT NULL AND m.host_id IS NOT NULL
    GROUP BY m.host_id, d.uuid, d.kind ORDER BY d.uuid";

pub(super) const VM: &str = "SELECT host_id, uuid, state FROM vm WHERE id = ?1";

/// A host belongs in the answer while it has a monitored VM, however well.
pub(super) const HOSTS: &str = "
    SELECT h.id, h.machine_type, h.model, h.serial, EXISTS (SELECT 1 FROM vm v WHERE v.host_id = h.id
           AND v.state IN ('STARTING', 'STARTED', 'STOPPING', 'SUSPENDED'))
    FROM host h ORDER BY h.machine_type, h.model, h.serial";

/// What is to be said of one registered VM.
#[derive(Default)]
struct Reasons {
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
        let rows = all(self.db, HOSTS, [], |row| {
            Ok((row.get::<_, i64>(0)?, host_key(row, 1)?, row.get::<_, bool>(4)?))
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
        for (id, reasons) in self.reasons()? {
            if let Some((host, entry)) = self.entry(id, reasons)? {
                entries.entry(host).or_default().push(entry);
            }
        }
        let discoveries = all(self.db, PENDING_DISCOVERIES, [], |row| {
            Ok((row.get::<_, i64>(0)?, discovery_entry(row.get(1)?, typed(row, 2)?, row.get(3)?)))
        })?;
        for (host, entry) in discoveries {
            entries.entry(host).or_default().push(entry);
        }
        Ok(entries)
    }

    fn reasons(self) -> Result<BTreeMap<i64, Reasons>, StoreError> {
        let mut reasons = BTreeMap::<i64, Reasons>::new();
        let doorbells = all(self.db, PENDING_DOORBELLS, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, i64>(2)?))
        })?;
        for (vm, bit, sequence) in doorbells {
            let of_vm = reasons.entry(vm).or_default();
            of_vm.doorbell |= 1u32.checked_shl(bit).unwrap_or(0);
            of_vm.sequence = of_vm.sequence.max(sequence);
        }
        let states =
            all(self.db, PENDING_STATES, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        for (vm, sequence) in states {
            let of_vm = reasons.entry(vm).or_default();
            of_vm.state_changed = true;
            of_vm.sequence = of_vm.sequence.max(sequence);
        }
        for (vm, silence) in self.silent_vms()? {
            reasons.entry(vm).or_default().missed = Some(silence);
        }
        Ok(reasons)
    }

    fn silent_vms(self) -> Result<Vec<(i64, MissedHeartbeats)>, StoreError> {
        let mut vms = BTreeMap::<i64, (Option<Duration>, Vec<PathHealth>)>::new();
        let rows = all(self.db, MISSING_PATHS, [self.now.0], |row| {
            let path = PathHealth { known: row.get(2)?, missed: age(row, 1, self.now)?, common: row.get(3)? };
            Ok((row.get::<_, i64>(0)?, age(row, 4, self.now)?, path))
        })?;
        for (vm, quiet_ended, path) in rows {
            vms.entry(vm).or_insert((quiet_ended, Vec::new())).1.push(path);
        }
        let silent = |(vm, (quiet_ended, paths)): (i64, (Option<Duration>, Vec<PathHealth>))| {
            Some((vm, excuse(missed(paths)?, quiet_ended)))
        };
        Ok(vms.into_iter().filter_map(silent).collect())
    }

    fn entry(self, vm: i64, reasons: Reasons) -> Result<Option<(i64, Entry)>, StoreError> {
        first(self.db, VM, [vm], |row| {
            let state: VmState = typed(row, 2)?;
            let Reasons { doorbell, missed, state_changed, sequence } = reasons;
            let missed = missed.filter(|_| reports_silence(state));
            let rank = match (doorbell, missed) {
                (1.., _) => 0,
                (0, Some(_)) => 1,
                (0, None) => 2,
            };
            let uuid = row.get(1)?;
            let vm = VmAttention { uuid, state, doorbell, missed, state_changed, discovery: None };
            Ok((row.get(0)?, Entry { rank, vm, sequence }))
        })
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
        Ok(self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
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
        let known =
            host == 0 || first(self.db, "SELECT 1 FROM host WHERE id = ?1", [host], |_| Ok(()))?.is_some();
        Ok((known && (1..=newest).contains(&sequence)).then_some((host, sequence)))
    }

    fn sequence_and_salt(self) -> Result<(i64, i64), StoreError> {
        let sql = "SELECT change_sequence, tag_salt FROM cluster";
        Ok(self.db.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
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

#[cfg(test)]
mod tests;
