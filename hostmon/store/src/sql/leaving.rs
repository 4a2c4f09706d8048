//! VMs that are monitored no more: STOPPING and REMOVING, until their host monitors have answered.
//!
//! ```text
//!  STARTING, STARTED, SUSPENDED --STOP_VM----> STOPPING --everybody answered--> STOPPED
//!                               --REMOVE_VM--> REMOVING --everybody answered--> (a tombstone)
//! ```
//! Waited for are host monitors that are UP and responsive, each for as long as its request is in force. That others do not
//! run, or run no more, is noticed when a host monitor or a controller says that it lives.

use std::collections::HashSet;

use vmpulse_protocol::id::VmUuid;

use super::Turn;
use super::db::params;
use super::hosts::responsive;
use super::rows::{NONE, all, first, host_key, run, typed};
use crate::*;

const AWAITED: &str = concat!(
    "SELECT 1 FROM request r JOIN host_monitor m ON m.id = r.host_monitor_id
     WHERE r.vm_id = ?2 AND r.opcode = 'RECONSIDER' AND r.created_at >= ?3 AND m.state = 'UP' AND ",
    responsive!(),
    " LIMIT 1"
);

/// Asked with every sign of life; the back ends test its plan.
pub(crate) const LEAVING: &str =
    "SELECT id FROM vm INDEXED BY vm_leaving WHERE state IN ('STOPPING', 'REMOVING')";

/// A registered VM of a request.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    pub(super) id: i64,
    pub(super) state: VmState,
}

impl Turn<'_> {
    pub(super) fn vms_stop(self, lists: &[VmList]) -> Result<Vec<TransactionTag>, StoreError> {
        let mut tags = Vec::new();
        for (vm, found) in self.listed(lists)? {
            let Listed { id, state } = found.ok_or(StoreError::UnknownVm(vm))?;
            match state {
                VmState::Starting | VmState::Started | VmState::Suspended => {
                    tags.extend(self.vm_leave(id, VmState::Stopping, TransactionAction::Stop)?);
                }
                // Nothing is monitored, or it is being seen to.
                VmState::Added
                | VmState::Stopped
                | VmState::Stopping
                | VmState::Removing
                | VmState::Unknown => {}
            }
        }
        Ok(tags)
    }

    pub(super) fn vms_remove(self, lists: &[VmList]) -> Result<VmsRemoved, StoreError> {
        let mut removed = VmsRemoved::default();
        for (vm, found) in self.listed(lists)? {
            let Some(Listed { id, state }) = found else {
                removed.unknown.push(vm);
                continue;
            };
            self.incidents_close_of(&vm.to_string())?;
            match state {
                VmState::Starting | VmState::Started | VmState::Suspended | VmState::Stopping => {
                    let tags = self.vm_leave(id, VmState::Removing, TransactionAction::Remove)?;
                    removed.transactions.extend(tags);
                }
                VmState::Added | VmState::Stopped | VmState::Unknown => self.vm_delete(id)?,
                VmState::Removing => {}
            }
        }
        Ok(removed)
    }

    /// The VMs of a request, each once. One that is not on the host its list names is refused; one that is not registered is
    /// `None`.
    pub(super) fn listed(self, lists: &[VmList]) -> Result<Vec<(VmUuid, Option<Listed>)>, StoreError> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for list in lists {
            for vm in &list.vms {
                let listed = self.listed_one(*vm, list.host.as_ref())?;
                if seen.insert(*vm) {
                    found.push((*vm, listed));
                }
            }
        }
        Ok(found)
    }

    fn listed_one(self, vm: VmUuid, host: Option<&HostKey>) -> Result<Option<Listed>, StoreError> {
        let sql = "SELECT v.id, v.state, h.machine_type, h.model, h.serial
                   FROM vm v JOIN host h ON h.id = v.host_id WHERE v.uuid = ?1";
        let found = first(self.db, sql, [vm.to_string()], |row| {
            Ok((Listed { id: row.get(0)?, state: typed(row, 1)? }, host_key(row, 2)?))
        })?;
        match found {
            Some((_, home)) if host.is_some_and(|host| *host != home) => {
                Err(StoreError::Elsewhere { vm, host: home.to_string() })
            }
            found => Ok(found.map(|(listed, _)| listed)),
        }
    }

    /// Its paths are of no account from now on, and its suspension is over; its host monitors are told to stop it.
    fn vm_leave(
        self,
        vm: i64,
        state: VmState,
        action: TransactionAction,
    ) -> Result<Vec<TransactionTag>, StoreError> {
        let tags = self.ask(vm, action)?;
        // A SUSPEND that is still on its way is older than this.
        let sql = "UPDATE vm SET suspended_by_administrator = 0, shutdown = NULL, suspended_at = NULL,
                   state_before_suspension = NULL, suspension_at = ?2, suspension_by = NULL WHERE id = ?1";
        run(self.db, sql, [vm, self.now.0])?;
        self.paths_discount(vm)?;
        self.vm_state_change(vm, state)?;
        self.leaving_check(vm)?;
        Ok(tags)
    }

    /// Paths known from before count again when they are detected or missing again.
    pub(super) fn paths_discount(self, vm: i64) -> Result<(), StoreError> {
        let sql =
            "UPDATE path SET counted = 0, beating = 0, missing_since = NULL, common = 0 WHERE vm_id = ?1";
        run(self.db, sql, [vm]).map(drop)
    }

    /// Whether nobody is waited for any more: then it is STOPPED, or gone.
    pub(super) fn leaving_check(self, vm: i64) -> Result<(), StoreError> {
        let sql = "SELECT state FROM vm WHERE id = ?1 AND state IN ('STOPPING', 'REMOVING')";
        let Some(state) = first(self.db, sql, [vm], |row| typed::<VmState>(row, 0))? else { return Ok(()) };
        let oldest = self.oldest_request();
        if first(self.db, AWAITED, [self.now.0, vm, oldest], |_| Ok(()))?.is_some() {
            return Ok(());
        }
        if state == VmState::Removing {
            return self.vm_delete(vm);
        }
        self.requests_give_up(vm)?;
        self.vm_state_change(vm, VmState::Stopped)
    }

    /// A host monitor that is waited for may have ended, or a request be too old.
    pub(super) fn leaving_vms_check(self) -> Result<(), StoreError> {
        let leaving = all(self.db, LEAVING, NONE, |row| row.get::<i64>(0))?;
        leaving.into_iter().try_for_each(|vm| self.leaving_check(vm))
    }

    /// Whoever did not answer learns by its roster how things are, when it is back.
    fn requests_give_up(self, vm: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM request WHERE vm_id = ?1 AND opcode = 'RECONSIDER' RETURNING tag";
        let tags = all(self.db, sql, [vm], |row| row.get(0))?;
        tags.into_iter().try_for_each(|tag| self.progress_settle(tag, TransactionState::GivenUp))
    }

    /// The VM goes with all that hangs on it, and leaves a tombstone.
    pub(super) fn vm_delete(self, vm: i64) -> Result<(), StoreError> {
        self.requests_give_up(vm)?;
        let sql = "INSERT INTO removed_vm (uuid, removed_at) SELECT uuid, ?2 FROM vm WHERE id = ?1
                   ON CONFLICT (uuid) DO UPDATE SET removed_at = excluded.removed_at";
        run(self.db, sql, params![vm, self.now.0])?;
        run(self.db, "DELETE FROM discovered WHERE uuid IN (SELECT uuid FROM vm WHERE id = ?1)", [vm])?;
        run(self.db, "DELETE FROM vm WHERE id = ?1", [vm])?;
        self.db.roster_changes();
        Ok(())
    }
}
