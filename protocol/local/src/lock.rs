//! One daemon per name: a lock file with the owner's process id inside.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use thiserror::Error;

use crate::exit::Exit;

/// A process id has at most 10 digits; whatever else stands in the file is not read.
const PID_TEXT_LIMIT_BYTES: u64 = 16;

/// The lock is not ours.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error("already running: {} is held by {}", path.display(), holder(*pid))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process named inside, if one is.
        pid: Option<u32>,
    },
    /// The lock file could not be opened or written.
    #[error("cannot use the lock file {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LockError {
    /// The exit code of a daemon that stops for this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Held { .. } => Exit::TempFail,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::NoPermission,
            Self::Io { .. } => Exit::OsError,
        }
    }
}

/// A lock held until this value is dropped or the process ends, however it ends.
///
/// The file stays behind: removing it would let two later starters lock two different files of one name.
#[derive(Debug)]
pub struct RunLock {
    _file: Flock<File>,
}

impl RunLock {
    /// Takes the lock at `path`, or says who has it. Creates the file, and its directory if only that is missing.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process has it, [`LockError::Io`] if the file cannot be used.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { path: path.to_owned(), source };
        let file = open(path).map_err(io)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                return Err(LockError::Held { path: path.to_owned(), pid: pid_inside(&mut file) });
            }
            Err((_, errno)) => return Err(io(errno.into())),
        };
        write_pid(&mut file).map_err(io)?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    make_parent(path)?;
    // Not truncated on opening: it may be the file of a running holder.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)
}

/// Makes the directory of `path`. One level only: a longer missing path is more likely a typing error.
pub(crate) fn make_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    match std::fs::create_dir(parent) {
        Err(error) if !parent.is_dir() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn pid_inside(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_TEXT_LIMIT_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/daemon.lock");
        std::fs::create_dir(directory.path().join("run")).unwrap();
        std::fs::write(&path, "a very long left-over text of another time").unwrap();
        let lock = RunLock::acquire(&path).unwrap();
        let refused = RunLock::acquire(&path).unwrap_err();
        assert!(
            matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()),
            "{refused}"
        );
        assert_eq!(refused.exit(), Exit::TempFail);
        drop(lock);
        RunLock::acquire(&path).unwrap();
    }

    #[test]
    fn the_directory_is_made_but_not_a_whole_path() {
        let directory = tempfile::tempdir().unwrap();
        RunLock::acquire(&directory.path().join("run/daemon.lock")).unwrap();
        let error = RunLock::acquire(&directory.path().join("no/such/daemon.lock")).unwrap_err();
        assert!(matches!(&error, LockError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound));
        assert!(error.to_string().contains("no/such/daemon.lock"));
    }
}
