use std::time::Duration;

use vmpulse_store::*;

use crate::bench::*;

fn list(numbers: &[u32]) -> Vec<VmList> {
    vec![VmList { host: None, vms: numbers.iter().map(|number| vm(*number)).collect() }]
}

fn done(tag: TransactionTag) -> HostMonitorWrite {
    HostMonitorWrite::RequestDone { tag }
}

fn is_there(bench: &mut Bench, number: u32) -> bool {
    bench.store.vms().unwrap().iter().any(|view| view.uuid == vm(number))
}

fn discovered(bench: &mut Bench) -> Vec<(String, Option<Discovery>)> {
    bench.attention().into_iter().map(|entry| (entry.uuid, entry.discovery)).collect()
}

fn unmanaged(number: u32) -> HostMonitorWrite {
    stranger(&vm(number).to_string(), Discovery::Unmanaged)
}

pub(crate) fn an_unmonitored_vm_goes_at_once(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    let removed = bench.store.vms_remove(&list(&[1, 9, 9])).unwrap();
    assert_eq!(removed, VmsRemoved { transactions: vec![], unknown: vec![vm(9)] });
    assert!(!is_there(bench, 1));
    assert_eq!(bench.store.vms_remove(&list(&[1])).unwrap().unknown, [vm(1)], "twice");
    assert!(bench.store.vms_start(&[vm(1)]).is_err());
}

pub(crate) fn a_monitored_vm_is_removing_until_its_monitors_answer(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[doorbell(1, 8)]);
    let tags = bench.store.vms_remove(&list(&[1])).unwrap().transactions;
    assert_eq!((bench.vm(1).state, tags.len()), (VmState::Removing, 2));
    assert_eq!(
        bench.store.roster(hm(12)).unwrap().vms[0].state,
        VmState::Removing,
        "it is to be told to stop"
    );
    assert_eq!((bench.missed(1), bench.vm(1).paths.len()), (None, 0));
    assert_eq!(bench.store.vms_remove(&list(&[1])).unwrap(), VmsRemoved::default(), "being removed");
    assert_eq!(bench.store.vms_stop(&list(&[1])).unwrap(), Vec::<TransactionTag>::new());
    let refused = bench.store.vms_start(&[vm(1)]).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownVm(_)), "{refused}");
    bench.write(11, &[done(tags[0])]);
    assert!(is_there(bench, 1));
    bench.write(12, &[done(tags[1])]);
    assert!(!is_there(bench, 1));
    assert_eq!(bench.attention(), [], "and nothing of it is left to be seen to");
    let wanted = TransactionsWanted { tags, limit: 9, ..TransactionsWanted::default() };
    let kept = bench.store.transactions(&wanted).unwrap();
    assert!(kept.len() == 2 && kept.iter().all(|one| one.state == TransactionState::Done), "{kept:?}");
}

pub(crate) fn a_removed_vm_does_not_come_back(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    let tags = bench.store.vms_remove(&list(&[1])).unwrap().transactions;
    bench.write(11, &[done(tags[0])]);
    bench.write(12, &[done(tags[1])]);
    let late = [opened(1), detected(1), missing(1, 20), doorbell(1, 8), suspended(1, SuspendReason::Os)];
    for host_monitor in [11, 12, 21] {
        bench.write(host_monitor, &late);
        bench.write(
            host_monitor,
            &[unmanaged(1), HostMonitorWrite::Resumed { vm: vm(1), age: Duration::ZERO }],
        );
    }
    // Many at once take another way.
    bench.write(12, &[opened(1), opened(1), detected(1), detected(1), missing(1, 1), missing(1, 2)]);
    assert!(!is_there(bench, 1));
    assert_eq!(discovered(bench), [], "its tombstone lives");
    bench.write(11, &[unmanaged(2)]);
    assert_eq!(discovered(bench), [(vm(2).to_string(), Some(Discovery::Unmanaged))], "others are told of");
}

pub(crate) fn adding_lifts_the_tombstone(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_remove(&list(&[1])).unwrap();
    bench.add_vm(1, 1);
    assert_eq!(bench.vm(1).state, VmState::Added);
    assert_eq!(expire(bench, 0), 0);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[opened(1), detected(1)]);
    bench.write(12, &[opened(1), detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
}

pub(crate) fn adding_a_vm_that_is_removing_begins_anew(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    let tags = bench.store.vms_remove(&list(&[1])).unwrap().transactions;
    bench.write(11, &[done(tags[0])]);
    bench.add_vm(2, 1);
    let view = bench.vm(1);
    assert_eq!((view.state, view.host, view.agent_seen_at), (VmState::Added, host(2), None));
    bench.write(12, &[done(tags[1])]);
    assert_eq!(bench.vm(1).state, VmState::Added, "a late answer removes nothing");
    assert_eq!((bench.requests(11), bench.requests(12)), (vec![], vec![]));
}

/// Returns how many tombstones went that are older than so many seconds.
fn expire(bench: &mut Bench, kept_s: u64) -> u32 {
    let keep = Retention { removed_vms: seconds(kept_s), ..Retention::default() };
    bench.store.prune(&keep, PRUNE_MAXIMUM).unwrap().rows
}

pub(crate) fn tombstones_expire(bench: &mut Bench) {
    let kept_s = 7 * 24 * 3600;
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.add_vm(1, 2);
    bench.store.vms_remove(&list(&[1])).unwrap();
    bench.pass(kept_s);
    bench.store.vms_remove(&list(&[2])).unwrap();
    assert_eq!(expire(bench, kept_s), 0, "not older");
    bench.pass(1);
    assert_eq!(expire(bench, kept_s), 1);
    bench.write(11, &[unmanaged(1), unmanaged(2)]);
    assert_eq!(discovered(bench), [(vm(1).to_string(), Some(Discovery::Unmanaged))]);
}

pub(crate) fn removed_monitors_are_ignored_until_they_are_registered_again(bench: &mut Bench) {
    bench.started();
    assert_eq!(bench.store.host_monitors_remove(&[hm(12), hm(99)]).unwrap(), [hm(99)]);
    assert_eq!(bench.status(12).state, NodeState::Removed);
    assert_eq!(bench.vm(1).paths.len(), 1, "its paths went with it");
    let roster = bench.store.roster(hm(12)).unwrap();
    assert!(roster.removed && roster.vms.is_empty() && roster.visiting.is_empty());
    // It runs on, and is started anew.
    for _ in 0..2 {
        let up = HostMonitorWrite::NodeChanged { state: NodeState::Up, reason: 0, mode: MonitorMode::Global };
        bench.write(
            12,
            &[opened(1), detected(1), missing(1, 60), unmanaged(2), up, HostMonitorWrite::Heartbeat],
        );
        bench
            .write(12, &[opened(1), opened(1), suspended(1, SuspendReason::Os), heard(true), doorbell(1, 1)]);
        let (view, status) = (bench.vm(1), bench.status(12));
        assert_eq!((view.state, view.paths.len()), (VmState::Started, 1));
        assert_eq!(
            (status.state, status.mode, status.responsive),
            (NodeState::Removed, MonitorMode::Down, true)
        );
        assert_eq!(bench.attention(), []);
        bench.pass_alive(30, &[11]);
        bench.start_monitor(12);
    }
    let told =
        bench.store.node_events(&NodeEventsWanted { limit: 99, ..NodeEventsWanted::default() }).unwrap();
    assert_eq!(told.iter().filter(|event| event.kind == "REMOVED").count(), 1);

    let again = HostMonitorRegistration { id: hm(12), part_number: 2, mac: None };
    let registration = HostRegistration { key: host(1), host_monitors: vec![again] };
    bench.store.host_monitors_add(&[registration]).unwrap();
    assert_eq!(bench.status(12).state, NodeState::Down, "until it says that it runs");
    assert!(!bench.store.roster(hm(12)).unwrap().removed);
    bench.start_monitor(12);
    bench.write(12, &[opened(1), detected(1)]);
    assert_eq!((bench.status(12).state, bench.vm(1).paths.len()), (NodeState::Up, 2));
}

/// By this a host monitor knows that it has to say its start again.
pub(crate) fn a_monitor_that_is_registered_again_is_down_with_its_start(bench: &mut Bench) {
    bench.add_host(1);
    let shown = |bench: &mut Bench| {
        let Roster { state, incarnation, .. } = bench.store.roster(hm(11)).unwrap();
        (state, incarnation)
    };
    let start = Some(INCARNATION.to_owned());
    assert_eq!(shown(bench), (Some(NodeState::Up), start.clone()));
    bench.store.host_monitors_remove(&[hm(11)]).unwrap();
    assert_eq!(shown(bench).0, Some(NodeState::Removed));
    let registered = HostMonitorRegistration { id: hm(11), part_number: 1, mac: None };
    let again = HostRegistration { key: host(1), host_monitors: vec![registered] };
    bench.store.host_monitors_add(&[again]).unwrap();
    assert_eq!(shown(bench), (Some(NodeState::Down), start.clone()));
    bench.start_monitor(11);
    assert_eq!(shown(bench), (Some(NodeState::Up), start));
    assert_eq!(bench.store.roster(hm(99)).unwrap(), Roster::default());
}

pub(crate) fn a_removed_monitor_is_not_waited_for(bench: &mut Bench) {
    bench.started();
    let tags = bench.store.vms_stop(&list(&[1])).unwrap();
    bench.write(11, &[done(tags[0])]);
    bench.store.host_monitors_remove(&[hm(12)]).unwrap();
    assert_eq!(bench.vm(1).state, VmState::Stopped);
    let tags = bench.store.vms_start(&[vm(1)]).unwrap();
    assert_eq!(tags.len(), 1, "nor asked");
    bench.write(11, &[detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);

    bench.add_vm(1, 2);
    bench.store.host_monitors_remove(&[hm(11)]).unwrap();
    assert_eq!(bench.store.vms_start(&[vm(2)]).unwrap(), Vec::<TransactionTag>::new());
    assert_eq!(bench.vm(1).missed, None, "unknown is never silence");
}

pub(crate) fn monitors_are_added_to_known_hosts_only(bench: &mut Bench) {
    bench.add_host(1);
    let registration = |n, monitor| HostRegistration {
        key: host(n),
        host_monitors: vec![HostMonitorRegistration { id: hm(monitor), part_number: 0, mac: None }],
    };
    let refused = bench.store.host_monitors_add(&[registration(1, 13), registration(2, 21)]).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownHost(_)), "{refused}");
    assert_eq!(bench.store.quick_query().unwrap().hosts[0].host_monitors.len(), 2, "all or none");
    bench.store.host_monitors_add(&[registration(1, 13)]).unwrap();
    assert_eq!(bench.status(13).state, NodeState::Down);
}

fn grouped(bench: &mut Bench, number: u32, group: Option<&str>) {
    bench.add_host(number);
    let host = HostRegistration { key: host(number), host_monitors: vec![] };
    bench.store.hosts_add_grouped(&[GroupedHost { host, group: group.map(str::to_owned) }]).unwrap();
}

fn serials(bench: &mut Bench) -> Vec<HostKey> {
    bench.store.quick_query().unwrap().hosts.into_iter().map(|host| host.key).collect()
}

pub(crate) fn a_host_goes_with_all_it_has(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.started_vm(2, 2);
    bench.add_vm(1, 3);
    bench.write(21, &[opened(1), detected(1)]);
    bench.write(11, &[unmanaged(7), doorbell(1, 4)]);
    assert_eq!(bench.store.hosts_remove(&[host(1), host(9)]).unwrap(), [host(9)]);
    assert_eq!(serials(bench), [host(2)]);
    assert!(!is_there(bench, 1) && !is_there(bench, 3) && is_there(bench, 2));
    for host_monitor in [11, 12] {
        bench.write(
            host_monitor,
            &[opened(1), detected(1), opened(2), detected(2), HostMonitorWrite::Heartbeat],
        );
        assert!(bench.store.roster(hm(host_monitor)).unwrap().removed);
    }
    bench.write(21, &[opened(1), unmanaged(3)]);
    assert_eq!(bench.attention(), [], "tombstones, and monitors that are none any more");
    assert_eq!(bench.vm(2).paths.len(), 2);
    let unassigned = bench.store.host_monitors_unassigned().unwrap();
    assert!(unassigned.len() == 2 && unassigned.iter().all(|one| one.state == NodeState::Removed));

    bench.add_host(1);
    assert_eq!(bench.status(11).state, NodeState::Up, "registered again, and started");
    bench.started_vm(1, 1);
}

pub(crate) fn a_group_goes_in_one(bench: &mut Bench) {
    grouped(bench, 1, Some("blue"));
    grouped(bench, 2, Some("blue"));
    grouped(bench, 3, Some("green"));
    grouped(bench, 4, None);
    grouped(bench, 2, Some("green"));
    grouped(bench, 3, None);
    bench.add_vm(1, 1);
    bench.add_vm(3, 3);
    assert_eq!(bench.store.host_group_remove("green").unwrap(), [host(2), host(3)]);
    assert_eq!(serials(bench), [host(1), host(4)]);
    assert!(is_there(bench, 1) && !is_there(bench, 3));
    for gone in ["green", "Blue"] {
        let refused = bench.store.host_group_remove(gone).unwrap_err();
        assert!(matches!(refused, StoreError::UnknownHostGroup(_)), "{refused}");
    }
    assert_eq!(bench.store.host_group_remove("blue").unwrap(), [host(1)]);
    assert_eq!(serials(bench), [host(4)]);
}

pub(crate) fn a_tag_of_a_removed_host_is_unknown(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[doorbell(1, 1)]);
    let tag = bench.store.needs_attention_of(&host(1)).unwrap().tag.unwrap();
    bench.store.hosts_remove(&[host(1)]).unwrap();
    assert!(!bench.store.acknowledge(tag).unwrap());
    bench.add_host(2);
    bench.add_vm(2, 2);
    bench.write(21, &[doorbell(2, 1)]);
    assert!(!bench.store.acknowledge(tag).unwrap(), "another host, with the same number perhaps");
    let tag = bench.store.needs_attention_of(&host(2)).unwrap().tag.unwrap();
    assert!(bench.store.acknowledge(tag).unwrap());
    assert_eq!(bench.attention(), []);
}

pub(crate) fn incidents_end_with_what_they_are_about(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    let event = |incident: String| NewEvent {
        incident,
        name: "X".into(),
        severity: Severity::Warning,
        entity: "VM".into(),
        resource: "VM : x".into(),
        description: "x".into(),
    };
    let keys = |number| {
        let other = [format!("host-unreachable:{}", host(1)), format!("vios-failed:{}", hm(11))];
        [vec![format!("vm-starting:{}", vm(number)), format!("app-red:{}:db", vm(number))], other.to_vec()]
            .concat()
    };
    let new = |bench: &mut Bench, keys: &[String]| {
        let appended = keys.iter().map(|key| bench.store.event_append(&event(key.clone())).unwrap());
        appended.filter(|new| *new).count()
    };
    bench.add_vm(1, 1);
    bench.add_vm(2, 2);
    assert_eq!((new(bench, &keys(1)), new(bench, &keys(1)), new(bench, &keys(2))), (4, 0, 2));
    bench.store.vms_remove(&list(&[1])).unwrap();
    assert_eq!((new(bench, &keys(1)[..2]), new(bench, &keys(2))), (2, 0), "of the removed one only");
    bench.add_vm(1, 1);
    assert_eq!(new(bench, &keys(1)), 2, "told by somebody who did not know that it was gone");
    bench.store.hosts_remove(&[host(1)]).unwrap();
    assert_eq!((new(bench, &keys(1)), new(bench, &keys(2)[..2])), (4, 0));
}
