//! 200 random seeds, in parts so that they run beside each other; and the named ones.

use vmpulse_sim::plan::{Plan, random};
use vmpulse_sim::run;

fn check(name: &str, plan: &Plan) {
    let outcome = run::run(plan, None).unwrap();
    assert!(
        outcome.is_well(),
        "{name}: {:#?}\nthe last events:\n{}\nagain: cargo run --release -p vmpulse-sim --bin simulate -- {name} --trace",
        outcome.violations,
        outcome.last.join("\n")
    );
}

fn seeds(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        check(&format!("--seed {seed}"), &random::plan(seed));
    }
}

#[test]
fn seeds_1_to_50() {
    seeds(1..51);
}

#[test]
fn seeds_51_to_100() {
    seeds(51..101);
}

#[test]
fn seeds_101_to_150() {
    seeds(101..151);
}

#[test]
fn seeds_151_to_200() {
    seeds(151..201);
}

/// With canaries, a second controller, guests with one UUID, keys, and snapshots.
fn wide_seeds(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        check(&format!("--seed {seed} --wide"), &random::wide(seed));
    }
}

#[test]
fn wide_seeds_1_to_25() {
    wide_seeds(1..26);
}

#[test]
fn wide_seeds_26_to_50() {
    wide_seeds(26..51);
}

/// Seeds that found something once: regressions/seeds.txt names them.
#[test]
fn named_seeds() {
    let text = include_str!("../regressions/seeds.txt");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let seed = line.split_whitespace().next().unwrap().parse().unwrap();
        check(&format!("--seed {seed}"), &random::plan(seed));
    }
}

/// Plans that failed once, as they were cut: regressions/*.plan.
#[test]
fn named_plans() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "plan") {
            let plan = Plan::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
            check(&format!("--replay {}", path.display()), &plan);
        }
    }
}
