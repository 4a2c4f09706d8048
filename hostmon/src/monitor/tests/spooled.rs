//! Writes that are not taken, and a store whose clock was set.

use super::*;

fn reports(world: &World) -> Vec<u64> {
    let report = |(number, write): &(u64, HostMonitorWrite)| {
        matches!(write, HostMonitorWrite::Report { message: 77, .. }).then_some(*number)
    };
    world.writes.iter().filter_map(report).collect()
}

#[test]
fn a_report_that_is_not_taken_comes_again_and_is_acknowledged_when_it_is() {
    let mut world = World::beating(1..=1);
    let what = RequestKind::AskReport { vm: vm(1), message: 77 };
    let requests = vec![HostMonitorRequest { tag: 5, what }];
    world.roster(Roster { requests, ..roster(vec![registered(1, VmState::Started, None)]) });
    world.commits = false;
    let delivered = world.guest_mut(1).delivered;
    world.say(1, &Message::Report { tag: 77, xml: b"<r/>" });
    let [number] = reports(&world)[..] else { panic!("{:?}", reports(&world)) };
    world.monitor.handle_input(world.now, Input::NotTaken { number, report: Some(77) });
    world.carry();
    world.run(3);
    assert_eq!(world.guest_mut(1).delivered, delivered, "it was not acknowledged");
    let [_, again] = reports(&world)[..] else { panic!("{:?}", reports(&world)) };
    world.monitor.handle_input(world.now, Input::Stored { up_to: again });
    world.run(5);
    assert_eq!(world.guest_mut(1).delivered, delivered + 1);
    assert_eq!(reports(&world).len(), 2);
}

#[test]
fn silences_are_said_again_with_their_ages_when_the_stores_clock_was_set() {
    let mut world = World::beating(1..=3);
    world.guest_mut(2).frozen = true;
    world.run(60);
    let [(silent, first)] = missing_edges(&world)[..] else { panic!("{:?}", missing_edges(&world)) };
    world.forget_writes();
    world.monitor.handle_input(world.now, Input::StoreClockStepped);
    world.carry();
    let [(again, age)] = missing_edges(&world)[..] else { panic!("{:?}", missing_edges(&world)) };
    assert_eq!(again, silent);
    assert!(age > first + 20_000, "{age} ms, and {first} ms when it was called missing");
}
