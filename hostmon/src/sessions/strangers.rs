//! Who is known and who is not: the bounds on strangers, which keep a flood of forged addresses among themselves.

use std::collections::{BTreeSet, HashSet};

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::path::{CloseReason, Event, Outputs};

use super::{SESSIONS_MAXIMUM, STRANGERS_MAXIMUM, SessionEvent, Sessions};

impl Sessions {
    /// Which VMs are registered, which of them are not to beat, and addresses at which some of them were heard before: they
    /// do not share the bounds of strangers.
    pub fn handle_registered(
        &mut self,
        vms: HashSet<VmUuid>,
        unmonitored: HashSet<VmUuid>,
        addresses: HashSet<MacAddr>,
    ) {
        self.reminders.retain(&vms);
        self.unmonitored = unmonitored;
        let first = self.known_changes == 0;
        if first || (&self.registered, &self.known_addresses) != (&vms, &addresses) {
            self.known_changes = self.known_changes.saturating_add(1);
        }
        self.registered = vms;
        self.known_addresses = addresses;
    }

    /// Whether the last roster has the VM.
    pub(crate) fn is_registered(&self, vm: VmUuid) -> bool {
        self.registered.contains(&vm)
    }

    /// VMs with an open path that the last roster does not have; bounded as strangers are.
    pub(crate) fn unregistered(&self) -> impl Iterator<Item = VmUuid> {
        self.by_vm.keys().filter(|vm| !self.registered.contains(vm)).copied()
    }

    /// Addresses of registered VMs: those of open paths first, then where the store says that one was heard. At most
    /// [`SESSIONS_MAXIMUM`].
    #[must_use]
    pub fn known_addresses(&self) -> BTreeSet<MacAddr> {
        let open = self.by_vm.iter().filter(|(vm, _)| self.registered.contains(vm)).map(|(_, mac)| *mac);
        let mut known: BTreeSet<MacAddr> = open.take(SESSIONS_MAXIMUM).collect();
        for mac in &self.known_addresses {
            if known.len() >= SESSIONS_MAXIMUM {
                break;
            }
            // What a store holds need not be an address that a frame can come from.
            if !mac.is_multicast() {
                known.insert(*mac);
            }
        }
        known
    }

    /// Changes when [`known_addresses`](Self::known_addresses) may have; 0 until it is told who is registered.
    #[must_use]
    pub const fn known_changes(&self) -> u64 {
        self.known_changes
    }

    /// True for a known address or a free place; the oldest stranger gives way to a newcomer.
    pub(super) fn make_room_for(&mut self, source: MacAddr) -> bool {
        if self.sessions.contains_key(&source) {
            return true;
        }
        if self.newcomers.len() >= STRANGERS_MAXIMUM
            && let Some(oldest) = self.newcomers.pop_front()
            && self.is_stranger(oldest)
        {
            self.remove(oldest);
        }
        let room = self.sessions.len() < SESSIONS_MAXIMUM;
        if room {
            self.newcomers.push_back(source);
        }
        room
    }

    pub(super) fn is_stranger(&self, mac: MacAddr) -> bool {
        let vm = self.sessions.get(&mac).and_then(|session| session.vm);
        vm.is_none_or(|vm| !self.registered.contains(&vm)) && !self.known_addresses.contains(&mac)
    }

    pub(super) fn remove(&mut self, mac: MacAddr) {
        if let Some((vm, vlan)) = self.handshake_at(mac) {
            // Given up before its time.
            self.keep_given_up(vm, (mac, vlan));
        }
        let Some(mut session) = self.sessions.remove(&mac) else { return };
        self.partial_bytes = self.partial_bytes.saturating_sub(session.partial_bytes);
        // Outputs of its own: this may happen while another's are being carried away.
        let mut out = Outputs::new();
        session.responder.close(CloseReason::Unanswered, &mut out);
        while let Some(event) = out.poll_event() {
            if let Event::HandedBack { token, .. } = event {
                self.events.push_back(SessionEvent::HandedBack { token });
            }
        }
        if let Some(vm) = session.vm.filter(|vm| self.by_vm.get(vm) == Some(&mac)) {
            self.by_vm.remove(&vm);
            self.on_known_changed(vm);
        }
    }

    /// The address of a VM has changed. What strangers do is of no consequence.
    pub(super) fn on_known_changed(&mut self, vm: VmUuid) {
        if self.known_changes > 0 && self.registered.contains(&vm) {
            self.known_changes = self.known_changes.saturating_add(1);
        }
    }
}
