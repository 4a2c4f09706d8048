//! An agent's cores run again from a record.

use std::sync::Arc;
use std::time::Duration;

use vmpulse_local::recorder::{Daemon, Ending, Lines, Opened, Opening, ReadError};
use vmpulse_protocol::time::Instant;

use super::draws::Draws;
use super::line::{Given, What};
use super::start::Start;
use super::sum::Sum;
use crate::ame::{Ame, AmeOutput};
use crate::trunks::{TrunkInput, TrunkOutput, Trunks};

/// Outputs of the cores that nobody asked for by then; more are not shown in an error.
const SHOWN: usize = 8;

/// Why a replay ends before its record does. Also of a guardian's record.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record is another daemon's.
    #[error("its daemon is the {found}, not the {wanted}")]
    Another {
        /// Whose.
        found: Daemon,
        /// Whose it should be.
        wanted: Daemon,
    },
    /// What a core was made from cannot be, or what it was told.
    #[error("what the {daemon} was told cannot be ({what}): the file was changed, or this program is older")]
    Unfit {
        /// Whose.
        daemon: Daemon,
        /// What.
        what: String,
    },
    /// A core does something else than it did.
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
pub struct Step {
    /// By the daemon's clock.
    pub at: Instant,
    /// What.
    pub happened: Happened,
}

/// What happened.
#[derive(Debug)]
pub enum Happened {
    /// Monitoring was suspended, or resumed, by the administrator.
    Suspended(bool),
    /// A silence of this length was announced; zero: it is over.
    Quiet(Duration),
    /// The agent or the guest is being stopped.
    Shutdown,
    /// The cores wanted this done.
    Outputs(Vec<Output>),
    /// Anything else that the cores were told.
    Told(String),
}

/// What a core wanted done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The engine.
    Engine(AmeOutput),
    /// The trunks.
    Trunks(TrunkOutput),
}

/// See the module.
#[derive(Debug)]
pub struct Replay<'a> {
    opening: Opening,
    start: Start,
    trunks: Trunks,
    engine: Ame,
    pub(super) draws: Arc<Draws>,
    lines: Lines<'a, What<'a>>,
    /// A line that was read already.
    ahead: Option<Result<(Instant, What<'a>), ReadError>>,
    /// What the cores were told last.
    last: String,
    /// Then everything was carried out, and what came of it was not said: nothing did.
    quiet: bool,
}

impl<'a> Replay<'a> {
    /// Makes the cores as they were made then.
    ///
    /// # Errors
    /// [`ReplayError`], but for [`ReplayError::Differs`].
    pub fn new(opened: Opened<'a>) -> Result<Self, ReplayError> {
        let opening = opened.opening.clone();
        if opening.daemon != Daemon::Agent {
            return Err(ReplayError::Another { found: opening.daemon, wanted: Daemon::Agent });
        }
        let (start, lines): (Start, _) = opened.start()?;
        let draws = Arc::new(Draws::replayed());
        let (trunks, engine) = start.cores(&draws).ok_or_else(|| unfit("its start".to_owned()))?;
        let last = "its start".to_owned();
        Ok(Self { opening, start, trunks, engine, draws, lines, ahead: None, last, quiet: false })
    }

    /// What they were made from.
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// How the record begins.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The trunks as they are now.
    #[must_use]
    pub const fn trunks(&self) -> &Trunks {
        &self.trunks
    }

    /// The engine as it is now.
    #[must_use]
    pub const fn engine(&self) -> &Ame {
        &self.engine
    }

    /// The lines: how many, when the last one was, how they end.
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
    /// There is no next step.
    pub fn step(&mut self) -> Option<Result<Step, ReplayError>> {
        let line = self.ahead.take().or_else(|| self.lines.next())?;
        Some(line.map_err(Into::into).and_then(|(at, what)| {
            let happened = self.take(at, what)?;
            Ok(Step { at, happened })
        }))
    }

    fn take(&mut self, at: Instant, what: What<'a>) -> Result<Happened, ReplayError> {
        if let What::Outputs { count, sum, more } = what {
            self.quiet = false;
            return self.outputs(at, count, sum, more).map(Happened::Outputs);
        }
        // Told while what came of a turn is carried out, or in the same turn: there may be more.
        let within = matches!(what, What::Rounds | What::Ring(_) | What::Report { .. });
        if !within && std::mem::take(&mut self.quiet) {
            self.nothing_more(at)?;
        }
        self.quiet = within || what == What::Turn;
        self.expect_draws();
        self.last = what.to_string();
        let given = what.given().ok_or_else(|| unfit(self.last.clone()))?;
        Ok(self.give(at, given))
    }

    /// Which numbers the line draws is said after it.
    fn expect_draws(&mut self) {
        self.ahead = self.lines.next();
        let mut expected = Vec::new();
        if let Some(Ok((_, What::Drew(jumps)))) = &mut self.ahead {
            expected = std::mem::take(jumps);
            self.ahead = None;
        }
        self.draws.expect(expected);
    }

    fn give(&mut self, at: Instant, given: Given<'_>) -> Happened {
        let told = Happened::Told(self.last.clone());
        match given {
            Given::Trunks(input) => {
                let happened = announced(&input).unwrap_or(told);
                self.trunks.handle_input(at, input);
                return happened;
            }
            Given::Engine(input) => self.engine.handle_input(at, input),
            // What the one who ordered was told is of no matter here.
            Given::Order(order, name) => drop(self.engine.handle_order(at, order, &name)),
            Given::Authentication(authentication) => self.trunks.handle_authentication(at, authentication),
            Given::Silenced(why) => self.trunks.handle_silenced(at, why.as_deref()),
            Given::Entropy(entropy) => self.trunks.handle_entropy(&entropy),
            Given::Turn => self.trunks.handle_timeout(at),
            Given::Rounds => self.engine.handle_timeout(at),
        }
        told
    }

    fn poll_output(&mut self) -> Option<Output> {
        let engine = self.engine.poll_output().map(Output::Engine);
        engine.or_else(|| self.trunks.poll_output().map(Output::Trunks))
    }

    fn outputs(
        &mut self,
        at: Instant,
        count: u32,
        expected: u32,
        more: bool,
    ) -> Result<Vec<Output>, ReplayError> {
        let (mut sum, mut outputs) = (Sum::default(), Vec::new());
        while outputs.len() < count as usize
            && let Some(output) = self.poll_output()
        {
            match &output {
                Output::Engine(output) => sum.add_engine(output),
                Output::Trunks(output) => sum.add_trunks(output),
            }
            outputs.push(output);
        }
        if sum.take() != Some((count, expected)) {
            let now = shown(&outputs);
            let difference =
                format!("{count} outputs of checksum {expected:08x} are recorded, and now there are: {now}");
            return Err(self.differs(at, difference));
        }
        if !more {
            self.nothing_more(at)?;
        }
        Ok(outputs)
    }

    fn nothing_more(&mut self, at: Instant) -> Result<(), ReplayError> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.poll_output()).take(SHOWN + 1).collect();
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

const fn unfit(what: String) -> ReplayError {
    ReplayError::Unfit { daemon: Daemon::Agent, what }
}

fn announced(input: &TrunkInput<'_>) -> Option<Happened> {
    match input {
        TrunkInput::Suspend => Some(Happened::Suspended(true)),
        TrunkInput::Resume => Some(Happened::Suspended(false)),
        TrunkInput::Quiet { asked, .. } => Some(Happened::Quiet(*asked)),
        TrunkInput::Shutdown(_) => Some(Happened::Shutdown),
        TrunkInput::AdapterUp { .. }
        | TrunkInput::AdapterDown { .. }
        | TrunkInput::Frame { .. }
        | TrunkInput::Ring(_)
        | TrunkInput::Report { .. } => None,
    }
}

fn shown(outputs: &[Output]) -> String {
    let texts: Vec<String> = outputs.iter().take(SHOWN).map(|output| format!("{output:?}")).collect();
    let rest = outputs.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!(", and {rest} more") } else { String::new() };
    format!("[{}]{more}", texts.join(", "))
}
