//! Everything before the first turn of the loop, and what can go wrong there.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use vmpulse_link::LinkError;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::command::{CommandError, CommandListener};
use vmpulse_local::exit::Exit;
use vmpulse_local::lock::{LockError, RunLock};
use vmpulse_local::logging::{self, LEVEL_VARIABLE, LevelHandle, LoggingError};
use vmpulse_protocol::id::VmUuid;

use super::guard::Guard;
use super::links::Links;
use super::recording::{self, Cores, MadeOf};
use super::secrets::Secrets;
use super::{Daemon, Signals};
use crate::ame::Past;
use crate::boot::BootFile;
use crate::config::Configuration;
use crate::config_file;
use crate::health::{Health, Healthy, server};
use crate::report::Reporter;
use crate::runner::{Grace, Runner};
use crate::settings::{Settings, SettingsSource, identity};
use crate::suspension::{self, Suspension};
use crate::trunks::TrunksConfig;
use vmpulse_local::errors::chain as error_chain;

/// Members of the group may query.
const GROUP_SOCKET_MODE: u32 = 0o660;
/// Without the group: root only.
const ROOT_SOCKET_MODE: u32 = 0o600;
/// The log may name what is confidential to the guest.
const LOG_FILE_MODE: u32 = 0o640;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log file cannot be used.
    #[error("cannot write the log file {}", path.display())]
    LogFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Logging.
    #[error("cannot start logging")]
    Logging(#[from] LoggingError),
    /// A second daemon, or no lock file.
    #[error("the daemon did not get its lock")]
    Lock(#[from] LockError),
    /// The command socket.
    #[error("the command socket cannot be opened")]
    Command(#[from] CommandError),
    /// Raw sockets.
    #[error("the trunk adapters cannot be opened")]
    Link(#[from] LinkError),
    /// Signals.
    #[error("the operating system refused {what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl StartError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::LogFile { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            Self::LogFile { .. } | Self::Logging(_) => Exit::Config,
            Self::Lock(error) => error.exit(),
            Self::Command(error) => error.exit(),
            Self::Link(LinkError::NoPermission { .. }) => Exit::NoPermission,
            Self::Link(_) | Self::System { .. } => Exit::OsError,
        }
    }
}

/// Takes the lock, opens everything, loads the configuration. Needs a running tokio runtime. `source`: where the
/// settings are from.
pub fn start(settings: Settings, source: SettingsSource) -> Result<Daemon, StartError> {
    redirect_log(&settings.log_file)?;
    let loaded = config_file::load(&settings.config, settings.max_apps);
    let log = loaded.as_ref().map_or_else(|_| Configuration::default().vmm.log, |loaded| loaded.vmm.log);
    let level = logging::init(log_level(log))?;
    let lock = RunLock::acquire(&settings.lock())?;
    let clock = MonotonicClock::start();
    let now = clock.now();
    let incarnation = incarnation(clock);
    let vm_uuid = identity::vm_uuid(&settings.vm_uuid);
    warn_about_uuid(&vm_uuid);
    let suspension = last_suspension(&settings.state_dir);
    let boot = last_boot(&settings.state_dir);
    let trunks_config = TrunksConfig {
        vm: vm_uuid.clone(),
        incarnation_seed: incarnation,
        nonce_seed: nonce_seed()?,
        unheard_suspension: suspension.unheard(),
    };
    let (secrets, authentication) = Secrets::load(&settings, source);
    let (guard, keeper) = Guard::start(&settings, now);
    let config_problem = loaded.as_ref().err().map(|error| error_chain(error));
    if let Some(problem) = &config_problem {
        tracing::error!("no application is monitored: {problem}; correct the file and run `vmmgr sync`");
    }
    let config_warnings = loaded.as_ref().map(|loaded| loaded.unknown.sentences()).unwrap_or_default();
    for warning in &config_warnings {
        tracing::warn!("{}: {warning}", settings.config.display());
    }
    let (configuration, past) = (loaded.unwrap_or_default(), past(suspension, &boot));
    let made_of = MadeOf { trunks: trunks_config, keeper, configuration, past };
    let Cores { mut trunks, engine, recording } = recording::cores(&settings.recorder, &clock, now, made_of);
    trunks.handle_authentication(now, authentication);
    let mut links = Links::new(&settings);
    links.first_scan(now, &mut trunks)?;
    let daemon = Daemon {
        clock,
        trunks,
        ame: engine,
        recording,
        reporter: Reporter::new(vm_uuid.clone(), incarnation),
        links,
        runner: Runner::new(settings.run_dir.clone(), settings.ocf_root.clone(), Grace::default()),
        commands: listen(&settings)?,
        signals: signals()?,
        log_level: level,
        config_problem,
        config_warnings,
        suspension,
        boot,
        last_scripts: HashMap::new(),
        health: settings.health_address().map(open_health),
        health_is_stale: true,
        healthy: Healthy::default(),
        held: Vec::new(),
        secrets,
        guard,
        stop_at: None,
        stopping: None,
        _lock: lock,
        vm_uuid,
        settings,
    };
    tracing::info!(vm = daemon.vm_uuid, version = env!("CARGO_PKG_VERSION"), "started");
    Ok(daemon)
}

/// The endpoint never keeps the daemon from starting.
fn open_health(address: SocketAddr) -> watch::Sender<Arc<Health>> {
    let (say, told) = watch::channel(Arc::default());
    tokio::spawn(server::run(address, told));
    say
}

fn nonce_seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    vmpulse_local::random::fill(&mut seed)
        .map_err(|source| StartError::System { what: "random numbers", source })?;
    Ok(seed)
}

/// What the administrator said last; nothing yet is as if monitoring had been resumed, which everybody knows.
fn last_suspension(state_dir: &Path) -> Suspension {
    match suspension::load(state_dir) {
        Ok(found) => found.unwrap_or(Suspension { suspended: false, heard: true }),
        Err(err) => {
            let path = state_dir.join(suspension::FILE);
            tracing::warn!(%err, path = %path.display(), "cannot tell whether monitoring was suspended; `vmmgr suspend` or \
                           `vmmgr resume` says it anew");
            Suspension { suspended: false, heard: true }
        }
    }
}

/// Nothing known is as if nothing had happened since the agent last ran.
fn last_boot(state_dir: &Path) -> BootFile {
    let (boot, noted) = BootFile::open(state_dir);
    if let Err(err) = noted {
        tracing::warn!(%err, path = %boot.path().display(), "cannot tell whether the guest has booted, nor keep it: after a \
                       boot the applications are monitored, and started only when that fails");
    }
    boot
}

fn past(suspension: Suspension, boot: &BootFile) -> Past {
    Past { booted: boot.booted(), suspended: suspension.suspended, stopped: boot.stopped().to_vec() }
}

/// The filter of a `log` attribute.
#[must_use]
pub const fn log_level(log: u32) -> &'static str {
    match log {
        0 => "error",
        1 => "warn",
        2 => "info",
        _ => "debug",
    }
}

/// Follows the configuration, unless the environment has chosen a level.
pub(super) fn change_level(level: &LevelHandle, log: u32) {
    if std::env::var_os(LEVEL_VARIABLE).is_some_and(|chosen| !chosen.is_empty()) {
        return;
    }
    if let Err(error) = level.change(log_level(log)) {
        tracing::warn!("the log level stays: {}", error_chain(&error));
    }
}

/// Puts the file in the place of standard error, so that a panic is in it too.
fn redirect_log(path: &Path) -> Result<(), StartError> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let failed = |source| StartError::LogFile { path: path.to_owned(), source };
    let file = OpenOptions::new().create(true).append(true).mode(LOG_FILE_MODE).open(path).map_err(failed)?;
    nix::unistd::dup2_stderr(&file).map_err(|errno| failed(errno.into()))
}

/// Different at each start. The standard library's keys come from the kernel's own call, which also works where there
/// is no `/dev`; the clock makes a difference even if they did not.
fn incarnation(clock: MonotonicClock) -> u64 {
    RandomState::new().hash_one((clock.realtime(), std::process::id()))
}

fn warn_about_uuid(vm_uuid: &str) {
    if vm_uuid.parse::<VmUuid>().is_err() {
        tracing::warn!(
            "\"{vm_uuid}\" is no UUID, so the host monitors cannot manage this VM; \
             give it a system UUID at the hypervisor, or set vm_uuid in agent.toml"
        );
    }
}

/// A system without the group has nobody in it: root only then.
fn listen(settings: &Settings) -> Result<CommandListener, StartError> {
    let path = settings.socket();
    if let Some(group) = settings.group() {
        match CommandListener::bind(&path, GROUP_SOCKET_MODE, Some(group)) {
            Ok(listener) => return Ok(listener),
            Err(CommandError::NoSuchGroup { .. }) => {
                tracing::debug!(group, "no such group: only root may query")
            }
            // Only root may give the socket to a group.
            Err(CommandError::Io { .. }) => {
                tracing::info!(group, "the group cannot be let in: only root may query")
            }
            Err(error @ (CommandError::InUse { .. } | CommandError::NotASocket { .. })) => {
                return Err(error.into());
            }
        }
    }
    Ok(CommandListener::bind(&path, ROOT_SOCKET_MODE, None)?)
}

fn signals() -> Result<Signals, StartError> {
    let listen = |kind| signal(kind).map_err(|source| StartError::System { what: "signal handlers", source });
    Ok(Signals {
        terminate: listen(SignalKind::terminate())?,
        interrupt: listen(SignalKind::interrupt())?,
        hangup: listen(SignalKind::hangup())?,
    })
}
