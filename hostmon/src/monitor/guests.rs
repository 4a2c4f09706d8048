//! What guests do: handshakes, heartbeats, and being told to beat.
//!
//! Whether a guest beats is reconciled, not commanded: whatever was lost or restarted, the difference between
//! what is *wanted* and what it was *told* is sent when it can hear it.

use std::collections::BTreeSet;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::{DEFAULT_HEARTBEAT_INTERVAL_MS, HEARTBEAT_INTERVAL_MS, Message};
use vmpulse_protocol::path::{CloseReason, Refusal};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;
use vmpulse_store::{ConflictKind, Discovery, HostMonitorWrite, SuspendReason};

use super::notes::{Note, Stranger};
use super::roster::Asked;
use super::{Monitor, Output};
use crate::sessions::{Beat, SessionEvent, SessionView};

/// A registered VM of this host, or one of another host that came by.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Interval in milliseconds; `None`: no heartbeats.
    pub(super) wanted: Option<u32>,
    /// What it acknowledged on its present path; `None`: nothing was said yet. [M-8]
    pub(super) told: Option<Option<u32>>,
    /// A message about it is under way.
    pub(super) telling: bool,
    /// Its present path speaks 2.0, which knows one interval. [M-4]
    pub(super) plain: bool,
    /// As the store last said.
    pub(super) suspended: Option<SuspendReason>,
}

/// What a guest said of its own troubles. Most never have any.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// It was told that its agent does not run, and not yet that it does.
    agent_failed: bool,
    /// When that was told last.
    agent_failed_at: Option<Instant>,
    /// When it said last that it would not beat any more.
    pub(super) dying_at: Option<Instant>,
}

/// Failures of one VM's agent that are told, and its last words: one in so much time, so that a guest cannot fill the store.
pub(super) const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Watched {
    /// What it is to be told.
    pub(super) fn due(&self) -> Option<u32> {
        if self.plain { self.wanted.map(|_| DEFAULT_HEARTBEAT_INTERVAL_MS) } else { self.wanted }
    }
}

pub(super) const fn interval(interval_ms: u32) -> Duration {
    Duration::from_millis(interval_ms as u64)
}

impl Monitor {
    pub(super) fn on_session_events(&mut self, now: Instant) {
        while let Some(event) = self.sessions.poll_event() {
            self.on_session_event(now, event);
        }
    }

    fn on_session_event(&mut self, now: Instant, event: SessionEvent) {
        match event {
            SessionEvent::Opened { vm, mac, version } => self.on_opened(now, vm, mac, version),
            SessionEvent::Closed { vm, reason, .. } => {
                self.note_of_path(now, vm, Note::Closed { vm, reason });
                self.on_path_changed(vm);
                self.questions.forget(vm);
                self.on_never_told(now, vm);
            }
            SessionEvent::Message { vm, receipt, payload } => self.on_message(now, vm, receipt, &payload),
            SessionEvent::Delivered { token } => self.on_delivered(now, token),
            SessionEvent::HandedBack { token } => self.on_handed_back(token),
            SessionEvent::Unanswered { vm } => self.on_unanswered(now, vm),
            SessionEvent::Guardian { vm, beats } => self.on_guardian(now, vm, beats),
            SessionEvent::CannotManage { mac, uuid } => self.on_cannot_manage(now, mac, uuid),
            SessionEvent::AnotherAddress { vm, open_at, mac } => {
                self.on_another_address(now, vm, open_at, mac)
            }
            SessionEvent::VersionConflict { mac, uuid, versions } => {
                self.on_version_conflict(now, mac, uuid, &versions)
            }
            SessionEvent::Refused { vm, mac, refusal } => self.on_refused(now, vm, mac, refusal),
            SessionEvent::Authenticated { vm } => self.outputs.push_back(Output::Authenticated { vm }),
            SessionEvent::Forgeries { vm, mac } => self.on_forgeries(vm, mac),
        }
    }

    /// A VM that was watched by the longest interval, since it had not acknowledged any, has not answered: now it is to beat as it should.
    fn on_never_told(&mut self, now: Instant, vm: VmUuid) {
        let Some(watched) = self.watched.get(&vm) else { return };
        let due = watched.due();
        if let Some(interval_ms) = due
            && watched.told != Some(due)
            && self.tracker.is_watched(vm)
        {
            self.tracker.handle_started(now, vm, interval(interval_ms));
        }
    }

    /// Comes most often of all: two hints, and nothing else to be looked for.
    pub(super) fn on_heartbeat(&mut self, now: Instant, arrived: Instant, mac: MacAddr, beat: Beat) {
        let Beat { vm, hints } = beat;
        let [mut watch, mut known] = hints;
        self.tracker.handle_heartbeat_near(arrived, vm, &mut watch);
        let watched = self.watched.get_near_mut(&vm, &mut known);
        if [watch, known] != hints {
            self.sessions.remember(mac, [watch, known]);
        }
        let Some(watched) = watched else { return self.on_heartbeat_of_stranger(now, vm, mac) };
        let due = watched.due();
        if watched.told == Some(due) {
            return;
        }
        if let Some(interval_ms) = due
            && !self.tracker.is_watched(vm)
        {
            // It is heard before it has acknowledged that it was told to beat: its silence ends now, not with its next one. Until
            // it has, or is given up, it may beat as a former life of this monitor told it to: as seldom as can be.
            let longest = interval_ms.max(*HEARTBEAT_INTERVAL_MS.end());
            self.tracker.handle_started(arrived, vm, interval(longest));
            self.tracker.handle_heartbeat(arrived, vm);
        }
        // By a start of an earlier life of this monitor, perhaps: stopping it is something to be said, too.
        let _ = watched.told.get_or_insert(Some(0));
        self.reconcile(now, vm);
    }

    /// A line about a path. Of VMs that are registered each is written; of others few at once, since anybody can make them up.
    fn note_of_path(&mut self, now: Instant, vm: VmUuid, note: Note) {
        if !self.watched.contains_key(&vm) {
            self.note_left_out(now);
            if !self.stranger_lines.may_write(now) {
                return;
            }
        }
        self.note(note);
    }

    /// Says how many lines were left out, once it is over.
    pub(super) fn note_left_out(&mut self, now: Instant) {
        if let Some(lines) = self.stranger_lines.take_left_out(now) {
            self.note(Note::LeftOut { lines });
        }
    }

    fn on_opened(&mut self, now: Instant, vm: VmUuid, mac: MacAddr, version: Version) {
        self.sessions.handle_arrived(vm, now.back(self.read_late));
        self.questions.forget(vm);
        let registered = self.watched.contains_key(&vm);
        // Before the store was read nothing is known of anybody.
        let opened = Note::Opened { vm, mac, version, registered: registered || !self.roster_known };
        self.note_of_path(now, vm, opened);
        self.on_path_changed(vm);
        self.tracker.handle_opened(vm);
        // Whoever shakes hands anew is the agent.
        self.on_guardian(now, vm, false);
        if registered {
            self.write_opened(now, vm);
            self.reconcile(now, vm);
        } else {
            self.questions.ask();
        }
    }

    pub(super) fn report_unmanaged(&mut self, now: Instant, vm: VmUuid) {
        let Some(SessionView { mac, .. }) = self.sessions.view(vm) else { return };
        if self.reported.is_new(now, mac, Stranger::Unmanaged) {
            let (uuid, mac) = (vm.to_string(), mac.to_string());
            self.write(HostMonitorWrite::Discovered { uuid, mac, kind: Discovery::Unmanaged });
        }
    }

    /// The open path of the VM, if it has one, with the age of its handshake: that may be long ago when the VM is known only now, and
    /// it may have told another host monitor since that it shuts down.
    pub(super) fn write_opened(&mut self, now: Instant, vm: VmUuid) {
        let Some(SessionView { mac, version, security, opened, .. }) = self.sessions.view(vm) else { return };
        let (mac, version) = (mac.to_string(), version.to_string());
        let authenticated = security.is_some_and(|(directions, _)| directions.incoming);
        let age = now.since(opened);
        self.write(HostMonitorWrite::PathOpened { vm, mac, version, authenticated, age });
    }

    /// A new path was told nothing yet.
    fn on_path_changed(&mut self, vm: VmUuid) {
        if let Some(watched) = self.watched.get_mut(&vm) {
            watched.told = None;
            watched.telling = false;
            self.answer_stop(vm, false);
        }
    }

    /// Tells the VM to beat or not to, unless it was told so.
    pub(super) fn reconcile(&mut self, now: Instant, vm: VmUuid) {
        let version = self.sessions.view(vm).map(|session| session.version);
        let Some(watched) = self.watched.get_mut(&vm) else { return };
        watched.plain = version.is_some_and(|version| version < Version::V2_1);
        let unsaid = watched.told.unwrap_or_default() != watched.due();
        if watched.telling || !unsaid || !self.sessions.is_open(vm) {
            return;
        }
        watched.telling = true;
        let interval_ms = watched.due();
        let message = match interval_ms {
            Some(interval_ms) => {
                // It may beat by the new interval long before its acknowledgement comes.
                self.tracker.handle_telling(vm, interval(interval_ms));
                Message::StartHeartbeat { interval_ms }
            }
            None => Message::StopHeartbeat,
        };
        self.send(now, vm, Asked::Heartbeats { vm, interval_ms }, &message);
    }

    pub(super) fn on_told(&mut self, now: Instant, vm: VmUuid, interval_ms: Option<u32>) {
        let Some(watched) = self.watched.get_mut(&vm) else { return };
        watched.telling = false;
        watched.told = Some(interval_ms);
        if let Some(interval_ms) = interval_ms.filter(|_| watched.wanted.is_some()) {
            self.tracker.handle_started(now, vm, interval(interval_ms));
        }
        // Something else may be wanted by now.
        self.reconcile(now, vm);
        self.answer_stop(vm, false);
    }

    /// A guest that beats is not cut off because it did not answer: it is asked to shake hands anew.
    fn on_unanswered(&mut self, now: Instant, vm: VmUuid) {
        self.sessions.hello_vm(now, vm);
        self.on_never_told(now, vm);
        if !self.tracker.is_beating(vm) {
            self.sessions.close(now, vm, CloseReason::Unanswered);
        }
    }

    /// An agent hangs or died, and its guardian keeps the path: told once, and once when that is over. A guest that goes to and
    /// fro is told of once a minute. [M-15]
    fn on_guardian(&mut self, now: Instant, vm: VmUuid, beats: bool) {
        if !self.watched.contains_key(&vm) || !beats && !self.troubles.contains_key(&vm) {
            return;
        }
        let trouble = self.troubles.entry(vm).or_default();
        let recently = trouble.agent_failed_at.is_some_and(|at| now.since(at) < TOLD_AGAIN_AFTER);
        if beats == trouble.agent_failed || (beats && recently) {
            return;
        }
        trouble.agent_failed = beats;
        let (kind, text) = if beats {
            trouble.agent_failed_at = Some(now);
            ("AGENT_FAILURE", format!("the agent of VM {vm} hangs or died; its guardian beats in its place"))
        } else {
            ("AGENT_BACK", format!("the agent of VM {vm} is back"))
        };
        self.note(Note::Agent { vm, failed: beats });
        self.write(HostMonitorWrite::PathGuardian { vm, guardian: beats });
        self.write(HostMonitorWrite::NodeEvent { kind: kind.to_owned(), text });
    }

    /// What was not told at once, because it had been told lately.
    pub(super) fn reconcile_guardians(&mut self, now: Instant) {
        let beats = |vm: &VmUuid| self.sessions.view(*vm).is_some_and(|session| session.guardian);
        let known = self.troubles.iter().map(|(vm, trouble)| (*vm, trouble.agent_failed, beats(vm)));
        // In an order that does not depend on the table's: a replay says the same.
        let untold: BTreeSet<_> = known.filter(|(_, told, beats)| told != beats).collect();
        for (vm, _, beats) in untold {
            self.on_guardian(now, vm, beats);
        }
    }

    fn on_cannot_manage(&mut self, now: Instant, mac: MacAddr, uuid: String) {
        if self.reported.is_new(now, mac, Stranger::CannotManage) {
            let text = format!("its UUID {uuid:?} is none; give the VM a UUID, or the agent a vm_uuid");
            self.note(Note::Stranger { mac, text });
            let mac = mac.to_string();
            self.write(HostMonitorWrite::Discovered { uuid, mac, kind: Discovery::CannotManage });
        }
    }

    /// Two addresses claim one UUID. While the first beats, the second is turned away and recorded. When the first is
    /// MISSING the VM may have got a new adapter: then the sessions let it in. [S-21]
    fn on_another_address(&mut self, now: Instant, vm: VmUuid, open_at: MacAddr, mac: MacAddr) {
        if self.reported.is_new(now, mac, Stranger::UuidConflict) {
            let text = format!("{mac} claims the UUID of VM {vm}, whose path is open at {open_at}");
            self.note(Note::Stranger { mac, text: text.clone() });
            let (uuid, mac) = (vm.to_string(), mac.to_string());
            self.write(HostMonitorWrite::Conflict { uuid, mac, kind: ConflictKind::Uuid, text });
        }
    }

    fn on_refused(&mut self, now: Instant, vm: VmUuid, mac: MacAddr, refusal: Refusal) {
        if self.reported.is_new(now, mac, Stranger::from(refusal)) {
            let text = format!("a handshake for VM {vm} from {mac} was refused: {refusal}");
            self.note(Note::Stranger { mac, text: text.clone() });
            self.write(HostMonitorWrite::NodeEvent { kind: "AUTHENTICATION_REFUSED".to_owned(), text });
        }
    }

    /// At most once a minute for each path.
    fn on_forgeries(&mut self, vm: VmUuid, mac: MacAddr) {
        let text = format!(
            "packets on the path of VM {vm} at {mac} are forged or replayed, or the guest was restored from a snapshot; \
             they are dropped"
        );
        self.note(Note::Stranger { mac, text: text.clone() });
        self.write(HostMonitorWrite::NodeEvent { kind: "FORGERY".to_owned(), text });
    }

    fn on_version_conflict(&mut self, now: Instant, mac: MacAddr, uuid: String, versions: &str) {
        if self.reported.is_new(now, mac, Stranger::VersionConflict) {
            let (lower, upper) = (self.config.identity.lower, self.config.identity.upper);
            let text = format!("it speaks HVNCP {versions}, this monitor {lower}-{upper}");
            self.note(Note::Stranger { mac, text: text.clone() });
            let mac = mac.to_string();
            self.write(HostMonitorWrite::Conflict { uuid, mac, kind: ConflictKind::Version, text });
        }
    }
}
