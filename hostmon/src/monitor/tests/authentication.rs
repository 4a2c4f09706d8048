//! Guests with keys, and those who pretend.

use vmpulse_protocol::auth::{Addresses, Authentication, Key, KeyId, Nonces};
use vmpulse_protocol::path::VmmSecurity;

use super::*;

fn keys(mode: Mode, ids: &[u8]) -> Authentication {
    let keys = ids.iter().map(|id| (KeyId::new(*id).unwrap(), Key::from_bytes([*id; 32])));
    Authentication::new(mode, keys)
}

impl World {
    fn keys(&mut self, mode: Mode, ids: &[u8]) {
        let keys = HashMap::from([(vm(1), keys(mode, ids))]);
        self.monitor.handle_input(self.now, Input::Keys(keys));
        self.carry();
    }

    /// The guest at this address goes over to these keys.
    fn guest_keys(&mut self, address: u8, mode: Mode, ids: &[u8]) {
        let now = self.now;
        let authentication = keys(mode, ids);
        let addresses = Addresses { vmm: mac(address), hm: TRUNK };
        let guest = self.guest_mut(address);
        let nonces = Nonces::new(&[address; 32]);
        guest.end.secure(VmmSecurity { authentication, addresses, nonces });
        guest.end.connect(now, &mut guest.out);
        self.carry();
    }

    fn key_in_use(&self) -> Option<u8> {
        let path = self.monitor.paths(self.now).next()?;
        path.session.security.filter(|(directions, _)| directions.incoming).map(|(_, key)| key.as_u8())
    }

    fn events(&self, wanted: &str) -> usize {
        let wanted = |write: &HostMonitorWrite| matches!(write, HostMonitorWrite::NodeEvent { kind, .. } if kind == wanted);
        self.writes.iter().filter(|(_, write)| wanted(write)).count()
    }
}

/// VM 1, registered, with key 1 on both sides.
fn secured(mode: Mode) -> World {
    secured_by(mode, mode)
}

/// The monitor's mode and the guest's.
fn secured_by(mode: Mode, guest: Mode) -> World {
    let mut world = World::beating(1..=1);
    world.keys(mode, &[1]);
    world.run(1);
    world.guest_keys(1, guest, &[1]);
    world.run(2);
    assert_eq!(world.key_in_use(), Some(1));
    world
}

#[test]
fn the_store_is_told_whether_a_path_is_authenticated() {
    let told = |world: &World| {
        let opened = |write: &HostMonitorWrite| match write {
            HostMonitorWrite::PathOpened { authenticated, .. } => Some(*authenticated),
            _ => None,
        };
        world.writes().into_iter().filter_map(opened).collect::<Vec<_>>()
    };
    assert_eq!(told(&secured(Mode::Optional)), [false, true]);
    assert_eq!(told(&World::beating(1..=1)), [false]);
}

///
#[test]
fn a_vm_once_authenticated_is_told_of_once_and_must_be_from_then_on() {
    let mut world = secured(Mode::Optional);
    assert_eq!(world.authenticated, [vm(1)]);
    world.run(30);
    assert!(!world.missing(1));
    // A plain handshake of the same guest: refused, said once.
    let guest = World::new_guest(1, &vm(1).to_string());
    world.guests.insert(mac(1), guest);
    for _ in 0..3 {
        let now = world.now;
        let guest = world.guest_mut(1);
        guest.end.connect(now, &mut guest.out);
        world.run(20);
    }
    assert_eq!(world.events("AUTHENTICATION_REFUSED"), 1);
    assert!(world.missing(1), "what cannot be authenticated is not alive");
    // With its key back it is heard again.
    world.guest_keys(1, Mode::Optional, &[1]);
    world.run(2);
    assert!(!world.missing(1));
    assert_eq!(world.authenticated, [vm(1)]);
    // An administrator demands less again.
    world.keys(Mode::ReceiveOnly, &[1]);
    let guest = World::new_guest(1, &vm(1).to_string());
    world.guests.insert(mac(1), guest);
    let now = world.now;
    world.monitor.handle_input(now, Input::Keys(HashMap::new()));
    let guest = world.guest_mut(1);
    guest.end.connect(now, &mut guest.out);
    world.run(3);
    assert!(!world.missing(1));
    assert_eq!(world.key_in_use(), None);
}

///
#[test]
fn a_rotated_key_costs_no_heartbeat_and_a_removed_one_closes_its_path() {
    let mut world = secured(Mode::Required);
    world.keys(Mode::Required, &[1, 2]);
    world.run(5);
    world.guest_keys(1, Mode::Required, &[1, 2]);
    world.run(5);
    assert_eq!(world.key_in_use(), Some(2));
    world.keys(Mode::Required, &[2]);
    world.run(60);
    assert!(!world.missing(1));
    assert_eq!(world.key_in_use(), Some(2));
    world.keys(Mode::Required, &[3]);
    assert_eq!(world.key_in_use(), None);
    world.run(60);
    assert!(world.missing(1));
}

///
#[test]
fn forged_and_replayed_frames_are_counted_and_said_once_a_minute() {
    let mut world = secured(Mode::Required);
    let now = world.now;
    let guest = world.guest_mut(1);
    guest.frozen = true;
    guest.end.send_heartbeat(&mut guest.out);
    let beat = guest.out.poll_packet().unwrap();
    let frame = |world: &mut World, payload: &[u8]| {
        let input = Input::Frame { arrived: world.now, source: mac(1), vlan: None, payload };
        world.monitor.handle_input(world.now, input);
    };
    assert_eq!(now, world.now);
    frame(&mut world, &beat);
    for _ in 0..40 {
        frame(&mut world, &beat);
        world.run(1);
    }
    assert!(world.missing(1), "a replayed heartbeat is no heartbeat");
    assert_eq!(world.events("FORGERY"), 1);
    let counters: HashMap<String, u64> = world.monitor.counters().into_iter().collect();
    assert_eq!(counters["discarded_replayed"], 40);
    world.run(30);
    for _ in 0..3 {
        frame(&mut world, &beat);
    }
    world.carry();
    assert_eq!(world.events("FORGERY"), 2);
}

///
#[test]
fn where_authentication_is_required_a_vm_without_keys_has_no_path() {
    let mut world = World::with(MonitorConfig { authentication: Mode::Required, ..config() });
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    world.guest(1, 1);
    world.run(3);
    assert_eq!(world.monitor.paths(world.now).count(), 0);
    assert_eq!(world.events("AUTHENTICATION_REFUSED"), 1);
}

/// A guest that was restored from a snapshot goes on counting from where it was then: everything is refused, and never
/// answered. It must learn of it. [H-10]
#[test]
fn a_restored_guest_is_reminded_until_it_shakes_hands_anew() {
    let mut world = secured(Mode::Required);
    let guest = world.guest_mut(1);
    guest.frozen = true;
    guest.end.send_heartbeat(&mut guest.out);
    let beat = guest.out.poll_packet().unwrap();
    world.reminders.clear();
    for _ in 0..120 {
        let input = Input::Frame { arrived: world.now, source: mac(1), vlan: None, payload: &beat };
        world.monitor.handle_input(world.now, input);
        world.run(1);
    }
    assert!(world.missing(1));
    assert!((4..=6).contains(&world.reminders.len()), "{:?}", world.reminders);
    assert!(world.reminders.iter().all(|(_, to)| *to == mac(1)));
    // One is enough.
    world.guest_mut(1).frozen = false;
    world.guest_keys(1, Mode::Required, &[1]);
    world.run(2);
    assert!(!world.missing(1));
    world.reminders.clear();
    world.run(120);
    assert_eq!(world.reminders, []);
}

/// A missing VM's path is not ended by whoever claims its UUID without being able to prove it.
#[test]
fn who_cannot_prove_it_does_not_end_the_path_of_a_missing_vm() {
    let mut world = secured(Mode::Required);
    world.guest_mut(1).frozen = true;
    world.run(30);
    assert!(world.missing(1));
    world.guest(9, 1);
    world.run(5);
    assert_eq!(world.key_in_use(), Some(1));
    assert_eq!(world.monitor.paths(world.now).next().unwrap().session.mac, mac(1));
    // Who can takes it over: the VM has a new adapter.
    world.guest_keys(9, Mode::Optional, &[1]);
    world.run(5);
    assert_eq!(world.monitor.paths(world.now).next().unwrap().session.mac, mac(9));
    assert!(!world.missing(1));
}

/// [X-19] [S-21]
#[test]
fn a_plain_handshake_from_elsewhere_does_not_replace_a_missing_path_that_is_authenticated() {
    let mut world = secured_by(Mode::ReceiveOnly, Mode::Optional);
    world.guest_mut(1).frozen = true;
    world.run(60);
    assert!(world.missing(1));
    world.guest(9, 1);
    world.run(60);
    assert!(world.missing(1), "whoever cannot prove it is not the VM");
    assert_eq!(world.events("AUTHENTICATION_REFUSED"), 1);
    world.guest_keys(9, Mode::Optional, &[1]);
    world.run(2);
    assert!(!world.missing(1), "with its key it has another adapter");
}

///
#[test]
fn a_guest_does_not_end_the_path_of_another_by_its_own_key_unless_that_is_missing() {
    let mut world = World::beating(1..=2);
    let both = [1, 2].map(|number| (vm(number), keys(Mode::Required, &[number])));
    world.monitor.handle_input(world.now, Input::Keys(HashMap::from(both)));
    world.guest_keys(1, Mode::Required, &[1]);
    world.guest_keys(2, Mode::Required, &[2]);
    world.run(3);
    // VM 2 speaks from the address of VM 1, whose own guest is cut off.
    world.guest_mut(1).frozen = true;
    let genuine = world.guests.remove(&mac(1)).unwrap();
    world.guests.remove(&mac(2));
    world.guest_saying(1, &vm(2).to_string());
    world.guest_keys(1, Mode::Required, &[2]);
    world.run(3);
    let at = |world: &World, number: u8| {
        world.monitor.paths(world.now).find(|path| path.session.vm == vm(number)).map(|path| path.session.mac)
    };
    assert_eq!(at(&world, 1), Some(mac(1)));
    drop(genuine);
    world.run(60);
    assert!(world.missing(1) && world.missing(2));
    world.guest_keys(1, Mode::Required, &[2]);
    world.run(3);
    assert_eq!(at(&world, 2), Some(mac(1)));
}
