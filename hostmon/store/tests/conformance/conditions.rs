use vmpulse_store::*;

use crate::bench::*;

/// VM 1 started long ago on host 1, and heard by the host monitor 11 only.
fn on_one_trunk(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[opened(1), detected(1)]);
    bench.acknowledge();
}

fn missed_entries(bench: &mut Bench) -> Vec<vmpulse_protocol::id::HostMonitorId> {
    bench.attention().into_iter().flat_map(|entry| entry.missed_entries).collect()
}

pub(crate) fn a_path_that_does_not_come_is_told_until_acknowledged(bench: &mut Bench) {
    on_one_trunk(bench);
    bench.pass_alive(127, &[11, 12]);
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
    bench.pass_alive(1, &[11, 12]);
    assert_eq!(missed_entries(bench), [hm(12)], "and no acknowledgement from before covers it");
    bench.pass_alive(30, &[11, 12]);
    assert_eq!(missed_entries(bench), [hm(12)]);
    bench.acknowledge();
    bench.pass_alive(300, &[11, 12]);
    assert_eq!(bench.attention(), []);
    bench.write(12, &[opened(1), detected(1), missing(1, 19)]);
    assert_eq!(bench.attention().iter().filter(|entry| !entry.missed_entries.is_empty()).count(), 0);
}

pub(crate) fn a_path_that_comes_late_is_told_no_more(bench: &mut Bench) {
    on_one_trunk(bench);
    bench.started_vm(1, 2);
    bench.pass_alive(128, &[11, 12]);
    assert_eq!(missed_entries(bench), [hm(12)]);
    let shown = bench.store.vms_page(&VmsWanted { of: VmsOf::All, after: None, limit: 9 }).unwrap();
    let path = &shown.vms[0].paths[1];
    assert_eq!((path.awaited, path.counted, path.view.mac.as_str()), (Some(seconds(128)), false, ""));
    bench.write(12, &[opened(1)]);
    assert_eq!(missed_entries(bench), [hm(12)], "a handshake proves no heartbeat");
    bench.write(12, &[detected(1)]);
    assert_eq!(missed_entries(bench), []);
    bench.write(12, &[missing(1, 19), missing(2, 19)]);
    bench.write(11, &[missing(1, 19), missing(2, 19)]);
    bench.pass_alive(300, &[11, 12]);
    assert!(missed_entries(bench).is_empty() && bench.attention().len() == 2, "it is silent, and was there");
}

pub(crate) fn a_monitor_that_cannot_hear_misses_nobody(bench: &mut Bench) {
    on_one_trunk(bench);
    bench.write(12, &[heard(false)]);
    bench.pass_alive(500, &[11, 12]);
    assert_eq!(missed_entries(bench), []);
    bench.start_monitor(12);
    bench.pass_alive(30, &[11, 12]);
    assert_eq!(missed_entries(bench), [], "it has just started");
    bench.pass_alive(98, &[11, 12]);
    assert_eq!(missed_entries(bench), [hm(12)]);
}

pub(crate) fn a_new_monitor_is_waited_for_too(bench: &mut Bench) {
    bench.started();
    let third = HostMonitorRegistration { id: hm(13), part_number: 3, mac: None };
    bench.store.hosts_add(&[HostRegistration { key: host(1), host_monitors: vec![third] }]).unwrap();
    bench.start_monitor(13);
    bench.pass_alive(128, &[11, 12, 13]);
    assert_eq!(missed_entries(bench), [hm(13)]);
    // It goes to another host: nobody waits for it here any more, and nobody moved.
    let third = HostMonitorRegistration { id: hm(13), part_number: 3, mac: None };
    bench.store.hosts_add(&[HostRegistration { key: host(2), host_monitors: vec![third] }]).unwrap();
    assert_eq!(bench.attention(), []);
}

pub(crate) fn monitoring_that_ends_waits_for_nobody(bench: &mut Bench) {
    on_one_trunk(bench);
    bench.write(11, &[suspended(1, SuspendReason::Os)]);
    bench.acknowledge();
    bench.pass_alive(500, &[11, 12]);
    assert_eq!(bench.attention(), [], "whoever is shut down need not come");
    bench.write(11, &[opened(1), detected(1)]);
    bench.pass_alive(1, &[11, 12]);
    assert_eq!(missed_entries(bench), [hm(12)]);
}

fn version_conflict(uuid: &str) -> HostMonitorWrite {
    let (mac, text) = ("02:00:00:00:00:99".into(), "it speaks HVNCP 9.0".into());
    HostMonitorWrite::Conflict { uuid: uuid.into(), mac, kind: ConflictKind::Version, text }
}

pub(crate) fn version_conflicts_are_told_at_home(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.write(21, &[version_conflict(&vm(1).to_string())]);
    let at_home = bench.store.needs_attention_of(&host(1)).unwrap();
    let entry = &at_home.hosts[0].vms[0];
    assert_eq!((entry.uuid.as_str(), entry.state), (vm(1).to_string().as_str(), VmState::Started));
    assert!(entry.version_conflict && entry.discovery.is_none());
    assert_eq!(bench.store.needs_attention_of(&host(2)).unwrap().tag, None);
    assert!(bench.store.acknowledge(at_home.tag.unwrap()).unwrap());
    assert_eq!(bench.attention(), []);
    assert!(bench.vm(1).version_conflict, "it is one until the next handshake");
    assert_eq!(bench.store.conflicts(9).unwrap().tag, None, "acknowledged is acknowledged");
    bench.write(11, &[opened(1)]);
    assert!(!bench.vm(1).version_conflict);
    bench.write(21, &[version_conflict(&vm(1).to_string())]);
    assert!(bench.attention()[0].version_conflict, "after that it is news");
}

pub(crate) fn version_conflicts_of_strangers_are_told_where_they_were_seen(bench: &mut Bench) {
    bench.started();
    bench.start_monitor(31);
    bench.write(11, &[version_conflict("x"), version_conflict(&vm(7).to_string()), opened(7)]);
    bench.write(31, &[version_conflict("nobody knows where")]);
    let shown: Vec<_> = bench
        .attention()
        .into_iter()
        .map(|entry| (entry.uuid, entry.state, entry.version_conflict, entry.discovery))
        .collect();
    let unknown = VmState::Unknown;
    let both = (vm(7).to_string(), unknown, true, Some(Discovery::Unmanaged));
    assert_eq!(shown, [both, ("x".to_owned(), unknown, true, None)], "who is two things comes once");
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
    let left = bench.store.conflicts(9).unwrap().conflicts;
    assert_eq!(left.len(), 1, "nobody was told of the one that no host has");
    assert_eq!(left[0].uuid, "nobody knows where");
}

pub(crate) fn a_fence_is_told_until_it_is_lifted(bench: &mut Bench) {
    bench.started();
    bench.store.vm_fence(vm(1), true).unwrap();
    let answer = bench.store.needs_attention().unwrap();
    assert!(answer.hosts[0].vms[0].fenced && answer.tag.is_none(), "no acknowledgement lifts it");
    bench.store.vm_fence(vm(1), true).unwrap();
    bench.store.vm_fence(vm(1), false).unwrap();
    assert_eq!(bench.attention(), []);
    assert!(matches!(bench.store.vm_fence(vm(9), true), Err(StoreError::UnknownVm(_))));
}

pub(crate) fn managed_guests_are_told_until_they_are_monitored(bench: &mut Bench) {
    bench.add_host(1);
    let kinds = |bench: &mut Bench| {
        bench.attention().into_iter().map(|entry| (entry.uuid, entry.discovery)).collect::<Vec<_>>()
    };
    let as_managed = |number| (vm(number).to_string(), Some(Discovery::Managed));
    bench.write(11, &[opened(1)]);
    bench.add_vm(1, 1);
    assert_eq!(kinds(bench), [as_managed(1)], "the stranger is a VM now");
    bench.add_vm(1, 2);
    bench.add_vm(1, 3);
    assert_eq!(kinds(bench), [as_managed(1)], "of these nothing was seen");
    bench.write(12, &[opened(2)]);
    bench.write(12, &[opened(3), opened(2)]);
    assert_eq!(kinds(bench), [as_managed(1), as_managed(2), as_managed(3)]);
    bench.acknowledge();
    bench.write(11, &[opened(1)]);
    bench.write(12, &[opened(2), opened(3)]);
    assert_eq!(kinds(bench), [], "the same again is no news");
    bench.add_vm(1, 4);
    bench.write(11, &[opened(4)]);
    bench.store.vms_start(&[vm(4)]).unwrap();
    bench.acknowledge();
    bench.write(11, &[opened(4), detected(4)]);
    let monitored = bench.attention();
    assert!(monitored.iter().all(|entry| entry.discovery.is_none()), "{monitored:?}");
}

pub(crate) fn everything_has_its_place(bench: &mut Bench) {
    on_one_trunk(bench);
    for number in 2..=6 {
        bench.started_vm(1, number);
    }
    bench.pass_alive(127, &[11, 12]);
    bench.acknowledge();
    bench.pass_alive(1, &[11, 12]);
    bench.write(11, &[opened(90), suspended(2, SuspendReason::Os), missing(3, 19), doorbell(6, 2)]);
    bench.write(12, &[missing(3, 19), version_conflict(&vm(4).to_string())]);
    bench.store.vm_fence(vm(5), true).unwrap();
    let order: Vec<_> = bench.attention().into_iter().map(|entry| entry.uuid).collect();
    assert_eq!(order, [6, 3, 2, 1, 4, 5, 90].map(|number| vm(number).to_string()));
}
