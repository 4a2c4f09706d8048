//! `simulate`: runs seeds or plans, and says what must not be.
//!
//! ```text
//! simulate --seed 7 --trace        one seed, with everything that happens
//! simulate --seeds 1..1000         many
//! simulate --minutes 60            seeds from --from on, for so long
//! simulate --replay FILE           a plan; --seed 7 --plan writes one
//! simulate --replay RECORD...      what real daemons recorded
//! simulate --day                   an undisturbed day of 2 hosts and 20 VMs
//!          --jobs 4                several at a time
//! simulate bless [NAME...]         writes the scenarios' logs anew
//! ```

#[macro_use]
#[path = "simulate/say.rs"]
mod say;

#[path = "simulate/records.rs"]
mod records;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use vmpulse_sim::batch::{Batch, JOBS_MAXIMUM};
use vmpulse_sim::plan::{Cluster, Plan, random};
use vmpulse_sim::replay;
use vmpulse_sim::run::{self, Outcome};
use vmpulse_sim::scenarios;
use vmpulse_sim::trace::Sink;
use vmpulse_store::DetectionSpeed;

/// Runs the real cores of vmpulse under one virtual clock and one seed.
#[derive(Parser)]
#[command(
    after_help = "Exit code: 0 all is well; 1 something must not be; 2 usage; 141 nobody reads what is printed."
)]
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
    /// Of --seeds, --minutes and bite, so many at a time; what is found does not depend on it
    #[arg(long, global = true, default_value_t = 1, value_parser = jobs)]
    jobs: usize,
    /// Run the plan in this file; or replay and judge the records of daemons in these files
    #[arg(long, num_args = 1.., value_name = "FILE")]
    replay: Vec<PathBuf>,
    /// Run an undisturbed day of 2 hosts and 20 VMs
    #[arg(long)]
    day: bool,
    /// Seeds with canaries, a second controller, guests with one UUID, keys, and snapshots of guests as well
    #[arg(long)]
    wide: bool,
    /// Of --seeds and --minutes: print the hash of each trace, to be compared with those of another build
    #[arg(long)]
    hashes: bool,
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
        /// This fault alone
        #[arg(long, value_name = "FAULT")]
        only: Option<String>,
    },
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let bounds = text.split_once("..").and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    bounds.filter(|(low, high)| low <= high).ok_or_else(|| format!("{text}: expected LOW..HIGH"))
}

fn jobs(text: &str) -> Result<usize, String> {
    let jobs = text.parse().ok().filter(|jobs| (1..=JOBS_MAXIMUM).contains(jobs));
    jobs.ok_or_else(|| format!("{text}: expected a number from 1 to {JOBS_MAXIMUM}"))
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
            say!("{written} logs written");
            return Ok(true);
        }
        #[cfg(feature = "deliberate-bugs")]
        Some(Command::Bite { seeds, only }) => return bite(*seeds, arguments.jobs, only.as_deref()),
        None => {}
    }
    if let Some((low, high)) = arguments.seeds {
        let batch = Batch {
            plan: maker(arguments.wide),
            first: low,
            last: Some(high),
            time: None,
            jobs: arguments.jobs,
        };
        return many(batch, arguments);
    }
    if let Some(minutes) = arguments.minutes {
        let time = Some(Duration::from_secs(minutes.saturating_mul(60)));
        let (plan, first) = (maker(arguments.wide), arguments.from);
        let batch = Batch { plan, first, last: None, time, jobs: arguments.jobs };
        return many(batch, arguments);
    }
    if let Some(first) = arguments.replay.first()
        && replay::is_record(first).map_err(|error| format!("{}: {error}", first.display()))?
    {
        return records::judge_all(&arguments.replay, arguments.trace);
    }
    let (plan, command) = one(arguments)?;
    if arguments.plan {
        put!("{plan}");
        return Ok(true);
    }
    let sink: Option<Sink<'_>> =
        if arguments.trace { Some(Box::new(|line: &str| say!("{line}"))) } else { None };
    let outcome = run::run(&plan, sink)?;
    say!("trace {} of {} events", outcome.hash, outcome.events);
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
        return Ok((plan, again(&format!("--replay {}", file.display()))));
    }
    if arguments.day {
        return Ok((day(), again("--day")));
    }
    let seed = arguments.seed.ok_or("give --seed, --seeds, --minutes, --replay, --day or `bless`")?;
    Ok((maker(arguments.wide)(seed), repeat(seed, arguments.wide)))
}

fn day() -> Plan {
    let cluster =
        Cluster { hosts: 2, vms: 20, apps: 1, detection: DetectionSpeed::Normal, ..Cluster::default() };
    random::quiet(cluster, 24 * 60)
}

fn repeat(seed: u64, wide: bool) -> String {
    again(&format!("--seed {seed}{}", if wide { " --wide" } else { "" }))
}

/// The command that runs it once more, and says what happens.
fn again(what: &str) -> String {
    format!("cargo run --release -p vmpulse-sim --bin simulate -- {what} --trace")
}

fn maker(wide: bool) -> fn(u64) -> Plan {
    if wide { random::wide } else { random::plan }
}

fn many(batch: Batch, arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut failing = Vec::new();
    let summary = batch.run(
        |seed, outcome| {
            if arguments.hashes {
                say!("seed {seed} trace {} of {} events", outcome.hash, outcome.events);
            }
            if !outcome.is_well() {
                say!("seed {seed}:");
                explain(outcome, &repeat(seed, arguments.wide), false);
                failing.push(seed);
            }
            true
        },
        |summary, time| {
            eprintln!("{} seeds in {} s, {} failed", summary.seeds, time.as_secs(), summary.failed);
        },
    )?;
    if arguments.shrink {
        for seed in &failing {
            say!("seed {seed}:");
            shrink(&(batch.plan)(*seed), true)?;
        }
    }
    say!("{} seeds, {} failed: {failing:?}", summary.seeds, summary.failed);
    Ok(summary.failed == 0)
}

fn explain(outcome: &Outcome, command: &str, traced: bool) {
    if !traced {
        say!("  the last {} events:", outcome.last.len());
        outcome.last.iter().for_each(|line| say!("  {line}"));
    }
    for violation in &outcome.violations {
        say!("  FOUND by {} at {}: {}", violation.checker, violation.at, violation.text);
    }
    say!("  again: {command}");
}

fn shrink(plan: &Plan, wanted: bool) -> Result<(), Box<dyn std::error::Error>> {
    if wanted {
        say!("  what it fails with:\n{}", run::shrink(plan)?);
    }
    Ok(())
}

/// Whether every fault is found.
#[cfg(feature = "deliberate-bugs")]
fn bite(seeds: u64, jobs: usize, only: Option<&str>) -> Result<bool, Box<dyn std::error::Error>> {
    use vmpulse_protocol::bugs::{Bug, switch};
    say!("{:<18} {:>5}  {:<14} what was found", "fault", "seed", "by");
    let mut missed = 0;
    let wanted = |bug: &Bug| only.is_none_or(|only| format!("{bug:?}") == only);
    let bugs: Vec<Bug> = Bug::ALL.into_iter().filter(wanted).collect();
    if bugs.is_empty() {
        return Err(format!("{}: there is no such fault", only.unwrap_or_default()).into());
    }
    for bug in bugs.iter().copied() {
        let (mut first, mut found) = (1, None);
        while found.is_none() && first <= seeds {
            switch(Some(bug));
            // Keys are in the wide plans alone.
            let plan = maker(bug == Bug::TagNotCompared);
            let Some((seed, violation)) = first_found(plan, first, seeds, jobs)? else { break };
            // What is found without the fault as well is another one.
            switch(None);
            let another = !run::run(&plan(seed), None)?.is_well();
            first = seed + 1;
            found = Some((seed, violation)).filter(|_| !another);
        }
        match found {
            Some((seed, one)) => {
                say!("{:<18} {seed:>5}  {:<14} {}", format!("{bug:?}"), one.checker, one.text);
            }
            None => {
                missed += 1;
                say!("{:<18} {:>5}  NOT FOUND in {seeds} seeds", format!("{bug:?}"), "-");
            }
        }
    }
    switch(None);
    say!("{} of {} faults found", bugs.len() - missed, bugs.len());
    Ok(missed == 0)
}

/// The first seed that finds something, and what.
#[cfg(feature = "deliberate-bugs")]
fn first_found(
    plan: fn(u64) -> Plan,
    first: u64,
    last: u64,
    jobs: usize,
) -> Result<Option<(u64, vmpulse_sim::checkers::Violation)>, Box<dyn std::error::Error>> {
    let mut found = None;
    let look = |seed, outcome: &Outcome| {
        if found.is_none() {
            found = outcome.violations.first().cloned().map(|violation| (seed, violation));
        }
        found.is_none()
    };
    Batch { plan, first, last: Some(last), time: None, jobs }.run(look, |_, _| {})?;
    Ok(found)
}
