//! A guest whose agent hangs, and whose guardian beats.

use super::*;

impl World {
    /// The guardian of a frozen agent beats.
    fn guardian_beats(&mut self, address: u8) {
        let flags = Flags::BEG | Flags::END | Flags::PRI;
        let packet = Packet::plain(Version::V2_1, 0, flags, b"HB:G").encode();
        let input = Input::Frame { arrived: self.now, source: mac(address), vlan: None, payload: &packet };
        self.monitor.handle_input(self.now, input);
        self.carry();
    }

    fn node_events(&self) -> Vec<&str> {
        let kind = |write: &'_ HostMonitorWrite| match write {
            HostMonitorWrite::NodeEvent { kind, .. } => Some(kind.clone().leak() as &str),
            _ => None,
        };
        self.writes().into_iter().filter_map(kind).collect()
    }

    /// What the store was told of who beats.
    fn guardian_edges(&self) -> Vec<bool> {
        let edge = |write: &HostMonitorWrite| match write {
            HostMonitorWrite::PathGuardian { guardian, .. } => Some(*guardian),
            _ => None,
        };
        self.writes().into_iter().filter_map(edge).collect()
    }

    fn kept_by_guardian(&self) -> bool {
        self.monitor.paths(self.now).any(|path| path.session.guardian)
    }
}

/// [M-15]
#[test]
fn a_hanging_agent_is_told_once_and_is_never_missing() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.guest_mut(1).frozen = true;
    for _ in 0..30 {
        world.guardian_beats(1);
        world.run(10);
    }
    assert_eq!((world.missing(1), world.kept_by_guardian()), (false, true));
    assert_eq!(world.node_events(), ["AGENT_FAILURE"]);
    world.guest_mut(1).frozen = false;
    world.run(11);
    assert_eq!((world.missing(1), world.kept_by_guardian()), (false, false));
    assert_eq!(world.node_events(), ["AGENT_FAILURE", "AGENT_BACK"]);
    assert_eq!(world.guardian_edges(), [true, false]);
    assert_eq!(missing_edges(&world), []);
}

/// [M-14]
#[test]
fn what_the_guest_is_to_be_told_waits_for_its_agent() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    world.guardian_beats(1);
    let mut changed = registered(1, VmState::Started, None);
    changed.heartbeat_interval_ms = Some(500);
    world.roster(roster(vec![changed]));
    for _ in 0..5 {
        world.run(9);
        world.guardian_beats(1);
    }
    assert_eq!(world.guest_mut(1).heard, ["START_HB"]);
    world.guest_mut(1).frozen = false;
    world.run(11);
    assert_eq!(world.guest_mut(1).heard, ["START_HB", "START_HB:interval=500"]);
}

/// [M-15]
#[test]
fn a_restarted_agent_is_back_with_its_handshake() {
    let mut world = World::beating(1..=1);
    world.guest_mut(1).frozen = true;
    world.guardian_beats(1);
    world.run(2);
    world.forget_writes();
    let mut restarted = World::new_guest(1, &vm(1).to_string());
    restarted.end.stir(&[9; 32]);
    restarted.end.connect(world.now, &mut restarted.out);
    world.guests.insert(mac(1), restarted);
    world.run(1);
    assert_eq!(world.node_events(), ["AGENT_BACK"]);
    assert!(!world.kept_by_guardian());
}

#[test]
fn a_guest_that_goes_to_and_fro_does_not_fill_the_store() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    for _ in 0..100 {
        world.guardian_beats(1);
        let guest = world.guest_mut(1);
        guest.end.send_heartbeat(&mut guest.out);
        world.carry();
    }
    assert_eq!(world.node_events(), ["AGENT_FAILURE", "AGENT_BACK"]);
    world.run(60);
    world.guardian_beats(1);
    assert_eq!(world.node_events().len(), 3);
}

/// What was too much to be told at once is told when it may be.
#[test]
fn the_store_knows_in_the_end_who_beats() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.guardian_beats(1);
    let guest = world.guest_mut(1);
    guest.end.send_heartbeat(&mut guest.out);
    world.carry();
    world.guest_mut(1).frozen = true;
    for _ in 0..5 {
        world.guardian_beats(1);
        world.run(8);
    }
    assert_eq!(world.guardian_edges(), [true, false], "within the minute");
    for _ in 0..10 {
        world.guardian_beats(1);
        world.run(8);
    }
    assert_eq!(world.guardian_edges(), [true, false, true]);
    assert!(!world.missing(1));
}

#[test]
fn a_guest_that_nobody_watches_is_not_told_of() {
    let mut world = World::new();
    world.roster(roster(vec![]));
    world.guest(1, 1);
    world.guardian_beats(1);
    assert_eq!(world.node_events(), [""; 0]);
}

/// [M-16]
#[test]
fn last_words_are_recorded_before_they_are_acknowledged_and_not_at_line_rate() {
    let mut world = World::beating(1..=1);
    world.forget_writes();
    world.commits = false;
    let delivered = world.guest_mut(1).delivered;
    world.say(1, &Message::Dying { reason: "the root disk does not answer" });
    world.run(1);
    assert_eq!(world.node_events(), ["GUEST_DYING"]);
    assert_eq!(world.guest_mut(1).delivered, delivered);
    world.commits = true;
    let last = world.writes.last().unwrap().0;
    world.monitor.handle_input(world.now, Input::Stored { up_to: last });
    for _ in 0..10 {
        world.say(1, &Message::Dying { reason: "again" });
        world.run(1);
    }
    assert_eq!(world.node_events(), ["GUEST_DYING"]);
    assert!(world.guest_mut(1).delivered > delivered + 10);
}
