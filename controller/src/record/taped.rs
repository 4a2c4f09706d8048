//! Stores between the core and the record: one that writes down, and one that reads out.

use std::sync::{Mutex, PoisonError};

use vmpulse_local::recorder::Recorder;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;

use super::line::{Answer, What, sum};
use super::replay::{Finding, Playback};

/// Asks the store, and writes down what it says.
pub(super) struct Taped<'a, 'b> {
    inner: &'a mut dyn Store,
    recorder: &'a Mutex<&'b mut Recorder>,
}

impl<'a, 'b> Taped<'a, 'b> {
    pub(super) fn new(inner: &'a mut dyn Store, recorder: &'a Mutex<&'b mut Recorder>) -> Self {
        Self { inner, recorder }
    }

    fn write<T: serde::Serialize>(&self, name: &str, asked: u32, answer: &Result<T, StoreError>) {
        let what = What::Call { name, asked, answer: Answer::of(answer) };
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        // As late as the core last looked: it is not said that it read the clock now.
        let now = recorder.last();
        recorder.record(now, &what);
    }
}

/// An event that is recorded, if it is new; some are closed at once.
fn told(new: bool, event: &NewEvent, closed: bool) -> Vec<Finding> {
    if !new {
        return Vec::new();
    }
    let told = Finding::Told { name: event.name.clone(), incident: event.incident.clone() };
    let closed = closed.then(|| Finding::Closed(event.incident.clone()));
    [Some(told), closed].into_iter().flatten().collect()
}

/// What the core asks, and what it does not.
macro_rules! store {
    (taped { $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)* }
     telling { $($tell:ident($($targ:ident: $ttype:ty),*) -> $tout:ty => $found:expr;)* }
     others { $($other:ident($($oarg:ident: $otype:ty),*) -> $oout:ty;)* }) => {
        impl Store for Taped<'_, '_> {
            fn now(&self) -> Result<StoreTime, StoreError> {
                self.inner.now()
            }

            fn change_stamp(&self) -> Result<u64, StoreError> {
                let answer = self.inner.change_stamp();
                self.write("change_stamp", 0, &answer);
                answer
            }

            $(fn $name(&mut self, $($arg: $type),*) -> Result<$out, StoreError> {
                let asked = sum(&($(&$arg,)*));
                let answer = self.inner.$name($($arg),*);
                self.write(stringify!($name), asked, &answer);
                answer
            })*

            $(fn $tell(&mut self, $($targ: $ttype),*) -> Result<$tout, StoreError> {
                let asked = sum(&($(&$targ,)*));
                let answer = self.inner.$tell($($targ),*);
                self.write(stringify!($tell), asked, &answer);
                answer
            })*

            $(fn $other(&mut self, $($oarg: $otype),*) -> Result<$oout, StoreError> {
                self.inner.$other($($oarg),*)
            })*
        }

        impl Store for Playback<'_, '_> {
            fn now(&self) -> Result<StoreTime, StoreError> {
                self.unrecorded("now")
            }

            fn change_stamp(&self) -> Result<u64, StoreError> {
                self.answer("change_stamp", 0)
            }

            $(fn $name(&mut self, $($arg: $type),*) -> Result<$out, StoreError> {
                self.answer(stringify!($name), sum(&($(&$arg,)*)))
            })*

            $(fn $tell(&mut self, $($targ: $ttype),*) -> Result<$tout, StoreError> {
                let answer: $tout = self.answer(stringify!($tell), sum(&($(&$targ,)*)))?;
                self.find(($found)(answer));
                Ok(answer)
            })*

            $(fn $other(&mut self, $($oarg: $otype),*) -> Result<$oout, StoreError> {
                let _ = ($($oarg,)*);
                self.unrecorded(stringify!($other))
            })*
        }
    };
}

store! {
    taped {
    quick_query() -> QuickQuery;
    needs_attention() -> NeedsAttention;
    acknowledge(tag: AttentionTag) -> bool;
    vms() -> Vec<VmView>;
    applications() -> Vec<ApplicationView>;
    system_settings() -> SystemSettings;
    report_request(vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageTag>;
    reports_arrived() -> Vec<ArrivedReport>;
    reports_pending() -> Vec<PendingReport>;
    report_apply(report: &ArrivedReport, content: Option<&ReportContent>) -> bool;
    quiet_news() -> Vec<QuietNews>;
    mode_news() -> Vec<ModeNews>;
    controller_heartbeat(controller: &ControllerHeartbeat) -> ();
    }
    telling {
    event_append(event: &NewEvent) -> bool => |new| told(new, event, false);
    quiet_tell(news: &QuietNews, event: &NewEvent) -> bool => |new| told(new, event, false);
    mode_tell(news: &ModeNews, event: &NewEvent) -> bool => |new| told(new, event, true);
    incident_close(incident: &str) -> () => |()| vec![Finding::Closed(incident.to_owned())];
    vm_phase_replace(vm: VmUuid, phase: &str) -> () => |()| vec![Finding::Phase(vm, phase.to_owned())];
    }
    others {
    hosts_add(hosts: &[HostRegistration]) -> ();
    vms_add(host: &HostKey, vms: &[VmRegistration]) -> ();
    vms_start(vms: &[VmUuid]) -> Vec<TransactionTag>;
    host_monitors_unassigned() -> Vec<HostMonitorStatus>;
    needs_attention_of(host: &HostKey) -> NeedsAttention;
    node_events(wanted: &NodeEventsWanted) -> Vec<NodeEventRecord>;
    system_settings_replace(settings: &SystemSettings) -> ();
    vm_settings_replace(vm: VmUuid, settings: &VmSettings) -> ();
    events(limit: u32) -> Vec<EventRecord>;
    controllers() -> Vec<ControllerView>;
    roster(host_monitor: HostMonitorId) -> Roster;
    standings(host_monitor: HostMonitorId, guests: &[VmUuid]) -> Vec<(VmUuid, Standing)>;
    vms_start_listed(lists: &[VmList]) -> Vec<TransactionTag>;
    vms_stop(lists: &[VmList]) -> Vec<TransactionTag>;
    vms_remove(lists: &[VmList]) -> VmsRemoved;
    hosts_add_grouped(hosts: &[GroupedHost]) -> ();
    hosts_remove(hosts: &[HostKey]) -> Vec<HostKey>;
    host_group_remove(group: &str) -> Vec<HostKey>;
    host_monitors_add(hosts: &[HostRegistration]) -> ();
    host_monitors_remove(monitors: &[HostMonitorId]) -> Vec<HostMonitorId>;
    host_monitors_configure(scope: &SettingsScope, change: &SettingsChange) -> i64;
    protocol_versions() -> ProtocolVersions;
    transactions(wanted: &TransactionsWanted) -> Vec<Transaction>;
    node_data(of: Option<HostMonitorId>, limit: u32) -> NodeData;
    conflicts(limit: u32) -> Conflicts;
    vms_page(wanted: &VmsWanted) -> VmPage;
    vm_homes(vms: &[VmUuid]) -> Vec<VmHome>;
    vm_fence(vm: VmUuid, fenced: bool) -> ();
    message_put(vm: VmUuid, acknowledge: Option<AttentionTag>) -> Option<MessageView>;
    messages(wanted: &MessagesWanted) -> MessagePage;
    message(tag: MessageTag) -> Option<Message>;
    messages_sync(of: Option<HostMonitorId>) -> Vec<TransactionTag>;
    messages_remove(of: Option<&[VmUuid]>) -> u64;
    prune(keep: &Retention, most: u32) -> Pruned;
    host_monitor_apply(host_monitor: HostMonitorId, writes: &[HostMonitorWrite]) -> Applied;
    host_monitor_replay(host_monitor: HostMonitorId, starts: &[StartWrites]) -> Applied;
    }
}
