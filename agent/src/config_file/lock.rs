//! The lock between writers of the configuration file: one that its holder's death releases.
#![allow(clippy::disallowed_methods)] // A command waits on the real clock; nothing drives it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{FileError, io_error};

/// Between two looks. A writer holds the lock for some milliseconds.
const STEP: Duration = Duration::from_millis(5);

/// Looks before whoever waits is told: after two seconds.
const PATIENCE: u32 = 400;

/// Looks before it is given up: after half a minute. Hundreds of writers have their turn in that time.
const ATTEMPTS: u32 = 6000;

/// Takes the lock that belongs to `path`.
pub(super) fn take(path: &Path, lock_path: &Path, progress: &dyn Fn(&str)) -> Result<File, FileError> {
    for attempt in 0..ATTEMPTS {
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(lock_path)
            .map_err(io_error("open", lock_path))?;
        match lock.try_lock() {
            // Not if somebody has removed it meanwhile: the next one would lock another file.
            Ok(()) if is_still(&lock, lock_path) => {
                say_who(&mut lock).map_err(io_error("write", lock_path))?;
                return Ok(lock);
            }
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(io_error("lock", lock_path)(source)),
        }
        if attempt == PATIENCE {
            progress(&format!("waiting for {}, which is changing {} ...", holder(&mut lock), path.display()));
        }
        if attempt + 1 == ATTEMPTS {
            return Err(FileError::Locked { path: path.to_owned(), holder: holder(&mut lock) });
        }
        thread::sleep(STEP);
    }
    Err(FileError::Locked { path: path.to_owned(), holder: "others".to_owned() })
}

fn is_still(lock: &File, lock_path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (lock.metadata(), fs::metadata(lock_path)) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

/// For those who wait.
fn say_who(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(20).read_to_string(&mut text));
    match (read, text.parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => "another process".to_owned(),
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
        let first = take(&path, &lock_path, &|_| ()).unwrap();
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
