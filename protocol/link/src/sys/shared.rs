//! Memory that two processes share: a file's bytes as numbers that are read and written whole.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU64;

use super::check;

/// Keeps all memory of this process from being swapped or dropped: what it has used, and what it will use, from its first use on.
/// What it never uses takes no memory. Before Linux 4.4 everything is locked, used or not.
///
/// # Errors
/// `PermissionDenied` or `OutOfMemory` without CAP_IPC_LOCK, beyond RLIMIT_MEMLOCK.
pub fn lock_used_memory() -> io::Result<()> {
    let all = libc::MCL_CURRENT | libc::MCL_FUTURE;
    // SAFETY: locking changes nothing of what is in memory.
    let locked = check(unsafe { libc::mlockall(all | libc::MCL_ONFAULT) });
    match locked {
        // SAFETY: as above.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => check(unsafe { libc::mlockall(all) }),
        other => other,
    }
}

/// The first words of a file, mapped for as long as this value lives. Whoever else maps the file sees what is written
/// here, word by word; the order of several words is a matter of the orderings used.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only its owner unmaps it.
unsafe impl Send for SharedWords {}
// SAFETY: all that a shared reference gives is atomic numbers.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `count` words. The file must be that long, and must never be made shorter by anybody: so it is to be one
    /// that only root can write.
    ///
    /// # Errors
    /// `InvalidInput` if the file is shorter or `count` is 0; what the kernel says.
    pub fn map(file: &File, count: usize) -> io::Result<Self> {
        let bytes = count.checked_mul(size_of::<AtomicU64>()).filter(|bytes| *bytes > 0);
        let length = file.metadata()?.len();
        let fits = |bytes: &usize| u64::try_from(*bytes).is_ok_and(|bytes| bytes <= length);
        let Some(bytes) = bytes.filter(fits) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the shared file is too short"));
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other.
        let start = unsafe { libc::mmap(null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        check(if start == libc::MAP_FAILED { -1 } else { 0 })?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { start, count })
    }

    /// Keeps it from being swapped.
    ///
    /// # Errors
    /// `PermissionDenied` or `OutOfMemory` without CAP_IPC_LOCK, beyond RLIMIT_MEMLOCK.
    pub fn lock(&self) -> io::Result<()> {
        // SAFETY: locking changes nothing of what is mapped there.
        check(unsafe { libc::mlock(self.start.as_ptr().cast::<c_void>(), self.bytes()) })
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping starts at a page and so is aligned, holds `count` words of which every bit pattern is valid, and
        // lives as long as `self`. The words are atomic, so that others may write them meanwhile.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }

    fn bytes(&self) -> usize {
        self.count * size_of::<AtomicU64>()
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and no slice of it outlives `self`. Failing would leak, no more.
        unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), self.bytes()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// A file without a name, of that many bytes.
    fn file(bytes: u64) -> File {
        let path = std::env::temp_dir().join(format!("vmpulse-shared-{}-{bytes}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    #[test]
    fn two_mappings_of_a_file_are_one_memory() {
        let file = file(4096);
        let (one, two) = (SharedWords::map(&file, 512).unwrap(), SharedWords::map(&file, 512).unwrap());
        one.words()[511].store(7, Ordering::Relaxed);
        assert_eq!(two.words()[511].fetch_add(1, Ordering::Relaxed), 7);
        assert_eq!(one.words()[511].load(Ordering::Relaxed), 8);
        assert_eq!(one.words().len(), 512);
    }

    #[test]
    fn a_file_that_is_too_short_is_refused() {
        let file = file(4095);
        for count in [0, 512, usize::MAX] {
            let refused = SharedWords::map(&file, count).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{count}");
        }
    }
}
