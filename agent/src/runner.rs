//! Runs the scripts of applications: the only code that starts processes.
//!
//! Each run has its own task and session, so that no script can hold up another or the daemon:
//!
//! * it is killed when the engine orders so, with all that it has started: TERM, a grace time, KILL;
//! * what it prints is read slowly and only its end is kept; its end is never waited for after the script is gone;
//! * a process that even KILL does not end (a dead disk) is left behind, and the next run of that application
//!   waits for it in vain instead of adding another.

mod output;
mod process;
pub mod script;
mod tree;
pub mod users;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};

use crate::ame::{Outcome, RunId, ScriptKind, StartScript};
use crate::types::ocf;

/// Ends that wait for the driver. One per running script at most; a full queue only delays the tasks.
const ENDED_QUEUE: usize = 256;

/// How long scripts have to die.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// From TERM to KILL.
    pub term: Duration,
    /// From KILL until a process counts as left behind.
    pub kill: Duration,
    /// For output that is on its way when the script is gone.
    pub drain: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self { term: Duration::from_secs(2), kill: Duration::from_secs(2), drain: Duration::from_millis(100) }
    }
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Name of the application.
    pub app: String,
    /// Which run.
    pub run: RunId,
    /// Which script.
    pub kind: ScriptKind,
    /// What it counts as: of a typed application not always what the script's own end would.
    pub outcome: Outcome,
    /// How it ended, for people: "exit code 7 (OCF_NOT_RUNNING)".
    pub how: String,
    /// Its last lines, or why it could not be started.
    pub output: String,
}

/// Processes that KILL did not end, by uuid of their application.
type LeftBehind = Arc<Mutex<HashMap<String, Child>>>;

/// A run that goes on.
#[derive(Debug)]
struct Run {
    kind: ScriptKind,
    kill: Option<oneshot::Sender<()>>,
    group: Arc<Mutex<Option<Pid>>>,
}

/// Starts and kills scripts. Needs a running tokio runtime.
#[derive(Debug)]
pub struct Runner {
    runs: HashMap<RunId, Run>,
    ended_sender: mpsc::Sender<Ended>,
    ended: mpsc::Receiver<Ended>,
    left_behind: LeftBehind,
    grace: Grace,
    directory: PathBuf,
    ocf_root: PathBuf,
    /// Names this runner among those that were and will be.
    token: u64,
}

impl Runner {
    /// Start scripts write to files in `directory`; OCF resource agents are below `ocf_root`.
    #[must_use]
    pub fn new(directory: PathBuf, ocf_root: PathBuf, grace: Grace) -> Self {
        let (ended_sender, ended) = mpsc::channel(ENDED_QUEUE);
        Self {
            runs: HashMap::new(),
            ended_sender,
            ended,
            left_behind: LeftBehind::default(),
            grace,
            directory,
            ocf_root,
            token: RandomState::new().hash_one(std::process::id()),
        }
    }

    /// Starts a script; [`ended`](Self::ended) will tell its end, also if it could not be started.
    pub fn start(&mut self, order: StartScript) {
        let (kill, killed) = oneshot::channel();
        let group = Arc::new(Mutex::new(None));
        let task = process::Task {
            left_behind: Arc::clone(&self.left_behind),
            grace: self.grace,
            directory: self.directory.clone(),
            ocf_root: self.ocf_root.clone(),
            name: format!("{:016x}-{}", self.token, order.run.0),
            group: Arc::clone(&group),
        };
        self.runs.insert(order.run, Run { kind: order.kind, kill: Some(kill), group });
        let sender = self.ended_sender.clone();
        tokio::spawn(async move {
            let (app, run, kind) = (order.app.clone(), order.run, order.kind);
            let (own_script, typed) = (!order.command.is_empty(), order.typed.clone());
            let (outcome, output) = task.run(order, killed).await;
            let how =
                how(outcome, typed.as_ref().is_some_and(|typed| !own_script && typed.agent().is_some()));
            let outcome = typed.map_or(outcome, |typed| typed.judge(kind, own_script, outcome));
            // Nobody listens only when the daemon is ending.
            let _ = sender.send(Ended { app, run, kind, outcome, how, output }).await;
        });
    }

    /// Begins to end a run. One that is over is no error.
    pub fn kill(&mut self, run: RunId) {
        if let Some(kill) = self.runs.get_mut(&run).and_then(|run| run.kill.take()) {
            // The task is past waiting if it does not listen any more.
            let _ = kill.send(());
        }
    }

    /// The next run that is over. Cancel-safe.
    pub async fn ended(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => {
                self.runs.remove(&ended.run);
                ended
            }
            // This value holds a sender, so the channel is never closed.
            None => std::future::pending().await,
        }
    }

    /// For the end of the daemon: monitor scripts are told to end; what starts or stops an application may finish.
    pub fn abandon(&mut self) {
        for run in self.runs.values().filter(|run| run.kind == ScriptKind::Monitor) {
            if let Some(group) = *lock(&run.group) {
                let _ = killpg(group, Signal::SIGTERM);
            }
        }
    }
}

/// An end in words; `agent`: the codes are those of OCF.
fn how(outcome: Outcome, agent: bool) -> String {
    match outcome {
        Outcome::Exit(code) => match ocf::exit_name(code).filter(|_| agent) {
            Some(name) => format!("exit code {code} ({name})"),
            None => format!("exit code {code}"),
        },
        Outcome::Signal(number) => format!("killed by signal {number}"),
        Outcome::Timeout => "killed because its time was over".to_owned(),
        Outcome::CouldNotStart => "could not be started".to_owned(),
        Outcome::NoResources => "the system had no resources to start it".to_owned(),
    }
}

/// A value behind a mutex whose holders cannot panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
