//! Whether and where the daemon records what happens.

use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::recorder::{Daemon, Opening, Recorder, RecorderSettings};

use crate::record::{Beginning, Recording};

/// Name of the daemon in the names of its files.
const NAME: &str = "agent";

/// A record that cannot be made is no reason not to beat.
pub(super) fn begin(
    settings: &RecorderSettings,
    clock: &MonotonicClock,
    beginning: &Beginning<'_>,
) -> Recording {
    Recording::begin(settings.is_on(), beginning, |start| {
        let opening = Opening::now(Daemon::Agent, env!("CARGO_PKG_VERSION"), clock);
        let recorder = Recorder::start(settings, NAME, &opening, start).unwrap_or_else(|error| {
            tracing::warn!(err = %error, "nothing is recorded");
            None
        });
        if let Some(recorder) = &recorder {
            tracing::info!(path = %recorder.path().display(), "everything that happens is recorded");
        }
        recorder
    })
}
