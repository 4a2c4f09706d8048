//! What the store wants: whom to monitor, and requests to carry out.

use std::collections::{BTreeSet, HashSet};

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::Message;
use vmpulse_protocol::path::Token;
use vmpulse_protocol::time::Instant;
use vmpulse_store::{
    HostMonitorRequest, HostMonitorWrite, NodeState, RequestKind, Roster, RosterPath, RosterVm, VmState,
};

use super::Monitor;
use super::guests::Watched;

/// What a message to a guest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `START_HB` with this interval, or `STOP_HB`.
    Heartbeats { vm: VmUuid, interval_ms: Option<u32> },
    /// A request of the store.
    Request { tag: i64 },
    /// `QUIET_OK`.
    QuietAnswer,
}

impl Monitor {
    pub(super) fn on_roster(&mut self, now: Instant, roster: Roster) {
        self.on_removed(roster.removed);
        if roster.state != Some(NodeState::Down) {
            self.said_anew = None;
        }
        let registered_anew = self.is_registered_anew(&roster);
        if registered_anew {
            self.say_who_it_is();
            self.said_anew = Some(self.next_write);
        }
        self.on_settings(now, roster.settings);
        let registered: HashSet<VmUuid> =
            roster.vms.iter().chain(&roster.visiting).map(|vm| vm.uuid).collect();
        for vm in &roster.vms {
            self.on_roster_vm(now, vm);
        }
        for vm in &roster.visiting {
            self.on_visiting(now, vm);
        }
        // In an order that does not depend on the table's: a replay does the same.
        let gone: BTreeSet<VmUuid> =
            self.watched.keys().filter(|vm| !registered.contains(*vm)).copied().collect();
        for vm in gone {
            if self.sessions.is_open(vm) && !self.removed {
                // Of another host now, maybe, but heard here: it stays watched until that is known.
                self.questions.ask();
            } else {
                self.on_roster_vm_gone(now, vm);
            }
        }
        let all = roster.vms.iter().chain(&roster.visiting);
        let addresses = all.filter_map(|vm| vm.path.as_ref()?.mac.parse().ok()).collect();
        let is_unmonitored = |vm: &&RosterVm| self.wanted(vm).is_none();
        let unmonitored =
            roster.vms.iter().chain(&roster.visiting).filter(is_unmonitored).map(|vm| vm.uuid).collect();
        self.sessions.handle_registered(registered, unmonitored, addresses);
        self.on_roster_quiets(now, roster.quiet);
        if !std::mem::replace(&mut self.roster_known, true) {
            // Guests that shook hands before anything was known of them are looked at now.
            self.questions.ask();
        }
        self.on_intervals_changed(now);
        if registered_anew {
            self.say_paths_again(now);
        }
        let open: BTreeSet<i64> = roster.requests.iter().map(|request| request.tag).collect();
        self.requests.retain(|tag| open.contains(tag));
        for request in roster.requests {
            self.on_request(now, &request);
        }
    }

    /// At which interval the VM is to beat, if it is.
    fn wanted(&self, vm: &RosterVm) -> Option<u32> {
        match vm.state {
            VmState::Starting | VmState::Started | VmState::Suspended => {
                Some(vm.heartbeat_interval_ms.unwrap_or(self.config.heartbeat_interval_ms))
            }
            VmState::Added | VmState::Stopping | VmState::Stopped | VmState::Removing | VmState::Unknown => {
                None
            }
        }
    }

    fn on_roster_vm(&mut self, now: Instant, vm: &RosterVm) {
        let wanted = self.wanted(vm);
        if self.is_settled(vm, wanted) {
            return;
        }
        let new = !self.watched.contains_key(&vm.uuid);
        self.watched.change(vm.uuid, |watched| {
            watched.wanted = wanted;
            watched.suspended = vm.suspended;
        });
        if new {
            // Its path may have been open before the store was read, or before the VM was registered.
            self.write_opened(now, vm.uuid);
        }
        match (wanted, &vm.path) {
            // Only at the start: later the tracker knows better than the store.
            (Some(interval_ms), Some(path)) if new && !self.roster_known => {
                self.expect(now, vm.uuid, interval_ms, path);
            }
            (Some(_), _) => {}
            (None, _) => self.unwatch(now, vm.uuid),
        }
        self.reconcile(now, vm.uuid);
    }

    /// Nothing else is wanted of it than what it was told: of thousands of VMs in a roster, nearly all.
    fn is_settled(&self, vm: &RosterVm, wanted: Option<u32>) -> bool {
        let same = |watched: &&Watched| watched.wanted == wanted && watched.suspended == vm.suspended;
        let watched = self.watched.get(&vm.uuid).filter(same);
        watched.is_some_and(|watched| watched.told == Some(watched.due()))
    }

    fn expect(&mut self, now: Instant, vm: VmUuid, interval_ms: u32, path: &RosterPath) {
        self.tracker.expect(now, vm, super::guests::interval(interval_ms), path.missed);
        self.sessions.handle_missing(now, vm, path.missed.is_some());
    }

    /// A VM of another host that was heard here: it is watched here, also after a restart. Alive is alive.
    pub(super) fn on_visiting(&mut self, now: Instant, vm: &RosterVm) {
        let wanted = self.wanted(vm);
        if self.is_settled(vm, wanted) {
            return;
        }
        self.watched.change(vm.uuid, |watched| {
            watched.wanted = wanted;
            watched.suspended = vm.suspended;
        });
        match (wanted, vm.path.as_ref().filter(|_| !self.roster_known)) {
            (Some(interval_ms), Some(path)) => {
                self.expect(now, vm.uuid, interval_ms, path);
            }
            (Some(_), None) => {}
            (None, _) => self.unwatch(now, vm.uuid),
        }
        self.reconcile(now, vm.uuid);
    }

    /// Removed from the store, or registered on another host now.
    pub(super) fn on_roster_vm_gone(&mut self, now: Instant, vm: VmUuid) {
        if let Some(watched) = self.watched.get_mut(&vm) {
            watched.wanted = None;
        }
        self.unwatch(now, vm);
        self.reconcile(now, vm);
        self.watched.remove(&vm);
        self.troubles.remove(&vm);
        self.asked_reports.remove(&vm);
        self.taken_reports.remove(&vm);
        self.drop_quiet(vm);
        self.answer_stop(vm, true);
    }

    fn unwatch(&mut self, now: Instant, vm: VmUuid) {
        if self.tracker.is_watched(vm) {
            self.tracker.forget(vm);
            self.sessions.handle_missing(now, vm, false);
            self.write(HostMonitorWrite::PathForgotten { vm });
        }
    }

    fn on_request(&mut self, now: Instant, request: &HostMonitorRequest) {
        let tag = request.tag;
        if self.requests.contains(&tag) {
            return;
        }
        match request.what {
            RequestKind::Reconsider(vm) => self.on_reconsider(now, vm, tag),
            RequestKind::AskReport { vm, message } => {
                self.asked_reports.insert(vm, message);
                self.ask(now, vm, tag, &Message::ReportRequest { tag: message, what: "apps" });
            }
            RequestKind::ReportTaken { vm, message } => {
                self.taken_reports.insert(vm, message);
                self.ask(now, vm, tag, &Message::ReportTaken { tag: message });
            }
        }
    }

    /// Sends a request's message if the VM can hear it; otherwise the request stays and comes with the next roster,
    /// or is replaced by whoever made it.
    fn ask(&mut self, now: Instant, vm: VmUuid, tag: i64, message: &Message<'_>) {
        if self.sessions.is_open(vm) {
            self.requests.insert(tag);
            self.send(now, vm, Asked::Request { tag }, message);
        }
    }

    pub(super) fn send(&mut self, now: Instant, vm: VmUuid, asked: Asked, message: &Message<'_>) {
        self.next_token = self.next_token.wrapping_add(1);
        let token = Token(self.next_token);
        self.under_way.insert(token, asked);
        self.sessions.send(now, vm, token, message);
    }

    pub(super) fn on_delivered(&mut self, now: Instant, token: Token) {
        match self.under_way.remove(&token) {
            Some(Asked::Heartbeats { vm, interval_ms }) => self.on_told(now, vm, interval_ms),
            Some(Asked::Request { tag }) => self.write(HostMonitorWrite::RequestDone { tag }),
            Some(Asked::QuietAnswer) | None => {}
        }
    }

    pub(super) fn on_handed_back(&mut self, token: Token) {
        match self.under_way.remove(&token) {
            Some(Asked::Heartbeats { vm, .. }) => {
                if let Some(watched) = self.watched.get_mut(&vm) {
                    watched.telling = false;
                }
                self.answer_stop(vm, true);
            }
            // Asked again with the next roster.
            Some(Asked::Request { tag }) => {
                self.requests.remove(&tag);
            }
            // A guest that is silent as it announced need not hear it; one that reconnects announces again.
            Some(Asked::QuietAnswer) | None => {}
        }
    }

    /// How many messages to guests are under way.
    #[cfg(test)]
    pub(super) fn messages_under_way(&self) -> usize {
        self.under_way.len()
    }
}
