//! One store through two connections: what host monitors do as their role, the rest as the controller's. So the suite also
//! proves that the roles may do what they must.

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;

pub(crate) struct ByRole {
    pub(crate) host_monitor: PostgresStore,
    pub(crate) controller: PostgresStore,
}

macro_rules! delegate {
    ($($role:ident { $(fn $name:ident($($argument:ident: $type:ty),*) -> $output:ty;)+ })+) => {
        impl Store for ByRole {
            fn now(&self) -> Result<StoreTime, StoreError> {
                self.controller.now()
            }

            fn change_stamp(&self) -> Result<u64, StoreError> {
                self.host_monitor.change_stamp()
            }

            $($(fn $name(&mut self $(, $argument: $type)*) -> Result<$output, StoreError> {
                self.$role.$name($($argument),*)
            })+)+
        }
    };
}

delegate! {
    host_monitor {
        fn host_monitor_apply(id: HostMonitorId, writes: &[HostMonitorWrite]) -> Applied;
        fn host_monitor_replay(id: HostMonitorId, starts: &[StartWrites]) -> Applied;
        fn roster(id: HostMonitorId) -> Roster;
        fn standings(id: HostMonitorId, guests: &[VmUuid]) -> Vec<(VmUuid, Standing)>;
    }
    controller {
        fn hosts_add(hosts: &[HostRegistration]) -> ();
        fn vms_add(host: &HostKey, vms: &[VmRegistration]) -> ();
        fn vms_start(vms: &[VmUuid]) -> Vec<TransactionTag>;
        fn vms_start_listed(lists: &[VmList]) -> Vec<TransactionTag>;
        fn vms_stop(lists: &[VmList]) -> Vec<TransactionTag>;
        fn vms_remove(lists: &[VmList]) -> VmsRemoved;
        fn hosts_add_grouped(hosts: &[GroupedHost]) -> ();
        fn hosts_remove(hosts: &[HostKey]) -> Vec<HostKey>;
        fn host_group_remove(group: &str) -> Vec<HostKey>;
        fn host_monitors_add(hosts: &[HostRegistration]) -> ();
        fn host_monitors_remove(monitors: &[HostMonitorId]) -> Vec<HostMonitorId>;
        fn host_monitors_configure(scope: &SettingsScope, change: &SettingsChange) -> i64;
        fn protocol_versions() -> ProtocolVersions;
        fn transactions(wanted: &TransactionsWanted) -> Vec<Transaction>;
        fn quick_query() -> QuickQuery;
        fn host_monitors_unassigned() -> Vec<HostMonitorStatus>;
        fn needs_attention() -> NeedsAttention;
        fn needs_attention_of(host: &HostKey) -> NeedsAttention;
        fn acknowledge(tag: AttentionTag) -> bool;
        fn vms() -> Vec<VmView>;
        fn applications() -> Vec<ApplicationView>;
        fn node_events(wanted: &NodeEventsWanted) -> Vec<NodeEventRecord>;
        fn system_settings() -> SystemSettings;
        fn system_settings_replace(settings: &SystemSettings) -> ();
        fn vm_settings_replace(vm: VmUuid, settings: &VmSettings) -> ();
        fn report_request(vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageTag>;
        fn reports_arrived() -> Vec<ArrivedReport>;
        fn reports_pending() -> Vec<PendingReport>;
        fn report_apply(report: &ArrivedReport, content: Option<&ReportContent>) -> bool;
        fn message_put(vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageView>;
        fn messages(wanted: &MessagesWanted) -> MessagePage;
        fn message(tag: MessageTag) -> Option<Message>;
        fn messages_sync(of: Option<HostMonitorId>) -> Vec<TransactionTag>;
        fn messages_remove(of: Option<&[VmUuid]>) -> u64;
        fn node_data(of: Option<HostMonitorId>, limit: u32) -> NodeData;
        fn conflicts(limit: u32) -> Conflicts;
        fn vms_page(wanted: &VmsWanted) -> VmPage;
        fn vm_homes(vms: &[VmUuid]) -> Vec<VmHome>;
        fn vm_fence(vm: VmUuid, fenced: bool) -> ();
        fn event_append(event: &NewEvent) -> bool;
        fn incident_close(incident: &str) -> ();
        fn events(limit: u32) -> Vec<EventRecord>;
        fn quiet_news() -> Vec<QuietNews>;
        fn mode_news() -> Vec<ModeNews>;
        fn mode_tell(news: &ModeNews, event: &NewEvent) -> bool;
        fn quiet_tell(news: &QuietNews, event: &NewEvent) -> bool;
        fn vm_phase_replace(vm: VmUuid, phase: &str) -> ();
        fn controller_heartbeat(controller: &ControllerHeartbeat) -> ();
        fn prune(keep: &Retention, most: u32) -> Pruned;
        fn controllers() -> Vec<ControllerView>;
    }
}
