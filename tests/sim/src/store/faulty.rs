//! A caller's view of the store: calls take time, fail, or are committed and not answered.

use std::time::Duration;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;

use super::arena::Lease;
use super::{Caller, Mode, PATIENCE, REFUSAL, SLOW_US, Shared, StoreNews, USUAL_US};

/// See the module.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Lease,
    caller: Caller,
    shared: Shared,
}

/// What a call does to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// Written, and of no interest to anybody until it is missed.
    Pulse,
}

impl FaultyStore {
    pub(super) fn connect(inner: Lease, caller: Caller, shared: Shared) -> Result<Self, StoreError> {
        let store = Self { inner, caller, shared };
        store.reach()?;
        Ok(store)
    }

    /// Takes the time of a call, unless the store cannot be reached.
    fn reach(&self) -> Result<(), StoreError> {
        let mut inner = self.shared.lock();
        let cut = inner.cut.contains(&self.caller);
        let (low, high) = match inner.mode {
            _ if cut => return self.fail(&mut inner, PATIENCE),
            Mode::Hangs => return self.fail(&mut inner, PATIENCE),
            Mode::Refuses => return self.fail(&mut inner, REFUSAL),
            Mode::Well => USUAL_US,
            Mode::Slow => SLOW_US,
        };
        let us = inner.random.u64(low..=high);
        inner.elapsed += Duration::from_micros(us);
        self.shared.set(&mut inner);
        Ok(())
    }

    fn fail(&self, inner: &mut super::Inner, after: Duration) -> Result<(), StoreError> {
        inner.elapsed += after;
        self.shared.set(inner);
        Err(StoreError::Slow { server: "simulated".to_owned(), seconds: after.as_secs() })
    }

    fn call<T>(
        &mut self,
        kind: Kind,
        call: impl FnOnce(&mut SqliteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.reach()?;
        let answer = call(&mut self.inner)?;
        let mut inner = self.shared.lock();
        inner.revision += u64::from(kind == Kind::Write);
        let permille = inner.loses_answers;
        if kind != Kind::Read && permille > 0 && inner.random.u16(0..1000) < permille {
            self.fail(&mut inner, PATIENCE)?;
        }
        Ok(answer)
    }

    /// Told when it is committed, whether the caller hears of that or not.
    fn call_and_tell(
        &mut self,
        news: StoreNews,
        call: impl FnOnce(&mut SqliteStore) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        self.call(Kind::Pulse, |store| {
            call(store)?;
            shared.lock().tell(news);
            Ok(())
        })
    }
}

macro_rules! forward {
    ($($kind:ident $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        $(fn $name(&mut self, $($arg: $type),*) -> Result<$out, StoreError> {
            self.call(Kind::$kind, |store| store.$name($($arg),*))
        })*
    };
}

impl Store for FaultyStore {
    fn now(&self) -> Result<StoreTime, StoreError> {
        self.reach()?;
        self.inner.now()
    }

    fn change_stamp(&self) -> Result<u64, StoreError> {
        self.reach()?;
        self.inner.change_stamp()
    }

    forward! {
        Write hosts_add(hosts: &[HostRegistration]) -> ();
        Write vms_add(host: &HostKey, vms: &[VmRegistration]) -> ();
        Write vms_start(vms: &[VmUuid]) -> Vec<TransactionTag>;
        Read quick_query() -> QuickQuery;
        Read host_monitors_unassigned() -> Vec<HostMonitorStatus>;
        Read needs_attention() -> NeedsAttention;
        Read needs_attention_of(host: &HostKey) -> NeedsAttention;
        Write acknowledge(tag: AttentionTag) -> bool;
        Read vms() -> Vec<VmView>;
        Read applications() -> Vec<ApplicationView>;
        Read node_events(wanted: &NodeEventsWanted) -> Vec<NodeEventRecord>;
        Read system_settings() -> SystemSettings;
        Write system_settings_replace(settings: &SystemSettings) -> ();
        Write vm_settings_replace(vm: VmUuid, settings: &VmSettings) -> ();
        Write report_request(vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageTag>;
        Read reports_arrived() -> Vec<ArrivedReport>;
        Read reports_pending() -> Vec<PendingReport>;
        Write report_apply(report: &ArrivedReport, content: Option<&ReportContent>) -> bool;
        Read events(limit: u32) -> Vec<EventRecord>;
        Read quiet_news() -> Vec<QuietNews>;
        Pulse controller_heartbeat(controller: &ControllerHeartbeat) -> ();
        Read controllers() -> Vec<ControllerView>;
        Read roster(host_monitor: HostMonitorId) -> Roster;
        Read standings(host_monitor: HostMonitorId, guests: &[VmUuid]) -> Vec<(VmUuid, Standing)>;
        Write vms_start_listed(lists: &[VmList]) -> Vec<TransactionTag>;
        Write vms_stop(lists: &[VmList]) -> Vec<TransactionTag>;
        Write vms_remove(lists: &[VmList]) -> VmsRemoved;
        Write hosts_add_grouped(hosts: &[GroupedHost]) -> ();
        Write hosts_remove(hosts: &[HostKey]) -> Vec<HostKey>;
        Write host_group_remove(group: &str) -> Vec<HostKey>;
        Write host_monitors_add(hosts: &[HostRegistration]) -> ();
        Write host_monitors_remove(monitors: &[HostMonitorId]) -> Vec<HostMonitorId>;
        Write host_monitors_configure(scope: &SettingsScope, change: &SettingsChange) -> i64;
        Read protocol_versions() -> ProtocolVersions;
        Read transactions(wanted: &TransactionsWanted) -> Vec<Transaction>;
        Read node_data(of: Option<HostMonitorId>, limit: u32) -> NodeData;
        Read conflicts(limit: u32) -> Conflicts;
        Read vms_page(wanted: &VmsWanted) -> VmPage;
        Read vm_homes(vms: &[VmUuid]) -> Vec<VmHome>;
        Write vm_fence(vm: VmUuid, fenced: bool) -> ();
        Write message_put(vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageView>;
        Read messages(wanted: &MessagesWanted) -> MessagePage;
        Read message(tag: MessageTag) -> Option<Message>;
        Write messages_sync(of: Option<HostMonitorId>) -> Vec<TransactionTag>;
        Write messages_remove(of: Option<&[VmUuid]>) -> u64;
        Read mode_news() -> Vec<ModeNews>;
        Pulse prune(keep: &Retention, most: u32) -> Pruned;
    }

    fn event_append(&mut self, event: &NewEvent) -> Result<bool, StoreError> {
        let shared = self.shared.clone();
        let told = StoreNews::Told { name: event.name.clone(), incident: event.incident.clone() };
        self.call(Kind::Pulse, |store| {
            let new = store.event_append(event)?;
            if new {
                shared.lock().tell(told);
            }
            Ok(new)
        })
    }

    fn incident_close(&mut self, incident: &str) -> Result<(), StoreError> {
        let closed = StoreNews::Closed(incident.to_owned());
        self.call_and_tell(closed, |store| store.incident_close(incident))
    }

    fn quiet_tell(&mut self, news: &QuietNews, event: &NewEvent) -> Result<bool, StoreError> {
        let shared = self.shared.clone();
        let told = StoreNews::Told { name: event.name.clone(), incident: event.incident.clone() };
        self.call(Kind::Pulse, |store| {
            let new = store.quiet_tell(news, event)?;
            if new {
                shared.lock().tell(told);
            }
            Ok(new)
        })
    }

    fn mode_tell(&mut self, news: &ModeNews, event: &NewEvent) -> Result<bool, StoreError> {
        let shared = self.shared.clone();
        let told = StoreNews::Told { name: event.name.clone(), incident: event.incident.clone() };
        self.call(Kind::Pulse, |store| {
            let new = store.mode_tell(news, event)?;
            if new {
                let mut inner = shared.lock();
                inner.tell(told);
                inner.tell(StoreNews::Closed(event.incident.clone()));
            }
            Ok(new)
        })
    }

    fn vm_phase_replace(&mut self, vm: VmUuid, phase: &str) -> Result<(), StoreError> {
        let told = StoreNews::Phase(vm, phase.to_owned());
        self.call_and_tell(told, |store| store.vm_phase_replace(vm, phase))
    }

    fn host_monitor_apply(
        &mut self,
        host_monitor: HostMonitorId,
        writes: &[HostMonitorWrite],
    ) -> Result<Applied, StoreError> {
        self.call(Kind::Write, |store| store.host_monitor_apply(host_monitor, writes))
    }

    fn host_monitor_replay(
        &mut self,
        host_monitor: HostMonitorId,
        starts: &[StartWrites],
    ) -> Result<Applied, StoreError> {
        let mut writes = starts.iter().flat_map(|start| &start.writes);
        let pulse = writes.all(|(_, write)| matches!(write, HostMonitorWrite::Heartbeat));
        let kind = if pulse { Kind::Pulse } else { Kind::Write };
        self.call(kind, |store| store.host_monitor_replay(host_monitor, starts))
    }
}
