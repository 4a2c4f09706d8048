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

/// By the heartbeat of a controller that notices it: a monitor that dies before its next commit does not answer until the clock
/// is where it was.
pub(crate) fn a_heartbeat_ahead_of_the_clock_came_when_it_is_noticed(bench: &mut Bench) {
    bench.add_host(1);
    bench.start_monitor(11);
    bench.start_monitor(12);
    bench.pass_alive(30, &[11, 12]);
    bench.step(-3600);
    bench.write(12, &[HostMonitorWrite::Heartbeat]);
    bench.pass(5);
    let controller =
        ControllerHeartbeat { name: "ctl".into(), pid: 1, version: "0.1.0".into(), poll_interval_ms: 20_000 };
    bench.store.controller_heartbeat(&controller).unwrap();
    let ages = |bench: &mut Bench| [11, 12].map(|number| bench.status(number).heartbeat_age);
    assert_eq!(
        ages(bench),
        [Some(seconds(0)), Some(seconds(5))],
        "what came after the step is as old as it is"
    );
    bench.pass(74);
    bench.store.controller_heartbeat(&controller).unwrap();
    assert_eq!(ages(bench), [Some(seconds(74)), Some(seconds(79))]);
    assert!(bench.status(11).responsive && !bench.status(12).responsive);
    bench.pass(1);
    assert!(!bench.status(11).responsive, "not an hour later");
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
    assert_eq!(bench.store.roster(hm(21)).unwrap().vms, []);
    assert!(bench.is_elsewhere(21, 1));
    assert_eq!(bench.attention(), [], "nobody knows yet where it is");
    assert!(bench.is_elsewhere(77, 1), "never heard of");

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
    let wanted = NodeEventsWanted { limit: u32::MAX, ..NodeEventsWanted::default() };
    let kept = bench.store.node_events(&wanted).unwrap();
    assert_eq!(kept.len(), 1024);
    assert!(kept[1023].text.starts_with("2999 ") && kept.iter().all(|event| event.text.len() <= 1024));
}

fn told(kind: &str, text: &str) -> HostMonitorWrite {
    HostMonitorWrite::NodeEvent { kind: kind.into(), text: text.into() }
}

fn texts(bench: &mut Bench, wanted: &NodeEventsWanted) -> Vec<String> {
    bench.store.node_events(wanted).unwrap().into_iter().map(|event| event.text).collect()
}

pub(crate) fn node_events_are_told_newest_last_by_kind_monitor_and_time(bench: &mut Bench) {
    bench.add_host(1);
    bench.start_monitor(31);
    let begin = bench.store.now().unwrap();
    bench.write(11, &[told("FORGERY", "one"), told("KEY_PROBLEM", "two")]);
    bench.pass(60);
    bench.write(12, &[told("FORGERY", "three")]);
    bench.pass(60);
    bench.write(31, &[told("SOMETHING_NEW", "four")]);
    let all = NodeEventsWanted { limit: 100, ..NodeEventsWanted::default() };
    let events = bench.store.node_events(&all).unwrap();
    assert_eq!((events[0].at, events[0].host_monitor, events[0].kind.as_str()), (begin, hm(11), "FORGERY"));
    assert_eq!((events[0].trunk.as_deref(), &events[0].host), (Some("trunk11"), &Some(host(1))));
    assert_eq!(events[3].host, None, "that monitor is not registered with a host");
    assert_eq!(texts(bench, &all), ["one", "two", "three", "four"]);
    assert_eq!(texts(bench, &NodeEventsWanted { limit: 2, ..all.clone() }), ["three", "four"]);
    let kinds = NodeEventsWanted { kinds: vec!["forgery".into(), "something_new".into()], ..all.clone() };
    assert_eq!(texts(bench, &kinds), ["one", "three", "four"]);
    let monitors = vec!["trunk12".to_owned(), hm(31).to_string().to_uppercase()];
    assert_eq!(texts(bench, &NodeEventsWanted { host_monitors: monitors, ..all.clone() }), ["three", "four"]);
    let since = Some(bench.store.now().unwrap().back(seconds(60)));
    assert_eq!(texts(bench, &NodeEventsWanted { since, ..all.clone() }), ["three", "four"]);
    assert_eq!(bench.store.node_events(&all).unwrap().len(), 4, "asking acknowledges nothing");
    let unknown = NodeEventsWanted { kinds: vec!["something_new".into(), "FORGERIES".into()], ..all };
    let found = bench.store.node_events(&unknown).unwrap();
    assert_eq!(unknown.unknown_kind(&found), Some("FORGERIES"));
}

pub(crate) fn conflicts_are_node_events_too(bench: &mut Bench) {
    bench.add_host(1);
    let conflict = |kind, uuid: &str, text: &str| HostMonitorWrite::Conflict {
        uuid: uuid.into(),
        mac: "02:00:00:00:00:99".into(),
        kind,
        text: text.into(),
    };
    bench.write(11, &[conflict(ConflictKind::Uuid, &vm(1).to_string(), "another claims it")]);
    bench.pass(1);
    bench.write(
        11,
        &[
            conflict(ConflictKind::Uuid, &vm(1).to_string(), "the first report of it stands"),
            told("BLIND", "blind"),
            conflict(ConflictKind::Version, "no uuid'", "it speaks HVNCP 9.0"),
        ],
    );
    let wanted = NodeEventsWanted { limit: 100, ..NodeEventsWanted::default() };
    let events = bench.store.node_events(&wanted).unwrap();
    let shown: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.text.as_str())).collect();
    let guest = "guest at 02:00:00:00:00:99, UUID no uuid': it speaks HVNCP 9.0";
    assert_eq!(
        shown,
        [("UUID_CONFLICT", "another claims it"), ("BLIND", "blind"), ("VERSION_CONFLICT", guest)]
    );
    let wanted = NodeEventsWanted { kinds: vec!["UUID_CONFLICT".into()], ..wanted };
    assert_eq!(texts(bench, &wanted), ["another claims it"]);
}

pub(crate) fn a_host_monitor_that_cannot_hear_its_trunk_is_shown_as_such(bench: &mut Bench) {
    bench.add_host(1);
    bench.write(11, &[heard(false)]);
    assert!(!bench.status(11).trunk_heard && bench.status(12).trunk_heard);
    bench.write(11, &[heard(true)]);
    assert!(bench.status(11).trunk_heard);
}

pub(crate) fn an_isolated_host_monitor_says_why_and_accuses_nobody(bench: &mut Bench) {
    let isolated = |isolated| [HostMonitorWrite::Isolated { isolated }, heard(!isolated)];
    bench.started();
    bench.write(11, &[missing(1, 30)]);
    bench.write(11, &isolated(true));
    let status = bench.status(11);
    assert_eq!((status.state, status.reason, status.trunk_heard), (NodeState::Up, REASON_ISOLATED, false));
    assert_eq!((bench.status(12).reason, bench.missed(1)), (0, None));
    bench.write(12, &[missing(1, 20)]);
    assert_eq!(bench.missed_s(1), Some((20, 20)), "what the other one knows counts, and it alone");
    bench.write(12, &isolated(true));
    assert_eq!(bench.missed(1), None, "nobody knows anything: unknown is never silence");
    bench.write(12, &isolated(false));
    bench.write(11, &isolated(false));
    assert_eq!((bench.status(11).reason, bench.missed_s(1)), (0, Some((20, 30))));
    bench.write(11, &isolated(true));
    let shutdown = HostMonitorWrite::NodeChanged {
        state: NodeState::Down,
        reason: REASON_NODE_SHUTDOWN,
        mode: MonitorMode::Down,
    };
    bench.write(11, &[shutdown]);
    assert_eq!(bench.status(11).reason, REASON_NODE_SHUTDOWN | REASON_ISOLATED);
    bench.start_monitor(11);
    let status = bench.status(11);
    assert_eq!((status.reason, status.trunk_heard), (0, true), "a start begins anew");
}

/// A batch whose commit was not answered is given again.
pub(crate) fn numbered_writes_are_applied_once(bench: &mut Bench) {
    let of = |writes: &[(u64, HostMonitorWrite)]| {
        [StartWrites { incarnation: INCARNATION.into(), writes: writes.to_vec(), of_earlier_boot: false }]
    };
    bench.started();
    let quiet = HostMonitorWrite::QuietAsked {
        vm: vm(1),
        asked: seconds(60),
        age: seconds(0),
        reason: "backup".into(),
    };
    let batch = vec![(7, doorbell(1, 2)), (8, quiet)];
    let answered = bench.store.host_monitor_replay(hm(11), &of(&batch)).unwrap();
    bench.acknowledge();
    assert_eq!(bench.attention(), []);
    let more = [batch, vec![(9, doorbell(1, 4))]].concat();
    let again = bench.store.host_monitor_replay(hm(11), &of(&more)).unwrap();
    assert_eq!(again, answered, "the guest is answered, and the same");
    assert_eq!(bench.attention()[0].doorbell, 4, "what was acknowledged does not ring again");
    bench.store.host_monitor_replay(hm(12), &of(&[(7, doorbell(1, 1))])).unwrap();
    assert_eq!(bench.attention()[0].doorbell, 5, "each counts for itself");
    bench.start_monitor(11);
    bench.store.host_monitor_replay(hm(11), &of(&[(1, doorbell(1, 8))])).unwrap();
    assert_eq!(bench.attention()[0].doorbell, 13, "and anew from each start");
}

/// Whoever reaches the store lives, whatever it has to say; unless it says that its loop stands.
pub(crate) fn whatever_is_new_is_a_sign_of_life(bench: &mut Bench) {
    let age = |bench: &mut Bench| bench.status(11).heartbeat_age.unwrap().as_secs();
    let of = |writes: &[(u64, HostMonitorWrite)]| {
        [StartWrites { incarnation: INCARNATION.into(), writes: writes.to_vec(), of_earlier_boot: false }]
    };
    let mode = |mode| HostMonitorWrite::ModeChanged { mode, age: seconds(0), text: "why".into() };
    bench.started();
    bench.pass(20);
    assert_eq!(age(bench), 20);
    bench.store.host_monitor_replay(hm(11), &of(&[(7, doorbell(1, 2))])).unwrap();
    assert_eq!(age(bench), 0);
    bench.pass(20);
    bench.store.host_monitor_replay(hm(11), &of(&[(7, doorbell(1, 2))])).unwrap();
    assert_eq!(age(bench), 20, "it was applied before");
    bench.store.host_monitor_replay(hm(11), &of(&[])).unwrap();
    bench.write(11, &[]);
    assert_eq!(age(bench), 20, "nothing was said");
    bench
        .store
        .host_monitor_replay(hm(11), &of(&[(8, doorbell(1, 4)), (9, mode(MonitorMode::Down))]))
        .unwrap();
    assert_eq!(
        (age(bench), bench.status(11).mode),
        (20, MonitorMode::Down),
        "it stands, by another thread's word"
    );
    bench.write(11, &[mode(MonitorMode::Global), mode(MonitorMode::Down)]);
    assert_eq!(age(bench), 20, "and still does now that the store is back");
    bench.store.host_monitor_replay(hm(11), &of(&[(10, mode(MonitorMode::Global))])).unwrap();
    assert_eq!(age(bench), 0);
    bench.pass(20);
    let later = "1800000000.000000000.1";
    let start = HostMonitorWrite::Started(HostMonitorStart { incarnation: later.into(), ..start_of(11) });
    let other = [StartWrites { incarnation: later.into(), writes: vec![(1, start)], of_earlier_boot: false }];
    bench.connect().host_monitor_replay(hm(11), &other).unwrap();
    bench.pass(1);
    bench.store.host_monitor_apply(hm(11), &[missing(1, 1)]).unwrap_err();
    assert_eq!(age(bench), 1, "what is refused is no sign");
}
