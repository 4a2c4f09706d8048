//! The scenarios: each builds a world of its own, tells a story of daemons and guests, and demands how it ends.

mod agent_footprint;
mod agent_hangs;
mod announced_silence;
mod application_turns_red;
mod authentication;
mod bad_frames;
mod bad_input;
mod beats;
mod capture;
mod daemons_crash;
mod dissector;
mod flood;
mod flood_unpoliced;
mod guest_watchdog;
mod heartbeats_without_ip;
mod isolated_monitor;
mod key_rotation;
mod postgresql_returns;
mod real_guest;
mod recorded_and_replayed;
mod rehearsal_guest;
mod rehearsal_host;
mod rehearsal_paths;
mod rehearsal_storage;
mod rehearsal_store;
mod rehearsal_systemd;
mod rehearsal_vm;
mod reports_interrupted;
mod scripts_misbehave;
mod silence_is_missing;
mod status_endpoint;
mod steady_writes_nothing;
mod store_dies;
mod store_full;
mod store_on_postgresql;
mod suspension;
mod systemd_unit;
mod trunk_doctor;
mod trunk_isolation;
mod trunk_returns;
pub(crate) mod two_hosts;
mod typed_applications;
mod vm_lifecycle;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use crate::cli::Making;
use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::outcome::{Outcome, Report, Verdict};
use crate::outside::{RunningWorld, Stage};
use crate::preflight::Purpose;
use crate::progress::say;
use crate::wait::{self, Stopwatch};
use crate::workspace::Workspace;
use crate::world::World;

/// Longest time any scenario takes on two loaded cores, with room; each has its own deadlines inside.
const SCENARIO_LIMIT: Duration = Duration::from_secs(300);

/// One scenario.
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it proves, in one line.
    pub(crate) about: &'static str,
    /// The story.
    pub(crate) run: fn(World, &mut Report) -> Lab<()>,
}

/// All scenarios but those below, the longest first so that two at a time end together.
const TOGETHER: &[Scenario] = &[
    guest_watchdog::SCENARIO,
    two_hosts::SCENARIO,
    agent_footprint::SCENARIO,
    rehearsal_host::SCENARIO,
    rehearsal_vm::SCENARIO,
    agent_hangs::SCENARIO,
    reports_interrupted::SCENARIO,
    store_dies::SCENARIO,
    store_on_postgresql::SCENARIO,
    rehearsal_guest::SCENARIO,
    rehearsal_store::SCENARIO,
    rehearsal_systemd::SCENARIO,
    vm_lifecycle::SCENARIO,
    rehearsal_paths::SCENARIO,
    rehearsal_storage::SCENARIO,
    trunk_doctor::SCENARIO,
    isolated_monitor::SCENARIO,
    silence_is_missing::SCENARIO,
    authentication::SCENARIO,
    daemons_crash::SCENARIO,
    typed_applications::SCENARIO,
    postgresql_returns::SCENARIO,
    scripts_misbehave::SCENARIO,
    systemd_unit::SCENARIO,
    suspension::SCENARIO,
    recorded_and_replayed::SCENARIO,
    store_full::SCENARIO,
    announced_silence::SCENARIO,
    real_guest::SCENARIO,
    application_turns_red::SCENARIO,
    trunk_returns::SCENARIO,
    dissector::SCENARIO,
    key_rotation::SCENARIO,
    status_endpoint::SCENARIO,
    steady_writes_nothing::SCENARIO,
    bad_input::SCENARIO,
    bad_frames::SCENARIO,
    capture::SCENARIO,
    heartbeats_without_ip::SCENARIO,
    trunk_isolation::SCENARIO,
];

/// Scenarios that take all there is of this machine: one at a time, when the others have ended.
const ALONE: &[Scenario] = &[flood::SCENARIO, flood_unpoliced::SCENARIO];

fn all() -> impl Iterator<Item = &'static Scenario> {
    TOGETHER.iter().chain(ALONE)
}

/// The scenario of a name.
pub(crate) fn find(name: &str) -> Lab<&'static Scenario> {
    all().find(|scenario| scenario.name == name).ok_or_else(|| {
        let known: Vec<&str> = all().map(|scenario| scenario.name).collect();
        LabError::Unexpected(format!("there is no scenario {name}; there are: {}", known.join(", ")))
    })
}

/// `cargo lab list`.
pub(crate) fn list() -> Lab<ExitCode> {
    for scenario in all() {
        println!("{:<22} {}", scenario.name, scenario.about);
    }
    Ok(ExitCode::SUCCESS)
}

/// `cargo lab run [NAME...]`.
pub(crate) fn run(workspace: &Workspace, names: &[String], jobs: usize, making: Making) -> Lab<ExitCode> {
    for name in names {
        find(name)?;
    }
    let kit = Kit::prepare(workspace, Purpose::Scenarios, making)?;
    let tally = run_all(workspace, &kit, names, jobs)?;
    println!("{tally}");
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many passed, failed and were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// Counts one more.
    pub(crate) fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::Skipped(_) => self.skipped += 1,
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

/// Runs scenarios, each in a world of its own; tells each as it ends.
pub(crate) fn run_all(workspace: &Workspace, kit: &Kit, names: &[String], jobs: usize) -> Lab<Tally> {
    let mut tally = run_some(workspace, kit, names, TOGETHER, jobs)?;
    tally += run_some(workspace, kit, names, ALONE, 1)?;
    Ok(tally)
}

fn run_some(
    workspace: &Workspace,
    kit: &Kit,
    names: &[String],
    scenarios: &'static [Scenario],
    jobs: usize,
) -> Lab<Tally> {
    let wanted = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    let queue: Mutex<Vec<&Scenario>> = Mutex::new(scenarios.iter().filter(wanted).rev().collect());
    let tally = Mutex::new(Tally::default());
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(scenario) = next().filter(|_| !wait::interrupted()) {
                    let verdict = run_one(workspace, kit, scenario);
                    if let Ok(mut tally) = tally.lock() {
                        tally.count(&verdict);
                    }
                }
            });
        }
    });
    if wait::interrupted() {
        return Err(LabError::Interrupted);
    }
    Ok(tally.into_inner().unwrap_or_default())
}

fn run_one(workspace: &Workspace, kit: &Kit, scenario: &Scenario) -> Verdict {
    let watch = Stopwatch::start();
    let outcome = RunningWorld::start(workspace, kit, scenario.name, Stage::Quiet, false)
        .and_then(|mut world| {
            world.wait(SCENARIO_LIMIT, || {}).and_then(|outcome| world.end().map(|()| outcome))
        })
        .unwrap_or_else(|error| Outcome::lost(error.explain()));
    say(&tell(scenario, &outcome, watch.seconds()));
    outcome.verdict
}

fn tell(scenario: &Scenario, outcome: &Outcome, seconds: f64) -> String {
    let (word, reason) = match &outcome.verdict {
        Verdict::Passed => ("passed", String::new()),
        Verdict::Failed(reason) => ("FAILED", format!("\n{}", wait::indented(reason).trim_end())),
        Verdict::Skipped(reason) => ("skipped", format!("\n{}", wait::indented(reason).trim_end())),
    };
    let mut text = format!("  {:<22} {word} ({seconds:.1} s){reason}", scenario.name);
    for figure in &outcome.figures {
        text.push_str(&format!("\n      {figure}"));
    }
    if let Some(evidence) = &outcome.evidence {
        text.push_str(&format!("\n    logs, captures and the store: {}", evidence.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_their_column() {
        for (index, scenario) in all().enumerate() {
            assert!(scenario.name.len() <= 22, "{}", scenario.name);
            assert!(all().skip(index + 1).all(|other| other.name != scenario.name));
        }
    }

    #[test]
    fn the_last_line_has_its_form() {
        let mut tally = Tally { passed: 3, failed: 0, skipped: 0 };
        assert_eq!(tally.to_string(), "3 passed, 0 failed");
        tally.count(&Verdict::Skipped("no".into()));
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
