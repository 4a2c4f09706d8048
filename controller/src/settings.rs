//! `controller.toml`, read by the daemon and by `hamgr`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_local::recorder::RecorderSettings;
pub use vmpulse_local::settings::SettingsError;
use vmpulse_local::settings::{self, Checked, Fault};

use crate::retention::RetentionSettings;

/// Where the settings are when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/vmpulse/controller.toml";

/// Names another settings file.
pub const PATH_VARIABLE: &str = "VMPULSE_CONTROLLER_SETTINGS";

/// Shortest poll interval: below it polling would cost more than it tells.
pub const POLL_INTERVAL_MIN_MS: u64 = 100;

/// Longest poll interval: above it a controller could not keep the shortest VMFDT of the formula.
pub const POLL_INTERVAL_MAX_MS: u64 = 60_000;

/// Every key has a default, so an empty file is fine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// URL of the health store.
    pub store: String,
    /// Pause between polls, 100 to 60,000 ms.
    pub poll_interval_ms: u64,
    /// The events log.
    pub events_log: PathBuf,
    /// Directory of the lock against a second controller of the same store.
    pub run_dir: PathBuf,
    /// Log level.
    pub log: String,
    /// How long old records stay in the store.
    pub retention: RetentionSettings,
    /// What happens is kept in a file.
    pub recorder: RecorderSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: vmpulse_store::DEFAULT_URL.to_owned(),
            poll_interval_ms: 20_000,
            events_log: PathBuf::from("/var/log/vmpulse/events.log"),
            run_dir: PathBuf::from("/run/vmpulse"),
            log: "info".to_owned(),
            retention: RetentionSettings::default(),
            recorder: RecorderSettings::default(),
        }
    }
}

impl Settings {
    /// The settings in `given`, else in the file that the environment names, else in the default file; the defaults
    /// if that one is missing.
    ///
    /// # Errors
    /// [`SettingsError`], also for a named file that is missing.
    pub fn load(given: Option<&Path>) -> Result<Self, SettingsError> {
        let variable = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        settings::load(given, variable.as_deref(), Path::new(DEFAULT_PATH))
    }

    /// The settings in a text; `path` is for the messages.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        settings::parse(text, path)
    }

    /// Pause between polls.
    #[must_use]
    pub const fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }
}

impl Checked for Settings {
    fn first_fault(&self) -> Option<Fault> {
        if let Err(error) = vmpulse_store::check_url(&self.store) {
            return Some(("store", error.to_string()));
        }
        if !(POLL_INTERVAL_MIN_MS..=POLL_INTERVAL_MAX_MS).contains(&self.poll_interval_ms) {
            let range = format!("{POLL_INTERVAL_MIN_MS} to {POLL_INTERVAL_MAX_MS}");
            return Some(("poll_interval_ms", format!("{} is not in {range}", self.poll_interval_ms)));
        }
        for (key, path) in [("events_log", &self.events_log), ("run_dir", &self.run_dir)] {
            if !path.is_absolute() {
                return Some((key, format!("{:?} is not an absolute path", path.display().to_string())));
            }
        }
        self.retention.first_fault().or_else(|| self.recorder.fault())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(text, Path::new("controller.toml"))
    }

    #[test]
    fn the_shipped_sample_holds_every_key_with_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/controller.toml");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(Settings::parse(&text, Path::new(path)).unwrap(), Settings::default());
        let keys = |text: &str| text.parse::<toml::Table>().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&text), keys(&toml::to_string(&Settings::default()).unwrap()));
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(parse("").unwrap(), Settings::default());
        assert_eq!(Settings::default().poll_interval(), Duration::from_secs(20));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("poll_interval_ms = 99", "poll_interval_ms: 99 is not in 100 to 60000"),
            ("poll_interval_ms = 60001", "poll_interval_ms: 60001 is not"),
            ("store = \"mysql://db\"", "store: store URL \"mysql://db\" is not"),
            (
                "store = \"postgresql://vmpulse:secret@db\"",
                "store: the store's URL cannot be used: it holds a password",
            ),
            ("events_log = \"events.log\"", "events_log: \"events.log\" is not"),
            ("[retention]\nevents_days = 0", "retention.events_days: 0 is not in 1 to 3650"),
            ("run_dir = \"run\"", "run_dir: \"run\" is not"),
            ("[recorder]\nkeep = 0", "recorder.keep: 0 is not in 1 to 10000"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(parse("pol_interval_ms = 100"), Err(SettingsError::Parse { .. })));
    }

    #[test]
    fn a_named_file_must_be_there() {
        let missing = Path::new("/nonexistent/controller.toml");
        assert!(matches!(Settings::load(Some(missing)), Err(SettingsError::Read { .. })));
    }
}
