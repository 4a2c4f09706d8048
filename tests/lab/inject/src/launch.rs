//! How a daemon was started, so that it can be started again exactly so: by systemd where that did it, else with the same words,
//! environment, folder, user, groups and network namespace. What could not be started again so is refused before it is touched.

mod identity;
mod place;

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::daemon::Proof;
use crate::error::{Inject, InjectError};
use crate::process::Process;
use crate::systemd;
use crate::wait;
use crate::wire::netns;
use identity::Identity;
use place::Place;

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
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten)]
    place: Place,
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
        let program = link("exe")?;
        let program: PathBuf = program.to_string_lossy().trim_end_matches(" (deleted)").into();
        let unit = systemd::unit_of(context, process)?;
        // A unit says it all by itself.
        let (identity, place) = match (Identity::of(process, &program), Place::of(process), &unit) {
            (identity, place, None) => (identity?, place?),
            (identity, place, Some(_)) => (identity.unwrap_or_default(), place.unwrap_or_default()),
        };
        Ok(Launch {
            unit,
            program,
            words: process.words(),
            environment: split(&environ),
            folder: link("cwd")?,
            identity,
            place,
            log: link("fd/2").ok().filter(|file| file.is_absolute() && file.is_file()),
        })
    }

    /// Starts it again, unless somebody else has by then, and waits until it works.
    ///
    /// # Errors
    /// When it does not.
    pub fn again(&self, context: &Context, name: &str, proof: &Proof) -> Inject<()> {
        let mut child = None;
        if self.unit.is_none() && proof.holder().is_none() {
            self.place.check()?;
        }
        let again = wait::until(&format!("{name} runs again"), RUNS_AGAIN, || {
            if proof.is_ready() {
                return Ok(true);
            }
            if proof.holder().is_none() {
                // PostgreSQL refuses while children of the killed server are still about, so once may not be enough.
                let ended = child
                    .as_mut()
                    .is_none_or(|child: &mut Child| child.try_wait().is_ok_and(|end| end.is_some()));
                match &self.unit {
                    Some(unit) => systemd::start(unit)?,
                    None if ended => child = Some(self.start(context)?),
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

    fn start(&self, context: &Context) -> Inject<Child> {
        let start = || self.command(context).spawn().map_err(InjectError::file("start", &self.program));
        netns::within(self.place.to_enter(), start)
    }

    /// Everything but the network namespace that the process that starts it must be in.
    fn command(&self, context: &Context) -> Command {
        let own = self.identity.is_own();
        let mut before = self.place.words();
        // `ip` needs what the user does not have, and other groups than none nobody else gives.
        if !own && (!before.is_empty() || !self.identity.is_plain()) {
            before.extend(self.identity.setpriv());
        }
        let mut command = match before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
            None => {
                let mut command = Command::new(&self.program);
                command.arg0(self.words.first().map_or("", String::as_str));
                if !own {
                    command.uid(self.identity.user).gid(self.identity.group);
                }
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
