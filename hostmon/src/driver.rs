//! The daemon: one loop that carries values between the trunk, the store, the command socket and the core.
//!
//! A turn: read the trunk until it is empty; read the clock; take the store's replies; do what is due; carry
//! out what came of it; wait. The trunk is read before anything is judged, so that nobody is accused of a
//! silence that waits in the socket; and what is judged is judged as of the moment up to which the trunk was heard.
//!
//! Each part of a turn is bounded, so that no part waits long for another, whatever a guest sends.
//!
//! ```text
//!   trunk's thread: this loop          <-> spool's thread <-> store's thread; keys' thread, policing's thread, status' thread
//!         |  papers
//!         v
//!   main thread: log lines, answers, command connections, signals
//! ```

mod canary;
mod desk;
mod endpoint;
mod identity;
mod key_thread;
mod policing;
mod priority;
mod secrets;
mod spool_file;
mod spool_thread;
mod startup;
mod status;
mod store_thread;
pub mod trunk;

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep_until;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::command::{CommandCall, CommandListener};
use vmpulse_local::lock::RunLock;
use vmpulse_local::logging::LevelHandle;
use vmpulse_protocol::time::Instant;

use crate::endpoint::Question;
use crate::monitor::{CanaryReport, Input, Output};
use crate::pending::Waiting;
use crate::record::{Aside, Recorded};
use crate::status::CommandRequest;
use canary::CanaryThread;
use desk::{Desk, Paper};
use key_thread::{Job, KeyReply};
use policing::Policing;
use secrets::Secrets;
use spool_thread::{Reply, StoreThread};
pub use startup::{StartError, check_settings, run};
use trunk::Trunk;

/// Between looks at the trunk adapter.
const ADAPTER_PERIOD: Duration = Duration::from_secs(1);
/// Between looks because something about some adapter has changed: a host may start a hundred guests at once.
const CHANGES_PERIOD: Duration = Duration::from_millis(50);
/// The store thread says little; more waits for the next turn.
const REPLIES_PER_TURN: usize = 64;
/// What the core wants done in one turn, above all frames to send: some milliseconds' worth. The rest is done in the next
/// turn, after the trunk was read.
const OUTPUTS_PER_TURN: usize = 1024;
/// What an orderly stop waits for the store to take its last word.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

struct Driver {
    clock: MonotonicClock,
    monitor: Recorded,
    trunk: Trunk,
    store: StoreThread,
    policing: Policing,
    secrets: Secrets,
    listener: CommandListener,
    desk: Desk,
    facts: status::Facts,
    level: LevelHandle,
    endpoint: endpoint::Endpoint,
    canary: Option<CanaryThread>,
    next_adapter_look: Instant,
    last_adapter_look: Instant,
    /// Highest write handed to the spool's thread, and highest known to be in the store or in the spool's file.
    written: u64,
    committed: u64,
    /// Not everything was carried out in the last turn.
    busy: bool,
    stopping: Option<Instant>,
    _lock: RunLock,
    _claim: std::os::unix::net::UnixListener,
}

enum Woken {
    Trunk,
    Timer,
    Store(Option<Reply>),
    Keys(KeyReply),
    Command(CommandCall),
    Question(Question),
    /// Some adapter of this namespace has changed.
    Changes,
    Canary(CanaryReport),
    Reload,
    Stop,
}

impl Driver {
    async fn run(&mut self, mut signals: Signals) {
        loop {
            let woken = self.wait(&mut signals).await;
            self.store.turned();
            self.read_trunk();
            // Under a flood reading takes long: what is doubted is as of its end, and its length is lateness.
            let now = self.clock.now();
            self.take_replies(now);
            match woken {
                Woken::Trunk | Woken::Timer => {}
                Woken::Store(reply) => self.on_reply(now, reply),
                Woken::Keys(reply) => self.on_keys(now, reply),
                Woken::Command(call) => self.on_command(now, call),
                Woken::Question(question) => self.on_question(now, question),
                Woken::Changes => self.on_changes(now),
                Woken::Canary(report) => self.monitor.handle_input(now, Input::Canary(report)),
                Woken::Reload => {
                    self.desk.info("reading the keys anew; settings are read at the start only: restart the daemon for those");
                    self.load_keys();
                }
                Woken::Stop => self.on_stop(now),
            }
            self.look_at_adapter(now);
            if let Some(canary) = &mut self.canary {
                canary.poll(now, &mut self.monitor);
            }
            if self.monitor.poll_timeout().is_some_and(|due| due <= now) {
                self.tell_drops(now);
            }
            // In every turn: it also says when the loop is to come round again, from which lateness counts.
            if let Some(guests) = self.monitor.turn(now) {
                self.store.ask_about(guests);
            }
            self.carry(now);
            self.policing.poll(now, &self.monitor);
            if let Some(news) = self.monitor.take_news() {
                self.desk.warn(news);
            }
            if self.is_done(now) {
                self.monitor.close(now);
                return;
            }
        }
    }

    async fn wait(&mut self, signals: &mut Signals) -> Woken {
        let own = [Some(self.next_adapter_look), self.stopping.map(|since| since + STOP_PATIENCE)];
        let due = own.into_iter().chain([self.monitor.poll_timeout()]).flatten().min();
        let due = due.filter(|_| !self.busy).unwrap_or(Instant::ZERO);
        let deadline = self.clock.std_instant(due);
        tokio::select! {
            woken = signals.next() => woken,
            () = self.trunk.readable() => Woken::Trunk,
            () = self.trunk.changed() => Woken::Changes,
            report = canary_report(&mut self.canary) => Woken::Canary(report),
            () = sleep_until(deadline.into()) => Woken::Timer,
            reply = self.store.reply() => Woken::Store(reply),
            reply = self.secrets.thread.reply() => Woken::Keys(reply),
            call = self.listener.accept() => Woken::Command(call),
            question = self.endpoint.question() => question,
        }
    }

    fn read_trunk(&mut self) {
        let (now, realtime) = (self.clock.now(), self.clock.realtime());
        let monitor = &mut self.monitor;
        let outcome = self.trunk.read(now, realtime, |frame| {
            monitor.handle_input(
                now,
                Input::Frame {
                    arrived: frame.arrived,
                    source: frame.source,
                    vlan: frame.vlan,
                    payload: frame.payload,
                },
            );
        });
        match outcome {
            trunk::Outcome::Heard { until, lag } => monitor.handle_input(now, Input::Heard { until, lag }),
            trunk::Outcome::Lost => {
                monitor.handle_input(now, Input::AdapterIs(self.trunk.trouble().into()));
                monitor.handle_input(now, Input::Adapter(false));
            }
        }
        for line in self.trunk.take_warnings() {
            self.desk.warn(line);
        }
    }

    /// What was asked for in the settings, and whether it could be had.
    fn tell_about(&self, done: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.desk.info(done),
            Err(why_not) => self.desk.warn(why_not),
        }
    }

    /// Replies have their turn however busy the trunk is.
    fn take_replies(&mut self, now: Instant) {
        for _ in 0..REPLIES_PER_TURN {
            let Some(reply) = self.store.reply_now() else { return };
            self.on_reply(now, Some(reply));
        }
    }

    fn tell_drops(&mut self, now: Instant) {
        let frames = self.trunk.new_drops();
        if frames > 0 {
            self.monitor.handle_input(now, Input::Dropped(frames));
        }
    }

    fn look_at_adapter(&mut self, now: Instant) {
        if now < self.next_adapter_look {
            return;
        }
        self.next_adapter_look = now + ADAPTER_PERIOD;
        self.last_adapter_look = now;
        let up = self.trunk.look(now);
        if let Some((mac, mtu)) = self.trunk.mac_and_mtu() {
            self.monitor.handle_input(now, Input::Readdressed { mac, mtu });
            if let Some(canary) = self.canary.as_ref().filter(|_| up) {
                canary.monitor_at(mac);
            }
        }
        self.monitor.handle_input(now, Input::AdapterIs(self.trunk.trouble().into()));
        self.monitor.handle_input(now, Input::Adapter(up));
    }

    /// Looked at in this turn, unless it was just now.
    fn on_changes(&mut self, now: Instant) {
        self.trunk.doubt();
        let soon = (self.last_adapter_look + CHANGES_PERIOD).max(now);
        self.next_adapter_look = self.next_adapter_look.min(soon);
    }

    fn on_reply(&mut self, now: Instant, reply: Option<Reply>) {
        match reply {
            Some(Reply::Safe { up_to, stored }) => {
                self.committed = self.committed.max(up_to);
                if !stored {
                    self.monitor.aside(now, Aside::Kept);
                }
                self.monitor.handle_input(now, Input::Stored { up_to });
            }
            Some(Reply::NotTaken { number, report }) => {
                self.monitor.handle_input(now, Input::NotTaken { number, report });
            }
            Some(Reply::Quiets(quiets)) => {
                for answer in quiets {
                    self.monitor.handle_input(now, Input::Quiet(answer));
                }
            }
            Some(Reply::Roster(roster)) => self.monitor.handle_input(now, Input::Roster(roster)),
            Some(Reply::Standings(standings)) => {
                self.monitor.handle_input(now, Input::Standings(standings));
            }
            Some(Reply::ClockStepped) => {
                self.desk.warn("the store's clock was set; silences are said again with their ages");
                self.monitor.handle_input(now, Input::StoreClockStepped);
            }
            Some(Reply::AgesDoubted) => {
                self.desk.info(
                    "the store's clock was set, or this machine started, since the daemon ran last: silences of before are \
                     said again, no older than is sure",
                );
                self.monitor.handle_input(now, Input::StoreClockStepped);
            }
            Some(Reply::Local { error }) => {
                if self.facts.store_error.as_ref() != Some(&error) {
                    self.desk.warn(format!("the store: {error}"));
                }
                self.monitor.aside(now, Aside::StoreFailed(error.clone()));
                self.facts.store_error = Some(error);
                self.monitor.handle_input(now, Input::StoreReachable(false));
            }
            Some(Reply::Global) => {
                self.facts.store_error = None;
                self.monitor.handle_input(now, Input::StoreReachable(true));
            }
            None => {
                self.desk.error("the spool's thread ended; stopping");
                self.stopping = Some(now);
                self.committed = self.written;
            }
        }
    }

    fn on_command(&mut self, now: Instant, call: CommandCall) {
        match serde_json::from_value(call.request.clone()) {
            Ok(CommandRequest::Status) => {
                let snapshot = Box::new(self.snapshot(now));
                self.desk.put(Paper::Status(call, snapshot));
            }
            Ok(CommandRequest::LoadKeys) => self.on_key_command(call, |call| Job::Load(Some(call))),
            Ok(CommandRequest::RelaxKey { vm }) => match vm.parse() {
                Ok(vm) => self.on_key_command(call, |call| Job::Relax(vm, call)),
                Err(error) => call.refuse(&format!("{vm}: {error}")),
            },
            Err(error) => call.refuse(&format!("not understood: {error}")),
        }
    }

    fn on_stop(&mut self, now: Instant) {
        if self.stopping.is_none() {
            self.desk.info("stopping");
            self.stopping = Some(now);
            self.monitor.handle_input(now, Input::Shutdown);
        }
    }

    /// Stopped once the store has the last word, or takes too long.
    fn is_done(&self, now: Instant) -> bool {
        let written = !self.busy && self.committed >= self.written;
        self.stopping.is_some_and(|since| written || now.since(since) >= STOP_PATIENCE)
    }

    fn carry(&mut self, now: Instant) {
        for _ in 0..OUTPUTS_PER_TURN {
            let Some(output) = self.monitor.poll_output() else {
                self.busy = false;
                return;
            };
            match output {
                Output::Transmit(frame) => self.trunk.send(&frame),
                Output::Store { number, write } => {
                    self.written = number;
                    self.store.push(Waiting { number, at: now, write });
                }
                Output::Authenticated { vm } => self.on_authenticated(vm),
                Output::AskCanary => {
                    if let Some(canary) = &self.canary {
                        canary.beat();
                    }
                }
                Output::Note(note) => self.desk.put(Paper::Note(note)),
                Output::LogLevel(level) => {
                    let level = level.unwrap_or_else(|| self.facts.log_level.clone());
                    self.desk.put(Paper::LogLevel(self.level.clone(), level));
                }
            }
        }
        self.busy = true;
    }
}

async fn canary_report(canary: &mut Option<CanaryThread>) -> CanaryReport {
    match canary {
        Some(canary) => canary.report().await,
        None => std::future::pending().await,
    }
}

/// TERM and INT end the daemon in order; HUP makes it read the keys anew.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Woken {
        tokio::select! {
            _ = self.terminate.recv() => Woken::Stop,
            _ = self.interrupt.recv() => Woken::Stop,
            _ = self.hang_up.recv() => {
                Woken::Reload
            }
        }
    }
}
