//! The thread that keeps writes until the store has them. It waits for the spool's file, and for nothing else.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{MessageTag, QuietAnswer, Roster, Standing, StoreError};

use super::spool_file::SpoolFile;
use super::store_thread::strangers::Question;
use super::store_thread::{Job, Opener, StoreWord, StoreWorker};
use crate::local_copy;
use crate::pending::Waiting;
use crate::spool::record::{self, BootClock, Contents};
use crate::spool::stall::Stall;
use crate::spool::{Action, Spool, SpoolView, Told};

/// A start waits so long for the store, to tell wrong settings from a store that is away.
const OPEN_PATIENCE: Duration = Duration::from_secs(2);

/// What the loop is told.
#[derive(Debug)]
pub(super) enum Reply {
    /// Every write up to this number is in the store or in the spool's file.
    Safe {
        up_to: u64,
        /// In the store; otherwise in the file, as far as is known.
        stored: bool,
    },
    /// This one is in neither, and will not be.
    NotTaken { number: u64, report: Option<MessageTag> },
    /// The store's answers to guests.
    Quiets(Vec<QuietAnswer>),
    /// What the store wants; or, until it can be asked, the copy of it.
    Roster(Roster),
    /// What guests are that are not in it.
    Standings(Vec<(VmUuid, Standing)>),
    /// The store's clock was set.
    ClockStepped,
    /// The roster's ages were cut to what is sure; so they are to be said.
    AgesDoubted,
    /// The store cannot be written.
    Local { error: String },
    /// It can again, and has everything.
    Global,
}

/// What happens to the spool.
#[derive(Debug)]
pub(super) enum Event {
    Write(Waiting),
    Store(Option<u64>, StoreWord),
    /// The driver is gone.
    End,
}

/// What a start needs.
pub(super) struct Start<'a> {
    pub(super) open: Opener,
    pub(super) host_monitor: HostMonitorId,
    pub(super) incarnation: String,
    pub(super) clock: MonotonicClock,
    /// The spool's file and the roster's copy.
    pub(super) spool_path: &'a Path,
    pub(super) copy_path: &'a Path,
}

/// The driver's end. Both queues are unbounded as channels; what can be in them is bounded by what guests may say in
/// a second and by the reader's period.
pub(super) struct StoreThread {
    events: Sender<Event>,
    replies: UnboundedReceiver<Reply>,
    turns: Arc<AtomicU64>,
    view: Arc<Mutex<SpoolView>>,
    question: Question,
    #[cfg(test)]
    threads: Option<[std::thread::JoinHandle<()>; 2]>,
}

impl Drop for StoreThread {
    /// Nobody waits for them: the store may hang.
    fn drop(&mut self) {
        let _ = self.events.send(Event::End);
    }
}

/// Why the threads did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreThreadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
    #[error("cannot read the spool {path:?}; if it is not needed, remove it")]
    Spool { path: std::path::PathBuf, source: std::io::Error },
}

impl StoreThread {
    /// Starts both threads. A store that is away is no error.
    pub(super) fn start(start: Start<'_>) -> Result<Self, StoreThreadError> {
        let Start { open, host_monitor, incarnation, clock, spool_path, copy_path } = start;
        let boot = boot_clock(&clock);
        let (file, contents) = load(spool_path, &boot, clock.now())?;
        let copy = copy_of(copy_path, &contents, &boot, clock.now());
        let ((events, received), (jobs, work)) = (channel(), channel());
        let (replies, told) = unbounded_channel();
        let (opened, first) = sync_channel(1);
        let roster_read = Arc::new(AtomicBool::new(false));
        let question = Question::default();
        let store = StoreWorker {
            question: question.clone(),
            open,
            host_monitor,
            clock,
            boot: boot.clone(),
            jobs: work,
            words: events.clone(),
            replies: replies.clone(),
            roster_read: Arc::clone(&roster_read),
            copy: copy_path.to_owned(),
        };
        let _talks =
            std::thread::Builder::new().name("store".to_owned()).spawn(move || store.run(&opened))?;
        if let Ok(Err(error)) = first.recv_timeout(OPEN_PATIENCE)
            && !is_passing(&error)
        {
            return Err(error.into());
        }
        let (turns, view) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(SpoolView::default())));
        let spool = Spool::new(&incarnation, boot, contents, clock.now());
        let worker = Worker {
            spool,
            file,
            clock,
            events: received,
            jobs,
            last_job: 0,
            given: None,
            replies,
            applied: Vec::new(),
            stall: Stall::new(0, clock.now()),
            turns: Arc::clone(&turns),
            view: Arc::clone(&view),
            copy,
            roster_read,
        };
        let _keeps = std::thread::Builder::new().name("spool".to_owned()).spawn(move || worker.run())?;
        Ok(Self {
            events,
            replies: told,
            turns,
            view,
            question,
            #[cfg(test)]
            threads: Some([_talks, _keeps]),
        })
    }

    pub(super) fn push(&self, waiting: Waiting) {
        // The thread ends only with the daemon; `reply` tells of that.
        let _ = self.events.send(Event::Write(waiting));
    }

    /// The guests to ask about from now on: at once, and after each roster that was read.
    pub(super) fn ask_about(&self, guests: Vec<VmUuid>) {
        self.question.put(guests);
    }

    /// The loop came round.
    pub(super) fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn view(&self) -> SpoolView {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reply_now(&mut self) -> Option<Reply> {
        self.replies.try_recv().ok()
    }

    /// Ends both threads and waits for that.
    #[cfg(test)]
    fn join(mut self) {
        let threads = self.threads.take();
        drop(self);
        threads.into_iter().flatten().for_each(|thread| thread.join().unwrap());
    }

    pub(super) async fn reply(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }
}

/// Whether another try may do: the settings may be right.
const fn is_passing(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Open { .. }
            | StoreError::Backend(_)
            | StoreError::Connect { .. }
            | StoreError::Slow { .. }
            | StoreError::Corrupt { .. }
    )
}

/// The kernel's name for this boot; where it has none, no age of an earlier start is believed.
fn boot_clock(clock: &MonotonicClock) -> BootClock {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let since_boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from);
    let origin = since_boot.unwrap_or_default().saturating_sub(clock.now().since(Instant::ZERO));
    BootClock { boot: boot.trim().to_owned(), origin }
}

/// What earlier starts left. A file that this version cannot read is put aside, not overwritten.
fn load(path: &Path, boot: &BootClock, now: Instant) -> Result<(SpoolFile, Contents), StoreThreadError> {
    let failed = |source| StoreThreadError::Spool { path: path.to_owned(), source };
    let (mut file, bytes) = SpoolFile::open(path.to_owned()).map_err(failed)?;
    let contents = match record::read(&bytes, boot, now) {
        Ok(contents) => contents,
        Err(error) => {
            let aside = file.put_aside(u64::from(std::process::id())).map_err(failed)?;
            tracing::warn!(path = %path.display(), aside = %aside.display(), %error, "the spool was put aside");
            Contents::default()
        }
    };
    file.keep_up_to(contents.sound_bytes);
    let Contents { ref starts, torn_bytes, strange, .. } = contents;
    let writes: usize = starts.iter().map(|start| start.writes.len()).sum();
    if writes > 0 || torn_bytes > 0 || strange > 0 {
        tracing::info!(
            writes,
            torn_bytes,
            strange,
            "the spool holds what an earlier start could not give to the store"
        );
    }
    Ok((file, contents))
}

fn copy_of(path: &Path, contents: &Contents, boot: &BootClock, now: Instant) -> Option<Roster> {
    let mut copy = local_copy::decode(&std::fs::read(path).ok()?, boot, now)?;
    local_copy::put_on_top(&mut copy, &contents.starts);
    Some(copy)
}

struct Worker {
    spool: Spool,
    file: SpoolFile,
    clock: MonotonicClock,
    events: Receiver<Event>,
    jobs: Sender<(u64, Job)>,
    /// Of the last job, and of the one that is with the store.
    last_job: u64,
    given: Option<u64>,
    replies: UnboundedSender<Reply>,
    /// What is to be told because the store has taken something.
    applied: Vec<Told>,
    stall: Stall,
    turns: Arc<AtomicU64>,
    view: Arc<Mutex<SpoolView>>,
    /// Until the roster was read.
    copy: Option<Roster>,
    roster_read: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.events.recv_timeout(self.patience()) {
                Ok(Event::End) => return,
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(event) = self.events.try_recv() {
                if matches!(event, Event::End) {
                    return;
                }
                self.take(event);
            }
            let now = self.clock.now();
            if self.stall.poll_timeout() <= now {
                let stood = self.stall.look(now, self.turns.load(Ordering::Relaxed));
                self.spool.on_stall(now, stood);
                if self.spool.has_file() && !self.file.is_there() {
                    self.on_file_gone(now);
                }
            }
            self.spool.handle_timeout(now);
            while let Some(action) = self.spool.poll_action(self.clock.now()) {
                self.carry_out(action);
            }
            // Whoever is told something sees it.
            *self.view.lock().unwrap_or_else(PoisonError::into_inner) = self.spool.view();
            for told in std::mem::take(&mut self.applied) {
                self.tell(told, true);
            }
            while let Some(told) = self.spool.poll_told() {
                self.tell(told, false);
            }
        }
    }

    fn patience(&self) -> Duration {
        let due = self.spool.poll_timeout().into_iter().chain([self.stall.poll_timeout()]).min();
        let until = due.unwrap_or(Instant::ZERO).since(self.clock.now());
        until.max(Duration::from_millis(1))
    }

    fn take(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Write(waiting) => self.spool.push(waiting),
            // Of a store that could not be looked at, what is with it will say so itself.
            Event::Store(number, word) if number == self.given => {
                self.given = None;
                match word {
                    StoreWord::Ready => self.spool.on_ready(now),
                    StoreWord::Applied(quiets) => {
                        self.spool.on_applied(now, quiets);
                        self.applied.extend(std::iter::from_fn(|| self.spool.poll_told()));
                    }
                    StoreWord::Failed(error) => self.spool.on_failed(now, error),
                }
            }
            Event::Store(..) | Event::End => {}
        }
    }

    fn give(&mut self, job: Job) {
        self.last_job = self.last_job.wrapping_add(1);
        self.given = Some(self.last_job);
        // The store's thread ends only with the daemon.
        let _ = self.jobs.send((self.last_job, job));
    }

    fn carry_out(&mut self, action: Action) {
        let appended = matches!(action, Action::Append(_));
        let outcome = match action {
            Action::Append(bytes) => self.file.append(&bytes),
            Action::Replace(bytes) => self.file.replace(&bytes),
            Action::Apply(starts) => return self.give(Job::Apply(starts)),
            Action::Probe => return self.give(Job::Probe),
        };
        if appended && outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return self.on_file_gone(self.clock.now());
        }
        self.spool.on_kept(self.clock.now(), outcome.map_err(|error| error.to_string()));
    }

    fn on_file_gone(&mut self, now: Instant) {
        tracing::warn!("somebody removed the spool's file; it is made anew with what waits");
        self.spool.on_file_gone(now);
    }

    fn tell(&mut self, told: Told, stored: bool) {
        let reply = match told {
            Told::Safe { up_to } => Reply::Safe { up_to, stored },
            Told::NotTaken { number, report } => Reply::NotTaken { number, report },
            Told::Quiets(quiets) => Reply::Quiets(quiets),
            Told::Global => Reply::Global,
            Told::Local(error) => {
                self.tell_copy();
                Reply::Local { error }
            }
        };
        // The driver is gone only when the process ends.
        let _ = self.replies.send(reply);
    }

    /// The store cannot be asked whom to monitor: the copy says it.
    fn tell_copy(&mut self) {
        if let Some(copy) = self.copy.take()
            && !self.roster_read.load(Ordering::Relaxed)
        {
            tracing::info!(
                vms = copy.vms.len(),
                "the store cannot be read: monitoring by the last copy of it"
            );
            let _ = self.replies.send(Reply::Roster(copy));
        }
    }
}

#[cfg(test)]
mod tests;
