//! From settings to a running daemon, with an exit code for everything that can be in the way.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use tokio::runtime::{Builder, Runtime};
use vmpulse_link::{LinkConfig, LinkError, ReceiveMethod};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::command::{CommandError, CommandListener};
use vmpulse_local::exit::Exit;
use vmpulse_local::lock::{LockError, RunLock};
use vmpulse_local::logging::{self, LevelHandle, LoggingError};
use vmpulse_local::recorder::{Daemon, Opening, Recorder};
use vmpulse_protocol::id::Incarnation;
use vmpulse_protocol::path::HmIdentity;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;
use vmpulse_store::{StoreError, StoreTime};

use super::canary::CanaryThread;
use super::desk::{self, Desk};
use super::endpoint::Endpoint;
use super::key_thread::KeyThread;
use super::policing::Policing;
use super::secrets::Secrets;
use super::spool_thread::{self, StoreThread, StoreThreadError};
use super::status::Facts;
use super::trunk::Trunk;
use super::{Driver, Signals, identity, priority, trunk};
use crate::canary::CanaryIdentity;
use crate::endpoint::tls::TlsError;
use crate::keys::{Keeper, KeyDirectory, Marks};
use crate::monitor::{Monitor, MonitorConfig};
use crate::record::{Recorded, Start};
use crate::settings::{Canary, Receive, Settings, SettingsError};

/// The command socket may be asked by anybody in its group; there is nothing to change through it.
pub(super) const SOCKET_MODE: u32 = 0o660;
const SOCKET_GROUP: &str = "vmpulse";

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings are not usable.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The log level is none.
    #[error("the log level cannot be used")]
    Logging(#[from] LoggingError),
    /// Another host monitor serves this trunk, or the lock cannot be had.
    #[error("cannot be the host monitor of trunk {trunk}")]
    Lock {
        /// The trunk.
        trunk: String,
        /// Why not.
        source: LockError,
    },
    /// Another host monitor, with another run directory, serves this trunk.
    #[error(
        "another process is the host monitor of trunk {trunk}; `ss -xlp | grep vmpulse-hostmond` names it. Stop it first"
    )]
    Served {
        /// The trunk.
        trunk: String,
    },
    /// The trunk adapter cannot be used.
    #[error("cannot use the trunk adapter")]
    Link(#[from] LinkError),
    /// The store cannot be used.
    #[error("cannot use the health store")]
    Store(#[from] StoreError),
    /// The command socket cannot be made.
    #[error("cannot listen for commands")]
    Command(#[from] CommandError),
    /// The files of the status endpoint cannot be used.
    #[error("cannot use TLS for status_listen")]
    Tls(#[from] TlsError),
    /// The host monitor's UUID cannot be read or kept.
    #[error("cannot keep this host monitor's UUID in {path:?}")]
    Identity {
        /// The state directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What an earlier start kept cannot be read.
    #[error("cannot read the spool {path:?}, in which an earlier start kept what the store did not have yet")]
    Spool {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The operating system refused something that should work.
    #[error("cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl StartError {
    /// The process's exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(_) | Self::Logging(_) | Self::Tls(_) => Exit::Config,
            Self::Lock { source, .. } => source.exit(),
            Self::Served { .. } => Exit::TempFail,
            Self::Link(LinkError::NoPermission { .. }) => Exit::NoPermission,
            Self::Link(
                LinkError::NotEthernet { .. }
                | LinkError::InvalidEtherType { .. }
                | LinkError::InvalidVlan { .. },
            ) => Exit::Config,
            Self::Link(_) => Exit::Unavailable,
            Self::Store(
                StoreError::Url { .. }
                | StoreError::Access { .. }
                | StoreError::TooNew { .. }
                | StoreError::Outdated { .. }
                | StoreError::Grants { .. },
            ) => Exit::Config,
            Self::Store(_) => Exit::Unavailable,
            Self::Command(source) => source.exit(),
            Self::Identity { .. } | Self::Spool { .. } | Self::System { .. } => Exit::OsError,
        }
    }
}

/// Reads and checks the settings of a daemon.
///
/// # Errors
/// [`StartError::Settings`].
pub fn check_settings(named: Option<&Path>, variable: Option<&Path>) -> Result<Settings, StartError> {
    Ok(Settings::load_for_daemon(named, variable)?)
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// [`StartError`] if it could not start; once started it does not fail.
pub fn run(settings: &Settings) -> Result<(), StartError> {
    let level = logging::init(&settings.log)?;
    let (own, trunks) = (event_loop()?, event_loop()?);
    let (desk, writer) = desk::open();
    let (mut driver, signals) = {
        let _here = own.enter();
        start(settings, &trunks, desk, level)?
    };
    if settings.lock_memory {
        driver.tell_about("memory is locked", priority::lock_memory());
    }
    let realtime = settings.realtime_priority;
    let serve = move || {
        if realtime > 0 {
            driver.tell_about("the trunk's thread runs in real time", priority::raise(realtime));
        }
        trunks.block_on(async move { driver.run(signals).await });
    };
    let thread = std::thread::Builder::new()
        .name("trunk".to_owned())
        .spawn(serve)
        .map_err(|source| StartError::System { what: "start the trunk's thread", source })?;
    // The writer ends when the driver is gone.
    own.block_on(writer.run());
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(())
}

fn event_loop() -> Result<Runtime, StartError> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|source| StartError::System { what: "start an event loop", source })
}

/// To be called within the main thread's event loop; `trunks` is that of the trunk's thread.
fn start(
    settings: &Settings,
    trunks: &Runtime,
    desk: Desk,
    level: LevelHandle,
) -> Result<(Driver, Signals), StartError> {
    let clock = MonotonicClock::start();
    let now = clock.now();
    create_dir(&settings.run_dir)?;
    let lock = RunLock::acquire(&settings.lock_path())
        .map_err(|source| StartError::Lock { trunk: settings.trunk.clone(), source })?;
    let trunk = {
        let _there = trunks.enter();
        Trunk::open(link_config(settings), now)?
    };
    let claim = claim_trunk(&settings.trunk)?;
    let uuid = match settings.uuid {
        Some(uuid) => uuid,
        None => identity::load_or_create(&settings.state_dir, &settings.trunk)
            .map_err(|source| StartError::Identity { path: settings.state_dir.clone(), source })?,
    };
    let listener = CommandListener::bind(&settings.socket_path(), SOCKET_MODE, socket_group())?;
    let config = monitor_config(settings, uuid, &trunk, &clock)?;
    let signals =
        Signals::install().map_err(|source| StartError::System { what: "listen for signals", source })?;
    let store = start_store(settings, uuid, &config, clock)?;
    let policing = Policing::start(settings, clock)
        .map_err(|source| StartError::System { what: "start the policing thread", source })?;
    let canary = match &config.canary {
        Some(identity) => {
            let started =
                CanaryThread::start(settings, identity.clone(), config.mac, &uuid.to_string(), clock);
            Some(started.map_err(|source| StartError::System { what: "start the canary's thread", source })?)
        }
        None => None,
    };
    tracing::info!(hm = %uuid, trunk = %config.trunk, mac = %config.mac, store = %settings.store, "host monitor started");
    let started = StoreTime(i64::try_from(clock.realtime().as_micros()).unwrap_or(i64::MAX)).rfc3339();
    let log_level = logging::chosen(&settings.log);
    let facts = Facts { started, store: settings.store.clone(), store_error: None, log_level };
    // Before the first Hello: nobody that must be authenticated is let in without.
    let mut keeper = keeper(settings);
    let loaded = keeper.load();
    let keys = KeyThread::start(keeper)
        .map_err(|source| StartError::System { what: "start the keys' thread", source })?;
    let secrets = Secrets::new(keys, settings.authentication, settings.key_dir.display().to_string());
    let mut driver = Driver {
        clock,
        monitor: recorded(settings, config, &clock, now),
        trunk,
        store,
        policing,
        secrets,
        listener,
        desk,
        facts,
        level,
        endpoint: Endpoint::start(settings)?,
        canary,
        next_adapter_look: now,
        last_adapter_look: now,
        written: 0,
        committed: 0,
        busy: false,
        stopping: None,
        _lock: lock,
        _claim: claim,
    };
    driver.use_keys(now, loaded);
    Ok((driver, signals))
}

/// A store that is away is no reason not to start: the monitor works by what it kept.
fn start_store(
    settings: &Settings,
    host_monitor: vmpulse_protocol::id::HostMonitorId,
    config: &MonitorConfig,
    clock: MonotonicClock,
) -> Result<StoreThread, StartError> {
    let path = settings.state_dir.clone();
    std::fs::create_dir_all(&path)
        .map_err(|source| StartError::System { what: "create the state directory", source })?;
    let url = settings.store.clone();
    let start = spool_thread::Start {
        open: Box::new(move || vmpulse_store::open(&url)),
        host_monitor,
        incarnation: config.incarnation.to_string(),
        clock,
        spool_path: &settings.spool_path(),
        copy_path: &settings.roster_path(),
    };
    StoreThread::start(start).map_err(|error| match error {
        StoreThreadError::Store(source) => StartError::Store(source),
        StoreThreadError::Thread(source) => StartError::System { what: "start the store's thread", source },
        StoreThreadError::Spool { path, source } => StartError::Spool { path, source },
    })
}

/// A record that cannot be made is no reason not to monitor.
fn recorded(settings: &Settings, config: MonitorConfig, clock: &MonotonicClock, now: Instant) -> Recorded {
    let opening = Opening::now(Daemon::HostMonitor, env!("CARGO_PKG_VERSION"), clock);
    let (name, start) = (format!("hostmon-{}", settings.trunk), Start::of(&config, now));
    let recorder = Recorder::start(&settings.recorder, &name, &opening, &start).unwrap_or_else(|error| {
        let directory = settings.recorder.directory.display();
        tracing::warn!(err = %error, "nothing is recorded: no record can be made in {directory}");
        None
    });
    if let Some(recorder) = &recorder {
        tracing::info!(path = %recorder.path().display(), "everything that happens is recorded");
    }
    Recorded::with(Monitor::new(config, now), recorder)
}

fn keeper(settings: &Settings) -> Keeper {
    let directory = KeyDirectory::new(settings.key_dir.clone());
    Keeper::new(settings.authentication, directory, Marks::new(settings.marks_dir()))
}

/// Two monitors on one trunk would answer every guest twice, also if each has a run directory, and so a lock, of its
/// own. An abstract socket belongs to the network namespace, as the adapter does, and ends with the process.
fn claim_trunk(trunk: &str) -> Result<UnixListener, StartError> {
    let name = format!("vmpulse-hostmond.{trunk}");
    let claimed = SocketAddr::from_abstract_name(name).and_then(|address| UnixListener::bind_addr(&address));
    claimed.map_err(|source| {
        if source.kind() == std::io::ErrorKind::AddrInUse {
            StartError::Served { trunk: trunk.to_owned() }
        } else {
            StartError::System { what: "claim the trunk", source }
        }
    })
}

/// Where the group was not made, the socket is root's alone.
pub(super) fn socket_group() -> Option<&'static str> {
    let known = nix::unistd::Group::from_name(SOCKET_GROUP).ok().flatten();
    known.map(|_| SOCKET_GROUP)
}

fn create_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path)
        .map_err(|source| StartError::System { what: "create the run directory", source })
}

fn link_config(settings: &Settings) -> LinkConfig {
    LinkConfig {
        interface: settings.trunk.clone(),
        ethertype: settings.ethertype,
        vlan: settings.vlan_id(),
        receive_buffer_bytes: settings.receive_buffer_bytes,
        receive: match settings.receive {
            Receive::Ring => ReceiveMethod::Ring(trunk::RING),
            Receive::Batched => ReceiveMethod::Batched,
            Receive::Plain => ReceiveMethod::Plain,
        },
    }
}

fn monitor_config(
    settings: &Settings,
    uuid: vmpulse_protocol::id::HostMonitorId,
    trunk: &Trunk,
    clock: &MonotonicClock,
) -> Result<MonitorConfig, StartError> {
    let gone = || LinkError::InterfaceGone { interface: settings.trunk.clone() };
    let (mac, mtu) = trunk.mac_and_mtu().ok_or_else(gone)?;
    let (seed, nonce_seed) = (random::<8>()?, random::<32>()?);
    let canary = match settings.canary {
        Canary::Off => None,
        Canary::Auto | Canary::On(_) => Some(CanaryIdentity::from_random(&random::<54>()?)),
    };
    let [counter, ..] = seed;
    let realtime = clock.realtime();
    Ok(MonitorConfig {
        identity: HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu },
        incarnation: Incarnation::new(realtime.as_secs(), realtime.subsec_nanos(), counter),
        trunk: settings.trunk.clone(),
        mac,
        vlan: settings.vlan_id(),
        heartbeat_interval_ms: settings.heartbeat_interval_ms,
        quiet_max: settings.quiet_max(),
        store_heartbeat: settings.store_heartbeat_interval(),
        seed: u64::from_ne_bytes(seed),
        nonce_seed,
        authentication: settings.authentication,
        canary,
    })
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    vmpulse_local::random::fill(&mut bytes)
        .map_err(|source| StartError::System { what: "get random numbers", source })?;
    Ok(bytes)
}
