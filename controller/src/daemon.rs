//! The driver of `vmpulse-controllerd`: threads, signals, clocks.
//!
//! ```text
//!   main        waits for a signal, or for a thread that ended
//!   polling     schedule -> store -> controller, over a connection of its own
//!   events log  follows the store, over a connection of its own
//!   retention   removes old records from the store, over a connection of its own
//! ```
//!
//! A statement of the store may wait for seconds. The main thread does not wait for it: what was begun is committed or
//! not, and the next process goes on from there.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::Builder;
use std::time::Duration;

use jiff::tz::TimeZone;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use thiserror::Error;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::errors::chain;
use vmpulse_local::exit::Exit;
use vmpulse_local::lock::{LockError, RunLock};
use vmpulse_local::recorder::{Daemon, Opening, Recorder};
use vmpulse_store::{ControllerHeartbeat, StoreError};

use crate::controller::Controller;
use crate::events::log::EventsLog;
use crate::polling::Polling;
use crate::record::{Recorded, Start};
use crate::retention::keep_tidy;
use crate::schedule::{Schedule, WATCH};
use crate::settings::Settings;
use crate::store_link::{StoreLink, lock_name};

/// How long the threads may take to end after a signal.
const GRACE: Duration = Duration::from_secs(1);

/// The events log is brought up to date this often even if nobody says that there is something new: other writers of
/// events are not seen otherwise, and a log that could not be written is tried again.
const FOLLOW_EVERY: Duration = Duration::from_secs(5);

/// Why the daemon could not run, or stopped without being asked.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Another controller of this machine has the store, or the lock cannot be used.
    #[error("cannot start")]
    Lock(#[from] LockError),
    /// Signals or threads.
    #[error("the operating system refused {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A thread ended by itself: a fault of this program.
    #[error("the {0} thread ended unexpectedly")]
    ThreadEnded(&'static str),
}

impl DaemonError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lock(error) => error.exit(),
            Self::System { .. } | Self::ThreadEnded(_) => Exit::OsError,
        }
    }
}

/// Why the main thread wakes up.
enum Wake {
    Signal(i32),
    Ended(&'static str),
}

/// Says so when its thread ends, however it ends.
struct Farewell {
    name: &'static str,
    to: Sender<Wake>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // The main thread may have ended first.
        let _ = self.to.send(Wake::Ended(self.name));
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`DaemonError`].
pub fn run(settings: &Settings) -> Result<(), DaemonError> {
    let (wake, woken) = mpsc::channel();
    // Before anything else, so that a signal during the start is not lost.
    listen(wake.clone())?;
    let _lock = RunLock::acquire(&settings.run_dir.join(lock_name(&settings.store)))?;
    tracing::info!(
        store = settings.store,
        poll_interval_ms = settings.poll_interval_ms,
        "controller started"
    );
    let (stop_polling, polling_stopped) = mpsc::channel();
    // One word is enough: the log reads everything that is new.
    let (news, log_news) = mpsc::sync_channel(1);
    let for_log = settings.clone();
    spawn("events log", &wake, move || follow_events(&for_log, &log_news))?;
    let (stop_tidying, tidying_stopped) = mpsc::channel();
    let for_tidying = settings.clone();
    spawn("retention", &wake, move || tidy(&for_tidying, &tidying_stopped))?;
    let for_polling = settings.clone();
    spawn("polling", &wake, move || poll(&for_polling, &polling_stopped, &news))?;
    let result = match woken.recv() {
        Ok(Wake::Signal(signal)) => {
            tracing::info!(signal, "controller stops");
            Ok(())
        }
        Ok(Wake::Ended(name)) => return Err(DaemonError::ThreadEnded(name)),
        Err(_) => return Err(DaemonError::ThreadEnded("signal")),
    };
    // The polling thread drops its end of the news channel, which ends the log's thread.
    drop((stop_polling, stop_tidying));
    for _ in 0..3 {
        if woken.recv_timeout(GRACE).is_err() {
            tracing::info!("the store is slow; not waiting for it");
            break;
        }
    }
    result
}

fn listen(wake: Sender<Wake>) -> Result<(), DaemonError> {
    let refused = |source| DaemonError::System { what: "signal handling", source };
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(refused)?;
    let listener = move || {
        for signal in signals.forever() {
            if wake.send(Wake::Signal(signal)).is_err() {
                return;
            }
        }
    };
    Builder::new().name("signals".to_owned()).spawn(listener).map(drop).map_err(refused)
}

fn spawn(
    name: &'static str,
    wake: &Sender<Wake>,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), DaemonError> {
    let farewell = Farewell { name, to: wake.clone() };
    let thread = move || {
        let _farewell = farewell;
        body();
    };
    Builder::new()
        .name(name.to_owned())
        .spawn(thread)
        .map(drop)
        .map_err(|source| DaemonError::System { what: "a thread", source })
}

/// The polling thread.
struct Poller {
    clock: MonotonicClock,
    link: StoreLink,
    polling: Polling,
    openings: u64,
    trouble: Trouble,
}

fn poll(settings: &Settings, stop: &Receiver<()>, news: &SyncSender<()>) {
    let clock = MonotonicClock::start();
    let mut poller = Poller {
        clock,
        link: StoreLink::new(settings.store.clone()),
        polling: Polling::new(
            recorded(settings, &clock),
            Schedule::new(settings.poll_interval(), clock.now()),
        ),
        openings: 0,
        trouble: Trouble::new("the health store"),
    };
    while stop.recv_timeout(poller.wait()) == Err(RecvTimeoutError::Timeout) {
        match poller.turn() {
            Ok(()) => poller.trouble.on_well(),
            Err(error) => poller.on_failure(&error),
        }
        if let Some(news) = poller.polling.controller.take_news() {
            tracing::warn!("{news}");
        }
        // Full means that the log knows already.
        let _ = news.try_send(());
    }
    poller.polling.controller.close(clock.now());
}

/// A record that cannot be made is no reason not to work.
fn recorded(settings: &Settings, clock: &MonotonicClock) -> Recorded {
    let heartbeat = heartbeat(settings);
    let start = Start { at_ns: clock.now().as_nanos(), heartbeat: heartbeat.clone() };
    let opening = Opening::now(Daemon::Controller, env!("CARGO_PKG_VERSION"), clock);
    let made = Recorder::start(&settings.recorder, "controller", &opening, &start);
    let recorder = made.unwrap_or_else(|error| {
        let directory = settings.recorder.directory.display();
        tracing::warn!(err = %error, "nothing is recorded: no record can be made in {directory}");
        None
    });
    if let Some(recorder) = &recorder {
        tracing::info!(path = %recorder.path().display(), "everything that happens is recorded");
    }
    Recorded::with(Controller::new(heartbeat), recorder)
}

impl Poller {
    fn wait(&self) -> Duration {
        let wait = self.polling.schedule().poll_timeout().since(self.clock.now());
        if self.polling.schedule().watches() { wait.min(WATCH) } else { wait }
    }

    fn turn(&mut self) -> Result<(), StoreError> {
        self.open()?;
        let clock = self.clock;
        self.polling.turn(self.link.store()?, &|| clock.now())
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.link.store()?;
        let before = std::mem::replace(&mut self.openings, self.link.openings());
        if before != 0 && before != self.openings {
            self.polling.on_reopened(self.clock.now());
        }
        Ok(())
    }

    fn on_failure(&mut self, error: &StoreError) {
        let now = self.clock.now();
        self.trouble.on_error(&chain(error));
        self.link.close();
        self.polling.on_failure(now, error);
    }
}

fn heartbeat(settings: &Settings) -> ControllerHeartbeat {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    ControllerHeartbeat {
        name: host.unwrap_or_else(|| "unknown".to_owned()),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        poll_interval_ms: settings.poll_interval_ms,
    }
}

/// The thread that removes old records.
fn tidy(settings: &Settings, stop: &Receiver<()>) {
    let mut link = StoreLink::new(settings.store.clone());
    keep_tidy(&settings.retention.retention(), stop, |step| {
        // The polling thread says what is wrong with the store, and makes it.
        let Ok(store) = link.existing() else { return false };
        step(store).unwrap_or_else(|error| {
            tracing::debug!(err = chain(&error), "old records could not be removed");
            link.close();
            false
        })
    });
}

/// The thread of the events log.
fn follow_events(settings: &Settings, news: &Receiver<()>) {
    let mut link = StoreLink::new(settings.store.clone());
    make_folder(&settings.events_log);
    let mut log = EventsLog::new(&settings.events_log, TimeZone::system());
    let mut trouble = Trouble::new("the events log");
    loop {
        let last = news.recv_timeout(FOLLOW_EVERY) == Err(RecvTimeoutError::Disconnected);
        // The polling thread says what is wrong with the store, and makes it.
        if let Ok(store) = link.existing() {
            match log.follow(store) {
                Ok(()) => trouble.on_well(),
                Err(error) => {
                    trouble.on_error(&chain(&error));
                    link.close();
                }
            }
        }
        if last {
            return;
        }
    }
}

/// Only the last level: a longer missing path is more likely a typing error. Writing says what is wrong.
fn make_folder(path: &Path) {
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        let _ = std::fs::create_dir(folder);
    }
}

/// Says once that something fails, and once that it is well again.
struct Trouble {
    what: &'static str,
    said: Option<String>,
}

impl Trouble {
    const fn new(what: &'static str) -> Self {
        Self { what, said: None }
    }

    fn on_error(&mut self, error: &str) {
        if self.said.as_deref() != Some(error) {
            tracing::error!(err = error, "{} fails; trying again", self.what);
            self.said = Some(error.to_owned());
        }
    }

    fn on_well(&mut self) {
        if self.said.take().is_some() {
            tracing::info!("{} is back", self.what);
        }
    }
}
