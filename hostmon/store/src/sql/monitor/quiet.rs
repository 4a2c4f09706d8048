//! Announced silences: granted, prolonged, ended.
//!
//! ```text
//!              QUIET, budget left                  QUIET:0, or a host monitor says that it ran out
//!   (nothing) --------------------->  in force  -------------------------------------------------->  over
//!       |                              |    ^                                    (kept for the budget)
//!       | budget spent: refused        +----+ QUIET: from now on as granted now; the same row
//! ```
//! A guest tells every host monitor, and each of them writes it: the second word takes the place of the first and costs
//! only what lies between the two. Nothing here ends by the passing of this store's time, which may step.

use std::time::Duration;

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::{MAX_TEXT, VmRow, clip};
use crate::quiet::{Spent, budget_left};
use crate::sql::Turn;
use crate::sql::rows::{all, duration, first, run};
use crate::*;

/// Rows kept of each VM, the one in force included: with [`QUIET_LEAST_COST`] an hour has 60.
const MAX_QUIETS: i64 = 64;

/// A word of a guest that is older than this when it is written may have been overtaken by another one.
const OVERTAKEN_AFTER: Duration = Duration::from_secs(1);

/// The one in force.
struct InForce {
    id: i64,
    announced_at: StoreTime,
    granted: Duration,
    /// Before the latest announcement.
    lasted: Duration,
    reason: String,
    sequence: i64,
}

impl InForce {
    /// How long it was in force at `at`. The clock may have stepped: never more than was granted.
    fn lasted_at(&self, at: StoreTime) -> Duration {
        self.lasted.saturating_add(at.since(self.announced_at).min(self.granted))
    }

    /// Whether a word of the guest that came `age` ago was overtaken by this announcement: it waited for the store, while
    /// the guest spoke to another host monitor. One that did not wait is the newer, whatever the clock says.
    fn overtook(&self, at: StoreTime, age: Duration) -> bool {
        age > OVERTAKEN_AFTER && at < self.announced_at
    }

    fn quiet(&self, vm: VmUuid, now: StoreTime) -> Quiet {
        let left = self.granted.saturating_sub(now.since(self.announced_at));
        Quiet { vm, sequence: self.sequence, left, reason: self.reason.clone() }
    }
}

impl Turn<'_> {
    /// What the guest is to be answered, if the write is one that is.
    pub(super) fn apply_quiet(self, write: &HostMonitorWrite) -> Result<Option<QuietAnswer>, StoreError> {
        if let HostMonitorWrite::QuietAsked { vm, asked, age, reason } = write {
            let granted = self.on_quiet_asked(*vm, *asked, *age, clip(reason, MAX_TEXT))?;
            return self.quiet_answer(*vm, granted).map(Some);
        }
        if let HostMonitorWrite::QuietEnded { vm, age } = write {
            self.on_quiet_ended(*vm, *age)?;
            return self.quiet_answer(*vm, Duration::ZERO).map(Some);
        }
        Ok(None)
    }

    /// The answer to one that was applied before: what is in force now was granted.
    pub(super) fn quiet_answer_again(
        self,
        write: &HostMonitorWrite,
    ) -> Result<Option<QuietAnswer>, StoreError> {
        let (HostMonitorWrite::QuietAsked { vm, .. } | HostMonitorWrite::QuietEnded { vm, .. }) = write
        else {
            return Ok(None);
        };
        let row = self.vm_row(*vm)?.map(|row| self.quiet_in_force(row.id)).transpose()?.flatten();
        let granted = row.map_or(Duration::ZERO, |in_force| in_force.granted);
        self.quiet_answer(*vm, granted).map(Some)
    }

    fn quiet_answer(self, vm: VmUuid, granted: Duration) -> Result<QuietAnswer, StoreError> {
        let in_force = match self.vm_row(vm)? {
            Some(row) => self.quiet_in_force(row.id)?,
            None => None,
        };
        let quiet = in_force.map(|in_force| in_force.quiet(vm, self.now));
        Ok(QuietAnswer { vm, granted, quiet })
    }

    fn on_quiet_asked(
        self,
        vm: VmUuid,
        asked: Duration,
        age: Duration,
        reason: &str,
    ) -> Result<Duration, StoreError> {
        let Some(vm) = self.vm_row(vm)?.filter(|vm| vm.monitored()) else {
            // Its silence is nobody's concern.
            return Ok(asked);
        };
        let at = self.now.back(age);
        let in_force = self.quiet_in_force(vm.id)?;
        let lasted = in_force.as_ref().map_or(Duration::ZERO, |in_force| in_force.lasted_at(at));
        let granted = asked.min(budget_left(self.quiets_over(vm)?, lasted));
        match in_force {
            _ if granted.is_zero() => self.quiet_refuse(vm, asked, reason)?,
            Some(in_force) if in_force.overtook(at, age) => {}
            Some(in_force) => self.quiet_renew(&in_force, at, granted, lasted, reason)?,
            // It waited so long that it is over.
            None if granted <= age => {}
            None => self.quiet_begin(vm, at, granted, reason)?,
        }
        Ok(granted)
    }

    fn quiet_begin(
        self,
        vm: VmRow,
        at: StoreTime,
        granted: Duration,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.quiets_bound(vm)?;
        self.db.roster_changes();
        let sql = "INSERT INTO quiet (vm_id, sequence, announced_at, granted_us, reason, lasted_us)
                   VALUES (?1, ?2, ?3, ?4, ?5, 0)";
        run(self.db, sql, params![vm.id, self.next_sequence()?, at.0, micros(granted), reason])?;
        run(self.db, "DELETE FROM quiet_refusal WHERE vm_id = ?1", [vm.id]).map(drop)
    }

    fn quiet_renew(
        self,
        in_force: &InForce,
        at: StoreTime,
        granted: Duration,
        lasted: Duration,
        reason: &str,
    ) -> Result<(), StoreError> {
        let sql =
            "UPDATE quiet SET sequence = ?2, announced_at = ?3, granted_us = ?4, reason = ?5, lasted_us = ?6
                   WHERE id = ?1";
        self.db.roster_changes();
        let sequence = self.next_sequence()?;
        let values = params![in_force.id, sequence, at.0, micros(granted), reason, micros(lasted)];
        run(self.db, sql, values).map(drop)
    }

    /// One refusal of a VM is remembered, and told of, until an hour later or until one is granted again.
    fn quiet_refuse(self, vm: VmRow, asked: Duration, reason: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM quiet_refusal WHERE vm_id = ?1 AND NOT refused_at BETWEEN ?2 AND ?3";
        run(self.db, sql, [vm.id, self.now.back(QUIET_WINDOW).0, self.now.0])?;
        let sql = "INSERT INTO quiet_refusal (vm_id, refused_at, asked_us, reason) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO NOTHING";
        run(self.db, sql, params![vm.id, self.now.0, micros(asked), reason]).map(drop)
    }

    fn on_quiet_ended(self, vm: VmUuid, age: Duration) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)? else { return Ok(()) };
        let at = self.now.back(age);
        match self.quiet_in_force(vm.id)? {
            Some(in_force) if !in_force.overtook(at, age) => {
                self.quiet_end(vm, in_force.id, at, in_force.lasted_at(at), "GUEST")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ran out: it lasted for all that was granted, whatever this store's clock did meanwhile.
    pub(super) fn on_quiet_over(self, vm: VmUuid, sequence: i64, age: Duration) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)? else { return Ok(()) };
        match self.quiet_in_force(vm.id)?.filter(|in_force| in_force.sequence == sequence) {
            Some(in_force) => {
                let lasted = in_force.lasted.saturating_add(in_force.granted);
                self.quiet_end(vm, in_force.id, self.now.back(age), lasted, "EXPIRY")
            }
            None => Ok(()),
        }
    }

    fn quiet_end(
        self,
        vm: VmRow,
        id: i64,
        at: StoreTime,
        lasted: Duration,
        by: &str,
    ) -> Result<(), StoreError> {
        self.db.roster_changes();
        let sql = "UPDATE quiet SET ended_at = ?2, ended_by = ?3, lasted_us = ?4 WHERE id = ?1";
        run(self.db, sql, params![id, at.0, by, micros(lasted)])?;
        run(self.db, "UPDATE vm SET quiet_ended_at = ?2 WHERE id = ?1", [vm.id, at.0]).map(drop)
    }

    fn quiet_in_force(self, vm: i64) -> Result<Option<InForce>, StoreError> {
        let sql = "SELECT id, announced_at, granted_us, lasted_us, reason, sequence FROM quiet
                   WHERE vm_id = ?1 AND ended_at IS NULL";
        first(self.db, sql, [vm], |row| {
            Ok(InForce {
                id: row.get(0)?,
                announced_at: StoreTime(row.get(1)?),
                granted: duration(row, 2)?,
                lasted: duration(row, 3)?,
                reason: row.get(4)?,
                sequence: row.get(5)?,
            })
        })
    }

    /// Those that are over. An end in the future is one before the clock was set back: as if it were now.
    fn quiets_over(self, vm: VmRow) -> Result<Vec<Spent>, StoreError> {
        let sql = "UPDATE quiet SET ended_at = ?2 WHERE vm_id = ?1 AND ended_at > ?2";
        run(self.db, sql, [vm.id, self.now.0])?;
        let sql = "SELECT ended_at, lasted_us FROM quiet WHERE vm_id = ?1 AND ended_at IS NOT NULL";
        all(self.db, sql, [vm.id], |row| {
            Ok(Spent { ended_ago: self.now.since(StoreTime(row.get(0)?)), lasted: duration(row, 1)? })
        })
    }

    /// What the budget does not see any more goes once it was told of, and the oldest in any case.
    fn quiets_bound(self, vm: VmRow) -> Result<(), StoreError> {
        let sql = "DELETE FROM quiet WHERE vm_id = ?1 AND ended_at <= ?2 AND told = 2";
        run(self.db, sql, [vm.id, self.now.back(QUIET_WINDOW).0])?;
        let sql = "DELETE FROM quiet WHERE vm_id = ?1 AND id <=
                   (SELECT id FROM quiet WHERE vm_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        run(self.db, sql, [vm.id, MAX_QUIETS - 1]).map(drop)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
