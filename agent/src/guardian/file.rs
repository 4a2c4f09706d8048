//! How daemon and guardian come by their page: a file in the run directory, which both map.
//!
//! A file and not anonymous memory, so that a restarted daemon finds it again. Only root may read it: it has keys inside.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, fchmod};
use vmpulse_link::SharedWords;

use super::page::{PAGE_WORDS, Page};

const PAGE_BYTES: u64 = (PAGE_WORDS * size_of::<u64>()) as u64;
const OWNER_ONLY: u32 = 0o600;

/// Name of the file in the run directory.
pub const PAGE_FILE: &str = "guardian.page";
/// Name of the lock against a second guardian.
pub const LOCK_FILE: &str = "guardian.lock";

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The file cannot be used.
    #[error("cannot share {} with the guardian", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was made by a program of another version, or is none.
    #[error("{} has another layout: daemon and guardian are of different versions", path.display())]
    OtherLayout {
        /// The file.
        path: PathBuf,
    },
}

/// A page that was opened.
#[derive(Debug)]
pub struct OpenedPage {
    /// Itself.
    pub page: Page,
    path: PathBuf,
    inode: u64,
}

impl OpenedPage {
    /// Opens the page, or makes it.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn open(run_dir: &Path) -> Result<Self, PageError> {
        let path = run_dir.join(PAGE_FILE);
        let failed = |source| PageError::Io { path: path.clone(), source };
        let file = open_file(&path).map_err(failed)?;
        // While it is made nobody else looks at it.
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
        let metadata = file.metadata().map_err(failed)?;
        let is_new = metadata.len() == 0;
        if is_new {
            file.set_len(PAGE_BYTES).map_err(failed)?;
        } else if metadata.len() != PAGE_BYTES {
            return Err(PageError::OtherLayout { path });
        }
        let words = SharedWords::map(&file, PAGE_WORDS).map_err(failed)?;
        // Without the right to lock memory the page may be swapped: late, and still right.
        let _ = words.lock();
        let page = Page::new(Arc::new(words));
        if is_new {
            page.begin();
        } else if !page.is_of_this_layout() {
            return Err(PageError::OtherLayout { path });
        }
        Ok(Self { page, path, inode: metadata.ino() })
    }

    /// As [`open`](Self::open); a page of another layout is replaced by a new one. Its guardian notices that, and ends.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn open_or_replace(run_dir: &Path) -> Result<Self, PageError> {
        match Self::open(run_dir) {
            Err(PageError::OtherLayout { path }) => {
                std::fs::remove_file(&path).map_err(|source| PageError::Io { path, source })?;
                Self::open(run_dir)
            }
            other => other,
        }
    }

    /// Whether the file in the run directory still is the one that was opened.
    #[must_use]
    pub fn is_current(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY);
    let file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a file of ours"));
    }
    if metadata.mode() & 0o777 != OWNER_ONLY {
        fchmod(&file, Mode::from_bits_truncate(OWNER_ONLY))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_openings_are_one_page_and_nobody_else_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let daemon = OpenedPage::open(directory.path()).unwrap();
        let guardian = OpenedPage::open(directory.path()).unwrap();
        daemon.page.set(super::super::page::Header::Stamp, 7);
        assert_eq!(guardian.page.seen().stamp.as_nanos(), 7);
        let mode = std::fs::metadata(directory.path().join(PAGE_FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, OWNER_ONLY);
        assert!(guardian.is_current());
    }

    #[test]
    fn another_layout_is_refused_by_the_guardian_and_replaced_by_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(PAGE_FILE);
        let old = OpenedPage::open(directory.path()).unwrap();
        for content in [vec![0; 4096], vec![7; 4096], vec![1; 100], vec![0; 8192]] {
            std::fs::write(&path, content).unwrap();
            let refused = OpenedPage::open(directory.path()).unwrap_err();
            assert!(matches!(refused, PageError::OtherLayout { .. }), "{refused}");
        }
        let new = OpenedPage::open_or_replace(directory.path()).unwrap();
        assert!(new.is_current() && !old.is_current());
        std::fs::remove_file(&path).unwrap();
        assert!(!new.is_current());
    }

    #[test]
    fn what_is_no_file_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.path().join(PAGE_FILE)).unwrap();
        assert!(matches!(OpenedPage::open(directory.path()), Err(PageError::Io { .. })));
    }
}
