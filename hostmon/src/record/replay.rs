//! A core run again from a record.

use std::time::Duration;

use vmpulse_local::recorder::{Daemon, Ending, Lines, Opened, Opening, ReadError};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::Roster;

use super::line::{Aside, What};
use super::start::Start;
use super::sum::Sum;
use crate::monitor::{Input, Monitor, Output};

/// Outputs of the core that nobody asked for by then; more are not shown in an error.
const SHOWN: usize = 8;

/// Why a replay ends before its record does.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record is another daemon's.
    #[error("it is the record of a {found}, not of a host monitor")]
    Another {
        /// Whose.
        found: Daemon,
    },
    /// What the core was made from cannot be.
    #[error(
        "what the host monitor was started with cannot be: the file was changed, or this program is older"
    )]
    Start,
    /// The core does something else than it did.
    #[error(
        "at {at}, after line {line} ({what}), the core does something else than it did then: {difference}. Either this program \
         is not of the release that wrote the record ({product}), or the core depends on something that is not recorded"
    )]
    Differs {
        /// Lines up to there.
        line: u64,
        /// Its instant.
        at: Instant,
        /// The last input.
        what: String,
        /// In which way.
        difference: String,
        /// Version of the program that wrote the record.
        product: String,
    },
}

/// One line, and what came of it.
#[derive(Debug)]
pub struct Step<'a> {
    /// By the daemon's clock.
    pub at: Instant,
    /// What.
    pub happened: Happened<'a>,
}

/// What happened.
#[derive(Debug)]
pub enum Happened<'a> {
    /// A frame was read.
    Frame {
        /// When it had arrived.
        arrived: Instant,
        /// From whom.
        source: MacAddr,
        /// What follows the Ethernet header.
        payload: &'a [u8],
    },
    /// Writes up to this number are safe.
    Stored {
        /// The number.
        up_to: u64,
        /// They are in the store; otherwise in the spool's file, or already there.
        in_store: bool,
    },
    /// The store did not take its writes.
    StoreFailed(String),
    /// The store takes its writes again.
    StoreBack,
    /// Which VMs are to beat, and how often, in milliseconds.
    Roster(Vec<(VmUuid, u32)>),
    /// The core did what was due. The turn began later than the core had asked for by this much.
    Turn(Duration),
    /// The core wanted this done.
    Outputs(Vec<Output>),
    /// Anything else that the core was told.
    Told(String),
}

/// See the module.
#[derive(Debug)]
pub struct Replay<'a> {
    opening: Opening,
    start: Start,
    core: Monitor,
    lines: Lines<'a, What<'a>>,
    roster: Roster,
    /// The next writes that are called safe are so in the spool's file.
    kept: bool,
    /// What the core was told last.
    last: String,
    /// Of the turn that began.
    late: Option<Duration>,
    /// A turn is over, and what came of it was not said: nothing did.
    quiet: bool,
}

impl<'a> Replay<'a> {
    /// Makes the core as it was made then.
    ///
    /// # Errors
    /// [`ReplayError`], but for [`ReplayError::Differs`].
    pub fn new(opened: Opened<'a>) -> Result<Self, ReplayError> {
        let opening = opened.opening.clone();
        if opening.daemon != Daemon::HostMonitor {
            return Err(ReplayError::Another { found: opening.daemon });
        }
        let (start, lines): (Start, _) = opened.start()?;
        let core = start.core().ok_or(ReplayError::Start)?;
        Ok(Self {
            opening,
            start,
            core,
            lines,
            roster: Roster::default(),
            kept: false,
            last: "its start".to_owned(),
            late: None,
            quiet: false,
        })
    }

    /// What it was made from.
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// How its record begins.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The core as it is now.
    #[must_use]
    pub const fn core(&self) -> &Monitor {
        &self.core
    }

    /// After the last step: how the record ends. `None`: its process was killed.
    #[must_use]
    pub const fn ending(&self) -> Option<&(Instant, Ending)> {
        self.lines.ending()
    }

    /// After the last step: bytes that are no sound part of the record.
    #[must_use]
    pub const fn torn_bytes(&self) -> usize {
        self.lines.torn_bytes()
    }

    /// Lines so far.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines.number()
    }

    /// Instant of the last line so far.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.lines.at()
    }

    /// The next line.
    ///
    /// # Errors
    /// [`ReplayError::Read`] and [`ReplayError::Differs`]: there is no next step.
    pub fn step(&mut self) -> Option<Result<Step<'a>, ReplayError>> {
        let (at, what) = match self.lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error.into())),
        };
        Some(self.take(at, what).map(|happened| Step { at, happened }))
    }

    fn take(&mut self, at: Instant, what: What<'a>) -> Result<Happened<'a>, ReplayError> {
        if let What::Outputs { count, sum, more } = what {
            self.quiet = false;
            return self.outputs(at, count, sum, more).map(Happened::Outputs);
        }
        self.nothing_came(at)?;
        if self.late.is_none() {
            // What is read first may move what was due.
            self.late = self.core.poll_timeout().map(|due| at.since(due)).or(Some(Duration::ZERO));
        }
        if what == What::Turn {
            return Ok(self.turn(at));
        }
        let What::Aside(aside) = what else { return Ok(self.input(at, what)) };
        Ok(match aside {
            Aside::Kept => {
                self.kept = true;
                Happened::Told("writes are in the spool's file".to_owned())
            }
            Aside::StoreFailed(error) => Happened::StoreFailed(error),
        })
    }

    fn turn(&mut self, at: Instant) -> Happened<'a> {
        let late = self.late.take().unwrap_or_default();
        self.core.handle_timeout(at);
        let _ = self.core.take_question(at);
        "a turn".clone_into(&mut self.last);
        self.quiet = true;
        Happened::Turn(late)
    }

    fn input(&mut self, at: Instant, what: What<'a>) -> Happened<'a> {
        let text = what.to_string();
        let Some(input) = what.input(at, &self.roster) else { return Happened::Told(text) };
        let happened = match &input {
            Input::Frame { arrived, source, payload, .. } => {
                Happened::Frame { arrived: *arrived, source: *source, payload }
            }
            Input::Stored { up_to } => {
                Happened::Stored { up_to: *up_to, in_store: !std::mem::take(&mut self.kept) }
            }
            Input::StoreReachable(true) => Happened::StoreBack,
            Input::Roster(roster) => {
                self.roster = roster.clone();
                Happened::Roster(self.intervals())
            }
            Input::Standings(_)
            | Input::Keys(_)
            | Input::KeyProblem(_)
            | Input::NotTaken { .. }
            | Input::Quiet(_)
            | Input::StoreReachable(false)
            | Input::StoreClockStepped
            | Input::Dropped(_)
            | Input::Heard { .. }
            | Input::Adapter(_)
            | Input::AdapterIs(_)
            | Input::Canary(_)
            | Input::Readdressed { .. }
            | Input::Shutdown => Happened::Told(text.clone()),
        };
        self.core.handle_input(at, input);
        self.last = text;
        happened
    }

    fn intervals(&self) -> Vec<(VmUuid, u32)> {
        let usual = self.roster.settings.heartbeat_interval_ms.unwrap_or(self.start.heartbeat_interval_ms());
        let all = self.roster.vms.iter().chain(&self.roster.visiting);
        all.map(|vm| (vm.uuid, vm.heartbeat_interval_ms.unwrap_or(usual))).collect()
    }

    fn outputs(
        &mut self,
        at: Instant,
        count: u32,
        expected: u32,
        more: bool,
    ) -> Result<Vec<Output>, ReplayError> {
        let (mut sum, mut outputs) = (Sum::new(self.core.config()), Vec::new());
        while outputs.len() < count as usize
            && let Some(output) = self.core.poll_output()
        {
            if sum.add(&output) {
                outputs.push(output);
            }
        }
        if sum.take() != Some((count, expected)) {
            let difference = format!(
                "{count} outputs of checksum {expected:08x} are recorded, and now there are: {}",
                shown(&outputs)
            );
            return Err(self.differs(at, difference));
        }
        if !more {
            self.nothing_more(at)?;
        }
        Ok(outputs)
    }

    /// After a turn without a line about outputs.
    fn nothing_came(&mut self, at: Instant) -> Result<(), ReplayError> {
        if std::mem::take(&mut self.quiet) { self.nothing_more(at) } else { Ok(()) }
    }

    fn nothing_more(&mut self, at: Instant) -> Result<(), ReplayError> {
        let (mut sum, mut outputs) = (Sum::new(self.core.config()), Vec::new());
        while outputs.len() <= SHOWN
            && let Some(output) = self.core.poll_output()
        {
            if sum.add(&output) {
                outputs.push(output);
            }
        }
        if outputs.is_empty() {
            return Ok(());
        }
        let difference = format!("nothing more is recorded, and now there are: {}", shown(&outputs));
        Err(self.differs(at, difference))
    }

    fn differs(&self, at: Instant, difference: String) -> ReplayError {
        ReplayError::Differs {
            line: self.lines.number(),
            at,
            what: self.last.clone(),
            difference,
            product: self.opening.product.clone(),
        }
    }
}

fn shown(outputs: &[Output]) -> String {
    let texts: Vec<String> = outputs.iter().take(SHOWN).map(|output| format!("{output:?}")).collect();
    let rest = outputs.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!(", and {rest} more") } else { String::new() };
    format!("[{}]{more}", texts.join(", "))
}
