//! The lock between writers of the configuration file: one that its holder's death releases.
#![allow(clippy::disallowed_methods)] // A command waits on the real clock; nothing drives it.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{FileError, io_error};

/// Nobody else may even open it: whoever can read a file can lock it.
const MODE: u32 = 0o600;

/// Between two looks. A writer holds the lock for some milliseconds.
const STEP: Duration = Duration::from_millis(5);

/// After so long whoever waits is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// After so long it is given up. Hundreds of writers have their turn in that time.
const DEADLINE: Duration = Duration::from_secs(30);

/// Takes the lock that belongs to `path`.
pub(super) fn take(path: &Path, lock_path: &Path, progress: &dyn Fn(&str)) -> Result<File, FileError> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        let mut lock = open(lock_path)?;
        match lock.try_lock() {
            // Not if somebody has removed it meanwhile: the next one would lock another file.
            Ok(()) if is_still(&lock, lock_path) => {
                say_who(&mut lock).map_err(io_error("write", lock_path))?;
                return Ok(lock);
            }
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(io_error("lock", lock_path)(source)),
        }
        if begin.elapsed() >= DEADLINE {
            return Err(FileError::Locked { path: path.to_owned(), holder: holder(&mut lock) });
        }
        if begin.elapsed() >= PATIENCE && !told {
            progress(&format!("waiting for {}, which is changing {} ...", holder(&mut lock), path.display()));
            told = true;
        }
        thread::sleep(STEP);
    }
}

fn open(lock_path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(MODE);
    options.open(lock_path).map_err(io_error("open", lock_path))
}

fn is_still(lock: &File, lock_path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (lock.metadata(), fs::metadata(lock_path)) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

/// For those who wait.
fn say_who(lock: &mut File) -> io::Result<()> {
    // An earlier version left it readable.
    lock.set_permissions(Permissions::from_mode(MODE))?;
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

/// As it has said itself, if it still is.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(20).read_to_string(&mut text));
    let pid = text.parse::<u32>().ok().filter(|_| read.is_ok());
    match pid.filter(|pid| Path::new("/proc").join(pid.to_string()).exists()) {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn one_at_a_time_who_waits_is_told_for_whom_and_a_removed_lock_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let (path, lock_path) = (directory.path().join("x"), directory.path().join("x.lock"));
        fs::write(&lock_path, "").unwrap();
        let first = take(&path, &lock_path, &|_| ()).unwrap();
        assert_eq!(first.metadata().unwrap().permissions().mode() & 0o777, MODE);
        let told = AtomicBool::new(false);
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                take(&path, &lock_path, &|text| {
                    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
                    told.store(true, Ordering::SeqCst);
                })
            });
            while !told.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap().unwrap();
        });
        let removed = take(&path, &lock_path, &|_| ()).unwrap();
        fs::remove_file(&lock_path).unwrap();
        assert!(!is_still(&removed, &lock_path));
        let next = take(&path, &lock_path, &|_| ()).unwrap();
        assert!(is_still(&next, &lock_path));
    }
}
