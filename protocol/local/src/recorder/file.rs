//! Names of records, and which of them are kept.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Opening, RecorderSettings};

const SUFFIX: &str = ".vmrec";

/// Of the file of this start. `name`: the daemon and what it serves.
pub(super) fn path(settings: &RecorderSettings, name: &str, opening: &Opening) -> PathBuf {
    // Whose instants are the machine's own has its zero at the boot, and not at its start.
    let by_monotonic = opening.monotonic_ns == 0 && opening.realtime_ns > 0;
    let after = if by_monotonic { super::monotonic() } else { Duration::ZERO };
    let began = i128::from(opening.realtime_ns).saturating_add(after.as_nanos().cast_signed());
    let at = jiff::Timestamp::from_nanosecond(began).unwrap_or_default();
    let stamp = at.strftime("%Y%m%dT%H%M%S%.3fZ");
    settings.directory.join(format!("{name}-{stamp}-{}{SUFFIX}", std::process::id()))
}

/// Makes that file, after removing what is too much of earlier ones.
pub(super) fn create(settings: &RecorderSettings, name: &str, path: &Path) -> io::Result<File> {
    let directory = &settings.directory;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let kept = usize::try_from(settings.keep).unwrap_or(usize::MAX).saturating_sub(1);
    remove_all_but(kept, directory, name)?;
    // Frames hold what guests sent.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Names sort by time.
fn remove_all_but(kept: usize, directory: &Path, name: &str) -> io::Result<()> {
    let mut earlier: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let of_this = |text: &str| is_of(name, text);
        if entry.file_name().to_str().is_some_and(of_this) {
            earlier.push(entry.path());
        }
    }
    earlier.sort();
    let surplus = earlier.len().saturating_sub(kept);
    earlier.iter().take(surplus).try_for_each(std::fs::remove_file)
}

/// Whether a file is a record of the daemon of this name: `hostmon-trunk0` is not the one of `hostmon-trunk0-b`.
fn is_of(name: &str, file: &str) -> bool {
    let stamp = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    let stamp = stamp.and_then(|rest| rest.strip_suffix(SUFFIX));
    stamp.and_then(|stamp| stamp.split_once('-')).is_some_and(|(time, pid)| {
        let digits = |text: &str, also: &[char]| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || also.contains(&c))
        };
        digits(time, &['T', 'Z', '.']) && digits(pid, &[])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_by_its_name() {
        let file = "hostmon-t-20260101T000000.000Z-17.vmrec";
        assert!(is_of("hostmon-t", file));
        for other in ["hostmon", "hostmon-", "hostmon-t-20260101T000000.000Z", "x"] {
            assert!(!is_of(other, file), "{other}");
        }
        for other in ["hostmon-t-a.vmrec", "hostmon-t-20260101-.vmrec", "hostmon-t-2026-1.txt"] {
            assert!(!is_of("hostmon-t", other), "{other}");
        }
    }
}
