//! What the store asks of a monitor about VMs and about itself: stopping, settings, being taken out.

use vmpulse_store::MonitorSettings;

use super::*;

fn asked(state: VmState, tag: i64) -> Roster {
    let requests = vec![HostMonitorRequest { tag, what: RequestKind::Reconsider(vm(1)) }];
    Roster { requests, ..roster(vec![registered(1, state, None)]) }
}

fn done(world: &World) -> Vec<i64> {
    let tag = |write: &&HostMonitorWrite| match write {
        HostMonitorWrite::RequestDone { tag } => Some(*tag),
        _ => None,
    };
    world.writes().iter().filter_map(tag).collect()
}

fn configured(world: &World) -> Vec<(i64, String, Duration)> {
    let said = |write: &&HostMonitorWrite| match write {
        HostMonitorWrite::Configured { version, versions, heartbeat_interval } => {
            Some((*version, versions.clone(), *heartbeat_interval))
        }
        _ => None,
    };
    world.writes().iter().filter_map(said).collect()
}

/// A thawed guest that beats where nobody listens is said Hello to, and shakes hands anew.
fn shake_hands(world: &mut World) {
    let now = world.now;
    let guest = world.guest_mut(1);
    guest.frozen = false;
    guest.end.connect(now, &mut guest.out);
    world.carry();
}

#[test]
fn a_stop_is_done_when_the_guest_was_told() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    for _ in 0..3 {
        world.roster(asked(VmState::Stopping, 5));
        assert_eq!(done(&world), [0; 0], "it did not answer yet");
    }
    world.guest_mut(1).frozen = false;
    world.run(3);
    assert_eq!(done(&world), [5]);
    assert_eq!(world.guest_mut(1).heard.last().unwrap(), "STOP_HB");
    assert_eq!(world.guest_mut(1).beat, None);
    world.forget_writes();
    world.guest_mut(1).frozen = true;
    world.run(600);
    assert_eq!(missing_edges(&world), [], "nobody listens for it any more");
}

#[test]
fn a_guest_that_never_answers_holds_no_stop_up_for_ever() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    world.roster(asked(VmState::Removing, 5));
    world.run(120);
    assert_eq!(done(&world), [5]);
    // It comes back to life beating: it is told then.
    shake_hands(&mut world);
    let now = world.now;
    world.guest_mut(1).beat = Some((Duration::from_secs(1), now));
    world.run(60);
    assert_eq!(world.guest_mut(1).beat, None);
    assert_eq!(done(&world), [5]);
}

#[test]
fn a_stop_without_a_path_is_done_at_once() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    world.roster(asked(VmState::Stopping, 5));
    assert_eq!(done(&world), [5]);
    world.guest(1, 1);
    world.run(1);
    assert_eq!(world.guest_mut(1).heard, [""; 0], "and a guest that comes then is not to beat");
}

#[test]
fn a_vm_that_goes_while_its_guest_is_told_answers_the_stop() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    world.roster(asked(VmState::Removing, 5));
    world.roster(roster(vec![]));
    // The store is asked whether it moved.
    world.run(1);
    assert_eq!(done(&world), [5]);
    assert_eq!(world.monitor.stops.len(), 0);
}

#[test]
fn a_start_takes_the_place_of_a_stop_under_way() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.guest_mut(1).frozen = true;
    world.roster(asked(VmState::Stopping, 5));
    world.roster(asked(VmState::Starting, 6));
    assert_eq!(done(&world), [6]);
    world.guest_mut(1).frozen = false;
    world.run(15);
    assert_eq!(done(&world), [6], "the stop is nobody's any more");
    assert!(world.guest_mut(1).beat.is_some(), "{:?}", world.guest_mut(1).heard);
    assert!(world.writes().contains(&&HostMonitorWrite::PathDetected { vm: vm(1) }));
}

/// Starts, stops and removals in any order, a guest that hears only some of them: at the end it does what is wanted, and
/// every request was answered.
#[test]
fn a_storm_ends_as_the_last_word_says() {
    for seed in 0..40u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::beating(1..=1);
        let mut last = VmState::Started;
        for tag in 1..40 {
            last =
                [VmState::Starting, VmState::Stopping, VmState::Stopped, VmState::Removing, VmState::Added]
                    [random.usize(..5)];
            world.guest_mut(1).frozen = random.bool();
            world.roster(if random.u8(..6) == 0 { roster(vec![]) } else { asked(last, tag) });
            world.run(random.u64(..4));
        }
        world.run(2);
        shake_hands(&mut world);
        world.roster(asked(last, 40));
        world.run(90);
        let beats = world.guest_mut(1).beat.is_some();
        assert_eq!(
            beats,
            last == VmState::Starting,
            "seed {seed}: {last}, heard {:?}",
            world.guest_mut(1).heard
        );
        assert!(done(&world).contains(&40) && world.monitor.stops.is_empty(), "seed {seed}");
        assert_eq!(world.monitor.messages_under_way(), 0, "seed {seed}");
        assert_eq!(world.monitor.tracker.is_watched(vm(1)), beats, "seed {seed}");
    }
}

#[test]
fn intervals_of_the_store_hold_at_once_and_until_they_are_taken_back() {
    let mut world = World::beating(1..=2);
    let own = RosterVm { heartbeat_interval_ms: Some(2000), ..registered(2, VmState::Started, None) };
    let vms = || vec![registered(1, VmState::Started, None), own.clone()];
    world.roster(roster(vms()));
    let settings = MonitorSettings {
        version: 3,
        log_level: Some("debug".into()),
        heartbeat_interval_ms: Some(1000),
        store_heartbeat_interval_ms: Some(5000),
        versions: None,
    };
    world.forget_writes();
    for _ in 0..2 {
        world.roster(Roster { settings: settings.clone(), ..roster(vms()) });
    }
    let interval = |world: &mut World, number| world.guest_mut(number).beat.unwrap().0.as_millis();
    assert_eq!((interval(&mut world, 1), interval(&mut world, 2)), (1000, 2000), "its own stays");
    assert_eq!(configured(&world), [(3, "2.0-2.1".to_owned(), Duration::from_secs(5))]);
    assert_eq!(world.levels, [Some("debug".to_owned())]);
    world.forget_writes();
    world.run(20);
    let alive =
        |world: &World| world.writes().iter().filter(|write| ***write == HostMonitorWrite::Heartbeat).count();
    assert_eq!(alive(&world), 4, "every 5 s, from at most 5 s on");
    world.guest_mut(1).frozen = true;
    world.run(10);
    assert_eq!(missing_edges(&world), [(vm(1), 1900)]);
    world.guest_mut(1).frozen = false;
    world.forget_writes();
    let back = MonitorSettings { version: 4, ..MonitorSettings::default() };
    world.roster(Roster { settings: back, ..roster(vms()) });
    world.run(5);
    assert_eq!((interval(&mut world, 1), interval(&mut world, 2)), (10_000, 2000));
    assert_eq!(configured(&world), [(4, "2.0-2.1".to_owned(), Duration::from_secs(30))]);
    assert_eq!(world.levels.last(), Some(&None));
}

#[test]
fn accepted_versions_hold_for_new_handshakes() {
    let mut world = World::beating(1..=1);
    let version = |text: &str| MonitorSettings {
        version: 1,
        versions: text.parse().ok(),
        ..MonitorSettings::default()
    };
    let vms = || vec![registered(1, VmState::Started, None), registered(2, VmState::Starting, None)];
    world.roster(Roster { settings: version("2.0-2.0"), ..roster(vms()) });
    world.guest(2, 2);
    world.run(2);
    let running = |world: &World| {
        let mut paths: Vec<_> = world.monitor.paths(world.now).map(|path| path.session).collect();
        paths.sort_by_key(|session| session.vm);
        paths.into_iter().map(|session| session.version.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(running(&world), ["2.1", "2.0"], "an open path keeps its version");
    world.guests.clear();
    world.roster(Roster { settings: version("2.1-2.1"), ..roster(vms()) });
    let plain = VmmIdentity {
        uuid: vm(3).to_string(),
        os_type: "Linux".to_owned(),
        lower: Version::V2_0,
        upper: Version::V2_0,
    };
    world.guests.insert(mac(3), Guest { end: Initiator::new(plain, 1500, 3), ..World::new_guest(3, "") });
    let now = world.now;
    let guest = world.guest_mut(3);
    guest.end.connect(now, &mut guest.out);
    world.run(1);
    let refused = |write: &&HostMonitorWrite| {
        matches!(write, HostMonitorWrite::Conflict { kind: vmpulse_store::ConflictKind::Version, .. })
    };
    assert_eq!(world.writes().into_iter().filter(refused).count(), 1);
    assert!(!world.guest_mut(3).end.is_open());
}

#[test]
fn a_monitor_that_was_taken_out_lets_its_guests_go_and_comes_back_anew() {
    let mut world = World::beating(1..=2);
    world.forget_writes();
    // That is no question of where the VMs are.
    world.standings = None;
    world.roster(Roster { removed: true, ..Roster::default() });
    world.run(120);
    assert!(world.monitor.is_removed());
    for number in [1, 2] {
        assert_eq!(world.guest_mut(number).beat, None);
    }
    assert_eq!(missing_edges(&world), []);
    assert!(world.notes.contains(&Note::Removed { removed: true }));
    world.forget_writes();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    world.run(1);
    let said = world.writes();
    assert!(matches!(said[0], HostMonitorWrite::Started(_)), "{said:?}");
    let opened = said
        .iter()
        .position(|write| matches!(write, HostMonitorWrite::PathOpened { vm: one, .. } if *one == vm(1)));
    assert!(opened > Some(0), "{said:?}");
    assert!(said.contains(&&HostMonitorWrite::PathDetected { vm: vm(1) }));
    assert!(!world.monitor.is_removed());
}

/// Nothing was read of the store in between, so the roster looks as before, and the store has forgotten its start and its paths.
#[test]
fn a_monitor_that_was_removed_and_registered_between_two_rosters_says_all_anew() {
    let vms = || (1..=3).map(|number| registered(number, VmState::Started, None)).collect();
    let incarnation = Some(config().incarnation.to_string());
    let as_of = |state| Roster { state: Some(state), incarnation: incarnation.clone(), ..roster(vms()) };
    let mut world = World::beating(1..=3);
    world.guest_mut(3).frozen = true;
    world.run(40);
    world.roster(as_of(NodeState::Up));
    world.run(10);
    world.forget_writes();
    world.commits = false;
    world.roster(as_of(NodeState::Down));
    let said = world.writes();
    assert!(matches!(said[0], HostMonitorWrite::Started(_)), "{said:?}");
    for number in [1, 2] {
        let opened = |write: &&HostMonitorWrite| matches!(write, HostMonitorWrite::PathOpened { vm: one, .. } if *one == vm(number));
        let position = said.iter().position(opened);
        let detected =
            said.iter().position(|write| **write == HostMonitorWrite::PathDetected { vm: vm(number) });
        assert!(Some(0) < position && position < detected, "{said:?}");
    }
    assert_eq!(missing_edges(&world).iter().map(|(vm, _)| *vm).collect::<Vec<_>>(), [vm(3)]);
    // Of a store that is read and does not take it the same is read again and again.
    world.forget_writes();
    for _ in 0..5 {
        world.roster(as_of(NodeState::Down));
    }
    assert!(!world.writes().iter().any(|write| write.start().is_some()), "{:?}", world.writes());
    world.commits = true;
    world.forget_writes();
    world.roster(as_of(NodeState::Up));
    world.run(60);
    assert!(!world.writes().iter().any(|write| matches!(write, HostMonitorWrite::PathOpened { .. })));
    // What it says at its end is no reason to start again.
    world.monitor.handle_input(world.now, Input::Shutdown);
    world.forget_writes();
    world.roster(as_of(NodeState::Down));
    assert!(!world.writes().iter().any(|write| write.start().is_some()));
}

#[test]
fn a_roster_that_is_older_than_the_start_is_no_reason_to_start_again() {
    let mut world = World::new();
    world.forget_writes();
    for incarnation in [None, Some("the start before".to_owned())] {
        world.roster(Roster { state: Some(NodeState::Down), incarnation, ..Roster::default() });
        assert_eq!(world.writes().len(), 0, "{:?}", world.writes());
    }
}

/// Its VM was removed while no monitor ran.
#[test]
fn a_guest_that_beats_for_nobody_is_told_to_stop_once() {
    let mut world = World::new();
    world.guest(1, 1);
    let now = world.now;
    world.guest_mut(1).beat = Some((Duration::from_secs(1), now));
    world.run(5);
    assert_eq!(world.guest_mut(1).heard, [""; 0], "before the store was read nothing is known of anybody");
    world.roster(roster(vec![]));
    world.run(5);
    assert_eq!(world.guest_mut(1).heard, ["STOP_HB"]);
    assert_eq!(world.guest_mut(1).beat, None);
    let now = world.now;
    world.guest_mut(1).beat = Some((Duration::from_secs(1), now));
    world.run(60);
    assert_eq!(world.guest_mut(1).heard.len(), 1, "one that does not listen is not told at each heartbeat");
}
