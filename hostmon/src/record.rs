//! A host monitor's core whose inputs can be recorded, and the core that is built from a record.
//!
//! Pure but for the recorder itself, which never waits. [`Recorded`] stands in the driver's place of a [`Monitor`]: everything
//! that changes the core goes through it. [`Replay`] is the other end.
//!
//! No record holds a secret: neither keys, nor the source of nonces, nor the canary's key. So when keys of VMs are loaded the
//! record ends ([`Ending::Keys`]): what authenticated guests send could not be checked in a replay. Of the canary all that came in
//! its name is believed in a replay, and what is sent to it is not compared.

mod line;
mod replay;
mod start;
mod sum;
#[cfg(test)]
mod tests;

use std::ops::Deref;

use vmpulse_local::recorder::{Ending, Recorder};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;
use vmpulse_store::Roster;

use crate::monitor::{Input, Monitor, Output};
pub use line::Aside;
use line::What;
pub use replay::{Happened, Replay, ReplayError, Step};
pub use start::Start;
use sum::Sum;

/// See the module.
#[derive(Debug)]
pub struct Recorded {
    core: Monitor,
    tape: Option<Box<Tape>>,
}

#[derive(Debug)]
struct Tape {
    recorder: Recorder,
    /// Of the outputs since the last line about them.
    sum: Sum,
    /// The last roster that was recorded. To compare it takes less of the loop than to write down each anew.
    roster: Option<Roster>,
    /// Of the last thing that happened.
    now: Instant,
}

impl Recorded {
    /// A core that is not recorded.
    #[must_use]
    pub const fn plain(core: Monitor) -> Self {
        Self { core, tape: None }
    }

    /// From now on everything is recorded. Nothing may have happened to the core since it was made with [`Start::of`]'s
    /// configuration.
    #[must_use]
    pub fn with(core: Monitor, recorder: Option<Recorder>) -> Self {
        let tape = recorder.map(|recorder| {
            Box::new(Tape { recorder, sum: Sum::new(core.config()), roster: None, now: Instant::ZERO })
        });
        Self { core, tape }
    }

    /// As [`Monitor::handle_input`].
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        if let Some(tape) = running(&mut self.tape) {
            tape.on_input(now, &input);
        }
        self.core.handle_input(now, input);
    }

    /// [`Monitor::handle_timeout`], and then [`Monitor::take_question`]: once in every turn.
    pub fn turn(&mut self, now: Instant) -> Option<Vec<VmUuid>> {
        if let Some(tape) = running(&mut self.tape) {
            tape.write(now, &What::Turn);
        }
        self.core.handle_timeout(now);
        self.core.take_question(now)
    }

    /// As [`Monitor::poll_output`].
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.core.poll_output();
        if let Some(tape) = running(&mut self.tape) {
            match &output {
                Some(output) => {
                    tape.sum.add(output);
                }
                None => tape.on_drained(),
            }
        }
        output
    }

    /// What is no input, and whoever judges a replay must know.
    pub fn aside(&mut self, now: Instant, aside: Aside) {
        if let Some(tape) = running(&mut self.tape) {
            tape.write(now, &What::Aside(aside));
        }
    }

    /// What is to be said of the recorder, once.
    pub fn take_news(&mut self) -> Option<String> {
        self.tape.as_mut()?.recorder.take_news()
    }

    /// The daemon ends.
    pub fn close(&mut self, now: Instant) {
        if let Some(mut tape) = self.tape.take() {
            tape.tell_outputs(true);
            tape.recorder.close(now);
        }
    }
}

/// One that ended is not asked for anything: nothing is copied or summed for it any more.
fn running(tape: &mut Option<Box<Tape>>) -> Option<&mut Tape> {
    tape.as_deref_mut().filter(|tape| tape.recorder.ended().is_none())
}

/// Whatever does not change the core.
impl Deref for Recorded {
    type Target = Monitor;

    fn deref(&self) -> &Monitor {
        &self.core
    }
}

impl Tape {
    fn on_input(&mut self, now: Instant, input: &Input<'_>) {
        match input {
            Input::Keys(keys) if !keys.is_empty() => {
                self.tell_outputs(true);
                self.recorder.end(now, Ending::Keys);
            }
            Input::Roster(roster) => {
                // Many are read, and few say anything new.
                if self.roster.as_ref() == Some(roster) {
                    return self.write(now, &What::SameRoster);
                }
                let what = line::roster(roster);
                self.roster = Some(roster.clone());
                self.write(now, &what);
            }
            Input::Frame { .. }
            | Input::Standings(_)
            | Input::Keys(_)
            | Input::KeyProblem(_)
            | Input::Stored { .. }
            | Input::NotTaken { .. }
            | Input::Quiet(_)
            | Input::StoreReachable(_)
            | Input::StoreClockStepped
            | Input::Dropped(_)
            | Input::Heard { .. }
            | Input::Adapter(_)
            | Input::AdapterIs(_)
            | Input::Canary(_)
            | Input::Readdressed { .. }
            | Input::Shutdown => self.write(now, &What::of(now, input)),
        }
    }

    fn write(&mut self, now: Instant, what: &What<'_>) {
        // What was not carried out in the last turn is carried out after this.
        self.tell_outputs(true);
        self.now = now;
        self.recorder.record(now, what);
    }

    /// What came of the turn was carried out; `more`: perhaps not all of it.
    fn tell_outputs(&mut self, more: bool) {
        if let Some((count, sum)) = self.sum.take() {
            self.recorder.record(self.now, &What::Outputs { count, sum, more });
        }
    }

    fn on_drained(&mut self) {
        self.tell_outputs(false);
        self.recorder.hand_over();
    }
}
