//! The spool in a world that fails: stores that die with and without their last word, processes that are killed at any
//! moment, files that are cut anywhere.
#![allow(clippy::wildcard_enum_match_arm)]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use vmpulse_protocol::id::VmUuid;
use vmpulse_store::SuspendReason;

use super::*;
use world::{Death, World};

const ZERO: Instant = Instant::ZERO;

fn at(milliseconds: u64) -> Instant {
    Instant::from_millis(milliseconds)
}

fn clock() -> BootClock {
    BootClock { boot: "one".to_owned(), origin: Duration::from_secs(1000) }
}

fn vm(number: u8) -> VmUuid {
    VmUuid::from_bytes([number + 1; 16])
}

fn fresh() -> Spool {
    Spool::new("A", clock(), Contents::default(), ZERO)
}

fn push(spool: &mut Spool, number: u64, now: Instant, write: HostMonitorWrite) {
    spool.push(Waiting { number, at: now, write });
}

fn suspended() -> HostMonitorWrite {
    HostMonitorWrite::Suspended { vm: vm(1), reason: SuspendReason::Os, age: Duration::ZERO }
}

fn told(spool: &mut Spool) -> Vec<Told> {
    std::iter::from_fn(|| spool.poll_told()).collect()
}

#[test]
fn while_the_store_is_quick_the_file_is_not_touched() {
    let mut spool = fresh();
    for number in 1..1000 {
        let now = at(number * 30);
        push(&mut spool, number, now, suspended());
        assert_eq!((spool.poll_action(now), spool.poll_timeout()), (None, Some(now + GATHER)));
        let action = spool.poll_action(now + GATHER);
        assert!(matches!(action, Some(Action::Apply(_))), "{action:?}");
        assert_eq!(spool.poll_action(now + GATHER), None);
        spool.on_applied(now + GATHER, Vec::new());
        assert_eq!(told(&mut spool), [Told::Safe { up_to: number }]);
    }
    let view = spool.view();
    assert_eq!((view.waiting, view.kept, view.file_bytes, view.local), (0, 0, 0, None));
    assert_eq!((view.commits, view.failures), (999, 0));
    assert_eq!(spool.poll_timeout(), None);
}

/// What falls silent together is judged over some milliseconds.
#[test]
fn a_thousand_silences_are_one_transaction() {
    let mut spool = fresh();
    for number in 0..1000_u64 {
        let now = at(number / 110);
        let [_, _, .., high, low] = number.to_be_bytes();
        let vm = VmUuid::from_bytes([high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let age = Duration::from_millis(1900);
        push(&mut spool, number + 1, now, HostMonitorWrite::PathMissing { vm, age, common: true });
        assert_eq!(spool.poll_action(now), None);
    }
    let Some(Action::Apply(starts)) = spool.poll_action(at(10)) else { panic!("nothing is given") };
    assert_eq!(starts.iter().map(|start| start.writes.len()).sum::<usize>(), 1000);
}

#[test]
fn what_a_slow_store_has_not_taken_is_safe_before_the_guest_says_it_again() {
    let mut spool = fresh();
    push(&mut spool, 1, ZERO, suspended());
    assert!(matches!(spool.poll_action(at(10)), Some(Action::Apply(_))));
    assert_eq!(spool.poll_timeout(), Some(at(200)));
    assert_eq!(spool.poll_action(at(199)), None);
    assert!(matches!(spool.poll_action(at(200)), Some(Action::Replace(_))));
    spool.on_kept(at(210), Ok(()));
    assert_eq!(told(&mut spool), [Told::Safe { up_to: 1 }]);
    assert_eq!(spool.view().local, None, "slow is not gone");
    // It comes after all, and the file is of no account any more.
    spool.on_applied(at(4000), Vec::new());
    assert_eq!(spool.poll_action(at(4000)), Some(Action::Replace(record::header())));
    spool.on_kept(at(4000), Ok(()));
    assert_eq!((spool.poll_action(at(4100)), spool.view().kept), (None, 0));
}

#[test]
fn local_after_5_s_or_a_failure_and_global_with_all_that_waits() {
    let mut spool = fresh();
    push(&mut spool, 1, ZERO, suspended());
    spool.poll_action(at(10));
    spool.handle_timeout(at(5009));
    assert_eq!(told(&mut spool), []);
    spool.handle_timeout(at(5010));
    assert_eq!(told(&mut spool), [Told::Local("the store has not answered for 5 s".to_owned())]);
    spool.on_failed(at(6000), "no answer".to_owned());
    assert_eq!(spool.view().local, Some((at(10), "no answer".to_owned())), "since it did not answer");
    assert!(matches!(spool.poll_action(at(6000)), Some(Action::Replace(_))));
    spool.on_kept(at(6000), Ok(()));
    assert_eq!(spool.poll_action(at(6999)), None);
    assert_eq!(spool.poll_action(at(7000)), Some(Action::Probe));
    spool.on_ready(at(7001));
    assert!(matches!(spool.poll_action(at(7001)), Some(Action::Append(_))), "that it is GLOBAL, too");
    spool.on_kept(at(7001), Ok(()));
    let Some(Action::Apply(starts)) = spool.poll_action(at(7001)) else { panic!("nothing is given") };
    let [StartWrites { writes, .. }] = &starts[..] else { panic!("{starts:?}") };
    let local = |age| HostMonitorWrite::ModeChanged {
        mode: MonitorMode::Local,
        age,
        text: "the store cannot be written: the store has not answered for 5 s".to_owned(),
    };
    let (reason, age) = (SuspendReason::Os, Duration::from_millis(7001));
    let said = HostMonitorWrite::Suspended { vm: vm(1), reason, age };
    assert_eq!(writes[..2], [(1, said), (2, local(Duration::from_millis(6991)))]);
    assert!(
        matches!(&writes[2], (3, HostMonitorWrite::ModeChanged { mode: MonitorMode::Global, age, .. }) if age.is_zero())
    );
    assert_eq!(writes.len(), 3);
    spool.on_applied(at(7010), Vec::new());
    assert_eq!(told(&mut spool).last(), Some(&Told::Global));
    assert_eq!(spool.view().local, None);
}

#[test]
fn a_loop_that_stands_is_down_and_a_replay_does_not_make_it_global() {
    let mut spool = fresh();
    let modes = |action: Option<Action>| -> Vec<MonitorMode> {
        let Some(Action::Apply(starts)) = action else { panic!("{action:?}") };
        let writes = starts.into_iter().flat_map(|start| start.writes);
        writes
            .filter_map(|(_, write)| match write {
                HostMonitorWrite::ModeChanged { mode, .. } => Some(mode),
                _ => None,
            })
            .collect()
    };
    spool.on_stall(at(10_000), Some(Duration::from_secs(5)));
    spool.on_stall(at(11_000), Some(Duration::from_secs(6)));
    assert_eq!(modes(spool.poll_action(at(11_000))), [MonitorMode::Down], "once");
    spool.on_failed(at(12_000), "gone".to_owned());
    let mut actions = Vec::new();
    for ms in 12_000..14_000 {
        match spool.poll_action(at(ms)) {
            Some(Action::Probe) => spool.on_ready(at(ms)),
            Some(Action::Append(_) | Action::Replace(_)) => spool.on_kept(at(ms), Ok(())),
            Some(apply) => {
                actions.push(apply);
                spool.on_applied(at(ms), Vec::new());
            }
            None => {}
        }
    }
    assert_eq!(
        modes(actions.pop()),
        [MonitorMode::Down, MonitorMode::Local, MonitorMode::Global, MonitorMode::Down]
    );
    spool.on_stall(at(15_000), None);
    assert_eq!(modes(spool.poll_action(at(15_000))), [MonitorMode::Global]);
}

#[test]
fn a_loop_that_turns_again_while_a_replay_is_under_way_is_global() {
    let mut spool = fresh();
    spool.on_failed(ZERO, "gone".to_owned());
    let mut given = Vec::new();
    for ms in 0..3000 {
        match spool.poll_action(at(ms)) {
            Some(Action::Probe) => spool.on_ready(at(ms)),
            Some(Action::Append(_) | Action::Replace(_)) => spool.on_kept(at(ms), Ok(())),
            Some(Action::Apply(starts)) => given.push((ms, starts)),
            None => {}
        }
        match ms {
            // The replay, which ends with GLOBAL, is with the store meanwhile.
            2000 => spool.on_stall(at(ms), Some(Duration::from_secs(5))),
            2100 => spool.on_stall(at(ms), None),
            2200 => spool.on_applied(at(ms), Vec::new()),
            _ => {}
        }
    }
    let [(first, _), (_, last)] = &given[..] else { panic!("{given:?}") };
    assert!(*first < 2000);
    let last = last.iter().flat_map(|start| &start.writes).next_back();
    let is_global = |write: &HostMonitorWrite| {
        matches!(write, HostMonitorWrite::ModeChanged { mode: MonitorMode::Global, .. })
    };
    assert!(last.is_some_and(|(_, write)| is_global(write)), "{last:?}");
}

#[test]
fn a_file_that_cannot_be_written_acknowledges_nothing_and_is_tried_again() {
    let mut spool = fresh();
    spool.on_failed(ZERO, "gone".to_owned());
    push(&mut spool, 1, ZERO, suspended());
    told(&mut spool);
    assert!(matches!(spool.poll_action(at(20)), Some(Action::Replace(_))));
    spool.on_kept(at(20), Err("no space".to_owned()));
    assert_eq!((told(&mut spool), spool.poll_action(at(1019))), (vec![], Some(Action::Probe)));
    assert_eq!(spool.view().file_error.as_deref(), Some("no space"));
    assert!(matches!(spool.poll_action(at(1020)), Some(Action::Replace(_))));
    spool.on_kept(at(1020), Ok(()));
    assert_eq!(told(&mut spool), [Told::Safe { up_to: 1 }]);
}

#[test]
fn a_file_that_is_gone_is_made_anew_with_all_that_waits() {
    let mut spool = fresh();
    spool.on_failed(ZERO, "gone".to_owned());
    push(&mut spool, 1, ZERO, suspended());
    spool.poll_action(at(20));
    spool.on_kept(at(20), Ok(()));
    push(&mut spool, 2, at(50), HostMonitorWrite::Resumed { vm: vm(2), age: Duration::ZERO });
    let mut action = spool.poll_action(at(100));
    assert!(matches!(action, Some(Action::Append(_))), "{action:?}");
    for ms in [100, 1000] {
        told(&mut spool);
        spool.on_file_gone(at(ms));
        assert_eq!((told(&mut spool), spool.view().kept), (vec![], 0), "nothing is safe");
        action = spool.poll_action(at(ms));
        let Some(Action::Replace(file)) = &action else { panic!("{action:?}") };
        let kept = record::read(file, &clock(), ZERO).unwrap();
        let writes: Vec<_> = kept.starts.iter().flat_map(|start| &start.writes).collect();
        // And that it is LOCAL.
        assert_eq!(writes.len(), 3, "{writes:?}");
        spool.on_kept(at(ms), Ok(()));
        assert_eq!(told(&mut spool), [Told::Safe { up_to: 2 }]);
    }
}

#[test]
fn a_day_of_flapping_leaves_a_bounded_file() {
    let mut spool = fresh();
    spool.on_failed(ZERO, "gone".to_owned());
    let (mut largest, mut replaced) = (0, 0);
    for second in 1..=86_400u64 {
        let now = at(second * 1000);
        for path in 0..10u8 {
            let vm = vm(path);
            let age = Duration::from_secs(19);
            let write = if second % 2 == 0 {
                HostMonitorWrite::PathDetected { vm }
            } else {
                HostMonitorWrite::PathMissing { vm, age, common: false }
            };
            push(&mut spool, second, now, write);
        }
        let later = at(second * 1000 + 200);
        match spool.poll_action(later) {
            Some(Action::Probe) => spool.on_failed(later, "gone".to_owned()),
            Some(Action::Append(_)) => spool.on_kept(later, Ok(())),
            Some(Action::Replace(_)) => {
                replaced += 1;
                spool.on_kept(later, Ok(()));
            }
            other => assert_eq!(other, None),
        }
        largest = largest.max(spool.view().file_bytes);
    }
    assert!(largest < 2 * SLACK_BYTES, "{largest} bytes");
    assert!(replaced > 10);
    assert!(spool.view().waiting <= 12, "{:?}", spool.view());
}

#[test]
fn every_prefix_of_a_file_is_read_up_to_its_last_whole_record() {
    let mut spool = fresh();
    spool.on_failed(ZERO, "gone".to_owned());
    for number in 1..=5 {
        push(&mut spool, number, at(number), HostMonitorWrite::Doorbell { vm: vm(number as u8), bits: 1 });
    }
    let report = HostMonitorWrite::Report { vm: vm(1), message: 4, payload: vec![0, 255, 10] };
    push(&mut spool, 6, at(6), report.clone());
    let Some(Action::Replace(file)) = spool.poll_action(at(300)) else { panic!("nothing is kept") };
    let whole = record::read(&file, &clock(), at(300)).unwrap();
    assert_eq!((whole.sound_bytes, whole.torn_bytes, whole.strange), (file.len(), 0, 0));
    let [StartWrites { incarnation, writes, of_earlier_boot: false }] = &whole.starts[..] else {
        panic!("{whole:?}")
    };
    assert_eq!((incarnation.as_str(), writes.len(), &writes[6].1), ("A", 7, &report));
    for length in 0..file.len() {
        let part = record::read(&file[..length], &clock(), at(300)).unwrap();
        assert_eq!(part.sound_bytes + part.torn_bytes, length);
        for start in &part.starts {
            assert_eq!(start.writes[..], writes[..start.writes.len()]);
        }
    }
    assert_eq!(record::read(b"VMPSPOOL\x02\0\0\0", &clock(), ZERO), Err(record::NotASpool));
    assert_eq!(record::read(b"something else", &clock(), ZERO), Err(record::NotASpool));
}

/// Until the store has it: also over restarts of the daemon that follow in the same boot.
#[test]
fn what_was_said_before_the_machine_was_started_anew_is_marked() {
    let mut spool = fresh();
    spool.on_failed(ZERO, "gone".to_owned());
    push(&mut spool, 1, ZERO, suspended());
    let Some(Action::Replace(file)) = spool.poll_action(at(300)) else { panic!("nothing is kept") };
    let marks = |starts: &[StartWrites]| {
        starts.iter().map(|start| (start.incarnation.clone(), start.of_earlier_boot)).collect::<Vec<_>>()
    };
    let same = record::read(&file, &clock(), at(300)).unwrap();
    assert_eq!(marks(&same.starts), [("A".to_owned(), false)]);

    let other = BootClock { boot: "two".to_owned(), origin: Duration::from_secs(5) };
    let contents = record::read(&file, &other, ZERO).unwrap();
    assert_eq!(marks(&contents.starts), [("A".to_owned(), true)]);
    let mut next = Spool::new("B", other.clone(), contents, ZERO);
    next.on_file_gone(ZERO);
    let Some(Action::Replace(file)) = next.poll_action(at(300)) else { panic!("nothing is kept") };
    let again = record::read(&file, &other, at(400)).unwrap();
    assert_eq!(marks(&again.starts).first(), Some(&("A".to_owned(), true)), "the file names this boot now");
    next.on_kept(at(300), Ok(()));
    assert_eq!(next.poll_action(at(300)), Some(Action::Probe));
    next.on_ready(at(300));
    let given = std::iter::from_fn(|| {
        let action = next.poll_action(at(400));
        next.on_kept(at(400), Ok(()));
        action
    });
    let given =
        given.take(9).find_map(|action| if let Action::Apply(starts) = action { Some(starts) } else { None });
    assert_eq!(marks(&given.unwrap()), [("A".to_owned(), true), ("B".to_owned(), false)]);
}

proptest! {
    #[test]
    fn any_bytes_behind_a_header_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = [record::header(), bytes].concat();
        let contents = record::read(&file, &clock(), ZERO).unwrap();
        prop_assert_eq!(contents.sound_bytes + contents.torn_bytes, file.len());
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Edge {
        vm: u8,
        beats: bool,
    },
    Ring {
        vm: u8,
    },
    Remark,
    Pass {
        ms: u16,
    },
    StoreGoes,
    StoreComes,
    /// The next transaction is committed, and nobody hears of it.
    LoseAnswer,
    Die(Death),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u8, any::<bool>()).prop_map(|(vm, beats)| Step::Edge { vm, beats }),
        3 => (0..4u8).prop_map(|vm| Step::Ring { vm }),
        4 => Just(Step::Remark),
        8 => (1..400u16).prop_map(|ms| Step::Pass { ms }),
        1 => (1000..7000u16).prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::StoreGoes),
        2 => Just(Step::StoreComes),
        2 => Just(Step::LoseAnswer),
        1 => Just(Step::Die(Death::Now)),
        1 => Just(Step::Die(Death::InTransaction)),
        2 => (0..2000usize).prop_map(|bytes| Step::Die(Death::InWrite { bytes })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Nothing that was safe is lost, nothing is doubled, order is kept, and the last state is the right one.
    #[test]
    fn whatever_fails(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Edge { vm, beats } => world.edge(vm, beats),
                Step::Ring { vm } => world.ring(vm),
                Step::Remark => world.remark(),
                Step::Pass { ms } => world.pass(ms.into()),
                Step::StoreGoes => world.store_up = false,
                Step::StoreComes => world.store_up = true,
                Step::LoseAnswer => world.lose_answer = true,
                Step::Die(death) => world.die(death),
            }
        }
        world.heal();
        world.check();
    }
}
