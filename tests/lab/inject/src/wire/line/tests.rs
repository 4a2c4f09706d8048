use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::wire::faults::Cut;

const HEADER: [u8; 14] = [0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x88, 0xB5];

/// A frame that tells its number.
fn frame(number: u32) -> Vec<u8> {
    [&HEADER[..], &number.to_be_bytes(), &[0; 42]].concat()
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

fn ms(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// Feeds one frame a millisecond, then waits for all; what came out, with its time.
fn run(faults: Faults, seed: u64, count: u32) -> (Vec<(Instant, Vec<u8>)>, Counts) {
    let mut line = Line::new(Way::Up, faults, seed);
    let mut out = Vec::new();
    for number in 0..count {
        let now = ms(number.into());
        line.handle_frame(now, &frame(number));
        drain(&mut line, now, &mut out);
        assert!(line.counts().accounted(), "{:?}", line.counts());
    }
    while let Some(due) = line.poll_timeout() {
        line.handle_timeout(due);
        drain(&mut line, due, &mut out);
    }
    (out, line.counts())
}

fn drain(line: &mut Line, now: Instant, out: &mut Vec<(Instant, Vec<u8>)>) {
    while let Some(frame) = line.poll_output() {
        out.push((now, frame));
    }
}

fn faults() -> impl Strategy<Value = Faults> {
    let shares = (0..=1000_u16, 1..=20_u16, 0..=1000_u16, 0..=1000_u16, 1..=9_u16);
    let times = (0..=50_u32, 0..=50_u32, any::<bool>());
    (shares, times).prop_map(|((loss, burst, twice, damaged, bits), (from, more, keep_order))| Faults {
        loss_per_mille: loss,
        loss_burst: burst,
        duplicate_per_mille: twice,
        corrupt_per_mille: damaged,
        corrupt_bits: bits,
        delay_from_ms: from,
        delay_to_ms: from + more,
        keep_order,
        cut: Cut::None,
    })
}

proptest! {
    #[test]
    fn with_all_off_every_frame_passes_at_once_unchanged(seed: u64, frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..50)) {
        let mut line = Line::new(Way::Down, Faults::default(), seed);
        for frame in &frames {
            line.handle_frame(ms(5), frame);
            prop_assert_eq!(line.poll_output(), Some(frame.clone()));
            prop_assert_eq!(line.poll_output(), None);
        }
        let all = frames.len() as u64;
        prop_assert_eq!(line.counts(), Counts { taken: all, passed: all, ..Counts::default() });
    }

    #[test]
    fn every_frame_is_accounted_for(faults in faults(), seed: u64) {
        let (out, counts) = run(faults, seed, 300);
        prop_assert!(counts.accounted());
        prop_assert_eq!((counts.taken, counts.waiting), (300, 0));
        prop_assert_eq!(counts.passed, out.len() as u64);
        let mut copies: HashMap<u32, u64> = HashMap::new();
        if faults.corrupt_per_mille == 0 {
            out.iter().for_each(|(_, frame)| *copies.entry(number(frame)).or_default() += 1);
            prop_assert_eq!(copies.len() as u64, counts.taken - counts.lost);
            prop_assert!(copies.values().all(|count| *count <= 2));
            prop_assert_eq!(copies.values().filter(|count| **count == 2).count() as u64, counts.duplicated);
        }
    }

    #[test]
    fn delays_are_kept_and_order_where_it_is_asked(faults in faults(), seed: u64) {
        let faults = Faults { corrupt_per_mille: 0, ..faults };
        let (out, _) = run(faults, seed, 300);
        let (from, to) = faults.delays();
        for (at, frame) in &out {
            let waited = at.since(ms(number(frame).into()));
            prop_assert!(waited >= from && waited <= to, "{waited:?}");
        }
        if faults.keep_order {
            prop_assert!(out.is_sorted_by_key(|(_, frame)| number(frame)));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same(faults in faults(), seed: u64) {
        prop_assert_eq!(run(faults, seed, 200), run(faults, seed, 200));
    }

    #[test]
    fn damage_is_behind_the_ethertype_and_is_damage(seed: u64, bits in 1..=12_u16, tags in 0..3_usize, payload in 0..64_usize) {
        let addresses = &HEADER[..12];
        let header = [addresses, &[0x81, 0, 0, 7].repeat(tags), &[0x88, 0xB5]].concat();
        let sent = [&header[..], &vec![0xA5; payload]].concat();
        let faults = Faults { corrupt_per_mille: 1000, corrupt_bits: bits, ..Faults::default() };
        let mut line = Line::new(Way::Up, faults, seed);
        line.handle_frame(ms(0), &sent);
        let got = line.poll_output().unwrap();
        prop_assert_eq!(got.len(), sent.len());
        prop_assert_eq!(&got[..header.len()], &header[..]);
        let flipped: u32 = got.iter().zip(&sent).map(|(one, other)| (one ^ other).count_ones()).sum();
        prop_assert_eq!(line.counts().corrupted, u64::from(payload > 0));
        let allowed = if payload > 0 { 1..=u32::from(bits) } else { 0..=0 };
        prop_assert!(allowed.contains(&flipped));
    }
}

/// Within a tenth of what was asked, or so unlikely that no seed of this test is so.
fn about(count: u64, expected: u64) -> bool {
    count.abs_diff(expected) <= expected / 10
}

#[test]
fn shares_are_those_that_were_asked_with_bursts_or_without() {
    for burst in [1, 5, 50] {
        let faults = Faults {
            loss_per_mille: 200,
            loss_burst: burst,
            duplicate_per_mille: 300,
            corrupt_per_mille: 50,
            ..Faults::default()
        };
        let (_, counts) = run(faults, 7, 100_000);
        assert!(about(counts.lost, 20_000), "{burst} {counts:?}");
        assert!(about(counts.duplicated, 24_000), "{counts:?}");
        assert!(about(counts.corrupted, 5200), "{counts:?}");
    }
}

#[test]
fn a_burst_loses_frames_one_after_the_other() {
    let faults = Faults { loss_per_mille: 100, loss_burst: 10, ..Faults::default() };
    let (out, counts) = run(faults, 3, 10_000);
    let passed: Vec<u32> = out.iter().map(|(_, frame)| number(frame)).collect();
    let gaps: Vec<u32> = passed.windows(2).map(|two| two[1] - two[0] - 1).filter(|gap| *gap > 0).collect();
    assert!(gaps.iter().all(|gap| gap % 10 == 0), "{gaps:?}");
    assert!(gaps.len() > 50 && counts.lost > 500, "{counts:?}");
}

#[test]
fn everything_can_be_lost_and_everything_twice() {
    let all_lost = Faults { loss_per_mille: 1000, loss_burst: 3, ..Faults::default() };
    assert_eq!(run(all_lost, 1, 100).1.lost, 100);
    let all_twice = Faults { duplicate_per_mille: 1000, ..Faults::default() };
    assert_eq!(run(all_twice, 1, 100).1.passed, 200);
}

#[test]
fn a_cut_holds_one_way_only() {
    let faults = Faults { cut: Cut::Up, ..Faults::default() };
    for (way, passes) in [(Way::Up, 0), (Way::Down, 1)] {
        let mut line = Line::new(way, faults, 1);
        line.handle_frame(ms(0), &frame(1));
        let _ = line.poll_output();
        assert_eq!((line.counts().passed, line.counts().cut), (passes, 1 - passes));
    }
}

#[test]
fn a_variable_delay_changes_the_order_unless_it_is_kept() {
    let faults = Faults { delay_from_ms: 5, delay_to_ms: 50, ..Faults::default() };
    let sorted = |faults| run(faults, 1, 200).0.is_sorted_by_key(|(_, frame)| number(frame));
    assert!(!sorted(faults));
    assert!(sorted(Faults { keep_order: true, ..faults }));
}

#[test]
fn what_waits_outlives_a_change_and_is_overtaken_only_where_order_is_not_kept() {
    for keep_order in [false, true] {
        let slow = Faults { delay_from_ms: 100, delay_to_ms: 100, keep_order, ..Faults::default() };
        let mut line = Line::new(Way::Up, slow, 1);
        line.handle_frame(ms(0), &frame(1));
        line.change(Faults { keep_order, ..Faults::default() });
        line.handle_frame(ms(10), &frame(2));
        let mut out = Vec::new();
        drain(&mut line, ms(10), &mut out);
        line.handle_timeout(ms(100));
        drain(&mut line, ms(100), &mut out);
        let expected = if keep_order { [(ms(100), 1), (ms(100), 2)] } else { [(ms(10), 2), (ms(100), 1)] };
        assert_eq!(out.iter().map(|(at, frame)| (*at, number(frame))).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_waits_is_bounded_in_frames_and_in_bytes() {
    let faults = Faults { delay_from_ms: 1000, delay_to_ms: 1000, ..Faults::default() };
    for (bytes, room) in [(60, MOST_WAITING), (9000, MOST_WAITING_BYTES / 9000)] {
        let mut line = Line::new(Way::Up, faults, 1);
        for _ in 0..room + 3 {
            line.handle_frame(ms(0), &vec![0; bytes]);
        }
        assert_eq!((line.counts().waiting, line.counts().over_bound), (room as u64, 3));
        line.release_all();
        assert_eq!(std::iter::from_fn(|| line.poll_output()).count(), room);
        line.handle_frame(ms(1), &vec![0; bytes]);
        assert_eq!(line.counts().waiting, 1, "there is room again");
        assert!(line.counts().accounted());
    }
}
