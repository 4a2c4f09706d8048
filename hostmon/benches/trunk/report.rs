//! For people a table, for programs JSON.

use serde_json::{Value, json};

use crate::Rate;
use crate::measure::{Measured, Outcome};

pub(crate) fn table(outcomes: &[Outcome]) {
    println!(
        "{:>7} {:>9} {:>5} {:<7} {:>10} {:>8} {:>9} {:>10} {:>10}",
        "paths", "rate", "auth", "", "received/s", "core %", "ns/frame", "wake-ups/s", "lost"
    );
    for outcome in outcomes {
        let scenario = outcome.scenario;
        let rate = match scenario.rate {
            Rate::PerSecond(rate) => rate.to_string(),
            Rate::Maximum => "max".to_owned(),
        };
        let auth = if scenario.authenticated { "yes" } else { "no" };
        for (name, measured) in [("bare", &outcome.bare), ("daemon", &outcome.daemon)] {
            let of = |value: fn(&Measured) -> f64| median(measured, value);
            println!(
                "{:>7} {rate:>9} {auth:>5} {name:<7} {:>10.0} {:>8.2} {:>9.0} {:>10.0} {:>10}",
                scenario.paths,
                of(|one| one.rate),
                of(|one| one.cpu * 100.0),
                of(|one| one.cpu / one.rate * 1e9),
                of(|one| one.wakeups_per_second),
                lost(measured),
            );
        }
        println!(
            "{:>32} rate {:.2}, CPU {:.2} (median of pairs); {} bytes of memory for each path",
            "daemon : bare",
            ratio(outcome, |one| one.rate),
            ratio(outcome, |one| one.cpu),
            outcome.bytes_per_path,
        );
    }
}

pub(crate) fn json(outcomes: &[Outcome]) {
    let all: Vec<Value> = outcomes.iter().map(outcome_json).collect();
    println!("{}", Value::from(all));
}

fn outcome_json(outcome: &Outcome) -> Value {
    let scenario = outcome.scenario;
    let rate = match scenario.rate {
        Rate::PerSecond(rate) => json!(rate),
        Rate::Maximum => json!("max"),
    };
    let list = |all: &[Measured]| -> Vec<Value> { all.iter().map(measured_json).collect() };
    json!({
        "paths": scenario.paths,
        "rate": rate,
        "interval_ms": scenario.interval_ms(),
        "authenticated": scenario.authenticated,
        "bytes_per_path": outcome.bytes_per_path,
        "bare": list(&outcome.bare),
        "daemon": list(&outcome.daemon),
        "rate_ratio": ratio(outcome, |one| one.rate),
        "cpu_ratio": ratio(outcome, |one| one.cpu),
    })
}

fn measured_json(one: &Measured) -> Value {
    json!({
        "sent": one.sent,
        "received": one.received,
        "received_per_second": one.rate,
        "core_percent": one.cpu * 100.0,
        "nanoseconds_per_frame": one.cpu / one.rate * 1e9,
        "wakeups_per_second": one.wakeups_per_second,
        "kernel_drops": one.drops,
    })
}

/// Of all rounds together.
fn lost(measured: &[Measured]) -> u64 {
    measured.iter().map(|one| one.sent.saturating_sub(one.received)).sum()
}

fn ratio(outcome: &Outcome, value: fn(&Measured) -> f64) -> f64 {
    let pairs = outcome.daemon.iter().zip(&outcome.bare);
    middle(pairs.map(|(daemon, bare)| value(daemon) / value(bare)).collect())
}

fn median(measured: &[Measured], value: fn(&Measured) -> f64) -> f64 {
    middle(measured.iter().map(value).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
