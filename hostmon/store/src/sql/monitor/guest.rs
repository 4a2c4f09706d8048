//! What guests say of themselves: suspensions and doorbells.
//!
//! ```text
//!               SHDN:DAEMON, SHDN:OS, SUSPEND
//!  STARTING  ---------------------------------->  SUSPENDED
//!  STARTED   <----------------------------------
//!               a handshake ends what SHDN began, RESUME what SUSPEND began; both must be over
//! ```
//! Each is told on every path and applied once. Silence counts anew from the end of a suspension.

use crate::sql::db::params;
use vmpulse_protocol::id::VmUuid;

use super::VmRow;
use crate::sql::Turn;
use crate::sql::rows::{first, run, typed_option};
use crate::*;

impl Turn<'_> {
    pub(super) fn on_suspended(self, vm: VmUuid, reason: SuspendReason) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)?.filter(|vm| vm.monitored()) else {
            return Ok(());
        };
        match reason {
            SuspendReason::Administrator => {
                run(self.db, "UPDATE vm SET suspended_by_administrator = 1 WHERE id = ?1", [vm.id])?;
            }
            SuspendReason::Daemon | SuspendReason::Os => {
                run(self.db, "UPDATE vm SET shutdown = ?2 WHERE id = ?1", params![vm.id, reason.as_str()])?;
            }
        }
        if vm.state == VmState::Suspended {
            return Ok(());
        }
        let sql = "UPDATE vm SET state_before_suspension = state, suspended_at = ?2 WHERE id = ?1";
        run(self.db, sql, [vm.id, self.now.0])?;
        self.vm_state_change(vm.id, VmState::Suspended)
    }

    pub(super) fn on_resumed(self, vm: VmUuid) -> Result<(), StoreError> {
        let Some(vm) = self.vm_row(vm)? else {
            return Ok(());
        };
        run(self.db, "UPDATE vm SET suspended_by_administrator = 0 WHERE id = ?1", [vm.id])?;
        self.suspension_check(vm)
    }

    /// Its agent shook hands: whatever was shut down runs again.
    pub(super) fn shutdown_over(self, vm: VmRow) -> Result<(), StoreError> {
        run(self.db, "UPDATE vm SET shutdown = NULL WHERE id = ?1 AND shutdown IS NOT NULL", [vm.id])?;
        self.suspension_check(vm)
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
