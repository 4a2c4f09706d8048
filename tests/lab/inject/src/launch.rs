//! How a daemon was started, so that it can be started again exactly so: by systemd where that did it, else with the same words,
//! environment, folder, user and network namespace.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::daemon::Proof;
use crate::error::{Inject, InjectError};
use crate::process::Process;
use crate::systemd;
use crate::wait;

/// How long a daemon may take until it runs again; a database that was killed replays its log first.
const RUNS_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);

/// How a daemon was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// The unit, where systemd started it.
    pub unit: Option<String>,
    program: PathBuf,
    words: Vec<String>,
    environment: Vec<String>,
    folder: PathBuf,
    user: u32,
    group: u32,
    /// Name of the network namespace, if it is not the injector's.
    network: Option<String>,
    /// Where its errors go, if that is a file.
    log: Option<PathBuf>,
}

impl Launch {
    /// Of a running process.
    ///
    /// # Errors
    /// `Unsupported` if it could not be started again from here; what cannot be read.
    pub fn of(context: &Context, process: Process) -> Inject<Launch> {
        let proc = PathBuf::from(format!("/proc/{}", process.pid));
        let link =
            |name: &str| fs::read_link(proc.join(name)).map_err(InjectError::file("read", &proc.join(name)));
        let environ =
            fs::read(proc.join("environ")).map_err(InjectError::file("read", &proc.join("environ")))?;
        let owner = fs::metadata(&proc).map_err(InjectError::file("look at", &proc))?;
        let program = link("exe")?;
        let program = program.to_string_lossy().trim_end_matches(" (deleted)").into();
        Ok(Launch {
            unit: systemd::unit_of(context, process)?,
            program,
            words: process.words(),
            environment: split(&environ),
            folder: link("cwd")?,
            user: owner.uid(),
            group: owner.gid(),
            network: network_of(process)?,
            log: link("fd/2").ok().filter(|file| file.is_absolute() && file.is_file()),
        })
    }

    /// Starts it again, unless somebody else has by then, and waits until it works.
    ///
    /// # Errors
    /// When it does not.
    pub fn again(&self, context: &Context, name: &str, proof: &Proof) -> Inject<()> {
        let mut child = None;
        let again = wait::until(&format!("{name} runs again"), RUNS_AGAIN, || {
            if proof.is_ready() {
                return Ok(true);
            }
            if proof.holder().is_none() {
                // PostgreSQL refuses while children of the killed server are still about, so once may not be enough.
                let ended = child.as_mut().is_none_or(|child: &mut std::process::Child| {
                    child.try_wait().is_ok_and(|end| end.is_some())
                });
                match &self.unit {
                    Some(unit) => systemd::start(unit)?,
                    None if ended => {
                        child = Some(
                            self.command(context)
                                .spawn()
                                .map_err(InjectError::file("start", &self.program))?,
                        )
                    }
                    None => {}
                }
            }
            Ok(false)
        });
        again.map_err(|error| {
            InjectError::Failed(format!("{error} Look into {}.", self.log_file(context).display()))
        })
    }

    /// Where its errors go when it is started from here.
    fn log_file(&self, context: &Context) -> PathBuf {
        self.log.clone().unwrap_or_else(|| context.state_dir.join("restarted.log"))
    }

    fn command(&self, context: &Context) -> Command {
        let mut command = match &self.network {
            Some(network) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", network]).arg(&self.program);
                command
            }
            None => {
                let mut command = Command::new(&self.program);
                command.arg0(self.words.first().map_or("", String::as_str)).uid(self.user).gid(self.group);
                command
            }
        };
        command.args(self.words.iter().skip(1)).current_dir(&self.folder).env_clear();
        command.envs(self.environment.iter().filter_map(|pair| pair.split_once('=')));
        let log = self.log.clone().unwrap_or_else(|| context.state_dir.join("restarted.log"));
        let errors = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        // Not in the terminal's group: Ctrl-C at the injector must not end it.
        command.process_group(0);
        command
    }
}

fn split(bytes: &[u8]) -> Vec<String> {
    let pairs = bytes.split(|byte| *byte == 0).filter(|pair| !pair.is_empty());
    pairs.map(|pair| String::from_utf8_lossy(pair).into_owned()).collect()
}

/// The name of a process's network namespace, if it is not ours.
fn network_of(process: Process) -> Inject<Option<String>> {
    let inode = |path: &str| fs::metadata(path).ok().map(|data| data.ino());
    let its = inode(&format!("/proc/{}/ns/net", process.pid));
    if its.is_none() || its == inode("/proc/self/ns/net") {
        return Ok(None);
    }
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut names = named.filter(|entry| entry.metadata().is_ok_and(|data| Some(data.ino()) == its));
    names.find_map(|entry| entry.file_name().into_string().ok()).map(Some).ok_or_else(|| {
        let why = format!(
            "process {} is in a network namespace without a name, and could not be started again",
            process.pid
        );
        InjectError::Unsupported(why)
    })
}
