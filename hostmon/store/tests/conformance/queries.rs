use std::time::Duration;

use vmpulse_store::*;

use crate::bench::*;

fn told(kind: &str, text: &str) -> HostMonitorWrite {
    HostMonitorWrite::NodeEvent { kind: kind.into(), text: text.into() }
}

fn conflict(kind: ConflictKind, uuid: &str) -> HostMonitorWrite {
    let (mac, text) = ("02:00:00:00:00:99".into(), "it speaks HVNCP 9.0".into());
    HostMonitorWrite::Conflict { uuid: uuid.into(), mac, kind, text }
}

fn node_data(bench: &mut Bench) -> (Option<AttentionTag>, Vec<String>) {
    let data = bench.store.node_data(None, ANSWER_LIMIT).unwrap();
    (data.tag, data.events.into_iter().map(|event| event.text).collect())
}

pub(crate) fn node_events_are_reported_until_acknowledged(bench: &mut Bench) {
    bench.add_host(1);
    bench.start_monitor(31);
    assert_eq!(node_data(bench), (None, vec![]));
    bench.write(11, &[told("FORGERY", "one"), told("BLIND", "two")]);
    bench.pass(7);
    bench.write(31, &[told("FORGERY", "three")]);
    let data = bench.store.node_data(None, ANSWER_LIMIT).unwrap();
    assert_eq!((data.more, data.events.len()), (false, 3));
    let [one, _, three] = data.events.as_slice() else { panic!("three") };
    assert_eq!(
        (one.host_monitor, one.trunk.as_deref(), &one.host),
        (hm(11), Some("trunk11"), &Some(host(1)))
    );
    assert_eq!((one.kind.as_str(), one.text.as_str(), one.age), ("FORGERY", "one", seconds(7)));
    assert_eq!((three.host_monitor, &three.host), (hm(31), &None));
    assert!(bench.status(11).has_data && !bench.status(12).has_data);
    assert_eq!(
        bench.store.node_data(None, ANSWER_LIMIT).unwrap().tag,
        data.tag,
        "asking acknowledges nothing"
    );

    assert!(bench.store.acknowledge(data.tag.unwrap()).unwrap());
    assert_eq!(node_data(bench), (None, vec![]));
    assert!(!bench.status(11).has_data);
    assert!(bench.store.acknowledge(data.tag.unwrap()).unwrap(), "twice is no error");
    let wanted = NodeEventsWanted { limit: 100, ..NodeEventsWanted::default() };
    let history = bench.store.node_events(&wanted).unwrap();
    assert!(history.len() == 3 && history.iter().all(|event| event.acknowledged), "they can still be read");
    bench.write(11, &[told("BLIND", "four")]);
    let shown: Vec<_> =
        bench.store.node_events(&wanted).unwrap().iter().map(|event| event.acknowledged).collect();
    assert_eq!((shown, bench.status(11).has_data), (vec![true, true, true, false], true));
}

pub(crate) fn node_events_of_one_monitor_only(bench: &mut Bench) {
    bench.add_host(1);
    bench.write(11, &[told("BLIND", "one")]);
    bench.write(12, &[told("BLIND", "two")]);
    bench.write(11, &[told("SIGHTED", "three")]);
    let data = bench.store.node_data(Some(hm(11)), ANSWER_LIMIT).unwrap();
    let texts: Vec<_> = data.events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(texts, ["one", "three"]);
    assert!(bench.store.acknowledge(data.tag.unwrap()).unwrap());
    assert_eq!(node_data(bench).1, ["two"], "the other's are not acknowledged");
    assert!(matches!(
        bench.store.node_data(Some(hm(77)), ANSWER_LIMIT),
        Err(StoreError::UnknownHostMonitor(_))
    ));
}

pub(crate) fn what_happens_after_the_answer_is_not_acknowledged(bench: &mut Bench) {
    bench.add_host(1);
    let events: Vec<_> = (0..5).map(|n| told("BLIND", &n.to_string())).collect();
    bench.write(11, &events);
    let mut seen = Vec::new();
    loop {
        let data = bench.store.node_data(None, 2).unwrap();
        bench.write(12, &[told("SIGHTED", "meanwhile")]);
        seen.extend(data.events.into_iter().map(|event| event.text));
        assert!(bench.store.acknowledge(data.tag.unwrap()).unwrap());
        if seen.len() >= 6 {
            break;
        }
        assert!(data.more);
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4", "meanwhile"]);
    assert_eq!(node_data(bench).1, ["meanwhile", "meanwhile"]);
}

pub(crate) fn kinds_of_tags_do_not_clear_each_other(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[told("BLIND", "one"), conflict(ConflictKind::Uuid, "x"), doorbell(1, 2)]);
    bench.acknowledge();
    assert_eq!((bench.attention().len(), node_data(bench).1.len()), (0, 1), "it was reported to nobody");
    assert_eq!(bench.store.conflicts(ANSWER_LIMIT).unwrap().conflicts.len(), 1);
    bench.write(11, &[doorbell(1, 4), conflict(ConflictKind::Uuid, "y"), told("BLIND", "two")]);
    let (nodes, _) = node_data(bench);
    assert!(bench.store.acknowledge(nodes.unwrap()).unwrap());
    assert_eq!((bench.attention()[0].doorbell, node_data(bench).1.len()), (4, 0));
    let conflicts = bench.store.conflicts(ANSWER_LIMIT).unwrap();
    assert_eq!(conflicts.conflicts.len(), 2);
    assert!(bench.store.acknowledge(conflicts.tag.unwrap()).unwrap());
    assert_eq!((bench.attention()[0].doorbell, bench.store.conflicts(1).unwrap().tag), (4, None));
    // A tag of node events acknowledges no doorbell with a request, either.
    assert!(bench.store.message_put(vm(1), nodes).unwrap().is_some());
    assert_eq!(bench.attention()[0].doorbell, 4);
}

pub(crate) fn conflicts_are_reported_until_acknowledged(bench: &mut Bench) {
    bench.started();
    let known = vm(1).to_string();
    bench.write(12, &[conflict(ConflictKind::Uuid, &known.to_uppercase())]);
    bench.pass(3);
    bench.write(
        11,
        &[conflict(ConflictKind::Version, "no uuid'"), conflict(ConflictKind::Version, "no uuid'")],
    );
    let first = bench.store.conflicts(1).unwrap();
    assert!(first.more && first.conflicts.len() == 1);
    let conflict_of = &first.conflicts[0];
    assert_eq!((conflict_of.kind.as_str(), &conflict_of.uuid, conflict_of.age), ("UUID", &known, seconds(3)));
    assert_eq!((conflict_of.host_monitor, &conflict_of.host), (hm(12), &Some(host(1))));
    assert_eq!(conflict_of.mac, "02:00:00:00:00:99");
    assert!(bench.store.acknowledge(first.tag.unwrap()).unwrap());
    let second = bench.store.conflicts(ANSWER_LIMIT).unwrap();
    let shown: Vec<_> = second.conflicts.iter().map(|one| (one.kind.as_str(), one.uuid.as_str())).collect();
    assert_eq!((shown, second.more), (vec![("VERSION", "no uuid'")], false));
    assert!(bench.store.acknowledge(second.tag.unwrap()).unwrap());
    bench.write(11, &[conflict(ConflictKind::Version, "no uuid'")]);
    assert_eq!(bench.store.conflicts(ANSWER_LIMIT).unwrap().tag, None, "the same again is no news");
    let wanted = NodeEventsWanted { limit: 9, ..NodeEventsWanted::default() };
    assert_eq!(bench.store.node_events(&wanted).unwrap().len(), 2, "and it can still be read");
}

/// While a VM is moved it is heard on both hosts for a while; two guests with one UUID are heard on and on.
pub(crate) fn a_uuid_on_two_hosts_is_a_conflict(bench: &mut Bench) {
    let conflicts = |bench: &mut Bench| bench.store.conflicts(9).unwrap().conflicts;
    bench.started();
    bench.started_vm(1, 2);
    bench.add_host(2);
    bench.write(21, &[opened(1), detected(1), opened(2), detected(2)]);
    bench.pass_alive(60, &[11, 12, 21]);
    bench.write(11, &[missing(2, 19)]);
    bench.write(12, &[missing(2, 19)]);
    bench.pass_alive(69, &[11, 12, 21]);
    assert_eq!(conflicts(bench), [], "it may be moving");
    bench.pass_alive(2, &[11, 12, 21]);
    let found = conflicts(bench);
    assert_eq!(found.len(), 1, "the other VM has moved: {found:?}");
    let one = &found[0];
    assert_eq!((one.kind.as_str(), &one.uuid, one.host_monitor), ("UUID", &vm(1).to_string(), hm(21)));
    assert!(one.text.contains(&host(1).to_string()), "{}", one.text);
    bench.pass_alive(30, &[11, 12, 21]);
    assert_eq!(conflicts(bench).len(), 1, "recorded once");
}

fn of(vms: Vec<u32>) -> VmsWanted {
    let vms = vms.into_iter().map(vm).collect();
    VmsWanted { of: VmsOf::List(vms), after: None, limit: ANSWER_LIMIT }
}

fn detail(bench: &mut Bench, number: u32) -> VmDetail {
    bench.store.vms_page(&of(vec![number])).unwrap().vms.remove(0)
}

pub(crate) fn a_vm_with_all_that_is_known(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[doorbell(1, 0x28), missing(1, 19)]);
    let shown = detail(bench, 1);
    assert_eq!(shown.view, bench.vm(1), "the same as everywhere");
    assert_eq!((shown.doorbell, shown.fenced, shown.suspended_age), (0x28, false, None));
    assert_eq!(shown.state_age, seconds(60));
    assert_eq!(shown.paths.len(), 2);
    let [one, other] = shown.paths.as_slice() else { panic!("two") };
    assert_eq!((one.view.host_monitor, one.view.missed, one.beating), (hm(11), Some(seconds(19)), false));
    assert_eq!((other.view.host_monitor, other.view.missed, other.beating), (hm(12), None, true));
    assert!(one.counted && other.counted && one.awaited.is_none());
    bench.write(12, &[missing(1, 19)]);
    assert_eq!(detail(bench, 1).view.missed, bench.missed(1));
    bench.write(12, &[suspended(1, SuspendReason::Os)]);
    bench.pass(5);
    let shown = detail(bench, 1);
    assert_eq!((shown.view.suspended, shown.suspended_age), (Some(SuspendReason::Os), Some(seconds(5))));
}

pub(crate) fn how_a_path_is_spoken_on(bench: &mut Bench) {
    let opened_as = |authenticated| HostMonitorWrite::PathOpened {
        vm: vm(1),
        mac: "02:00:00:00:00:01".into(),
        version: "2.1".into(),
        authenticated,
        age: Duration::ZERO,
    };
    let guardian = |guardian| HostMonitorWrite::PathGuardian { vm: vm(1), guardian };
    let spoken = |bench: &mut Bench| {
        let path = detail(bench, 1).paths.remove(0);
        (path.authenticated, path.guardian)
    };
    bench.started();
    assert_eq!(spoken(bench), (false, false));
    bench.write(11, &[opened_as(true)]);
    assert_eq!(spoken(bench), (true, false));
    bench.write(11, &[guardian(true), guardian(true)]);
    assert_eq!(spoken(bench), (true, true));
    assert!(!detail(bench, 1).paths[1].guardian, "the other path");
    bench.write(11, &[guardian(false)]);
    assert_eq!(spoken(bench), (true, false));
    bench.write(11, &[guardian(true), opened_as(false)]);
    assert_eq!(spoken(bench), (false, false), "whoever shakes hands is the agent");
    bench.started_vm(1, 2);
    bench.write(11, &[opened_as(true), opened(2)]);
    assert_eq!(spoken(bench), (true, false), "many at once");
    bench.write(11, &[HostMonitorWrite::PathGuardian { vm: vm(9), guardian: true }]);
}

pub(crate) fn vms_come_page_by_page(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    for number in [5, 3, 1, 4] {
        bench.add_vm(1, number);
    }
    bench.add_vm(2, 2);
    let numbers = |page: &VmPage| page.vms.iter().map(|one| one.view.uuid).collect::<Vec<_>>();
    let mut wanted = VmsWanted { of: VmsOf::All, after: None, limit: 2 };
    let mut pages = Vec::new();
    loop {
        let page = bench.store.vms_page(&wanted).unwrap();
        pages.push(numbers(&page));
        wanted.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![vm(1), vm(2)], vec![vm(3), vm(4)], vec![vm(5)]]);
    let of_host = VmsWanted { of: VmsOf::Host(host(1)), after: Some(vm(1)), limit: u32::MAX };
    assert_eq!(numbers(&bench.store.vms_page(&of_host).unwrap()), [vm(3), vm(4), vm(5)]);
    let nowhere = VmsWanted { of: VmsOf::Host(host(7)), ..wanted.clone() };
    assert!(matches!(bench.store.vms_page(&nowhere), Err(StoreError::UnknownHost(_))));

    let list = bench.store.vms_page(&of(vec![9, 4, 2, 4, 8])).unwrap();
    assert_eq!((numbers(&list), list.unknown, list.next), (vec![vm(2), vm(4)], vec![vm(8), vm(9)], None));
    let first = bench.store.vms_page(&VmsWanted { limit: 2, ..of(vec![9, 4, 2, 1, 8]) }).unwrap();
    assert_eq!((numbers(&first), &first.unknown, first.next), (vec![vm(1), vm(2)], &vec![], Some(vm(2))));
    let rest = VmsWanted { after: first.next, ..of(vec![9, 4, 2, 1, 8]) };
    let rest = bench.store.vms_page(&rest).unwrap();
    assert_eq!((numbers(&rest), rest.unknown), (vec![vm(4)], vec![vm(8), vm(9)]));
}

pub(crate) fn which_host_has_a_vm(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    for (host, number) in [(2, 1), (1, 4), (1, 2)] {
        bench.add_vm(host, number);
    }
    bench.write(21, &[opened(4)]);
    let homes = bench.store.vm_homes(&[vm(4), vm(1), vm(9), vm(2), vm(4)]).unwrap();
    let shown: Vec<_> = homes.into_iter().map(|home| (home.host, home.vm, home.state)).collect();
    let added = VmState::Added;
    assert_eq!(shown, [(host(1), vm(2), added), (host(1), vm(4), added), (host(2), vm(1), added)]);
    assert_eq!(bench.store.vm_homes(&[]).unwrap(), []);
}
