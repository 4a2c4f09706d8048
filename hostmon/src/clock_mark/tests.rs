use vmpulse_store::{RosterPath, RosterVm, VmState};

use super::*;

const fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

const fn store(milliseconds: i64) -> StoreTime {
    StoreTime(1_700_000_000_000_000 + milliseconds * 1000)
}

/// A daemon whose clock begins when the machine is on for so long.
fn clock(boot: &str, origin_s: u64) -> BootClock {
    BootClock { boot: boot.to_owned(), origin: Duration::from_secs(origin_s) }
}

/// What a daemon keeps that reads the store's clock as it should be at its second 5.
fn kept() -> Vec<u8> {
    let mut mark = ClockMark::new(&[], clock("a", 1000), at(0));
    let judgement = mark.judge(store(1_005_000), at(5), at(5), false);
    assert_eq!(judgement.bound, None, "a first start believes");
    judgement.keep.unwrap()
}

/// What one says that starts 500 s later, and reads this at its second 3.
fn next(boot: &str, read: StoreTime) -> Judgement {
    ClockMark::new(&kept(), clock(boot, 1500), at(0)).judge(read, at(3), at(3), false)
}

#[test]
fn a_clock_that_went_on_is_believed() {
    assert_eq!(next("a", store(1_503_000)), Judgement::default());
    assert_eq!(next("a", store(1_503_200)), Judgement::default());
    let drifted = next("a", store(1_503_900));
    assert_eq!(drifted.bound, None);
    assert!(drifted.keep.is_some(), "what one daemon after the other lets pass must not add up");
}

#[test]
fn a_clock_that_was_set_is_not() {
    for read in [1_504_100, 1_501_900, 9_000_000, 0] {
        let judgement = next("a", store(read));
        assert_eq!(judgement, Judgement { bound: Some(Duration::from_secs(3)), keep: None }, "{read}");
    }
}

#[test]
fn a_slow_answer_hides_a_step_no_longer_than_it_took() {
    let slow = |read| ClockMark::new(&kept(), clock("a", 1500), at(0)).judge(read, at(3), at(7), false).bound;
    assert_eq!([slow(store(1_503_000)), slow(store(1_507_900))], [None, None]);
    assert_eq!(slow(store(1_508_100)), Some(Duration::from_secs(7)));
}

#[test]
fn of_another_boot_only_that_it_was_before_this_one_is_sure() {
    assert_eq!(next("b", store(1_503_000)).bound, Some(Duration::from_secs(1503)));
}

#[test]
fn a_step_is_kept_with_the_next_reading_and_judged_once() {
    let mut mark = ClockMark::new(&kept(), clock("a", 1500), at(0));
    assert!(mark.judge(store(9_000_000), at(3), at(3), false).bound.is_some() && mark.waits());
    let again = mark.judge(store(9_005_000), at(8), at(8), false);
    assert!(again.bound.is_none() && again.keep.is_some() && !mark.waits());
    assert_eq!(mark.judge(store(9_010_000), at(13), at(13), false).keep, None);
    let stepped = mark.judge(store(19_015_000), at(18), at(18), true);
    assert!(stepped == Judgement::default() && mark.waits(), "one that ran meanwhile knows better");
    let kept = mark.judge(store(19_020_000), at(23), at(23), false).keep.unwrap();
    let mut next = ClockMark::new(&kept, clock("a", 1530), at(0));
    assert_eq!(next.judge(store(19_027_000), at(0), at(0), false), Judgement::default());
}

#[test]
fn what_the_disk_did_not_take_is_kept_again_and_what_is_torn_is_no_mark() {
    let mut mark = ClockMark::new(&[], clock("a", 1000), at(0));
    let keep = mark.judge(store(1_005_000), at(5), at(5), false).keep;
    mark.not_kept();
    assert_eq!(mark.judge(store(1_006_000), at(6), at(6), false).keep, keep);
    for end in 0..keep.as_ref().unwrap().len() {
        let torn = &keep.as_ref().unwrap()[..end];
        let mut next = ClockMark::new(torn, clock("a", 1500), at(0));
        assert_eq!(next.judge(store(9_000_000), at(3), at(3), false).bound, None);
    }
}

#[test]
fn a_narrow_reading_replaces_a_wide_one() {
    let mut mark = ClockMark::new(&[], clock("a", 1000), at(0));
    assert!(mark.judge(store(1_005_000), at(2), at(7), false).keep.is_some());
    assert!(mark.judge(store(1_008_000), at(8), at(8), false).keep.is_some());
    assert_eq!(mark.judge(store(1_010_000), at(8), at(13), false).keep, None);
}

#[test]
fn silences_are_bounded_and_nothing_else() {
    let vm = |n: u8, missed: Option<u64>| RosterVm {
        uuid: vmpulse_protocol::id::VmUuid::from_bytes([n; 16]),
        state: VmState::Started,
        suspended: None,
        heartbeat_interval_ms: None,
        path: Some(RosterPath { mac: String::new(), missed: missed.map(Duration::from_secs) }),
    };
    let of = |ages: [Option<u64>; 3]| Roster {
        vms: vec![vm(1, ages[0]), vm(2, ages[1])],
        visiting: vec![vm(3, ages[2])],
        ..Roster::default()
    };
    let mut roster = of([Some(500), None, Some(10)]);
    assert!(bound_ages(&mut roster, Duration::from_secs(20)));
    assert_eq!(roster, of([Some(20), None, Some(10)]));
    assert!(bound_ages(&mut roster, Duration::from_secs(5)));
    assert_eq!(roster, of([Some(5), None, Some(5)]));
    assert!(!bound_ages(&mut of([None; 3]), Duration::from_secs(5)));
}

#[test]
fn a_silence_that_began_in_the_future_of_a_clock_set_back_is_said_again() {
    // How a start judges, and what it does with its roster: the two belong together.
    let bound = next("a", store(1_503_000 - 3_600_000)).bound.unwrap();
    let path = RosterPath { mac: String::new(), missed: Some(Duration::ZERO) };
    let vm = RosterVm {
        uuid: vmpulse_protocol::id::VmUuid::from_bytes([1; 16]),
        state: VmState::Started,
        suspended: None,
        heartbeat_interval_ms: None,
        path: Some(path),
    };
    let mut roster = Roster { vms: vec![vm], ..Roster::default() };
    assert!(bound_ages(&mut roster, bound), "for the store it would be as young for an hour");
}
