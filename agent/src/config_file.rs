//! The configuration file on disk: read, and changed by one writer at a time without ever being half there.

mod lock;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::config::patch::{self, PatchError, Target};
use crate::config::{ConfigError, Configuration, MAX_FILE_BYTES};

/// Mode of a new file: there is nothing secret in it.
const NEW_FILE_MODE: u32 = 0o644;

/// Why the file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
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
    /// What is in it is not valid. Nothing is written then.
    #[error("{} is not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: ConfigError,
    },
    /// The file that there was is gone.
    #[error(
        "{} is gone; the applications go on as they were. To monitor none, delete them with vmmgr, or write <Monitoring/>",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error(
        "{} is being changed by {holder}, which does not come to an end; nothing was changed. Try again, or end it",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// `process 1234`.
        holder: String,
    },
    /// Somebody without the lock, an editor, was quicker.
    #[error("{} was changed by somebody else in the meantime; nothing was changed. Try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It has no such application or dependency.
    #[error("{}", .0)]
    NoApplication(PatchError),
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::Io { action, path: path.to_owned(), source }
}

/// The text of the file; `None` if there is no file.
pub fn read_text(path: &Path) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed: the parser then says that it is too large.
    let limit = MAX_FILE_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    // Where it would be cut off in the middle of a character it is too large anyway.
    let whole = bytes.len() <= MAX_FILE_BYTES;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) if whole => {
            Err(FileError::Invalid { path: path.to_owned(), source: ConfigError::not_utf8(&error) })
        }
        Err(error) => Ok(Some(String::from_utf8_lossy(error.as_bytes()).into_owned())),
    }
}

/// The file before the last change, if there is one.
#[must_use]
pub fn previous(path: &Path) -> Option<PathBuf> {
    let previous = beside(&fs::canonicalize(path).ok()?, "prev");
    previous.exists().then_some(previous)
}

/// What the file says; a file that is not there says nothing.
pub fn load(path: &Path, max_apps: usize) -> Result<Configuration, FileError> {
    let text = read_text(path)?.unwrap_or_else(|| patch::EMPTY_FILE.to_owned());
    parse(path, &text, max_apps)
}

fn parse(path: &Path, text: &str, max_apps: usize) -> Result<Configuration, FileError> {
    Configuration::read(text, max_apps).map_err(|source| FileError::Invalid { path: path.to_owned(), source })
}

/// What the file says, while applications of it are monitored: it does not vanish by being lost.
pub fn reload(path: &Path, max_apps: usize, monitored: usize) -> Result<Configuration, FileError> {
    match read_text(path)? {
        Some(text) => parse(path, &text, max_apps),
        None if monitored > 0 => Err(FileError::Gone { path: path.to_owned() }),
        None => load(path, max_apps),
    }
}

/// The file, locked against other writers until this value is dropped.
#[derive(Debug)]
pub struct LockedFile {
    path: PathBuf,
    max_apps: usize,
    text: String,
    /// Whether there was a file.
    found: bool,
    _lock: File,
}

impl LockedFile {
    /// Waits for the lock (writers hold it for milliseconds) and reads the file, or begins a new one. Whoever waits for
    /// long is told so by `progress`.
    pub fn open(
        path: &Path,
        max_apps: usize,
        progress: &dyn Fn(&str),
    ) -> Result<(Self, Configuration), FileError> {
        // Through a symbolic link, so that the rename replaces the file and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        make_parent(&path)?;
        let lock = lock::take(&path, &beside(&path, "lock"), progress)?;
        let found = read_text(&path)?;
        let (found, text) = (found.is_some(), found.unwrap_or_else(|| patch::EMPTY_FILE.to_owned()));
        let configuration = parse(&path, &text, max_apps)?;
        Ok((Self { path, max_apps, text, found, _lock: lock }, configuration))
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes `text` with `comment` (the time of the change) in it, if the result is valid.
    pub fn save(self, text: &str, comment: &str) -> Result<(), FileError> {
        let pairs = [("comment", comment)];
        let text =
            patch::set_attributes(text, Target::Root, &pairs).map_err(|error| self.patch_error(error))?;
        parse(&self.path, &text, self.max_apps)?;
        let new = beside(&self.path, "new");
        self.write_new(&new, &text).map_err(io_error("write", &new))?;
        self.check_unchanged()?;
        self.keep_previous()?;
        fs::rename(&new, &self.path).map_err(io_error("replace", &self.path))?;
        self.sync_directory()
    }

    /// In this crate's words.
    pub fn patch_error(&self, error: PatchError) -> FileError {
        match error {
            PatchError::Config(source) => FileError::Invalid { path: self.path.clone(), source },
            PatchError::NoApplication(_) | PatchError::NoDependency(_) => FileError::NoApplication(error),
        }
    }

    /// Mode and owner stay as they were.
    fn write_new(&self, new: &Path, text: &str) -> io::Result<()> {
        let old = fs::metadata(&self.path).ok();
        let mode = old.as_ref().map_or(NEW_FILE_MODE, |metadata| metadata.permissions().mode() & 0o777);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        if let Some(old) = old {
            // Only root can give a file away, and only root can have one of somebody else's to change.
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// The lock holds other `vmmgr`s off, not editors.
    fn check_unchanged(&self) -> Result<(), FileError> {
        let now = read_text(&self.path)?;
        let unchanged = if self.found { now.as_ref() == Some(&self.text) } else { now.is_none() };
        if unchanged { Ok(()) } else { Err(FileError::Changed { path: self.path.clone() }) }
    }

    /// The file that is about to be replaced stays as `.prev`; at no moment is there none.
    fn keep_previous(&self) -> Result<(), FileError> {
        if !self.path.exists() {
            return Ok(());
        }
        let (previous, link) = (beside(&self.path, "prev"), beside(&self.path, "prev.new"));
        let _ = fs::remove_file(&link);
        // Not every file system has hard links.
        fs::hard_link(&self.path, &link)
            .or_else(|_| copy(&self.path, &link))
            .and_then(|()| fs::rename(&link, &previous))
            .map_err(io_error("keep the previous file as", &previous))
    }

    fn sync_directory(&self) -> Result<(), FileError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        File::open(directory).and_then(|file| file.sync_all()).map_err(io_error("sync", directory))
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// One level only: a path of which more is missing is more likely mistyped.
fn make_parent(path: &Path) -> Result<(), FileError> {
    let Some(parent) = path.parent().filter(|parent| !parent.exists()) else { return Ok(()) };
    match fs::create_dir(parent) {
        // Another writer was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(io_error("create", parent)),
    }
}

/// `HAMonitoring.xml.<extension>` in the same directory.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: [(&str, &str); 5] = [
        ("name", "a"),
        ("uuid", "1567267349133928009"),
        ("monitor_script", "/m"),
        ("start_script", "/s"),
        ("stop_script", "/t"),
    ];

    #[test]
    fn a_new_file_then_the_previous_is_kept_with_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vmpulse/HAMonitoring.xml");
        assert_eq!(load(&path, 16).unwrap(), load(&path, 16).unwrap());
        let (file, configuration) = LockedFile::open(&path, 16, &|_| ()).unwrap();
        assert!(configuration.applications.is_empty());
        let text = patch::add_application(file.text(), &NEW).unwrap();
        file.save(&text, "2026-11-21 03:00:00").unwrap();
        let first = fs::read_to_string(&path).unwrap();
        assert!(first.contains("comment=\"2026-11-21 03:00:00\""), "{first}");
        assert!(load(&path, 16).unwrap().application("a").is_some());

        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let (file, _) = LockedFile::open(&path, 16, &|_| ()).unwrap();
        let text = patch::delete_application(file.text(), "a").unwrap();
        file.save(&text, "2026-11-21 03:00:01").unwrap();
        assert_eq!(fs::read_to_string(beside(&path, "prev")).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(load(&path, 16).unwrap().applications.is_empty());
    }

    #[test]
    fn an_invalid_result_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("HAMonitoring.xml");
        fs::write(&path, patch::EMPTY_FILE).unwrap();
        let (file, _) = LockedFile::open(&path, 16, &|_| ()).unwrap();
        let error = file.save("<Monitoring log=\"9\"/>", "now").unwrap_err();
        assert!(matches!(error, FileError::Invalid { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), patch::EMPTY_FILE);
        fs::write(&path, "<Monitoring").unwrap();
        assert!(matches!(LockedFile::open(&path, 16, &|_| ()), Err(FileError::Invalid { .. })));
    }

    #[test]
    fn bytes_that_are_no_text_have_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("HAMonitoring.xml");
        fs::write(&path, b"<Monitoring>\n \xc3\xa4\xff</Monitoring>").unwrap();
        let FileError::Invalid { source, .. } = load(&path, 16).unwrap_err() else { panic!("valid") };
        assert_eq!((source.line, source.column), (2, 3), "{source}");
        fs::write(&path, [&[b' '; MAX_FILE_BYTES - 1][..], "ää".as_bytes()].concat()).unwrap();
        let FileError::Invalid { source, .. } = load(&path, 16).unwrap_err() else { panic!("valid") };
        assert_eq!(source.problem, crate::config::Problem::TooLarge);
    }

    #[test]
    fn what_an_editor_did_in_the_meantime_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("HAMonitoring.xml");
        for edited in ["<Monitoring log=\"3\"/>", "<Monitoring log=\"1\"/>"] {
            // First a file that was not there, then one that was.
            let (file, _) = LockedFile::open(&path, 16, &|_| ()).unwrap();
            let text = patch::add_application(file.text(), &NEW).unwrap();
            fs::write(&path, edited).unwrap();
            let error = file.save(&text, "now").unwrap_err();
            assert!(matches!(error, FileError::Changed { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), edited);
        }
    }

    #[test]
    fn a_lost_file_does_not_end_the_monitoring() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("HAMonitoring.xml");
        assert!(matches!(reload(&path, 16, 1), Err(FileError::Gone { .. })));
        assert!(reload(&path, 16, 0).unwrap().applications.is_empty());
        fs::write(&path, "<Monitoring/>").unwrap();
        assert!(reload(&path, 16, 1).unwrap().applications.is_empty());
    }

    #[test]
    fn concurrent_writers_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("HAMonitoring.xml");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let (file, _) = LockedFile::open(path, 16, &|_| ()).unwrap();
                    let (name, uuid) = (format!("app{number}"), format!("156726734913392800{number}"));
                    let mut pairs = NEW;
                    pairs[0].1 = &name;
                    pairs[1].1 = &uuid;
                    let text = patch::add_application(file.text(), &pairs).unwrap();
                    file.save(&text, "now").unwrap();
                });
            }
        });
        assert_eq!(load(&path, 16).unwrap().applications.len(), 8);
    }
}
