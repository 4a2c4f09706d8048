//! What `simulate` prints, for whoever has to find out why a seed failed.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use vmpulse_sim::trace::LAST;

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap()
}

/// By a fault that is known: tests/known.rs sees to it that there is one.
#[test]
fn what_fails_is_cut_to_its_last_events_and_says_how_to_repeat_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("known");
    let mut plans: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    plans.sort();
    let plan = plans[0].to_str().unwrap();
    let output = simulate(&["--replay", plan]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("the last {LAST} events:")), "{text}");
    assert!(text.contains("FOUND by "), "{text}");
    assert!(text.contains(&format!("again: simulate --replay {plan} --trace")), "{text}");
    // Those that led to it, not those at the end of the run.
    let found: f64 = text
        .split("FOUND by ")
        .nth(1)
        .unwrap()
        .split(" at ")
        .nth(1)
        .unwrap()
        .split('s')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let events = text.split("events:\n").nth(1).unwrap().lines().take(LAST);
    let last: f64 = events.last().unwrap().split_whitespace().next().unwrap().parse().unwrap();
    assert!(last <= found + 0.001 && found - last < 60.0, "{text}");
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
