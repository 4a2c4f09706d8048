//! The daemon as a service of the system: started and stopped through systemd, where there is one.
#![allow(clippy::disallowed_methods)] // A command waits on the real clock; nothing drives it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::codes::Code;

/// The daemon's unit.
pub const UNIT: &str = "vmpulse-agentd.service";

/// There while systemd runs the system: what `sd_booted(3)` looks at.
const BOOTED: &str = "/run/systemd/system";

/// Between two looks at what is waited for.
const STEP: Duration = Duration::from_millis(50);

/// Looks before whoever waits is told: after two seconds.
const PATIENCE: u32 = 40;

/// Looks before it is given up that a started daemon answers: after ten seconds. It does in less than one.
const LOOKS: u32 = 200;

/// Most of what `systemctl` says that is passed on, in bytes.
const SAID_BYTES: u64 = 2000;

/// What is asked of systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start the unit.
    Start,
    /// Stop it.
    Stop,
}

impl Verb {
    /// As at `systemctl`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// Why the daemon was not started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFault {
    /// 035.
    #[error("no systemd runs this system ({BOOTED} is not there): {0}")]
    NoSystemd(String),
    /// 036.
    #[error("cannot run systemctl")]
    Run(#[source] io::Error),
    /// 036.
    #[error("`systemctl {} {UNIT}` failed ({status}): {said}. `journalctl -u {UNIT}` may say more", .verb.name())]
    Failed {
        /// What was asked.
        verb: Verb,
        /// How it ended.
        status: ExitStatus,
        /// Its error messages.
        said: String,
    },
    /// 036.
    #[error("systemd has started {UNIT}, but the daemon does not answer; `journalctl -u {UNIT}` says why")]
    Silent,
    /// 036.
    #[error(
        "systemd has stopped {UNIT}, but process {0}, which it had not started, goes on; `kill {0}` stops it"
    )]
    NotItsOwn(u32),
}

impl ServiceFault {
    /// The number of the message.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NoSystemd(_) => Code::NoSystemd,
            Self::Run(_) | Self::Failed { .. } | Self::Silent | Self::NotItsOwn(_) => Code::Systemctl,
        }
    }
}

/// systemd, as `vmmgr` uses it.
#[derive(Clone, Debug)]
pub struct Systemd {
    /// There while it runs.
    pub booted: PathBuf,
    /// `systemctl`.
    pub program: PathBuf,
}

impl Default for Systemd {
    fn default() -> Self {
        Self { booted: PathBuf::from(BOOTED), program: PathBuf::from("systemctl") }
    }
}

impl Systemd {
    /// Whether it runs this system.
    #[must_use]
    pub fn is_there(&self) -> bool {
        Path::new(&self.booted).is_dir()
    }

    /// Has the unit started or stopped, and waits until it is.
    pub fn control(&self, verb: Verb, progress: &dyn Fn(&str)) -> Result<(), ServiceFault> {
        let mut command = Command::new(&self.program);
        command.args(["--no-ask-password", verb.name(), UNIT]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(ServiceFault::Run)?;
        let status = wait(&mut child, verb, progress).map_err(ServiceFault::Run)?;
        if status.success() {
            return Ok(());
        }
        Err(ServiceFault::Failed { verb, status, said: said(child) })
    }

    /// Waits until the daemon that was started answers, or until systemd says that it has failed.
    pub(super) fn wait_for(
        &self,
        answers: impl Fn() -> bool,
        progress: &dyn Fn(&str),
    ) -> Result<(), ServiceFault> {
        for look in 0..LOOKS {
            if answers() {
                return Ok(());
            }
            if look == PATIENCE {
                progress("waiting for vmpulse-agentd to answer ...");
            }
            // Less often: each time is a process.
            if look % 10 == 9 && self.has_failed() {
                break;
            }
            thread::sleep(STEP);
        }
        Err(ServiceFault::Silent)
    }

    fn has_failed(&self) -> bool {
        let mut command = Command::new(&self.program);
        command.args(["is-failed", "--quiet", UNIT]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// systemd bounds this itself: a unit that does not start or stop in its time is given up.
fn wait(child: &mut Child, verb: Verb, progress: &dyn Fn(&str)) -> io::Result<ExitStatus> {
    let mut looks = 0u32;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        looks = looks.saturating_add(1);
        if looks == PATIENCE {
            progress(&format!("waiting for systemd to {} {UNIT} ...", verb.name()));
        }
        thread::sleep(STEP);
    }
}

/// Its messages in one line.
fn said(child: Child) -> String {
    let mut bytes = Vec::new();
    if let Some(stderr) = child.stderr {
        // What cannot be read is not said; that it failed is.
        let _ = stderr.take(SAID_BYTES).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> =
        text.lines().map(|line| line.trim().trim_end_matches('.')).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it says nothing".to_owned() } else { lines.join("; ") }
}
