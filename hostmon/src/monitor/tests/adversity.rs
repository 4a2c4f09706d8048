//! What guests, stores and trunks do that they should not.

use super::*;

/// [S-21]
#[test]
fn a_handshake_begun_before_the_vm_was_heard_does_not_take_its_path_over() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    // The thief's SYN is answered, and its last acknowledgement held back.
    let mut thief = World::new_guest(9, &vm(1).to_string());
    thief.end.connect(world.now, &mut thief.out);
    let syn = thief.out.poll_packet().unwrap();
    world.monitor.handle_input(
        world.now,
        Input::Frame { arrived: world.now, source: mac(9), vlan: None, payload: &syn },
    );
    while let Some(output) = world.monitor.poll_output() {
        if let Output::Transmit(frame) = output {
            let packet = Packet::decode(&frame.payload).unwrap();
            thief.end.handle_packet(world.now, &packet, &mut thief.out);
        }
    }
    let held_back = thief.out.poll_packet().unwrap();
    world.guest(1, 1);
    world.run(1);
    let input = Input::Frame { arrived: world.now, source: mac(9), vlan: None, payload: &held_back };
    world.monitor.handle_input(world.now, input);
    world.carry();
    assert_eq!(world.monitor.paths(world.now).map(|path| path.session.mac).collect::<Vec<_>>(), [mac(1)]);
    world.forget_writes();
    world.run(60);
    assert!(missing_edges(&world).is_empty());
}

/// [B-5]
#[test]
fn forged_handshakes_do_not_lock_a_registered_guest_out() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    let mut forged = World::new_guest(7, &vm(7).to_string());
    forged.end.connect(world.now, &mut forged.out);
    let syn = forged.out.poll_packet().unwrap();
    for number in 0..20_000u32 {
        let [_, a, b, c] = number.to_be_bytes();
        let source = MacAddr(2, 0, 1, a, b, c);
        world
            .monitor
            .handle_input(world.now, Input::Frame { arrived: world.now, source, vlan: None, payload: &syn });
        while world.monitor.poll_output().is_some() {}
    }
    world.guest(1, 1);
    world.run(1);
    assert!(world.guest_mut(1).end.is_open());
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
}

/// [M-13]
#[test]
fn nothing_is_acknowledged_before_it_is_known_who_says_it() {
    let mut world = World::new();
    world.guest(1, 1);
    world.say(1, &Message::Shutdown(Shutdown::Os));
    assert_eq!(world.guest_mut(1).delivered, 0);
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    world.run(3);
    let suspended = HostMonitorWrite::Suspended { vm: vm(1), reason: SuspendReason::Os, age: Duration::ZERO };
    assert!(world.writes().contains(&&suspended));
    assert!(world.guest_mut(1).delivered > 0);
}

#[test]
fn guests_that_came_before_the_first_roster_are_looked_at_then() {
    let mut world = World::new();
    world.guest(1, 1);
    world.guest(2, 2);
    world.elsewhere(1, VmState::Started);
    world.roster(Roster::default());
    world.run(1);
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
    let unmanaged = |write: &&HostMonitorWrite| matches!(write, HostMonitorWrite::Discovered { uuid, .. } if *uuid == vm(2).to_string());
    assert_eq!(world.writes().iter().filter(|write| unmanaged(write)).count(), 1);
}

#[test]
fn a_moved_vm_is_expected_again_by_a_restarted_monitor() {
    let mut world = World::new();
    let path = Some(RosterPath { mac: mac(1).to_string(), missed: None });
    let visiting = vec![registered(1, VmState::Started, path)];
    world.roster(Roster { visiting, ..Roster::default() });
    world.run(30);
    assert_eq!(missing_edges(&world), [(vm(1), 29_000)]);
}

/// [B-7]
#[test]
fn a_guest_that_talks_without_end_does_not_grow_the_queue_to_the_store() {
    let mut world = World::beating(1..=1);
    world.commits = false;
    world.forget_writes();
    for _ in 0..100 {
        world.say(1, &Message::Suspend);
        world.say(1, &Message::Report { tag: 1, xml: &[b'x'; 1000] });
        let now = world.now;
        let guest = world.guest_mut(1);
        guest.end.connect(now, &mut guest.out);
        world.run(2);
    }
    let count = |wanted: fn(&HostMonitorWrite) -> bool| {
        world.writes().into_iter().filter(|write| wanted(write)).count()
    };
    assert!(count(|write| matches!(write, HostMonitorWrite::Suspended { .. })) <= 8);
    assert_eq!(count(|write| matches!(write, HostMonitorWrite::Report { .. })), 0);
    assert!(world.announced <= 8, "{} lines in the log", world.announced);
}

fn opened(world: &World) -> usize {
    world.writes().into_iter().filter(|write| matches!(write, HostMonitorWrite::PathOpened { .. })).count()
}

#[test]
fn a_guest_that_makes_its_path_be_closed_does_not_open_another_in_the_same_second() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    for _ in 0..20 {
        world.guest(1, 1);
        // More beginnings of messages than are kept.
        for number in 0..=u8::MAX {
            let packet = Packet::plain(Version::V2_1, number, Flags::ACKR | Flags::BEG, b"x").encode();
            let input = Input::Frame { arrived: world.now, source: mac(1), vlan: None, payload: &packet };
            world.monitor.handle_input(world.now, input);
        }
        world.carry();
        assert!(!world.monitor.sessions.is_open(vm(1)));
    }
    assert_eq!(opened(&world), 1);
    world.run(2);
    assert_eq!(opened(&world), 2, "its next SYN is taken");
}

#[test]
fn what_was_under_way_to_an_address_that_lost_its_path_is_said_at_the_other() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    world.run(30);
    let what = RequestKind::AskReport { vm: vm(1), message: 77 };
    let started = registered(1, VmState::Started, None);
    let asking = Roster { requests: vec![HostMonitorRequest { tag: 5, what }], ..roster(vec![started]) };
    world.roster(asking.clone());
    assert!(world.monitor.messages_under_way() > 0);
    world.guest(9, 1);
    world.run(2);
    world.roster(asking);
    assert_eq!(world.guest_mut(9).heard, ["START_HB", "PMSG_REQ:77:apps"]);
    assert_eq!(world.monitor.messages_under_way(), 0);
}

#[test]
fn a_forged_handshake_does_not_lead_an_open_path_into_another_vlan() {
    let mut world = World::beating(1..=1);
    let mut forger = World::new_guest(2, &vm(1).to_string());
    forger.end.connect(world.now, &mut forger.out);
    let syn = forger.out.poll_packet().unwrap();
    let input = Input::Frame { arrived: world.now, source: mac(1), vlan: Some(7), payload: &syn };
    world.run(2);
    world.monitor.handle_input(world.now, input);
    let vm = RosterVm { heartbeat_interval_ms: Some(5000), ..registered(1, VmState::Started, None) };
    world.monitor.handle_input(world.now, Input::Roster(roster(vec![vm])));
    let mut tags = vec![];
    while let Some(output) = world.monitor.poll_output() {
        if let Output::Transmit(frame) = output {
            tags.push((Packet::decode(&frame.payload).unwrap().has(Flags::SYN), frame.vlan));
        }
    }
    assert_eq!(tags, [(true, Some(7)), (true, Some(7)), (false, None)]);
}

#[test]
fn what_was_said_of_a_vm_is_said_again_when_the_store_begins_anew_with_it() {
    let mut world = World::beating(1..=2);
    world.guest_mut(2).frozen = true;
    world.run(30);
    world.forget_writes();
    let requests = [1, 2]
        .map(|number| HostMonitorRequest { tag: number.into(), what: RequestKind::Reconsider(vm(number)) });
    let vms = vec![registered(1, VmState::Starting, None), registered(2, VmState::Starting, None)];
    world.roster(Roster { requests: requests.to_vec(), ..roster(vms) });
    assert!(world.writes().contains(&&HostMonitorWrite::PathDetected { vm: vm(1) }));
    assert_eq!(missing_edges(&world).len(), 1);
}

/// [L-4]
#[test]
fn a_longer_interval_whose_acknowledgement_is_lost_accuses_nobody() {
    let mut world = World::beating(1..=1);
    let mut fast = registered(1, VmState::Started, None);
    fast.heartbeat_interval_ms = Some(100);
    world.roster(roster(vec![fast]));
    world.run(2);
    world.forget_writes();
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    // It beats by the new interval at once; what it sends in the next half second gets lost.
    world.guest_mut(1).frozen = true;
    world.run(1);
    world.guest_mut(1).frozen = false;
    world.run(30);
    assert!(missing_edges(&world).is_empty(), "{:?}", missing_edges(&world));
}

/// [L-7]
#[test]
fn a_blind_monitor_says_that_it_does_not_know() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    for _ in 0..40 {
        world.monitor.handle_input(world.now, Input::Dropped(1));
        world.guest_mut(1).frozen = true;
        world.run(3);
    }
    assert!(world.writes().contains(&&HostMonitorWrite::TrunkHeard { heard: false }));
    assert!(missing_edges(&world).is_empty());
    world.run(30);
    assert!(world.writes().contains(&&HostMonitorWrite::TrunkHeard { heard: true }));
    assert_eq!(missing_edges(&world).len(), 1);
}

impl World {
    /// Turns the loop whenever it is due, over a link that hides what came in the last `lag`.
    fn run_behind(&mut self, lag: Duration, end: Instant) {
        while let Some(due) = self.monitor.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.turn(lag, lag);
        }
        self.now = end;
        self.turn(lag, lag);
    }

    fn turn(&mut self, lag: Duration, behind: Duration) {
        self.monitor.handle_input(self.now, Input::Heard { until: self.now.back(behind), lag });
        self.monitor.handle_timeout(self.now);
        self.carry();
    }
}

#[test]
fn silence_is_judged_as_of_the_moment_up_to_which_the_trunk_was_heard() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.guest_mut(1).frozen = true;
    let silent_from = world.now.back(world.monitor.paths(world.now).next().unwrap().silence.unwrap());
    let due = silent_from + Duration::from_secs(19);
    let (lag, hair) = (Duration::from_millis(8), Duration::from_millis(1));
    // What the link hides may be the heartbeat of the last moment.
    world.run_behind(lag, (due + lag).back(hair));
    assert_eq!(missing_edges(&world), []);
    world.run_behind(lag, due + lag);
    assert_eq!(missing_edges(&world), [(vm(1), 19_000)]);
}

#[test]
fn a_monitor_that_is_far_behind_with_reading_is_late_and_says_so() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.guest_mut(1).frozen = true;
    let start = world.now;
    world.run_behind(Duration::ZERO, start + Duration::from_secs(12));
    // It comes round in time, but reads nothing new.
    for behind in 1..=5 {
        world.now = start + Duration::from_secs(12 + behind);
        world.turn(Duration::ZERO, Duration::from_secs(behind));
    }
    world.run_behind(Duration::ZERO, start + Duration::from_secs(27));
    assert_eq!(missing_edges(&world), [], "not before one interval more");
    world.run_behind(Duration::ZERO, start + Duration::from_secs(30));
    assert_eq!(missing_edges(&world).len(), 1);
    let deferred = |write: &&HostMonitorWrite| matches!(write, HostMonitorWrite::NodeEvent { kind, .. } if kind == "DEFERRED");
    assert_eq!(world.writes().into_iter().filter(deferred).count(), 1);
}

#[test]
fn a_steady_loop_is_never_late() {
    let mut world = World::beating(1..=5);
    world.run(600);
    let late = world.monitor.counters().into_iter().find(|(name, _)| name == "late_turns");
    assert_eq!(late.map(|(_, count)| count), Some(0));
}

/// Too many at once are not all reported at once, but all are in the end.
#[test]
fn every_unmanaged_guest_is_reported() {
    let mut world = World::new();
    world.roster(roster(vec![]));
    for number in 1..=100 {
        world.guest(number, number);
    }
    let reported = |world: &World| {
        let unmanaged = |write: &&HostMonitorWrite| {
            matches!(write, HostMonitorWrite::Discovered { kind: vmpulse_store::Discovery::Unmanaged, .. })
        };
        world.writes().into_iter().filter(unmanaged).count()
    };
    let first = reported(&world);
    assert!(first < 100, "{first}");
    world.run(120);
    assert_eq!(reported(&world), 100);
}

///
#[test]
fn a_vm_that_is_replaced_at_its_address_is_said_to_have_lost_its_path() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Stopped, None), registered(2, VmState::Started, None)]));
    world.guest(1, 1);
    world.run(2);
    world.guest(1, 2);
    world.run(2);
    let closed = |note: &Note| matches!(note, Note::Closed { vm: lost, .. } if *lost == vm(1));
    assert_eq!(world.notes.iter().filter(|note| closed(note)).count(), 1);
    let paths: Vec<VmUuid> = world.monitor.paths(world.now).map(|path| path.session.vm).collect();
    assert_eq!(paths, [vm(2)]);
}

/// [S-1]
#[test]
fn a_syn_with_both_ends_is_none() {
    let mut world = World::new();
    world.roster(roster(vec![registered(1, VmState::Started, None)]));
    let mut guest = World::new_guest(1, &vm(1).to_string());
    guest.end.connect(world.now, &mut guest.out);
    let syn = guest.out.poll_packet().unwrap();
    let syn = Packet::decode(&syn).unwrap();
    let both = Packet::plain(syn.version, syn.number, syn.flags | Flags::END, syn.payload).encode();
    let input = Input::Frame { arrived: world.now, source: mac(1), vlan: None, payload: &both };
    world.monitor.handle_input(world.now, input);
    assert!(!matches!(world.monitor.poll_output(), Some(Output::Transmit(_))));
    let counters: HashMap<String, u64> = world.monitor.counters().into_iter().collect();
    assert_eq!(counters["discarded_flags"], 1);
}

/// A flood of forged handshakes after a restart, before the guests that were heard before have shaken hands. [B-5]
#[test]
fn strangers_do_not_displace_handshakes_from_known_addresses() {
    let mut world = World::new();
    let path = RosterPath { mac: mac(1).to_string(), missed: None };
    world.roster(roster(vec![registered(1, VmState::Started, Some(path))]));
    // Its SYN is heard, and its answer to ours is on its way.
    let mut guest = World::new_guest(1, &vm(1).to_string());
    guest.frozen = true;
    guest.end.connect(world.now, &mut guest.out);
    let syn = guest.out.poll_packet().unwrap();
    world.guests.insert(mac(1), guest);
    let frame = |world: &mut World, source: MacAddr, payload: &[u8]| {
        world
            .monitor
            .handle_input(world.now, Input::Frame { arrived: world.now, source, vlan: None, payload });
    };
    frame(&mut world, mac(1), &syn);
    let before = world.monitor.sizes().sessions.sessions;
    assert_eq!(before, 1);
    for number in 0..5000_u16 {
        let [high, low] = number.to_be_bytes();
        let mut uuid = [7; 16];
        uuid[..2].copy_from_slice(&[high, low]);
        let mut stranger = World::new_guest(2, &VmUuid::from_bytes(uuid).to_string());
        stranger.end.connect(world.now, &mut stranger.out);
        let syn = stranger.out.poll_packet().unwrap();
        frame(&mut world, MacAddr(2, 0, 0, 0, high, low), &syn);
    }
    while let Some(output) = world.monitor.poll_output() {
        if let Output::Transmit(transmit) = &output
            && transmit.destination == mac(1)
        {
            let packet = Packet::decode(&transmit.payload).unwrap();
            let now = world.now;
            let guest = world.guest_mut(1);
            guest.end.handle_packet(now, &packet, &mut guest.out);
        }
    }
    world.guest_mut(1).frozen = false;
    world.run(1);
    assert!(world.monitor.paths(world.now).any(|path| path.session.vm == vm(1)));
}
