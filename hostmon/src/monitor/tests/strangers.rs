//! Guests that are not in the roster.

use super::*;

fn discovered(world: &World) -> Vec<String> {
    let uuid = |write: &HostMonitorWrite| match write {
        HostMonitorWrite::Discovered { uuid, .. } => Some(uuid.clone()),
        _ => None,
    };
    world.writes().into_iter().filter_map(uuid).collect()
}

fn starts(world: &World) -> usize {
    world.writes().into_iter().filter(|write| matches!(write, HostMonitorWrite::PathOpened { .. })).count()
}

#[test]
fn a_moved_vm_beats_at_its_own_interval_and_only_if_it_is_monitored() {
    let mut world = World::new();
    world.roster(Roster::default());
    let own = RosterVm { heartbeat_interval_ms: Some(700), ..registered(1, VmState::Started, None) };
    world.standings.as_mut().unwrap().insert(vm(1), Standing::Elsewhere(own));
    world.elsewhere(2, VmState::Added);
    world.guest(1, 1);
    world.guest(2, 2);
    world.run(1);
    assert_eq!(world.guest_mut(1).heard, ["START_HB:interval=700"]);
    assert_eq!(world.guest_mut(2).heard, [""; 0]);
    assert_eq!((starts(&world), discovered(&world)), (2, vec![]), "the store knows where both are at home");
    world.elsewhere(2, VmState::Starting);
    world.run(40);
    assert_eq!(world.guest_mut(2).heard, ["START_HB"], "asked about again");
}

#[test]
fn nothing_is_said_of_a_stranger_before_the_store_has_answered() {
    let mut world = World::new();
    world.roster(Roster::default());
    world.standings = None;
    world.guest(1, 1);
    world.run(5);
    assert_eq!((discovered(&world), starts(&world)), (vec![], 0));
    assert_eq!(world.guest_mut(1).heard, [""; 0]);
    world.standings = Some(BTreeMap::new());
    world.run(30);
    assert_eq!(discovered(&world), [vm(1).to_string()]);
}

#[test]
fn a_removed_vm_is_no_news_and_is_told_to_be_still() {
    let mut world = World::beating(1..=1);
    world.standings.as_mut().unwrap().insert(vm(1), Standing::Removed);
    world.forget_writes();
    world.roster(Roster::default());
    world.run(1);
    assert_eq!(world.guest_mut(1).heard, ["START_HB", "STOP_HB"]);
    world.run(120);
    assert_eq!((discovered(&world), missing_edges(&world)), (vec![], vec![]));
}

#[test]
fn who_is_answered_to_be_here_is_not_kept_in_mind() {
    let mut world = World::new();
    world.roster(Roster::default());
    for number in 1..=64 {
        world.standings.as_mut().unwrap().insert(vm(number), Standing::Here);
        world.guest(number, number);
        world.guest_mut(number).beat = Some((Duration::from_secs(10), world.now));
    }
    world.run(30);
    assert!(world.monitor.questions.has_room(), "for strangers that beat and are to stop");
}

#[test]
fn a_vm_that_is_registered_with_another_host_goes_on_beating_here() {
    let mut world = World::beating(1..=1);
    world.elsewhere(1, VmState::Started);
    world.roster(Roster::default());
    world.run(60);
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
    world.guest_mut(1).frozen = true;
    world.run(30);
    assert_eq!(missing_edges(&world).len(), 1);
}

#[test]
fn made_up_guests_are_asked_about_together_and_no_more_than_are_held() {
    let mut world = World::new();
    world.roster(Roster::default());
    world.run(10);
    world.standings = None;
    for number in 1..=200 {
        world.guest(number, number);
    }
    let mut questions = vec![];
    for _ in 0..10 {
        world.now = world.now + Duration::from_millis(10);
        questions.extend(world.monitor.take_question(world.now));
    }
    assert_eq!(questions.iter().map(Vec::len).collect::<Vec<_>>(), [200]);
}

/// How old each handshake was when it was written.
fn ages(world: &World) -> Vec<Duration> {
    let age = |write: &HostMonitorWrite| match write {
        HostMonitorWrite::PathOpened { age, .. } => Some(*age),
        _ => None,
    };
    world.writes().into_iter().filter_map(age).collect()
}

/// As if it were new it would undo what the VM has told another host monitor since. (ADR 0025)
#[test]
fn a_path_that_was_open_before_its_vm_was_known_is_said_with_its_age() {
    let mut world = World::new();
    world.roster(Roster::default());
    world.standings = None;
    world.guest(1, 1);
    world.run(200);
    assert_eq!(ages(&world), []);
    world.standings = Some(BTreeMap::new());
    world.elsewhere(1, VmState::Started);
    world.run(40);
    let [moved] = ages(&world)[..] else { panic!("{:?}", ages(&world)) };
    let since = Duration::from_secs(200);
    assert!((since..=since + Duration::from_secs(40)).contains(&moved), "{moved:?}");
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    world.forget_writes();
    // Registered here, with the path of another guest.
    world.guest(2, 2);
    world.run(60);
    world.roster(roster(vec![1, 2].into_iter().map(|vm| registered(vm, VmState::Started, None)).collect()));
    assert_eq!(ages(&world), [Duration::from_secs(60)]);
}

/// Also of the time that its last packet waited in the socket.
#[test]
fn a_handshake_that_is_read_late_and_said_later_has_its_whole_age() {
    let mut world = World::new();
    world.roster(Roster::default());
    let mut guest = World::new_guest(1, &vm(1).to_string());
    guest.end.connect(world.now, &mut guest.out);
    world.guests.insert(mac(1), guest);
    let arrived = world.now;
    world.now = world.now + Duration::from_secs(5);
    for _ in 0..4 {
        for (source, packet) in world.packets_of_guests() {
            let frame = Input::Frame { arrived, source, vlan: None, payload: &packet };
            world.monitor.handle_input(world.now, frame);
        }
        while let Some(output) = world.monitor.poll_output() {
            world.on_output(output);
        }
    }
    assert!(world.monitor.sessions.is_open(vm(1)));
    world.run(20);
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    assert_eq!(ages(&world), [Duration::from_secs(25)]);
}
