//! What a script prints.
//!
//! Monitor and stop scripts print into a pipe. A start script leaves the application behind, which often keeps its
//! output: into a pipe it would die of SIGPIPE when the daemon ends. It prints into a file that is cut when it grows.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeWriter, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::time::{sleep, timeout};

use crate::ame::{ScriptKind, StartScript};

/// How much of the end of the output is kept, in bytes.
const KEPT_BYTES: usize = 2048;
/// How many lines of it are shown.
const KEPT_LINES: usize = 5;
/// One read, in bytes.
const READ_BYTES: usize = 8 * 1024;
/// After a full read the script waits this long: a flood is taken at 2 MB/s instead of all the processor.
const FLOOD_PAUSE: Duration = Duration::from_millis(4);
/// A file larger than this, in bytes, is cut to nothing.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// How often the size of a file is looked at while its start script runs.
const FILE_POLL: Duration = Duration::from_millis(100);

/// The output of one run. With neither pipe nor file, because the system had none, nothing is kept.
#[derive(Default)]
pub(super) struct Output {
    reader: Option<Receiver>,
    writer: Option<PipeWriter>,
    file: Option<File>,
    kept: VecDeque<u8>,
}

impl Output {
    /// For a run in whose application start scripts print into `directory`.
    pub(super) fn new(order: &StartScript, directory: &Path) -> Self {
        let path = directory.join(format!("start-{}.log", order.app));
        match order.kind {
            ScriptKind::Start => Self { file: new_file(&path).ok(), ..Self::default() },
            ScriptKind::Monitor | ScriptKind::Stop => {
                cut(&path);
                let (reader, writer) = new_pipe().ok().unzip();
                Self { reader, writer, ..Self::default() }
            }
        }
    }

    /// An end for the script.
    pub(super) fn writer(&self) -> Stdio {
        let pipe = || self.writer.as_ref()?.try_clone().ok().map(Stdio::from);
        let file = || self.file.as_ref()?.try_clone().ok().map(Stdio::from);
        pipe().or_else(file).unwrap_or_else(Stdio::null)
    }

    /// After the start: else the pipe would have a writer for ever.
    pub(super) fn close_our_end(&mut self) {
        self.writer = None;
    }

    /// Takes what is there, or waits for it; for ever if nothing can come. Cancel-safe.
    pub(super) async fn read(&mut self) {
        if let Some(reader) = &self.reader {
            if reader.readable().await.is_err() || !take(reader, &mut self.kept) {
                self.reader = None;
            } else {
                sleep(FLOOD_PAUSE).await;
            }
        } else if let Some(file) = &self.file {
            sleep(FILE_POLL).await;
            cut_open(file);
        } else {
            std::future::pending().await
        }
    }

    /// The last lines, once the script is gone. Others that still hold the pipe are not waited for.
    pub(super) async fn last_lines(mut self, drain: Duration) -> String {
        let reading = async {
            while self.reader.is_some() {
                self.read().await;
            }
        };
        // What comes later than this belongs to somebody who outlives the script.
        let _ = timeout(drain, reading).await;
        if let Some(mut file) = self.file.take() {
            // An unreadable file has no last lines.
            let _ = read_end(&mut file, &mut self.kept);
        }
        last_lines(self.kept.make_contiguous())
    }
}

fn new_pipe() -> io::Result<(Receiver, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((Receiver::from_owned_fd(OwnedFd::from(reader))?, writer))
}

/// Reads once; false at the end.
fn take(reader: &Receiver, kept: &mut VecDeque<u8>) -> bool {
    let mut buffer = [0; READ_BYTES];
    match reader.try_read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            keep(kept, buffer.get(..length).unwrap_or_default());
            true
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

fn keep(kept: &mut VecDeque<u8>, bytes: &[u8]) {
    kept.extend(bytes);
    let surplus = kept.len().saturating_sub(KEPT_BYTES);
    kept.drain(..surplus);
}

/// Appending, so that cutting it moves its writers to its new end.
fn new_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// What an application that was started earlier has printed since.
fn cut(path: &Path) {
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        cut_open(&file);
    }
}

fn cut_open(file: &File) {
    if file.metadata().is_ok_and(|metadata| metadata.len() > MAX_FILE_BYTES) {
        // If it cannot be cut now it can be the next time.
        let _ = file.set_len(0);
    }
}

fn read_end(file: &mut File, kept: &mut VecDeque<u8>) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT_BYTES as u64)))?;
    let mut end = Vec::new();
    file.take(KEPT_BYTES as u64).read_to_end(&mut end)?;
    keep(kept, &end);
    Ok(())
}

/// Parted by `|`, so that they are one line of the log; control characters are shown as such.
fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(KEPT_LINES)..).unwrap_or_default();
    last.join(" | ").chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}
