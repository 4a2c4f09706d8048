//! The VMs' keys on a host: one file per VM, `<key_dir>/<uuid>.key`, and what is done with them.
//!
//! Edges: [`KeyDirectory`] (the files), [`Marks`] (which VMs were authenticated). [`Keeper`] puts them together for the
//! daemon.

mod change;
mod keeper;
mod marks;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use vmpulse_local::errors;
use vmpulse_local::keys::{self, KeyFileError, KeyRing};
use vmpulse_protocol::id::VmUuid;

pub use change::{ChangeError, Imported, Rotated};
pub use keeper::{Keeper, Loaded};
pub use marks::Marks;

/// How the name of a key file ends.
const EXTENSION: &str = ".key";

/// The directory of the key files.
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    path: PathBuf,
}

/// What is in the directory.
#[derive(Debug, Default)]
pub struct Scan {
    /// The keys of each VM that has any.
    pub rings: HashMap<VmUuid, KeyRing>,
    /// Files that cannot be used.
    pub problems: Vec<Problem>,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The VM whose file it is, if its name says so.
    pub vm: Option<VmUuid>,
    /// What is wrong, with the file's name.
    pub text: String,
}

impl KeyDirectory {
    /// The directory need not be there yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key file of a VM.
    #[must_use]
    pub fn file(&self, vm: VmUuid) -> PathBuf {
        self.path.join(format!("{vm}{EXTENSION}"))
    }

    /// A VM's keys; none if it has no file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(&self, vm: VmUuid) -> Result<KeyRing, KeyFileError> {
        Ok(keys::read(&self.file(vm))?.unwrap_or_default())
    }

    /// Every VM's keys; `None` if there is no directory.
    ///
    /// # Errors
    /// [`KeyFileError`] if the directory cannot be used. A file that cannot is a [`Problem`] of its own.
    pub fn scan(&self) -> Result<Option<Scan>, KeyFileError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(error)),
        };
        keys::check_directory(&self.path)?;
        let mut scan = Scan::default();
        for entry in entries {
            let name = entry.map_err(|error| self.unreadable(error))?.file_name();
            // Drafts and what else begins with a dot is nobody's key file.
            if let Some(name) =
                name.to_str().filter(|name| name.ends_with(EXTENSION) && !name.starts_with('.'))
            {
                self.take(name, &mut scan);
            }
        }
        scan.problems.sort_by(|a, b| a.text.cmp(&b.text));
        Ok(Some(scan))
    }

    fn take(&self, name: &str, scan: &mut Scan) {
        let path = self.path.join(name);
        let vm = name.strip_suffix(EXTENSION).and_then(|stem| stem.parse::<VmUuid>().ok());
        let Some(vm) = vm.filter(|vm| self.file(*vm) == path) else {
            let text =
                format!("{} is no VM's key file: its name is to be the UUID in lower case", path.display());
            return scan.problems.push(Problem { vm: None, text });
        };
        match keys::read(&path) {
            Ok(Some(ring)) => {
                scan.rings.insert(vm, ring);
            }
            // Removed meanwhile.
            Ok(None) => {}
            Err(error) => scan.problems.push(Problem { vm: Some(vm), text: errors::chain(&error) }),
        }
    }

    fn unreadable(&self, source: std::io::Error) -> KeyFileError {
        KeyFileError::Io { action: "list", path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests;
