//! Processes of the lab: where they run, what they say, and that they end with the world.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Lab, LabError};
use crate::wait;

/// How much of what a failed command said is quoted.
const QUOTED_LINES: usize = 20;

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the caller is.
    Here,
    /// In a named network namespace, all else as here.
    Net(String),
    /// Inside a guest made of namespaces, named by the process id of its init.
    Guest(i32),
}

impl Place {
    /// A named network namespace.
    pub(crate) fn net(name: &str) -> Place {
        Place::Net(name.to_string())
    }

    /// A command that will run there, its standard input closed.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        let mut command = match self {
            Place::Here => Command::new(program),
            Place::Net(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program);
                command
            }
            Place::Guest(pid) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &pid.to_string(), "--mount", "--uts", "--net", "--pid"]);
                command.args(["--root", "--wd", "--"]).arg(program);
                command
            }
        };
        command.stdin(Stdio::null()).env("PATH", search_path());
        command
    }
}

/// The search path with the system's own folders, which a plain user's path often lacks.
fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// What a command that ended has said.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// The command line, for people.
    pub(crate) command: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Said {
    /// The standard output if it ended well, otherwise an error that quotes it.
    pub(crate) fn ok(self) -> Lab<String> {
        if self.status.success() { Ok(self.stdout) } else { Err(self.error()) }
    }

    /// The error that this command's end amounts to.
    pub(crate) fn error(&self) -> LabError {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        LabError::Command {
            command: self.command.clone(),
            status: describe(self.status),
            detail: quote(text),
        }
    }

    /// Its exit code; `None` if a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Both outputs, as a terminal would have shown them.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Lab<Said> {
    let line = command_line(&command);
    let output = command.output().map_err(|source| start_error(&command, source))?;
    Ok(Said {
        command: line,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command to its end with `input` at its standard input.
pub(crate) fn run_with_input(mut command: Command, input: &[u8]) -> Lab<Said> {
    let line = command_line(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| start_error(&command, source))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A reader that refuses its input early closes the pipe; its exit status says why.
        let _ = pipe.write_all(input);
    }
    let output =
        child.wait_with_output().map_err(|source| LabError::Start { program: line.clone(), source })?;
    Ok(Said {
        command: line,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command line given as one string without quotes in it; fails unless it succeeds.
pub(crate) fn sh(place: &Place, line: &str) -> Lab<String> {
    let mut words = line.split_whitespace();
    let mut command = place.command(words.next().unwrap_or_default());
    command.args(words);
    run(command)?.ok()
}

/// A long-running process whose output goes to a log file and which ends with this value.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; `log` is appended to, so that a restarted daemon keeps its history.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Lab<Daemon> {
        let file =
            File::options().create(true).append(true).open(log).map_err(LabError::file("write", log))?;
        let copy = file.try_clone().map_err(LabError::file("write", log))?;
        command.stdout(copy).stderr(file);
        let child = command.spawn().map_err(|source| start_error(&command, source))?;
        Ok(Daemon { name: name.to_string(), child, log: log.to_path_buf() })
    }

    /// The process id of what was started (a wrapper's, if it was started inside a guest).
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Everything it has logged so far.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails, quoting its log, if it has ended.
    pub(crate) fn still_runs(&mut self) -> Lab<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(source) => Err(LabError::System { action: format!("look after {}", self.name), source }),
        }
    }

    /// Waits for its own end and returns its exit status.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> Lab<ExitStatus> {
        let name = self.name.clone();
        wait::until(limit, &format!("the end of {name}"), || {
            self.child
                .try_wait()
                .map_err(|source| LabError::System { action: format!("look after {name}"), source })
        })
    }

    /// SIGKILL, as a crash would be, and waits until it is gone.
    pub(crate) fn crash(&mut self) -> Lab<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|source| LabError::System { action: format!("kill {}", self.name), source })
    }

    /// SIGTERM, and waits for its orderly end.
    pub(crate) fn terminate(&mut self, limit: Duration) -> Lab<ExitStatus> {
        signal(self.pid(), Signal::SIGTERM)?;
        self.wait_for_end(limit)
    }

    fn ended(&self, status: ExitStatus) -> LabError {
        LabError::Command {
            command: self.name.clone(),
            status: describe(status),
            detail: quote(&self.logged()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: i32, signal: Signal) -> Lab<()> {
    kill(Pid::from_raw(pid), signal).map_err(LabError::system(format!("send {signal} to process {pid}")))
}

/// The command line for people; namespaces and paths of programs are left out.
pub(crate) fn command_line(command: &Command) -> String {
    let mut line = String::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        let _ = write!(line, "{} ", word.to_string_lossy());
    }
    line.truncate(line.trim_end().len());
    line
}

/// The error of a command that did not even start.
pub(crate) fn start_error(command: &Command, source: std::io::Error) -> LabError {
    LabError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_string(),
    }
}

fn quote(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(QUOTED_LINES);
    let tail = lines.get(from..).unwrap_or_default().join("\n");
    if tail.is_empty() { String::new() } else { format!(":\n{}", wait::indented(&tail).trim_end()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_quoted_with_its_status() {
        let mut command = Place::Here.command("sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let error = run(command).expect("sh runs").ok().expect_err("it fails");
        let text = error.to_string();
        assert!(text.contains("exit status 3") && text.contains("no such thing"), "{text}");
    }

    #[test]
    fn a_daemon_that_ended_is_told_with_its_log() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut command = Place::Here.command("sh");
        command.args(["-c", "echo cannot bind; exit 71"]);
        let mut daemon = Daemon::start("d", command, &dir.path().join("d.log")).expect("starts");
        daemon.wait_for_end(Duration::from_secs(20)).expect("ends");
        let text = daemon.still_runs().expect_err("it has ended").to_string();
        assert!(text.contains("exit status 71") && text.contains("cannot bind"), "{text}");
    }
}
