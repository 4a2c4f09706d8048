//! The writing end: a driver that never waits, and a thread that does.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use serde::Serialize;
use vmpulse_protocol::time::Instant;

use super::{
    Ending, FRAME_BYTES, HEADER_BYTES, Line, MAGIC, Opening, RecorderSettings, VERSION, difference, file,
};

/// What may wait for the disk: some seconds of the largest trunk.
const WAITING_MAXIMUM: usize = 8 << 20;
/// Kept free for the last line, in the buffer and in the file.
const ENDING_BYTES: usize = 64;
/// What the end of the daemon waits for the last block to be written.
const END_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    ended: bool,
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

/// The driver's end. See the module above.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    written: Receiver<()>,
    path: PathBuf,
    /// Of this turn, and of turns before if the thread was just at the buffer.
    turn: Vec<u8>,
    /// Where the line that is being made began, to take it back.
    last: Instant,
    bytes: u64,
    max_bytes: u64,
    waiting_maximum: usize,
    ended: Option<Ending>,
    news: Option<String>,
}

impl Recorder {
    /// Makes the file and starts the thread; `None` if the settings want no record. `name`: the daemon and what it
    /// serves, as part of the file's name.
    ///
    /// # Errors
    /// The directory, the file or the thread cannot be made.
    pub fn start(
        settings: &RecorderSettings,
        name: &str,
        opening: &Opening,
        start: &impl Serialize,
    ) -> io::Result<Option<Self>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let (path, file) = file::create(settings, name, opening)?;
        Self::over(file, path, settings.max_bytes(), WAITING_MAXIMUM, opening, start).map(Some)
    }

    pub(super) fn over(
        out: impl Write + Send + 'static,
        path: PathBuf,
        max_bytes: u64,
        waiting_maximum: usize,
        opening: &Opening,
        start: &impl Serialize,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (done, written) = channel();
        let worker = Worker { out, shared: Arc::clone(&shared), done };
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || worker.run())?;
        let turn = postcard::to_extend(opening, Vec::new())
            .and_then(|bytes| postcard::to_extend(start, bytes))
            .map_err(io::Error::other)?;
        let mut recorder = Self {
            shared,
            written,
            path,
            turn,
            last: Instant::ZERO,
            bytes: HEADER_BYTES as u64,
            max_bytes,
            waiting_maximum,
            ended: None,
            news: None,
        };
        recorder.hand_over();
        Ok(recorder)
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why it records no more, if it does not.
    #[must_use]
    pub const fn ended(&self) -> Option<&Ending> {
        self.ended.as_ref()
    }

    /// Something happened. It is in memory until [`hand_over`](Self::hand_over).
    pub fn record(&mut self, now: Instant, what: &impl Serialize) {
        if self.ended.is_some() {
            return;
        }
        let began = self.turn.len();
        let line = Line::At(difference(now, self.last), what);
        // Into memory, of types that can all be written: it does not fail.
        let Ok(turn) = postcard::to_extend(&line, std::mem::take(&mut self.turn)) else {
            return self.end(now, Ending::Behind);
        };
        self.turn = turn;
        let length = (self.turn.len().saturating_sub(began)) as u64;
        let overhead = FRAME_BYTES as u64;
        if self.bytes.saturating_add(length + overhead + ENDING_BYTES as u64) > self.max_bytes {
            self.turn.truncate(began);
            return self.end(now, Ending::Full);
        }
        if self.turn.len().saturating_add(ENDING_BYTES) > self.waiting_maximum {
            self.turn.truncate(began);
            return self.end(now, Ending::Behind);
        }
        self.bytes = self.bytes.saturating_add(length);
        self.last = now;
    }

    /// Gives what was recorded to the thread: at the end of a turn. Does not wait: if the thread is just at the buffer, it
    /// is given in the next turn.
    pub fn hand_over(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let mut waiting = match shared.waiting.try_lock() {
            Ok(waiting) => waiting,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(error) = waiting.failed.take() {
            self.ended = Some(Ending::Behind);
            self.news =
                Some(format!("the record {} cannot be written any more: {error}", self.path.display()));
        }
        let length = self.turn.len();
        if self.ended.is_none()
            && waiting.bytes.len().saturating_add(length + ENDING_BYTES) > self.waiting_maximum
        {
            // What this turn was is lost, so the record is over with the turn before.
            self.turn.clear();
            drop(waiting);
            return self.end(self.last, Ending::Behind);
        }
        // Every turn may become a block.
        self.bytes = self.bytes.saturating_add(FRAME_BYTES as u64);
        waiting.bytes.append(&mut self.turn);
        drop(waiting);
        shared.ready.notify_one();
    }

    /// Nothing is recorded any more, and why.
    pub fn end(&mut self, now: Instant, why: Ending) {
        if self.ended.is_some() {
            return;
        }
        if why != Ending::Stopped {
            let (path, bytes) = (self.path.display(), self.bytes);
            self.news = Some(format!("the record {path} ends with {bytes} bytes: {why}"));
        }
        let line = Line::<()>::End(difference(now, self.last), why.clone());
        self.turn = postcard::to_extend(&line, std::mem::take(&mut self.turn)).unwrap_or_default();
        self.ended = Some(why);
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes.append(&mut self.turn);
        waiting.ended = true;
        drop(waiting);
        self.shared.ready.notify_one();
    }

    /// What is to be said of it, once.
    pub fn take_news(&mut self) -> Option<String> {
        self.news.take()
    }

    /// The daemon ends, and the record with it.
    pub fn close(mut self, now: Instant) {
        self.end(now, Ending::Stopped);
    }
}

struct Worker<W> {
    out: W,
    shared: Arc<Shared>,
    /// Dropped when all is written.
    done: Sender<()>,
}

impl<W: Write> Worker<W> {
    fn run(mut self) {
        if let Err(error) = self.write_all() {
            self.lock().failed = Some(error.to_string());
        }
        drop(self.done);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&mut self) -> io::Result<()> {
        self.out.write_all(&[MAGIC.as_slice(), &VERSION.to_le_bytes()].concat())?;
        let mut body = Vec::new();
        loop {
            let ended = self.next(&mut body);
            if !body.is_empty() {
                self.out.write_all(&frame(&body))?;
            }
            if ended {
                return self.out.flush();
            }
        }
    }

    /// Waits for something to write; returns whether it is the last.
    fn next(&self, body: &mut Vec<u8>) -> bool {
        body.clear();
        let mut waiting = self.lock();
        while waiting.bytes.is_empty() && !waiting.ended {
            waiting = self.shared.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        // The driver finds a buffer of the same size again.
        std::mem::swap(&mut waiting.bytes, body);
        waiting.ended
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&length, crc32fast::hash(body).to_le_bytes().as_slice(), body].concat()
}

impl Drop for Recorder {
    /// Waits a moment for what was handed over to be written. A disk that hangs is not waited for.
    fn drop(&mut self) {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.shared.ready.notify_one();
        // The thread is gone already if the record ended before.
        let _ = self.written.recv_timeout(END_PATIENCE);
    }
}
