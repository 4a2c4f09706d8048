//! The trace: every event with its time, hashed; the last of them kept.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};
use vmpulse_protocol::time::Instant;

use crate::event::Event;

/// What a failing seed is cut to.
pub const LAST: usize = 50;

/// What becomes of each line.
pub type Sink<'a> = Box<dyn FnMut(&str) + 'a>;

/// See the module.
pub struct Trace<'a> {
    hash: Sha256,
    last: VecDeque<String>,
    /// Something was found: what led to it is kept, and not what came after.
    kept: bool,
    sink: Option<Sink<'a>>,
    events: u64,
}

impl<'a> Trace<'a> {
    /// Gives every line that is no detail to `sink` as well.
    #[must_use]
    pub fn new(sink: Option<Sink<'a>>) -> Self {
        Self { hash: Sha256::new(), last: VecDeque::new(), kept: false, sink, events: 0 }
    }

    /// An event happened.
    pub fn push(&mut self, at: Instant, event: &Event) {
        self.events += 1;
        self.hash.update(at.as_nanos().to_be_bytes());
        if let Event::Beat { vm, hm, arrived, .. } = event {
            // As every frame is hashed anyway: most events are these, and to print them takes longer than to make them.
            let numbers = [vm.0 as u64, hm.host as u64, hm.trunk as u64, arrived.as_nanos()];
            return numbers.iter().for_each(|number| self.hash.update(number.to_be_bytes()));
        }
        let text = event.to_string();
        self.hash.update(text.as_bytes());
        if event.is_detail() {
            return;
        }
        let line = line(at, &text);
        if let Some(sink) = &mut self.sink {
            sink(&line);
        }
        if self.kept {
            return;
        }
        if self.last.len() >= LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// A frame was sent.
    pub fn push_frame(&mut self, at: Instant, payload: &[u8]) {
        self.hash.update(at.as_nanos().to_be_bytes());
        self.hash.update(payload);
    }

    /// How many events there were.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Of everything so far, as hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash.clone().finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Something was found just now: the last lines stay those that led to it.
    pub const fn keep(&mut self) {
        self.kept = true;
    }

    /// The last lines, until something was found.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}

/// As it is printed.
#[must_use]
pub fn line(at: Instant, text: &str) -> String {
    let ms = at.as_nanos() / 1_000_000;
    format!("{:>7}.{:03} {text}", ms / 1000, ms % 1000)
}
