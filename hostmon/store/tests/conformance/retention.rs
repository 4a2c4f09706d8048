//! What is kept for how long.

use vmpulse_store::*;

use crate::bench::*;

const DAY_S: u64 = 86_400;

/// Of one kind only, and nothing else is ever old.
fn only(set: fn(&mut Retention)) -> Retention {
    let ever = seconds(3650 * DAY_S);
    let mut keep = Retention {
        events: ever,
        node_events: ever,
        conflicts: ever,
        discoveries: ever,
        removed_vms: ever,
        exchanges: ever,
        unregistered_monitors: ever,
    };
    set(&mut keep);
    keep
}

fn pruned(bench: &mut Bench, keep: &Retention) -> u32 {
    let pruned = bench.store.prune(keep, PRUNE_MAXIMUM).unwrap();
    assert!(!pruned.more);
    pruned.rows
}

pub(crate) fn old_events_go_and_open_incidents_stay(bench: &mut Bench) {
    let keep = only(|keep| keep.events = seconds(DAY_S));
    let event = |number: u32| NewEvent {
        incident: format!("incident{number}"),
        name: "HM_FAILURE".into(),
        severity: Severity::Warning,
        entity: "VIOS".into(),
        resource: "r".into(),
        description: "d".into(),
    };
    for number in 0..10 {
        bench.store.event_append(&event(number)).unwrap();
    }
    for number in 1..10 {
        bench.store.incident_close(&event(number).incident).unwrap();
    }
    bench.pass(DAY_S);
    assert_eq!(pruned(bench, &keep), 0, "not old enough");
    bench.store.event_append(&event(77)).unwrap();
    bench.store.incident_close(&event(77).incident).unwrap();
    bench.pass(1);
    let few = bench.store.prune(&keep, 4).unwrap();
    assert_eq!(few, Pruned { rows: 4, more: true }, "in small steps");
    assert_eq!(pruned(bench, &keep), 5);
    let left: Vec<_> = bench.store.events(100).unwrap().into_iter().map(|e| e.event.incident).collect();
    assert_eq!(left, ["incident0", "incident77"]);
}

pub(crate) fn old_node_events_and_conflicts_go(bench: &mut Bench) {
    bench.add_host(1);
    let conflict = |n: u32| HostMonitorWrite::Conflict {
        uuid: vm(n).to_string(),
        mac: "02:00:00:00:00:01".into(),
        kind: ConflictKind::Uuid,
        text: "two".into(),
    };
    let event = |text: &str| HostMonitorWrite::NodeEvent { kind: "ADAPTER_DOWN".into(), text: text.into() };
    bench.write(11, &[conflict(1), event("old")]);
    bench.pass(DAY_S + 1);
    bench.write(11, &[conflict(2), event("new")]);
    assert_eq!(pruned(bench, &only(|keep| keep.node_events = seconds(DAY_S))), 1);
    assert_eq!(pruned(bench, &only(|keep| keep.conflicts = seconds(DAY_S))), 1);
    let wanted = NodeEventsWanted { limit: 100, ..NodeEventsWanted::default() };
    let left = bench.store.node_events(&wanted).unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|event| event.text == "new" || event.text.contains("two")), "{left:?}");
}

pub(crate) fn discoveries_go_once_they_were_acknowledged(bench: &mut Bench) {
    bench.add_host(1);
    let keep = only(|keep| keep.discoveries = seconds(DAY_S));
    bench.write(11, &[stranger(&vm(8).to_string(), Discovery::Unmanaged)]);
    bench.pass(2 * DAY_S);
    assert_eq!((pruned(bench, &keep), bench.attention().len()), (0, 1), "nobody has seen it yet");
    bench.acknowledge();
    assert_eq!(pruned(bench, &keep), 1);
    bench.write(11, &[stranger(&vm(8).to_string(), Discovery::Unmanaged)]);
    assert_eq!(bench.attention().len(), 1, "it is news again");
}

pub(crate) fn working_data_goes_and_reports_wait(bench: &mut Bench) {
    bench.started();
    let keep = only(|keep| keep.exchanges = seconds(DAY_S));
    let message = bench.store.report_request(vm(1), None).unwrap().unwrap();
    let hour = seconds(3600);
    let quiet =
        HostMonitorWrite::QuietAsked { vm: vm(1), asked: hour, age: seconds(0), reason: "backup".into() };
    bench.write(11, &[quiet]);
    for _ in 0..2 {
        for news in bench.store.quiet_news().unwrap() {
            bench.store.quiet_tell(&news, &quiet_event()).unwrap();
        }
        bench.write(11, &[HostMonitorWrite::QuietEnded { vm: vm(1), age: seconds(0) }]);
    }
    bench.pass(DAY_S - 1);
    assert_eq!(pruned(bench, &keep), 0);
    bench.pass(2);
    // The request, the exchange, the announced silence.
    assert_eq!(pruned(bench, &keep), 3);
    assert_eq!((bench.store.reports_pending().unwrap(), bench.requests(11)), (vec![], vec![]));

    bench.pass_alive(1, &[11, 12]);
    let again = bench.store.report_request(vm(1), None).unwrap().unwrap();
    assert_ne!(again, message);
    bench.write(11, &[HostMonitorWrite::Report { vm: vm(1), message: again, payload: b"<x/>".to_vec() }]);
    bench.pass(10 * DAY_S);
    pruned(bench, &keep);
    assert_eq!(bench.store.reports_arrived().unwrap().len(), 1, "the guest was told that it is kept");
}

pub(crate) fn requests_that_go_are_given_up(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    let tags = bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[HostMonitorWrite::RequestDone { tag: tags[0] }]);
    bench.pass(DAY_S + 1);
    assert_eq!(pruned(bench, &only(|keep| keep.exchanges = seconds(DAY_S))), 1);
    let wanted = TransactionsWanted { tags, limit: 9, ..TransactionsWanted::default() };
    let kept = bench.store.transactions(&wanted).unwrap();
    let states: Vec<_> = kept.iter().map(|one| one.state).collect();
    assert_eq!(states, [TransactionState::Done, TransactionState::GivenUp]);
    assert!(kept.iter().all(|one| one.settled_at.is_some()));
}

fn quiet_event() -> NewEvent {
    NewEvent {
        incident: "quiet".into(),
        name: "QUIET".into(),
        severity: Severity::Informational,
        entity: "VM".into(),
        resource: "r".into(),
        description: "d".into(),
    }
}

pub(crate) fn unregistered_monitors_go_and_registered_ones_stay(bench: &mut Bench) {
    bench.add_host(1);
    for number in [71, 72] {
        bench.start_monitor(number);
    }
    bench.write(71, &[HostMonitorWrite::NodeEvent { kind: "X".into(), text: "y".into() }]);
    bench.pass(DAY_S + 1);
    bench.write(72, &[HostMonitorWrite::Heartbeat]);
    let keep = only(|keep| keep.unregistered_monitors = seconds(DAY_S));
    assert_eq!(pruned(bench, &keep), 1);
    let left: Vec<_> = bench.store.host_monitors_unassigned().unwrap().iter().map(|hm| hm.id).collect();
    assert_eq!((left, bench.store.quick_query().unwrap().hosts.len()), (vec![hm(72)], 1));
}
