//! A store whose user is killed after some writes, from when on everything fails; or to which others write between two reads.

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;

pub(crate) struct Dying {
    inner: SqliteStore,
    writes_left: usize,
    /// Once, after the next read.
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

impl Dying {
    pub(crate) fn after(writes_left: usize, inner: SqliteStore) -> Self {
        Self { inner, writes_left, meanwhile: None }
    }

    /// Does not die, but somebody does this right after the next read.
    #[allow(dead_code, reason = "not every test file that includes this uses it")]
    pub(crate) fn meanwhile(inner: SqliteStore, does: impl FnOnce() + Send + 'static) -> Self {
        Self { inner, writes_left: usize::MAX, meanwhile: Some(Box::new(does)) }
    }

    fn read<T>(&mut self, body: impl FnOnce(&mut SqliteStore) -> T) -> T {
        let answer = body(&mut self.inner);
        if let Some(does) = self.meanwhile.take() {
            does();
        }
        answer
    }

    fn write<T>(
        &mut self,
        body: impl FnOnce(&mut SqliteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(left) = self.writes_left.checked_sub(1) else {
            return Err(StoreError::Corrupt { what: "nothing", value: "killed".to_owned() });
        };
        self.writes_left = left;
        body(&mut self.inner)
    }
}

macro_rules! delegate {
    (reads { $(fn $read:ident(&mut self $(, $ra:ident: $rt:ty)*) -> $ro:ty;)* }
     writes { $(fn $write:ident(&mut self $(, $wa:ident: $wt:ty)*) -> $wo:ty;)* }) => {
        impl Store for Dying {
            fn now(&self) -> Result<StoreTime, StoreError> { self.inner.now() }
            fn change_stamp(&self) -> Result<u64, StoreError> { self.inner.change_stamp() }
            $(fn $read(&mut self $(, $ra: $rt)*) -> Result<$ro, StoreError> {
                self.read(|store| store.$read($($ra),*))
            })*
            $(fn $write(&mut self $(, $wa: $wt)*) -> Result<$wo, StoreError> {
                self.write(|store| store.$write($($wa),*))
            })*
        }
    };
}

delegate! {
    reads {
        fn quick_query(&mut self) -> QuickQuery;
        fn host_monitors_unassigned(&mut self) -> Vec<HostMonitorStatus>;
        fn needs_attention(&mut self) -> NeedsAttention;
        fn needs_attention_of(&mut self, host: &HostKey) -> NeedsAttention;
        fn vms(&mut self) -> Vec<VmView>;
        fn applications(&mut self) -> Vec<ApplicationView>;
        fn system_settings(&mut self) -> SystemSettings;
        fn reports_arrived(&mut self) -> Vec<ArrivedReport>;
        fn reports_pending(&mut self) -> Vec<PendingReport>;
        fn node_events(&mut self, wanted: &NodeEventsWanted) -> Vec<NodeEventRecord>;
        fn events(&mut self, limit: u32) -> Vec<EventRecord>;
        fn controllers(&mut self) -> Vec<ControllerView>;
        fn protocol_versions(&mut self) -> ProtocolVersions;
        fn transactions(&mut self, wanted: &TransactionsWanted) -> Vec<Transaction>;
        fn quiet_news(&mut self) -> Vec<QuietNews>;
        fn mode_news(&mut self) -> Vec<ModeNews>;
        fn roster(&mut self, host_monitor: HostMonitorId) -> Roster;
        fn standings(&mut self, host_monitor: HostMonitorId, guests: &[VmUuid]) -> Vec<(VmUuid, Standing)>;
        fn node_data(&mut self, of: Option<HostMonitorId>, limit: u32) -> NodeData;
        fn conflicts(&mut self, limit: u32) -> Conflicts;
        fn vms_page(&mut self, wanted: &VmsWanted) -> VmPage;
        fn vm_homes(&mut self, vms: &[VmUuid]) -> Vec<VmHome>;
        fn messages(&mut self, wanted: &MessagesWanted) -> MessagePage;
        fn message(&mut self, tag: MessageTag) -> Option<Message>;
    }
    writes {
        fn hosts_add(&mut self, hosts: &[HostRegistration]) -> ();
        fn vms_add(&mut self, host: &HostKey, vms: &[VmRegistration]) -> ();
        fn vms_start(&mut self, vms: &[VmUuid]) -> Vec<TransactionTag>;
        fn vms_start_listed(&mut self, lists: &[VmList]) -> Vec<TransactionTag>;
        fn vms_stop(&mut self, lists: &[VmList]) -> Vec<TransactionTag>;
        fn vms_remove(&mut self, lists: &[VmList]) -> VmsRemoved;
        fn hosts_add_grouped(&mut self, hosts: &[GroupedHost]) -> ();
        fn hosts_remove(&mut self, hosts: &[HostKey]) -> Vec<HostKey>;
        fn host_group_remove(&mut self, group: &str) -> Vec<HostKey>;
        fn host_monitors_add(&mut self, hosts: &[HostRegistration]) -> ();
        fn host_monitors_remove(&mut self, monitors: &[HostMonitorId]) -> Vec<HostMonitorId>;
        fn host_monitors_configure(&mut self, scope: &SettingsScope, change: &SettingsChange) -> i64;
        fn acknowledge(&mut self, tag: AttentionTag) -> bool;
        fn system_settings_replace(&mut self, settings: &SystemSettings) -> ();
        fn vm_settings_replace(&mut self, vm: VmUuid, settings: &VmSettings) -> ();
        fn report_request(&mut self, vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageTag>;
        fn report_apply(&mut self, report: &ArrivedReport, content: Option<&ReportContent>) -> bool;
        fn message_put(&mut self, vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageView>;
        fn messages_sync(&mut self, of: Option<HostMonitorId>) -> Vec<TransactionTag>;
        fn messages_remove(&mut self, of: Option<&[VmUuid]>) -> u64;
        fn vm_fence(&mut self, vm: VmUuid, fenced: bool) -> ();
        fn event_append(&mut self, event: &NewEvent) -> bool;
        fn incident_close(&mut self, incident: &str) -> ();
        fn prune(&mut self, keep: &Retention, most: u32) -> Pruned;
        fn vm_phase_replace(&mut self, vm: VmUuid, phase: &str) -> ();
        fn controller_heartbeat(&mut self, controller: &ControllerHeartbeat) -> ();
        fn host_monitor_apply(&mut self, host_monitor: HostMonitorId, writes: &[HostMonitorWrite]) -> Applied;
        fn host_monitor_replay(&mut self, host_monitor: HostMonitorId, starts: &[StartWrites]) -> Applied;
        fn mode_tell(&mut self, news: &ModeNews, event: &NewEvent) -> bool;
        fn quiet_tell(&mut self, news: &QuietNews, event: &NewEvent) -> bool;
    }
}
