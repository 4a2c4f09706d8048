//! A daemon, its guardian and a host monitor under one virtual clock; the page between them is a real one.

use proptest::prelude::*;

use super::*;
use crate::guardian::keeper::{Keeper, PathKeeper};
use crate::guardian::page::Page;
use vmpulse_link::MacAddr;
use vmpulse_protocol::path::Sending;
use vmpulse_protocol::wire::Version;

const MS: Duration = Duration::from_millis(1);
const START: u64 = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Daemon,
    Plain,
    AsGuardian,
}

struct World {
    now: Instant,
    page: Page,
    daemon: Keeper,
    watch: Watch,
    intervals: Vec<Duration>,
    next: Vec<Instant>,
    stopped: bool,
    guardian_stopped: bool,
    stamped: Instant,
    /// When, on which path, and what.
    sent: Vec<(Instant, usize, Sent)>,
    said: Vec<WatchOutput>,
}

impl World {
    /// Paths of these intervals, all of version 2.1.
    fn new(intervals: &[u64]) -> Self {
        let page = Page::in_memory();
        let now = Instant::from_millis(START);
        let mut world = Self {
            now,
            daemon: Keeper::begin(page.clone(), Duration::ZERO, now, false),
            watch: Watch::new(now),
            page,
            intervals: intervals.iter().map(|ms| MS * u32::try_from(*ms).unwrap()).collect(),
            next: vec![now; intervals.len()],
            stopped: false,
            guardian_stopped: false,
            stamped: now,
            sent: Vec::new(),
            said: Vec::new(),
        };
        (0..intervals.len()).for_each(|path| world.open(path, Version::V2_1));
        world
    }

    fn open(&mut self, path: usize, version: Version) {
        let sending = Sending { version, next_urgent: 0, next_count: 1, key: None };
        let mut paths = self.daemon.paths(0x88B5, None);
        let (key, adapter) = (key(path), MacAddr(2, 0, 0, 0, 0, 1));
        assert!(paths.open(key, adapter, None, Some(self.intervals[path]), &sending).is_some());
        self.next[path] = self.now;
    }

    fn paths(&mut self) -> PathKeeper {
        self.daemon.paths(0x88B5, None)
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = self.now + MS;
            if !self.stopped {
                self.daemon_turns();
            }
            let due = self.watch.poll_timeout().is_none_or(|due| due <= self.now);
            if due && !self.guardian_stopped {
                self.guardian_turns();
            }
        }
    }

    fn daemon_turns(&mut self) {
        // A loop that has other things to do shows life only every now and then.
        if self.stamped + STAMP_PERIOD <= self.now {
            self.show_life();
        }
        for path in 0..self.next.len() {
            if self.next[path] <= self.now {
                self.next[path] = self.now + self.intervals[path];
                self.show_life();
                let now = self.now;
                self.paths().on_beat(key(path), now);
                self.sent.push((self.now, path, Sent::Daemon));
            }
        }
    }

    fn show_life(&mut self) {
        self.stamped = self.now;
        self.daemon.show_life(self.now);
    }

    fn guardian_turns(&mut self) {
        self.watch.handle_seen(self.now, &self.page.seen());
        while let Some(output) = self.watch.poll_output() {
            if let WatchOutput::Beat { slot, as_guardian, .. } = output {
                self.page.on_guardian_beat(slot, self.now);
                let sent = if as_guardian { Sent::AsGuardian } else { Sent::Plain };
                self.sent.push((self.now, slot, sent));
            } else {
                self.said.push(output);
            }
        }
    }

    /// A daemon that died is started again.
    fn restart(&mut self) {
        self.daemon = Keeper::begin(self.page.clone(), Duration::ZERO, self.now, false);
        self.stopped = false;
        self.stamped = self.now;
        // Nothing is open yet.
        self.next.iter_mut().for_each(|next| *next = Instant::from_nanos(u64::MAX));
    }

    fn beats(&self, kind: Sent) -> usize {
        self.sent.iter().filter(|(_, _, sent)| *sent == kind).count()
    }

    /// The longest silence of a path, in tenths of its interval.
    fn worst(&self, path: usize) -> u128 {
        let mut last = Instant::from_millis(START);
        let mut worst = Duration::ZERO;
        for (at, _, _) in self.sent.iter().filter(|(_, of, _)| *of == path) {
            worst = worst.max(at.since(last));
            last = *at;
        }
        worst = worst.max(self.now.since(last));
        worst.as_millis() * 10 / self.intervals[path].as_millis()
    }

    fn first_as_guardian(&self, since: Instant) -> Option<Duration> {
        let told = self.sent.iter().find(|(at, _, sent)| *sent == Sent::AsGuardian && *at >= since);
        told.map(|(at, _, _)| at.since(since))
    }
}

fn key(path: usize) -> crate::guardian::keeper::PathName {
    (1 + u32::try_from(path).unwrap(), MacAddr(2, 0, 0, 0, 1, u8::try_from(path).unwrap()))
}

#[test]
fn a_daemon_that_is_well_is_left_alone() {
    let mut world = World::new(&[100, 1000, 10_000]);
    world.run(120_000);
    assert_eq!((world.beats(Sent::Plain), world.beats(Sent::AsGuardian)), (0, 0));
    assert_eq!(world.said, []);
}

/// [M-15]
#[test]
fn a_daemon_that_hangs_is_told_of_within_two_seconds_and_no_path_is_ever_missing() {
    for interval in [100, 1000, 10_000, 60_000] {
        for hangs_at in [0, 99, 730, 9_999] {
            let mut world = World::new(&[interval, interval]);
            world.run(3 * interval + hangs_at);
            let since = world.now;
            world.stopped = true;
            world.run(5 * interval + 3000);
            assert!(world.first_as_guardian(since).unwrap() <= HANG, "{interval} {hangs_at}");
            assert_eq!(world.said, [WatchOutput::Failed(Failure::Hangs)]);
            world.stopped = false;
            let back = world.now;
            world.run(3 * interval + 1000);
            assert!(
                (0..2).all(|path| world.worst(path) <= 17),
                "{interval} {hangs_at}: {:?}",
                world.worst(0)
            );
            assert_eq!(world.said[1..], [WatchOutput::Recovered]);
            let late = world.sent.iter().filter(|(at, _, sent)| *sent != Sent::Daemon && *at > back + LOOK);
            assert_eq!(late.count(), 0, "handed back");
        }
    }
}

/// A busy guest is not called a broken one.
#[test]
fn a_daemon_that_is_late_for_less_is_helped_and_not_told_of() {
    let mut world = World::new(&[100]);
    for _ in 0..20 {
        world.run(1000);
        world.stopped = true;
        world.run(900);
        world.stopped = false;
    }
    assert!(world.beats(Sent::Plain) > 100);
    assert_eq!((world.beats(Sent::AsGuardian), world.worst(0)), (0, 15));
    assert_eq!(world.said, []);
}

#[test]
fn a_host_monitor_of_2_0_hears_plain_heartbeats_only() {
    let mut world = World::new(&[1000]);
    world.open(0, Version::V2_0);
    world.run(2000);
    world.stopped = true;
    world.run(60_000);
    assert_eq!(world.beats(Sent::AsGuardian), 0);
    assert!(world.worst(0) <= 15 && world.beats(Sent::Plain) >= 58);
}

#[test]
fn a_daemon_that_died_and_came_back_is_told_of_and_its_paths_kept_until_the_new_handshake() {
    let mut world = World::new(&[10_000]);
    world.run(25_000);
    world.stopped = true;
    world.run(300);
    let restarted = world.now;
    world.restart();
    world.run(40_000);
    assert!(world.first_as_guardian(restarted).unwrap() <= LOOK);
    assert!(world.worst(0) <= 15);
    assert_eq!(world.said, [WatchOutput::Failed(Failure::Died)]);
    world.open(0, Version::V2_1);
    let opened = world.now;
    world.run(60_000);
    let after = world.sent.iter().filter(|(at, _, sent)| *sent != Sent::Daemon && *at > opened);
    assert_eq!(after.count(), 0);
}

/// A daemon that is refused, as one whose key was taken away, is not passed off as one that is well.
#[test]
fn what_a_restarted_daemon_cannot_replace_is_given_up() {
    let mut world = World::new(&[1000]);
    world.run(5000);
    world.restart();
    let restarted = world.now;
    world.run(120_000);
    let last = world.sent.last().unwrap().0.since(restarted);
    assert!((REPLACED_WITHIN - MS * 1500..REPLACED_WITHIN + LOOK).contains(&last), "{last:?}");
    // One that dies again and again has its time anew each time.
    world.open(0, Version::V2_1);
    for _ in 0..10 {
        world.run(20_000);
        world.restart();
    }
    assert!(world.sent.last().unwrap().0 + MS * 2000 > world.now);
}

#[test]
fn a_daemon_back_with_new_sessions_before_anybody_looked_is_told_of_all_the_same() {
    let mut world = World::new(&[10_000]);
    world.run(25_000);
    world.restart();
    world.open(0, Version::V2_1);
    world.run(60_000);
    assert_eq!(world.beats(Sent::AsGuardian), 1);
    assert_eq!(world.said, [WatchOutput::Failed(Failure::Died)]);
}

#[test]
fn a_daemon_that_hung_and_was_killed_is_one_failure() {
    let mut world = World::new(&[1000]);
    world.run(5000);
    world.stopped = true;
    world.run(5000);
    world.restart();
    world.open(0, Version::V2_1);
    world.run(5000);
    assert_eq!(world.said, [WatchOutput::Failed(Failure::Hangs)]);
}

#[test]
fn after_a_deliberate_end_there_is_silence_and_the_next_start_is_no_failure() {
    let mut world = World::new(&[100]);
    world.run(2000);
    world.daemon.end();
    world.stopped = true;
    let ended = world.now;
    world.run(30_000);
    assert!(world.sent.iter().all(|(at, _, _)| *at <= ended));
    world.restart();
    world.open(0, Version::V2_1);
    world.run(5000);
    // Stopped and started between two looks: no failure either.
    world.daemon.end();
    world.restart();
    world.open(0, Version::V2_1);
    world.run(5000);
    assert_eq!((world.said.len(), world.beats(Sent::AsGuardian)), (0, 0));
}

#[test]
fn an_announced_silence_is_not_beaten_over_and_what_follows_counts_from_its_end() {
    let mut world = World::new(&[1000]);
    world.run(2000);
    let until = world.now + MS * 60_000;
    world.daemon.hold(Some(until));
    world.stopped = true;
    world.run(59_999);
    assert_eq!(world.beats(Sent::Plain) + world.beats(Sent::AsGuardian), 0);
    world.run(1801);
    assert_eq!(world.first_as_guardian(until), Some(HANG));
    assert_eq!(world.said, [WatchOutput::Failed(Failure::Hangs)]);
}

#[test]
fn a_suspended_guest_is_left_alone_for_ever() {
    let mut world = World::new(&[1000]);
    world.run(2000);
    world.daemon.hold(Some(Instant::from_nanos(u64::MAX)));
    world.stopped = true;
    world.run(600_000);
    assert_eq!((world.said.len(), world.beats(Sent::Plain), world.beats(Sent::AsGuardian)), (0, 0, 0));
}

/// A guest that a hypervisor froze: guardian and daemon stood still together.
#[test]
fn a_guest_that_stood_still_blames_nobody() {
    let mut world = World::new(&[1000]);
    world.run(5000);
    (world.stopped, world.guardian_stopped) = (true, true);
    world.run(60_000);
    world.guardian_stopped = false;
    world.run(1000);
    world.stopped = false;
    world.run(10_000);
    assert_eq!((world.said.len(), world.beats(Sent::AsGuardian)), (0, 0));
}

#[test]
fn a_path_that_is_not_to_beat_is_not_kept() {
    let mut world = World::new(&[100]);
    world.run(1000);
    world.paths().set_interval(key(0), None);
    world.stopped = true;
    let beats = world.sent.len();
    world.run(10_000);
    assert_eq!(world.sent.len(), beats);
}

proptest! {
    /// Whatever the daemon does: no path is ever silent for 1.9 intervals, and only a daemon that showed no life is told of.
    #[test]
    fn no_path_is_missing_whenever_the_daemon_stops(
        stops in prop::collection::vec((1u64..4000, 1u64..6000), 1..8),
        interval in prop::sample::select(vec![100u64, 300, 1000, 10_000]),
    ) {
        let mut world = World::new(&[interval]);
        let mut longest = 0;
        for (runs, stands) in stops {
            world.run(runs);
            world.stopped = true;
            world.run(stands);
            world.stopped = false;
            longest = longest.max(stands);
        }
        world.run(2 * interval);
        prop_assert!(world.worst(0) < 19, "{} tenths", world.worst(0));
        if longest < 1250 {
            prop_assert_eq!(world.beats(Sent::AsGuardian), 0);
        }
        if longest > 1750 {
            prop_assert!(world.beats(Sent::AsGuardian) > 0);
        }
    }
}
