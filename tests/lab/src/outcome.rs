//! What came of a world: passed, failed or skipped, with measured figures; the only thing that leaves it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Lab, LabError};
use crate::workspace::write;

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Passed,
    /// With the reason.
    Failed(String),
    /// With the reason.
    Skipped(String),
}

/// The outcome of one world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// What was measured, one line each.
    pub(crate) figures: Vec<String>,
    /// Where logs, captures and the store were kept after a failure.
    pub(crate) evidence: Option<PathBuf>,
}

impl Outcome {
    /// The outcome that a result and its figures amount to.
    pub(crate) fn of<T>(result: &Lab<T>, figures: Vec<String>, evidence: Option<PathBuf>) -> Outcome {
        let verdict = match result {
            Ok(_) => Verdict::Passed,
            Err(LabError::Skipped(reason)) => Verdict::Skipped(reason.clone()),
            Err(error) => Verdict::Failed(error.explain()),
        };
        Outcome { verdict, figures, evidence }
    }

    /// An outcome for a world that ended without telling one.
    pub(crate) fn lost(reason: String) -> Outcome {
        Outcome { verdict: Verdict::Failed(reason), figures: Vec::new(), evidence: None }
    }

    /// Writes it; it appears at once and complete.
    pub(crate) fn save(&self, path: &Path) -> Lab<()> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let scratch = path.with_extension("part");
        write(&scratch, text)?;
        std::fs::rename(&scratch, path).map_err(LabError::file("write", path))
    }

    /// Reads it, if it is there yet.
    pub(crate) fn load(path: &Path) -> Option<Outcome> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }
}

/// What a scenario reports while it runs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<String>,
}

impl Report {
    /// A measured figure worth reading.
    pub(crate) fn figure(&mut self, text: impl Into<String>) {
        self.figures.push(text.into());
    }

    /// All of them.
    pub(crate) fn into_figures(self) -> Vec<String> {
        self.figures
    }
}
