use vmpulse_store::*;

use crate::bench::*;

pub(crate) fn healthy_vms_need_none(bench: &mut Bench) {
    bench.add_host(2);
    bench.add_vm(2, 9);
    bench.started();
    let answer = bench.store.needs_attention().unwrap();
    let expected = [HostAttention { key: host(1), vms: vec![] }];
    assert_eq!(
        (answer.tag, answer.hosts.as_slice()),
        (None, expected.as_slice()),
        "host 2 has no monitored VM"
    );
}

pub(crate) fn doorbells_add_up_and_come_first(bench: &mut Bench) {
    bench.started();
    for number in [2, 3] {
        bench.started_vm(1, number);
    }
    bench.pass_alive(60, &[11, 12]);
    let edges = [stranger("", Discovery::CannotManage), suspended(2, SuspendReason::Os), missing(1, 19)];
    bench.write(11, &edges);
    bench.write(12, &[missing(1, 19), doorbell(3, 0x08), doorbell(3, 0), doorbell(3, 0x20)]);
    let entries = bench.attention();
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| (entry.uuid.clone(), entry.doorbell, entry.missed.is_some(), entry.state_changed))
        .collect();
    let expected = [
        (vm(3).to_string(), 0x28, false, false),
        (vm(1).to_string(), 0, true, false),
        (vm(2).to_string(), 0, false, true),
        (String::new(), 0, false, false),
    ];
    assert_eq!(shown, expected);
    assert_eq!((entries[3].state, entries[3].discovery), (VmState::Unknown, Some(Discovery::CannotManage)));
    bench.write(11, &[doorbell(1, 2)]);
    let first = bench.attention().remove(0);
    assert_eq!(
        (first.uuid, first.doorbell, first.missed.is_some()),
        (vm(1).to_string(), 2, true),
        "once, with all"
    );
}

pub(crate) fn acknowledging_clears_what_was_reported_only(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[doorbell(1, 0x28)]);
    let tag = bench.store.needs_attention().unwrap().tag.unwrap();
    assert_eq!(bench.store.needs_attention().unwrap().tag, Some(tag), "the same content, the same tag");
    bench.write(11, &[doorbell(1, 0x20)]);
    assert!(bench.store.acknowledge(tag).unwrap());
    assert_eq!(bench.attention()[0].doorbell, 0x20, "rang again after it was reported");
    assert!(bench.store.acknowledge(tag).unwrap(), "twice is no error");
    assert_eq!(bench.attention()[0].doorbell, 0x20);
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
    bench.write(12, &[doorbell(1, 0x40)]);
    assert!(bench.store.acknowledge(tag).unwrap());
    assert_eq!(bench.attention()[0].doorbell, 0x40);
}

pub(crate) fn state_changes_until_acknowledged(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    assert_eq!(bench.attention(), [], "being added is no change");
    bench.store.vms_start(&[vm(1)]).unwrap();
    let reported = bench.store.needs_attention().unwrap();
    let entry = &reported.hosts[0].vms[0];
    assert_eq!((entry.state, entry.state_changed), (VmState::Starting, true));
    for number in [11, 12] {
        bench.write(number, &[opened(1), detected(1)]);
    }
    assert!(bench.store.acknowledge(reported.tag.unwrap()).unwrap());
    let entry = bench.attention().remove(0);
    assert_eq!((entry.state, entry.state_changed), (VmState::Started, true), "changed since");
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
}

pub(crate) fn made_up_tags_are_unknown(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[doorbell(1, 2)]);
    let tag = bench.store.needs_attention().unwrap().tag.unwrap();
    for wrong in [0, 1, -1, i64::MIN, i64::MAX, tag.wrapping_add(1), tag.wrapping_add(1 << 50)] {
        if wrong != tag {
            assert!(!bench.store.acknowledge(wrong).unwrap(), "{wrong}, where {tag} was given out");
        }
    }
    assert_eq!(bench.attention()[0].doorbell, 2);
}

pub(crate) fn one_host_only(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.started_vm(2, 5);
    bench.write(11, &[doorbell(1, 2)]);
    bench.write(21, &[doorbell(5, 4), stranger("x", Discovery::CannotManage)]);
    bench.write(12, &[stranger("y", Discovery::CannotManage)]);
    let local = bench.store.needs_attention_of(&host(1)).unwrap();
    assert_eq!((local.hosts.len(), local.hosts[0].vms.len()), (1, 2));
    assert!(bench.store.acknowledge(local.tag.unwrap()).unwrap());
    let left: Vec<_> = bench.attention().into_iter().map(|entry| entry.uuid).collect();
    assert_eq!(left, [vm(5).to_string(), "x".into()]);
    assert!(matches!(bench.store.needs_attention_of(&host(7)), Err(StoreError::UnknownHost(_))));
}

pub(crate) fn missed_heartbeats_are_never_acknowledged_away(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19), doorbell(1, 2)]);
    bench.write(12, &[missing(1, 19)]);
    bench.acknowledge();
    let answer = bench.store.needs_attention().unwrap();
    assert_eq!((answer.tag, answer.hosts[0].vms.len()), (None, 1));
    assert_eq!(bench.missed_s(1), Some((19, 19)));
}

pub(crate) fn polling_writes_nothing(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[doorbell(1, 2)]);
    let (mut watcher, mut poller) = (bench.connect(), bench.connect());
    let before = watcher.change_stamp().unwrap();
    bench.pass(1);
    poller.quick_query().unwrap();
    poller.needs_attention().unwrap();
    poller.vms().unwrap();
    poller.roster(hm(11)).unwrap();
    assert_eq!(watcher.change_stamp().unwrap(), before);
    poller.host_monitor_apply(hm(12), &[doorbell(1, 4)]).unwrap();
    let changed = stamp_other_than(watcher.as_ref(), before);
    watcher.host_monitor_apply(hm(12), &[doorbell(1, 2)]).unwrap();
    assert_eq!(watcher.change_stamp().unwrap(), changed, "one's own writes are no news");
}
