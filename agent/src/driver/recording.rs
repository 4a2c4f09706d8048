//! The cores as the daemon begins, and whether and where it records what happens to them.

use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::recorder::{Daemon, Opening, Recorder, RecorderSettings};
use vmpulse_protocol::time::Instant;

use crate::ame::{Ame, Past};
use crate::config::Configuration;
use crate::guardian::keeper::PathKeeper;
use crate::record::{Beginning, RecordedEngine, RecordedTrunks, Recording, Start};
use crate::trunks::{Trunks, TrunksConfig};

/// Name of the daemon in the names of its files.
const NAME: &str = "agent";

/// What the cores are made of.
pub(super) struct MadeOf {
    pub(super) trunks: TrunksConfig,
    pub(super) keeper: Option<PathKeeper>,
    pub(super) configuration: Configuration,
    pub(super) past: Past,
}

/// Both, and where they are recorded.
pub(super) struct Cores {
    pub(super) trunks: RecordedTrunks,
    pub(super) engine: RecordedEngine,
    pub(super) recording: Recording,
}

pub(super) fn cores(
    settings: &RecorderSettings,
    clock: &MonotonicClock,
    now: Instant,
    made_of: MadeOf,
) -> Cores {
    let MadeOf { trunks: config, keeper, configuration, past } = made_of;
    let beginning = Beginning {
        at: now,
        trunks: &config,
        kept: keeper.is_some(),
        configuration: &configuration,
        past: &past,
    };
    let recording = Recording::begin(settings.is_on(), &beginning, |start| recorder(settings, clock, start));
    let mut trunks = Trunks::new(config, now);
    if let Some(mut keeper) = keeper {
        if let Some(draws) = recording.draws() {
            keeper.see_draws(draws);
        }
        trunks.keep_with(keeper);
    }
    Cores {
        trunks: RecordedTrunks::new(trunks, recording.clone()),
        engine: RecordedEngine::new(Ame::new(configuration, &past, now), recording.clone()),
        recording,
    }
}

/// A record that cannot be made is no reason not to beat.
fn recorder(settings: &RecorderSettings, clock: &MonotonicClock, start: &Start) -> Option<Recorder> {
    let opening = Opening::now(Daemon::Agent, env!("CARGO_PKG_VERSION"), clock);
    let recorder = Recorder::start(settings, NAME, &opening, start).unwrap_or_else(|error| {
        tracing::warn!(err = %error, "nothing is recorded");
        None
    });
    if let Some(recorder) = &recorder {
        tracing::info!(path = %recorder.path().display(), "everything that happens is recorded");
    }
    recorder
}
