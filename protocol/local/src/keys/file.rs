//! The key file on disk: nobody else may read it, and it is never half there.
//!
//! ```text
//!   lock the directory -> read -> write `.<name>.new`, sync -> rename over the file -> sync the directory
//! ```
//! The file is opened without following a symbolic link and judged by what was opened. Writers wait for each other by
//! a lock on the directory, so that no lock files lie about.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc::{ELOOP, O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::ring::{KeyRing, RingError};
use super::secret::fill;
use crate::exit::Exit;
use crate::lock::make_parent;

/// Two keys and a page of comments.
const MAX_FILE_BYTES: usize = 4096;
/// The owner reads and writes.
const FILE_MODE: u32 = 0o600;
/// The owner alone looks and goes in.
const PRIVATE_DIRECTORY_MODE: u32 = 0o700;
/// Every right of everybody but the owner.
const OTHERS: u32 = 0o077;
/// The right to write of everybody but the owner.
const OTHERS_WRITE: u32 = 0o022;
/// Only the owner of a file may rename or remove it there.
const STICKY: u32 = 0o1000;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read it, or write.
    #[error(
        "others have access to {0} (mode {mode:04o}): run `chmod 600 {0}`, and make a new key if one of them may have used it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody else's.
    #[error("{0} belongs to user {uid}: run `chown root {0}`, and make a new key if that user may have read it", path.display())]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// The owner.
        uid: u32,
    },
    /// Others could put another file in its place.
    #[error("others can write to the directory {0} (mode {mode:04o}): run `chmod go-w {0}`", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A link, a pipe, a directory.
    #[error("{} is not a regular file; put the key file itself there, not a link to it", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Larger than any key file.
    #[error("{} is larger than {MAX_FILE_BYTES} bytes: it is no key file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// What is in it is no key file.
    #[error("{} is not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: RingError,
    },
}

impl KeyFileError {
    /// The exit code of a command that stops for this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => Exit::NoPermission,
            Self::Io { .. } => Exit::OsError,
            Self::Exposed { .. }
            | Self::Owner { .. }
            | Self::OpenDirectory { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. } => Exit::Config,
        }
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> KeyFileError + 'a {
    move |source| KeyFileError::Io { action, path: path.to_owned(), source }
}

/// The keys in the file; `None` if there is no file.
///
/// # Errors
/// [`KeyFileError`] if it cannot be read, is not valid, or if others have access to it. Who can write to its directory
/// is for [`check_directory`].
pub fn read(path: &Path) -> Result<Option<KeyRing>, KeyFileError> {
    let flags = O_NOFOLLOW | O_NONBLOCK;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(ELOOP) => {
            return Err(KeyFileError::NotAFile { path: path.to_owned() });
        }
        Err(error) => return Err(io_error("open", path)(error)),
    };
    check_file(path, &file.metadata().map_err(io_error("look at", path))?)?;
    let mut buffer = Zeroizing::new([0; MAX_FILE_BYTES + 1]);
    let length = fill(&mut file, buffer.as_mut_slice()).map_err(io_error("read", path))?;
    let text = buffer.get(..length).unwrap_or_default();
    if length > MAX_FILE_BYTES {
        return Err(KeyFileError::TooLarge { path: path.to_owned() });
    }
    let ring = KeyRing::parse(text);
    ring.map(Some).map_err(|source| KeyFileError::Invalid { path: path.to_owned(), source })
}

fn check_file(path: &Path, file: &Metadata) -> Result<(), KeyFileError> {
    let path = path.to_owned();
    let mode = file.mode() & 0o7777;
    if !file.is_file() {
        Err(KeyFileError::NotAFile { path })
    } else if !is_trusted(file.uid()) {
        Err(KeyFileError::Owner { path, uid: file.uid() })
    } else if mode & OTHERS != 0 {
        Err(KeyFileError::Exposed { path, mode })
    } else {
        Ok(())
    }
}

/// Whether nobody else can put a file of his own into the directory of key files.
///
/// # Errors
/// [`KeyFileError`].
pub fn check_directory(path: &Path) -> Result<(), KeyFileError> {
    let directory = fs::metadata(path).map_err(io_error("look at", path))?;
    let (path, mode) = (path.to_owned(), directory.mode() & 0o7777);
    if !is_trusted(directory.uid()) {
        Err(KeyFileError::Owner { path, uid: directory.uid() })
    } else if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        Err(KeyFileError::OpenDirectory { path, mode })
    } else {
        Ok(())
    }
}

/// Root, and whoever runs this.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Makes a directory that its owner alone may look into, and its parent if that is missing too.
///
/// # Errors
/// [`KeyFileError::Io`].
pub fn make_private_directory(path: &Path) -> Result<(), KeyFileError> {
    make_parent(path).map_err(io_error("make the directory of", path))?;
    match DirBuilder::new().mode(PRIVATE_DIRECTORY_MODE).create(path) {
        Err(error) if !path.is_dir() => Err(io_error("make the directory", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A key file, locked against other writers until this value is dropped.
#[derive(Debug)]
pub struct LockedKeyFile {
    path: PathBuf,
    directory: Flock<File>,
}

impl LockedKeyFile {
    /// Waits for the lock (writers hold it for milliseconds) and reads the file; one that is not there has no keys.
    ///
    /// # Errors
    /// [`KeyFileError`], as [`read`] and [`check_directory`].
    pub fn open(path: &Path) -> Result<(Self, KeyRing), KeyFileError> {
        make_parent(path).map_err(io_error("make the directory of", path))?;
        let directory = parent(path);
        check_directory(directory)?;
        let file = File::open(directory).map_err(io_error("open", directory))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io_error("lock", directory)(errno.into()))?;
        let ring = read(path)?.unwrap_or_default();
        Ok((Self { path: path.to_owned(), directory: lock }, ring))
    }

    /// Puts these keys in the place of those in the file; without any, the file is removed.
    ///
    /// # Errors
    /// [`KeyFileError::Io`]; the file is as it was then.
    pub fn save(self, ring: &KeyRing) -> Result<(), KeyFileError> {
        if ring.is_empty() {
            return remove_and_sync(&self.path).map(|_| ());
        }
        let draft = draft(&self.path);
        let written = write_draft(&draft, &ring.encode()).map_err(io_error("write", &draft));
        let replaced =
            written.and_then(|()| fs::rename(&draft, &self.path).map_err(io_error("replace", &self.path)));
        if replaced.is_err() {
            let _ = fs::remove_file(&draft);
        }
        replaced?;
        self.directory.sync_all().map_err(io_error("sync the directory of", &self.path))
    }
}

/// Removes a file for good; false if there was none.
///
/// # Errors
/// [`KeyFileError::Io`].
pub fn remove_and_sync(path: &Path) -> Result<bool, KeyFileError> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("remove", path)(error)),
    }
    let synced = File::open(parent(path)).and_then(|directory| directory.sync_all());
    synced.map_err(io_error("sync the directory of", path))?;
    Ok(true)
}

/// What a writer that died has left is replaced. Made anew and never followed, whatever is there by that name.
fn write_draft(draft: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(draft)?;
    file.write_all(text)?;
    file.sync_all()
}

/// `.<name>.new` beside the file.
fn draft(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
