//! One run of one script.
//!
//! ```text
//!   start --ok--> waiting --exit--> output's end --> ended
//!     |              | kill
//!     |              v
//!     |           TERM to all of it --none left, or grace--> KILL to all of it --exit--> ended (timeout)
//!     |                                                            | grace
//!     +--error--> ended (could not start)                          v
//!                                                          left behind, ended (timeout)
//! ```

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use vmpulse_link::{Identity, in_own_session};

use super::output::Output;
use super::tree::{RUN_VARIABLE, Tree};
use super::users::{User, Users};
use super::{Grace, LeftBehind, lock};
use crate::ame::{Outcome, ScriptKind, StartScript};
use crate::config::command_line;
use crate::types::{Invocation, Surroundings};

/// How often a script that was told to end is looked at.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// How often the whole process table is looked at meanwhile, which is more work.
const TREE_POLL: Duration = Duration::from_millis(100);

/// How often KILL is sent to what is left: a process that forks while it is looked for is found the next time.
const KILL_ROUNDS: u32 = 10;

/// Directory of the resource agents' own state, below that of the runner; as the package resource-agents has it.
const OCF_STATE: &str = "ocf";
const OCF_STATE_MODE: u32 = 0o1755;

/// How often a file that somebody has open for writing is tried.
const BUSY_TRIES: u32 = 10;

/// Search path of scripts.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a run needs besides its order.
pub(super) struct Task {
    pub(super) left_behind: LeftBehind,
    pub(super) grace: Grace,
    pub(super) directory: PathBuf,
    pub(super) ocf_root: PathBuf,
    /// Names this run among all of all daemons.
    pub(super) name: String,
    pub(super) group: Arc<Mutex<Option<Pid>>>,
}

impl Task {
    /// From start to end; with the last lines printed, or why there are none.
    pub(super) async fn run(&self, order: StartScript, mut kill: oneshot::Receiver<()>) -> (Outcome, String) {
        if let Some(refused) = self.wait_for_left_behind(&order, &mut kill).await {
            return refused;
        }
        let mut output = Output::new(&order, &self.directory);
        let child = match self.spawn(&order, &mut output).await {
            Ok(child) => child,
            Err(error) => return (start_outcome(&error), format!("{}: {error}", self.what(&order))),
        };
        output.close_our_end();
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        *lock(&self.group) = group;
        let outcome = self.supervise(&order, child, group, &mut output, kill).await;
        *lock(&self.group) = None;
        (outcome, output.last_lines(self.grace.drain).await)
    }

    /// A process of an earlier run that KILL did not end: until it is gone nothing new is started beside it.
    async fn wait_for_left_behind(
        &self,
        order: &StartScript,
        kill: &mut oneshot::Receiver<()>,
    ) -> Option<(Outcome, String)> {
        let mut child = lock(&self.left_behind).remove(&order.uuid)?;
        tokio::select! {
            _ = child.wait() => return None,
            _ = kill => {}
        }
        let text = format!("process {} of an earlier run cannot be killed", child.id().unwrap_or(0));
        lock(&self.left_behind).insert(order.uuid.clone(), child);
        Some((Outcome::Timeout, text))
    }

    async fn supervise(
        &self,
        order: &StartScript,
        mut child: Child,
        group: Option<Pid>,
        output: &mut Output,
        mut kill: oneshot::Receiver<()>,
    ) -> Outcome {
        loop {
            tokio::select! {
                status = child.wait() => return status.map_or(Outcome::NoResources, outcome),
                _ = &mut kill => break,
                () = output.read() => {}
            }
        }
        if let Some(group) = group {
            // What a start script has put into a session of its own is the application, which the stop script ends.
            let escaped = order.kind != ScriptKind::Start;
            let marker = format!("{RUN_VARIABLE}={}", self.name);
            let tree = Tree { leader: group, marker, escaped, known: HashSet::new() };
            self.end(tree, &mut child, output).await;
        }
        if child.try_wait().ok().flatten().is_none() {
            tracing::error!(
                app = order.app,
                process = child.id(),
                "a script cannot be killed and is left behind"
            );
            lock(&self.left_behind).insert(order.uuid.clone(), child);
        }
        Outcome::Timeout
    }

    /// TERM, grace, KILL; also to those that live on when the script has ended already.
    async fn end(&self, mut tree: Tree, child: &mut Child, output: &mut Output) {
        tree.signal(Signal::SIGTERM).await;
        let leader = tree.leader;
        let empty = async {
            // Reaps the script, which else would keep its group.
            while !child.try_wait().is_ok_and(|status| status.is_some()) {
                sleep(GROUP_POLL).await;
            }
            while killpg(leader, None) != Err(Errno::ESRCH) {
                sleep(GROUP_POLL).await;
            }
            while !tree.members().await.is_empty() {
                sleep(TREE_POLL).await;
            }
        };
        if until(self.grace.term, empty, output).await {
            return;
        }
        for _ in 0..KILL_ROUNDS {
            tree.signal(Signal::SIGKILL).await;
            if tree.members().await.is_empty() {
                break;
            }
            sleep(GROUP_POLL).await;
        }
        let _ = timeout(self.grace.kill, child.wait()).await;
    }

    /// Program and arguments, and what the type adds to the environment.
    fn invocation(&self, order: &StartScript) -> io::Result<Invocation> {
        if let Some(typed) = order.typed.as_ref().filter(|_| order.command.is_empty()) {
            let ocf_state = self.directory.join(OCF_STATE);
            if typed.agent().is_some() {
                make_ocf_state(&ocf_state)?;
            }
            let surroundings = Surroundings {
                ocf_root: &self.ocf_root,
                ocf_state: &ocf_state,
                application: &order.app,
                time_limit: order.time_limit,
            };
            return Ok(typed.invocation(order.kind, surroundings));
        }
        let words = command_line::split(&order.command).map_err(|error| invalid(error.to_string()))?;
        Ok(Invocation { words, environment: Vec::new() })
    }

    /// For people: what could not be started.
    fn what(&self, order: &StartScript) -> String {
        let agent = order.typed.as_ref().filter(|_| order.command.is_empty()).and_then(|typed| typed.agent());
        match agent {
            Some(agent) => format!("{} ({})", agent.full_name(), agent.path(&self.ocf_root).display()),
            None => order.command.clone(),
        }
    }

    async fn spawn(&self, order: &StartScript, output: &mut Output) -> io::Result<Child> {
        let mut invocation = self.invocation(order)?;
        invocation.environment.push((RUN_VARIABLE.to_owned(), self.name.clone()));
        let user =
            Users::system().lookup(&order.user).ok_or_else(|| invalid(format!("no user {}", order.user)))?;
        let mut through_shell = false;
        let mut tries = 0;
        loop {
            let mut command = command(order, &invocation, &user, through_shell)?;
            command.stdout(output.writer()).stderr(output.writer());
            match command.spawn() {
                // No #! line: a shell runs it, as it would from a shell.
                Err(error) if is(&error, Errno::ENOEXEC) && !through_shell => through_shell = true,
                Err(error) if is(&error, Errno::ETXTBSY) && tries < BUSY_TRIES => {
                    tries += 1;
                    sleep(GROUP_POLL).await;
                }
                result => return result,
            }
        }
    }
}

fn make_ocf_state(path: &std::path::Path) -> io::Result<()> {
    match DirBuilder::new().mode(OCF_STATE_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether `event` comes within `time`. Output is read meanwhile, so that a script can print while it ends.
async fn until(time: Duration, event: impl Future<Output = ()>, output: &mut Output) -> bool {
    let reading = async {
        loop {
            output.read().await;
        }
    };
    tokio::select! {
        () = event => true,
        () = sleep(time) => false,
        () = reading => false,
    }
}

fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exit(code),
        (None, Some(signal)) => Outcome::Signal(signal),
        (None, None) => Outcome::Signal(0),
    }
}

/// A lack of processes, memory or descriptors says nothing about the script.
fn start_outcome(error: &io::Error) -> Outcome {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::ETXTBSY) => {
            Outcome::NoResources
        }
        Some(_) | None => Outcome::CouldNotStart,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn command(
    order: &StartScript,
    invocation: &Invocation,
    user: &User,
    through_shell: bool,
) -> io::Result<Command> {
    let (path, arguments) = invocation.words.split_first().ok_or_else(|| invalid("no script".to_owned()))?;
    let mut command = Command::new(if through_shell { "/bin/sh" } else { path });
    if through_shell {
        command.arg(path);
    }
    command.args(arguments).current_dir("/").stdin(empty_input()?);
    command.env_clear().envs(environment(order, user));
    command.envs(invocation.environment.iter().map(|(name, value)| (name, value)));
    let other = user.uid != geteuid().as_raw();
    let identity = other.then(|| Identity { uid: user.uid, gid: user.gid, groups: user.groups.clone() });
    in_own_session(command.as_std_mut(), identity);
    Ok(command)
}

/// `/dev/null`, or a pipe whose other end is closed where there is no `/dev`.
fn empty_input() -> io::Result<Stdio> {
    match File::open("/dev/null") {
        Ok(null) => Ok(Stdio::from(null)),
        Err(_) => io::pipe().map(|(reader, _)| Stdio::from(reader)),
    }
}

/// All that a script finds in its environment; `docs/reference/applications.md` lists it.
fn environment(order: &StartScript, user: &User) -> [(&'static str, String); 10] {
    [
        ("PATH", PATH.to_owned()),
        ("HOME", user.home.clone()),
        ("USER", user.name.clone()),
        ("LOGNAME", user.name.clone()),
        ("SHELL", "/bin/sh".to_owned()),
        ("LANG", "C".to_owned()),
        ("VMPULSE_APPLICATION", order.app.clone()),
        ("VMPULSE_UUID", order.uuid.clone()),
        ("VMPULSE_ACTION", order.kind.to_string()),
        ("VMPULSE_TIME_LIMIT_S", order.time_limit.as_secs().to_string()),
    ]
}
