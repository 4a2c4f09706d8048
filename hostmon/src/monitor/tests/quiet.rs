//! Announced silences.

use vmpulse_store::{Quiet, QuietAnswer};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn quiet(number: u8, sequence: i64, left: Duration) -> Quiet {
    Quiet { vm: vm(number), sequence, left, reason: "backup".to_owned() }
}

fn started(number: u8, missed: Option<Duration>) -> RosterVm {
    registered(number, VmState::Started, Some(RosterPath { mac: mac(number).to_string(), missed }))
}

/// VM 1 and its announced silence, as the store has them.
fn roster_with(quiet: Option<Quiet>) -> Roster {
    Roster { quiet: quiet.into_iter().collect(), ..roster(vec![started(1, None)]) }
}

fn says_quiet(world: &mut World, ms: u32) {
    world.say(1, &Message::Quiet { ms, reason: "backup" });
}

/// The store's answer to a QUIET.
fn granted(world: &mut World, granted: Duration, quiet: Option<Quiet>) {
    let answer = QuietAnswer { vm: vm(1), granted, quiet };
    world.monitor.handle_input(world.now, Input::Quiet(answer));
    world.carry();
}

/// Said, granted, and then the guest stands still.
fn frozen_quiet(left: Duration) -> World {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    says_quiet(&mut world, 60_000);
    granted(&mut world, MINUTE, Some(quiet(1, 7, left)));
    world.run(1);
    world.forget_writes();
    world.guest_mut(1).frozen = true;
    world
}

fn overs(world: &World) -> Vec<i64> {
    let sequence = |write: &HostMonitorWrite| match write {
        HostMonitorWrite::QuietOver { sequence, .. } => Some(*sequence),
        _ => None,
    };
    world.writes().into_iter().filter_map(sequence).collect()
}

///
#[test]
fn it_is_asked_of_the_store_and_acknowledged_and_answered_when_that_has_granted_it() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.commits = false;
    let delivered = world.guest_mut(1).delivered;
    says_quiet(&mut world, 60_000);
    world.run(2);
    let (vm, reason) = (vm(1), "backup".to_owned());
    let asked = HostMonitorWrite::QuietAsked { vm, asked: MINUTE, age: Duration::ZERO, reason };
    assert_eq!(world.writes(), [&asked], "once, though the guest repeated it");
    assert_eq!(world.guest_mut(1).delivered, delivered);
    let up_to = world.writes[0].0;
    world.monitor.handle_input(world.now, Input::Stored { up_to });
    granted(&mut world, Duration::from_secs(20), Some(quiet(1, 7, Duration::from_secs(20))));
    world.run(1);
    assert_eq!(world.guest_mut(1).delivered, delivered + 1);
    assert_eq!(world.guest_mut(1).heard, ["START_HB", "QUIET_OK:20000"], "in a message of its own");
}

///
#[test]
fn no_more_than_the_settings_allow_is_asked_for() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    says_quiet(&mut world, u32::MAX);
    let asked = |write: &HostMonitorWrite| match write {
        HostMonitorWrite::QuietAsked { asked, .. } => Some(asked.as_secs()),
        _ => None,
    };
    assert_eq!(world.writes().into_iter().find_map(asked), Some(300));
}

///
#[test]
fn nobody_calls_it_missing_while_it_lasts_and_everybody_after_it() {
    let mut world = frozen_quiet(MINUTE);
    world.run(58);
    assert!(
        world.writes().iter().all(|write| **write == HostMonitorWrite::Heartbeat),
        "{:?}",
        world.writes()
    );
    let path = world.monitor.paths(world.now).next().unwrap();
    assert!(path.quiet && !path.missing);
    assert_eq!(world.monitor.quiets(world.now).next().unwrap().left, Duration::from_secs(1));
    world.run(19);
    assert_eq!((overs(&world), missing_edges(&world)), (vec![7], vec![]));
    assert!(!world.monitor.paths(world.now).next().unwrap().quiet);
    world.run(2);
    let silent = missing_edges(&world);
    assert!(matches!(silent[..], [(_, 79_000..=90_000)]), "since the last heartbeat: {silent:?}");
}

/// A guest that was restored meanwhile is heard only after a handshake.
#[test]
fn who_is_silent_when_it_is_over_is_reminded_and_who_beats_is_not() {
    let mut world = frozen_quiet(MINUTE);
    world.reminders.clear();
    let over = world.now + MINUTE;
    world.run(60);
    let reminded: Vec<_> = world.reminders.iter().filter(|(at, _)| over.since(*at).as_secs() <= 1).collect();
    assert_eq!(reminded.len(), 1, "{:?}", world.reminders);
    let mut world = World::beating(1..=1);
    granted(&mut world, MINUTE, Some(quiet(1, 7, MINUTE)));
    world.reminders.clear();
    world.run(61);
    assert_eq!(overs(&world), [7]);
    assert_eq!(world.reminders, []);
}

#[test]
fn a_roster_read_by_a_clock_that_stepped_changes_nothing() {
    for left in [Duration::ZERO, MINUTE] {
        let mut world = frozen_quiet(MINUTE);
        world.run(30);
        world.roster(roster_with(Some(quiet(1, 7, left))));
        world.run(28);
        assert_eq!((overs(&world), missing_edges(&world)), (vec![], vec![]), "not before its time");
        world.run(1);
        assert_eq!(overs(&world), [7], "and not after it");
        // Read before the store was told.
        world.roster(roster_with(Some(quiet(1, 7, left))));
        world.run(20);
        assert_eq!((overs(&world).len(), missing_edges(&world).len()), (1, 1));
    }
}

#[test]
fn a_newer_announcement_takes_its_place_and_an_older_one_does_not() {
    let mut world = frozen_quiet(MINUTE);
    world.run(30);
    world.roster(roster_with(Some(quiet(1, 9, MINUTE))));
    world.roster(roster_with(Some(quiet(1, 8, Duration::ZERO))));
    world.run(59);
    assert!(overs(&world).is_empty());
    world.run(1);
    assert_eq!(overs(&world), [9]);
}

///
#[test]
fn ended_by_the_guest_on_this_trunk_or_another_silence_counts_from_there() {
    for elsewhere in [false, true] {
        let mut world = frozen_quiet(MINUTE);
        world.run(30);
        if elsewhere {
            world.roster(roster_with(None));
        } else {
            world.guest_mut(1).frozen = false;
            says_quiet(&mut world, 0);
            let ended = HostMonitorWrite::QuietEnded { vm: vm(1), age: Duration::ZERO };
            assert!(world.writes().contains(&&ended));
            world.guest_mut(1).beat = None;
            granted(&mut world, Duration::ZERO, None);
            world.run(0);
            assert_eq!(world.guest_mut(1).heard.last().unwrap(), "QUIET_OK:0");
        }
        world.forget_writes();
        world.run(18);
        assert_eq!(missing_edges(&world), []);
        world.run(2);
        assert_eq!((missing_edges(&world).len(), overs(&world)), (1, vec![]));
    }
}

///
#[test]
fn a_restarted_monitor_knows_it_from_the_store() {
    let mut world = World::new();
    let vms = vec![started(1, None), started(2, Some(Duration::from_secs(100)))];
    let quiet = vec![quiet(1, 7, MINUTE), quiet(2, 8, Duration::from_secs(10))];
    world.roster(Roster { quiet, ..roster(vms) });
    assert!(world.writes().contains(&&HostMonitorWrite::PathQuiet { vm: vm(2) }), "it was missing");
    world.run(28);
    assert_eq!((missing_edges(&world), overs(&world)), (vec![], vec![8]));
    world.run(2);
    assert_eq!(missing_edges(&world), [(vm(2), 129_000)]);
    world.run(48);
    assert_eq!(missing_edges(&world).len(), 1);
    world.run(2);
    assert_eq!(missing_edges(&world)[1..], [(vm(1), 79_000)]);
    assert_eq!(overs(&world), [8, 7]);
}

///
#[test]
fn a_silence_announced_to_another_monitor_excuses_this_path_too() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    world.run(30);
    world.forget_writes();
    world.roster(roster_with(Some(quiet(1, 7, MINUTE))));
    assert_eq!(world.writes(), [&HostMonitorWrite::PathQuiet { vm: vm(1) }]);
    assert!(world.monitor.paths(world.now).next().unwrap().quiet);
    // It is not MISSING, and so nobody takes its place.
    world.guest(9, 1);
    world.run(20);
    assert!(!world.guest_mut(9).end.is_open());
    world.run(58);
    assert_eq!(missing_edges(&world), []);
    world.run(2);
    assert_eq!(missing_edges(&world).len(), 1);
}

#[test]
fn a_guest_whose_silence_is_nobodys_concern_may_be_silent() {
    let mut world = World::new();
    world.roster(Roster::default());
    world.guest(1, 1);
    // Until the store has said that it is nobody's here, it may be one that moved.
    world.run(1);
    world.forget_writes();
    says_quiet(&mut world, 400_000);
    says_quiet(&mut world, 0);
    assert_eq!(world.guest_mut(1).heard, ["QUIET_OK:300000", "QUIET_OK:0"]);
    assert_eq!(world.writes(), [] as [&HostMonitorWrite; 0]);
}

#[test]
fn of_an_older_protocol_version_it_is_no_message() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    let version = Version::V2_0;
    let identity =
        VmmIdentity { uuid: vm(1).to_string(), os_type: "Linux".to_owned(), lower: version, upper: version };
    let mut guest = World::new_guest(1, "");
    guest.end = Initiator::new(identity, 1500, 1);
    guest.end.connect(world.now, &mut guest.out);
    world.guests.insert(mac(1), guest);
    world.run(1);
    world.forget_writes();
    says_quiet(&mut world, 60_000);
    world.run(1);
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
    assert_eq!(world.writes(), [] as [&HostMonitorWrite; 0]);
}

#[test]
fn a_guest_that_is_silent_as_announced_is_not_cut_off_for_not_answering() {
    let mut world = World::beating(1..=1);
    says_quiet(&mut world, 60_000);
    // It stands still before QUIET_OK reaches it.
    world.guest_mut(1).frozen = true;
    granted(&mut world, MINUTE, Some(quiet(1, 7, MINUTE)));
    world.run(50);
    assert_eq!(world.monitor.paths(world.now).count(), 1, "its path is open");
    assert_eq!(world.monitor.messages_under_way(), 0);
    let now = world.now;
    world.guest_mut(1).beat = Some((Duration::from_secs(10), now));
    world.guest_mut(1).frozen = false;
    world.run(60);
    assert_eq!(missing_edges(&world), []);
}

#[test]
fn a_vm_that_is_removed_leaves_no_announced_silence() {
    let mut world = frozen_quiet(MINUTE);
    world.roster(Roster::default());
    assert_eq!(world.monitor.quiets(world.now).count(), 0);
    world.run(100);
    assert_eq!((overs(&world), missing_edges(&world)), (vec![], vec![]));
}
