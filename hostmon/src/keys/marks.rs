//! Which VMs were authenticated, kept over restarts: an empty file each, named by the VM's UUID.
//!
//! Every host monitor of the host writes and reads the same directory, so that a VM that one of them has authenticated
//! must be authenticated at the others too.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use vmpulse_local::keys::{KeyFileError, make_private_directory, remove_and_sync};
use vmpulse_protocol::id::VmUuid;

const FILE_MODE: u32 = 0o600;

/// The directory of the marks.
#[derive(Clone, Debug)]
pub struct Marks {
    path: PathBuf,
}

impl Marks {
    /// The directory need not be there yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Every marked VM.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn read(&self) -> Result<HashSet<VmUuid>, KeyFileError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashSet::new()),
            entries => entries.map_err(|source| self.failed("list", &self.path, source))?,
        };
        let mut marked = HashSet::new();
        for entry in entries {
            let name = entry.map_err(|source| self.failed("list", &self.path, source))?.file_name();
            marked.extend(name.to_str().and_then(|name| name.parse::<VmUuid>().ok()));
        }
        Ok(marked)
    }

    /// Whether a VM is marked.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn contains(&self, vm: VmUuid) -> Result<bool, KeyFileError> {
        let file = self.file(vm);
        fs::exists(&file).map_err(|source| self.failed("look for", &file, source))
    }

    /// Marks VMs for good. A mark that is there already costs no write.
    ///
    /// # Errors
    /// [`KeyFileError::Io`]; some of them may be marked then.
    pub fn set(&self, vms: impl IntoIterator<Item = VmUuid>) -> Result<(), KeyFileError> {
        make_private_directory(&self.path)?;
        let mut changed = false;
        for vm in vms {
            let file = self.file(vm);
            match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&file) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.failed("write", &file, error)),
            }
        }
        if !changed {
            return Ok(());
        }
        // The files are empty: that they are in the directory is all there is to keep.
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|source| self.failed("sync", &self.path, source))
    }

    /// Takes a VM's mark away; false if it had none.
    ///
    /// # Errors
    /// [`KeyFileError::Io`].
    pub fn clear(&self, vm: VmUuid) -> Result<bool, KeyFileError> {
        remove_and_sync(&self.file(vm))
    }

    fn file(&self, vm: VmUuid) -> PathBuf {
        self.path.join(vm.to_string())
    }

    fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> KeyFileError {
        KeyFileError::Io { action, path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(number: u8) -> VmUuid {
        VmUuid::from_bytes([number; 16])
    }

    #[test]
    fn marks_are_kept_until_they_are_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let marks = Marks::new(directory.path().join("state/authenticated"));
        assert!(marks.read().unwrap().is_empty());
        assert!(!marks.contains(vm(1)).unwrap() && !marks.clear(vm(1)).unwrap());
        marks.set([vm(1), vm(2)]).unwrap();
        marks.set([vm(1)]).unwrap();
        fs::write(marks.path.join("README"), "not a VM").unwrap();
        assert_eq!(marks.read().unwrap(), HashSet::from([vm(1), vm(2)]));
        assert!(marks.contains(vm(2)).unwrap() && marks.clear(vm(2)).unwrap());
        assert_eq!(marks.read().unwrap(), HashSet::from([vm(1)]));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_said() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("authenticated"), "").unwrap();
        let marks = Marks::new(directory.path().join("authenticated"));
        let error = marks.set([vm(1)]).unwrap_err();
        assert!(error.to_string().contains("authenticated"), "{error}");
        assert!(marks.read().is_err());
    }
}
