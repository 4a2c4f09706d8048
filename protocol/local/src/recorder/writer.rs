//! The writing end: a driver that never waits, and a thread that does.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use serde::Serialize;
use vmpulse_protocol::time::Instant;

use super::{
    Daemon, Ending, FRAME_BYTES, HEADER_BYTES, Line, MAGIC, Opening, RecorderSettings, VERSION, difference,
    file,
};

/// Room of this size or less is taken whole at the start: whoever has so little must not ask for memory later. Larger room is
/// taken when it is needed.
const TAKEN_AT_ONCE: usize = 128 << 10;
/// The thread makes a directory and writes. Where memory is locked a usual stack would be dear.
const STACK_BYTES: usize = 128 << 10;
/// Kept free for the last line, in the buffer and in the file.
const ENDING_BYTES: usize = 64;
/// What the end of the daemon waits for the last block to be written.
const END_PATIENCE: Duration = Duration::from_secs(1);

impl Daemon {
    /// What may wait for the disk. A host monitor's: some seconds of the largest trunk. A controller's: a turn is handed over
    /// whole, with everything that the store said in it, which is 1 to 2 KiB for each VM and application, so that is a site of some 20,000. An
    /// agent's: a report of 256 KiB, and minutes of all else. A guardian's: minutes of its looks, taken at its start.
    const fn waiting_maximum(self) -> usize {
        match self {
            Self::HostMonitor => 8 << 20,
            Self::Controller => 64 << 20,
            Self::Agent => 1 << 20,
            Self::Guardian => TAKEN_AT_ONCE,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    ended: bool,
    /// The file cannot be made, or not be written any more, and why.
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
    news: Option<News>,
}

/// Made into words when somebody asks: whoever must not allocate does not.
#[derive(Debug)]
enum News {
    Ended(Ending),
    Failed(String),
}

impl Recorder {
    /// Starts the thread, which makes the file: a disk that hangs holds up nobody. `None` if the settings want no record.
    /// `name`: the daemon and what it serves, as part of the file's name. A file that cannot be made is said by
    /// [`take_news`](Self::take_news).
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(
        settings: &RecorderSettings,
        name: &str,
        opening: &Opening,
        start: &impl Serialize,
    ) -> io::Result<Option<Self>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let path = file::path(settings, name, opening);
        let make = {
            let (settings, name, path) = (settings.clone(), name.to_owned(), path.clone());
            move || file::create(&settings, &name, &path)
        };
        let room = opening.daemon.waiting_maximum();
        Self::over(make, path, settings.max_bytes(), room, opening, start).map(Some)
    }

    pub(super) fn over<W: Write>(
        make: impl FnOnce() -> io::Result<W> + Send + 'static,
        path: PathBuf,
        max_bytes: u64,
        waiting_maximum: usize,
        opening: &Opening,
        start: &impl Serialize,
    ) -> io::Result<Self> {
        let at_once = if waiting_maximum <= TAKEN_AT_ONCE { waiting_maximum } else { 0 };
        let room = || {
            // Written to, so that the memory is there.
            let mut room = vec![u8::MAX; at_once];
            room.clear();
            room
        };
        let turn = postcard::to_extend(opening, room())
            .and_then(|bytes| postcard::to_extend(start, bytes))
            .map_err(io::Error::other)?;
        let waiting = Mutex::new(Waiting { bytes: room(), ended: false, failed: None });
        let shared = Arc::new(Shared { waiting, ready: Condvar::new() });
        let (done, written) = channel();
        let (worker, body) = (Worker { shared: Arc::clone(&shared), done }, room());
        let builder = std::thread::Builder::new().name("recorder".to_owned()).stack_size(STACK_BYTES);
        builder.spawn(move || worker.run(make, body))?;
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

    /// Instant of the last line.
    #[must_use]
    pub const fn last(&self) -> Instant {
        self.last
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
        if let Some(problem) = waiting.failed.take() {
            self.ended = Some(Ending::Behind);
            self.news = Some(News::Failed(problem));
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
        waiting.ended = self.ended.is_some();
        drop(waiting);
        shared.ready.notify_one();
    }

    /// Nothing is recorded any more, and why.
    pub fn end(&mut self, now: Instant, why: Ending) {
        if self.ended.is_some() {
            return;
        }
        let line = Line::<()>::End(difference(now, self.last), why.clone());
        self.news = (why != Ending::Stopped).then(|| News::Ended(why.clone()));
        self.turn = postcard::to_extend(&line, std::mem::take(&mut self.turn)).unwrap_or_default();
        self.ended = Some(why);
        self.hand_over();
    }

    /// What is to be said of it, once. To be asked in every turn: an end that could not be handed over at once, because the
    /// thread was just at the buffer, is handed over here.
    pub fn take_news(&mut self) -> Option<String> {
        if self.ended.is_some() {
            self.hand_over();
        }
        let (path, bytes) = (self.path.display(), self.bytes);
        Some(match self.news.take()? {
            News::Ended(why) => format!("the record {path} ends with {bytes} bytes: {why}"),
            News::Failed(problem) => format!("the record {path} {problem}"),
        })
    }

    /// The daemon ends, and the record with it.
    pub fn close(mut self, now: Instant) {
        self.end(now, Ending::Stopped);
    }
}

struct Worker {
    shared: Arc<Shared>,
    /// Dropped when all is written.
    done: Sender<()>,
}

impl Worker {
    fn run<W: Write>(self, make: impl FnOnce() -> io::Result<W>, body: Vec<u8>) {
        let written = match make() {
            Ok(out) => self
                .write_all(out, body)
                .map_err(|error| format!("cannot be written any more, and ends: {error}")),
            Err(error) => Err(format!("cannot be made, and nothing is recorded: {error}")),
        };
        if let Err(problem) = written {
            self.lock().failed = Some(problem);
        }
        drop(self.done);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut out: impl Write, mut body: Vec<u8>) -> io::Result<()> {
        out.write_all(&[MAGIC.as_slice(), &VERSION.to_le_bytes()].concat())?;
        loop {
            let ended = self.next(&mut body);
            if !body.is_empty() {
                out.write_all(&frame(&body))?;
            }
            if ended {
                return out.flush();
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
    /// Waits a moment for what was recorded to be written. A disk that hangs is not waited for.
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.ended && self.ended.is_some() {
            waiting.bytes.append(&mut self.turn);
        }
        waiting.ended = true;
        drop(waiting);
        self.shared.ready.notify_one();
        // The thread is gone already if the record ended before.
        let _ = self.written.recv_timeout(END_PATIENCE);
    }
}
