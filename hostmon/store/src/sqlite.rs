//! The SQLite back end: one file, WAL, one connection per user.
//!
//! A write is committed and synced before its method returns (`synchronous=FULL`), because host monitors
//! acknowledge guests' messages on its strength. The clock is read before a transaction waits for its lock:
//! ages were measured then.

mod attention;
mod hosts;
mod monitor;
mod node_events;
mod open;
mod quiet;
mod registration;
mod reports;
mod requests;
mod roster;
mod rows;
mod silence;
mod sundry;
mod views;

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};
use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use crate::*;

/// A connection to a health store in a SQLite file.
pub struct SqliteStore {
    connection: Connection,
    clock: Box<dyn StoreClock>,
    /// The start of the host monitor that writes through this connection.
    incarnation: Option<String>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SqliteStore").field("path", &self.connection.path()).finish_non_exhaustive()
    }
}

/// One transaction: the connection inside it, and the store's time at its start.
#[derive(Clone, Copy)]
struct Turn<'a> {
    db: &'a Connection,
    now: StoreTime,
}

impl SqliteStore {
    /// Opens the store at `path`, creates it if there is none, and brings its schema up to date. Several
    /// processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the file cannot be opened or made (its folder must exist),
    /// [`StoreError::NotAStore`] if it is something else, [`StoreError::TooNew`] if a newer version wrote it.
    pub fn open(path: &Path, clock: Box<dyn StoreClock>) -> Result<Self, StoreError> {
        Ok(Self { connection: open::connect(path)?, clock, incarnation: None })
    }

    /// Runs `body` in a transaction that only reads: one consistent picture.
    fn read<T>(&mut self, body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.transact(TransactionBehavior::Deferred, body)
    }

    /// Runs `body` in a transaction that holds the write lock from its start, so it never fails half way for
    /// want of it.
    fn write<T>(&mut self, body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.transact(TransactionBehavior::Immediate, body)
    }

    fn transact<T>(
        &mut self,
        behavior: TransactionBehavior,
        body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let now = self.clock.now();
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let value = body(Turn { db: &transaction, now })?;
        transaction.commit()?;
        Ok(value)
    }
}

impl Store for SqliteStore {
    fn now(&self) -> Result<StoreTime, StoreError> {
        Ok(self.clock.now())
    }

    fn change_stamp(&self) -> Result<u64, StoreError> {
        let version: i64 = self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok(version.unsigned_abs())
    }

    fn hosts_add(&mut self, hosts: &[HostRegistration]) -> Result<(), StoreError> {
        self.write(|turn| turn.hosts_add(hosts))
    }

    fn vms_add(&mut self, host: &HostKey, vms: &[VmRegistration]) -> Result<(), StoreError> {
        self.write(|turn| turn.vms_add(host, vms))
    }

    fn vms_start(&mut self, vms: &[VmUuid]) -> Result<Vec<TransactionTag>, StoreError> {
        self.write(|turn| turn.vms_start(vms))
    }

    fn quick_query(&mut self) -> Result<QuickQuery, StoreError> {
        self.read(|turn| turn.quick_query())
    }

    fn host_monitors_unassigned(&mut self) -> Result<Vec<HostMonitorStatus>, StoreError> {
        self.read(|turn| turn.host_monitors_unassigned())
    }

    fn needs_attention(&mut self) -> Result<NeedsAttention, StoreError> {
        self.read(|turn| turn.needs_attention(None))
    }

    fn needs_attention_of(&mut self, host: &HostKey) -> Result<NeedsAttention, StoreError> {
        self.read(|turn| turn.needs_attention(Some(host)))
    }

    fn acknowledge(&mut self, tag: AttentionTag) -> Result<bool, StoreError> {
        self.write(|turn| turn.acknowledge(tag))
    }

    fn vms(&mut self) -> Result<Vec<VmView>, StoreError> {
        self.read(|turn| turn.vms())
    }

    fn applications(&mut self) -> Result<Vec<ApplicationView>, StoreError> {
        self.read(|turn| turn.applications())
    }

    fn node_events(&mut self, wanted: &NodeEventsWanted) -> Result<Vec<NodeEventRecord>, StoreError> {
        self.read(|turn| turn.node_events(wanted))
    }

    fn system_settings(&mut self) -> Result<SystemSettings, StoreError> {
        self.read(|turn| turn.system_settings())
    }

    fn system_settings_replace(&mut self, settings: &SystemSettings) -> Result<(), StoreError> {
        self.write(|turn| turn.system_settings_replace(settings))
    }

    fn vm_settings_replace(&mut self, vm: VmUuid, settings: &VmSettings) -> Result<(), StoreError> {
        self.write(|turn| turn.vm_settings_replace(vm, settings))
    }

    fn report_request(
        &mut self,
        vm: VmUuid,
        acknowledge: Option<AttentionTag>,
    ) -> Result<Option<MessageTag>, StoreError> {
        self.write(|turn| turn.report_request(vm, acknowledge))
    }

    fn reports_arrived(&mut self) -> Result<Vec<ArrivedReport>, StoreError> {
        self.read(|turn| turn.reports_arrived())
    }

    fn reports_pending(&mut self) -> Result<Vec<PendingReport>, StoreError> {
        self.read(|turn| turn.reports_pending())
    }

    fn report_apply(
        &mut self,
        report: &ArrivedReport,
        applications: &[ApplicationReport],
    ) -> Result<(), StoreError> {
        self.write(|turn| turn.report_apply(report, applications))
    }

    fn event_append(&mut self, event: &NewEvent) -> Result<bool, StoreError> {
        self.write(|turn| turn.event_append(event))
    }

    fn incident_close(&mut self, incident: &str) -> Result<(), StoreError> {
        self.write(|turn| turn.incident_close(incident))
    }

    fn events(&mut self, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.read(|turn| turn.events(limit))
    }

    fn quiet_news(&mut self) -> Result<Vec<QuietNews>, StoreError> {
        self.read(|turn| turn.quiet_news())
    }

    fn quiet_tell(&mut self, news: &QuietNews, event: &NewEvent) -> Result<bool, StoreError> {
        self.write(|turn| turn.quiet_tell(news, event))
    }

    fn vm_phase_replace(&mut self, vm: VmUuid, phase: &str) -> Result<(), StoreError> {
        self.write(|turn| turn.vm_phase_replace(vm, phase))
    }

    fn controller_heartbeat(&mut self, controller: &ControllerHeartbeat) -> Result<(), StoreError> {
        self.write(|turn| turn.controller_heartbeat(controller))
    }

    fn controllers(&mut self) -> Result<Vec<ControllerView>, StoreError> {
        self.read(|turn| turn.controllers())
    }

    fn host_monitor_apply(
        &mut self,
        host_monitor: HostMonitorId,
        writes: &[HostMonitorWrite],
    ) -> Result<Applied, StoreError> {
        let known = self.incarnation.clone();
        let applied = self.write(|turn| turn.host_monitor_apply(host_monitor, known.as_deref(), writes))?;
        if let Some(start) = writes.iter().rev().find_map(HostMonitorWrite::start) {
            self.incarnation = Some(start.incarnation.clone());
        }
        Ok(applied)
    }

    fn roster(&mut self, host_monitor: HostMonitorId) -> Result<Roster, StoreError> {
        self.read(|turn| turn.roster(host_monitor))
    }
}
