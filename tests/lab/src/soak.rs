//! `cargo lab soak`: random injections of a seed over real daemons and many guests on PostgreSQL, in rounds: injections, then
//! everything is made well, then everything has to be said to be well; and each round is judged by the simulator's checkers.

mod act;
mod answers;
mod cluster;
mod cuts;
mod guest;
mod log;
mod look;
mod rounds;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::artifacts;
use crate::cli::Making;
use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::outcome::{Report, Verdict};
use crate::outside::{RunningWorld, Stage};
use crate::preflight::Purpose;
use crate::progress::say;
use crate::workspace::{Workspace, read, write};
use crate::world::World;

/// The job's name for the process inside.
pub(crate) const NAME: &str = "soak";
/// Making the world, the last round's end and its judgement, on a loaded machine.
const BESIDES: Duration = Duration::from_secs(1800);

/// What is wanted.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(crate) struct Options {
    /// How long: a round that has begun is finished
    #[arg(long, default_value_t = 60)]
    pub(crate) minutes: u64,
    /// Of everything random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many guests, half of them on each host
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub(crate) guests: u8,
    /// How long injections go on in a round
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u64).range(10..=3600))]
    pub(crate) round_seconds: u64,
    /// Print the summary as JSON, and nothing else to standard output
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Output>,
}

/// How the summary is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Output {
    Json,
}

impl Options {
    /// Tells people how it goes: on standard output, unless that is for programs.
    fn tell(&self, text: &str) {
        match self.output {
            None => println!("{text}"),
            Some(Output::Json) => say(text),
        }
    }

    /// The command that repeats it.
    fn command(&self) -> String {
        format!(
            "cargo lab soak --minutes {} --seed {} --guests {} --round-seconds {}",
            self.minutes, self.seed, self.guests, self.round_seconds
        )
    }
}

/// Prepares everything and runs it in a world of its own.
pub(crate) fn run(workspace: &Workspace, options: &Options, making: Making) -> Lab<ExitCode> {
    let kit = Kit::prepare(workspace, Purpose::Scenarios, making)?;
    artifacts::judge(workspace, !making.no_build)?;
    let text = serde_json::to_string(options).unwrap_or_default();
    write(&options_file(&kit.lab_dir), text)?;
    say(&format!("{}\n", options.command()));
    let mut world = RunningWorld::start(workspace, &kit, NAME, Stage::Shown, false)?;
    let limit = Duration::from_secs(options.minutes * 60) + BESIDES;
    let outcome = world.wait(limit, || {})?;
    world.end()?;
    match outcome.verdict {
        Verdict::Passed => Ok(ExitCode::SUCCESS),
        Verdict::Skipped(reason) => {
            say(&reason);
            Ok(ExitCode::SUCCESS)
        }
        Verdict::Failed(reason) => {
            say(&format!("\nFAILED: {reason}"));
            if let Some(kept) = outcome.evidence {
                say(&format!("logs, records and the store: {}", kept.display()));
            }
            say(&format!("again: {}", options.command()));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Does it, inside its world.
pub(crate) fn perform(world: World, report: &mut Report) -> Lab<()> {
    let text = read(&options_file(&world.kit().lab_dir))?;
    let options: Options = serde_json::from_str(&text)
        .map_err(|error| LabError::Unexpected(format!("the soak's options: {error}")))?;
    rounds::run(world, &options, report)
}

fn options_file(lab: &Path) -> PathBuf {
    lab.join("soak.json")
}
