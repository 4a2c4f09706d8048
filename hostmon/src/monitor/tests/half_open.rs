//! Guests that take their path for open, of which the monitor knows nothing.

use super::*;
use crate::sessions::STRANGERS_MAXIMUM;

/// A guest's SYN arrives, tagged, and is answered; of what the guest says then nothing arrives.
fn half_open(world: &mut World, address: u8, uuid: u8) -> Guest {
    let mut guest = World::new_guest(address, &vm(uuid).to_string());
    guest.end.connect(world.now, &mut guest.out);
    let syn = guest.out.poll_packet().unwrap();
    let frame = Input::Frame { arrived: world.now, source: mac(address), vlan: Some(7), payload: &syn };
    world.monitor.handle_input(world.now, frame);
    while let Some(output) = world.monitor.poll_output() {
        if let Output::Transmit(frame) = output {
            let packet = Packet::decode(&frame.payload).unwrap();
            guest.end.handle_packet(world.now, &packet, &mut guest.out);
        }
    }
    while guest.out.poll_packet().is_some() {}
    guest
}

/// Hellos to this address alone: after how many seconds, and with which tag.
fn hellos_to(world: &mut World, address: u8, seconds: u64) -> Vec<(u64, Option<u16>)> {
    let (begun, mut hellos) = (world.now, vec![]);
    let end = begun + Duration::from_secs(seconds);
    while let Some(due) = world.monitor.poll_timeout().filter(|due| *due <= end) {
        world.now = due.max(world.now);
        world.monitor.handle_timeout(world.now);
        while let Some(output) = world.monitor.poll_output() {
            match output {
                Output::Transmit(frame) if frame.destination == mac(address) => {
                    if Packet::decode(&frame.payload).unwrap().has(Flags::HEL) {
                        hellos.push((world.now.since(begun).as_secs(), frame.vlan));
                    }
                }
                output => world.on_output(output),
            }
        }
        // What is asked of the store.
        world.carry();
    }
    hellos
}

/// [H-10]
#[test]
fn a_guest_whose_last_handshake_packet_is_lost_is_reminded_until_its_path_is_open() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    let guest = half_open(&mut world, 1, 1);
    assert!(guest.end.is_open(), "it waits for START_HB, and says nothing");
    let hellos = hellos_to(&mut world, 1, 100);
    let given_up = hellos.first().unwrap().0;
    assert!((10..=20).contains(&given_up), "when our SYN is given up: {hellos:?}");
    assert!((3..=4).contains(&hellos.len()), "and every 30 s: {hellos:?}");
    assert!(hellos.iter().all(|(_, vlan)| *vlan == Some(7)), "where its SYN came from: {hellos:?}");
    world.guest(1, 1);
    world.run(1);
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
    world.reminders.clear();
    world.run(120);
    assert_eq!(world.reminders, []);
}

/// It is not registered: no more than one. [H-10]
#[test]
fn a_stranger_whose_handshake_is_given_up_is_told_once() {
    let mut world = World::new();
    world.roster(Roster::default());
    half_open(&mut world, 9, 9);
    assert_eq!(hellos_to(&mut world, 9, 200).len(), 1);
}

/// Whoever names a VM whose path is closed does not take the reminders that the VM itself needs.
#[test]
fn a_handshake_in_anothers_name_does_not_take_its_reminders() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    world.run(60);
    assert!(world.missing(1));
    half_open(&mut world, 9, 1);
    world.run(20);
    world.reminders.clear();
    world.run(60);
    let to = |number| world.reminders.iter().filter(|(_, to)| *to == mac(number)).count();
    assert_eq!((to(1), to(9)), (2, 2), "{:?}", world.reminders);
}

fn reminded(world: &World, address: u8) -> usize {
    world.reminders.iter().filter(|(_, to)| *to == mac(address)).count()
}

/// Nor does whoever names a VM that is waiting itself, whoever else does so then, and however often. [H-10]
#[test]
fn a_handshake_in_anothers_name_does_not_take_the_place_where_it_waits_itself() {
    let mut world = World::new();
    let path = RosterPath { mac: mac(1).to_string(), missed: None };
    world.roster(roster(vec![registered(1, VmState::Started, Some(path))]));
    half_open(&mut world, 1, 1);
    for stranger in [9, 8, 7, 9, 8] {
        half_open(&mut world, stranger, 1);
        world.run(20);
    }
    world.reminders.clear();
    world.run(60);
    assert_eq!(reminded(&world, 1), 2, "{:?}", world.reminders);
    let others: usize = [7, 8, 9].into_iter().map(|stranger| reminded(&world, stranger)).sum();
    assert_eq!(others, 2, "one of them, as it may be the VM's new adapter: {:?}", world.reminders);
}

/// Also if others have named it before, and the store knows of no address of it.
#[test]
fn who_waits_where_nobody_was_heard_before_is_reminded_beside_another() {
    for first in [1, 9] {
        let mut world = World::new();
        world.roster(roster(vec![registered(1, VmState::Started, None)]));
        for address in [first, 10 - first] {
            half_open(&mut world, address, 1);
            world.run(20);
        }
        world.reminders.clear();
        world.run(60);
        assert_eq!((reminded(&world, 1), reminded(&world, 9)), (2, 2), "{:?}", world.reminders);
    }
}

/// [H-10]
#[test]
fn a_guest_whose_handshake_gives_way_to_a_flood_is_reminded() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    half_open(&mut world, 1, 1);
    for number in 0..=u16::try_from(STRANGERS_MAXIMUM).unwrap() {
        let [high, low] = number.to_be_bytes();
        let mut guest = World::new_guest(9, &vm(9).to_string());
        guest.end.connect(world.now, &mut guest.out);
        let payload = guest.out.poll_packet().unwrap();
        let source = MacAddr(2, 1, 0, 0, high, low);
        let frame = Input::Frame { arrived: world.now, source, vlan: None, payload: &payload };
        world.monitor.handle_input(world.now, frame);
    }
    world.run(30);
    world.reminders.clear();
    world.run(60);
    assert_eq!(reminded(&world, 1), 2, "{:?}", world.reminders);
}
