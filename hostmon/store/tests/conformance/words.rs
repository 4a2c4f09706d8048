//! What guests say of themselves, read or written late.

use vmpulse_store::*;

use crate::bench::*;

const OS: SuspendReason = SuspendReason::Os;
const ADMINISTRATOR: SuspendReason = SuspendReason::Administrator;

fn suspend(reason: SuspendReason, age_s: u64) -> HostMonitorWrite {
    HostMonitorWrite::Suspended { vm: vm(1), reason, age: seconds(age_s) }
}

fn resume(age_s: u64) -> HostMonitorWrite {
    HostMonitorWrite::Resumed { vm: vm(1), age: seconds(age_s) }
}

/// A handshake of VM `number`.
fn open(number: u32, age_s: u64) -> HostMonitorWrite {
    let mut write = opened(number);
    if let HostMonitorWrite::PathOpened { age, .. } = &mut write {
        *age = seconds(age_s);
    }
    write
}

fn suspended_by(bench: &mut Bench) -> Option<SuspendReason> {
    let view = bench.vm(1);
    assert_eq!(view.state == VmState::Suspended, view.suspended.is_some());
    view.suspended
}

pub(crate) fn a_suspension_written_late_does_not_undo_a_resume(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspend(ADMINISTRATOR, 0)]);
    bench.pass(100);
    bench.write(11, &[resume(0)]);
    bench.pass(40);
    bench.write(12, &[suspend(ADMINISTRATOR, 140)]);
    assert_eq!(suspended_by(bench), None, "it was said before the RESUME");
    bench.write(12, &[suspend(ADMINISTRATOR, 20)]);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR), "and this one after it");
}

pub(crate) fn a_resume_written_late_does_not_undo_a_suspension(bench: &mut Bench) {
    bench.started();
    bench.pass(100);
    bench.write(11, &[suspend(ADMINISTRATOR, 50)]);
    bench.write(12, &[resume(61)]);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR));
    bench.write(12, &[resume(30)]);
    assert_eq!(suspended_by(bench), None);
    // It is told on each path: the same again, later.
    bench.pass(100);
    bench.write(11, &[suspend(ADMINISTRATOR, 150), resume(130)]);
    assert_eq!(suspended_by(bench), None);
}

/// However long its writes took.
pub(crate) fn words_of_one_monitor_count_in_their_order(bench: &mut Bench) {
    bench.started();
    bench.pass(100);
    bench.write(11, &[suspend(ADMINISTRATOR, 0), resume(90)]);
    assert_eq!(suspended_by(bench), None);
    bench.write(11, &[suspend(OS, 0), open(1, 90)]);
    assert_eq!(suspended_by(bench), None);
    bench.write(11, &[suspend(OS, 99)]);
    assert_eq!(suspended_by(bench), Some(OS));
}

pub(crate) fn words_that_are_about_as_old_count_as_they_are_written(bench: &mut Bench) {
    bench.started();
    bench.pass(100);
    bench.write(11, &[suspend(ADMINISTRATOR, 30)]);
    bench.write(12, &[resume(30)]);
    assert_eq!(suspended_by(bench), None, "equally old");
    bench.write(11, &[suspend(ADMINISTRATOR, 40)]);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR), "by no more than a write may take");
    bench.write(12, &[resume(41)]);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR), "the newest stays the one that counts");
}

pub(crate) fn a_suspension_that_the_controller_ended_does_not_come_back(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspend(ADMINISTRATOR, 0)]);
    bench.pass(50);
    let list = VmList { host: None, vms: vec![vm(1)] };
    bench.store.vms_stop(std::slice::from_ref(&list)).unwrap();
    bench.store.vms_start_listed(&[list]).unwrap();
    bench.pass(50);
    bench.write(12, &[suspend(ADMINISTRATOR, 100)]);
    assert_eq!(suspended_by(bench), None);
    bench.write(12, &[suspend(ADMINISTRATOR, 40)]);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR));
}

pub(crate) fn a_shutdown_written_late_is_over_if_the_agent_shook_hands_since(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspend(ADMINISTRATOR, 0)]);
    bench.pass(200);
    bench.write(11, &[open(1, 60)]);
    bench.write(12, &[suspend(OS, 125)]);
    bench.write(11, &[resume(0)]);
    assert_eq!(suspended_by(bench), None, "nor has the handshake ended what the administrator said");
    bench.write(12, &[suspend(OS, 69)]);
    assert_eq!(suspended_by(bench), Some(OS), "as old as the handshake");
}

pub(crate) fn handshakes_of_many_overtake_shutdowns_as_those_of_one(bench: &mut Bench) {
    bench.started();
    bench.started_vm(1, 2);
    bench.started_vm(1, 3);
    bench.pass(200);
    bench.write(11, &[open(2, 60), open(3, 160)]);
    let shutdown = |number| HostMonitorWrite::Suspended { vm: vm(number), reason: OS, age: seconds(125) };
    bench.write(12, &[shutdown(2), shutdown(3)]);
    let states = [bench.vm(2).state, bench.vm(3).state];
    assert_eq!(states, [VmState::Started, VmState::Suspended], "the third was shut down after its handshake");
}

pub(crate) fn a_handshake_written_late_ends_no_later_shutdown(bench: &mut Bench) {
    bench.started();
    bench.pass(200);
    bench.write(11, &[suspend(OS, 30)]);
    bench.write(12, &[open(1, 100)]);
    assert_eq!(suspended_by(bench), Some(OS));
    bench.write(12, &[open(1, 20)]);
    assert_eq!(suspended_by(bench), None);
}

pub(crate) fn a_shutdown_is_as_old_as_its_first_word(bench: &mut Bench) {
    bench.started();
    bench.pass(200);
    bench.write(11, &[suspend(OS, 100)]);
    bench.write(12, &[suspend(OS, 20)]);
    bench.write(12, &[open(1, 60)]);
    assert_eq!(suspended_by(bench), None, "the agent came back after it was told that it stops");
    bench.write(11, &[suspend(OS, 50)]);
    assert_eq!(suspended_by(bench), Some(OS), "and is stopped again");
    bench.write(12, &[open(1, 70)]);
    assert_eq!(suspended_by(bench), Some(OS), "of the first shutdown nothing is left");
}

pub(crate) fn a_clock_that_was_set_back_loses_no_word(bench: &mut Bench) {
    bench.started();
    bench.write(11, &[suspend(ADMINISTRATOR, 0), suspend(OS, 0)]);
    bench.step(-3600);
    bench.write(12, &[resume(30), open(1, 30)]);
    assert_eq!(suspended_by(bench), None);
    bench.write(11, &[suspend(ADMINISTRATOR, 25), suspend(OS, 25)]);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR));
}

/// On SQLite: it read its time, and others wrote before it got the lock.
pub(crate) fn a_late_word_that_waits_for_the_lock_undoes_nothing_newer(bench: &mut Bench) {
    let meanwhile = |bench: &mut Bench, write| {
        bench.step(3);
        bench.write(12, &[write]);
        bench.step(-3);
    };
    bench.started();
    bench.pass(300);
    meanwhile(bench, resume(0));
    bench.write(11, &[suspend(ADMINISTRATOR, 200)]);
    assert_eq!(suspended_by(bench), None, "the RESUME is newer");
    meanwhile(bench, open(1, 0));
    bench.write(11, &[suspend(OS, 200)]);
    assert_eq!(suspended_by(bench), None, "the handshake is newer");
    meanwhile(bench, suspend(OS, 0));
    bench.write(11, &[open(1, 200)]);
    assert_eq!(suspended_by(bench), Some(OS));
}

/// Writes what waits since before the monitor's machine was started anew, with ages that are the least that they can be.
fn write_of_earlier_boot(bench: &mut Bench, host_monitor: u32, writes: &[HostMonitorWrite]) {
    let writes = (1..).zip(writes.iter().cloned()).collect();
    let starts = [StartWrites { incarnation: "before".into(), writes, of_earlier_boot: true }];
    bench.connect().host_monitor_replay(hm(host_monitor), &starts).unwrap();
}

pub(crate) fn a_word_of_another_boot_overtakes_none(bench: &mut Bench) {
    bench.started();
    bench.started_vm(1, 2);
    bench.started_vm(1, 3);
    bench.pass(300);
    write_of_earlier_boot(bench, 12, &[resume(10)]);
    bench.write(11, &[suspend(ADMINISTRATOR, 150)]);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR), "it may be the newer one");
    write_of_earlier_boot(bench, 12, &[resume(10)]);
    assert_eq!(suspended_by(bench), None, "so may this");
    write_of_earlier_boot(bench, 12, &[open(1, 10), doorbell(1, 1), open(2, 10), open(3, 10)]);
    let shutdown = |number| HostMonitorWrite::Suspended { vm: vm(number), reason: OS, age: seconds(150) };
    bench.write(11, &[shutdown(1), shutdown(2)]);
    let states = [1, 2, 3].map(|number| bench.vm(number).state);
    assert_eq!(
        states,
        [VmState::Suspended, VmState::Suspended, VmState::Started],
        "one alone and one of many"
    );
    bench.write(11, &[open(1, 0)]);
    bench.pass(20);
    write_of_earlier_boot(bench, 12, &[suspend(OS, 5)]);
    assert_eq!(suspended_by(bench), Some(OS));
    bench.write(11, &[open(1, 15)]);
    assert_eq!(suspended_by(bench), None, "whether it was shut down before or after nobody knows");
}

pub(crate) fn a_word_of_another_boot_is_overtaken_by_what_is_newer_than_that_boot(bench: &mut Bench) {
    bench.started();
    bench.pass(300);
    bench.write(11, &[resume(0), open(1, 0)]);
    bench.pass(40);
    write_of_earlier_boot(bench, 12, &[suspend(ADMINISTRATOR, 60), suspend(OS, 60)]);
    assert_eq!(suspended_by(bench), None);
    write_of_earlier_boot(bench, 12, &[resume(35)]);
    bench.write(12, &[suspend(OS, 0)]);
    bench.pass(20);
    write_of_earlier_boot(bench, 11, &[open(1, 40)]);
    assert_eq!(suspended_by(bench), Some(OS));
}

/// A spool of a version that knew no ages of these.
pub(crate) fn what_an_earlier_version_kept_has_no_age(bench: &mut Bench) {
    bench.started();
    bench.pass(100);
    bench.write(11, &[resume(50)]);
    let kept = format!(r#"[{{"Suspended":{{"vm":"{}","reason":"ADMINISTRATOR"}}}}]"#, vm(1));
    let kept: Vec<HostMonitorWrite> = serde_json::from_str(&kept).unwrap();
    bench.write(12, &kept);
    assert_eq!(suspended_by(bench), Some(ADMINISTRATOR));
    let kept = format!(r#"[{{"Resumed":{{"vm":"{}"}}}}]"#, vm(1));
    let kept: Vec<HostMonitorWrite> = serde_json::from_str(&kept).unwrap();
    bench.write(11, &kept);
    assert_eq!(suspended_by(bench), None);
}
