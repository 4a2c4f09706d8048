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

/// For undoing: all of it is tried, whatever fails.
///
/// # Errors
/// The only one, or `Failed` with all of them.
pub fn all(results: impl IntoIterator<Item = Inject<()>>) -> Inject<()> {
    let mut errors: Vec<InjectError> = results.into_iter().filter_map(Result::err).collect();
    match (errors.pop(), errors.is_empty()) {
        (None, _) => Ok(()),
        (Some(only), true) => Err(only),
        (Some(last), false) => {
            let all: Vec<String> = errors.iter().chain([&last]).map(ToString::to_string).collect();
            Err(InjectError::Failed(all.join(" ")))
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_tried_and_every_error_told() {
        let mut tried = 0;
        let results = [Err("One."), Ok(()), Err("Two.")].into_iter().map(|result: Result<(), &str>| {
            tried += 1;
            result.map_err(|text| InjectError::Failed(text.to_owned()))
        });
        assert_eq!(all(results).unwrap_err().to_string(), "One. Two.");
        assert_eq!(tried, 3);
        assert!(matches!(all([Ok(()), Err(InjectError::Busy(String::new()))]), Err(InjectError::Busy(_))));
        assert!(all([Ok(())]).is_ok());
    }
}
