//! Guests that are not heard, and where they were heard last.

use std::collections::{BTreeSet, HashMap, HashSet};

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

use super::Sessions;

/// Address and tag.
type Place = (MacAddr, Option<u16>);

/// Of registered VMs only, so the bound is theirs. [H-10]
#[derive(Debug, Default)]
pub(super) struct Reminders {
    missing: HashSet<VmUuid>,
    closed_at: HashMap<VmUuid, Place>,
    /// Where its handshakes were given up here, until a path of the VM is open. Beside `closed_at`: whoever names a
    /// VM in a SYN must not have the reminders that its true owner needs.
    given_up_at: HashMap<VmUuid, GivenUp>,
}

/// Where handshakes of one VM were given up: two addresses, since one of them may be somebody's who only named the VM.
#[derive(Clone, Copy, Debug)]
struct GivenUp {
    /// Not displaced by a later one, unless that is known and this is not.
    first: Waiting,
    latest: Option<Waiting>,
}

/// `known`: a registered VM was heard at the address before. Of those there are few, and of others as many as somebody makes up.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    place: Place,
    known: bool,
}

impl Waiting {
    fn is_at(&self, mac: MacAddr) -> bool {
        self.place.0 == mac
    }
}

impl GivenUp {
    const fn new(first: Waiting) -> Self {
        Self { first, latest: None }
    }

    fn add(&mut self, new: Waiting) {
        let (mac, _) = new.place;
        if self.first.is_at(mac) {
            self.first = new;
        } else if self.latest.is_none_or(|latest| latest.is_at(mac) || new.known || !latest.known) {
            self.latest = Some(new);
        }
        // Of two the known one stays.
        if let Some(latest) = self.latest.as_mut().filter(|latest| latest.known && !self.first.known) {
            std::mem::swap(latest, &mut self.first);
        }
    }

    fn places(self) -> impl Iterator<Item = Place> {
        [Some(self.first), self.latest].into_iter().flatten().map(|waiting| waiting.place)
    }
}

impl Reminders {
    /// True if that is new.
    pub(super) fn handle_missing(&mut self, vm: VmUuid, missing: bool) -> bool {
        if missing {
            return self.missing.insert(vm);
        }
        self.missing.remove(&vm);
        false
    }

    pub(super) fn is_missing(&self, vm: VmUuid) -> bool {
        self.missing.contains(&vm)
    }

    /// In an order that does not depend on the tables': a replay says Hello to them in the same one.
    fn waiting(&self) -> BTreeSet<VmUuid> {
        self.missing.iter().chain(self.given_up_at.keys()).copied().collect()
    }

    /// The VM has a path: no handshake of it waits.
    pub(super) fn handle_opened(&mut self, vm: VmUuid) {
        self.given_up_at.remove(&vm);
    }

    fn handle_given_up(&mut self, vm: VmUuid, waiting: Waiting) {
        self.given_up_at
            .entry(vm)
            .and_modify(|given_up| given_up.add(waiting))
            .or_insert_with(|| GivenUp::new(waiting));
    }

    fn given_up_at(&self, vm: VmUuid) -> Vec<Place> {
        self.given_up_at.get(&vm).map(|given_up| given_up.places().collect()).unwrap_or_default()
    }

    pub(super) fn handle_closed(&mut self, vm: VmUuid, place: Place) {
        self.closed_at.insert(vm, place);
    }

    pub(super) fn retain(&mut self, registered: &HashSet<VmUuid>) {
        self.missing.retain(|vm| registered.contains(vm));
        self.closed_at.retain(|vm, _| registered.contains(vm));
        self.given_up_at.retain(|vm, _| registered.contains(vm));
    }
}

impl Sessions {
    /// A guest whose packets are all refused, or that waits on a channel that is not open here, learns of it only by a
    /// Hello of its own: to be called every 30 s. [H-10]
    pub fn remind_missing(&mut self, now: Instant) {
        for vm in self.reminders.waiting() {
            self.remind(now, vm);
        }
    }

    /// Says Hello where the VM was heard last, and where it began a handshake since.
    pub fn remind(&mut self, now: Instant, vm: VmUuid) {
        let given_up_at = self.reminders.given_up_at(vm);
        let heard_at = self.open_place(vm).or_else(|| self.reminders.closed_at.get(&vm).copied());
        let elsewhere = heard_at.filter(|(mac, _)| given_up_at.iter().all(|(given_up, _)| given_up != mac));
        for (mac, vlan) in given_up_at.into_iter().chain(elsewhere) {
            self.say_hello(now, mac, vlan);
        }
    }

    fn open_place(&self, vm: VmUuid) -> Option<Place> {
        let mac = *self.by_vm.get(&vm)?;
        Some((mac, self.sessions.get(&mac).and_then(|session| session.vlan)))
    }

    /// Of which VM a handshake is under way at an address, and the tag of its packets.
    pub(super) fn handshake_at(&self, mac: MacAddr) -> Option<(VmUuid, Option<u16>)> {
        let session = self.sessions.get(&mac)?;
        Some((session.responder.candidate_vm()?, session.candidate_vlan))
    }

    /// Our SYN was never acknowledged. If it was the acknowledgements that were lost, the path is open for the guest alone,
    /// which waits there for START_HB and sends nothing that we could answer as a stranger's. [H-10]
    pub(super) fn on_handshake_given_up(&mut self, now: Instant, vm: VmUuid, place: Place) {
        if self.keep_given_up(vm, place) {
            let (mac, vlan) = place;
            self.say_hello(now, mac, vlan);
        }
    }

    /// False if the VM has a path that beats; when it does not any more, it is reminded where its path is.
    pub(super) fn keep_given_up(&mut self, vm: VmUuid, place: Place) -> bool {
        if self.is_open(vm) && !self.reminders.is_missing(vm) {
            return false;
        }
        if self.registered.contains(&vm) {
            let known = self.known_addresses.contains(&place.0);
            self.reminders.handle_given_up(vm, Waiting { place, known });
        }
        true
    }
}
