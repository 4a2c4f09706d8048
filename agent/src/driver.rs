//! The daemon: one loop that carries values between the cores ([`Ame`], [`Trunks`]) and the edges (adapters, scripts,
//! command socket, signals). The clock is read once per turn.

mod adapters;
mod answers;
mod carry;
mod guard;
mod links;
mod orders;
mod recording;
mod secrets;
mod start;
mod stopping;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::command::CommandListener;
use vmpulse_local::exit::Exit;
use vmpulse_local::lock::RunLock;
use vmpulse_local::logging::LevelHandle;
use vmpulse_protocol::message::Shutdown;
use vmpulse_protocol::time::Instant;

use crate::ame::AmeInput;
use crate::boot::BootFile;
use crate::command::LiveScript;
use crate::health::{Health, Healthy};
use crate::record::{RecordedEngine, RecordedTrunks, Recording};
use crate::report::Reporter;
use crate::runner::{Ended, Runner};
use crate::settings::Settings;
use crate::suspension::Suspension;
use crate::trunks::TrunkInput;
use guard::Guard;
use links::Links;
use secrets::Secrets;
pub use start::{StartError, log_level, start};

/// How long the host monitors have to acknowledge that the daemon is being stopped.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);
/// More than the init is given to say what is being stopped.
const INIT_WAIT: Duration = Duration::from_secs(3);

/// Last words of a guest whose root disk does not answer.
const DISK_GONE: &str = "the root disk does not answer";

/// What a turn of the loop waits for.
enum News {
    Link(links::LinkNews),
    Script(Ended),
    Command(vmpulse_local::command::CommandCall),
    Timeout,
    Stop,
    /// What it is that is being stopped.
    Stopping(Shutdown),
    Reload,
}

/// The signals that matter.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// The daemon.
pub struct Daemon {
    settings: Settings,
    clock: MonotonicClock,
    vm_uuid: String,
    trunks: RecordedTrunks,
    ame: RecordedEngine,
    recording: Recording,
    reporter: Reporter,
    links: Links,
    runner: Runner,
    commands: CommandListener,
    signals: Signals,
    log_level: LevelHandle,
    /// What is wrong with the configuration file, if it could not be loaded.
    config_problem: Option<String>,
    /// What the loaded file has and this version does not know.
    config_warnings: Vec<String>,
    /// What the administrator said last of monitoring.
    suspension: Suspension,
    /// Which applications were stopped by hand since the guest has booted.
    boot: BootFile,
    /// The script of each application that ended last, by the application's name.
    last_scripts: HashMap<String, LiveScript>,
    /// What the health endpoint answers, if there is one.
    health: Option<watch::Sender<Arc<Health>>>,
    /// Something has changed that it says.
    health_is_stale: bool,
    /// Those whose health checks succeed.
    healthy: Healthy,
    /// Commands that wait for the host monitors.
    held: Vec<answers::Held>,
    secrets: Secrets,
    guard: Guard,
    /// When a stop that was asked for happens in any case.
    stop_at: Option<Instant>,
    /// Will say what is being stopped.
    stopping: Option<oneshot::Receiver<Shutdown>>,
    /// Held for as long as the daemon lives.
    _lock: RunLock,
}

impl Daemon {
    /// Runs until it is told to stop.
    pub async fn run(mut self) -> Exit {
        loop {
            let now = self.clock.now();
            self.guard(now);
            self.links.scan_if_due(now, &mut self.trunks);
            self.trunks.handle_timeout(now);
            if self.stop_at.is_none() {
                self.ame.handle_timeout(now);
            }
            let shutdown_done = self.carry(now);
            if let Some(news) = self.recording.take_news() {
                tracing::warn!("{news}");
            }
            self.answer_held(now);
            if shutdown_done || self.stop_at.is_some_and(|at| now >= at) {
                break;
            }
            let deadline = self.deadline();
            match self.news(deadline).await {
                News::Link(news) => {
                    self.stir();
                    self.links.take(self.clock.now(), news, &mut self.trunks);
                }
                News::Script(ended) => self.on_script_ended(ended),
                News::Command(call) => self.on_command(call),
                News::Timeout => {}
                News::Stop if self.stop_at.is_some() => break,
                News::Stop => self.on_stop(),
                News::Stopping(what) => self.on_stopping(what),
                News::Reload => self.on_reload(),
            }
        }
        self.guard.end();
        self.recording.close(self.clock.now());
        tracing::info!("stopped");
        Exit::Done
    }

    /// Frames may begin handshakes.
    fn stir(&mut self) {
        let mut entropy = [0; 32];
        // The kernel had some at the start, so it has some now; without, the seed of the start has to do.
        if vmpulse_local::random::fill(&mut entropy).is_ok() {
            self.trunks.handle_entropy(self.clock.now(), &entropy);
        }
    }

    fn deadline(&self) -> Instant {
        let engine = self.ame.poll_timeout().filter(|_| self.stop_at.is_none());
        let held = self.held.iter().map(|held| held.until).min();
        let due = [self.trunks.poll_timeout(), engine, held, self.stop_at, self.guard.next_turn()];
        due.into_iter().flatten().fold(self.links.next_scan(), Instant::min)
    }

    async fn news(&mut self, deadline: Instant) -> News {
        let deadline = tokio::time::Instant::from_std(self.clock.std_instant(deadline));
        let Signals { terminate, interrupt, hangup } = &mut self.signals;
        let stopping = &mut self.stopping;
        let said = async {
            match stopping {
                Some(said) => said.await.unwrap_or(Shutdown::Daemon),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = self.links.news() => News::Link(news),
            ended = self.runner.ended() => News::Script(ended),
            call = self.commands.accept() => News::Command(call),
            () = tokio::time::sleep_until(deadline) => News::Timeout,
            what = said => News::Stopping(what),
            _ = terminate.recv() => News::Stop,
            _ = interrupt.recv() => News::Stop,
            _ = hangup.recv() => News::Reload,
        }
    }

    /// The guardian sees that the daemon runs, and until when it is to hold still.
    fn guard(&mut self, now: Instant) {
        let hold = if self.suspension.suspended {
            Some(Instant::from_nanos(u64::MAX))
        } else {
            self.trunks.quiet(now).filter(|quiet| quiet.granted).map(|quiet| now + quiet.left)
        };
        if self.guard.turn(now, hold) {
            self.trunks.handle_silenced(now, self.guard.disk_gone().then_some(DISK_GONE));
        }
    }

    fn on_script_ended(&mut self, ended: Ended) {
        carry::log_script(&ended);
        let Ended { app, kind, how, output, .. } = ended.clone();
        self.last_scripts.insert(app, LiveScript { action: kind.to_string(), end: how, output });
        let input = AmeInput::ScriptEnded { run: ended.run, outcome: ended.outcome };
        self.ame.handle_input(self.clock.now(), input);
    }

    fn on_stop(&mut self) {
        tracing::info!("stopping");
        self.guard.dismiss();
        self.stop_at = Some(self.clock.now() + INIT_WAIT + SHUTDOWN_WAIT);
        self.runner.abandon();
        let (say, said) = oneshot::channel();
        self.stopping = Some(said);
        tokio::spawn(async move {
            // Nobody listens only if a second signal ended the daemon.
            let _ = say.send(stopping::Init::system().what_stops().await);
        });
    }

    fn on_stopping(&mut self, what: Shutdown) {
        let now = self.clock.now();
        self.stopping = None;
        let why = match what {
            Shutdown::Daemon => "this daemon is being stopped",
            Shutdown::Os => "the guest is shutting down",
        };
        tracing::info!("the host monitors are told that {why}");
        self.stop_at = Some(now + SHUTDOWN_WAIT);
        self.trunks.handle_input(now, TrunkInput::Shutdown(what));
    }

    fn on_reload(&mut self) {
        if self.load_configuration().is_ok() {
            tracing::info!("configuration loaded");
        }
        // What is wrong is logged.
        let _ = self.load_keys();
    }

    fn config_path(&self) -> PathBuf {
        self.settings.config.clone()
    }
}
