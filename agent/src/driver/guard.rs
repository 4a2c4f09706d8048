//! The guardian, from the daemon's side: the shared page, and that there is a process that looks at it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use std::os::unix::process::CommandExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use vmpulse_local::errors::chain as error_chain;
use vmpulse_protocol::time::Instant;

use crate::guardian::arguments::{Arguments, PROGRAM};
use crate::guardian::driver::now as page_time;
use crate::guardian::file::OpenedPage;
use crate::guardian::keeper::{Keeper, PathKeeper};
use crate::guardian::watch::STAMP_PERIOD;
use crate::settings::Settings;

/// How often it is asked whether there is a guardian.
const CHECK_PERIOD: Duration = Duration::from_secs(1);
/// A guardian that ends at once is not started again more often.
const START_PERIOD: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Guard {
    keeper: Option<Keeper>,
    program: PathBuf,
    arguments: Option<Arguments>,
    child: Option<Child>,
    stamped: Instant,
    /// Of which the guardian knows.
    changes: u64,
    next_check: Instant,
    next_start: Instant,
    disk_gone: bool,
    problem: Option<String>,
}

impl Guard {
    /// The page, and what the trunks need of it. Without it the daemon works as well, until it hangs.
    pub(super) fn start(settings: &Settings, now: Instant) -> (Self, Option<PathKeeper>) {
        let mut guard = Self {
            keeper: None,
            program: beside_this_program(),
            arguments: None,
            child: None,
            stamped: now,
            changes: 0,
            next_check: now,
            next_start: now,
            disk_gone: false,
            problem: None,
        };
        if !settings.guardian {
            return (guard, None);
        }
        let page = match OpenedPage::open_or_replace(&settings.run_dir) {
            Ok(opened) => opened.page,
            Err(error) => {
                guard.complain(error_chain(&error));
                return (guard, None);
            }
        };
        let (arguments, problem) = settings.guardian_arguments();
        if let Some(problem) = problem {
            tracing::error!("the root disk is not probed: {problem}; name it in agent.toml (root_probe)");
        }
        let epoch = page_time().since(now);
        let keeper = Keeper::begin(page, epoch, now, is_by_systemd());
        keeper.want(arguments.number());
        let paths = keeper.paths(settings.ethertype, settings.vlan_id());
        (guard.arguments, guard.keeper) = (Some(arguments), Some(keeper));
        (guard, Some(paths))
    }

    /// To be called in every turn: shows life, says until when nobody is to beat for the daemon, and sees to it that there is a
    /// guardian. True if [`disk_gone`](Self::disk_gone) has changed.
    pub(super) fn turn(&mut self, now: Instant, hold: Option<Instant>) -> bool {
        let Some(keeper) = &self.keeper else { return false };
        keeper.show_life(now);
        keeper.hold(hold);
        self.stamped = now;
        let changes = keeper.changes();
        if changes != self.changes {
            self.changes = changes;
            wake(keeper.guardian(now));
        }
        let gone = keeper.disk_gone();
        let changed = gone != self.disk_gone;
        self.disk_gone = gone;
        if changed && gone {
            tracing::error!("the root disk does not answer: no heartbeats are sent any more");
        } else if changed {
            tracing::info!("the root disk answers again: heartbeats are sent");
        }
        if self.next_check <= now {
            self.next_check = now + CHECK_PERIOD;
            self.check(now);
        }
        changed
    }

    /// When the next turn is due.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        self.keeper.as_ref().map(|_| self.stamped + STAMP_PERIOD)
    }

    /// Whether the root disk does not answer.
    pub(super) const fn disk_gone(&self) -> bool {
        self.disk_gone
    }

    /// The guardian's process, if there is one.
    pub(super) fn pid(&self, now: Instant) -> Option<u32> {
        self.keeper.as_ref().and_then(|keeper| keeper.guardian(now))
    }

    /// Why there is none.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The daemon is being stopped on purpose: from now on nobody beats in its place.
    pub(super) fn dismiss(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.stop();
        }
        self.arguments = None;
    }

    /// The daemon has ended.
    pub(super) fn end(&mut self) {
        self.arguments = None;
        if let Some(keeper) = self.keeper.take() {
            keeper.end();
        }
    }

    fn check(&mut self, now: Instant) {
        if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
            self.child = None;
            if self.arguments.is_some() {
                self.complain(format!("{PROGRAM} ended: {status}"));
            }
        }
        if self.pid(now).is_some() {
            self.problem = None;
        } else if self.child.is_none() && self.next_start <= now {
            self.next_start = now + START_PERIOD;
            self.start_guardian();
        }
    }

    fn start_guardian(&mut self) {
        let Some(arguments) = &self.arguments else { return };
        let mut command = Command::new(&self.program);
        // A group of its own: what is sent to the daemon's is not for it.
        command.args(arguments.words()).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        match command.spawn() {
            Ok(child) => {
                tracing::info!(pid = child.id(), "the guardian was started");
                self.child = Some(child);
            }
            Err(error) => self.complain(format!("{} cannot be started: {error}", self.program.display())),
        }
    }

    fn complain(&mut self, problem: String) {
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!("nobody beats if this daemon hangs: {problem}");
        }
        self.problem = Some(problem);
    }
}

/// It looks at once, instead of within half a second: with an interval of 100 ms that would be too late.
fn wake(guardian: Option<u32>) {
    let process = guardian.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
    if let Some(process) = process {
        // If it has just ended there is nobody to wake.
        let _ = kill(Pid::from_raw(process), Signal::SIGUSR1);
    }
}

/// They are installed together.
fn beside_this_program() -> PathBuf {
    let folder = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    folder.unwrap_or_else(|| PathBuf::from("/usr/sbin")).join(PROGRAM)
}

/// Whether systemd would have to be asked for another daemon.
fn is_by_systemd() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() && getppid().as_raw() == 1
}
