//! The trunk's canary: nobody is accused of what the trunk has done.

mod cut;
mod renewed;

use proptest::prelude::*;

use super::*;
use crate::canary::{CanaryIdentity, CanaryVmm};

fn identity() -> CanaryIdentity {
    CanaryIdentity::from_random(&[0xc6; 54])
}

impl World {
    /// With a canary that beats, and guests at these intervals, each shifted to its own phase.
    fn with_canary(guests: &[(u32, u64)]) -> Self {
        let mut world = Self::with(MonitorConfig { canary: Some(identity()), ..config() });
        let vms = (1..).zip(guests).map(|(number, (interval, _))| RosterVm {
            heartbeat_interval_ms: Some(*interval),
            ..registered(number, VmState::Starting, None)
        });
        world.roster(roster(vms.collect()));
        world.canary = Some(CanaryVmm::new(world.now, identity(), TRUNK, 1500, &[9; 32]));
        world.report(CanaryReport::Up);
        for (number, (_, phase)) in (1..).zip(guests) {
            world.guest(number, number);
            let guest = world.guest_mut(number);
            guest.beat = guest.beat.map(|(interval, next)| {
                (interval, next + Duration::from_millis(phase % interval.as_millis() as u64))
            });
        }
        world.run(1);
        world.run_ms(guests.iter().map(|(interval, _)| u64::from(*interval)).max().unwrap_or(0) * 3);
        world.forget_writes();
        world
    }

    fn report(&mut self, report: CanaryReport) {
        self.monitor.handle_input(self.now, Input::Canary(report));
        self.carry();
    }

    fn run_ms(&mut self, milliseconds: u64) {
        // `run` counts in seconds; the rest is run to here.
        self.run(milliseconds / 1000);
        let end = self.now + Duration::from_millis(milliseconds % 1000);
        self.run_to(end);
    }

    pub(super) fn beat_canary(&mut self) {
        let Some(canary) = self.canary.as_mut().filter(|_| !self.canary_stalled) else { return };
        canary.handle_timeout(self.now);
        if canary.take_beaten() {
            self.monitor.handle_input(self.now, Input::Canary(CanaryReport::Tried(self.now)));
        }
    }

    pub(super) fn carry_canary(&mut self) {
        let lost = self.cut || self.canary_mute;
        while let Some((_, packet)) = self.canary.as_mut().and_then(CanaryVmm::poll_transmit) {
            if !lost {
                self.canary_frame(&packet);
            }
        }
    }

    fn canary_frame(&mut self, packet: &[u8]) {
        let (arrived, source) = (self.now, identity().mac);
        self.monitor.handle_input(self.now, Input::Frame { arrived, source, vlan: None, payload: packet });
    }

    pub(super) fn tell_canary(&mut self, frame: &Transmit) {
        let to = frame.destination;
        if let Some(canary) = &mut self.canary
            && (to.is_broadcast() || to == identity().mac)
        {
            canary.handle_frame(self.now, TRUNK, !to.is_broadcast(), &frame.payload);
        }
    }

    pub(super) fn asked_canary(&mut self) {
        if let Some(canary) = self.canary.as_mut().filter(|_| !self.canary_stalled) {
            canary.handle_asked();
            self.monitor.handle_input(self.now, Input::Canary(CanaryReport::Tried(self.now)));
        }
    }

    fn canary_state(&self) -> CanaryState {
        self.monitor.canary(self.now).unwrap().state
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |write: &HostMonitorWrite| match write {
            HostMonitorWrite::NodeEvent { kind, .. } => Some(kind.clone()),
            _ => None,
        };
        self.writes.iter().filter_map(|(_, write)| kind(write)).collect()
    }

    /// What the store was told of the trunk.
    fn told(&self) -> Vec<HostMonitorWrite> {
        let of_trunk = |write: &&HostMonitorWrite| {
            matches!(write, HostMonitorWrite::Isolated { .. } | HostMonitorWrite::TrunkHeard { .. })
        };
        self.writes().into_iter().filter(of_trunk).cloned().collect()
    }
}

fn isolated(isolated: bool) -> [HostMonitorWrite; 2] {
    [HostMonitorWrite::Isolated { isolated }, HostMonitorWrite::TrunkHeard { heard: !isolated }]
}

#[test]
fn the_canary_beats_at_the_shortest_interval_in_use_and_is_nobodys_vm() {
    let mut world = World::with_canary(&[(10_000, 0), (2_000, 300)]);
    let view = world.monitor.canary(world.now).unwrap();
    assert_eq!((view.state, view.interval_ms), (CanaryState::Beating, Some(2_000)));
    assert_eq!(world.monitor.paths(world.now).count(), 2);
    assert!(world.kinds().is_empty());
    assert!(world.monitor.known_addresses().contains(&identity().mac));
    let before = view.heartbeats;
    world.run(20);
    let beats = world.monitor.canary(world.now).unwrap().heartbeats - before;
    assert!((9..=11).contains(&beats), "{beats} heartbeats");
    // A faster guest comes, and goes.
    let vm = |number, interval| RosterVm {
        heartbeat_interval_ms: Some(interval),
        ..registered(number, VmState::Started, None)
    };
    world.roster(roster(vec![vm(1, 10_000), vm(2, 500)]));
    world.run(1);
    assert_eq!(world.monitor.canary(world.now).unwrap().interval_ms, Some(500));
    world.roster(roster(vec![vm(1, 10_000)]));
    world.run(2);
    assert_eq!(world.monitor.canary(world.now).unwrap().interval_ms, Some(10_000));
    world.run(120);
    assert!(world.kinds().is_empty() && missing_edges(&world).is_empty());
}

#[test]
fn a_dead_guest_is_missing_as_soon_as_without_a_canary() {
    let mut world = World::with_canary(&[(10_000, 0), (10_000, 4_000)]);
    world.guest_mut(1).frozen = true;
    world.run(40);
    assert_eq!(missing_edges(&world), [(vm(1), 19_000)]);
    assert!(world.kinds().is_empty(), "{:?}", world.kinds());
}

#[test]
fn a_cut_trunk_is_isolation_once_each_way_and_no_guests_silence() {
    let mut world = World::with_canary(&[(1_000, 0), (1_000, 500), (10_000, 0)]);
    world.cut = true;
    let at = world.now;
    while !world.monitor.is_isolated() {
        world.run_ms(10);
        assert!(world.now.since(at) < Duration::from_secs(3), "within three of its intervals");
    }
    assert_eq!(world.canary_state(), CanaryState::Silent);
    world.run(3600);
    assert!(missing_edges(&world).is_empty());
    assert_eq!((world.kinds(), world.told()), (vec!["ISOLATED".to_owned()], isolated(true).to_vec()));
    world.cut = false;
    world.forget_writes();
    world.run(60);
    assert_eq!(world.kinds(), ["ISOLATION_OVER"]);
    assert_eq!(world.told(), isolated(false));
    assert!(missing_edges(&world).is_empty(), "{:?}", missing_edges(&world));
    assert!(!world.monitor.is_isolated() && world.monitor.hears_trunk());
}

#[test]
fn who_dies_while_the_monitor_is_isolated_is_missing_since_its_return() {
    let mut world = World::with_canary(&[(1_000, 0), (1_000, 500)]);
    world.cut = true;
    world.run(600);
    world.guest_mut(1).frozen = true;
    world.cut = false;
    world.run(5);
    let edges = missing_edges(&world);
    assert!(edges.len() == 1 && edges[0].0 == vm(1) && edges[0].1 < 3_000, "{edges:?}");
}

#[test]
fn an_open_silence_has_the_time_to_end_before_it_counts_again() {
    let mut world = World::with_canary(&[(1_000, 0), (10_000, 500)]);
    world.guest_mut(2).frozen = true;
    world.run(40);
    assert_eq!(missing_edges(&world).len(), 1);
    world.cut = true;
    world.run(60);
    world.forget_writes();
    world.cut = false;
    world.run(10);
    assert!(world.told().is_empty(), "it is not said that the trunk is heard: {:?}", world.told());
    world.guest_mut(2).frozen = false;
    world.run(2);
    let detected =
        world.writes().iter().position(|write| **write == HostMonitorWrite::PathDetected { vm: vm(2) });
    let heard = world.writes().iter().position(|write| **write == isolated(false)[1]);
    assert!(detected.unwrap() < heard.unwrap());
    // And one that never ends does not keep the monitor isolated.
    world.guest_mut(2).frozen = true;
    world.run(40);
    world.cut = true;
    world.run(60);
    world.forget_writes();
    world.cut = false;
    world.run(35);
    assert_eq!(world.told(), isolated(false));
}

#[test]
fn a_canary_that_is_silent_while_guests_beat_is_broken_and_guests_are_judged_without_it() {
    let mut world = World::with_canary(&[(1_000, 200), (1_000, 500), (1_000, 800)]);
    world.canary_mute = true;
    world.run(5);
    assert_eq!(
        (world.canary_state(), world.kinds()),
        (CanaryState::Broken, vec!["CANARY_SILENT".to_owned()])
    );
    assert!(world.told().is_empty());
    world.guest_mut(1).frozen = true;
    world.run(5);
    assert_eq!(missing_edges(&world).len(), 1);
    world.canary_mute = false;
    world.run(5);
    assert_eq!(
        (world.canary_state(), world.kinds().last().unwrap().as_str()),
        (CanaryState::Beating, "CANARY_BACK")
    );
}

#[test]
fn slow_guests_say_later_that_it_is_the_canary() {
    let mut world = World::with_canary(&[(10_000, 0), (10_000, 3_000), (1_000, 0)]);
    // The fast one dies, and the canary with it: both together look like the trunk.
    world.guest_mut(3).frozen = true;
    world.canary_mute = true;
    world.run(30);
    assert_eq!(world.canary_state(), CanaryState::Broken);
    assert_eq!(world.kinds(), ["ISOLATED", "CANARY_SILENT", "ISOLATION_OVER"]);
    assert_eq!(missing_edges(&world).iter().map(|(vm, _)| *vm).collect::<Vec<_>>(), [vm(3)]);
}

#[test]
fn a_canary_whose_thread_is_held_up_says_nothing_of_the_trunk() {
    let mut world = World::with_canary(&[(1_000, 0)]);
    world.canary_stalled = true;
    world.guest_mut(1).frozen = true;
    world.run(10);
    assert_eq!((world.canary_state(), missing_edges(&world).len()), (CanaryState::Broken, 1));
    assert_eq!(world.kinds(), ["CANARY_SILENT"]);
}

#[test]
fn a_canary_that_is_never_heard_is_told_once_and_changes_nothing() {
    let mut world = World::with(MonitorConfig { canary: Some(identity()), ..config() });
    world.roster(roster(vec![registered(1, VmState::Starting, None)]));
    world.guest(1, 1);
    world.report(CanaryReport::Off("no permission".to_owned()));
    world.report(CanaryReport::Off("no permission".to_owned()));
    world.run(30);
    assert_eq!(world.kinds(), ["CANARY_OFF"]);
    assert_eq!(world.monitor.canary(world.now).unwrap().reason.as_deref(), Some("no permission"));
    // Its adapter appears, and nothing that it says arrives.
    world.report(CanaryReport::Up);
    world.guest_mut(1).frozen = true;
    world.run(60);
    assert_eq!((missing_edges(&world).len(), world.canary_state()), (1, CanaryState::Broken));
    assert_eq!(world.kinds(), ["CANARY_OFF", "CANARY_OFF"]);
}

#[test]
fn a_canary_that_ends_while_it_is_silent_leaves_the_trunk_isolated_until_somebody_is_heard() {
    let mut world = World::with_canary(&[(1_000, 0)]);
    world.cut = true;
    world.run(10);
    assert!(world.monitor.is_isolated());
    world.report(CanaryReport::Off("its adapter was removed".to_owned()));
    world.run(3600);
    assert!(world.monitor.is_isolated(), "the trunk is as dead as before: it was before the canary ended");
    world.report(CanaryReport::Up);
    world.run(60);
    assert_eq!((world.canary_state(), world.monitor.is_isolated()), (CanaryState::Broken, true));
    world.report(CanaryReport::Off("its adapter was removed".to_owned()));
    assert!(missing_edges(&world).is_empty());
    world.cut = false;
    world.run(10);
    assert!(!world.monitor.is_isolated(), "guests beat");
    world.guest_mut(1).frozen = true;
    world.run(5);
    assert_eq!(
        missing_edges(&world).len(),
        1,
        "without a canary there is nothing but the guest's own silence"
    );
    // One that comes back is trusted as before.
    world.report(CanaryReport::Up);
    world.run(5);
    assert_eq!((world.canary_state(), world.monitor.is_isolated()), (CanaryState::Beating, false));
}

/// Four guests, and two of them die in the moment in which the canary breaks: as many are overdue as are heard.
fn halved() -> World {
    let mut world = World::with_canary(&[(1_000, 0), (1_000, 250), (1_000, 500), (1_000, 750)]);
    world.canary_mute = true;
    world.guest_mut(1).frozen = true;
    world.guest_mut(2).frozen = true;
    world.run(10);
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
    world
}

/// Each once: edges that turn out to be common (L-8) are told again.
fn accused(world: &World) -> Vec<VmUuid> {
    let mut accused: Vec<VmUuid> = missing_edges(world).into_iter().map(|(vm, _)| vm).collect();
    accused.sort();
    accused.dedup();
    accused
}

#[test]
fn a_broken_canary_and_half_the_guests_dead_is_no_isolation_for_ever() {
    let mut world = halved();
    world.run(280);
    assert!(world.monitor.is_isolated(), "a flood may drown the others for a while");
    world.run(30);
    assert_eq!((world.canary_state(), world.monitor.is_isolated()), (CanaryState::Broken, false));
    assert_eq!(accused(&world), [vm(1), vm(2)]);
    assert_eq!(world.kinds(), ["ISOLATED", "CANARY_SILENT", "ISOLATION_OVER"]);
    assert!(missing_edges(&world).iter().all(|(_, silence)| *silence < 3_000), "since the trunk is trusted");
    world.run(3600);
    assert_eq!(accused(&world), [vm(1), vm(2)]);
}

#[test]
fn one_guest_of_four_is_enough_and_loses_a_heartbeat_now_and_then() {
    let mut world = halved();
    world.guest_mut(3).frozen = true;
    for _ in 0..34 {
        world.run_ms(9_000);
        world.guest_mut(4).frozen = true;
        world.run_ms(900);
        world.guest_mut(4).frozen = false;
    }
    world.run(5);
    assert!(!world.monitor.is_isolated(), "{:?}", world.kinds());
    assert_eq!(accused(&world), [vm(1), vm(2), vm(3)]);
}

#[test]
fn a_canary_that_ended_silent_is_outweighed_by_half_the_guests_as_well() {
    let mut world = halved();
    world.report(CanaryReport::Off("its adapter was removed".to_owned()));
    world.report(CanaryReport::Up);
    world.run(20);
    assert_eq!((world.canary_state(), world.monitor.is_isolated()), (CanaryState::Broken, true));
    world.run(310);
    assert!(!world.monitor.is_isolated());
    assert_eq!(accused(&world), [vm(1), vm(2)]);
}

#[test]
fn a_trunk_that_works_for_moments_only_stays_isolated() {
    let mut world = halved();
    for _ in 0..60 {
        world.run(3);
        world.cut = true;
        world.run(57);
        world.cut = false;
    }
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty(), "{:?}", world.kinds());
    // Nor does the time count in which the monitor's own adapter is down.
    world.run(200);
    world.monitor.handle_input(world.now, Input::Adapter(false));
    world.run(200);
    world.monitor.handle_input(world.now, Input::Adapter(true));
    world.run(10);
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty(), "{:?}", world.kinds());
}

/// The only guest dies in the moment in which the canary's adapter is taken away.
fn taken_away() -> World {
    let mut world = World::with_canary(&[(1_000, 0)]);
    world.canary_mute = true;
    world.guest_mut(1).frozen = true;
    while !world.monitor.is_isolated() {
        world.run_ms(10);
    }
    world.report(CanaryReport::Off("its adapter was removed".to_owned()));
    world
}

#[test]
fn a_canary_whose_end_explains_its_silence_and_that_cannot_come_back_hides_nobody_for_ever() {
    let mut world = taken_away();
    for _ in 0..28 {
        // It is tried again and again, and says why not.
        world.run(10);
        world.report(CanaryReport::Off("its name is taken".to_owned()));
    }
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
    world.run(25);
    assert!(!world.monitor.is_isolated());
    assert_eq!(accused(&world), [vm(1)]);
    let expected = ["ISOLATED", "CANARY_OFF", "CANARY_OFF", "CANARY_OFF", "ISOLATION_OVER"];
    assert_eq!(world.kinds(), expected);
}

#[test]
fn a_canary_that_comes_back_and_is_not_heard_says_that_the_trunk_is_dead() {
    let mut world = taken_away();
    world.run(2);
    world.report(CanaryReport::Up);
    world.run(20);
    world.report(CanaryReport::Off("its adapter was removed".to_owned()));
    world.run(3600);
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty(), "nobody is heard at all");
}

/// Its trunk has just come back, and a guest that was MISSING before has 11.9 s to show itself.
fn returning() -> World {
    let mut world = World::with_canary(&[(1_000, 0), (1_000, 500)]);
    world.guest_mut(2).frozen = true;
    world.run(10);
    world.cut = true;
    world.run(10);
    assert_eq!((missing_edges(&world).len(), world.monitor.is_isolated()), (1, true));
    world.cut = false;
    while world.canary_state() != CanaryState::Beating {
        world.run_ms(10);
    }
    world.forget_writes();
    world.run_ms(11_800);
    assert!(world.told().is_empty());
    world
}

#[test]
fn a_doubt_of_that_moment_puts_the_return_off() {
    let mut world = returning();
    world.run_ms(200);
    assert_eq!(world.told(), isolated(false), "without any");
    let mut world = returning();
    world.monitor.handle_input(world.now, Input::Dropped(3));
    world.run_ms(900);
    assert!(world.told().is_empty(), "a heartbeat may have been among them");
    world.run_ms(400);
    assert_eq!(world.told(), isolated(false));
}

#[test]
fn a_loop_that_was_late_hears_what_waits_before_it_trusts_the_trunk() {
    let mut world = returning();
    // It is held up for longer than there was left, and the guest beats meanwhile.
    world.now = world.now + Duration::from_secs(3);
    world.monitor.handle_input(world.now, Input::StoreReachable(true));
    world.carry();
    assert!(world.told().is_empty());
    world.monitor.handle_timeout(world.now);
    world.carry();
    assert!(world.told().is_empty(), "it was late");
    world.run_ms(2_500);
    assert_eq!(world.told(), isolated(false));
}

/// For a second and a half from its latest heartbeat on nothing comes of the canary, and the only guest is dead.
fn a_gap(what: fn(&mut World, bool)) -> World {
    let mut world = World::with_canary(&[(1_000, 500)]);
    while world.monitor.canary(world.now).unwrap().silence != Some(Duration::ZERO) {
        world.run_ms(1);
    }
    world.guest_mut(1).frozen = true;
    what(&mut world, true);
    world.run_ms(1_500);
    what(&mut world, false);
    world.run_ms(900);
    world
}

#[test]
fn a_canary_that_was_late_is_no_doubt_and_one_that_lost_a_heartbeat_is() {
    let late = a_gap(|world, stalled| world.canary_stalled = stalled);
    assert_eq!((late.kinds(), missing_edges(&late).len()), (vec![], 1));
    let mut lossy = a_gap(|world, mute| world.canary_mute = mute);
    assert_eq!((lossy.kinds(), missing_edges(&lossy).len()), (vec!["DEFERRED".to_owned()], 0));
    lossy.run(2);
    assert_eq!(missing_edges(&lossy).len(), 1, "one interval more, and not for ever");
}

/// [L-4]
#[test]
fn a_canary_that_was_told_a_shorter_interval_is_not_silent_by_its_old_one() {
    let mut world = World::with_canary(&[(10_000, 0)]);
    while world.monitor.canary(world.now).unwrap().silence < Some(Duration::from_secs(6)) {
        world.run_ms(100);
    }
    // It acknowledges, and has no time to beat yet.
    world.canary_stalled = true;
    let faster = RosterVm { heartbeat_interval_ms: Some(500), ..registered(1, VmState::Started, None) };
    world.roster(roster(vec![faster]));
    assert_eq!(world.monitor.canary(world.now).unwrap().interval_ms, Some(500));
    world.run_ms(900);
    assert_eq!((world.canary_state(), world.kinds()), (CanaryState::Beating, vec![]));
    world.canary_stalled = false;
    world.run(5);
    assert_eq!((world.canary_state(), world.kinds()), (CanaryState::Beating, vec![]));
}

///
#[test]
fn nobody_poses_as_the_canary() {
    let mut world = World::with_canary(&[(1_000, 0), (1_000, 500)]);
    let beat = Packet::plain(Version::V2_1, 0, Flags::NONE, b"HB:").encode();
    let mut forger = World::new_guest(9, &identity().vm.to_string());
    forger.end.connect(world.now, &mut forger.out);
    let syn = forger.out.poll_packet().unwrap();
    world.cut = true;
    for _ in 0..100 {
        // The trunk carries what the forger sends, and nothing else: the worst that can be.
        world.canary_frame(&beat);
        world.canary_frame(&syn);
        world.run_ms(100);
    }
    assert!(world.monitor.is_isolated() && missing_edges(&world).is_empty());
    assert!(world.monitor.counters().iter().any(|(name, count)| name == "canary_discarded" && *count >= 100));
    world.cut = false;
    world.run(10);
    assert_eq!(world.canary_state(), CanaryState::Beating, "and the forgeries have not disturbed it");
}

#[test]
fn a_flapping_adapter_does_not_flood_the_store() {
    let mut world = World::with_canary(&[(1_000, 0)]);
    for _ in 0..200 {
        world.monitor.handle_input(world.now, Input::Adapter(false));
        world.run_ms(500);
        world.monitor.handle_input(world.now, Input::Adapter(true));
        world.run_ms(500);
    }
    assert!(world.kinds().len() <= 16, "{:?}", world.kinds());
    world.run(600);
    assert_eq!(world.kinds().iter().filter(|kind| *kind == "FLAPPING").count(), 1);
    assert!(missing_edges(&world).is_empty() && world.monitor.hears_trunk());
}

#[test]
fn an_adapter_that_is_down_is_isolation_until_the_canary_is_heard() {
    let mut world = World::with_canary(&[(1_000, 0)]);
    world.cut = true;
    world.monitor.handle_input(world.now, Input::Adapter(false));
    world.run(10);
    assert_eq!(world.kinds(), ["ADAPTER_DOWN", "ISOLATED"]);
    world.monitor.handle_input(world.now, Input::Adapter(true));
    world.run(10);
    assert!(world.monitor.is_isolated(), "the adapter is up, and the trunk carries nothing");
    world.cut = false;
    world.run(3);
    assert_eq!(world.kinds(), ["ADAPTER_DOWN", "ISOLATED", "ADAPTER_UP", "ISOLATION_OVER"]);
}

#[test]
fn in_every_phase_the_canary_is_noticed_before_a_guest_is_accused() {
    for phase in (0..1_000).step_by(25) {
        let mut world = World::with_canary(&[(1_000, phase), (1_000, (phase + 333) % 1_000)]);
        for step in (0..1_000).step_by(125) {
            world.run_ms(step % 7);
            world.cut = true;
            world.run_ms(2_990);
            assert!(world.monitor.is_isolated(), "phase {phase}, step {step}");
            assert!(
                missing_edges(&world).is_empty(),
                "phase {phase}, step {step}: {:?}",
                missing_edges(&world)
            );
            world.cut = false;
            world.run_ms(4_000 + step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// However the intervals and phases are, and however often and long the trunk is cut (for 1.3 intervals at least): who lives is never accused, and who
    /// died is, once the trunk is back for long enough.
    #[test]
    fn a_cut_accuses_nobody(
        guests in proptest::collection::vec((100u32..5_000, 0u64..5_000), 1..6),
        cuts in proptest::collection::vec((1u64..20_000, 1u64..20_000), 1..6),
        dies in proptest::option::of(0usize..6),
    ) {
        let mut world = World::with_canary(&guests);
        let dead = dies.map(|index| index % guests.len());
        let shortest = guests.iter().map(|(interval, _)| u64::from(*interval)).min().unwrap_or(0);
        for (at, (whole, cut)) in cuts.iter().enumerate() {
            world.run_ms(*whole);
            if at == 0 && let Some(dead) = dead {
                world.guest_mut(dead as u8 + 1).frozen = true;
            }
            world.cut = true;
            // In a shorter cut the canary need not lose a frame, and a guest may: 1.9 intervals forgive none.
            world.run_ms((*cut).max(shortest * 13 / 10 + 25));
            world.cut = false;
        }
        world.run(30);
        let dead: Vec<_> = dead.map(|index| vm(index as u8 + 1)).into_iter().collect();
        let mut accused: Vec<_> = missing_edges(&world).into_iter().map(|(vm, _)| vm).collect();
        accused.dedup();
        prop_assert_eq!(accused, dead);
        prop_assert!(world.monitor.hears_trunk());
        prop_assert_eq!(world.canary_state(), CanaryState::Beating);
    }
}
