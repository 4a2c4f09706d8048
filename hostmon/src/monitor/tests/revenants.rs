//! Guests that beat though they announced their end.

use super::*;

fn suspended(reason: SuspendReason) -> Roster {
    roster(vec![RosterVm { suspended: Some(reason), ..registered(1, VmState::Suspended, None) }])
}

/// Set back to a snapshot it goes on beating on its open path. [H-11] [M-9]
#[test]
fn a_guest_that_beats_though_it_announced_its_end_is_reminded_until_that_is_over() {
    for reason in [SuspendReason::Os, SuspendReason::Daemon] {
        let mut world = World::beating(1..=1);
        world.say(1, &Message::Shutdown(Shutdown::Os));
        world.roster(suspended(reason));
        world.reminders.clear();
        world.run(70);
        assert!(!world.reminders.is_empty(), "{reason:?}");
        assert!(world.reminders.iter().all(|(_, to)| *to == mac(1)));
        assert!(!world.missing(1));
        // Its handshake ends the suspension in the store.
        world.roster(roster(vec![registered(1, VmState::Started, None)]));
        world.reminders.clear();
        world.run(120);
        assert_eq!(world.reminders, []);
    }
}

/// It is about to end, and must not be tempted to a handshake, which would take back what it announced. [H-11]
#[test]
fn a_guest_that_beats_for_less_than_30_s_after_it_announced_its_end_is_not_reminded() {
    let mut world = World::beating(1..=1);
    world.run(60);
    world.say(1, &Message::Shutdown(Shutdown::Os));
    world.roster(suspended(SuspendReason::Os));
    world.reminders.clear();
    world.run(10);
    world.guest_mut(1).frozen = true;
    let end = world.now;
    world.run(120);
    assert!(world.missing(1));
    assert!(
        world.reminders.iter().all(|(at, _)| *at >= end + Duration::from_secs(9)),
        "{:?}",
        world.reminders
    );
}

/// Its agent knows of that, and no handshake ends it.
#[test]
fn a_guest_that_its_administrator_suspended_is_left_alone() {
    let mut world = World::beating(1..=1);
    world.say(1, &Message::Suspend);
    world.roster(suspended(SuspendReason::Administrator));
    world.reminders.clear();
    world.run(120);
    assert_eq!(world.reminders, []);
}
