//! What `simulate` prints, for whoever has to find out why a seed failed.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use vmpulse_sim::trace::LAST;

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap()
}

/// It ends while the store refuses, so that what waits for it is found: no fault of the product, that somebody might mend.
const ENDS_ILL: &str = "cluster seed=1 hosts=2 trunks=2 vms=8 apps=1
at 200 guest vm1 freeze
at 230 store refuses
end 260
";

#[test]
fn what_fails_is_cut_to_its_last_events_and_says_how_to_repeat_it() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("ends-ill.plan");
    std::fs::write(&plan, ENDS_ILL).unwrap();
    let plan = plan.to_str().unwrap();
    let output = simulate(&["--replay", plan]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("the last {LAST} events:")), "{text}");
    assert!(text.contains("FOUND by "), "{text}");
    let again = "cargo run --release -p vmpulse-sim --bin simulate --";
    assert!(text.contains(&format!("again: {again} --replay {plan} --trace\n")), "{text}");
    // Those that led to it, and none of those that came after it: the end of the second monitor and of the VMs.
    let events: Vec<_> = text.split("events:\n").nth(1).unwrap().lines().take(LAST + 1).collect();
    assert!(events[LAST - 1].contains("final    h1a "), "{text}");
    assert!(events[LAST].starts_with("  FOUND by "), "{text}");
    // The trace's hash, two headings, and what was found: a few lines at most.
    assert!(text.lines().count() < LAST + 25, "{text}");
}

#[test]
fn seeds_that_are_well_say_so_and_wrong_usage_is_told_apart() {
    let output = simulate(&["--seeds", "1..6", "--jobs", "2"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "6 seeds, 0 failed: []\n");
    assert_eq!(simulate(&["--seeds", "6..1"]).status.code(), Some(2));
    assert_eq!(simulate(&[]).status.code(), Some(2));
}

/// `simulate --seed 7 --trace | head`: whoever reads has seen enough.
#[test]
fn nobody_who_reads_ends_it_quietly() {
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_simulate"));
    simulate.args(["--seeds", "1..1000000", "--hashes"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut simulate = simulate.spawn().unwrap();
    let mut reader = simulate.stdout.take().unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    drop(reader);
    let output = simulate.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(141), "{said}");
    assert!(!said.contains("panicked") && !said.contains("cannot print"), "{said}");
}
