//! The controller over a real store: silences, host monitors, reports, restarts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/bench.rs"]
#[allow(dead_code)]
mod bench;
#[path = "common/dying.rs"]
mod dying;

use std::time::Duration;

use bench::{Bench, OTHER, left, report, right, vm};
use dying::Dying;
use vmpulse_store::*;

const FAILED: &str = "VM failure detected for VM vmraix1. No recovery in this version";

#[test]
fn a_silence_grows_is_told_once_over_restarts_and_ends() {
    let mut bench = Bench::with_vm();
    bench.silence(19, false);
    bench.advance(31);
    let outcome = bench.poll();
    assert_eq!(bench.phase(), "Missed HB count 50 for VM vmraix1 is less than its VMFDT 190");
    assert_eq!(outcome.again_in, Some(Duration::from_secs(140)), "it is looked at when it reaches VMFDT");
    bench.advance(139);
    bench.poll();
    assert_eq!(bench.events("VM_"), [""; 0]);
    bench.advance(1);
    bench.poll();
    assert_eq!(bench.phase(), FAILED);
    for _ in 0..3 {
        bench.restart();
        bench.advance(60);
        bench.poll();
        bench.poll();
    }
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED"]);
    bench.heard(right());
    bench.poll();
    bench.restart();
    bench.poll();
    assert_eq!(bench.phase(), "");
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED", "VM_RECOVERED"]);
    bench.silence(200, false);
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED", "VM_RECOVERED", "VM_FAILURE_DETECTED"]);
}

#[test]
fn a_controller_that_was_down_meanwhile_goes_on_where_it_was() {
    let mut bench = Bench::with_vm();
    bench.silence(19, false);
    bench.poll();
    bench.advance(300);
    bench.restart();
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED"]);
    bench.heard(left());
    bench.advance(300);
    bench.restart();
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED", "VM_RECOVERED"]);
}

#[test]
fn killed_after_any_write_nothing_is_lost_and_nothing_told_twice() {
    // A turn makes up to 13.
    for writes in 0..16 {
        let mut bench = Bench::with_vm();
        let killed_then_whole = |bench: &mut Bench| {
            let mut dying = Dying::after(writes, bench.connect());
            bench.poll_over(&mut dying);
            bench.restart();
            bench.poll();
        };
        bench.silence(200, false);
        killed_then_whole(&mut bench);
        bench.heard(left());
        bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
        killed_then_whole(&mut bench);
        bench.report(&report("FAILURE", "RED"));
        killed_then_whole(&mut bench);
        bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
        killed_then_whole(&mut bench);
        bench.report(&report("NORMAL", "GREEN"));
        killed_then_whole(&mut bench);
        bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
        killed_then_whole(&mut bench);
        bench.report(&report("FAILURE", "RED"));
        killed_then_whole(&mut bench);
        let told = ["VM_FAILURE_DETECTED", "VM_RECOVERED"];
        assert_eq!(bench.events("VM_"), told, "killed after {writes} writes");
        assert_eq!(bench.events("APP_"), ["APP_FAILURE_DETECTED"; 2], "killed after {writes} writes");
        assert_eq!(bench.events("VIOS_"), ["VIOS_HM_RESP_DETECTED"; 2]);
        assert_eq!(bench.monitors.applications().unwrap()[0].report.colour, Colour::Red);
        assert_eq!(bench.monitors.reports_pending().unwrap(), []);
    }
}

#[test]
fn an_isolated_host_monitor_is_told_once_each_way_and_accuses_nobody() {
    let mut bench = Bench::with_vm();
    let isolated = |bench: &mut Bench, monitor, isolated| {
        bench.write(monitor, HostMonitorWrite::Isolated { isolated });
        bench.write(monitor, HostMonitorWrite::TrunkHeard { heard: !isolated });
    };
    let told = |bench: &mut Bench| bench.events("VIOS_ISOLAT");
    bench.poll();
    bench.silence(30, false);
    for monitor in [left(), right()] {
        isolated(&mut bench, monitor, true);
    }
    bench.advance(400);
    bench.poll();
    bench.poll();
    assert_eq!((told(&mut bench), bench.events("VM_").len()), (vec!["VIOS_ISOLATED".to_owned(); 2], 0));
    bench.restart();
    bench.poll();
    assert_eq!(told(&mut bench).len(), 2, "another controller tells it no more");
    bench.heard(left());
    for monitor in [left(), right()] {
        isolated(&mut bench, monitor, false);
    }
    bench.advance(10);
    bench.poll();
    assert_eq!(told(&mut bench)[2..], ["VIOS_ISOLATION_OVER", "VIOS_ISOLATION_OVER"]);
    isolated(&mut bench, left(), true);
    bench.advance(10);
    bench.poll();
    assert_eq!(told(&mut bench).len(), 5, "and again when it happens again");
}

#[test]
fn one_silent_path_is_nothing() {
    let mut bench = Bench::with_vm();
    bench.write(
        left(),
        HostMonitorWrite::PathMissing { vm: vm(), age: Duration::from_secs(19), common: false },
    );
    bench.advance(400);
    bench.poll();
    assert_eq!((bench.phase().as_str(), bench.events("VM_").len()), ("", 0));
}

#[test]
fn a_suspended_vm_may_be_silent() {
    for reason in [SuspendReason::Os, SuspendReason::Daemon, SuspendReason::Administrator] {
        let mut bench = Bench::with_vm();
        bench.write(left(), HostMonitorWrite::Suspended { vm: vm(), reason, age: Duration::ZERO });
        bench.silence(19, false);
        bench.advance(400);
        bench.poll();
        assert_eq!((bench.phase().as_str(), bench.events("VM_").len()), ("", 0), "{reason}");
    }
}

#[test]
fn a_failed_vm_that_is_suspended_leaves_no_incident_behind() {
    let mut bench = Bench::with_vm();
    bench.silence(200, false);
    bench.poll();
    bench.write(
        left(),
        HostMonitorWrite::Suspended { vm: vm(), reason: SuspendReason::Administrator, age: Duration::ZERO },
    );
    bench.poll();
    assert_eq!(bench.phase(), "");
    bench.write(left(), HostMonitorWrite::Resumed { vm: vm(), age: Duration::ZERO });
    bench.advance(400);
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED"; 2], "it is a new incident");
}

#[test]
fn without_host_monitors_nothing_is_known_and_nobody_failed() {
    let mut bench = Bench::with_vm();
    bench.alive.clear();
    bench.advance(400);
    bench.poll();
    assert!(bench.phase().starts_with("Heartbeats of VM vmraix1 are unknown"), "{}", bench.phase());
    assert_eq!(bench.events("VM_"), [""; 0]);
    assert_eq!(bench.events("VIOS_FAILURE").len(), 2);
    assert_eq!(bench.events("ALL_VIOS").len(), 1);
    bench.restart();
    bench.poll();
    bench.alive = vec![left(), right()];
    bench.advance(1);
    bench.poll();
    assert_eq!(bench.phase(), "");
    let told: Vec<_> = bench.events("").into_iter().skip(2).collect();
    let expected = [
        "VIOS_FAILURE",
        "VIOS_FAILURE",
        "ALL_VIOS_UNREACHABLE",
        "VIOS_HM_RESP_DETECTED",
        "VIOS_HM_RESP_DETECTED",
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_old_silent_path_takes_no_grace_away_when_the_other_monitor_dies() {
    let mut bench = Bench::with_vm();
    bench.write(
        left(),
        HostMonitorWrite::PathMissing { vm: vm(), age: Duration::from_secs(19), common: false },
    );
    bench.advance(3600);
    bench.alive = vec![left()];
    bench.advance(90);
    bench.poll();
    assert_eq!(bench.phase(), "Missed HB count 90 for VM vmraix1 is less than its VMFDT 190");
    assert_eq!(bench.events("VM_"), [""; 0]);
    bench.alive = vec![left(), right()];
    bench.advance(1);
    bench.poll();
    assert_eq!((bench.phase().as_str(), bench.events("VM_").len()), ("", 0));
}

#[test]
fn a_shutdown_on_purpose_is_for_the_record_only() {
    let mut bench = Bench::with_vm();
    bench.write(
        left(),
        HostMonitorWrite::NodeChanged {
            state: NodeState::Down,
            reason: REASON_NODE_SHUTDOWN,
            mode: MonitorMode::Down,
        },
    );
    bench.alive = vec![right()];
    bench.advance(400);
    for _ in 0..2 {
        bench.restart();
        bench.poll();
    }
    assert_eq!(bench.events("VIOS_NODE"), ["VIOS_NODE_SHUTDOWN"]);
    assert_eq!(bench.event("VIOS_NODE_SHUTDOWN").severity, Severity::Informational);
    assert_eq!(bench.events("VIOS_FAILURE").len() + bench.events("ALL_VIOS").len(), 0);
}

#[test]
fn a_common_silence_is_told_as_such() {
    let mut bench = Bench::with_vm();
    bench.silence(200, true);
    bench.poll();
    let event = bench.event("VM_FAILURE_DETECTED");
    assert!(event.description.contains("together with most guests of its trunk"), "{}", event.description);
}

#[test]
fn a_stepped_clock_makes_nobody_silent_for_longer_than_seen() {
    let mut bench = Bench::with_vm();
    bench.silence(19, false);
    bench.poll();
    bench.step_clock(3600);
    bench.advance(1);
    bench.poll();
    assert_eq!(bench.events("VM_"), [""; 0]);
    assert_eq!(bench.events("STORE_"), ["STORE_CLOCK_STEPPED"]);
    bench.advance(100);
    bench.poll();
    assert_eq!(bench.phase(), "Missed HB count 100 for VM vmraix1 is less than its VMFDT 190");
    bench.advance(90);
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED"]);
}

#[test]
fn an_outage_of_the_store_starts_the_count_anew() {
    let mut bench = Bench::with_vm();
    bench.silence(19, false);
    bench.poll();
    let now = bench.now();
    bench.controller.on_failure(now);
    bench.advance(300);
    bench.poll();
    assert_eq!(
        (bench.events("VM_").len(), bench.events("STORE_")),
        (0, vec!["STORE_UNREACHABLE".to_owned()])
    );
    bench.advance(190);
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED"]);
    let now = bench.now();
    bench.controller.on_failure(now);
    bench.poll();
    assert_eq!(bench.events("STORE_").len(), 2, "after a minute of well-being a new outage is told again");
}

#[test]
fn a_vm_that_does_not_get_started_is_told_once() {
    let mut bench = Bench::new();
    bench.add(OTHER, "slow");
    bench.advance(127);
    bench.poll();
    assert_eq!(bench.events("VM_"), [""; 0]);
    bench.advance(1);
    bench.poll();
    bench.restart();
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_START_DELAYED"]);
    bench.advance(1000);
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_START_DELAYED"], "a VM without an agent never fails");
}

#[test]
fn a_short_detection_time_is_kept_and_asks_for_speed() {
    let mut bench = Bench::with_vm();
    assert!(!bench.poll().fast);
    bench.shown("mod vm vmraix1 heartbeat_interval=100 vm_failure_detection_time=0.3");
    let outcome = bench.poll();
    assert!(outcome.fast && outcome.again_in.is_none());
    for on in [left(), right()] {
        let age = Duration::from_millis(190);
        bench.write(on, HostMonitorWrite::PathMissing { vm: vm(), age, common: false });
    }
    let outcome = bench.poll();
    assert_eq!(outcome.again_in, Some(Duration::from_millis(110)));
    assert_eq!(bench.phase(), "Missed HB count 0.1 for VM vmraix1 is less than its VMFDT 0.3");
    bench.advance(1);
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_FAILURE_DETECTED"]);
}

#[test]
fn a_doorbell_brings_the_report() {
    let mut bench = Bench::with_vm();
    bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
    assert_eq!(bench.poll().reports_pending, Some(true));
    bench.report(&report("FAILURE", "RED"));
    let now = bench.now();
    assert!(!bench.controller.reports(&mut bench.reader, now).unwrap());
    assert_eq!(bench.monitors.applications().unwrap()[0].report.status, "FAILURE");
    let event = bench.event("APP_FAILURE_DETECTED");
    assert_eq!(
        event.resource,
        "APP : app1 ID 1567267349133928000 VM vmraix1 UUID 61BE20F0-09A8-4753-B5E5-564F8A545ED5"
    );
    assert_eq!(bench.poll().reports_pending, Some(false), "the doorbell was answered");
    let answer = bench.monitors.needs_attention().unwrap();
    assert_eq!(answer.tag, None, "and nothing is left to acknowledge: {answer:?}");
}

#[test]
fn a_report_that_arrives_while_others_are_taken_is_looked_for_again() {
    let mut bench = Bench::with_vm();
    bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
    assert_eq!(bench.poll().reports_pending, Some(true));
    let message = bench.monitors.reports_pending().unwrap()[0].tag;
    let payload = report("FAILURE", "RED").into_bytes();
    let mut monitor = bench.connect();
    let mut store = Dying::meanwhile(bench.connect(), move || {
        let write = HostMonitorWrite::Report { vm: vm(), message, payload };
        monitor.host_monitor_apply(left(), &[write]).unwrap();
    });
    let now = bench.now();
    let looks_again = bench.controller.reports(&mut store, now).unwrap();
    let taken = !bench.monitors.applications().unwrap().is_empty();
    assert!(looks_again || taken, "it would lie there until the next doorbell");
    assert!(!bench.controller.reports(&mut store, now).unwrap());
    assert_eq!(bench.monitors.applications().unwrap()[0].report.status, "FAILURE");
}

#[test]
fn a_doorbell_waits_for_a_path() {
    let mut bench = Bench::with_vm();
    bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
    bench.silence(19, false);
    // A state change under the same tag must not take the doorbell with it.
    bench.add(OTHER, "vm2");
    bench.open(OTHER.parse().unwrap(), left());
    bench.open(OTHER.parse().unwrap(), right());
    assert_eq!(bench.poll().reports_pending, Some(false));
    bench.heard(right());
    assert_eq!(bench.poll().reports_pending, Some(true));
    assert_eq!(bench.monitors.needs_attention().unwrap().tag, None, "now both are acknowledged");
}

#[test]
fn an_incident_of_a_report_that_was_never_applied_ends_too() {
    let mut bench = Bench::with_vm();
    let ring = |bench: &mut Bench| bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
    ring(&mut bench);
    bench.poll();
    bench.report(&report("FAILURE", "RED"));
    ring(&mut bench);
    // It asks again and tells the failure; then it is killed, and the next report takes the place of the first.
    let mut dying = Dying::after(2, bench.connect());
    assert!(!bench.poll_over(&mut dying));
    assert_eq!(bench.events("APP_"), ["APP_FAILURE_DETECTED"]);
    bench.report(&report("NORMAL", "GREEN"));
    bench.restart();
    bench.poll();
    ring(&mut bench);
    bench.poll();
    bench.report(&report("FAILURE", "RED"));
    bench.poll();
    assert_eq!(bench.events("APP_"), ["APP_FAILURE_DETECTED"; 2]);
}

#[test]
fn a_late_report_is_asked_for_again() {
    let mut bench = Bench::with_vm();
    bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
    bench.poll();
    let first = bench.monitors.reports_pending().unwrap()[0].tag;
    bench.advance(29);
    bench.poll();
    assert_eq!(bench.monitors.reports_pending().unwrap()[0].tag, first);
    bench.advance(1);
    bench.poll();
    let pending = bench.monitors.reports_pending().unwrap();
    assert!(pending.len() == 1 && pending[0].tag != first, "{pending:?}");
}

#[test]
fn a_malformed_report_is_told_once_and_taken_off() {
    let mut bench = Bench::with_vm();
    let exchange = |bench: &mut Bench, payload: &str| {
        bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
        bench.poll();
        bench.report(payload);
        bench.poll();
        assert_eq!(bench.monitors.reports_arrived().unwrap(), []);
        assert_eq!(bench.monitors.reports_pending().unwrap(), []);
    };
    exchange(&mut bench, &report("NORMAL", "GREEN"));
    exchange(&mut bench, "<!DOCTYPE report><report/>");
    exchange(&mut bench, &report("NORMAL", "PINK"));
    assert_eq!(bench.events("APP_"), ["APP_REPORT_REJECTED"]);
    assert_eq!(
        bench.monitors.applications().unwrap()[0].report.colour,
        Colour::Green,
        "what was known stays"
    );
    exchange(&mut bench, &report("FAILING", "YELLOW"));
    exchange(&mut bench, "garbage");
    assert_eq!(bench.events("APP_"), ["APP_REPORT_REJECTED"; 2]);
    assert_eq!(bench.monitors.applications().unwrap()[0].report.colour, Colour::Yellow);
}

#[test]
fn an_application_fails_once_per_incident() {
    let mut bench = Bench::with_vm();
    for (status, colour, failures) in
        [("FAILURE", "RED", 1), ("FAILURE", "RED", 1), ("NORMAL", "GREEN", 1), ("ABNORMAL", "RED", 2)]
    {
        bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
        bench.poll();
        bench.report(&report(status, colour));
        bench.poll();
        assert_eq!(bench.events("APP_").len(), failures, "{status}");
        bench.restart();
    }
}

#[test]
fn a_steady_situation_is_not_written() {
    let mut bench = Bench::with_vm();
    bench.poll();
    let stamp = bench.monitors.change_stamp().unwrap();
    for _ in 0..3 {
        bench.poll();
    }
    assert_eq!(bench.monitors.change_stamp().unwrap(), stamp, "all is well");
    bench.silence(200, false);
    bench.poll();
    let stamp = bench.monitors.change_stamp().unwrap();
    bench.poll();
    assert_eq!(bench.monitors.change_stamp().unwrap(), stamp, "a failure that was told");
}

#[test]
fn a_name_that_reads_like_a_phase_is_only_a_name() {
    let mut bench = Bench::new();
    bench.add(bench::VM, "VM failure detected for VM x");
    bench.open(vm(), left());
    bench.poll();
    bench.write(
        left(),
        HostMonitorWrite::PathMissing { vm: vm(), age: Duration::from_secs(20), common: false },
    );
    bench.poll();
    bench.heard(left());
    bench.poll();
    assert_eq!((bench.phase().as_str(), bench.events("VM_REC").len()), ("", 0));
}
