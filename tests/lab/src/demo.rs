//! `cargo demo`: the whole chain in a few minutes, told as it happens.

mod story;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::Making;
use crate::error::{Lab, LabError};
use crate::keep;
use crate::kit::Kit;
use crate::leftovers::{self, Snapshot};
use crate::outcome::{Report, Verdict};
use crate::outside::{RunningWorld, Stage as Output};
use crate::preflight::Purpose;
use crate::progress::{Step, say};
use crate::wait::Stopwatch;
use crate::workspace::Workspace;
use crate::world::World;

pub(crate) use story::Stage;

/// The job's name for the process inside.
pub(crate) const NAME: &str = "demo";
/// Longest time it may take; it is meant to take less than three minutes.
const LIMIT: Duration = Duration::from_secs(300);

/// Prepares everything, shows the story, and leaves nothing behind, or the world if it is to be kept.
pub(crate) fn run(workspace: &Workspace, stays: bool, making: Making) -> Lab<ExitCode> {
    keep::expect_none(workspace)?;
    say("Preparing");
    let kit = Kit::prepare(workspace, Purpose::Worlds, making)?;
    let before = Snapshot::take();
    let watch = Stopwatch::start();
    let mut world = RunningWorld::start(workspace, &kit, NAME, Output::Shown, stays)?;
    let outcome = world.wait(LIMIT, || {})?;
    match outcome.verdict {
        Verdict::Passed => {}
        Verdict::Failed(reason) | Verdict::Skipped(reason) => {
            world.end()?;
            let kept = outcome.evidence.map_or(String::new(), |path| {
                format!("\n  logs, captures and the store: {}", path.display())
            });
            return Err(LabError::Unexpected(format!("the demo failed: {reason}{kept}")));
        }
    }
    if stays {
        let pid = world.first_process().ok_or_else(|| LabError::Unexpected("the world is gone".into()))?;
        keep::remember(workspace, &kit, pid)?;
        world.let_go();
        println!("\n{}", keep::how_to_use());
        return Ok(ExitCode::SUCCESS);
    }
    let step = Step::begin("ending all of it, and looking for anything left behind");
    let clean = world.end().and_then(|()| leftovers::expect_none(&before));
    step.finish(clean)?;
    println!(
        "\nDone in {:.0} s. No process, mount, interface or network namespace is left.",
        watch.seconds()
    );
    Ok(ExitCode::SUCCESS)
}

/// Performs the story inside its world.
pub(crate) fn play(world: World, report: &mut Report) -> Lab<Stage> {
    story::tell(world, report)
}
