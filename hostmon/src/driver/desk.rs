//! The main thread: it writes what takes long, log lines and the answers of thousands of paths, while the loop goes on.
//!
//! ```text
//!   trunk's thread --papers (bounded)--> desk --> stderr, command sockets
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use vmpulse_local::command::CommandCall;
use vmpulse_local::errors;
use vmpulse_local::logging::LevelHandle;

use super::status::Snapshot;
use crate::monitor::Note;

/// Papers that wait: a line for each path of a trunk that dies, four times over. More are dropped and counted, which
/// happens only while nobody reads what is logged.
const PAPERS_MAXIMUM: usize = 65_536;

/// What is to be written.
pub(super) enum Paper {
    Note(Note),
    Line(Line),
    Status(CommandCall, Box<Snapshot>),
    /// Log at this level from now on.
    LogLevel(LevelHandle, String),
}

/// A line for the log.
pub(super) enum Line {
    Info(String),
    Warning(String),
    Error(String),
}

/// The loop's end. Never blocks.
#[derive(Clone)]
pub(super) struct Desk {
    papers: Sender<Paper>,
    dropped: Arc<AtomicU64>,
}

/// The main thread's end.
pub(super) struct Writer {
    papers: Receiver<Paper>,
    dropped: Arc<AtomicU64>,
}

pub(super) fn open() -> (Desk, Writer) {
    let (sender, papers) = channel(PAPERS_MAXIMUM);
    let dropped = Arc::new(AtomicU64::new(0));
    (Desk { papers: sender, dropped: Arc::clone(&dropped) }, Writer { papers, dropped })
}

impl Desk {
    pub(super) fn put(&self, paper: Paper) {
        // A command without an answer is told so by its connection.
        if self.papers.try_send(paper).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn info(&self, line: impl Into<String>) {
        self.put(Paper::Line(Line::Info(line.into())));
    }

    pub(super) fn warn(&self, line: impl Into<String>) {
        self.put(Paper::Line(Line::Warning(line.into())));
    }

    pub(super) fn error(&self, line: impl Into<String>) {
        self.put(Paper::Line(Line::Error(line.into())));
    }
}

impl Writer {
    /// Until the loop has ended, to the last line.
    pub(super) async fn run(mut self) {
        while let Some(paper) = self.papers.recv().await {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(
                    dropped,
                    "lines of the log were dropped: they could not be written fast enough"
                );
            }
            write(paper);
        }
    }
}

fn write(paper: Paper) {
    match paper {
        Paper::Note(note) if note.is_warning() => tracing::warn!("{note}"),
        Paper::Note(note) => tracing::info!("{note}"),
        Paper::Line(Line::Info(line)) => tracing::info!("{line}"),
        Paper::Line(Line::Warning(line)) => tracing::warn!("{line}"),
        Paper::Line(Line::Error(line)) => tracing::error!("{line}"),
        Paper::Status(call, snapshot) => call.reply(&snapshot.status()),
        Paper::LogLevel(handle, level) => match handle.change(&level) {
            // Said at a level that most see, before or after.
            Ok(()) => tracing::warn!("the log level is {level} now"),
            Err(error) => tracing::warn!("the log level stays: {}", errors::chain(&error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_writes_is_dropped_and_counted_and_never_waited_for() {
        let (desk, mut writer) = open();
        for number in 0..PAPERS_MAXIMUM + 7 {
            desk.info(number.to_string());
        }
        assert_eq!(writer.dropped.load(Ordering::Relaxed), 7);
        drop(desk);
        let kept = std::iter::from_fn(|| writer.papers.try_recv().ok()).count();
        assert_eq!(kept, PAPERS_MAXIMUM);
    }
}
