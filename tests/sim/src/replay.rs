//! What real daemons recorded, as events: the checkers that judge the simulator's world judge it too.
//!
//! Each record is replayed by the core that it is of; what the core is told and what it does becomes the same events as in the
//! simulator, and its outputs are held against those that are recorded. Several records become one stream, by the
//! monotonic clock if all are of one boot of one machine, and by the wall clock otherwise.

mod controller;
mod guest;
pub mod judge;
mod monitor;
mod names;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use vmpulse_agent::guardian::record::{GuardianRecording, Start as GuardianStart};
use vmpulse_agent::record::{ReplayError as AgentError, Start as AgentStart};
use vmpulse_controller::record::{ReplayError as ControllerError, Start as ControllerStart};
use vmpulse_hostmon::monitor::MonitorConfig;
use vmpulse_hostmon::record::{ReplayError, Start};
use vmpulse_local::recorder::{self, Daemon, Ending, Opening, ReadError, Recorder, RecorderSettings};
use vmpulse_protocol::time::Instant;
use vmpulse_store::ControllerHeartbeat;

use crate::event::Event;
use crate::names::{Hm, Vm};
pub use names::Names;

/// Which clock the instants of a stream are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeline {
    /// CLOCK_MONOTONIC of the one boot that all records are of.
    Monotonic,
    /// The wall clock, as nanoseconds since the Unix epoch, as each daemon read it at its start.
    Wall,
}

/// One record, replayed.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The file.
    pub path: PathBuf,
    /// How it begins.
    pub opening: Opening,
    /// Lines of it.
    pub lines: u64,
    /// How it ends; `None`: the process was killed, or runs.
    pub ending: Option<Ending>,
    /// Bytes at its end that are no sound part of it.
    pub torn_bytes: usize,
    /// What happened, by the daemon's own clock.
    pub events: Vec<(Instant, Event)>,
}

/// Several records together.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What happened, in its order.
    pub events: Vec<(Instant, Event)>,
    /// What its instants are.
    pub timeline: Timeline,
    /// The records, without their events.
    pub records: Vec<Replayed>,
}

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file cannot be read at all.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its bytes are not what they should be, or the core does something else.
    #[error("{}: {source}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: Box<Cause>,
    },
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It is none.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Of a host monitor.
    #[error(transparent)]
    HostMonitor(#[from] ReplayError),
    /// Of a controller.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// Of an agent or a guardian.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl Failure {
    /// Whether the file was sound and the core did something else than it had done: something is wrong with the product, or the
    /// release is another one.
    #[must_use]
    pub fn is_difference(&self) -> bool {
        match self {
            Self::File { .. } => false,
            Self::Record { source, .. } => match &**source {
                Cause::HostMonitor(error) => matches!(error, ReplayError::Differs { .. }),
                Cause::Controller(error) => matches!(error, ControllerError::Differs { .. }),
                Cause::Agent(error) => matches!(error, AgentError::Differs { .. }),
                Cause::Read(_) => false,
            },
        }
    }
}

/// Replays these records, and makes one stream of them.
///
/// # Errors
/// [`Failure`], of the first file that there is one of.
pub fn events(files: &[PathBuf], names: &mut Names) -> Result<Stream, Failure> {
    let records = files.iter().map(|path| one(path, names)).collect::<Result<Vec<_>, _>>()?;
    Ok(merge(records))
}

/// Replays one record.
///
/// # Errors
/// [`Failure`].
pub fn one(path: &Path, names: &mut Names) -> Result<Replayed, Failure> {
    let bytes = std::fs::read(path).map_err(|source| Failure::File { path: path.to_owned(), source })?;
    of_bytes(path, &bytes, names)
        .map_err(|source| Failure::Record { path: path.to_owned(), source: Box::new(source) })
}

fn of_bytes(path: &Path, bytes: &[u8], names: &mut Names) -> Result<Replayed, Cause> {
    let opened = recorder::open(bytes)?;
    match opened.opening.daemon {
        Daemon::HostMonitor => Ok(monitor::replay(path, opened, names)?),
        Daemon::Controller => Ok(controller::replay(path, opened, names)?),
        Daemon::Agent => Ok(guest::replay_agent(path, opened, names)?),
        Daemon::Guardian => Ok(guest::replay_guardian(path, opened, names)?),
    }
}

/// Whether this is a record, and no plan: by its first bytes.
///
/// # Errors
/// The file cannot be read.
pub fn is_record(path: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let mut beginning = Vec::new();
    std::fs::File::open(path)?.take(8).read_to_end(&mut beginning)?;
    // One that was never begun is no plan either.
    Ok(beginning.is_empty() || recorder::is_record(&beginning))
}

/// For a simulated host monitor.
pub(crate) fn recorder(directory: &Path, hm: Hm, config: &MonitorConfig, own: Instant) -> Option<Recorder> {
    let name = format!("{hm}-{}", config.incarnation);
    start(directory, &name, Daemon::HostMonitor, &Start::of(config, own))
}

/// For a simulated controller that is started now.
pub(crate) fn controller_recorder(
    directory: &Path,
    now: Instant,
    heartbeat: &ControllerHeartbeat,
    own: Instant,
) -> Option<Recorder> {
    let start_with = ControllerStart { at_ns: own.as_nanos(), heartbeat: heartbeat.clone() };
    start(directory, &format!("controller-{:020}", now.as_nanos()), Daemon::Controller, &start_with)
}

/// For an agent's life.
pub(crate) fn agent_recorder(
    directory: &Path,
    vm: Vm,
    life: u64,
    start_with: &AgentStart,
) -> Option<Recorder> {
    start(directory, &format!("agent-{vm}-{life:06}"), Daemon::Agent, start_with)
}

/// For a guardian that is started now, for this life of its agent.
pub(crate) fn guardian_recorder(
    directory: &Path,
    vm: Vm,
    life: u64,
    now: Instant,
) -> Option<GuardianRecording> {
    let start_with = GuardianStart { at_ns: now.as_nanos(), vm: vm.uuid().to_string() };
    let recorder = start(directory, &format!("guardian-{vm}-{life:06}"), Daemon::Guardian, &start_with);
    recorder.map(GuardianRecording::new)
}

fn start(directory: &Path, name: &str, daemon: Daemon, with: &impl serde::Serialize) -> Option<Recorder> {
    let settings =
        RecorderSettings { directory: directory.to_owned(), keep: 10_000, ..RecorderSettings::default() };
    let opening = Opening {
        daemon,
        product: env!("CARGO_PKG_VERSION").to_owned(),
        boot: "simulated".to_owned(),
        monotonic_ns: 0,
        realtime_ns: 0,
    };
    Recorder::start(&settings, name, &opening, with).ok().flatten()
}

fn merge(mut records: Vec<Replayed>) -> Stream {
    let boot = |record: &Replayed| record.opening.boot.clone();
    let first = records.first().map(boot).unwrap_or_default();
    let one_boot = !first.is_empty() && records.iter().all(|record| boot(record) == first);
    let timeline = if one_boot { Timeline::Monotonic } else { Timeline::Wall };
    let mut events = Vec::new();
    for record in &mut records {
        let origin = match timeline {
            Timeline::Monotonic => record.opening.monotonic_ns,
            Timeline::Wall => record.opening.realtime_ns,
        };
        events.extend(
            record.events.drain(..).map(|(at, event)| (shifted(at, origin), at_origin(event, origin))),
        );
    }
    // Stable: what one daemon did stays in its order.
    events.sort_by_key(|(at, _)| *at);
    keep_what_closes(&mut events);
    Stream { events, timeline, records }
}

/// A controller closes incidents whether they are open or not: only what was open, of whichever start, is closed by that.
fn keep_what_closes(events: &mut Vec<(Instant, Event)>) {
    let mut open = std::collections::BTreeSet::new();
    events.retain(|(_, event)| {
        if let Event::Told { incident, .. } = event {
            open.insert(incident.clone());
        }
        if let Event::Closed(incident) = event { open.remove(incident) } else { true }
    });
}

fn shifted(at: Instant, origin: u64) -> Instant {
    Instant::from_nanos(at.as_nanos().saturating_add(origin))
}

/// Heartbeats have an instant of their own.
fn at_origin(mut event: Event, origin: u64) -> Event {
    if let Event::Beat { arrived, .. } = &mut event {
        *arrived = shifted(*arrived, origin);
    }
    event
}
