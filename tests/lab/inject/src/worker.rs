//! Long-running parts in processes of their own: a loop that hangs a CPU, a relay between two interfaces.
//!
//! A worker is this program again, started with the mark of the state file in its environment. The mark is on disk before the worker
//! starts, so `off` finds every worker, also one whose injector was killed before it could write the number down.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::context::Context;
use crate::error::{self, Inject, InjectError};
use crate::process::{self, Life, Process};
use crate::record::Saved;
use crate::wait;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "worker";
/// The variable that holds the mark.
const VARIABLE: &str = "VMPULSE_INJECT_WORKER";

/// Starts the worker of a class, whose [`crate::class::Class::work`] runs with what the state file holds by now, in a session of its
/// own. Its errors go to `CLASS.log` beside the state file.
///
/// # Errors
/// The system's, or that there is no state file.
pub fn start(context: &Context, class: &str) -> Inject<Process> {
    let saved = Saved::read(context, class)?
        .ok_or_else(|| InjectError::Failed(format!("No worker of {class} without a state file.")))?;
    let path = log_file(context, class);
    let log = File::create(&path).map_err(InjectError::file("write", &path))?;
    let mut command = Command::new(&context.program);
    command.arg("--state").arg(&context.state_dir).arg("--root").arg(&context.root).args([SUBCOMMAND, class]);
    command.env(VARIABLE, &saved.mark).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // Not in the terminal's group: Ctrl-C at the injector must not undo half of it.
    command.process_group(0);
    let child = command.spawn().map_err(InjectError::file("start", &context.program))?;
    let ended = || InjectError::Failed(format!("The worker of {class} ended at once: {}.", path.display()));
    let process = i32::try_from(child.id()).ok().and_then(Process::of).ok_or_else(ended)?;
    // A process that has only just begun shows no environment for a moment, by which it is found.
    let pair = pair(&saved.mark);
    wait::until("the worker begins", wait::SOON, || {
        if process.life() == Life::Gone {
            return Err(ended());
        }
        Ok(process.has_variable(&pair))
    })?;
    Ok(process)
}

fn pair(mark: &str) -> String {
    format!("{VARIABLE}={mark}")
}

/// Where a worker's errors are.
#[must_use]
pub fn log_file(context: &Context, class: &str) -> std::path::PathBuf {
    context.state_dir.join(format!("{class}.log"))
}

/// Every living worker of the state file of a class.
///
/// # Errors
/// When the state file cannot be read.
pub fn find(context: &Context, class: &str) -> Inject<Vec<Process>> {
    let Some(saved) = Saved::read(context, class)? else { return Ok(Vec::new()) };
    let pair = pair(&saved.mark);
    Ok(process::all().into_iter().filter(|process| process.has_variable(&pair)).collect())
}

/// Kills them all and waits until they are gone.
///
/// # Errors
/// When one stays.
pub fn end(context: &Context, class: &str) -> Inject<()> {
    error::all(find(context, class)?.into_iter().map(Process::kill))
}
