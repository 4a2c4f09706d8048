//! What a monitor does from day to day.

use super::*;

/// [H-1]
#[test]
fn hello_goes_out_at_0_1_3_7_and_every_30_seconds() {
    let mut world = World::new();
    let start = world.now;
    world.run(70);
    let after: Vec<_> = world.hellos.iter().map(|at| at.since(start).as_secs()).collect();
    assert_eq!(after, [0, 1, 3, 7, 37, 67]);
}

#[test]
fn a_registered_guest_is_started_and_its_first_heartbeat_is_an_edge() {
    let world = World::beating(1..=1);
    let expected = [
        HostMonitorWrite::PathOpened {
            vm: vm(1),
            mac: mac(1).to_string(),
            version: "2.1".to_owned(),
            authenticated: false,
            age: Duration::ZERO,
        },
        HostMonitorWrite::PathDetected { vm: vm(1) },
    ];
    assert_eq!(world.writes()[1..], expected.iter().collect::<Vec<_>>());
    assert!(matches!(world.writes()[0], HostMonitorWrite::Started(start) if start.trunk == "trunkA"));
}

#[test]
fn steady_heartbeats_write_nothing_but_the_monitors_own() {
    let mut world = World::beating(1..=20);
    world.forget_writes();
    world.run(3600);
    assert!(world.writes().iter().all(|write| **write == HostMonitorWrite::Heartbeat));
    assert_eq!(world.writes.len(), 120);
}

#[test]
fn a_frozen_guest_is_missing_19_seconds_after_its_last_heartbeat_and_detected_when_it_thaws() {
    let mut world = World::beating(1..=3);
    world.forget_writes();
    world.guest_mut(2).frozen = true;
    world.run(60);
    assert_eq!(missing_edges(&world), [(vm(2), 19_000)]);
    world.forget_writes();
    let now = world.now;
    world.guest_mut(2).beat = Some((Duration::from_secs(10), now));
    world.guest_mut(2).frozen = false;
    world.run(1);
    assert_eq!(world.writes(), [&HostMonitorWrite::PathDetected { vm: vm(2) }]);
}

/// [S-20]
#[test]
fn an_unregistered_guest_is_reported_once_and_not_started() {
    let mut world = World::new();
    world.roster(Roster::default());
    world.guest(1, 1);
    for _ in 0..3 {
        let now = world.now;
        let guest = world.guest_mut(1);
        guest.end.connect(now, &mut guest.out);
        world.run(2);
    }
    let discovered =
        world.writes().into_iter().filter(|write| matches!(write, HostMonitorWrite::Discovered { .. }));
    assert_eq!(discovered.count(), 1);
    assert!(world.guest_mut(1).heard.is_empty());
    world.say(1, &Message::Doorbell(Doorbell::STATUS));
    assert!(!world.writes().iter().any(|write| matches!(write, HostMonitorWrite::Doorbell { .. })));
}

#[test]
fn a_guest_that_was_there_first_is_opened_when_it_is_registered() {
    let mut world = World::new();
    world.roster(Roster::default());
    world.guest(1, 1);
    world.forget_writes();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    world.run(1);
    let opened = HostMonitorWrite::PathOpened {
        vm: vm(1),
        mac: mac(1).to_string(),
        version: "2.1".to_owned(),
        authenticated: false,
        age: Duration::ZERO,
    };
    assert_eq!(world.writes(), [&opened, &HostMonitorWrite::PathDetected { vm: vm(1) }]);
}

/// [L-1]
#[test]
fn a_first_heartbeat_that_overtakes_the_acknowledgement_of_its_start_counts() {
    let mut world = World::new();
    world.roster(Roster::default());
    world.guest(1, 1);
    world.forget_writes();
    let registered = roster(vec![registered(1, VmState::Starting, None)]);
    world.monitor.handle_input(world.now, Input::Roster(registered));
    // The acknowledgement does not come, because the message is not delivered.
    let outputs: Vec<_> = std::iter::from_fn(|| world.monitor.poll_output()).collect();
    assert!(outputs.iter().any(|output| matches!(output, Output::Transmit(_))));
    let guest = world.guest_mut(1);
    guest.end.send_heartbeat(&mut guest.out);
    world.carry();
    assert!(world.guest_mut(1).heard.is_empty());
    assert_eq!(world.writes(), [&HostMonitorWrite::PathDetected { vm: vm(1) }]);
    // It may beat by the interval of a former life of the monitor, a long one, until it has acknowledged another or is given up.
    world.guest_mut(1).frozen = true;
    world.run(25);
    assert_eq!(missing_edges(&world), []);
    world.run(60);
    assert_eq!(missing_edges(&world).iter().map(|(vm, _)| *vm).collect::<Vec<_>>(), [vm(1)]);
}

/// [M-8]
#[test]
fn an_interval_of_its_own_and_its_change_reach_the_guest() {
    let mut world = World::beating(1..=1);
    let mut changed = registered(1, VmState::Started, None);
    changed.heartbeat_interval_ms = Some(500);
    world.roster(roster(vec![changed]));
    world.run(1);
    assert_eq!(world.guest_mut(1).heard, ["START_HB", "START_HB:interval=500"]);
    world.forget_writes();
    world.guest_mut(1).frozen = true;
    world.run(2);
    assert_eq!(missing_edges(&world), [(vm(1), 950)]);
}

#[test]
fn a_stopped_vm_is_told_to_be_still_and_its_silence_is_no_edge() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.roster(roster(vec![registered(1, VmState::Stopped, None)]));
    world.run(120);
    assert_eq!(world.guest_mut(1).heard, ["START_HB", "STOP_HB"]);
    assert_eq!(world.writes()[0], &HostMonitorWrite::PathForgotten { vm: vm(1) });
    assert!(missing_edges(&world).is_empty());
}

///
#[test]
fn a_doorbell_is_acknowledged_only_when_it_is_in_the_store() {
    let mut world = World::beating(1..=1);
    world.commits = false;
    let delivered = world.guest_mut(1).delivered;
    world.say(1, &Message::Doorbell(Doorbell::STATUS));
    world.run(3);
    assert_eq!(world.guest_mut(1).delivered, delivered);
    let doorbells: Vec<_> =
        world.writes.iter().filter(|(_, write)| matches!(write, HostMonitorWrite::Doorbell { .. })).collect();
    let [(number, HostMonitorWrite::Doorbell { bits: 0x20, .. })] = doorbells[..] else {
        panic!("{doorbells:?}")
    };
    let up_to = *number;
    world.monitor.handle_input(world.now, Input::Stored { up_to });
    world.run(5);
    assert_eq!(world.guest_mut(1).delivered, delivered + 1);
}

/// [M-9]
#[test]
fn a_deliberate_shutdown_and_a_suspension_are_written_as_such() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.say(1, &Message::Suspend);
    world.say(1, &Message::Resume);
    world.say(1, &Message::Shutdown(Shutdown::Os));
    let suspended = |reason| HostMonitorWrite::Suspended { vm: vm(1), reason, age: Duration::ZERO };
    let expected = [
        suspended(SuspendReason::Administrator),
        HostMonitorWrite::Resumed { vm: vm(1), age: Duration::ZERO },
        suspended(SuspendReason::Os),
    ];
    assert_eq!(world.writes(), expected.iter().collect::<Vec<_>>());
}

/// The monitor was not scheduled; the kernel was.
#[test]
fn what_a_guest_said_is_as_old_as_its_frame() {
    let mut world = World::beating(1..=1);
    let arrived = world.now;
    let guest = world.guest_mut(1);
    guest.end.send(arrived, Token(1), &Message::Suspend, &mut guest.out);
    let packet = guest.out.poll_packet().unwrap();
    world.now = arrived + Duration::from_secs(150);
    let late = Input::Frame { arrived, source: mac(1), vlan: None, payload: &packet };
    world.monitor.handle_input(world.now, late);
    world.carry();
    world.say(1, &Message::Resume);
    let (reason, age) = (SuspendReason::Administrator, Duration::from_secs(150));
    assert!(world.writes().contains(&&HostMonitorWrite::Suspended { vm: vm(1), reason, age }));
    let resumed = HostMonitorWrite::Resumed { vm: vm(1), age: Duration::ZERO };
    assert!(world.writes().contains(&&resumed), "the next frame is none of the late ones");
}

/// [M-13]
#[test]
fn a_report_is_asked_for_written_and_cleared_once_each() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    let started = || registered(1, VmState::Started, None);
    let asking =
        |tag, what| Roster { requests: vec![HostMonitorRequest { tag, what }], ..roster(vec![started()]) };
    for _ in 0..3 {
        world.roster(asking(5, RequestKind::AskReport { vm: vm(1), message: 77 }));
    }
    assert_eq!(world.guest_mut(1).heard, ["START_HB", "PMSG_REQ:77:apps"]);
    world.say(1, &Message::Report { tag: 77, xml: b"<r/>" });
    world.roster(asking(6, RequestKind::ReportTaken { vm: vm(1), message: 77 }));
    world.say(1, &Message::ReportClear { tag: 77 });
    let expected = [
        HostMonitorWrite::RequestDone { tag: 5 },
        HostMonitorWrite::Report { vm: vm(1), message: 77, payload: b"<r/>".to_vec() },
        HostMonitorWrite::RequestDone { tag: 6 },
        HostMonitorWrite::ReportCleared { vm: vm(1), message: 77 },
    ];
    assert_eq!(world.writes(), expected.iter().collect::<Vec<_>>());
    assert_eq!(world.monitor.messages_under_way(), 0);
}

/// [S-21]
#[test]
fn another_address_does_not_take_over_a_beating_path_but_may_a_missing_one() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.guest(9, 1);
    world.run(16);
    assert!(!world.guest_mut(9).end.is_open());
    let conflicts =
        world.writes().into_iter().filter(|write| matches!(write, HostMonitorWrite::Conflict { .. }));
    assert_eq!(conflicts.count(), 1);
    world.guest_mut(1).frozen = true;
    world.run(30);
    world.guest(9, 1);
    world.run(3);
    assert!(world.guest_mut(9).end.is_open());
    assert_eq!(world.monitor.paths(world.now).next().unwrap().session.mac, mac(9));
}

/// [S-20] [P-5]
#[test]
fn guests_without_a_uuid_or_with_another_version_are_recorded_once() {
    let mut world = World::new();
    world.roster(Roster::default());
    for _ in 0..3 {
        world.guest_saying(1, "not-a-uuid");
        world.guests.clear();
    }
    let alien = Packet::plain(Version { major: 3, minor: 0 }, 0, Flags::SYN, b"").encode();
    for _ in 0..3 {
        let input = Input::Frame { arrived: world.now, source: mac(2), vlan: None, payload: &alien };
        world.monitor.handle_input(world.now, input);
    }
    world.carry();
    let found: Vec<_> = world.writes()[1..].to_vec();
    assert!(matches!(found[0], HostMonitorWrite::Discovered { uuid, .. } if uuid == "not-a-uuid"));
    assert!(matches!(found[1], HostMonitorWrite::Conflict { .. }));
    assert_eq!(found.len(), 2);
}

/// [L-6]
#[test]
fn a_stalled_monitor_accuses_nobody_and_says_so() {
    let mut world = World::beating(1..=10);
    world.forget_writes();
    // The process was stopped for a minute; no frame waited in the socket (say it was lost with its buffer).
    world.now = world.now + Duration::from_secs(60);
    world.monitor.handle_timeout(world.now);
    world.carry();
    assert!(missing_edges(&world).is_empty());
    let deferred = |write: &&HostMonitorWrite| matches!(write, HostMonitorWrite::NodeEvent { kind, .. } if kind == "DEFERRED");
    assert_eq!(world.writes().iter().filter(|write| deferred(write)).count(), 1);
    let now = world.now;
    for guest in world.guests.values_mut() {
        guest.beat = Some((Duration::from_secs(10), now + Duration::from_secs(3)));
    }
    world.run(120);
    assert!(missing_edges(&world).is_empty());
}

/// [L-7]
#[test]
fn a_lost_adapter_accuses_nobody() {
    let mut world = World::beating(1..=5);
    world.forget_writes();
    world.monitor.handle_input(world.now, Input::Adapter(false));
    world.carry();
    assert!(world.writes().contains(&&HostMonitorWrite::TrunkHeard { heard: false }));
    assert!(!world.monitor.hears_trunk());
    for guest in world.guests.values_mut() {
        guest.frozen = true;
    }
    world.run(300);
    assert!(missing_edges(&world).is_empty());
    world.monitor.handle_input(world.now, Input::Adapter(true));
    world.run(30);
    assert_eq!(
        missing_edges(&world).iter().map(|(vm, _)| *vm).collect::<std::collections::BTreeSet<_>>().len(),
        5
    );
}

/// [L-5]
#[test]
fn a_restarted_monitor_keeps_open_silences_and_accuses_expected_guests_late() {
    let mut world = World::new();
    let path = |missed| Some(RosterPath { mac: mac(1).to_string(), missed });
    let silent = registered(1, VmState::Started, path(Some(Duration::from_secs(100))));
    let well = registered(2, VmState::Started, path(None));
    world.roster(roster(vec![silent, well]));
    world.run(28);
    assert!(missing_edges(&world).is_empty());
    world.run(2);
    assert_eq!(missing_edges(&world), [(vm(2), 29_000)]);
}

/// [S-20]
#[test]
fn a_moved_vm_is_heard_here_as_well() {
    let mut world = World::new();
    world.elsewhere(1, VmState::Started);
    world.roster(Roster::default());
    world.guest(1, 1);
    world.run(1);
    world.roster(Roster::default());
    world.run(30);
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
    assert!(world.writes().contains(&&HostMonitorWrite::PathDetected { vm: vm(1) }));
    assert!(missing_edges(&world).is_empty());
}

#[test]
fn a_guest_still_beating_for_an_earlier_life_of_the_monitor_is_told_to_be_still() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Added, None)]));
    world.guest(1, 1);
    let now = world.now;
    world.guest_mut(1).beat = Some((Duration::from_secs(1), now));
    world.run(2);
    assert_eq!(world.guest_mut(1).heard, ["STOP_HB"]);
}

/// [H-8]
#[test]
fn strangers_are_answered_with_a_hello_once_a_second() {
    let mut world = World::new();
    world.run(10);
    world.hellos.clear();
    let heartbeat = Packet::plain(Version::V2_1, 0, Flags::BEG | Flags::END | Flags::PRI, b"HB:");
    let solicitation = Packet::plain(Version::V2_0, 0, Flags::HEL, b"");
    for (source, packet) in [(7, heartbeat), (7, heartbeat), (8, solicitation), (8, solicitation)] {
        let payload = packet.encode();
        let input = Input::Frame { arrived: world.now, source: mac(source), vlan: None, payload: &payload };
        world.monitor.handle_input(world.now, input);
    }
    world.carry();
    assert_eq!(world.hellos.len(), 2);
}

#[test]
fn an_orderly_stop_is_recorded_as_one() {
    let mut world = World::new();
    world.monitor.handle_input(world.now, Input::Shutdown);
    world.carry();
    let down =
        HostMonitorWrite::NodeChanged { state: NodeState::Down, reason: 0x40, mode: MonitorMode::Down };
    assert_eq!(world.writes().last(), Some(&&down));
}

/// [M-4]
#[test]
fn a_peer_of_version_2_0_is_told_the_one_interval_that_it_knows() {
    let mut world = World::new();
    let mut registered = registered(1, VmState::Starting, None);
    registered.heartbeat_interval_ms = Some(500);
    world.roster(roster(vec![registered]));
    let mut guest = World::new_guest(1, &vm(1).to_string());
    guest.end = Initiator::new(VmmIdentity { upper: Version::V2_0, ..guest.end.identity().clone() }, 1500, 3);
    guest.end.connect(world.now, &mut guest.out);
    world.guests.insert(mac(1), guest);
    world.run(60);
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
    assert!(!world.missing(1));
    world.guest_mut(1).frozen = true;
    world.run(12);
    assert!(!world.missing(1));
    world.run(10);
    assert!(world.missing(1));
}
