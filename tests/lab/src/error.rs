//! What can go wrong in the lab, and the exit code that says so.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Result of everything in the lab.
pub(crate) type Lab<T> = Result<T, LabError>;

/// A failure of the lab itself or of an expectation in one of its scenarios.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    /// A program could not be started at all.
    #[error("cannot start `{program}`")]
    Start {
        /// What was to be run.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A program ended with another status than it should.
    #[error("`{command}` ended with {status}{detail}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status, for people.
        status: String,
        /// What it said on standard error, indented, or nothing.
        detail: String,
    },
    /// A file could not be read, written or made.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something that this machine has to provide is not there.
    #[error("{0}")]
    Missing(String),
    /// This user may not do what the lab needs.
    #[error("{0}")]
    Permission(String),
    /// A condition did not come true in time.
    #[error("waited {seconds:.1} s for {what}, in vain{last}")]
    Deadline {
        /// How long it was waited for.
        seconds: f64,
        /// The condition, in words.
        what: String,
        /// What was seen last, or nothing.
        last: String,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// An answer did not have the expected form.
    #[error("{0}")]
    Unexpected(String),
    /// A scenario cannot be judged here; not a failure.
    #[error("skipped: {0}")]
    Skipped(String),
    /// Ctrl-C or a termination signal.
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// For `map_err` on file operations.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError + use<> {
        let path = path.to_path_buf();
        move |source| LabError::File { action, path, source }
    }

    /// For `map_err` on system calls of nix.
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(nix::Error) -> LabError {
        let action = action.into();
        move |errno| LabError::System { action, source: errno.into() }
    }

    /// Adds what was seen last to a condition that did not come true.
    pub(crate) fn seen_last(self, seen: impl FnOnce() -> String) -> LabError {
        if let LabError::Deadline { seconds, what, .. } = self {
            LabError::Deadline {
                seconds,
                what,
                last: format!("; seen last:\n{}", crate::wait::indented(&seen())),
            }
        } else {
            self
        }
    }

    /// The exit code of the process, after sysexits.h.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            LabError::Start { .. } | LabError::Missing(_) => 69,
            LabError::File { .. } | LabError::System { .. } => 71,
            LabError::Permission(_) => 77,
            LabError::Interrupted => 130,
            LabError::Command { .. }
            | LabError::Deadline { .. }
            | LabError::Unexpected(_)
            | LabError::Skipped(_) => 1,
        })
    }

    /// The whole chain of reasons, one line each after the first.
    pub(crate) fn explain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(&format!("\n  because: {cause}"));
            next = cause.source();
        }
        text
    }
}

/// Fails with words unless the condition holds.
pub(crate) fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Lab<()> {
    if holds { Ok(()) } else { Err(LabError::Unexpected(otherwise())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_the_cause_below_what_happened() {
        let error = LabError::file("read", Path::new("/no/such"))(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(error.explain(), "cannot read /no/such\n  because: entity not found");
    }
}
