//! An agent's cores whose inputs can be recorded, and the cores that are built from a record.
//!
//! Pure but for the recorder itself, which never waits. [`RecordedTrunks`] and [`RecordedEngine`] stand in the driver's place of
//! [`Trunks`] and [`Ame`]: everything that changes a core goes through them, into one [`Recording`]. [`Replay`] is the other end.
//!
//! No record holds a secret. The source of nonces is left out, and of the entropy that is stirred in only the eighth part that decides
//! about the handshakes' marks. Command lines of scripts and parameters of types are left out, too: the engine does not
//! look at them, and the replay only has to know whether they are others than before ([`configuration`]). When keys are loaded the
//! record ends ([`Ending::Keys`]): what is authenticated cannot be checked in a replay.
//!
//! The guardian draws its packets' numbers where the daemon does. So those that the daemon draws are inputs as well, where they
//! are not simply the next ones ([`Draws`]).

pub mod configuration;
mod draws;
mod line;
mod replay;
mod start;
mod sum;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use vmpulse_local::recorder::{Ending, Recorder};
use vmpulse_protocol::auth::Authentication;
use vmpulse_protocol::time::Instant;

use crate::ame::{Ame, AmeInput, AmeOutput, Order, Refused};
use crate::trunks::{TrunkInput, TrunkOutput, Trunks};
use configuration::Concealed;
pub use draws::Draws;
use line::What;
pub use replay::{Happened, Output, Replay, ReplayError, Step};
pub use start::{Beginning, Start};
use sum::Sum;

/// Where everything is recorded, or nothing. Its copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Recording(Option<Rc<RefCell<Tape>>>);

#[derive(Debug)]
struct Tape {
    recorder: Recorder,
    /// Of the outputs since the last line about them.
    sum: Sum,
    draws: Arc<Draws>,
    concealed: Concealed,
    /// Of the last thing that happened.
    now: Instant,
}

impl Recording {
    /// `start` makes the recorder from what the cores are made of, if anything is `wanted`.
    pub fn begin(
        wanted: bool,
        beginning: &Beginning<'_>,
        start: impl FnOnce(&Start) -> Option<Recorder>,
    ) -> Self {
        if !wanted {
            return Self::default();
        }
        let mut concealed = Concealed::default();
        let recorder = start(&Start::of(beginning, &mut concealed));
        Self(recorder.map(|recorder| {
            let (sum, draws) = (Sum::default(), Arc::new(Draws::recorded()));
            Rc::new(RefCell::new(Tape { recorder, sum, draws, concealed, now: Instant::ZERO }))
        }))
    }

    /// For the keeper of the paths, if anything is recorded.
    #[must_use]
    pub fn draws(&self) -> Option<Arc<Draws>> {
        self.tape(|tape| Arc::clone(&tape.draws))
    }

    /// What is to be said of the recorder, once. To be asked in every turn.
    #[must_use]
    pub fn take_news(&self) -> Option<String> {
        self.tape(|tape| tape.recorder.take_news()).flatten()
    }

    /// The daemon ends.
    pub fn close(&self, now: Instant) {
        self.running(|tape| {
            tape.tell_rest(true);
            tape.recorder.end(now, Ending::Stopped);
        });
    }

    fn tape<T>(&self, what: impl FnOnce(&mut Tape) -> T) -> Option<T> {
        // Nobody else has it: none of the calls in here comes back.
        self.0.as_ref()?.try_borrow_mut().ok().map(|mut tape| what(&mut tape))
    }

    /// One that ended is not asked for anything: nothing is copied or summed for it any more.
    fn running(&self, what: impl FnOnce(&mut Tape)) {
        self.tape(|tape| {
            if tape.recorder.ended().is_none() {
                what(tape);
            } else {
                tape.draws.end();
            }
        });
    }

    fn write(&self, now: Instant, what: &What<'_>) {
        self.running(|tape| tape.write(now, what));
    }
}

impl Tape {
    fn write(&mut self, now: Instant, what: &What<'_>) {
        // What was not carried out yet is carried out after this.
        self.tell_rest(true);
        self.now = now;
        self.recorder.record(now, what);
    }

    /// What came of the last line; `more`: perhaps not all of it was carried out.
    fn tell_rest(&mut self, more: bool) {
        let jumps = self.draws.take();
        if !jumps.is_empty() {
            self.recorder.record(self.now, &What::Drew(jumps));
        }
        if let Some((count, sum)) = self.sum.take() {
            self.recorder.record(self.now, &What::Outputs { count, sum, more });
        }
    }
}

/// In the place of [`Trunks`].
#[derive(Debug)]
pub struct RecordedTrunks {
    core: Trunks,
    recording: Recording,
}

impl RecordedTrunks {
    /// Nothing may have happened to the core since it was made of what the recording begins with.
    #[must_use]
    pub const fn new(core: Trunks, recording: Recording) -> Self {
        Self { core, recording }
    }

    /// As [`Trunks::handle_input`].
    pub fn handle_input(&mut self, now: Instant, input: TrunkInput<'_>) {
        self.recording.write(now, &What::of_trunks(&input));
        self.core.handle_input(now, input);
    }

    /// As [`Trunks::handle_authentication`].
    pub fn handle_authentication(&mut self, now: Instant, authentication: Authentication) {
        if authentication.ids().next().is_some() {
            self.recording.running(|tape| {
                tape.tell_rest(true);
                tape.recorder.end(now, Ending::Keys);
            });
        }
        self.recording.write(now, &What::Mode(authentication.mode.to_string()));
        self.core.handle_authentication(now, authentication);
    }

    /// As [`Trunks::handle_silenced`].
    pub fn handle_silenced(&mut self, now: Instant, why: Option<&str>) {
        self.recording.write(now, &What::Silenced(why.map(str::to_owned)));
        self.core.handle_silenced(now, why);
    }

    /// As [`Trunks::handle_entropy`].
    pub fn handle_entropy(&mut self, now: Instant, entropy: &[u8; 32]) {
        let (first, _) = entropy.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        self.recording.write(now, &What::Entropy(*first));
        self.core.handle_entropy(entropy);
    }

    /// As [`Trunks::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.recording.write(now, &What::Turn);
        self.core.handle_timeout(now);
    }

    /// As [`Trunks::poll_output`]; to be called when [`RecordedEngine::poll_output`] has nothing.
    pub fn poll_output(&mut self) -> Option<TrunkOutput> {
        let output = self.core.poll_output();
        self.recording.running(|tape| match &output {
            Some(output) => tape.sum.add_trunks(output),
            None => {
                tape.tell_rest(false);
                tape.recorder.hand_over();
            }
        });
        output
    }
}

/// Whatever does not change the core.
impl Deref for RecordedTrunks {
    type Target = Trunks;

    fn deref(&self) -> &Trunks {
        &self.core
    }
}

/// In the place of [`Ame`].
#[derive(Debug)]
pub struct RecordedEngine {
    core: Ame,
    recording: Recording,
}

impl RecordedEngine {
    /// Nothing may have happened to the core since it was made of what the recording begins with.
    #[must_use]
    pub const fn new(core: Ame, recording: Recording) -> Self {
        Self { core, recording }
    }

    /// As [`Ame::handle_input`].
    pub fn handle_input(&mut self, now: Instant, input: AmeInput) {
        self.recording.running(|tape| {
            let what = What::of_engine(&input, &mut tape.concealed);
            tape.write(now, &what);
        });
        self.core.handle_input(now, input);
    }

    /// As [`Ame::handle_order`].
    ///
    /// # Errors
    /// As there.
    pub fn handle_order(&mut self, now: Instant, order: Order, name: &str) -> Result<Vec<String>, Refused> {
        self.recording.write(now, &What::Order(order.into(), name.to_owned()));
        self.core.handle_order(now, order, name)
    }

    /// As [`Ame::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.recording.write(now, &What::Rounds);
        self.core.handle_timeout(now);
    }

    /// As [`Ame::poll_output`].
    pub fn poll_output(&mut self) -> Option<AmeOutput> {
        let output = self.core.poll_output();
        if let Some(output) = &output {
            self.recording.running(|tape| tape.sum.add_engine(output));
        }
        output
    }
}

/// Whatever does not change the core.
impl Deref for RecordedEngine {
    type Target = Ame;

    fn deref(&self) -> &Ame {
        &self.core
    }
}
