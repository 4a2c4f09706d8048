//! The daemon: one loop that carries values between the cores ([`Ame`], [`Trunks`]) and the edges (adapters, scripts,
//! command socket, signals). The clock is read once per turn.

mod adapters;
mod answers;
mod carry;
mod links;
mod secrets;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::command::CommandListener;
use vmpulse_local::exit::Exit;
use vmpulse_local::lock::RunLock;
use vmpulse_local::logging::LevelHandle;
use vmpulse_protocol::message::Shutdown;
use vmpulse_protocol::time::Instant;

use crate::ame::{Ame, AmeInput};
use crate::report::Reporter;
use crate::runner::{Ended, Runner};
use crate::settings::Settings;
use crate::trunks::{TrunkInput, Trunks};
use links::Links;
use secrets::Secrets;
pub use start::{StartError, log_level, start};

/// How long the host monitors have to acknowledge that the daemon is being stopped.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(1);

/// What a turn of the loop waits for.
enum News {
    Link(links::LinkNews),
    Script(Ended),
    Command(vmpulse_local::command::CommandCall),
    Timeout,
    Stop,
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
    trunks: Trunks,
    ame: Ame,
    reporter: Reporter,
    links: Links,
    runner: Runner,
    commands: CommandListener,
    signals: Signals,
    log_level: LevelHandle,
    /// What is wrong with the configuration file, if it could not be loaded.
    config_problem: Option<String>,
    secrets: Secrets,
    /// When a stop that was asked for happens in any case.
    stop_at: Option<Instant>,
    /// Held for as long as the daemon lives.
    _lock: RunLock,
}

impl Daemon {
    /// Runs until it is told to stop.
    pub async fn run(mut self) -> Exit {
        loop {
            let now = self.clock.now();
            self.links.scan_if_due(now, &mut self.trunks);
            self.trunks.handle_timeout(now);
            if self.stop_at.is_none() {
                self.ame.handle_timeout(now);
            }
            let shutdown_done = self.carry(now);
            if shutdown_done || self.stop_at.is_some_and(|at| now >= at) {
                break;
            }
            let deadline = self.deadline();
            match self.news(deadline).await {
                News::Link(news) => self.links.take(self.clock.now(), news, &mut self.trunks),
                News::Script(ended) => self.on_script_ended(ended),
                News::Command(call) => self.on_command(call),
                News::Timeout => {}
                News::Stop if self.stop_at.is_some() => break,
                News::Stop => self.on_stop(),
                News::Reload => self.on_reload(),
            }
        }
        tracing::info!("stopped");
        Exit::Done
    }

    fn deadline(&self) -> Instant {
        let engine = self.ame.poll_timeout().filter(|_| self.stop_at.is_none());
        let due = [self.trunks.poll_timeout(), engine, self.stop_at];
        due.into_iter().flatten().fold(self.links.next_scan(), Instant::min)
    }

    async fn news(&mut self, deadline: Instant) -> News {
        let deadline = tokio::time::Instant::from_std(self.clock.std_instant(deadline));
        let Signals { terminate, interrupt, hangup } = &mut self.signals;
        tokio::select! {
            news = self.links.news() => News::Link(news),
            ended = self.runner.ended() => News::Script(ended),
            call = self.commands.accept() => News::Command(call),
            () = tokio::time::sleep_until(deadline) => News::Timeout,
            _ = terminate.recv() => News::Stop,
            _ = interrupt.recv() => News::Stop,
            _ = hangup.recv() => News::Reload,
        }
    }

    fn on_script_ended(&mut self, ended: Ended) {
        carry::log_script(&ended);
        let input = AmeInput::ScriptEnded { run: ended.run, outcome: ended.outcome };
        self.ame.handle_input(self.clock.now(), input);
    }

    fn on_stop(&mut self) {
        let now = self.clock.now();
        tracing::info!("stopping; the host monitors are told");
        self.stop_at = Some(now + SHUTDOWN_WAIT);
        self.runner.abandon();
        self.trunks.handle_input(now, TrunkInput::Shutdown(Shutdown::Daemon));
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
