//! Who gets a lane of its own in the kernel.

use super::*;

fn known(world: &World) -> Vec<MacAddr> {
    world.monitor.known_addresses().into_iter().collect()
}

#[test]
fn nothing_is_said_before_the_store_was_read() {
    let mut world = World::new();
    world.guest(1, 1);
    assert_eq!((world.monitor.known_changes(), known(&world)), (0, vec![]));
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    assert_eq!(known(&world), [mac(1)]);
    assert!(world.monitor.known_changes() > 0);
}

#[test]
fn registered_guests_are_known_and_strangers_are_not() {
    let mut world = World::beating(1..=2);
    let before = world.monitor.known_changes();
    world.guest(7, 7);
    assert_eq!(known(&world), [mac(1), mac(2)]);
    world.roster(roster(vec![registered(2, VmState::Started, None)]));
    assert_eq!(known(&world), [mac(2)]);
    assert_ne!(world.monitor.known_changes(), before);
}

#[test]
fn a_guest_that_was_heard_before_is_known_while_its_path_is_closed() {
    let mut world = World::new();
    let path = RosterPath { mac: mac(3).to_string(), missed: None };
    world.roster(roster(vec![registered(3, VmState::Started, Some(path))]));
    assert_eq!(known(&world), [mac(3)]);
}

#[test]
fn a_beating_guest_changes_nothing() {
    let mut world = World::beating(1..=3);
    let before = world.monitor.known_changes();
    world.run(60);
    assert_eq!(world.monitor.known_changes(), before);
}

#[test]
fn who_claims_another_guests_uuid_is_not_known_for_it() {
    let mut world = World::beating(1..=1);
    world.guest(9, 1);
    world.run(16);
    assert_eq!(known(&world), [mac(1)]);
}
