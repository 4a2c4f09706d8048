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
    let expected = MissedHeartbeats {
        youngest: precise + seconds(2),
        oldest: precise + seconds(2),
        excused: seconds(0),
        common: true,
    };
    assert_eq!(bench.missed(1), Some(expected));
}

pub(crate) fn unknown_is_never_silence(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    bench.write(12, &[missing(1, 30)]);
    assert_eq!(bench.missed_s(1), Some((19, 30)));
    let mode = |mode| HostMonitorWrite::NodeChanged { state: NodeState::Up, reason: 0, mode };
    bench.write(11, &[mode(MonitorMode::Local)]);
    assert_eq!(
        bench.missed_s(1),
        Some((19, 30)),
        "a LOCAL monitor's path is unknown, and it was heard by it 19 s ago"
    );
    assert!(bench.vm(1).paths.iter().any(|path| !path.known));
    bench.write(12, &[mode(MonitorMode::Down)]);
    assert_eq!(bench.missed(1), None, "no known path, no silence");
    bench.write(12, &[mode(MonitorMode::Global)]);
    assert_eq!(bench.missed_s(1), Some((19, 30)));
    bench.pass(75);
    assert_eq!(bench.missed(1), None, "unresponsive monitors know nothing");
    bench.write(11, &[HostMonitorWrite::Heartbeat, mode(MonitorMode::Global)]);
    assert_eq!(bench.missed_s(1), Some((94, 94)));
}

pub(crate) fn a_monitor_that_goes_makes_no_old_silence_count(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    bench.pass_alive(3600, &[11, 12]);
    assert_eq!(bench.missed(1), None);
    bench.pass_alive(76, &[11]);
    assert_eq!(bench.missed_s(1), Some((76, 3695)), "it was known to live as long as the other monitor did");
    bench.write(12, &[HostMonitorWrite::Heartbeat, HostMonitorWrite::TrunkHeard { heard: false }]);
    bench.pass_alive(10, &[11, 12]);
    assert_eq!(bench.missed_s(1), Some((10, 3705)), "or as long as that heard its trunk");
    bench.pass_alive(10, &[11, 12]);
    assert_eq!(bench.missed_s(1), Some((20, 3715)), "and that goes on");
}

/// Its monitor has nothing more to say of a path that beats; what else it says is as good as a heartbeat.
pub(crate) fn a_vm_was_known_to_live_at_its_monitors_last_commit(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[missing(1, 19)]);
    bench.pass_alive(300, &[11, 12]);
    bench.pass(29);
    bench.write(12, &[doorbell(1, 2)]);
    bench.pass_alive(76, &[11]);
    assert_eq!(bench.missed_s(1).map(|(youngest, _)| youngest), Some(76));
}

pub(crate) fn where_a_vm_was_before_it_moved_does_not_count(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.write(21, &[opened(1), detected(1)]);
    bench.pass_alive(19, &[11, 12, 21]);
    for host_monitor in [11, 12] {
        bench.write(host_monitor, &[missing(1, 18)]);
    }
    bench.pass_alive(300, &[11, 12]);
    assert!(bench.missed(1).is_some(), "it was heard here after it came there");
    bench.write(21, &[HostMonitorWrite::Heartbeat, opened(1), detected(1)]);
    bench.pass_alive(300, &[11, 12]);
    assert_eq!(bench.missed(1), None, "of the only host that heard it since nothing is known");
    bench.write(11, &[detected(1)]);
    bench.pass_alive(19, &[11, 12]);
    bench.write(11, &[missing(1, 18)]);
    assert_eq!(bench.missed_s(1).map(|(youngest, _)| youngest), Some(18), "it came back, and fell silent");
}

fn known(bench: &mut Bench) -> Vec<bool> {
    bench.vm(1).paths.iter().map(|path| path.known).collect()
}

pub(crate) fn a_blind_monitor_neither_vetoes_nor_is_silent(bench: &mut Bench) {
    bench.started();
    bench.write(12, &[missing(1, 30)]);
    assert_eq!(bench.missed(1), None, "host monitor 11 hears it");
    bench.write(11, &[heard(false)]);
    assert_eq!(bench.missed_s(1), Some((0, 30)), "what 11 heard last is no proof of life any more");
    assert_eq!(known(bench), [false, true]);
    bench.pass_alive(5, &[11, 12]);
    bench.write(11, &[heard(false)]);
    assert_eq!(
        (known(bench), bench.missed_s(1)),
        (vec![false, true], Some((5, 35))),
        "heartbeats are no ears"
    );
    assert!(bench.connect().vms().unwrap()[0].missed.is_some(), "everybody sees it");
    bench.write(12, &[heard(false)]);
    assert_eq!((known(bench), bench.missed(1)), (vec![false, false], None), "nobody knows");
    bench.write(11, &[missing(1, 40)]);
    assert_eq!(bench.missed(1), None, "nor is a blind monitor's silence one");
    assert_eq!(bench.attention(), []);
}

pub(crate) fn hearing_again_or_starting_ends_blindness(bench: &mut Bench) {
    bench.started();
    bench.write(12, &[missing(1, 30)]);
    bench.write(11, &[heard(false)]);
    assert!(bench.missed(1).is_some());
    bench.write(11, &[heard(true)]);
    assert_eq!((known(bench), bench.missed(1)), (vec![true, true], None));
    bench.write(11, &[heard(false)]);
    assert!(bench.missed(1).is_some());
    bench.start_monitor(11);
    assert_eq!((known(bench), bench.missed(1)), (vec![true, true], None));
}

pub(crate) fn unmonitored_vms_are_not_silent(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.write(11, &[opened(1), missing(1, 19)]);
    assert_eq!(bench.missed(1), None);
    assert_eq!(bench.vm(1).paths, [], "not monitored: no path counts");
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
    // Said again by a monitor that was started since, and does not know; alone and with another.
    bench.write(12, &[edge(false)]);
    assert!(bench.missed(1).unwrap().common);
    bench.write(12, &[edge(false), missing(2, 19)]);
    assert!(bench.missed(1).unwrap().common);
    bench.write(12, &[detected(1)]);
    bench.write(12, &[edge(false)]);
    assert!(!bench.missed(1).unwrap().common, "another silence");
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
    assert!(bench.missed(1).is_some(), "the path of host monitor 12 was not heard of since");
    bench.write(12, &[opened(1)]);
    assert!(bench.missed(1).is_some(), "nor does a handshake make it count again");
    bench.write(12, &[detected(1)]);
    assert_eq!(bench.missed(1), None);
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
    assert_eq!(bench.missed_s(1), Some((5, 5)), "where it was says nothing any more");
}

pub(crate) fn a_reopened_path_keeps_its_silence(bench: &mut Bench) {
    bench.started();
    bench.pass_alive(60, &[11, 12]);
    bench.write(11, &[missing(1, 30)]);
    bench.write(12, &[missing(1, 30), opened(1)]);
    assert_eq!(bench.missed_s(1), Some((30, 30)), "only heartbeats end it");
}

pub(crate) fn a_handshake_elsewhere_hides_no_silence(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[opened(1), detected(1)]);
    bench.pass_alive(60, &[11, 12]);
    bench.write(11, &[missing(1, 30)]);
    bench.write(12, &[opened(1)]);
    assert_eq!(bench.missed_s(1), Some((30, 30)), "silent on 11, and only a handshake on 12");
    assert_eq!(bench.vm(1).paths.len(), 1, "paths that do not count are not shown");
    bench.write(12, &[detected(1)]);
    assert_eq!(bench.missed(1), None, "but heartbeats are life");
}

pub(crate) fn a_path_counts_from_its_first_edge(bench: &mut Bench) {
    let path = |bench: &mut Bench, number| bench.store.roster(hm(number)).unwrap().vms[0].path.clone();
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.pass_alive(60, &[11, 12]);
    for number in [11, 12] {
        bench.write(number, &[opened(1), opened(1)]);
        assert_eq!(path(bench, number), None);
    }
    assert!(bench.vm(1).agent_seen_at.is_some());
    assert_eq!((bench.vm(1).paths.len(), bench.missed(1)), (0, None), "nothing is known of it yet");
    bench.write(12, &[missing(1, 19)]);
    assert_eq!(bench.missed_s(1), Some((19, 19)), "it shook hands with 11 too, and died");
    let expected = RosterPath { mac: "02:00:00:00:00:01".into(), missed: Some(seconds(19)) };
    assert_eq!((path(bench, 11), path(bench, 12)), (None, Some(expected)));
    bench.write(11, &[detected(1)]);
    assert_eq!((path(bench, 11).unwrap().missed, bench.missed(1)), (None, None));
    bench.write(11, &[HostMonitorWrite::PathForgotten { vm: vm(1) }, opened(1)]);
    assert_eq!(
        (path(bench, 11), bench.missed_s(1)),
        (None, Some((19, 19))),
        "forgotten, it must be heard anew"
    );
}

pub(crate) fn the_roster_expects_visitors(bench: &mut Bench) {
    bench.started();
    bench.add_host(2);
    bench.started_vm(2, 5);
    let settings = VmSettings { heartbeat_interval_ms: Some(700), ..VmSettings::default() };
    bench.store.vm_settings_replace(vm(1), &settings).unwrap();
    let visiting = |bench: &mut Bench, number| {
        let roster = bench.store.roster(hm(number)).unwrap();
        let asked: Vec<_> = roster.vms.iter().chain(&roster.visiting).map(|vm| vm.uuid).collect();
        let standings = bench.store.standings(hm(number), &asked).unwrap();
        for (vm, standing) in standings {
            let visitor = roster.visiting.iter().find(|visitor| visitor.uuid == vm).cloned();
            assert_eq!(standing, visitor.map_or(Standing::Here, Standing::Elsewhere));
        }
        roster.visiting
    };
    bench.write(21, &[opened(1)]);
    assert_eq!(visiting(bench, 21), [], "it did not beat there");
    bench.write(21, &[detected(1)]);
    let path = |missed| Some(RosterPath { mac: "02:00:00:00:00:01".into(), missed });
    let visitor = |state, suspended, missed| RosterVm {
        uuid: vm(1),
        state,
        suspended,
        heartbeat_interval_ms: Some(700),
        path: path(missed),
    };
    assert_eq!(visiting(bench, 21), [visitor(VmState::Started, None, None)]);
    assert_eq!((visiting(bench, 22), visiting(bench, 11)), (vec![], vec![]), "only where it was heard");
    bench.write(21, &[missing(1, 0), suspended(1, SuspendReason::Os)]);
    bench.pass(9);
    bench.start_monitor(21);
    let os = Some(SuspendReason::Os);
    assert_eq!(visiting(bench, 21), [visitor(VmState::Suspended, os, Some(seconds(9)))]);
    bench.write(21, &[HostMonitorWrite::PathForgotten { vm: vm(1) }]);
    assert_eq!(visiting(bench, 21), []);

    bench.start_monitor(31);
    bench.write(31, &[detected(1)]);
    assert_eq!(visiting(bench, 31).len(), 1, "to one without a host everybody is a visitor");
    bench.store.vms_start(&[vm(1)]).unwrap();
    assert_eq!(visiting(bench, 31), [], "it counts when it is heard again");
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
