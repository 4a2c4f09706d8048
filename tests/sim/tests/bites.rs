//! With the feature `deliberate-bugs`: that a fault is found at all. `simulate bite` tries them all.

use vmpulse_protocol::bugs::{Bug, switch};
use vmpulse_sim::plan::random;
use vmpulse_sim::run;

/// The whole file is one test: the switch is the process's.
#[test]
fn who_accuses_too_early_is_found_by_the_first_seed() {
    let plan = random::plan(1);
    switch(Some(Bug::EarlyMissing));
    let found = run::run(&plan, None).unwrap();
    switch(None);
    assert!(!found.is_well(), "EarlyMissing is not found by seed 1");
    let without = run::run(&plan, None).unwrap();
    assert!(without.is_well(), "without the fault: {:#?}", without.violations);
}
