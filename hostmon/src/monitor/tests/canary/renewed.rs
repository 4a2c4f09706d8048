//! Returns that are too short for anybody to be judged hide nobody for ever.

use super::*;

/// Half of the guests die with the canary, which is heard for a moment once in a while; in seconds.
fn now_and_then(period: u64, times: u64) -> World {
    let mut world = halved();
    for _ in 0..times {
        world.canary_mute = false;
        while world.canary_state() != CanaryState::Beating {
            world.run_ms(10);
        }
        world.canary_mute = true;
        world.run(period);
    }
    world
}

#[test]
fn a_canary_that_gets_a_heartbeat_through_now_and_then_hides_the_dead_no_longer_than_a_silent_one() {
    for period in [5, 10, 60, 200] {
        let world = now_and_then(period, 250 / period);
        assert!(missing_edges(&world).is_empty(), "{period}: others must not be accused for a while");
        let world = now_and_then(period, 900 / period);
        assert_eq!(accused(&world), [vm(1), vm(2)], "{period}: {:?}", world.kinds());
    }
}

#[test]
fn a_trunk_that_works_for_moments_accuses_nobody_however_long_that_lasts() {
    let mut world = World::with_canary(&[(1_000, 0), (10_000, 250), (1_000, 500), (10_000, 750)]);
    for round in 0..400 {
        world.cut = true;
        world.run(20);
        world.cut = false;
        world.run_ms(2_000 + round % 7 * 130);
    }
    assert!(missing_edges(&world).is_empty(), "{:?}", missing_edges(&world));
}

#[test]
fn a_return_in_which_the_dead_could_be_judged_begins_the_time_anew() {
    let mut world = halved();
    world.run(200);
    world.canary_mute = false;
    world.run(15);
    assert_eq!((accused(&world), world.monitor.is_isolated()), (vec![vm(1), vm(2)], false));
    // Another one dies with it: one is heard, and one is overdue.
    world.canary_mute = true;
    world.guest_mut(3).frozen = true;
    world.run(200);
    assert!(world.monitor.is_isolated());
    assert_eq!(accused(&world), [vm(1), vm(2)], "not by the time of before");
    world.run(130);
    assert_eq!(accused(&world), [vm(1), vm(2), vm(3)]);
}

/// Of 400 s the monitor's own adapter is down for a hundred, a few seconds at a time.
fn flaps(world: &mut World, rounds: u64) {
    for _ in 0..rounds {
        world.run(30);
        world.monitor.handle_input(world.now, Input::Adapter(false));
        world.run(10);
        world.monitor.handle_input(world.now, Input::Adapter(true));
    }
}

#[test]
fn an_adapter_that_flaps_only_stops_the_time() {
    let mut world = halved();
    flaps(&mut world, 9);
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
    flaps(&mut world, 4);
    assert_eq!(accused(&world), [vm(1), vm(2)], "{:?}", world.kinds());
    let mut world = taken_away();
    flaps(&mut world, 9);
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
    flaps(&mut world, 3);
    assert_eq!(accused(&world), [vm(1)], "{:?}", world.kinds());
}
