//! The file of facts, and what is injected at the moment.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use vmpulse_soak::fact::{Fact, Line};

use crate::error::{Lab, LabError};
use crate::wait;

/// Facts, in the order in which they were noted.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    faults: usize,
}

impl Log {
    /// Begins one; whatever is wrong until everything was started is not judged.
    pub(super) fn begin(path: PathBuf) -> Lab<Log> {
        let file = File::create(&path).map_err(LabError::file("create", &path))?;
        let mut log = Log { file, path, faults: 0 };
        log.faults(1)?;
        Ok(log)
    }

    /// Notes something that is so now.
    pub(super) fn note(&mut self, fact: Fact) -> Lab<()> {
        self.note_at(wait::monotonic_nanos(), fact)
    }

    /// Notes something that was so then.
    pub(super) fn note_at(&mut self, at: u64, fact: Fact) -> Lab<()> {
        let line = Line { at, fact };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(LabError::file("write", &self.path))
    }

    /// Notes how many faults of the infrastructure are in force, if that changed.
    pub(super) fn faults(&mut self, count: usize) -> Lab<()> {
        if std::mem::replace(&mut self.faults, count) == count {
            return Ok(());
        }
        self.note(Fact::Faults(count))
    }
}
