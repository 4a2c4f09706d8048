//! Says what is being done once it takes longer than somebody likes to wait without a word.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two words.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends with its value.
pub(super) struct Progress {
    step: Arc<Mutex<String>>,
    _ends: Sender<()>,
}

impl Progress {
    pub(super) fn begin() -> Self {
        let step = Arc::new(Mutex::new(String::new()));
        let (ends, ended) = channel::<()>();
        let shown = Arc::clone(&step);
        std::thread::spawn(move || {
            while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let step = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let _closed = writeln!(std::io::stderr(), "hmmgr: still looking at {step}");
            }
        });
        Self { step, _ends: ends }
    }

    pub(super) fn step(&self, what: impl Into<String>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }
}
