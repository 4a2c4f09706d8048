//! What goes wrong, with the exit code it ends with.

use std::path::Path;

use vmpulse_local::exit::Exit;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The command line does not fit.
    #[error("{0}")]
    Usage(String),
    /// Not marked as a test group, or not of this group: nothing was touched.
    #[error("refused: {0}")]
    Refused(String),
    /// This machine or its kernel cannot do it: nothing was touched.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// Another injector is at work; it may work later.
    #[error("{0}")]
    Busy(String),
    /// It could not be done, or the undo did not restore what was there.
    #[error("{0}")]
    Failed(String),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Os {
        /// What was tried, and with what.
        what: String,
        /// Its answer.
        source: std::io::Error,
    },
}

/// What everything here returns.
pub type Inject<T> = Result<T, InjectError>;

impl InjectError {
    /// What the program ends with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            InjectError::Usage(_) => Exit::Usage,
            InjectError::Refused(_) => Exit::NoPermission,
            InjectError::Unsupported(_) => Exit::Unavailable,
            InjectError::Busy(_) => Exit::TempFail,
            InjectError::Failed(_) => Exit::Failed,
            InjectError::Os { .. } => Exit::OsError,
        }
    }

    /// For `map_err` of what the system answers: `file.open().map_err(InjectError::os("cannot open x"))`.
    pub fn os<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> InjectError {
        move |source| InjectError::Os { what: what.into(), source: source.into() }
    }

    /// As [`InjectError::os`], about a file.
    pub fn file<E: Into<std::io::Error>>(verb: &str, path: &Path) -> impl FnOnce(E) -> InjectError {
        InjectError::os(format!("cannot {verb} {}", path.display()))
    }
}
