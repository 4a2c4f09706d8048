use vmpulse_store::*;

use crate::bench::*;

pub(crate) fn responsive_for_two_and_a_half_intervals(bench: &mut Bench) {
    let registered =
        HostMonitorRegistration { id: hm(19), part_number: 0, mac: Some("02:00:00:00:00:19".into()) };
    bench.store.hosts_add(&[HostRegistration { key: host(1), host_monitors: vec![registered] }]).unwrap();
    let never = bench.status(19);
    assert_eq!((never.responsive, never.heartbeat_age, never.state), (false, None, NodeState::Down));
    assert_eq!(never.mac.as_deref(), Some("02:00:00:00:00:19"));

    bench.add_host(1);
    bench.pass(74);
    let late = bench.status(11);
    assert_eq!((late.responsive, late.heartbeat_age), (true, Some(seconds(74))));
    assert_eq!((late.state, late.mode, late.has_data), (NodeState::Up, MonitorMode::Global, false));
    assert_eq!((late.trunk.as_deref(), late.versions.as_deref()), (Some("trunk11"), Some("2.0-2.1")));
    bench.pass(1);
    assert!(!bench.status(11).responsive, "not younger than 2.5 intervals");
    bench.write(11, &[HostMonitorWrite::Heartbeat]);
    assert!(bench.status(11).responsive && !bench.status(12).responsive);
}

pub(crate) fn shut_down_on_purpose(bench: &mut Bench) {
    bench.add_host(1);
    let down = HostMonitorWrite::NodeChanged {
        state: NodeState::Down,
        reason: REASON_NODE_SHUTDOWN,
        mode: MonitorMode::Down,
    };
    bench.write(11, &[down]);
    let status = bench.status(11);
    assert_eq!((status.state, status.reason, status.mode), (NodeState::Down, 0x40, MonitorMode::Down));
    assert!(status.has_data && !bench.status(12).has_data);
    bench.start_monitor(11);
    let status = bench.status(11);
    assert_eq!((status.state, status.reason, status.mode), (NodeState::Up, 0, MonitorMode::Global));
}

pub(crate) fn unregistered_host_monitors_are_kept_and_adopted(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.start_monitor(21);
    bench
        .write(21, &[HostMonitorWrite::NodeEvent { kind: "ADAPTER_DOWN".into(), text: "trunk down".into() }]);
    bench.write(21, &[opened(1), opened(5)]);
    assert_eq!(bench.store.quick_query().unwrap().hosts.len(), 1);
    let unassigned = bench.store.host_monitors_unassigned().unwrap();
    assert_eq!((unassigned.len(), unassigned[0].id, unassigned[0].responsive), (1, hm(21), true));
    let roster = bench.store.roster(hm(21)).unwrap();
    assert_eq!((roster.vms.as_slice(), roster.elsewhere.as_slice()), ([].as_slice(), [vm(1)].as_slice()));
    assert_eq!(bench.attention(), [], "nobody knows yet where it is");
    assert_eq!(bench.store.roster(hm(77)).unwrap().elsewhere, [vm(1)], "never heard of");

    let adopted = HostMonitorRegistration { id: hm(21), part_number: 1, mac: None };
    bench.store.hosts_add(&[HostRegistration { key: host(2), host_monitors: vec![adopted] }]).unwrap();
    assert_eq!(bench.store.host_monitors_unassigned().unwrap(), []);
    assert!(bench.status(21).has_data);
    let kinds: Vec<_> = bench.attention().into_iter().map(|entry| (entry.uuid, entry.discovery)).collect();
    let expected =
        [(vm(1).to_string(), Some(Discovery::Moved)), (vm(5).to_string(), Some(Discovery::Unmanaged))];
    assert_eq!(kinds, expected);
}

pub(crate) fn node_events_are_bounded(bench: &mut Bench) {
    bench.add_host(1);
    let flood: Vec<_> = (0..3000)
        .map(|n| HostMonitorWrite::NodeEvent {
            kind: "ADAPTER_DOWN".into(),
            text: format!("{n} {}", "ä".repeat(2000)),
        })
        .collect();
    bench.write(11, &flood);
    assert!(bench.status(11).has_data);
}

/// A batch whose commit was not answered is given again.
pub(crate) fn numbered_writes_are_applied_once(bench: &mut Bench) {
    bench.started();
    let quiet = HostMonitorWrite::QuietAsked {
        vm: vm(1),
        asked: seconds(60),
        age: seconds(0),
        reason: "backup".into(),
    };
    let batch = vec![(7, doorbell(1, 2)), (8, quiet)];
    let answered = bench.store.host_monitor_apply_once(hm(11), &batch).unwrap();
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
    let more = [batch, vec![(9, doorbell(1, 4))]].concat();
    let again = bench.store.host_monitor_apply_once(hm(11), &more).unwrap();
    assert_eq!(again, answered, "the guest is answered, and the same");
    assert_eq!(bench.attention()[0].doorbell, 4, "what was acknowledged does not ring again");
    bench.store.host_monitor_apply_once(hm(12), &[(7, doorbell(1, 1))]).unwrap();
    assert_eq!(bench.attention()[0].doorbell, 5, "each counts for itself");
    bench.start_monitor(11);
    bench.store.host_monitor_apply_once(hm(11), &[(1, doorbell(1, 8))]).unwrap();
    assert_eq!(bench.attention()[0].doorbell, 13, "and anew from each start");
}
