//! `cargo verify`: everything a change must pass, in the order of what fails fastest.

mod counts;

use std::process::ExitCode;

use clap::ValueEnum;

use crate::artifacts::{self, cargo};
use crate::cli::Making;
use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::preflight::{self, Privilege, Purpose};
use crate::progress::{run_step, say};
use crate::scenarios::{self, Tally};
use crate::wait::Stopwatch;
use crate::workspace::Workspace;

/// A part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Formatting
    Fmt,
    /// Lints, warnings refused
    Clippy,
    /// Tests of all crates
    Test,
    /// Examples in the documentation
    Doc,
    /// The fuzz targets: that they build, read their seeds, and a bounded number of changed ones
    Fuzz,
    /// The statically linked agent
    Agent,
    /// The lab's scenarios
    Lab,
}

const ALL: [Part; 7] = [Part::Fmt, Part::Clippy, Part::Test, Part::Doc, Part::Fuzz, Part::Agent, Part::Lab];

/// The one feature that no other build has: code for it would rot unseen.
const DELIBERATE: [&str; 4] = ["-p", "vmpulse-sim", "--features", "deliberate-bugs"];

/// Runs the parts, all of them if none is named, and ends with the sum.
pub(crate) fn run(workspace: &Workspace, only: &[Part], jobs: usize, making: Making) -> Lab<ExitCode> {
    let watch = Stopwatch::start();
    let parts: Vec<Part> = ALL.into_iter().filter(|part| only.is_empty() || only.contains(part)).collect();
    say("Checking this machine");
    let privilege = preflight::check(workspace, Purpose::Verify)?;
    preflight::check_kernel(privilege)?;
    let mut total = Tally::default();
    for part in parts {
        total += run_part(workspace, part, privilege, jobs, making)?;
    }
    say(&format!("Took {:.0} s.", watch.seconds()));
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_part(
    workspace: &Workspace,
    part: Part,
    privilege: Privilege,
    jobs: usize,
    making: Making,
) -> Lab<Tally> {
    match part {
        Part::Fmt => command(workspace, "formatting", &["fmt", "--all", "--check"]),
        Part::Clippy => {
            let words = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            let mut tally = command(workspace, "lints", &words)?;
            let words = [&["clippy"][..], &DELIBERATE, &["--all-targets", "--", "-D", "warnings"]].concat();
            tally += command(workspace, "lints of the deliberate faults", &words)?;
            Ok(tally)
        }
        Part::Test => {
            let mut tally = tests(workspace)?;
            let words = [&["test"][..], &DELIBERATE, &["--test", "bites"]].concat();
            tally += counted(workspace, "tests of the deliberate faults", &words)?;
            Ok(tally)
        }
        Part::Doc => counted(workspace, "documentation examples", &["test", "--workspace", "--doc"]),
        Part::Fuzz => fuzz(workspace),
        Part::Agent => one(artifacts::static_agent(workspace, true)),
        Part::Lab => lab(workspace, privilege, jobs, making),
    }
}

fn tests(workspace: &Workspace) -> Lab<Tally> {
    if has_nextest(workspace) {
        // What failed comes last, where it is quoted from.
        let quiet = ["--status-level=fail", "--final-status-level=fail", "--failure-output=final"];
        let words = [&["nextest", "run", "--workspace", "--no-fail-fast"][..], &quiet].concat();
        return counted(workspace, "tests", &words);
    }
    counted(workspace, "tests", &["test", "--workspace", "--all-targets", "--no-fail-fast"])
}

/// A workspace of its own, which shares the folder of what is built.
fn fuzz(workspace: &Workspace) -> Lab<Tally> {
    let target = workspace.target().display().to_string();
    let words = ["test", "--manifest-path", "tests/fuzz/Cargo.toml", "--target-dir", &target];
    counted(workspace, "fuzz targets", &words)
}

fn has_nextest(workspace: &Workspace) -> bool {
    let mut command = cargo(workspace);
    command.args(["nextest", "--version"]);
    crate::process::run(command).is_ok_and(|said| said.status.success())
}

fn lab(workspace: &Workspace, privilege: Privilege, jobs: usize, making: Making) -> Lab<Tally> {
    say("Scenarios of the lab");
    match Kit::prepare_checked(workspace, privilege, Purpose::Verify, making) {
        Ok(kit) => scenarios::run_all(workspace, &kit, &[], jobs),
        Err(error) => one::<()>(Err(error)),
    }
}

/// A command that passes or fails as a whole.
fn command(workspace: &Workspace, text: &str, words: &[&str]) -> Lab<Tally> {
    one(run_cargo(workspace, text, words))
}

/// A command whose output says how many tests passed and failed.
fn counted(workspace: &Workspace, text: &str, words: &[&str]) -> Lab<Tally> {
    let result = run_cargo(workspace, text, words);
    let log = std::fs::read_to_string(log_path(workspace, text)?).unwrap_or_default();
    let tally = counts::of(&log);
    say(&format!("    {tally}"));
    match result {
        // Tests that failed are counted; a run that broke off before any failed is one failure.
        Err(error) if tally.failed == 0 => {
            one::<()>(Err(error)).map(|broken| Tally { passed: tally.passed, ..broken })
        }
        Err(error) => one::<()>(Err(error)).map(|_| tally),
        Ok(_) => Ok(tally),
    }
}

fn run_cargo(workspace: &Workspace, text: &str, words: &[&str]) -> Lab<String> {
    let mut command = cargo(workspace);
    command.args(words);
    run_step(text, command, &log_path(workspace, text)?)
}

fn log_path(workspace: &Workspace, text: &str) -> Lab<std::path::PathBuf> {
    Ok(workspace.lab_dir("logs")?.join(format!("verify-{}.log", text.replace(' ', "-"))))
}

/// One check; its failure is told and counted, an interrupt ends everything.
fn one<T>(result: Lab<T>) -> Lab<Tally> {
    match result {
        Ok(_) => Ok(Tally { passed: 1, ..Tally::default() }),
        Err(LabError::Interrupted) => Err(LabError::Interrupted),
        Err(error) => {
            say(&error.explain());
            Ok(Tally { failed: 1, ..Tally::default() })
        }
    }
}
