//! Golden scenarios: a plan that a person wrote, and the log of what came of it. `scenarios/NAME/scenario` and
//! `scenarios/NAME/log`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::plan::{Plan, PlanError};
use crate::run;

/// Why a scenario cannot be run.
#[derive(Debug)]
pub enum ScenarioError {
    /// A file.
    File(PathBuf, io::Error),
    /// The plan.
    Plan(PathBuf, PlanError),
    /// The world.
    Store(vmpulse_store::StoreError),
    /// It ended with something that must not be; no log is made of that.
    Found(String, String),
    /// Nobody has this name.
    Unknown(String),
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(out, "{}: {error}", path.display()),
            Self::Plan(path, error) => write!(out, "{}: {error}", path.display()),
            Self::Store(error) => write!(out, "the world cannot be made: {error}"),
            Self::Found(name, text) => write!(out, "{name}: {text}"),
            Self::Unknown(name) => write!(out, "there is no scenario {name}"),
        }
    }
}

impl std::error::Error for ScenarioError {}

/// Where they are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Their names, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn names() -> Result<Vec<String>, ScenarioError> {
    let folder = folder();
    let failed = |error| ScenarioError::File(folder.clone(), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().join("scenario").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Runs one. Returns its log.
///
/// # Errors
/// It cannot be run, or something was found that must not be.
pub fn log(name: &str) -> Result<String, ScenarioError> {
    let path = folder().join(name).join("scenario");
    let text = fs::read_to_string(&path).map_err(|error| ScenarioError::File(path.clone(), error))?;
    let plan = Plan::parse(&text).map_err(|error| ScenarioError::Plan(path, error))?;
    let mut log = String::new();
    let sink = |line: &str| {
        log.push_str(line);
        log.push('\n');
    };
    let outcome = run::run(&plan, Some(Box::new(sink))).map_err(ScenarioError::Store)?;
    let found = outcome.violations.iter().map(|one| format!("{} at {}: {}", one.checker, one.at, one.text));
    match found.reduce(|all, one| format!("{all}\n{one}")) {
        Some(found) => Err(ScenarioError::Found(name.to_owned(), found)),
        // Of every frame as well, so that another build or another order of a table is seen.
        None => Ok(format!("{log}trace {}\n", outcome.hash)),
    }
}

/// The log that is kept.
///
/// # Errors
/// There is none.
pub fn golden(name: &str) -> Result<String, ScenarioError> {
    let path = folder().join(name).join("log");
    fs::read_to_string(&path).map_err(|error| ScenarioError::File(path, error))
}

/// Writes the logs of those named, or of all. Returns how many changed.
///
/// # Errors
/// As [`log`].
pub fn bless(wanted: &[String]) -> Result<usize, ScenarioError> {
    let all = names()?;
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(ScenarioError::Unknown(unknown.clone()));
    }
    let mut written = 0;
    for name in all.iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        let new = log(name)?;
        if golden(name).ok().as_ref() != Some(&new) {
            let path = folder().join(name).join("log");
            fs::write(&path, new).map_err(|error| ScenarioError::File(path, error))?;
            written += 1;
        }
    }
    Ok(written)
}
