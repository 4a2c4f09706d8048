//! What is mounted where, by `/proc/self/mountinfo`: device numbers do not tell everything, because each subvolume of a Btrfs has
//! one of its own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Inject, InjectError};

/// Whether two files are on the same file system.
///
/// # Errors
/// The system's.
pub(super) fn on_the_same(one: &Path, other: &Path) -> Inject<bool> {
    let device =
        |path: &Path| fs::metadata(path).map(|it| it.dev()).map_err(InjectError::file("look at", path));
    if device(one)? == device(other)? {
        return Ok(true);
    }
    let table = Path::new("/proc/self/mountinfo");
    let mounts = fs::read_to_string(table).map_err(InjectError::file("read", table))?;
    let source = |path: &Path| {
        let whole = path.canonicalize().map_err(InjectError::file("find", path))?;
        Ok::<_, InjectError>(source_of(&mounts, &whole))
    };
    let mine = source(one)?;
    Ok(mine.is_some() && mine == source(other)?)
}

/// The block device that a file's file system is on; none where there is none (tmpfs, NFS).
fn source_of(mounts: &str, file: &Path) -> Option<OsString> {
    let all = mounts.lines().filter_map(parsed).filter(|(point, _)| file.starts_with(point));
    // Of several mounted over each other the last one is seen.
    let (_, source) = all.max_by_key(|(point, _)| point.components().count())?;
    Path::new(&source).is_absolute().then_some(source)
}

/// `36 35 98:0 /subvolume /mount rw,noatime master:1 - btrfs /dev/vda2 rw`: mount point and source.
fn parsed(line: &str) -> Option<(PathBuf, OsString)> {
    let (mount, file_system) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    let source = file_system.split(' ').nth(1)?;
    Some((unescaped(point).into(), unescaped(source)))
}

/// The kernel writes white space and backslashes as a backslash and three octal digits.
fn unescaped(word: &str) -> OsString {
    let mut parts = word.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part
            .split_at_checked(3)
            .and_then(|(code, rest)| Some((u8::from_str_radix(code, 8).ok()?, rest)))
        {
            Some((byte, rest)) => {
                bytes.push(byte);
                bytes.extend(rest.bytes());
            }
            None => bytes.extend(part.bytes()),
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 /@ / rw,relatime shared:1 - btrfs /dev/vda2 rw,subvol=/@
23 22 0:21 /@data /srv/my\\040data rw,relatime shared:2 master:4 - btrfs /dev/vda2 rw,subvol=/@data
24 22 254:16 / /srv/other rw - ext4 /dev/vdb rw
25 22 0:5 / /run rw - tmpfs tmpfs rw
26 24 254:32 / /srv/other rw - xfs /dev/vdc rw
";

    #[test]
    fn subvolumes_are_of_one_device_and_the_mount_that_is_seen_counts() {
        let source = |path: &str| source_of(MOUNTS, Path::new(path)).map(|it| it.into_string().unwrap());
        assert_eq!(source("/srv/my data/a").as_deref(), Some("/dev/vda2"));
        assert_eq!(source("/"), source("/srv/my data"));
        assert_eq!(source("/srv/other/x").as_deref(), Some("/dev/vdc"));
        assert_eq!(source("/srv/others").as_deref(), Some("/dev/vda2"));
        assert_eq!(source("/run/x"), None);
    }

    #[test]
    fn of_this_machine() {
        assert!(on_the_same(Path::new("/"), Path::new("/")).unwrap());
        assert!(!on_the_same(Path::new("/"), Path::new("/proc")).unwrap());
    }
}
