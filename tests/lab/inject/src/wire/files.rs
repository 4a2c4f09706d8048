//! Files of a wire, beside the state file of its class: its settings, which may be changed while it runs, and its counts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Way;
use super::counts::Counts;
use super::faults::Faults;
use crate::context::{Context, read};
use crate::error::{Inject, InjectError};

/// What became of the frames of one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndCounts {
    /// The trunk.
    pub trunk: String,
    /// Where they went.
    pub way: Way,
    /// Their numbers.
    pub counts: Counts,
}

/// What a wire that runs tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What goes wrong by now.
    pub faults: Faults,
    /// Why the settings file as it is now was not taken.
    pub settings_problem: Option<String>,
    /// What became of the frames.
    pub ends: Vec<EndCounts>,
}

/// The files of the wire of one class.
#[derive(Debug, Clone)]
pub struct Files {
    /// What shall go wrong: may be changed while the wire runs.
    pub settings: PathBuf,
    /// What a wire that runs tells; not there before it works.
    pub told: PathBuf,
}

impl Files {
    /// Of the class of this name.
    #[must_use]
    pub fn new(context: &Context, class: &str) -> Files {
        let file = |kind: &str| context.state_dir.join(format!("{class}.{kind}"));
        Files { settings: file("settings"), told: file("counts") }
    }

    /// What the settings file says; the inner error is what is wrong in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn faults(&self) -> Inject<Result<Faults, String>> {
        let text = read(&self.settings)?;
        let faults = serde_json::from_str::<Faults>(&text).map_err(|error| error.to_string());
        Ok(faults.and_then(|faults| faults.check().map(|()| faults)))
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// The system's.
    pub fn write_faults(&self, faults: &Faults) -> Inject<()> {
        write(&self.settings, faults)
    }

    /// What the wire tells, if it works.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn told(&self) -> Inject<Option<Told>> {
        let text = match read(&self.told) {
            Ok(text) => text,
            Err(InjectError::Os { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| InjectError::Failed(format!("{} cannot be read: {error}.", self.told.display())))
    }

    /// Tells.
    ///
    /// # Errors
    /// The system's.
    pub fn tell(&self, told: &Told) -> Inject<()> {
        write(&self.told, told)
    }

    /// Removes both.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self) -> Inject<()> {
        for path in [&self.settings, &self.told] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(InjectError::file("remove", path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// A reader sees the old file or the new one.
fn write(path: &Path, value: &impl Serialize) -> Inject<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| InjectError::Failed(format!("A setting has no JSON form: {error}.")))?;
    let mut scratch = path.as_os_str().to_owned();
    scratch.push(".part");
    let scratch = PathBuf::from(scratch);
    fs::write(&scratch, text).map_err(InjectError::file("write", &scratch))?;
    fs::rename(&scratch, path).map_err(InjectError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn settings_are_read_as_they_were_written_and_mistakes_are_told() {
        let machine = Machine::unmarked();
        fs::create_dir_all(&machine.context.state_dir).unwrap();
        let files = Files::new(&machine.context, "path-loss");
        let faults = Faults { loss_per_mille: 100, ..Faults::default() };
        files.write_faults(&faults).unwrap();
        assert_eq!(files.faults().unwrap(), Ok(faults));
        fs::write(&files.settings, r#"{"loss_per_mille": 2000}"#).unwrap();
        assert!(files.faults().unwrap().unwrap_err().contains("loss_per_mille"));
        assert_eq!(files.told().unwrap(), None);
        files.remove().unwrap();
        files.remove().unwrap();
        assert!(files.faults().is_err());
    }
}
