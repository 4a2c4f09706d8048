//! What `simulate` prints, for whoever has to find out why a seed failed.

use std::process::{Command, Output};

use vmpulse_sim::trace::LAST;

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap()
}

/// By a fault that is known: tests/known.rs sees to it that there is one.
#[test]
fn what_fails_is_cut_to_its_last_events_and_says_how_to_repeat_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("known");
    let plan = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let plan = plan.to_str().unwrap();
    let output = simulate(&["--replay", plan]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("the last {LAST} events:")), "{text}");
    assert!(text.contains("FOUND by "), "{text}");
    assert!(text.contains(&format!("again: simulate --replay {plan} --trace")), "{text}");
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
