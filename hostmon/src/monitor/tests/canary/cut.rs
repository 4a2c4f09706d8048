//! What the canary and the guests stand on goes away under them, while the monitor's own adapter keeps its carrier.

use super::*;

const LATER: u64 = 3600;

/// The guests' side goes at once and altogether, and the canary says so within a second.
fn undercut(interval: u32) -> World {
    let mut world = World::with_canary(&[(interval, 0), (interval, u64::from(interval) / 2)]);
    world.cut = true;
    world.run_ms(400);
    assert_eq!(world.canary_state(), CanaryState::Beating, "it is not silent yet");
    world.report(gone());
    world
}

fn gone() -> CanaryReport {
    CanaryReport::Cut("br0, on which guests stand, is gone".to_owned())
}

fn own() -> CanaryReport {
    CanaryReport::Off("its name is taken".to_owned())
}

#[test]
fn guests_are_not_accused_of_what_they_stood_on() {
    for interval in [600, 1_000, 10_000] {
        let mut world = undercut(interval);
        assert!(world.monitor.is_isolated(), "at once");
        for _ in 0..60 {
            world.run(LATER / 60);
            world.report(gone());
        }
        assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty(), "{:?}", world.kinds());
        assert_eq!(world.kinds(), ["CANARY_OFF", "ISOLATED"]);
        // It is made anew, and heard.
        world.cut = false;
        world.report(CanaryReport::Up);
        world.run(60);
        assert_eq!((world.canary_state(), world.monitor.is_isolated()), (CanaryState::Beating, false));
        assert!(missing_edges(&world).is_empty(), "{:?}", missing_edges(&world));
        // And whoever dies then is found.
        world.guest_mut(1).frozen = true;
        world.run(40);
        assert_eq!(accused(&world), [vm(1)]);
    }
}

#[test]
fn one_that_was_silent_before_that_was_found_is_no_more_to_blame() {
    let mut world = World::with_canary(&[(200, 0)]);
    world.cut = true;
    world.run_ms(900);
    assert_eq!((world.canary_state(), world.monitor.is_isolated()), (CanaryState::Silent, true));
    world.report(gone());
    world.run(LATER);
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
}

#[test]
fn made_anew_and_unheard_it_says_the_same() {
    let mut world = undercut(1_000);
    world.report(CanaryReport::Up);
    world.run(LATER);
    assert_eq!((world.canary_state(), world.monitor.is_isolated()), (CanaryState::Broken, true));
    assert!(missing_edges(&world).is_empty());
    world.cut = false;
    world.run(20);
    assert!(!world.monitor.is_isolated() && missing_edges(&world).is_empty(), "guests beat");
}

#[test]
fn guests_that_are_heard_say_that_it_was_not_their_side() {
    let mut world = World::with_canary(&[(1_000, 0), (1_000, 300), (1_000, 600)]);
    world.canary_mute = true;
    world.report(gone());
    assert!(world.monitor.is_isolated());
    world.run(5);
    assert!(!world.monitor.is_isolated());
    world.guest_mut(1).frozen = true;
    for _ in 0..10 {
        world.run(1);
        world.report(gone());
    }
    assert_eq!(accused(&world), [vm(1)], "who dies is found, and it is not isolated anew by the same");
    assert_eq!(world.kinds(), ["CANARY_OFF", "ISOLATED", "ISOLATION_OVER"]);
}

#[test]
fn what_never_carried_a_canary_need_not_be_the_guests_side() {
    let mut world = World::with(MonitorConfig { canary: Some(identity()), ..config() });
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    world.guest(1, 1);
    world.report(CanaryReport::Up);
    world.run(30);
    assert_eq!(world.canary_state(), CanaryState::Broken);
    world.guest_mut(1).frozen = true;
    world.report(gone());
    world.run(60);
    assert_eq!((accused(&world), world.monitor.is_isolated()), (vec![vm(1)], false));
}

/// The guests' side is back and the canary cannot be made there: that hides nobody for ever.
#[test]
fn the_time_counts_from_when_the_guests_side_is_there_again() {
    let mut world = undercut(1_000);
    world.guest_mut(1).frozen = true;
    world.guest_mut(2).frozen = true;
    world.run(1_000);
    world.cut = false;
    for _ in 0..28 {
        world.report(own());
        world.run(10);
    }
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
    world.run(25);
    assert_eq!((accused(&world), world.monitor.is_isolated()), (vec![vm(1), vm(2)], false));
    // It goes again while nobody is heard: not for so long that the rest of the time is over.
    let mut world = undercut(1_000);
    world.report(own());
    world.run(200);
    world.report(gone());
    world.run(200);
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
}

/// 1.9 intervals are more than an interval and what it takes to notice an end, from 2.3 s on: such an end is known before it is silence.
#[test]
fn the_own_end_of_a_slow_canary_comes_before_its_silence_and_isolates_nobody() {
    for (interval, ended_after) in [(2_300, 4_250), (10_000, 11_900), (10_000, 900)] {
        let mut world = World::with_canary(&[(interval, 0)]);
        while world.monitor.canary(world.now).unwrap().silence != Some(Duration::ZERO) {
            world.run_ms(1);
        }
        world.canary_mute = true;
        world.guest_mut(1).frozen = true;
        world.run_ms(ended_after);
        world.report(own());
        assert!(!world.monitor.is_isolated(), "{interval}");
        world.run(30);
        assert_eq!((accused(&world), world.monitor.is_isolated()), (vec![vm(1)], false), "{interval}");
    }
}
