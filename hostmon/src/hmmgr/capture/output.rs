//! Where a capture is written to. What guests report is in it, so only its owner may read the file.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::O_NOFOLLOW;

use super::error::CaptureError;

/// Mode of the file.
const MODE: u32 = 0o600;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    StandardOutput,
    File(PathBuf),
}

/// What was asked for, or a new file in this folder. `now` is the time since the Unix epoch.
pub(super) fn place(wanted: Option<&Path>, trunk: &str, now: Duration) -> Result<Place, CaptureError> {
    match wanted {
        Some(path) if path == Path::new("-") => {
            if io::stdout().is_terminal() {
                Err(CaptureError::Terminal)
            } else {
                Ok(Place::StandardOutput)
            }
        }
        Some(path) => Ok(Place::File(path.to_owned())),
        None => Ok(Place::File(PathBuf::from(format!("hvncp-{trunk}-{}.pcap", local_time(now))))),
    }
}

/// In the reader's time zone, without what file names should not have.
fn local_time(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y%m%d-%H%M%S").to_string()
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardOutput => out.write_str("standard output"),
            Self::File(path) => path.display().fmt(out),
        }
    }
}

impl Place {
    /// Says it before anything is opened; [`create`](Self::create) makes sure of it.
    pub(super) fn refuse_existing(&self, force: bool) -> Result<(), CaptureError> {
        match self {
            Self::File(path) if !force && path.symlink_metadata().is_ok() => {
                Err(CaptureError::Exists { path: path.clone() })
            }
            Self::StandardOutput | Self::File(_) => Ok(()),
        }
    }

    /// Opens it, buffered. With `force` a file that is there is overwritten, but never what a symbolic link leads to.
    pub(super) fn create(&self, force: bool) -> Result<BufWriter<Box<dyn Write>>, CaptureError> {
        let out: Box<dyn Write> = match self {
            Self::StandardOutput => Box::new(io::stdout()),
            Self::File(path) => Box::new(create_file(path, force).map_err(|source| {
                let path = path.clone();
                let exists = source.kind() == ErrorKind::AlreadyExists;
                if exists { CaptureError::Exists { path } } else { CaptureError::Create { path, source } }
            })?),
        };
        Ok(BufWriter::new(out))
    }
}

fn create_file(path: &Path, force: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE).custom_flags(O_NOFOLLOW);
    if !force {
        return options.create_new(true).open(path);
    }
    let file = options.create(true).truncate(true).open(path)?;
    // One that was there keeps its mode otherwise. A pipe or a device keeps it in any case.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::File(folder.path().join("new.pcap"));
        assert!(place.refuse_existing(false).is_ok());
        place.create(false).unwrap().write_all(b"first").unwrap();
        let Place::File(path) = &place else { panic!("{place:?}") };
        assert_eq!((mode(path), std::fs::read(path).unwrap()), (MODE, b"first".to_vec()));
    }

    #[test]
    fn a_file_that_is_there_is_overwritten_only_if_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.pcap");
        std::fs::write(&path, "much that was there").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let place = Place::File(path.clone());
        assert!(matches!(place.refuse_existing(false), Err(CaptureError::Exists { .. })));
        assert!(matches!(place.create(false), Err(CaptureError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"much that was there");
        assert!(place.refuse_existing(true).is_ok());
        place.create(true).unwrap().write_all(b"new").unwrap();
        assert_eq!((mode(&path), std::fs::read(&path).unwrap()), (MODE, b"new".to_vec()));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("precious"), folder.path().join("link.pcap"));
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let place = Place::File(link);
        assert!(matches!(place.create(false), Err(CaptureError::Exists { .. })));
        assert!(matches!(place.create(true), Err(CaptureError::Create { .. })));
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    }

    #[test]
    fn a_file_nobody_named_has_trunk_and_time_in_its_name() {
        let place = place(None, "eth1", Duration::from_secs(1_795_245_600)).unwrap().to_string();
        let digits = place.strip_prefix("hvncp-eth1-").and_then(|rest| rest.strip_suffix(".pcap")).unwrap();
        assert!(digits.starts_with("202611") && digits.len() == "20261121-100000".len(), "{place}");
        let named = super::place(Some(Path::new("x.pcap")), "eth1", Duration::ZERO).unwrap();
        assert_eq!(named, Place::File("x.pcap".into()));
    }
}
