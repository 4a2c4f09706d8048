//! A controller run again from a record.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::DeserializeOwned;
use vmpulse_local::recorder::{Daemon, Ending, Lines, Opened, Opening, ReadError};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::StoreError;

use super::Start;
use super::line::{What, sum};
use super::lock;
use crate::controller::Controller;
use crate::schedule::Poll;

/// Why a replay ends before its record does.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record is another daemon's.
    #[error("it is the record of a {found}, not of a controller")]
    Another {
        /// Whose.
        found: Daemon,
    },
    /// The core does something else than it did.
    #[error(
        "at {at}, after line {line}, the core does something else than it did then: {difference}. Either this program is not \
         of the release that wrote the record ({product}), or the core depends on something that is not recorded"
    )]
    Differs {
        /// Lines up to there.
        line: u64,
        /// Its instant.
        at: Instant,
        /// In which way.
        difference: String,
        /// Version of the program that wrote the record.
        product: String,
    },
}

/// What a controller found, as it told the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An event, recorded for the first time.
    Told {
        /// `VM_FAILURE_DETECTED`.
        name: String,
        /// Of which incident.
        incident: String,
    },
    /// An incident is over; also if it was.
    Closed(String),
    /// It says this of a VM.
    Phase(VmUuid, String),
    /// The store did not answer it.
    Failed(String),
    /// A turn, in which the store answered, is over.
    Turned,
}

/// See the module.
#[derive(Debug)]
pub struct Replay<'a> {
    opening: Opening,
    start: Start,
    core: Controller,
    shared: Shared<'a>,
}

#[derive(Debug)]
struct Shared<'a> {
    lines: Mutex<Lines<'a, What<'a>>>,
    findings: Mutex<Vec<(Instant, Finding)>>,
    trouble: Mutex<Option<Trouble>>,
    /// The record ends within a turn.
    over: AtomicBool,
}

#[derive(Debug)]
enum Trouble {
    Read(ReadError),
    Differs(String),
}

impl<'a> Replay<'a> {
    /// Makes the core as it was made then.
    ///
    /// # Errors
    /// [`ReplayError`], but for [`ReplayError::Differs`].
    pub fn new(opened: Opened<'a>) -> Result<Self, ReplayError> {
        let opening = opened.opening.clone();
        if opening.daemon != Daemon::Controller {
            return Err(ReplayError::Another { found: opening.daemon });
        }
        let (start, lines): (Start, _) = opened.start()?;
        let core = Controller::new(start.heartbeat.clone());
        let shared = Shared {
            lines: Mutex::new(lines),
            findings: Mutex::default(),
            trouble: Mutex::default(),
            over: AtomicBool::new(false),
        };
        Ok(Self { opening, start, core, shared })
    }

    /// How its record begins.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// What the controller was made of.
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// After the last step: how the record ends. `None`: its process was killed.
    #[must_use]
    pub fn ending(&self) -> Option<(Instant, Ending)> {
        lock(&self.shared.lines).ending().cloned()
    }

    /// After the last step: bytes that are no sound part of the record.
    #[must_use]
    pub fn torn_bytes(&self) -> usize {
        lock(&self.shared.lines).torn_bytes()
    }

    /// Lines so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        lock(&self.shared.lines).number()
    }

    /// Instant of the last line so far.
    #[must_use]
    pub fn at(&self) -> Instant {
        lock(&self.shared.lines).at()
    }

    /// What came of the next turn, or of whatever else the core was told.
    ///
    /// # Errors
    /// [`ReplayError::Read`] and [`ReplayError::Differs`]: there is no next step.
    pub fn step(&mut self) -> Option<Result<Vec<(Instant, Finding)>, ReplayError>> {
        let (at, what) = self.shared.next()?;
        match what {
            What::Turn { attention } => self.turn(if attention { Poll::Attention } else { Poll::Quick }),
            What::Reports => {
                let outcome = self.core.reports(&mut Playback { shared: &self.shared }, at);
                self.shared.done(&outcome);
            }
            What::Failure(text) => {
                self.core.on_failure(at);
                if !text.is_empty() {
                    self.shared.find(at, Finding::Failed(text.into_owned()));
                }
            }
            What::Clock | What::Call { .. } | What::Done(_) => {
                self.shared.differs("a line stands outside of any turn".to_owned());
            }
        }
        let findings = std::mem::take(&mut *lock(&self.shared.findings));
        Some(match lock(&self.shared.trouble).take() {
            Some(Trouble::Read(error)) => Err(error.into()),
            Some(Trouble::Differs(difference)) => Err(ReplayError::Differs {
                line: self.lines(),
                at: self.at(),
                difference,
                product: self.opening.product.clone(),
            }),
            None => Ok(findings),
        })
    }

    fn turn(&mut self, poll: Poll) {
        let shared = &self.shared;
        let clock = || match shared.next() {
            Some((at, What::Clock)) => at,
            Some((at, what)) => {
                shared.differs(format!("it reads the clock, and then it did {what:?}"));
                at
            }
            None => {
                shared.over.store(true, Ordering::Relaxed);
                lock(&shared.lines).at()
            }
        };
        let outcome = self.core.turn(&mut Playback { shared }, &clock, poll);
        shared.done(&outcome);
    }
}

impl<'a> Shared<'a> {
    fn next(&self) -> Option<(Instant, What<'a>)> {
        // What follows a difference says nothing.
        if lock(&self.trouble).is_some() {
            return None;
        }
        match lock(&self.lines).next()? {
            Ok(line) => Some(line),
            Err(error) => {
                lock(&self.trouble).get_or_insert(Trouble::Read(error));
                None
            }
        }
    }

    fn differs(&self, difference: String) {
        lock(&self.trouble).get_or_insert(Trouble::Differs(difference));
    }

    fn find(&self, at: Instant, finding: Finding) {
        lock(&self.findings).push((at, finding));
    }

    /// A record that ends within a turn is no difference.
    fn done<T: std::fmt::Debug>(&self, outcome: &Result<T, StoreError>) {
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        match self.next() {
            Some((at, What::Done(recorded))) => {
                if recorded != outcome.as_ref().ok().map(sum) {
                    self.differs(format!("the turn ends with {outcome:?}"));
                }
                if outcome.is_ok() {
                    self.find(at, Finding::Turned);
                }
            }
            Some((_, what)) => self.differs(format!("its turn is over, and then it did {what:?}")),
            None => {}
        }
    }
}

/// A store that answers what was recorded.
pub(super) struct Playback<'a, 'b> {
    shared: &'b Shared<'a>,
}

impl Playback<'_, '_> {
    pub(super) fn answer<T: DeserializeOwned>(&self, asks: &str, with: u32) -> Result<T, StoreError> {
        match self.shared.next() {
            Some((_, What::Call { name, asked, answer })) if name == asks && asked == with => {
                answer.again().unwrap_or_else(|error| {
                    self.shared.differs(format!("the answer to {name} cannot be understood: {error}"));
                    Err(unanswered())
                })
            }
            Some((_, What::Call { name, .. })) if name == asks => {
                self.shared.differs(format!("it asks {asks} with other arguments"));
                Err(unanswered())
            }
            Some((_, what)) => {
                self.shared.differs(format!("it asks {asks}, and then it did {what:?}"));
                Err(unanswered())
            }
            None => {
                self.shared.over.store(true, Ordering::Relaxed);
                Err(unanswered())
            }
        }
    }

    pub(super) fn unrecorded<T>(&self, asks: &str) -> Result<T, StoreError> {
        self.shared.differs(format!("it asks {asks}, which is not recorded"));
        Err(unanswered())
    }

    pub(super) fn find(&self, findings: Vec<Finding>) {
        let at = lock(&self.shared.lines).at();
        findings.into_iter().for_each(|finding| self.shared.find(at, finding));
    }
}

fn unanswered() -> StoreError {
    StoreError::Backend("the record has no answer".into())
}
