use vmpulse_store::*;

use crate::bench::*;

pub(crate) fn a_vm_is_silent_when_every_path_is(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    assert_eq!(bench.missed(1), None);
    assert_eq!(bench.attention(), [], "one silent path of two is no reason");
    assert_eq!(
        bench.vm(1).paths.iter().map(|path| path.missed).collect::<Vec<_>>(),
        [Some(seconds(19)), None]
    );
    bench.pass_alive(3600, &[11, 12]);
    bench.write(12, &[missing(1, 20)]);
    assert_eq!(bench.missed_s(1), Some((20, 3619)), "youngest and oldest");
    bench.write(11, &[detected(1)]);
    assert_eq!(bench.missed(1), None);
}

pub(crate) fn the_age_is_that_of_the_missing_edge(bench: &mut Bench) {
    bench.started();
    let precise = std::time::Duration::from_micros(19_012_345);
    let edge = HostMonitorWrite::PathMissing { vm: vm(1), age: precise, common: true };
    for host_monitor in [11, 12] {
        bench.write(host_monitor, std::slice::from_ref(&edge));
    }
    bench.pass(2);
    let expected =
        MissedHeartbeats { youngest: precise + seconds(2), oldest: precise + seconds(2), common: true };
    assert_eq!(bench.missed(1), Some(expected));
}

pub(crate) fn unknown_is_never_silence(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    bench.write(12, &[missing(1, 30)]);
    assert_eq!(bench.missed_s(1), Some((19, 30)));
    let mode = |mode| HostMonitorWrite::NodeChanged { state: NodeState::Up, reason: 0, mode };
    bench.write(11, &[mode(MonitorMode::Local)]);
    assert_eq!(bench.missed_s(1), Some((30, 30)), "a LOCAL monitor's path is unknown");
    assert!(bench.vm(1).paths.iter().any(|path| !path.known));
    bench.write(12, &[mode(MonitorMode::Down)]);
    assert_eq!(bench.missed(1), None, "no known path, no silence");
    bench.write(12, &[mode(MonitorMode::Global)]);
    assert_eq!(bench.missed_s(1), Some((30, 30)));
    bench.pass(75);
    assert_eq!(bench.missed(1), None, "unresponsive monitors know nothing");
    bench.write(11, &[HostMonitorWrite::Heartbeat, mode(MonitorMode::Global)]);
    assert_eq!(bench.missed_s(1), Some((94, 94)));
}

pub(crate) fn unmonitored_vms_are_not_silent(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.write(11, &[opened(1), missing(1, 19)]);
    assert_eq!(bench.missed(1), None);
    assert_eq!(bench.vm(1).paths, [], "no path was open since START_VM");
    bench.store.vms_start(&[vm(1)]).unwrap();
    assert_eq!(bench.missed(1), None);
    bench.write(11, &[missing(1, 19)]);
    assert_eq!(bench.missed_s(1), Some((0, 0)), "STARTING counts, but not silence from before it");
    bench.write(11, &[suspended(1, SuspendReason::Daemon)]);
    assert_eq!(bench.missed(1), None);
}

pub(crate) fn common_only_if_all_are(bench: &mut Bench) {
    bench.started();
    let edge = |common| HostMonitorWrite::PathMissing { vm: vm(1), age: seconds(19), common };
    bench.write(11, &[edge(true)]);
    bench.write(12, &[edge(false)]);
    assert!(!bench.missed(1).unwrap().common);
    bench.write(12, &[detected(1), edge(true)]);
    assert!(bench.missed(1).unwrap().common);
}

pub(crate) fn paths_of_an_earlier_monitoring_do_not_count(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspended(1, SuspendReason::Os), missing(1, 19)]);
    bench.pass_alive(600, &[11, 12]);
    bench.store.vms_start(&[vm(1)]).unwrap();
    assert_eq!(bench.vm(1).paths, []);
    assert_eq!(bench.store.roster(hm(12)).unwrap().vms[0].path, None);
    bench.write(11, &[detected(1)]);
    let paths = bench.vm(1).paths;
    assert_eq!((paths.len(), paths[0].host_monitor), (1, hm(11)));
    assert_eq!(paths[0].mac, "02:00:00:00:00:01", "known from the handshake before");
    bench.write(11, &[missing(1, 19)]);
    assert!(bench.missed(1).is_some(), "the path of host monitor 12 was not open since");
}

pub(crate) fn a_forgotten_path_does_not_count(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    bench.write(
        12,
        &[HostMonitorWrite::PathForgotten { vm: vm(1) }, HostMonitorWrite::PathForgotten { vm: vm(9) }],
    );
    assert_eq!(bench.missed_s(1), Some((19, 19)));
    assert_eq!(bench.vm(1).paths.len(), 1);
}

pub(crate) fn a_moved_vm_counts_wherever_it_is_heard(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.pass_alive(60, &[11, 12, 21, 22]);
    bench.write(11, &[missing(1, 19)]);
    bench.write(12, &[missing(1, 19)]);
    bench.write(21, &[opened(1), detected(1)]);
    assert_eq!(bench.missed(1), None, "it lives, on another host");
    let entries = bench.attention();
    assert_eq!((entries.len(), entries[0].discovery), (1, Some(Discovery::Moved)));
    bench.write(21, &[missing(1, 5)]);
    assert_eq!(bench.missed_s(1), Some((5, 19)));
}

pub(crate) fn a_reopened_path_keeps_its_silence(bench: &mut Bench) {
    bench.started();
    bench.pass_alive(60, &[11, 12]);
    bench.write(11, &[missing(1, 30)]);
    bench.write(12, &[missing(1, 30), opened(1)]);
    assert_eq!(bench.missed_s(1), Some((30, 30)), "only heartbeats end it");
}

pub(crate) fn the_roster_keeps_open_silences(bench: &mut Bench) {
    bench.started();
    bench.pass_alive(60, &[11, 12]);
    bench.write(11, &[missing(1, 19)]);
    bench.pass(6);
    let path =
        |bench: &mut Bench, number| bench.store.roster(hm(number)).unwrap().vms[0].path.clone().unwrap();
    assert_eq!(path(bench, 11), RosterPath { mac: "02:00:00:00:00:01".into(), missed: Some(seconds(25)) });
    assert_eq!(path(bench, 12).missed, None);
    bench.start_monitor(11);
    assert_eq!(path(bench, 11).missed, Some(seconds(25)), "a restart of the host monitor ends no silence");
}
