use super::*;

const TEN_SECONDS: Duration = Duration::from_secs(10);

fn vm(number: u8) -> VmUuid {
    VmUuid::from_bytes([number; 16])
}

fn at(milliseconds: u64) -> Instant {
    Instant::from_millis(milliseconds)
}

fn edges(tracker: &mut Tracker) -> Vec<Edge> {
    std::iter::from_fn(|| tracker.poll_edge()).collect()
}

fn missing(number: u8, age_ms: u64, common: bool) -> Edge {
    Edge::Missing { vm: vm(number), age: Duration::from_millis(age_ms), common }
}

/// Turns the loop at every deadline up to `until`, never late.
fn run(tracker: &mut Tracker, until: Instant) {
    while let Some(due) = tracker.poll_timeout().filter(|due| *due <= until) {
        tracker.handle_timeout(due);
    }
    tracker.handle_timeout(until);
}

/// [L-3]
#[test]
fn silence_is_missing_after_1_9_intervals_once_and_detected_at_the_next_heartbeat() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_heartbeat(at(100), vm(1));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }]);
    tracker.handle_heartbeat(at(10_100), vm(1));
    run(&mut tracker, at(29_099));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(29_100));
    assert_eq!(edges(&mut tracker), [missing(1, 19_000, false)]);
    run(&mut tracker, at(200_000));
    assert_eq!(edges(&mut tracker), []);
    tracker.handle_heartbeat(at(200_001), vm(1));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }]);
}

/// [L-1]
#[test]
fn silence_counts_from_the_acknowledged_start_when_no_heartbeat_ever_came() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(1_000), vm(1), TEN_SECONDS);
    run(&mut tracker, at(20_000));
    assert_eq!(edges(&mut tracker), [missing(1, 19_000, false)]);
}

/// [L-5]
#[test]
fn a_starting_monitor_grants_the_guests_it_expects_ten_seconds_more() {
    let mut tracker = Tracker::new();
    tracker.expect(at(0), vm(1), TEN_SECONDS, None);
    run(&mut tracker, at(28_999));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(29_000));
    assert_eq!(edges(&mut tracker), [missing(1, 29_000, false)]);
}

#[test]
fn an_open_silence_survives_the_monitors_restart_without_a_second_edge() {
    let mut tracker = Tracker::new();
    tracker.expect(at(5_000), vm(1), TEN_SECONDS, Some(Duration::from_secs(3)));
    assert!(tracker.is_missing(vm(1)));
    let shown = tracker.view_near(at(6_000), vm(1), Hint::default());
    assert_eq!(shown.map(|view| view.silence), Some(Duration::from_secs(4)));
    run(&mut tracker, at(90_000));
    assert_eq!(edges(&mut tracker), []);
    tracker.handle_heartbeat(at(90_000), vm(1));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }]);
}

/// [L-4]
#[test]
fn a_shorter_interval_does_not_make_an_old_silence_too_long() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_heartbeat(at(0), vm(1));
    tracker.handle_started(at(9_000), vm(1), Duration::from_secs(1));
    run(&mut tracker, at(10_800));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }]);
    run(&mut tracker, at(10_900));
    assert_eq!(edges(&mut tracker), [missing(1, 1_900, false)]);
}

/// [L-6]
#[test]
fn a_late_monitor_waits_one_interval_more() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_heartbeat(at(0), vm(1));
    let late = Doubt::Late(Duration::from_secs(4));
    tracker.handle_doubt(at(18_000), late);
    run(&mut tracker, at(28_999));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }, Edge::Deferred { doubt: late }]);
    run(&mut tracker, at(29_000));
    assert_eq!(edges(&mut tracker), [missing(1, 29_000, false)]);
}

/// [L-6]
#[test]
fn the_heartbeat_after_a_lost_one_may_be_late_by_a_hair() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_heartbeat(at(0), vm(1));
    // The one of 10 s was among them.
    tracker.handle_doubt(at(10_000), Doubt::Dropped(1));
    run(&mut tracker, at(20_050));
    tracker.handle_heartbeat(at(20_050), vm(1));
    run(&mut tracker, at(39_049));
    let deferred = Edge::Deferred { doubt: Doubt::Dropped(1) };
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }, deferred]);
}

#[test]
fn lateness_is_judged_against_each_paths_interval() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_started(at(0), vm(2), Duration::from_millis(400));
    tracker.handle_doubt(at(700), Doubt::Late(Duration::from_millis(300)));
    run(&mut tracker, at(1_159));
    let deferred = edges(&mut tracker);
    assert!(matches!(deferred[..], [Edge::Deferred { .. }]), "{deferred:?}");
    run(&mut tracker, at(1_160));
    assert_eq!(edges(&mut tracker), [missing(2, 1_160, false)]);
    tracker.handle_doubt(at(18_900), Doubt::Late(Duration::from_millis(300)));
    run(&mut tracker, at(19_000));
    assert_eq!(edges(&mut tracker), [missing(1, 19_000, false)]);
}

/// [L-2]
#[test]
fn a_heartbeat_read_late_but_stamped_in_time_prevents_the_edge() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_heartbeat(at(0), vm(1));
    tracker.handle_heartbeat(at(18_999), vm(1));
    tracker.handle_heartbeat(at(10_000), vm(1));
    run(&mut tracker, at(37_998));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }]);
}

/// [L-7]
#[test]
fn a_trunk_that_stays_doubtful_is_blind_and_accuses_nobody_until_it_was_clean() {
    let mut tracker = Tracker::new();
    let second = Duration::from_secs(1);
    tracker.handle_started(at(0), vm(1), second);
    tracker.handle_heartbeat(at(0), vm(1));
    for tenth in 0..100u64 {
        tracker.handle_doubt(at(tenth * 100), Doubt::Dropped(1));
        run(&mut tracker, at(tenth * 100));
    }
    let found = edges(&mut tracker);
    let deferred = Edge::Deferred { doubt: Doubt::Dropped(1) };
    assert_eq!(found, [Edge::Detected { vm: vm(1) }, deferred, Edge::Blind]);
    run(&mut tracker, at(10_900));
    assert_eq!(edges(&mut tracker), [missing(1, 10_900, false), Edge::Sighted]);
}

/// [L-8]
#[test]
fn most_of_a_trunk_falling_silent_together_is_common_and_said_of_the_first_ones_too() {
    let mut tracker = Tracker::new();
    for number in 1..=5 {
        tracker.handle_started(at(0), vm(number), TEN_SECONDS);
        tracker.handle_heartbeat(at(u64::from(number)), vm(number));
    }
    edges(&mut tracker);
    tracker.handle_heartbeat(at(10_000), vm(5));
    run(&mut tracker, at(19_002));
    assert_eq!(edges(&mut tracker), [missing(1, 19_000, false), missing(2, 19_000, false)]);
    run(&mut tracker, at(19_003));
    let expected = [missing(3, 19_000, true), missing(1, 19_002, true), missing(2, 19_001, true)];
    assert_eq!(edges(&mut tracker), expected);
    run(&mut tracker, at(19_004));
    assert_eq!(edges(&mut tracker), [missing(4, 19_000, true)]);
    tracker.repeat(at(20_004), vm(4));
    tracker.repeat(at(20_004), vm(1));
    assert_eq!(edges(&mut tracker), [missing(4, 20_000, true), missing(1, 20_003, true)], "said again");
    // Another silence of its own is not.
    tracker.handle_heartbeat(at(21_000), vm(1));
    for round in 0..10 {
        (2..=5).for_each(|number| tracker.handle_heartbeat(at(22_000 + round * 9_000), vm(number)));
        run(&mut tracker, at(22_000 + round * 9_000));
    }
    edges(&mut tracker);
    tracker.repeat(at(110_000), vm(1));
    assert_eq!(edges(&mut tracker), [missing(1, 89_000, false)]);
}

/// [L-8]
#[test]
fn two_of_three_are_not_common_nor_are_three_far_apart() {
    let mut tracker = Tracker::new();
    for number in 1..=3 {
        tracker.handle_started(at(0), vm(number), TEN_SECONDS);
        tracker.handle_heartbeat(at(0), vm(number));
    }
    edges(&mut tracker);
    tracker.handle_heartbeat(at(9_000), vm(3));
    run(&mut tracker, at(19_000));
    assert!(edges(&mut tracker).iter().all(|edge| matches!(edge, Edge::Missing { common: false, .. })));
    for beat in 2..8 {
        tracker.handle_heartbeat(at(beat * 9_000), vm(3));
    }
    run(&mut tracker, at(100_000));
    assert_eq!(edges(&mut tracker), [missing(3, 19_000, false)]);
}

/// Beats every second for ten seconds, and then falls silent. Its first edge is taken.
fn silent_after_ten_beats(tracker: &mut Tracker) {
    tracker.handle_started(at(0), vm(1), Duration::from_secs(1));
    for second in 0..=10 {
        tracker.handle_heartbeat(at(second * 1000), vm(1));
        run(tracker, at(second * 1000));
    }
    assert_eq!(edges(tracker), [Edge::Detected { vm: vm(1) }]);
}

///
#[test]
fn an_announced_silence_is_not_missing_until_1_9_intervals_after_its_end() {
    let mut tracker = Tracker::new();
    silent_after_ten_beats(&mut tracker);
    tracker.handle_quiet(at(10_500), vm(1), at(70_500));
    run(&mut tracker, at(72_399));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(72_400));
    assert_eq!(edges(&mut tracker), [missing(1, 62_400, false)], "since the last heartbeat");
    run(&mut tracker, at(200_000));
    assert_eq!((edges(&mut tracker), tracker.quiet.len()), (vec![], 0));
}

#[test]
fn a_guest_that_beats_in_its_announced_silence_is_counted_from_its_last_heartbeat() {
    let mut tracker = Tracker::new();
    silent_after_ten_beats(&mut tracker);
    tracker.handle_quiet(at(10_500), vm(1), at(20_000));
    tracker.handle_heartbeat(at(21_000), vm(1));
    run(&mut tracker, at(22_899));
    assert_eq!((edges(&mut tracker), tracker.quiet.len()), (vec![], 0), "nothing is kept of it");
    run(&mut tracker, at(22_900));
    assert_eq!(edges(&mut tracker), [missing(1, 1_900, false)]);
}

#[test]
fn an_announced_silence_may_be_ended_or_prolonged() {
    let mut tracker = Tracker::new();
    silent_after_ten_beats(&mut tracker);
    tracker.handle_quiet(at(10_500), vm(1), at(70_500));
    run(&mut tracker, at(20_123));
    tracker.handle_quiet(at(20_123), vm(1), at(20_123));
    run(&mut tracker, at(22_022));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(22_023));
    assert_eq!(edges(&mut tracker), [missing(1, 12_023, false)]);

    let mut tracker = Tracker::new();
    silent_after_ten_beats(&mut tracker);
    tracker.handle_quiet(at(10_500), vm(1), at(12_000));
    tracker.handle_quiet(at(11_900), vm(1), at(30_000));
    run(&mut tracker, at(31_899));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(31_900));
    assert_eq!(edges(&mut tracker), [missing(1, 21_900, false)]);
}

#[test]
fn what_was_missing_is_not_while_a_silence_is_announced_and_is_again_after_it() {
    let mut tracker = Tracker::new();
    silent_after_ten_beats(&mut tracker);
    run(&mut tracker, at(30_000));
    assert_eq!(edges(&mut tracker), [missing(1, 1_900, false)]);
    tracker.handle_quiet(at(30_000), vm(1), at(40_000));
    assert!(!tracker.is_missing(vm(1)) && !tracker.is_beating(vm(1)));
    run(&mut tracker, at(41_899));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(41_900));
    assert_eq!(edges(&mut tracker), [missing(1, 31_900, false)]);
    tracker.handle_quiet(at(50_000), vm(1), at(50_000));
    assert!(tracker.is_missing(vm(1)), "the end of one changes nothing");
    tracker.handle_quiet(at(60_000), vm(1), at(70_000));
    tracker.handle_heartbeat(at(61_000), vm(1));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }]);
}

#[test]
fn a_restarted_monitor_does_not_accuse_who_announced_to_be_silent() {
    let mut tracker = Tracker::new();
    tracker.expect(at(10_000), vm(1), Duration::from_secs(1), None);
    tracker.expect(at(10_000), vm(2), Duration::from_secs(1), Some(Duration::from_secs(5)));
    for number in [1, 2] {
        tracker.handle_quiet(at(10_000), vm(number), at(70_000));
    }
    run(&mut tracker, at(71_899));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(71_900));
    let found = edges(&mut tracker);
    assert!(
        found.contains(&missing(1, 61_900, false)) && found.contains(&missing(2, 66_900, false)),
        "{found:?}"
    );
}

#[test]
fn who_announced_to_be_silent_says_nothing_of_the_trunk() {
    let mut tracker = Tracker::new();
    for number in 1..=3 {
        tracker.handle_started(at(0), vm(number), TEN_SECONDS);
        tracker.handle_heartbeat(at(0), vm(number));
    }
    for number in [2, 3] {
        tracker.handle_quiet(at(1_000), vm(number), at(60_000));
    }
    tracker.handle_heartbeat(at(10_000), vm(1));
    let evidence = tracker.evidence(at(9_000), at(15_000));
    assert_eq!(evidence, Evidence { heard: 1, overdue: 0, lately: 1 });
    tracker.handle_heartbeat(at(14_000), vm(2));
    assert_eq!(tracker.evidence(at(9_000), at(15_000)).heard, 2, "heard is heard");
}

#[test]
fn an_announced_silence_does_not_outlive_the_watch() {
    let mut tracker = Tracker::new();
    silent_after_ten_beats(&mut tracker);
    tracker.handle_quiet(at(10_500), vm(1), at(70_500));
    tracker.forget(vm(1));
    tracker.handle_quiet(at(10_500), vm(2), at(70_500));
    tracker.handle_quiet_over(vm(2));
    assert_eq!(tracker.quiet.len(), 0);
}

#[test]
fn a_forgotten_vm_is_not_accused() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.forget(vm(1));
    run(&mut tracker, at(60_000));
    assert_eq!((edges(&mut tracker), tracker.counts()), (vec![], (0, 0)));
}

#[test]
fn a_new_path_of_a_beating_vm_is_said_to_work_once() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_heartbeat(at(0), vm(1));
    tracker.handle_opened(vm(1));
    tracker.handle_heartbeat(at(1), vm(1));
    tracker.handle_heartbeat(at(2), vm(1));
    assert_eq!(edges(&mut tracker), [Edge::Detected { vm: vm(1) }, Edge::Detected { vm: vm(1) }]);
}

#[test]
fn more_intervals_than_there_are_lines_are_judged_as_well_and_leave_nothing_behind() {
    let mut tracker = Tracker::new();
    let interval = |number: u8| Duration::from_millis(1000 + 10 * u64::from(number));
    for number in 0..100 {
        tracker.handle_started(at(0), vm(number), interval(number));
    }
    for round in 0..200 {
        (0..100).for_each(|number| tracker.handle_heartbeat(at(round * 1000), vm(number)));
        run(&mut tracker, at(round * 1000));
    }
    assert!(tracker.schedule.len() <= 100, "{} looks are scheduled", tracker.schedule.len());
    edges(&mut tracker);
    run(&mut tracker, at(205_000));
    let ages: Vec<_> = edges(&mut tracker)
        .into_iter()
        .filter_map(|edge| match edge {
            Edge::Missing { vm, age, common: false } => Some((vm, age)),
            Edge::Missing { .. }
            | Edge::Detected { .. }
            | Edge::Deferred { .. }
            | Edge::Blind
            | Edge::Sighted => None,
        })
        .collect();
    let expected: Vec<_> =
        (0..ages.len()).map(|number| number as u8).map(|n| (vm(n), interval(n) * 19 / 10)).collect();
    assert!(ages.len() > 40 && ages == expected, "{ages:?}");
}

#[test]
fn a_changed_interval_counts_at_once() {
    let mut tracker = Tracker::new();
    tracker.handle_started(at(0), vm(1), TEN_SECONDS);
    tracker.handle_heartbeat(at(100), vm(1));
    tracker.handle_telling(vm(1), Duration::from_secs(1));
    tracker.handle_started(at(200), vm(1), Duration::from_secs(1));
    edges(&mut tracker);
    run(&mut tracker, at(2_099));
    assert_eq!(edges(&mut tracker), []);
    run(&mut tracker, at(2_100));
    assert_eq!(edges(&mut tracker), [missing(1, 1_900, false)]);
}

#[test]
fn a_trunk_of_thousands_that_dies_and_returns_is_common_once_for_each() {
    let mut tracker = Tracker::new();
    let name =
        |number: u16| VmUuid::from_bytes([&number.to_be_bytes()[..], &[7; 14]].concat().try_into().unwrap());
    for round in 0..3 {
        let start = at(round * 60_000);
        for number in 0..2000 {
            tracker.handle_started(start, name(number), TEN_SECONDS);
            tracker.handle_heartbeat(start, name(number));
        }
        run(&mut tracker, start + Duration::from_secs(1));
        let detected =
            edges(&mut tracker).iter().filter(|edge| matches!(edge, Edge::Detected { .. })).count();
        assert_eq!(detected, 2000);
        run(&mut tracker, start + Duration::from_secs(30));
        let common = edges(&mut tracker)
            .iter()
            .filter(|edge| matches!(edge, Edge::Missing { common: true, .. }))
            .count();
        assert_eq!(common, 2000, "round {round}");
    }
}

#[test]
fn an_announced_silence_that_is_over_before_a_starting_monitors_grace_is_nothing() {
    let mut tracker = Tracker::new();
    tracker.expect(at(0), vm(1), Duration::from_secs(1), None);
    tracker.handle_quiet(at(100), vm(1), at(200));
    run(&mut tracker, at(11_899));
    assert_eq!((edges(&mut tracker), tracker.quiet.len()), (vec![], 0));
    run(&mut tracker, at(11_900));
    assert_eq!(edges(&mut tracker), [missing(1, 11_900, false)]);
}
