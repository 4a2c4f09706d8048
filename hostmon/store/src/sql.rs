//! The requests as sequences of statements, the same on every back end.

mod attention;
mod conditions;
pub(crate) mod db;
mod hosts;
mod leaving;
mod messages;
mod modes;
mod monitor;
mod monitor_settings;
mod node_data;
mod node_events;
mod progress;
mod quiet;
mod registration;
mod removal;
mod reports;
mod requests;
mod retention;
mod roster;
mod rows;
mod silence;
mod standings;
mod sundry;
mod tags;
mod two_hosts;
mod views;
mod vm_page;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use crate::*;
use db::Db;

#[cfg(test)]
pub(crate) use {
    attention::POLLED, hosts::QUICK, leaving::LEAVING, retention::prunes, standings::standings_sql,
};

/// One transaction: the connection inside it, and the store's time at its start.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) db: &'a dyn Db,
    pub(crate) now: StoreTime,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads one consistent picture.
    Read,
    /// It writes what others may wait for. Of several that write one runs after the other, so that numbers of the
    /// sequence become visible in their order.
    Write,
    /// It writes a sign of life, or tidies up: nobody needs to look.
    Heartbeat,
}

/// What a database has to offer to be a health store.
pub(crate) trait BackEnd {
    /// See [`Store::now`].
    fn time(&self) -> Result<StoreTime, StoreError>;

    /// See [`Store::change_stamp`].
    fn stamp(&self) -> Result<u64, StoreError>;

    /// Runs `body` in a transaction: entirely or not at all.
    fn transact<T>(
        &mut self,
        access: Access,
        body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>;

    /// The start of the host monitor that writes through this connection.
    fn incarnation(&mut self) -> &mut Option<String>;

    fn read<T>(&mut self, body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.transact(Access::Read, body)
    }

    fn write<T>(&mut self, body: impl FnOnce(Turn<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.transact(Access::Write, body)
    }

    fn apply(&mut self, from: HostMonitorId, writes: &[Numbered<'_>]) -> Result<Applied, StoreError> {
        let known = self.incarnation().clone();
        let start = writes.iter().rev().find_map(|(_, write)| write.start());
        let own = start.map(|start| start.incarnation.clone()).or_else(|| known.clone());
        let all = [Numbering { incarnation: own.as_deref(), writes, of_earlier_boot: false }];
        let applied = self.apply_starts(from, known.as_deref(), &all)?;
        *self.incarnation() = own;
        Ok(applied)
    }

    fn replay(&mut self, from: HostMonitorId, starts: &[StartWrites]) -> Result<Applied, StoreError> {
        let known = self.incarnation().clone();
        let numbered: Vec<Vec<Numbered<'_>>> = starts
            .iter()
            .map(|start| start.writes.iter().map(|(number, write)| (Some(*number), write)).collect())
            .collect();
        let all: Vec<_> = starts
            .iter()
            .zip(&numbered)
            .map(|(start, writes)| {
                let StartWrites { incarnation, of_earlier_boot, .. } = start;
                Numbering { incarnation: Some(incarnation), writes, of_earlier_boot: *of_earlier_boot }
            })
            .collect();
        let own = starts.last().filter(|start| !start.writes.is_empty());
        let own = own.map(|start| start.incarnation.as_str());
        let applied = self.apply_starts(from, known.as_deref(), &all)?;
        *self.incarnation() = own.map(ToOwned::to_owned).or(known);
        Ok(applied)
    }

    fn apply_starts(
        &mut self,
        from: HostMonitorId,
        known: Option<&str>,
        starts: &[Numbering<'_>],
    ) -> Result<Applied, StoreError> {
        let alive = |(_, write): &Numbered<'_>| **write == HostMonitorWrite::Heartbeat;
        let alive = starts.iter().all(|start| start.writes.iter().all(alive));
        let access = if alive { Access::Heartbeat } else { Access::Write };
        self.transact(access, |turn| turn.host_monitor_apply(from, known, starts))
    }
}

/// A write with its number, if it has one.
pub(crate) type Numbered<'a> = (Option<u64>, &'a HostMonitorWrite);

/// What one start of a host monitor wrote.
pub(crate) struct Numbering<'a> {
    /// Which start, if it is known.
    pub(crate) incarnation: Option<&'a str>,
    /// With the numbers of that start.
    pub(crate) writes: &'a [Numbered<'a>],
    /// See [`StartWrites::of_earlier_boot`].
    pub(crate) of_earlier_boot: bool,
}

impl<B: BackEnd + Send> Store for B {
    fn now(&self) -> Result<StoreTime, StoreError> {
        self.time()
    }

    fn change_stamp(&self) -> Result<u64, StoreError> {
        self.stamp()
    }

    fn hosts_add(&mut self, hosts: &[HostRegistration]) -> Result<(), StoreError> {
        self.write(|turn| turn.hosts_add(hosts))
    }

    fn vms_add(&mut self, host: &HostKey, vms: &[VmRegistration]) -> Result<(), StoreError> {
        self.write(|turn| turn.vms_add(host, vms))
    }

    fn vms_start(&mut self, vms: &[VmUuid]) -> Result<Vec<TransactionTag>, StoreError> {
        self.write(|turn| turn.vms_start(&[VmList { host: None, vms: vms.to_vec() }]))
    }

    fn vms_start_listed(&mut self, lists: &[VmList]) -> Result<Vec<TransactionTag>, StoreError> {
        self.write(|turn| turn.vms_start(lists))
    }

    fn vms_stop(&mut self, lists: &[VmList]) -> Result<Vec<TransactionTag>, StoreError> {
        self.write(|turn| turn.vms_stop(lists))
    }

    fn vms_remove(&mut self, lists: &[VmList]) -> Result<VmsRemoved, StoreError> {
        self.write(|turn| turn.vms_remove(lists))
    }

    fn hosts_add_grouped(&mut self, hosts: &[GroupedHost]) -> Result<(), StoreError> {
        self.write(|turn| turn.hosts_add_grouped(hosts))
    }

    fn hosts_remove(&mut self, hosts: &[HostKey]) -> Result<Vec<HostKey>, StoreError> {
        self.write(|turn| turn.hosts_remove(hosts))
    }

    fn host_group_remove(&mut self, group: &str) -> Result<Vec<HostKey>, StoreError> {
        self.write(|turn| turn.host_group_remove(group))
    }

    fn host_monitors_add(&mut self, hosts: &[HostRegistration]) -> Result<(), StoreError> {
        self.write(|turn| turn.host_monitors_add(hosts))
    }

    fn host_monitors_remove(&mut self, monitors: &[HostMonitorId]) -> Result<Vec<HostMonitorId>, StoreError> {
        self.write(|turn| turn.host_monitors_remove(monitors))
    }

    fn host_monitors_configure(
        &mut self,
        scope: &SettingsScope,
        change: &SettingsChange,
    ) -> Result<i64, StoreError> {
        self.write(|turn| turn.host_monitors_configure(scope, change))
    }

    fn protocol_versions(&mut self) -> Result<ProtocolVersions, StoreError> {
        self.read(|turn| turn.protocol_versions())
    }

    fn transactions(&mut self, wanted: &TransactionsWanted) -> Result<Vec<Transaction>, StoreError> {
        self.read(|turn| turn.transactions(wanted))
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

    fn node_data(&mut self, of: Option<HostMonitorId>, limit: u32) -> Result<NodeData, StoreError> {
        self.read(|turn| turn.node_data(of, limit))
    }

    fn conflicts(&mut self, limit: u32) -> Result<Conflicts, StoreError> {
        self.read(|turn| turn.conflicts(limit))
    }

    fn vms_page(&mut self, wanted: &VmsWanted) -> Result<VmPage, StoreError> {
        self.read(|turn| turn.vms_page(wanted))
    }

    fn vm_homes(&mut self, vms: &[VmUuid]) -> Result<Vec<VmHome>, StoreError> {
        self.read(|turn| turn.vm_homes(vms))
    }

    fn vm_fence(&mut self, vm: VmUuid, fenced: bool) -> Result<(), StoreError> {
        self.write(|turn| turn.vm_fence(vm, fenced))
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
        Ok(self.message_put(vm, acknowledge)?.map(|message| message.tag))
    }

    fn message_put(
        &mut self,
        vm: VmUuid,
        acknowledge: Option<AttentionTag>,
    ) -> Result<Option<MessageView>, StoreError> {
        self.write(|turn| turn.message_put(vm, acknowledge))
    }

    fn messages(&mut self, wanted: &MessagesWanted) -> Result<MessagePage, StoreError> {
        self.read(|turn| turn.messages(wanted))
    }

    fn message(&mut self, tag: MessageTag) -> Result<Option<Message>, StoreError> {
        self.read(|turn| turn.message(tag))
    }

    fn messages_sync(&mut self, of: Option<HostMonitorId>) -> Result<Vec<TransactionTag>, StoreError> {
        self.write(|turn| turn.messages_sync(of))
    }

    fn messages_remove(&mut self, of: Option<&[VmUuid]>) -> Result<u64, StoreError> {
        self.write(|turn| turn.messages_remove(of))
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
        content: Option<&ReportContent>,
    ) -> Result<bool, StoreError> {
        self.write(|turn| turn.report_apply(report, content))
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

    fn mode_news(&mut self) -> Result<Vec<ModeNews>, StoreError> {
        self.read(|turn| turn.mode_news())
    }

    fn mode_tell(&mut self, news: &ModeNews, event: &NewEvent) -> Result<bool, StoreError> {
        self.write(|turn| turn.mode_tell(news, event))
    }

    fn vm_phase_replace(&mut self, vm: VmUuid, phase: &str) -> Result<(), StoreError> {
        self.write(|turn| turn.vm_phase_replace(vm, phase))
    }

    fn controller_heartbeat(&mut self, controller: &ControllerHeartbeat) -> Result<(), StoreError> {
        self.transact(Access::Heartbeat, |turn| turn.controller_heartbeat(controller))
    }

    fn controllers(&mut self) -> Result<Vec<ControllerView>, StoreError> {
        self.read(|turn| turn.controllers())
    }

    fn prune(&mut self, keep: &Retention, most: u32) -> Result<Pruned, StoreError> {
        self.transact(Access::Heartbeat, |turn| turn.prune(keep, most))
    }

    fn host_monitor_apply(
        &mut self,
        host_monitor: HostMonitorId,
        writes: &[HostMonitorWrite],
    ) -> Result<Applied, StoreError> {
        let writes: Vec<_> = writes.iter().map(|write| (None, write)).collect();
        self.apply(host_monitor, &writes)
    }

    fn host_monitor_replay(
        &mut self,
        host_monitor: HostMonitorId,
        starts: &[StartWrites],
    ) -> Result<Applied, StoreError> {
        self.replay(host_monitor, starts)
    }

    fn roster(&mut self, host_monitor: HostMonitorId) -> Result<Roster, StoreError> {
        self.read(|turn| turn.roster(host_monitor))
    }

    fn standings(
        &mut self,
        host_monitor: HostMonitorId,
        guests: &[VmUuid],
    ) -> Result<Vec<(VmUuid, Standing)>, StoreError> {
        self.read(|turn| turn.standings(host_monitor, guests))
    }
}
