//! Files that must outlive the daemon and the machine: written whole or not at all, and synced.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Guests' words are in them.
const MODE: u32 = 0o600;

/// The spool's file. What is in it and how is [`record`](crate::spool::record)'s.
#[derive(Debug)]
pub(super) struct SpoolFile {
    path: PathBuf,
    file: Option<File>,
    /// Up to here it is sound and synced. What a write that failed left behind it is overwritten by the next one.
    length: u64,
}

impl SpoolFile {
    /// The file, and what is in it; there may be none.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Vec<u8>)> {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok((Self { path, file: None, length: 0 }, bytes))
    }

    /// Up to here it is sound.
    pub(super) fn keep_up_to(&mut self, length: usize) {
        self.length = u64::try_from(length).unwrap_or(u64::MAX);
    }

    /// It cannot be read by this version: it is put aside under another name, which is returned.
    pub(super) fn put_aside(&mut self, suffix: u64) -> io::Result<PathBuf> {
        let aside = self.path.with_extension(format!("spool.unreadable-{suffix}"));
        std::fs::rename(&self.path, &aside)?;
        Ok(aside)
    }

    /// Whether its name still leads to it, and not to another file or to none, and whether all of it is there: what is in a file
    /// without a name is lost with the process, and what follows a hole is not read again.
    pub(super) fn is_there(&self) -> bool {
        let whole = |data: &Metadata| data.len() >= self.length;
        std::fs::metadata(&self.path).is_ok_and(|named| whole(&named))
            && self.file.as_ref().is_none_or(|file| is_named(file, &self.path))
    }

    /// Appends and syncs. Error of kind [`NotFound`](io::ErrorKind::NotFound): somebody removed it, or some of what was in it.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&self.path)?,
        };
        self.file = Some(file);
        if !self.is_there() {
            self.file = None;
            return Err(io::ErrorKind::NotFound.into());
        }
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_all_at(bytes, self.length)?;
        file.sync_data()?;
        self.length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Puts this in the file's place.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file = None;
        put(&self.path, bytes)?;
        self.keep_up_to(bytes.len());
        Ok(())
    }
}

fn is_named(file: &File, path: &Path) -> bool {
    let same = |open: Metadata, named: Metadata| (open.dev(), open.ino()) == (named.dev(), named.ino());
    file.metadata().and_then(|open| Ok(same(open, std::fs::metadata(path)?))).unwrap_or(false)
}

/// Writes a file whole: whoever reads it finds this or what was there before, also after the machine stopped.
pub(super) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let written = write_new(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // On a full disk its part would stay.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    // The name, too.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
