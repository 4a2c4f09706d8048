//! `simulate`: runs seeds or plans, and says what must not be.
//!
//! ```text
//! simulate --seed 7 --trace        one seed, with everything that happens
//! simulate --seeds 1..1000         many
//! simulate --minutes 60            seeds from --from on, for so long
//! simulate --replay FILE           a plan; --seed 7 --plan writes one
//! simulate --replay RECORD...      what real daemons recorded
//! simulate --day                   an undisturbed day of 2 hosts and 20 VMs
//! simulate bless [NAME...]         writes the scenarios' logs anew
//! ```

#[path = "simulate/records.rs"]
mod records;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use vmpulse_sim::plan::{Cluster, Plan, random};
use vmpulse_sim::replay;
use vmpulse_sim::run::{self, Outcome};
use vmpulse_sim::scenarios;
use vmpulse_sim::trace::Sink;
use vmpulse_store::DetectionSpeed;

/// Between two lines that say how far it is.
const PROGRESS_SECONDS: u64 = 10;

/// Runs the real cores of vmpulse under one virtual clock and one seed.
#[derive(Parser)]
#[command(after_help = "Exit code: 0 all is well; 1 something must not be; 2 usage.")]
struct Arguments {
    /// Run this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Run these seeds, the last one included, as 1..1000
    #[arg(long, value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Run seeds for so long
    #[arg(long)]
    minutes: Option<u64>,
    /// First seed of --minutes
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run the plan in this file; or replay and judge the records of daemons in these files
    #[arg(long, num_args = 1.., value_name = "FILE")]
    replay: Vec<PathBuf>,
    /// Run an undisturbed day of 2 hosts and 20 VMs
    #[arg(long)]
    day: bool,
    /// Print everything that happens
    #[arg(long)]
    trace: bool,
    /// Print the plan instead of running it
    #[arg(long)]
    plan: bool,
    /// Leave out of a failing plan what it fails without
    #[arg(long)]
    shrink: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the logs of all scenarios, or of those named, anew
    Bless {
        /// Their names
        names: Vec<String>,
    },
    /// Switches on one deliberate fault after the other, and looks for the first seed that finds it
    #[cfg(feature = "deliberate-bugs")]
    Bite {
        /// Seeds tried for each
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
    },
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let bounds = text.split_once("..").and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    bounds.filter(|(low, high)| low <= high).ok_or_else(|| format!("{text}: expected LOW..HIGH"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match work(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn work(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    match &arguments.command {
        Some(Command::Bless { names }) => {
            let written = scenarios::bless(names)?;
            println!("{written} logs written");
            return Ok(true);
        }
        #[cfg(feature = "deliberate-bugs")]
        Some(Command::Bite { seeds }) => return bite(*seeds),
        None => {}
    }
    if let Some((low, high)) = arguments.seeds {
        return many(low, |seed, _| seed > high, arguments.shrink);
    }
    if let Some(minutes) = arguments.minutes {
        return many(arguments.from, |_, seconds| seconds >= minutes * 60, arguments.shrink);
    }
    if let Some(first) = arguments.replay.first()
        && replay::is_record(first).map_err(|error| format!("{}: {error}", first.display()))?
    {
        return records::judge_all(&arguments.replay, arguments.trace);
    }
    let (plan, command) = one(arguments)?;
    if arguments.plan {
        print!("{plan}");
        return Ok(true);
    }
    let sink: Option<Sink<'_>> =
        if arguments.trace { Some(Box::new(|line: &str| println!("{line}"))) } else { None };
    let outcome = run::run(&plan, sink)?;
    println!("trace {} of {} events", outcome.hash, outcome.events);
    if !outcome.is_well() {
        explain(&outcome, &command, arguments.trace);
        shrink(&plan, arguments.shrink)?;
    }
    Ok(outcome.is_well())
}

fn one(arguments: &Arguments) -> Result<(Plan, String), Box<dyn std::error::Error>> {
    if let [file, more @ ..] = arguments.replay.as_slice() {
        if let Some(another) = more.first() {
            return Err(format!("{}: only one plan can be run", another.display()).into());
        }
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let plan = Plan::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        return Ok((plan, format!("simulate --replay {} --trace", file.display())));
    }
    if arguments.day {
        return Ok((day(), "simulate --day --trace".to_owned()));
    }
    let seed = arguments.seed.ok_or("give --seed, --seeds, --minutes, --replay, --day or `bless`")?;
    Ok((random::plan(seed), repeat(seed)))
}

fn day() -> Plan {
    let cluster =
        Cluster { hosts: 2, vms: 20, apps: 1, detection: DetectionSpeed::Normal, ..Cluster::default() };
    random::quiet(cluster, 24 * 60)
}

fn repeat(seed: u64) -> String {
    format!("cargo run --release -p vmpulse-sim --bin simulate -- --seed {seed} --trace")
}

fn many(
    first: u64,
    is_over: impl Fn(u64, u64) -> bool,
    shrinks: bool,
) -> Result<bool, Box<dyn std::error::Error>> {
    // How long it takes is shown to a person; nothing depends on it but the end of --minutes.
    #[allow(clippy::disallowed_methods)]
    let began = Instant::now();
    let (mut seed, mut failed, mut said) = (first, 0_u64, 0);
    while !is_over(seed, began.elapsed().as_secs()) {
        let plan = random::plan(seed);
        let outcome = run::run(&plan, None)?;
        if !outcome.is_well() {
            failed += 1;
            println!("seed {seed}:");
            explain(&outcome, &repeat(seed), false);
            shrink(&plan, shrinks)?;
        }
        seed += 1;
        let seconds = began.elapsed().as_secs();
        if seconds >= said + PROGRESS_SECONDS {
            said = seconds;
            eprintln!("{} seeds in {seconds} s, {failed} failed", seed - first);
        }
    }
    println!("{} seeds in {:.1} s, {failed} failed", seed - first, began.elapsed().as_secs_f64());
    Ok(failed == 0)
}

fn explain(outcome: &Outcome, command: &str, traced: bool) {
    if !traced {
        println!("  the last {} events:", outcome.last.len());
        outcome.last.iter().for_each(|line| println!("  {line}"));
    }
    for violation in &outcome.violations {
        println!("  FOUND by {} at {}: {}", violation.checker, violation.at, violation.text);
    }
    println!("  again: {command}");
}

fn shrink(plan: &Plan, wanted: bool) -> Result<(), Box<dyn std::error::Error>> {
    if wanted {
        println!("  what it fails with:\n{}", run::shrink(plan)?);
    }
    Ok(())
}

/// Whether every fault is found.
#[cfg(feature = "deliberate-bugs")]
fn bite(seeds: u64) -> Result<bool, Box<dyn std::error::Error>> {
    use vmpulse_protocol::bugs::{Bug, switch};
    let mut missed = 0;
    for bug in Bug::ALL {
        switch(Some(bug));
        let mut found = None;
        for seed in 1..=seeds {
            let plan = random::plan(seed);
            let outcome = run::run(&plan, None)?;
            found = outcome.violations.into_iter().next().map(|violation| (seed, violation));
            if found.is_some() {
                // What is found without the fault as well is another one.
                switch(None);
                if run::run(&plan, None)?.is_well() {
                    break;
                }
                switch(Some(bug));
                found = None;
            }
        }
        match found {
            Some((seed, violation)) => {
                println!("{bug:?}: seed {seed}, by {}: {}", violation.checker, violation.text);
            }
            None => {
                missed += 1;
                println!("{bug:?}: NOT FOUND in {seeds} seeds");
            }
        }
    }
    switch(None);
    println!("{} of {} faults found", Bug::ALL.len() - missed, Bug::ALL.len());
    Ok(missed == 0)
}
