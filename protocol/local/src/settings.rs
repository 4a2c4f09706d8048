//! Settings files in TOML: found, read with a bound, checked, and refused with the reason.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Largest settings file, in bytes: a hundred times the shipped ones.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// A key, and what is wrong with its value.
pub type Fault = (&'static str, String);

/// Settings that can be checked beyond what their types say.
pub trait Checked: DeserializeOwned + Default {
    /// The first value that cannot be used.
    fn first_fault(&self) -> Option<Fault>;
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any settings file.
    #[error("the settings file {} is larger than {MAX_FILE_BYTES} bytes; name the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no TOML, or has a key or a value that does not exist.
    #[error("the settings file {} is not valid", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is out of its range.
    #[error("{}: {key}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
}

/// Reads the file that `named` (an option), else `variable` (the environment) names, else the `default` one. Only the
/// default one may be missing.
///
/// # Errors
/// [`SettingsError`].
pub fn load<T: Checked>(
    named: Option<&Path>,
    variable: Option<&Path>,
    default: &Path,
) -> Result<T, SettingsError> {
    let may_be_missing = named.is_none() && variable.is_none();
    match read(named.or(variable).unwrap_or(default)) {
        Err(SettingsError::Read { source, .. }) if may_be_missing && source.kind() == ErrorKind::NotFound => {
            Ok(T::default())
        }
        read => read,
    }
}

/// Reads one file, which must be there.
///
/// # Errors
/// [`SettingsError`].
pub fn read<T: Checked>(path: &Path) -> Result<T, SettingsError> {
    let failed = |source| SettingsError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(SettingsError::TooLarge { path: path.to_owned() });
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?, path)
}

/// Checks `text`; `path` is for the error.
///
/// # Errors
/// [`SettingsError::Parse`] and [`SettingsError::Invalid`].
pub fn parse<T: Checked>(text: &str, path: &Path) -> Result<T, SettingsError> {
    let path = path.to_owned();
    match toml::from_str::<T>(text) {
        Err(error) => Err(SettingsError::Parse { path, source: Box::new(error) }),
        Ok(settings) => match settings.first_fault() {
            Some((key, problem)) => Err(SettingsError::Invalid { path, key, problem }),
            None => Ok(settings),
        },
    }
}
