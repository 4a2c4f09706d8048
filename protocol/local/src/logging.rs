//! Log lines on stderr.
//!
//! The level is a filter: `info`, `debug`, or finer `vmpulse_hostmon=debug,info`. The variable `VMPULSE_LOG`, if set,
//! overrides what the configuration says. Under systemd the journal stamps the lines, so they carry no time then.

use std::fmt;
use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{Layer, Registry};

/// Overrides the level of the configuration.
pub const LEVEL_VARIABLE: &str = "VMPULSE_LOG";

/// Logging could not be set up or changed.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The text is no filter.
    #[error(
        "log level {level:?} is not understood; use error, warn, info, debug, trace or module=level lists"
    )]
    Level {
        /// The text.
        level: String,
        /// Where it fails.
        source: ParseError,
    },
    /// The process logs already.
    #[error("logging is already set up")]
    Started(#[source] TryInitError),
    /// The process no longer logs.
    #[error("the log level can no longer be changed")]
    Stopped(#[source] reload::Error),
}

/// Changes the level of the running process.
#[derive(Clone, Debug)]
pub struct LevelHandle(Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Logs at `level` from now on.
    ///
    /// # Errors
    /// [`LoggingError::Level`] if it is not understood; the old level then stays.
    pub fn change(&self, level: &str) -> Result<(), LoggingError> {
        self.0.reload(filter(level)?).map_err(LoggingError::Stopped)
    }
}

/// Starts logging at `level`, or at the level in `VMPULSE_LOG`. Once per process.
///
/// # Errors
/// [`LoggingError::Level`] if the level is not understood, [`LoggingError::Started`] on a second call.
pub fn init(level: &str) -> Result<LevelHandle, LoggingError> {
    let (filter, handle) = reload::Layer::new(filter(&chosen(level))?);
    // A closed stderr must not end a daemon, and reporting that on stderr would.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false);
    let lines = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().boxed()
    } else {
        lines.with_timer(LocalTime).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(LoggingError::Started)?;
    Ok(LevelHandle(handle))
}

/// The level in `VMPULSE_LOG`, else `level`.
#[must_use]
pub fn chosen(level: &str) -> String {
    let variable = std::env::var(LEVEL_VARIABLE).ok().filter(|text| !text.is_empty());
    variable.unwrap_or_else(|| level.to_owned())
}

/// Whether `level` is one.
///
/// # Errors
/// [`LoggingError::Level`].
pub fn check(level: &str) -> Result<(), LoggingError> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::builder()
        .parse(level)
        .map_err(|source| LoggingError::Level { level: level.to_owned(), source })
}

/// Local time with its distance from UTC, to the millisecond.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write!(out, "{}", jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because a process can start logging once only.
    #[test]
    fn the_level_is_checked_and_can_change() {
        let refused = init("vmpulse=loud").unwrap_err();
        assert!(
            matches!(&refused, LoggingError::Level { level, .. } if level == "vmpulse=loud"),
            "{refused}"
        );
        let handle = init("warn").unwrap();
        assert!(matches!(init("warn"), Err(LoggingError::Started(_))));
        assert!(!tracing::enabled!(tracing::Level::INFO) && tracing::enabled!(tracing::Level::WARN));
        assert!(matches!(handle.change("=="), Err(LoggingError::Level { .. })));
        assert!(tracing::enabled!(tracing::Level::WARN), "a refused level changes nothing");
        handle.change("info,vmpulse_local=debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
    }

    #[test]
    fn a_time_stamp_is_rfc_3339_with_an_offset() {
        let mut text = String::new();
        LocalTime.format_time(&mut Writer::new(&mut text)).unwrap();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
        assert!(!text.ends_with('Z'), "{text}");
    }
}
