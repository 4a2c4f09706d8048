//! GLOBAL, LOCAL, DOWN, and what a host monitor kept meanwhile.

use vmpulse_store::*;

use crate::bench::*;

fn start(incarnation: &str) -> HostMonitorWrite {
    HostMonitorWrite::Started(HostMonitorStart {
        trunk: "trunkA".into(),
        mac: "02:00:00:00:00:11".into(),
        vlan: None,
        incarnation: incarnation.into(),
        versions: "2.0-2.1".into(),
        heartbeat_interval: seconds(30),
    })
}

fn of(incarnation: &str, writes: &[(u64, HostMonitorWrite)]) -> StartWrites {
    StartWrites { incarnation: incarnation.into(), writes: writes.to_vec(), of_earlier_boot: false }
}

fn mode(mode: MonitorMode, age_s: u64) -> HostMonitorWrite {
    HostMonitorWrite::ModeChanged { mode, age: seconds(age_s), text: format!("because of {age_s}") }
}

fn note(text: &str) -> HostMonitorWrite {
    HostMonitorWrite::NodeEvent { kind: "NOTE".into(), text: text.into() }
}

fn notes(bench: &mut Bench) -> String {
    let wanted = NodeEventsWanted { kinds: vec!["NOTE".into()], limit: 1000, ..NodeEventsWanted::default() };
    let events = bench.store.node_events(&wanted).unwrap();
    events.into_iter().map(|event| event.text).collect::<Vec<_>>().join(",")
}

/// Whatever of it was applied already, and whichever start applied it.
pub(crate) fn what_earlier_starts_wrote_is_applied_once(bench: &mut Bench) {
    bench.add_host(1);
    let first = of("A", &[(1, start("A")), (2, note("a2")), (3, note("a3"))]);
    let mut store = bench.connect();
    // The commit of A's first two writes was not answered; then A was killed.
    store.host_monitor_replay(hm(11), &[of("A", &first.writes[..2])]).unwrap();
    let second = of("B", &[(1, start("B")), (2, note("b2"))]);
    let mut store = bench.connect();
    store.host_monitor_replay(hm(11), &[first.clone(), second.clone()]).unwrap();
    assert_eq!(notes(bench), "a2,a3,b2");
    // That was not answered either; B says more.
    let more = of("B", &[second.writes.clone(), vec![(3, note("b3"))]].concat());
    store.host_monitor_replay(hm(11), &[first.clone(), more.clone()]).unwrap();
    assert_eq!(notes(bench), "a2,a3,b2,b3");
    // B was killed before it knew; C was, before it had said anything; D is the present start.
    let last = of("D", &[(1, start("D")), (2, note("d2"))]);
    let mut store = bench.connect();
    for _ in 0..2 {
        store
            .host_monitor_replay(hm(11), &[first.clone(), more.clone(), of("C", &[]), last.clone()])
            .unwrap();
    }
    assert_eq!(notes(bench), "a2,a3,b2,b3,d2");
    store.host_monitor_replay(hm(11), &[of("D", &[(3, note("d3"))])]).unwrap();
    assert_eq!(notes(bench), "a2,a3,b2,b3,d2,d3", "and it goes on as that start");
}

/// It never reached the store before.
pub(crate) fn a_start_that_the_store_never_heard_of_is_applied(bench: &mut Bench) {
    bench.add_host(1);
    let mut store = bench.connect();
    let first = of("A", &[(1, start("A")), (2, note("a2"))]);
    store.host_monitor_replay(hm(11), &[first, of("B", &[(1, start("B"))])]).unwrap();
    assert_eq!(notes(bench), "a2");
    let refused = bench.connect().host_monitor_replay(hm(11), &[of("B", &[(1, start("B"))])]);
    assert_eq!(refused.unwrap(), Applied::default());
    let mut later = bench.connect();
    later.host_monitor_replay(hm(11), &[of("C", &[(1, start("C"))])]).unwrap();
    let refused = store.host_monitor_replay(hm(11), &[of("B", &[(2, note("b2"))])]);
    assert!(matches!(refused, Err(StoreError::Superseded(of)) if of == hm(11)), "{refused:?}");
}

pub(crate) fn changes_of_mode_are_recorded_and_told_exactly_once(bench: &mut Bench) {
    bench.add_host(1);
    bench.pass(500);
    assert!(!bench.status(11).responsive);
    bench.write(11, &[mode(MonitorMode::Local, 40), mode(MonitorMode::Global, 0)]);
    let status = bench.status(11);
    assert_eq!((status.mode, status.responsive), (MonitorMode::Global, true), "GLOBAL is a sign of life");
    bench.write(11, &[mode(MonitorMode::Down, 5)]);
    assert_eq!(bench.status(11).mode, MonitorMode::Down);
    let wanted = NodeEventsWanted { kinds: vec!["mode".into()], limit: 1000, ..NodeEventsWanted::default() };
    let recorded = bench.store.node_events(&wanted).unwrap();
    let texts: Vec<_> = recorded.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(texts, ["LOCAL: because of 40", "DOWN: because of 5", "GLOBAL: because of 0"]);

    let news = bench.store.mode_news().unwrap();
    let told: Vec<_> = news.iter().map(|news| (news.mode, news.age)).collect();
    let expected = [(MonitorMode::Local, 40), (MonitorMode::Global, 0), (MonitorMode::Down, 5)]
        .map(|(m, s)| (m, seconds(s)));
    assert_eq!(told, expected);
    assert_eq!((news[0].host_monitor, &news[0].host), (hm(11), &host(1)));
    let event = NewEvent {
        incident: "mode".into(),
        name: "VIOS_MODE_LOCAL".into(),
        severity: Severity::Warning,
        entity: "VIOS".into(),
        resource: "VIOS : trunk11".into(),
        description: "it is LOCAL".into(),
    };
    assert!(bench.store.mode_tell(&news[0], &event).unwrap());
    assert!(!bench.store.mode_tell(&news[0], &event).unwrap());
    assert_eq!(bench.store.mode_news().unwrap().len(), 2);
    assert_eq!(bench.store.events(10).unwrap().len(), 1);
    for _ in 0..100 {
        bench.write(11, &[mode(MonitorMode::Local, 0), mode(MonitorMode::Global, 0)]);
    }
    assert_eq!(bench.store.mode_news().unwrap().len(), 64, "nobody looks: bounded");
}

pub(crate) fn changes_of_mode_are_node_data_until_acknowledged(bench: &mut Bench) {
    bench.add_host(1);
    bench.write(11, &[mode(MonitorMode::Local, 9), mode(MonitorMode::Global, 1)]);
    assert!(bench.status(11).has_data);
    let data = bench.store.node_data(None, ANSWER_LIMIT).unwrap();
    assert!(bench.store.acknowledge(data.tag.unwrap()).unwrap());
    assert!(!bench.status(11).has_data);
}
