use std::time::Duration;

use vmpulse_store::*;

use crate::bench::*;

const OS: SuspendReason = SuspendReason::Os;
const ADMINISTRATOR: SuspendReason = SuspendReason::Administrator;

fn resumed(number: u32) -> HostMonitorWrite {
    HostMonitorWrite::Resumed { vm: vm(number), age: Duration::ZERO }
}

pub(crate) fn started_when_every_responsive_monitor_has_a_beating_path(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    assert_eq!(bench.vm(1).agent_seen_at, None);
    bench.write(11, &[opened(1), detected(1)]);
    assert!(bench.vm(1).agent_seen_at.is_some());
    assert_eq!(bench.vm(1).state, VmState::Starting, "one path of two");
    bench.write(12, &[opened(1)]);
    assert_eq!(bench.vm(1).state, VmState::Starting, "open is not beating");
    bench.write(12, &[detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
    bench.write(12, &[missing(1, 19)]);
    assert_eq!(bench.vm(1).state, VmState::Started, "silence is no state");
}

pub(crate) fn a_silent_monitor_does_not_hold_a_vm_back(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[opened(1), detected(1)]);
    bench.pass_alive(60, &[11]);
    assert_eq!(bench.vm(1).state, VmState::Starting);
    bench.pass_alive(15, &[11]);
    assert_eq!(bench.vm(1).state, VmState::Started, "host monitor 12 is silent for 75 s");
}

pub(crate) fn a_blind_monitor_neither_starts_a_vm_nor_holds_it_back(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.write(11, &[heard(false), opened(1), detected(1)]);
    bench.write(12, &[heard(false)]);
    assert_eq!(bench.vm(1).state, VmState::Starting, "nobody knows whether it beats");
    bench.write(11, &[heard(true)]);
    assert_eq!(bench.vm(1).state, VmState::Started, "host monitor 12 does not hear it, nor anything else");
}

pub(crate) fn a_visitor_starts_when_its_only_monitor_hears_again(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    bench.add_vm(1, 1);
    bench.store.vms_start(&[vm(1)]).unwrap();
    bench.pass(75);
    bench.write(21, &[HostMonitorWrite::Heartbeat, heard(false), detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Starting);
    bench.write(21, &[heard(true)]);
    assert_eq!(bench.vm(1).state, VmState::Started, "its own host monitors are silent");
}

pub(crate) fn a_shutdown_ends_with_the_next_handshake(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspended(1, OS)]);
    bench.write(12, &[suspended(1, OS)]);
    let view = bench.vm(1);
    assert_eq!((view.state, view.suspended), (VmState::Suspended, Some(OS)));
    let roster = bench.store.roster(hm(11)).unwrap();
    assert_eq!((roster.vms[0].state, roster.vms[0].suspended), (VmState::Suspended, Some(OS)));
    bench.write(12, &[resumed(1), detected(1)]);
    assert_eq!(bench.vm(1).state, VmState::Suspended, "neither RESUME nor a heartbeat ends it");
    bench.write(12, &[opened(1)]);
    let view = bench.vm(1);
    assert_eq!((view.state, view.suspended), (VmState::Started, None));
}

pub(crate) fn an_administrators_suspension_ends_with_resume_only(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspended(1, ADMINISTRATOR)]);
    bench.write(11, &[opened(1), detected(1)]);
    let view = bench.vm(1);
    assert_eq!((view.state, view.suspended), (VmState::Suspended, Some(ADMINISTRATOR)));
    assert_eq!(bench.store.vms_start(&[vm(1)]).unwrap(), Vec::<TransactionTag>::new(), "nor does START_VM");
    assert_eq!(bench.vm(1).state, VmState::Suspended);
    bench.write(12, &[resumed(1)]);
    bench.write(11, &[resumed(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
}

pub(crate) fn both_suspensions_must_end(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspended(1, ADMINISTRATOR), suspended(1, OS), opened(1)]);
    assert_eq!(bench.vm(1).suspended, Some(ADMINISTRATOR));
    bench.write(11, &[suspended(1, SuspendReason::Daemon), resumed(1)]);
    assert_eq!(bench.vm(1).suspended, Some(SuspendReason::Daemon));
    bench.write(11, &[opened(1)]);
    assert_eq!(bench.vm(1).state, VmState::Started);
}

pub(crate) fn silence_before_a_suspension_ended_counts_for_nothing(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspended(1, OS), missing(1, 19)]);
    bench.write(12, &[missing(1, 19)]);
    bench.pass_alive(3600, &[11, 12]);
    assert_eq!(bench.missed(1), None, "suspended");
    bench.write(11, &[opened(1)]);
    assert_eq!(bench.missed_s(1), Some((0, 0)), "both paths are still silent, but from now on");
    let roster = bench.store.roster(hm(12)).unwrap();
    assert_eq!(roster.vms[0].path.as_ref().unwrap().missed, Some(seconds(0)));
    bench.pass(5);
    assert_eq!(bench.missed_s(1), Some((5, 5)));
    bench.write(11, &[detected(1)]);
    assert_eq!(bench.missed(1), None);
}

pub(crate) fn a_started_suspended_vm_starts_anew(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspended(1, OS)]);
    assert_eq!(bench.store.vms_start(&[vm(1)]).unwrap().len(), 2);
    assert_eq!(bench.vm(1).state, VmState::Starting);
    bench.write(11, &[opened(1)]);
    assert_eq!(bench.vm(1).state, VmState::Starting, "the old suspension is gone with all it remembered");
}

/// Host 1 hears of everything in batches, host 2 one by one.
pub(crate) fn many_at_once_are_as_one_by_one(bench: &mut Bench) {
    for on_host in [1, 2] {
        bench.add_host(on_host);
        bench.started_vm(on_host, 10 * on_host + 1);
    }
    for on_host in [1, 2] {
        vms_of_all_kinds(bench, on_host);
    }
    bench.write(11, &edges_of_all_kinds(10));
    for write in edges_of_all_kinds(20) {
        bench.write(21, &[write]);
    }
    for first in [10, 20] {
        let other = [missing(first + 1, 4), missing(first + 2, 3), detected(first + 3), detected(first + 6)];
        bench.write(first + 2, &other);
    }
    assert_eq!(needing_attention(bench, 1), needing_attention(bench, 2));
    for n in 1..=8 {
        let [one, other] = [10, 20].map(|first| {
            let view = bench.vm(first + n);
            let path = |path: &PathView| (path.missed, path.known, path.mac.len());
            let paths: Vec<_> = view.paths.iter().map(path).collect();
            (view.state, view.suspended, view.agent_seen_at, view.missed, paths)
        });
        assert_eq!(one, other, "VM {n}");
    }
}

/// STARTED, STARTING, suspended twice over, known to one monitor, known as a stranger, only ADDED.
fn vms_of_all_kinds(bench: &mut Bench, on_host: u32) {
    let first = 10 * on_host;
    for n in 2..=8 {
        bench.add_vm(on_host, first + n);
    }
    let started: Vec<_> = (2..=7).map(|n| vm(first + n)).collect();
    bench.store.vms_start(&started).unwrap();
    let [left, right] = [first + 1, first + 2];
    bench.write(left, &[suspended(first + 3, SuspendReason::Os)]);
    bench.write(left, &[suspended(first + 4, SuspendReason::Administrator)]);
    bench.write(left, &[stranger(&vm(first + 2).to_string(), Discovery::Unmanaged)]);
    bench.write(right, &[opened(first + 5), detected(first + 5)]);
}

fn edges_of_all_kinds(first: u32) -> Vec<HostMonitorWrite> {
    // The seventh of them is the other host's, the ninth nobody's, and the sixth comes twice.
    let vms = [1, 2, 3, 4, 5, 6, 7, 8, 9, 6].map(|n| if n == 7 { 34 - first } else { first + n });
    let silent = [missing(first + 1, 7), missing(first + 1, 5), missing(first + 2, 9), missing(first + 8, 9)];
    [vms.map(opened).as_slice(), vms.map(detected).as_slice(), silent.as_slice()].concat()
}

/// Last digit of the VM, and what is said of it.
type Said = (u32, VmState, Option<MissedHeartbeats>, bool, Option<Discovery>);

fn needing_attention(bench: &mut Bench, on_host: u32) -> Vec<Said> {
    let entries = bench.store.needs_attention_of(&host(on_host)).unwrap().hosts.remove(0).vms;
    let said = |entry: VmAttention| {
        let number = (1..40).find(|n| vm(*n).to_string() == entry.uuid).unwrap();
        (number % 10, entry.state, entry.missed, entry.state_changed, entry.discovery)
    };
    let mut entries: Vec<_> = entries.into_iter().map(said).collect();
    entries.sort_by_key(|entry| (entry.0, entry.4.is_some()));
    entries
}
