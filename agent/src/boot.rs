//! Whether the guest has booted since the agent last ran, and which applications were stopped by hand since then: kept
//! in a file, because the agent may be started anew without a boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state_file;

/// The file in the state directory.
pub const FILE: &str = "boot.json";

/// A number that the kernel draws at each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The boot in which the agent ran last.
    pub id: String,
    /// Uuids of the applications that were stopped by hand since.
    pub stopped: Vec<String>,
}

/// The file, and what has become of it.
#[derive(Clone, Debug)]
pub struct BootFile {
    state_dir: PathBuf,
    boot: Boot,
    booted: bool,
}

impl BootFile {
    /// Reads the file and notes the boot of today in it. An agent that runs for the first time has seen no boot: the
    /// applications of its guest are as they are.
    ///
    /// # Errors
    /// No number of the boot, or a state directory that cannot be read or written. The value is of use all the same: no
    /// boot, nothing stopped.
    pub fn open(state_dir: &Path) -> (Self, io::Result<()>) {
        Self::open_with(state_dir, Path::new(BOOT_ID))
    }

    fn open_with(state_dir: &Path, boot_id: &Path) -> (Self, io::Result<()>) {
        let mut file = Self { state_dir: state_dir.to_owned(), boot: Boot::default(), booted: false };
        let noted = file.note(boot_id);
        (file, noted)
    }

    fn note(&mut self, boot_id: &Path) -> io::Result<()> {
        let id = fs::read_to_string(boot_id)?.trim().to_owned();
        let last: Option<Boot> = state_file::load(&self.state_dir, FILE)?;
        self.booted = last.as_ref().is_some_and(|last| last.id != id);
        let stopped = last.filter(|last| last.id == id).map(|last| last.stopped).unwrap_or_default();
        self.boot = Boot { id, stopped };
        state_file::save(&self.state_dir, FILE, &self.boot)
    }

    /// Whether this is the first run since the guest has booted.
    #[must_use]
    pub fn booted(&self) -> bool {
        self.booted
    }

    /// Uuids of the applications that were stopped by hand since.
    #[must_use]
    pub fn stopped(&self) -> &[String] {
        &self.boot.stopped
    }

    /// Keeps which are stopped now.
    ///
    /// # Errors
    /// A state directory that cannot be written. Then nothing has changed.
    pub fn keep(&mut self, stopped: Vec<String>) -> io::Result<()> {
        if stopped == self.boot.stopped {
            return Ok(());
        }
        let boot = Boot { stopped, ..self.boot.clone() };
        state_file::save(&self.state_dir, FILE, &boot)?;
        self.boot = boot;
        Ok(())
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.state_dir.join(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_told_from_a_restart_and_forgets_what_was_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let (state, id) = (folder.path().join("state"), folder.path().join("boot_id"));
        let open = || {
            let (file, noted) = BootFile::open_with(&state, &id);
            noted.unwrap();
            file
        };
        fs::write(&id, "first\n").unwrap();
        let mut file = open();
        assert!(!file.booted(), "the first run of all");
        file.keep(vec!["1567267349133928000".to_owned()]).unwrap();
        let file = open();
        assert_eq!((file.booted(), file.stopped().len()), (false, 1));
        fs::write(&id, "second\n").unwrap();
        let file = open();
        assert_eq!((file.booted(), file.stopped().len()), (true, 0));
        assert!(!open().booted());
    }

    #[test]
    fn without_its_file_nothing_has_happened() {
        let folder = tempfile::tempdir().unwrap();
        let id = folder.path().join("boot_id");
        let (file, noted) = BootFile::open_with(folder.path(), &id);
        assert!(noted.is_err() && !file.booted() && file.stopped().is_empty());
        fs::write(&id, "first").unwrap();
        fs::write(folder.path().join(FILE), "first").unwrap();
        let (file, noted) = BootFile::open_with(folder.path(), &id);
        assert!(noted.is_err() && !file.booted());
        let (mut file, _) = BootFile::open_with(Path::new("/proc/nowhere"), &id);
        assert!(file.keep(vec!["1".to_owned()]).is_err() && file.stopped().is_empty());
        assert!(BootFile::open(folder.path()).0.path().ends_with(FILE));
    }
}
