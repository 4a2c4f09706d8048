//! What real daemons recorded, as events: the checkers that judge the simulator's world judge it too.
//!
//! Each record is replayed by the core that it is of; what the core is told and what it does becomes the same events as in the
//! simulator, and its outputs are held against those that are recorded. Several records become one stream, by the
//! monotonic clock if all are of one boot of one machine, and by the wall clock otherwise.

pub mod judge;
mod monitor;
mod names;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use vmpulse_hostmon::monitor::MonitorConfig;
use vmpulse_hostmon::record::{ReplayError, Start};
use vmpulse_local::recorder::{self, Daemon, Ending, Opening, Recorder, RecorderSettings};
use vmpulse_protocol::time::Instant;

use crate::event::Event;
use crate::names::Hm;
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
        source: Box<ReplayError>,
    },
}

impl Failure {
    /// Whether the file was sound and the core did something else than it had done: something is wrong with the product, or the
    /// release is another one.
    #[must_use]
    pub fn is_difference(&self) -> bool {
        match self {
            Self::File { .. } => false,
            Self::Record { source, .. } => matches!(**source, ReplayError::Differs { .. }),
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

fn of_bytes(path: &Path, bytes: &[u8], names: &mut Names) -> Result<Replayed, ReplayError> {
    let opened = match recorder::open(bytes) {
        Ok(opened) => opened,
        Err(error) => return Err(ReplayError::Read(error)),
    };
    match opened.opening.daemon {
        Daemon::HostMonitor => monitor::replay(path, opened, names),
        found @ (Daemon::Agent | Daemon::Controller) => Err(ReplayError::Another { found }),
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
    let settings =
        RecorderSettings { directory: directory.to_owned(), keep: 10_000, ..RecorderSettings::default() };
    let opening = Opening {
        daemon: Daemon::HostMonitor,
        product: env!("CARGO_PKG_VERSION").to_owned(),
        boot: "simulated".to_owned(),
        monotonic_ns: 0,
        realtime_ns: 0,
    };
    let name = format!("{hm}-{}", config.incarnation);
    Recorder::start(&settings, &name, &opening, &Start::of(config, own)).ok().flatten()
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
    Stream { events, timeline, records }
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
