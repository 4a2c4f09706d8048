//! Who gets a path: which handshakes are answered, and what becomes of those that are complete.

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, Mode};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::message::VmmSyn;
use vmpulse_protocol::path::{CloseReason, Discard, Reception, SynOutcome};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Packet;

use super::{HANDSHAKE_PERIOD, SessionEvent, Sessions};

impl Sessions {
    pub(super) fn on_syn(&mut self, now: Instant, source: MacAddr, vlan: Option<u16>, packet: &Packet<'_>) {
        let Ok(syn) = VmmSyn::parse(packet.payload) else { return self.counters.discard(Discard::Syn) };
        let Ok(vm) = syn.uuid.parse::<VmUuid>() else {
            return self.events.push_back(SessionEvent::CannotManage { mac: source, uuid: syn.uuid });
        };
        if let Some(open_at) = self.by_vm.get(&vm).copied().filter(|open_at| *open_at != source)
            && !self.reminders.is_missing(vm)
        {
            return self.events.push_back(SessionEvent::AnotherAddress { vm, open_at, mac: source });
        }
        if !self.make_room_for(source) {
            return self.counters.discard(Discard::Paths);
        }
        let identity = self.identity;
        let reception = Reception {
            vm,
            addresses: Addresses { vmm: source, hm: self.mac },
            authentication: &self.demanded_of(vm, source),
            nonce: self.nonces.next_nonce(),
            gives_way: self.gives_way(source),
            seed: self.random.u64(..),
        };
        let mut outcome = SynOutcome::Repeated;
        let session = self.sessions.entry(source).or_default();
        let too_soon = session.begun.is_some_and(|begun| now.since(begun) < HANDSHAKE_PERIOD);
        if !session.responder.is_repetition(now, packet) {
            if too_soon {
                return self.counters.discard(Discard::Handshaking);
            }
            session.begun = Some(now);
        }
        self.with(now, source, |session, out| {
            outcome = session.responder.handle_syn(now, packet, &syn, &identity, &reception, out);
            if matches!(outcome, SynOutcome::Begun | SynOutcome::VersionConflict) {
                session.candidate_vlan = vlan;
            }
        });
        match outcome {
            SynOutcome::Repeated | SynOutcome::Dropped | SynOutcome::Begun => {}
            SynOutcome::VersionConflict => {
                let versions = format!("{}-{}", syn.lower, syn.upper);
                let event = SessionEvent::VersionConflict { mac: source, uuid: syn.uuid, versions };
                self.events.push_back(event);
            }
            SynOutcome::Refused(refusal) => {
                self.counters.handshakes_refused = self.counters.handshakes_refused.saturating_add(1);
                self.events.push_back(SessionEvent::Refused { vm, mac: source, refusal });
            }
        }
    }

    /// Mode and keys for a handshake. A MISSING path that is authenticated gives way only to one that is, too, wherever it
    /// comes from. [X-19] [S-21]
    pub(super) fn demanded_of(&self, vm: VmUuid, source: MacAddr) -> Authentication {
        let mut authentication = self.secrets.of(vm).clone();
        let open_at = self.by_vm.get(&vm).filter(|open_at| **open_at != source);
        let elsewhere = open_at.and_then(|open_at| self.sessions.get(open_at));
        if elsewhere.is_some_and(|session| session.responder.is_authenticated()) {
            authentication.mode = Mode::Required;
        }
        authentication
    }

    /// Whether a path at this address may be replaced by another VM's: its own VM is missing, or not monitored.
    pub(super) fn gives_way(&self, mac: MacAddr) -> bool {
        let vm = self.sessions.get(&mac).and_then(|session| session.vm);
        vm.is_none_or(|vm| {
            let monitored = self.registered.contains(&vm) && !self.unmonitored.contains(&vm);
            self.reminders.is_missing(vm) || !monitored
        })
    }

    /// The UUID is the one of the SYN that opened the path: a guest may change it only by a new handshake.
    pub(super) fn on_opened(&mut self, now: Instant, mac: MacAddr) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        session.vlan = session.candidate_vlan;
        let (Some(vm), Some(version)) = (session.responder.vm(), session.responder.version()) else { return };
        if let Some(open_at) = self.by_vm.get(&vm).copied().filter(|open_at| *open_at != mac) {
            if !self.reminders.is_missing(vm) {
                return self.on_opened_twice(now, mac, vm, open_at);
            }
            // The VM has another adapter now; whoever still is at the old address has lost the path.
            self.remove(open_at);
            let reason = CloseReason::Replaced;
            self.events.push_back(SessionEvent::Closed { vm, mac: open_at, reason });
        }
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        session.opened = now;
        let authenticated = session.responder.is_authenticated();
        if let Some(old) = session.vm.replace(vm).filter(|old| *old != vm) {
            self.by_vm.remove(&old);
            self.on_known_changed(old);
            self.events.push_back(SessionEvent::Closed { vm: old, mac, reason: CloseReason::Replaced });
        }
        self.reminders.handle_opened(vm);
        if self.by_vm.insert(vm, mac) != Some(mac) {
            self.on_known_changed(vm);
        }
        self.events.push_back(SessionEvent::Opened { vm, mac, version });
        if authenticated && self.secrets.is_first(vm) {
            self.events.push_back(SessionEvent::Authenticated { vm });
        }
    }

    /// A handshake that was begun while nobody had the UUID is complete when somebody else has it: it comes too late,
    /// and is told to shake hands anew, in case the other one is dead. [S-21]
    pub(super) fn on_opened_twice(&mut self, now: Instant, mac: MacAddr, vm: VmUuid, open_at: MacAddr) {
        let Some(session) = self.sessions.get_mut(&mac) else { return };
        let (vlan, old) = (session.vlan, session.vm.take());
        session.responder.close(CloseReason::Unanswered, &mut self.scratch);
        if let Some(old) = old {
            // The address had another VM's path open before, which this handshake has ended.
            self.by_vm.remove(&old);
            self.on_known_changed(old);
            self.events.push_back(SessionEvent::Closed { vm: old, mac, reason: CloseReason::Unanswered });
        }
        self.events.push_back(SessionEvent::AnotherAddress { vm, open_at, mac });
        self.say_hello(now, mac, vlan);
    }
}
