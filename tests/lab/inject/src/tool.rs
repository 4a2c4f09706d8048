//! The product's own commands, asked as an operator asks them.

use std::ffi::OsStr;
use std::process::Command;

use serde_json::Value;

use crate::error::{Inject, InjectError};

/// Runs a command to its end, which must be a good one; its standard output.
///
/// # Errors
/// `Failed` with what it said, the system's if it cannot be run.
pub fn run(mut command: Command) -> Inject<String> {
    let line = line(&command);
    let said = command.output().map_err(InjectError::os(format!("cannot run {line}")))?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(InjectError::Failed(format!("`{line}` failed ({}): {text}", said.status)))
}

/// The same, whose answer is JSON.
///
/// # Errors
/// As [`run`], and when it is none.
pub fn ask(command: Command) -> Inject<Value> {
    let line = line(&command);
    let text = run(command)?;
    serde_json::from_str(&text)
        .map_err(|error| InjectError::Failed(format!("`{line}` answered no JSON ({error}).")))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
