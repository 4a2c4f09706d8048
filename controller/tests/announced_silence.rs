//! The controller over a real store: announced silences.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/bench.rs"]
#[allow(dead_code)]
mod bench;
#[path = "common/dying.rs"]
mod dying;

use std::time::Duration;

use bench::{Bench, left, right, vm};
use dying::Dying;
use vmpulse_store::*;

const FAILED: &str = "VM failure detected for VM vmraix1. No recovery in this version";

/// QUIET came to the left host monitor.
fn announce(bench: &mut Bench, asked_s: u64) {
    let (asked, reason) = (Duration::from_secs(asked_s), "backup".to_owned());
    bench.write(left(), HostMonitorWrite::QuietAsked { vm: vm(), asked, age: Duration::ZERO, reason });
}

/// The right host monitor found that it is over.
fn run_out(bench: &mut Bench) {
    let quiet = bench.monitors.roster(right()).unwrap().quiet.remove(0);
    let over = HostMonitorWrite::QuietOver { vm: vm(), sequence: quiet.sequence, age: Duration::ZERO };
    bench.write(right(), over);
}

#[test]
fn a_vm_that_announced_its_silence_is_failed_vmfdt_after_its_end_and_not_before() {
    let mut bench = Bench::with_vm();
    announce(&mut bench, 300);
    for _ in 0..10 {
        bench.advance(30);
        bench.poll();
    }
    // Somebody who did not hear of it: the store knows better.
    bench.silence(290, false);
    bench.poll();
    assert_eq!((bench.phase().as_str(), bench.events("VM_FAILURE").len()), ("", 0));
    run_out(&mut bench);
    bench.advance(19);
    bench.silence(319, false);
    bench.poll();
    assert_eq!(bench.phase(), "Missed HB count 19 for VM vmraix1 is less than its VMFDT 190");
    for _ in 0..10 {
        bench.advance(17);
    }
    bench.poll();
    assert_eq!(bench.events("VM_FAILURE").len(), 0, "silent for 489 seconds, of which 189 count");
    bench.advance(1);
    bench.poll();
    assert_eq!(bench.events("VM_"), ["VM_QUIET_BEGAN", "VM_QUIET_ENDED", "VM_FAILURE_DETECTED"]);
    let text = bench.event("VM_FAILURE_DETECTED").description;
    assert!(text.contains("Silent on all its paths for 190 seconds"), "{text}");
}

#[test]
fn an_announced_silence_of_a_failed_vm_is_the_same_incident() {
    let mut bench = Bench::with_vm();
    bench.silence(200, false);
    bench.poll();
    announce(&mut bench, 60);
    bench.poll();
    assert_eq!(bench.phase(), FAILED);
    run_out(&mut bench);
    bench.poll();
    bench.heard(left());
    bench.poll();
    let told = ["VM_FAILURE_DETECTED", "VM_QUIET_BEGAN", "VM_QUIET_ENDED", "VM_RECOVERED"];
    assert_eq!(bench.events("VM_"), told);
}

#[test]
fn a_clock_that_steps_fails_no_vm_in_its_announced_silence() {
    for step_s in [7200, -7200] {
        let mut bench = Bench::with_vm();
        announce(&mut bench, 300);
        bench.poll();
        bench.step_clock(step_s);
        bench.alive.clone().into_iter().for_each(|id| bench.write(id, HostMonitorWrite::Heartbeat));
        bench.silence(40, false);
        bench.advance(20);
        bench.poll();
        assert_eq!((bench.phase().as_str(), bench.events("VM_FAILURE").len()), ("", 0), "{step_s}");
        assert!(bench.monitors.vms().unwrap()[0].quiet.is_some());
    }
}

#[test]
fn every_announced_silence_is_told_once_whatever_is_killed() {
    for writes in 0..6 {
        let mut bench = Bench::with_vm();
        // Over before anybody looked, and another one.
        announce(&mut bench, 300);
        bench.write(left(), HostMonitorWrite::QuietEnded { vm: vm(), age: Duration::ZERO });
        announce(&mut bench, 590);
        bench.advance(590);
        run_out(&mut bench);
        announce(&mut bench, 1);
        let mut dying = Dying::after(writes, bench.connect());
        bench.poll_over(&mut dying);
        bench.restart();
        bench.poll();
        bench.poll();
        let both = ["VM_QUIET_BEGAN", "VM_QUIET_ENDED"];
        let told = [&both[..], &both[..], &["VM_QUIET_REFUSED"]].concat();
        assert_eq!(bench.events("VM_"), told, "killed after {writes} writes");
    }
    let mut bench = Bench::with_vm();
    announce(&mut bench, 60);
    bench.advance(20);
    bench.write(left(), HostMonitorWrite::QuietEnded { vm: vm(), age: Duration::ZERO });
    bench.poll();
    let texts = ["BEGAN", "ENDED"].map(|name| bench.event(&format!("VM_QUIET_{name}")).description);
    let expected = [
        "0000-205 VM: vmraix1 announced to be silent for up to 60 seconds: backup. Until then its silence is not counted.",
        "0000-206 VM: the announced silence of vmraix1 was ended by the guest after 20 seconds: backup. Its silence \
         counts again.",
    ];
    assert_eq!(texts, expected);
}
