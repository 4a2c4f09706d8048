use std::time::Duration;

use vmpulse_store::*;

use crate::bench::*;

fn list(numbers: &[u32]) -> Vec<VmList> {
    vec![VmList { host: None, vms: numbers.iter().map(|number| vm(*number)).collect() }]
}

fn listed_on(on_host: u32, number: u32) -> Vec<VmList> {
    vec![VmList { host: Some(host(on_host)), vms: vec![vm(number)] }]
}

fn done(tag: TransactionTag) -> HostMonitorWrite {
    HostMonitorWrite::RequestDone { tag }
}

fn states(bench: &mut Bench, tags: &[TransactionTag]) -> Vec<TransactionState> {
    let wanted = TransactionsWanted { tags: tags.to_vec(), limit: 100, ..TransactionsWanted::default() };
    bench.store.transactions(&wanted).unwrap().into_iter().map(|one| one.state).collect()
}

fn changed(bench: &mut Bench, number: u32) -> bool {
    let uuid = vm(number).to_string();
    bench.attention().into_iter().any(|entry| entry.uuid == uuid && entry.state_changed)
}

pub(crate) fn stopped_when_every_monitor_has_answered(bench: &mut Bench) {
    bench.started();
    let tags = bench.store.vms_stop(&list(&[1])).unwrap();
    assert_eq!(tags.len(), 2, "one per host monitor");
    assert_eq!((bench.vm(1).state, changed(bench, 1)), (VmState::Stopping, true));
    let (one, other) = (bench.requests(11), bench.requests(12));
    assert_eq!([one[0].tag, other[0].tag].as_slice(), tags);
    assert_eq!(one[0].what, RequestKind::Reconsider(vm(1)));
    assert_eq!(bench.store.roster(hm(11)).unwrap().vms[0].state, VmState::Stopping);
    bench.write(11, &[done(tags[1]), done(tags[0])]);
    assert_eq!(bench.vm(1).state, VmState::Stopping, "host monitor 12 did not answer yet");
    bench.acknowledge();
    bench.write(12, &[done(tags[1])]);
    assert_eq!((bench.vm(1).state, changed(bench, 1)), (VmState::Stopped, true));
    assert_eq!(bench.store.vms_start(&[vm(1)]).unwrap().len(), 2, "and it can be started again");
    assert_eq!(bench.vm(1).state, VmState::Starting);
}

pub(crate) fn a_stopped_vm_is_of_no_account(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    bench.write(12, &[missing(1, 19)]);
    assert!(bench.missed(1).is_some());
    let tags = bench.store.vms_stop(&list(&[1])).unwrap();
    let nothing = |bench: &mut Bench| {
        assert_eq!((bench.missed(1), bench.vm(1).paths.len()), (None, 0));
        let roster = bench.store.roster(hm(11)).unwrap();
        assert_eq!((roster.vms[0].path.clone(), roster.visiting.len()), (None, 0));
    };
    nothing(bench);
    // What was on its way.
    bench.write(11, &[missing(1, 25), detected(1), suspended(1, SuspendReason::Os)]);
    nothing(bench);
    assert_eq!(bench.vm(1).state, VmState::Stopping);
    bench.write(11, &[done(tags[0]), HostMonitorWrite::PathForgotten { vm: vm(1) }]);
    bench.write(12, &[done(tags[1]), opened(1), detected(1), missing(1, 60)]);
    assert_eq!(bench.vm(1).state, VmState::Stopped);
    nothing(bench);
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
}

pub(crate) fn a_monitor_that_does_not_live_is_not_waited_for(bench: &mut Bench) {
    bench.started();
    let down = HostMonitorWrite::NodeChanged {
        state: NodeState::Down,
        reason: REASON_NODE_SHUTDOWN,
        mode: MonitorMode::Down,
    };
    bench.write(12, &[down]);
    let tags = bench.store.vms_stop(&list(&[1])).unwrap();
    assert_eq!(bench.vm(1).state, VmState::Stopping, "host monitor 11 lives");
    bench.write(11, &[done(tags[0])]);
    assert_eq!(bench.vm(1).state, VmState::Stopped);
    assert_eq!(states(bench, &tags), [TransactionState::Done, TransactionState::GivenUp]);
    assert_eq!(bench.requests(12), [], "it learns by its roster");

    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.pass(75);
    assert_eq!(bench.store.vms_stop(&list(&[1])).unwrap().len(), 2);
    assert_eq!(bench.vm(1).state, VmState::Stopped, "nobody lives");
}

pub(crate) fn a_monitor_that_dies_meanwhile_is_not_waited_for(bench: &mut Bench) {
    bench.started();
    let tags = bench.store.vms_stop(&list(&[1])).unwrap();
    bench.write(11, &[done(tags[0])]);
    bench.pass_alive(60, &[11]);
    assert_eq!(bench.vm(1).state, VmState::Stopping, "host monitor 12 is silent for 60 s of 75");
    bench.pass_alive(15, &[11]);
    assert_eq!(bench.vm(1).state, VmState::Stopped);

    // Where no host monitor is left a controller's sign of life will do.
    bench.start_monitor(12);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.store.vms_stop(&list(&[1])).unwrap();
    bench.pass(75);
    assert_eq!(bench.vm(1).state, VmState::Stopping);
    let name = "ctl".to_owned();
    let heartbeat = ControllerHeartbeat { name, pid: 1, version: "1".into(), poll_interval_ms: 1000 };
    bench.store.controller_heartbeat(&heartbeat).unwrap();
    assert_eq!(bench.vm(1).state, VmState::Stopped);
}

pub(crate) fn nobody_is_waited_for_longer_than_ten_minutes(bench: &mut Bench) {
    bench.started();
    let tags = bench.store.vms_stop(&list(&[1])).unwrap();
    for _ in 0..10 {
        bench.pass_alive(60, &[11, 12]);
    }
    assert_eq!(bench.vm(1).state, VmState::Stopping, "both live, and do not answer");
    bench.pass_alive(1, &[11]);
    assert_eq!(bench.vm(1).state, VmState::Stopped);
    assert_eq!(states(bench, &tags), [TransactionState::GivenUp; 2]);
    bench.write(11, &[done(tags[0])]);
    assert_eq!(states(bench, &tags), [TransactionState::GivenUp; 2], "a late answer changes nothing");
}

pub(crate) fn stopping_what_is_not_monitored_does_nothing(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    let stop = |bench: &mut Bench| bench.store.vms_stop(&list(&[1])).unwrap().len();
    assert_eq!((stop(bench), bench.vm(1).state), (0, VmState::Added));
    bench.store.vms_start(&[vm(1)]).unwrap();
    assert_eq!((stop(bench), stop(bench)), (2, 0), "STOPPING already");
    bench.pass(75);
    bench.write(11, &[HostMonitorWrite::Heartbeat]);
    bench.pass(75);
    bench.write(12, &[HostMonitorWrite::Heartbeat]);
    for request in bench.requests(12) {
        bench.write(12, &[done(request.tag)]);
    }
    let since = bench.vm(1).state_changed_at;
    assert_eq!((stop(bench), bench.vm(1).state), (0, VmState::Stopped));
    assert_eq!(bench.vm(1).state_changed_at, since);
}

pub(crate) fn stopping_is_all_or_none(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    let refused = bench.store.vms_stop(&list(&[1, 9])).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownVm(unknown) if unknown == vm(9)), "{refused}");
    let refused = bench.store.vms_stop(&[list(&[1]), listed_on(2, 1)].concat()).unwrap_err();
    assert!(matches!(refused, StoreError::Elsewhere { vm: other, .. } if other == vm(1)), "{refused}");
    let refused = bench.store.vms_start_listed(&listed_on(2, 1)).unwrap_err();
    assert!(matches!(refused, StoreError::Elsewhere { .. }), "{refused}");
    let refused = bench.store.vms_remove(&listed_on(2, 1)).unwrap_err();
    assert!(matches!(refused, StoreError::Elsewhere { .. }), "{refused}");
    assert_eq!((bench.vm(1).state, bench.requests(11)), (VmState::Started, vec![]));
    assert_eq!(bench.store.vms_stop(&listed_on(1, 1)).unwrap().len(), 2);
}

pub(crate) fn stopping_ends_a_suspension(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspended(1, SuspendReason::Administrator), suspended(1, SuspendReason::Os)]);
    let tags = bench.store.vms_stop(&list(&[1])).unwrap();
    bench
        .write(11, &[done(tags[0]), HostMonitorWrite::Resumed { vm: vm(1), age: Duration::ZERO }, opened(1)]);
    bench.write(12, &[done(tags[1])]);
    let view = bench.vm(1);
    assert_eq!((view.state, view.suspended), (VmState::Stopped, None));
    assert_eq!(bench.store.vms_start(&[vm(1)]).unwrap().len(), 2);
    bench.write(11, &[opened(1), detected(1)]);
    bench.write(12, &[detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
}

pub(crate) fn a_start_takes_the_place_of_a_stop(bench: &mut Bench) {
    bench.started();
    let stops = bench.store.vms_stop(&list(&[1])).unwrap();
    bench.write(11, &[done(stops[0])]);
    let starts = bench.store.vms_start(&[vm(1)]).unwrap();
    assert_eq!((bench.vm(1).state, starts.len()), (VmState::Starting, 2));
    assert_eq!(states(bench, &stops), [TransactionState::Done, TransactionState::Replaced]);
    bench.write(12, &[done(stops[1])]);
    assert_eq!(bench.vm(1).state, VmState::Starting, "a late answer to the stop");
    assert_eq!(bench.requests(12).iter().map(|request| request.tag).collect::<Vec<_>>(), [starts[1]]);
    bench.write(11, &[done(starts[0]), detected(1)]);
    bench.write(12, &[done(starts[1]), detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
    assert_eq!(states(bench, &starts), [TransactionState::Done; 2]);
}

pub(crate) fn transactions_are_seen_from_asked_to_done(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.add_vm(1, 2);
    let tags = bench.store.vms_start(&[vm(1), vm(2)]).unwrap();
    let asked_at = bench.store.now().unwrap();
    bench.pass(3);
    bench.write(12, &[done(tags[1])]);
    let of = |bench: &mut Bench, open, number: Option<u32>| {
        let wanted =
            TransactionsWanted { vm: number.map(vm), open, limit: 100, ..TransactionsWanted::default() };
        bench.store.transactions(&wanted).unwrap()
    };
    let all = of(bench, false, None);
    assert_eq!(all.iter().map(|one| one.tag).collect::<Vec<_>>(), tags, "oldest first");
    let mut expected = Transaction {
        tag: tags[0],
        action: TransactionAction::Start,
        vm: vm(1),
        host_monitor: hm(11),
        state: TransactionState::Asked,
        asked_at,
        settled_at: None,
    };
    assert_eq!(all[0], expected);
    (expected.tag, expected.host_monitor) = (tags[1], hm(12));
    (expected.state, expected.settled_at) = (TransactionState::Done, Some(bench.store.now().unwrap()));
    assert_eq!(all[1], expected);
    assert_eq!((of(bench, true, None).len(), of(bench, false, Some(2)).len()), (3, 2));
    assert_eq!(states(bench, &tags[..1]), [TransactionState::Asked]);
    bench.pass(601);
    bench.store.vms_stop(&list(&[2])).unwrap();
    assert_eq!(states(bench, &tags[..1]), [TransactionState::GivenUp], "older than 10 minutes");
}

/// A host monitor that came later, or an adapter that the VM never had, holds nothing up.
pub(crate) fn started_again_when_the_verified_paths_beat(bench: &mut Bench) {
    bench.started();
    let third = HostMonitorRegistration { id: hm(13), part_number: 3, mac: None };
    bench.store.hosts_add(&[HostRegistration { key: host(1), host_monitors: vec![third] }]).unwrap();
    bench.start_monitor(13);
    let restart = |bench: &mut Bench| {
        bench.store.vms_stop(&list(&[1])).unwrap();
        bench.store.vms_start(&[vm(1)]).unwrap();
    };
    restart(bench);
    bench.write(11, &[detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Starting, "its other verified path does not beat yet");
    bench.write(12, &[detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
    bench.write(13, &[opened(1), detected(1)]);
    restart(bench);
    bench.write(11, &[detected(1)]);
    bench.write(12, &[detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Starting, "it has three verified ones now");
    bench.write(13, &[detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
}

/// Every order of starts, stops, removals, answers and restarts of a host monitor, by a small generator: states and rows
/// fit together after each, and when all have answered nothing is left under way.
pub(crate) fn a_storm_leaves_nothing_half_done(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    let mut seed: u64 = 1;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..300 {
        let number = u32::try_from(next(4)).unwrap() + 1;
        let on_host = 1 + number % 2;
        let twice = list(&[number, number]);
        // Unknown VMs and VMs of other hosts are among them: refusals are part of the storm.
        match next(9) {
            0 => {
                drop(bench.store.vms_add(&host(on_host), &[VmRegistration { uuid: vm(number), name: None }]))
            }
            1 => drop(
                bench.store.vms_add(&host(3 - on_host), &[VmRegistration { uuid: vm(number), name: None }]),
            ),
            2 => drop(bench.store.vms_start_listed(&twice)),
            3 => drop(bench.store.vms_start_listed(&listed_on(on_host, number))),
            4 => drop(bench.store.vms_stop(&twice)),
            5 => drop(bench.store.vms_remove(&[list(&[number, 99]), twice].concat())),
            6 => bench.start_monitor(10 * on_host + 1),
            _ => answer_some(bench, 10 * on_host + 1 + u32::try_from(next(2)).unwrap(), number),
        }
        fits_together(bench);
    }
    for _ in 0..4 {
        for host_monitor in [11, 12, 21, 22] {
            for request in bench.requests(host_monitor) {
                bench.write(host_monitor, &[done(request.tag)]);
            }
        }
    }
    let open = TransactionsWanted { open: true, limit: 1000, ..TransactionsWanted::default() };
    assert_eq!(bench.store.transactions(&open).unwrap(), []);
    for view in bench.store.vms().unwrap() {
        assert!(!matches!(view.state, VmState::Stopping | VmState::Removing), "{view:?}");
    }
}

/// A host monitor works: it carries its first request out, and says what it hears.
fn answer_some(bench: &mut Bench, host_monitor: u32, number: u32) {
    if let Some(request) = bench.requests(host_monitor).first() {
        bench.write(host_monitor, &[done(request.tag)]);
    }
    bench.write(host_monitor, &[opened(number), detected(number), HostMonitorWrite::Heartbeat]);
}

fn fits_together(bench: &mut Bench) {
    let wanted = TransactionsWanted { open: true, limit: 1000, ..TransactionsWanted::default() };
    let open = bench.store.transactions(&wanted).unwrap();
    let requests: Vec<_> = [11, 12, 21, 22].iter().flat_map(|monitor| bench.requests(*monitor)).collect();
    let mut tags: Vec<_> = requests.iter().map(|request| request.tag).collect();
    tags.sort_unstable();
    assert_eq!(open.iter().map(|one| one.tag).collect::<Vec<_>>(), tags, "every request has its progress");
    for view in bench.store.vms().unwrap() {
        let waits = open.iter().any(|one| one.vm == view.uuid);
        match view.state {
            VmState::Stopping | VmState::Removing => assert!(waits, "{view:?}"),
            VmState::Added | VmState::Stopped => assert!(!waits, "{view:?}"),
            VmState::Starting | VmState::Started | VmState::Suspended | VmState::Unknown => continue,
        }
        assert_eq!(view.paths, [], "stale paths of {view:?}");
    }
}
