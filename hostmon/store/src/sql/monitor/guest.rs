//! What guests say of themselves: suspensions and doorbells.
//!
//! ```text
//!               SHDN:DAEMON, SHDN:OS, SUSPEND
//!  STARTING  ---------------------------------->  SUSPENDED
//!  STARTED   <----------------------------------
//!               a handshake ends what SHDN began, RESUME what SUSPEND began; both must be over
//! ```
//! Each is told on every path and applied once. Silence counts anew from the end of a suspension.
//!
//! A host monitor may read or write a word late: it does not undo what the guest has said to another one since
//! ([`OVERTAKEN_BY`]).

use std::time::Duration;

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::{Source, VmRow};
use crate::sql::Turn;
use crate::sql::rows::{first, run, typed_option};
use crate::*;

/// Which host monitor wrote what a guest said, and when that was.
#[derive(Clone, Copy)]
pub(super) struct Word {
    from: i64,
    /// At the latest.
    at: StoreTime,
    /// Then, and not before.
    sure: bool,
}

impl Word {
    /// When it was said, to be kept. What may be older than it seems overtakes nothing.
    pub(super) fn known(self) -> Option<i64> {
        self.sure.then_some(self.at.0)
    }
}

impl Turn<'_> {
    pub(super) fn word_of(self, source: Source, age: Duration) -> Word {
        Word { from: source.id, at: self.now.back(age), sure: source.sure }
    }

    pub(super) fn on_suspended(
        self,
        vm: VmUuid,
        reason: SuspendReason,
        word: Word,
    ) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)?.filter(|vm| vm.monitored()) else {
            return Ok(());
        };
        let taken = match reason {
            SuspendReason::Administrator => self.suspension_take(vm, word, true)?,
            SuspendReason::Daemon | SuspendReason::Os => self.shutdown_take(vm, word, reason)?,
        };
        if !taken || vm.state == VmState::Suspended {
            return Ok(());
        }
        let sql = "UPDATE vm SET state_before_suspension = state, suspended_at = ?2 WHERE id = ?1";
        run(self.db, sql, [vm.id, self.now.0])?;
        self.vm_state_change(vm.id, VmState::Suspended)
    }

    pub(super) fn on_resumed(self, vm: VmUuid, word: Word) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)? else {
            return Ok(());
        };
        if self.suspension_take(vm, word, false)? {
            self.suspension_check(vm)?;
        }
        Ok(())
    }

    /// SUSPEND or RESUME, unless it was overtaken by another one or the controller. What is kept is when the last one was said at the
    /// earliest: an unsure one leaves it.
    fn suspension_take(self, vm: VmRow, word: Word, suspended: bool) -> Result<bool, StoreError> {
        let sql = "SELECT suspension_at, suspension_by FROM vm WHERE id = ?1 AND suspension_at IS NOT NULL";
        if self.may_be_overtaken(word) && self.overtaken_by(word, self.word(sql, vm)?) {
            return Ok(false);
        }
        let sql = "UPDATE vm SET suspended_by_administrator = ?2, suspension_by = ?3, suspension_at =
                   CASE WHEN suspension_at BETWEEN coalesce(?4, suspension_at) AND ?5 THEN suspension_at ELSE ?4 END WHERE id = ?1";
        run(self.db, sql, params![vm.id, suspended, word.from, word.known(), self.newest().0])?;
        Ok(true)
    }

    /// SHDN, unless its agent shook hands with another host monitor since. Of one shutdown told to several the first word has the time.
    fn shutdown_take(self, vm: VmRow, word: Word, reason: SuspendReason) -> Result<bool, StoreError> {
        let sql = "SELECT opened_at, host_monitor_id FROM path WHERE vm_id = ?1 AND host_monitor_id <> ?2
                   AND opened_at <= ?3 ORDER BY opened_at DESC LIMIT 1";
        if self.may_be_overtaken(word) {
            let values = params![vm.id, word.from, self.newest().0];
            let opened = first(self.db, sql, values, |row| Ok((StoreTime(row.get(0)?), row.get(1)?)))?;
            if self.overtaken_by(word, opened) {
                return Ok(false);
            }
        }
        let sql = "UPDATE vm SET shutdown = ?2,
                   shutdown_at = CASE WHEN shutdown IS NOT NULL AND shutdown_at <= ?3 THEN shutdown_at ELSE ?5 END,
                   shutdown_by = CASE WHEN shutdown IS NOT NULL AND shutdown_at <= ?3 THEN shutdown_by ELSE ?4 END
                   WHERE id = ?1";
        run(self.db, sql, params![vm.id, reason.as_str(), word.at.0, word.from, word.known()])?;
        Ok(true)
    }

    /// Its agent shook hands: what was shut down before runs again.
    pub(super) fn shutdown_over(self, vm: VmRow, word: Word) -> Result<(), StoreError> {
        let sql = "SELECT shutdown_at, shutdown_by FROM vm WHERE id = ?1 AND shutdown IS NOT NULL AND shutdown_at IS NOT NULL";
        if self.may_be_overtaken(word) && self.overtaken_by(word, self.word(sql, vm)?) {
            return Ok(());
        }
        run(self.db, "UPDATE vm SET shutdown = NULL WHERE id = ?1 AND shutdown IS NOT NULL", [vm.id])?;
        self.suspension_check(vm)
    }

    fn word(self, sql: &str, vm: VmRow) -> Result<Option<(StoreTime, Option<i64>)>, StoreError> {
        first(self.db, sql, [vm.id], |row| Ok((StoreTime(row.get(0)?), row.get(1)?)))
    }

    /// What hardly waited is newer than anything the store has.
    fn may_be_overtaken(self, word: Word) -> bool {
        self.now.since(word.at) > OVERTAKEN_BY
    }

    /// The newest time that is one of this clock. Our time was read before SQLite's lock was waited for, and who got it meanwhile wrote
    /// what is newer; beyond that a time is one before the clock was set back, and says nothing.
    fn newest(self) -> StoreTime {
        let wait = i64::try_from(OVERTAKEN_BY.as_micros()).unwrap_or(i64::MAX);
        StoreTime(self.now.0.saturating_add(wait))
    }

    /// Whether the newest is so much newer. A host monitor's own words come in their order.
    fn overtaken_by(self, word: Word, newest: Option<(StoreTime, Option<i64>)>) -> bool {
        newest.is_some_and(|(at, by)| {
            by != Some(word.from) && at <= self.newest() && at.since(word.at) > OVERTAKEN_BY
        })
    }

    fn suspension_check(self, vm: VmRow) -> Result<(), StoreError> {
        if vm.state != VmState::Suspended {
            return Ok(());
        }
        let sql = "SELECT state_before_suspension FROM vm
                   WHERE id = ?1 AND suspended_by_administrator = 0 AND shutdown IS NULL";
        let Some(before) = first(self.db, sql, [vm.id], |row| typed_option::<VmState>(row, 0))? else {
            return Ok(());
        };
        let sql = "UPDATE vm SET state_before_suspension = NULL, suspended_at = NULL, silence_from = ?2
                   WHERE id = ?1";
        run(self.db, sql, [vm.id, self.now.0])?;
        self.vm_state_change(vm.id, before.unwrap_or(VmState::Starting))
    }

    /// One ring, one number: whatever was reported before it does not cover it.
    pub(super) fn on_doorbell(self, vm: VmUuid, bits: u32) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)?.filter(|_| bits != 0) else {
            return Ok(());
        };
        let sequence = self.next_sequence()?;
        for bit in (0..u32::BITS).filter(|bit| bits & (1 << bit) != 0) {
            let sql = "INSERT INTO doorbell (vm_id, bit, sequence) VALUES (?1, ?2, ?3)
                       ON CONFLICT (vm_id, bit) DO UPDATE SET sequence = excluded.sequence";
            run(self.db, sql, params![vm.id, bit, sequence])?;
        }
        Ok(())
    }
}
