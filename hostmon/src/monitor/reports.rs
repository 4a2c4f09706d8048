//! What guests say: each message is taken only when what it says is in the store.

use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::{Message, Shutdown};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{HostMonitorWrite, SuspendReason};

use super::Monitor;
use super::guests::TOLD_AGAIN_AFTER;
use super::notes::Note;
use crate::pending::GUEST_DYING;
use crate::sessions::Receipt;

impl Monitor {
    pub(super) fn on_message(&mut self, now: Instant, vm: VmUuid, receipt: Receipt, payload: &[u8]) {
        let Some(message) = Message::parse(payload) else {
            self.sessions.count_strange_message();
            return self.take_and_drop(now, receipt);
        };
        if !self.roster_known {
            // Who this is will be known when the store was read; until then nothing is taken. [M-13]
            return self.sessions.refuse(receipt);
        }
        let watched = self.watched.contains_key(&vm);
        if !watched && !self.removed && !self.questions.is_not_ours(vm) {
            // It may be one that moved here, of which the store has not been asked yet: it says it again.
            return self.sessions.refuse(receipt);
        }
        if let Message::Quiet { ms, reason } = message {
            return self.on_quiet(now, vm, receipt, ms, reason);
        }
        if !watched {
            // What a guest says that nobody manages is of no consequence, and must not fill the store.
            return self.take_and_drop(now, receipt);
        }
        let age = self.read_late;
        match message {
            Message::Shutdown(kind) => self.on_shutdown(now, vm, receipt, kind),
            Message::Suspend => {
                let reason = SuspendReason::Administrator;
                let what = "monitoring suspended by its administrator";
                self.announce(now, vm, receipt, what, HostMonitorWrite::Suspended { vm, reason, age });
            }
            Message::Resume => {
                let what = "monitoring resumed by its administrator";
                self.announce(now, vm, receipt, what, HostMonitorWrite::Resumed { vm, age });
            }
            Message::Dying { reason } => self.on_dying(now, vm, receipt, reason),
            Message::Doorbell(bits) => {
                self.write_for(now, vm, receipt, HostMonitorWrite::Doorbell { vm, bits: bits.0 });
            }
            // Only what was asked for: a guest cannot fill the store with reports. [M-13] [M-3]
            Message::Report { tag, xml } if self.asked_reports.get(&vm) == Some(&tag) => {
                self.asked_reports.remove(&vm);
                let payload = xml.to_vec();
                self.write_for(now, vm, receipt, HostMonitorWrite::Report { vm, message: tag, payload });
            }
            Message::ReportClear { tag } if self.taken_reports.get(&vm) == Some(&tag) => {
                self.taken_reports.remove(&vm);
                self.write_for(now, vm, receipt, HostMonitorWrite::ReportCleared { vm, message: tag });
            }
            Message::Report { .. } | Message::ReportClear { .. } => self.take_and_drop(now, receipt),
            Message::Heartbeat { .. }
            | Message::StartHeartbeat { .. }
            | Message::StopHeartbeat
            | Message::Quiet { .. }
            | Message::QuietOk { .. }
            | Message::ReportRequest { .. }
            | Message::ReportTaken { .. } => {
                self.sessions.count_strange_message();
                self.take_and_drop(now, receipt);
            }
        }
    }

    /// Its last words; what follows is silence, and counts as such. [M-16]
    fn on_dying(&mut self, now: Instant, vm: VmUuid, receipt: Receipt, reason: &str) {
        let said_at = self.troubles.get(&vm).and_then(|trouble| trouble.dying_at);
        if said_at.is_some_and(|at| now.since(at) < TOLD_AGAIN_AFTER) {
            return self.take_and_drop(now, receipt);
        }
        let text = format!("VM {vm} stops beating, in its own words: {reason}");
        let write = HostMonitorWrite::NodeEvent { kind: GUEST_DYING.to_owned(), text };
        if self.write_for(now, vm, receipt, write) {
            self.troubles.entry(vm).or_default().dying_at = Some(now);
            self.note(Note::Dying { vm, reason: reason.to_owned() });
        }
    }

    fn on_shutdown(&mut self, now: Instant, vm: VmUuid, receipt: Receipt, kind: Shutdown) {
        let age = self.read_late;
        let (what, reason) = match kind {
            Shutdown::Daemon => ("its agent is being stopped", SuspendReason::Daemon),
            Shutdown::Os => ("the guest is shutting down", SuspendReason::Os),
        };
        self.announce(now, vm, receipt, what, HostMonitorWrite::Suspended { vm, reason, age });
    }

    /// What is refused is not logged: it comes again, and a guest that says it at line rate must not fill the log.
    fn announce(
        &mut self,
        now: Instant,
        vm: VmUuid,
        receipt: Receipt,
        what: &'static str,
        write: HostMonitorWrite,
    ) {
        if self.write_for(now, vm, receipt, write) {
            self.note(Note::Announced { vm, what });
        }
    }

    /// Not acknowledging it would make the guest repeat it and give up its path. [M-2]
    pub(super) fn take_and_drop(&mut self, now: Instant, receipt: Receipt) {
        self.sessions.accept(now, receipt);
    }
}
