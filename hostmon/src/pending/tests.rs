use proptest::prelude::*;
use vmpulse_protocol::id::VmUuid;
use vmpulse_store::MonitorMode;

use super::*;

fn vm(number: u32) -> VmUuid {
    format!("00000000-0000-0000-0000-{:012x}", number + 1).parse().unwrap()
}

fn push(pending: &mut Pending, number: u64, write: HostMonitorWrite) -> bool {
    pending.push(Waiting { number, at: Instant::from_millis(number * 1000), write })
}

fn missing(number: u32, seconds: u64) -> HostMonitorWrite {
    HostMonitorWrite::PathMissing { vm: vm(number), age: Duration::from_secs(seconds), common: false }
}

fn detected(number: u32) -> HostMonitorWrite {
    HostMonitorWrite::PathDetected { vm: vm(number) }
}

fn rung(number: u32, bits: u32) -> HostMonitorWrite {
    HostMonitorWrite::Doorbell { vm: vm(number), bits }
}

fn of(incarnation: &str, writes: &[(u64, HostMonitorWrite)]) -> StartWrites {
    StartWrites { incarnation: incarnation.to_owned(), writes: writes.to_vec(), of_earlier_boot: false }
}

/// All that waits.
fn all(pending: &mut Pending, now: Instant) -> Vec<HostMonitorWrite> {
    let batch = pending.batch(now, usize::MAX);
    let starts = batch.into_iter().flat_map(|batch| batch.starts);
    starts.flat_map(|start| start.writes).map(|(_, write)| write).collect()
}

#[test]
fn ages_grow_while_a_write_waits() {
    let mut pending = Pending::new("A");
    push(&mut pending, 1, missing(1, 19));
    let batch = pending.batch(Instant::from_millis(6000), 10).unwrap();
    assert_eq!((batch.up_to, batch.starts), (1, vec![of("A", &[(1, missing(1, 24))])]));
    pending.failed();
    let batch = pending.batch(Instant::from_millis(11_000), 10).unwrap();
    assert_eq!(batch.starts, [of("A", &[(1, missing(1, 29))])], "given again under its number");
    assert_eq!(pending.committed(), Some(1));
    assert!(pending.is_empty());
}

#[test]
fn what_a_guest_said_of_itself_ages_too() {
    let mut pending = Pending::new("A");
    let said = |age| {
        let (vm, age) = (vm(1), Duration::from_secs(age));
        let reason = vmpulse_store::SuspendReason::Os;
        let (mac, version) = (String::new(), String::new());
        [
            HostMonitorWrite::PathOpened { vm, mac, version, authenticated: false, age },
            HostMonitorWrite::Suspended { vm, reason, age },
            HostMonitorWrite::Resumed { vm, age },
        ]
    };
    for write in said(3) {
        pending.append(Instant::ZERO, write);
    }
    assert_eq!(all(&mut pending, Instant::from_millis(40_000)), said(43));
}

#[test]
fn what_a_guest_said_of_its_silence_ages_too_and_the_last_word_of_a_kind_counts() {
    let (vm, reason) = (vm(1), "backup".to_owned());
    let said = |age, sequence| {
        let age = Duration::from_secs(age);
        let asked = Duration::from_secs(60);
        let ended = HostMonitorWrite::QuietEnded { vm, age };
        let over = HostMonitorWrite::QuietOver { vm, sequence, age };
        [HostMonitorWrite::QuietAsked { vm, asked, age, reason: reason.clone() }, ended, over]
    };
    let mut pending = Pending::new("A");
    said(0, 7).into_iter().chain(said(0, 8)).for_each(|write| assert!(push(&mut pending, 1, write)));
    assert_eq!(all(&mut pending, Instant::from_millis(3000)), said(2, 8));
}

#[test]
fn newer_edges_overtake_older_ones() {
    let mut pending = Pending::new("A");
    push(&mut pending, 1, missing(1, 19));
    pending.batch(Instant::ZERO, BATCH_MAXIMUM);
    for number in 2..100 {
        push(&mut pending, number, missing(1, 19));
        push(&mut pending, number, HostMonitorWrite::Heartbeat);
        push(&mut pending, number, detected(2));
    }
    assert_eq!(pending.len(), 3);
    pending.committed();
    let expected = [missing(1, 19), HostMonitorWrite::Heartbeat, detected(2)];
    assert_eq!(all(&mut pending, Instant::ZERO), expected);
    assert_eq!(pending.committed(), Some(99));
}

#[test]
fn doorbells_and_openings_of_a_vm_become_one_each() {
    let mut pending = Pending::new("A");
    let opened = |version: &str| HostMonitorWrite::PathOpened {
        vm: vm(1),
        mac: String::new(),
        version: version.to_owned(),
        authenticated: false,
        age: Duration::ZERO,
    };
    for (number, bits) in [2, 8, 32].into_iter().enumerate() {
        push(&mut pending, number as u64, rung(1, bits));
        push(&mut pending, number as u64, opened(&number.to_string()));
    }
    assert_eq!(all(&mut pending, Instant::ZERO), [rung(1, 42), opened("2")]);
    pending.failed();
    push(&mut pending, 9, rung(1, 1));
    push(&mut pending, 10, rung(1, 4));
    assert_eq!(
        all(&mut pending, Instant::ZERO),
        [rung(1, 42), opened("2"), rung(1, 5)],
        "the store may have the first one: it must not ring again"
    );
}

#[test]
fn edges_in_a_row_are_given_by_kind() {
    let mut pending = Pending::new("A");
    let resumed = HostMonitorWrite::Resumed { vm: vm(1), age: Duration::ZERO };
    let writes = [missing(1, 0), detected(2), missing(3, 0), resumed.clone(), missing(4, 0), detected(5)];
    for write in writes {
        pending.append(Instant::ZERO, write);
    }
    let given = [detected(2), missing(1, 0), missing(3, 0), resumed, detected(5), missing(4, 0)];
    assert_eq!(all(&mut pending, Instant::ZERO), given);
}

/// Whoever said what was overtaken is told when that is safe which overtook it.
#[test]
fn a_part_of_what_waits_makes_safe_only_what_is_in_it() {
    let mut pending = Pending::new("A");
    push(&mut pending, 1, rung(1, 2));
    push(&mut pending, 2, missing(2, 19));
    push(&mut pending, 3, missing(3, 19));
    push(&mut pending, 4, rung(1, 4));
    assert_eq!(pending.batch(Instant::ZERO, 1).unwrap().up_to, 0, "the first ring is in the last write");
    pending.committed();
    assert_eq!(pending.batch(Instant::ZERO, 2).unwrap().up_to, 4);
    pending.committed();
    push(&mut pending, 5, missing(2, 19));
    push(&mut pending, 6, missing(3, 19));
    assert_eq!(pending.batch(Instant::ZERO, 1).unwrap().up_to, 5);
}

#[test]
fn of_suspensions_and_their_ends_the_last_of_each_kind_stays_in_order() {
    let mut pending = Pending::new("A");
    let suspended = |reason| HostMonitorWrite::Suspended { vm: vm(1), reason, age: Duration::ZERO };
    use vmpulse_store::SuspendReason::{Administrator, Daemon, Os};
    let resumed = HostMonitorWrite::Resumed { vm: vm(1), age: Duration::ZERO };
    for _ in 0..1000 {
        for write in [suspended(Administrator), resumed.clone(), suspended(Daemon), suspended(Os)] {
            push(&mut pending, 1, write);
        }
    }
    assert_eq!(all(&mut pending, Instant::ZERO), [suspended(Administrator), resumed, suspended(Os)]);
}

#[test]
fn remarks_are_bounded_and_the_last_words_of_guests_are_refused_rather_than_dropped() {
    let mut pending = Pending::new("A");
    let remark = |kind: &str, number: u64| HostMonitorWrite::NodeEvent {
        kind: kind.to_owned(),
        text: number.to_string(),
    };
    for number in 0..3000 {
        assert!(push(&mut pending, number, remark("X", number)));
    }
    assert_eq!((pending.len(), pending.dropped()), (REMARKS_MAXIMUM, 2000));
    let taken = (0..3000).filter(|number| push(&mut pending, *number, remark(GUEST_DYING, *number))).count();
    assert_eq!((taken, pending.len()), (REMARKS_MAXIMUM, REMARKS_MAXIMUM));
    assert!(push(&mut pending, 1, rung(1, 1)), "others have their room");
}

#[test]
fn reports_are_bounded_together() {
    let mut pending = Pending::new("A");
    let report = |number: u32, bytes: usize| HostMonitorWrite::Report {
        vm: vm(number),
        message: 1,
        payload: vec![0; bytes],
    };
    let largest = 256 * 1024;
    let taken = (0..1000).filter(|number| push(&mut pending, 1, report(*number, largest))).count();
    assert_eq!(taken, REPORT_BYTES_MAXIMUM / largest);
    pending.batch(Instant::ZERO, usize::MAX);
    pending.committed();
    assert!(push(&mut pending, 2, report(1, largest)), "there is room again");
}

#[test]
fn earlier_starts_come_first_and_all_that_may_have_been_heard_of_are_named() {
    let mut pending = Pending::new("D");
    let left = vec![of("A", &[]), of("B", &[(7, missing(1, 10)), (9, detected(2))]), of("C", &[])];
    pending.load(Instant::from_millis(5000), left);
    push(&mut pending, 1, missing(3, 19));
    push(&mut pending, 2, detected(1));
    let batch = pending.batch(Instant::from_millis(5000), usize::MAX).unwrap();
    let own = of("D", &[(4, detected(1)), (3, missing(3, 23))]);
    assert_eq!(batch.starts, [of("B", &[(9, detected(2))]), of("C", &[]), own], "path 1 beats again");
    pending.committed();
    assert_eq!(pending.starts().collect::<Vec<_>>(), ["D"]);
}

#[test]
fn ten_thousand_paths_that_flap_for_a_day_take_no_more_than_for_a_minute() {
    let mut pending = Pending::new("A");
    for number in 0..500_000u64 {
        let path = u32::try_from(number % 10_000).unwrap();
        push(&mut pending, number, if number / 10_000 % 2 == 0 { missing(path, 19) } else { detected(path) });
    }
    assert_eq!(pending.len(), 10_000);
    assert_eq!(pending.newest.len(), 10_000);
}

fn any_write() -> impl Strategy<Value = HostMonitorWrite> {
    let path = 0..4u32;
    prop_oneof![
        path.clone().prop_map(|path| missing(path, 3)),
        path.clone().prop_map(detected),
        (path.clone(), 1..256u32).prop_map(|(path, bits)| rung(path, bits)),
        path.clone().prop_map(|path| HostMonitorWrite::Resumed { vm: vm(path), age: Duration::ZERO }),
        path.clone().prop_map(|path| HostMonitorWrite::PathOpened {
            vm: vm(path),
            mac: String::new(),
            version: String::new(),
            authenticated: false,
            age: Duration::ZERO,
        }),
        path.prop_map(|path| HostMonitorWrite::Report { vm: vm(path), message: 5, payload: vec![1, 2] }),
        Just(HostMonitorWrite::ModeChanged {
            mode: MonitorMode::Local,
            age: Duration::ZERO,
            text: String::new()
        }),
    ]
}

proptest! {
    /// Whatever is pushed, given, failed and committed: positions and keys agree, and bits are never lost.
    #[test]
    fn its_books_are_in_order(steps in proptest::collection::vec((any_write(), 0..4u8), 1..200)) {
        let mut pending = Pending::new("A");
        let (mut rung, mut seen) = ([0u32; 4], [0u32; 4]);
        for (number, (write, what)) in steps.into_iter().enumerate() {
            if let HostMonitorWrite::Doorbell { vm: of, bits } = &write {
                rung[(0..4).position(|path| vm(path) == *of).unwrap()] |= bits;
            }
            push(&mut pending, number as u64, write);
            if what > 1 {
                let given = all(&mut pending, Instant::ZERO);
                if what == 2 {
                    pending.failed();
                } else {
                    for write in given {
                        if let HostMonitorWrite::Doorbell { vm: of, bits } = write {
                            seen[(0..4).position(|path| vm(path) == of).unwrap()] |= bits;
                        }
                    }
                    pending.committed();
                }
            }
            for (key, position) in &pending.newest {
                prop_assert_eq!(pending.entries.get(position).and_then(|entry| entry.key), Some(*key));
            }
            let bytes: usize = pending.entries.values().map(|entry| report_bytes(&entry.write)).sum();
            prop_assert_eq!(pending.report_bytes, bytes);
            let remarks = pending.entries.values().filter(|entry| is_remark(&entry.write)).count();
            prop_assert_eq!(pending.remarks.len(), remarks);
        }
        for write in all(&mut pending, Instant::ZERO) {
            if let HostMonitorWrite::Doorbell { vm: of, bits } = write {
                seen[(0..4).position(|path| vm(path) == of).unwrap()] |= bits;
            }
        }
        prop_assert_eq!(rung, seen);
    }
}
