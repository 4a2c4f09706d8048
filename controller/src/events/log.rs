//! The events log: a text file that follows the store.
//!
//! It is written by a thread of its own over a connection of its own, so that a full or hanging disk delays no
//! decision. A file beside the log holds the id of the last event that is surely in it. It is written after the log:
//! a block can be there twice, with the same event id, and is never missing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use thiserror::Error;
use vmpulse_store::{EventRecord, Store, StoreError};

use super::block::block;

/// Events read from the store at once. More than this many new ones at a time is a flood; the newest are written,
/// the log says how many were left out, and the store has them all.
const BATCH: i64 = 10_000;

/// The log could not be brought up to date.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file or the one beside it.
    #[error("cannot write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The events could not be read.
    #[error("cannot read the events")]
    Store(#[from] StoreError),
}

/// The log file and how far it got.
#[derive(Debug)]
pub struct EventsLog {
    path: PathBuf,
    position_path: PathBuf,
    /// Id of the last event written, once known.
    position: Option<i64>,
    zone: TimeZone,
}

impl EventsLog {
    /// The log at `path`, times in `zone`.
    #[must_use]
    pub fn new(path: &Path, zone: TimeZone) -> Self {
        let mut position_path = path.as_os_str().to_owned();
        position_path.push(".position");
        Self { path: path.to_owned(), position_path: position_path.into(), position: None, zone }
    }

    /// Appends what the store has and the log has not.
    ///
    /// # Errors
    /// [`LogError`]; the next call goes on where this one ended.
    pub fn follow(&mut self, store: &mut dyn Store) -> Result<(), LogError> {
        let newest = store.events(1)?.last().map_or(0, |record| record.id);
        let position = self.start_position(newest)?;
        if newest <= position {
            return Ok(());
        }
        let wanted = newest.saturating_sub(position);
        let limit = u32::try_from(wanted.min(BATCH)).unwrap_or(u32::MAX);
        let mut records = store.events(limit)?;
        records.retain(|record| record.id > position);
        self.append(&records, wanted.saturating_sub(BATCH))?;
        self.advance(records.last().map_or(newest, |record| record.id))
    }

    /// Where to go on. A log that was never written starts with what happens from now on, unless the store is
    /// young enough to be its own: then with the first event.
    fn start_position(&mut self, newest: i64) -> Result<i64, LogError> {
        if let Some(position) = self.position {
            // A store that was replaced counts from one again.
            return Ok(if position > newest { 0 } else { position });
        }
        let position = match std::fs::read_to_string(&self.position_path) {
            Ok(text) => text.trim().parse::<i64>().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let position = if newest <= BATCH { 0 } else { newest };
                self.advance(position)?;
                position
            }
            Err(source) => return Err(LogError::File { path: self.position_path.clone(), source }),
        };
        let position = if position > newest { 0 } else { position };
        self.position = Some(position);
        Ok(position)
    }

    fn append(&self, records: &[EventRecord], left_out: i64) -> Result<(), LogError> {
        let mut text = String::new();
        if left_out > 0 {
            text.push_str(&format!("-----{left_out} EVENTS LEFT OUT: hamgr query event has them-----\n"));
        }
        for record in records {
            text.push_str(&block(record, &self.zone));
        }
        // Opened each time, so that a rotated log is let go.
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data()));
        written.map_err(|source| LogError::File { path: self.path.clone(), source })
    }

    fn advance(&mut self, position: i64) -> Result<(), LogError> {
        self.position = Some(position);
        let mut temporary = self.position_path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let written = File::create(&temporary)
            .and_then(|mut file| writeln!(file, "{position}").and_then(|()| file.sync_data()))
            .and_then(|()| std::fs::rename(&temporary, &self.position_path));
        written.map_err(|source| LogError::File { path: self.position_path.clone(), source })
    }
}
