//! What a guardian sees, recorded, and its decision run again from the record.
//!
//! Pure but for the recorder itself. [`GuardianRecording`] never allocates and never waits once it is made: the recorder of a
//! guardian takes its memory at the start, and a thread writes. No keys are in what a guardian looks at.

use serde::{Deserialize, Serialize};
use vmpulse_local::recorder::{Daemon, Ending, Lines, Opened, Opening, Recorder};
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::time::Instant;

use super::watch::{Failure, PATHS, PathSeen, Seen, Watch, WatchOutput};
use crate::record::ReplayError;

/// What the guardian was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When.
    pub at_ns: u64,
    /// Of which virtual machine: what its daemon says of itself.
    pub vm: String,
}

impl Start {
    /// Of which virtual machine, if it has a UUID.
    #[must_use]
    pub fn vm(&self) -> Option<VmUuid> {
        self.vm.parse().ok()
    }
}

/// A line. Enumerations grow at their ends. Anything else is a new [`VERSION`](vmpulse_local::recorder::VERSION).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// Never kept: written as soon as it is made. A box would have to be allocated.
#[allow(clippy::large_enum_variant)]
enum What {
    /// What it saw, how much it wanted done, and the checksum of that.
    Look(Look, u32, u32),
    /// The root disk does not answer (true), or does again.
    DiskGone(bool),
}

/// [`Seen`]. Instants are ages, signed: they are of another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    life: u64,
    ended_life: u64,
    running: bool,
    stamp_age: i64,
    /// As in the page.
    hold_until: u64,
    paths: [Option<Path>; PATHS],
}

/// [`PathSeen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Path {
    generation: u64,
    life: u64,
    interval: std::time::Duration,
    daemon_age: i64,
    guardian_age: i64,
    knows_guardians: bool,
}

fn age(now: Instant, then: Instant) -> i64 {
    now.as_nanos().wrapping_sub(then.as_nanos()).cast_signed()
}

fn before(now: Instant, age: i64) -> Instant {
    Instant::from_nanos(now.as_nanos().wrapping_sub(age.cast_unsigned()))
}

impl Look {
    fn of(now: Instant, seen: &Seen) -> Self {
        let Seen { life, ended_life, running, stamp, hold_until, paths } = seen;
        let path = |path: PathSeen| Path {
            generation: path.generation,
            life: path.life,
            interval: path.interval,
            daemon_age: age(now, path.daemon_beat),
            guardian_age: age(now, path.guardian_beat),
            knows_guardians: path.knows_guardians,
        };
        Self {
            life: *life,
            ended_life: *ended_life,
            running: *running,
            stamp_age: age(now, *stamp),
            hold_until: hold_until.as_nanos(),
            paths: paths.map(|seen| seen.map(path)),
        }
    }

    fn seen(&self, now: Instant) -> Seen {
        let path = |path: Path| PathSeen {
            generation: path.generation,
            life: path.life,
            interval: path.interval,
            daemon_beat: before(now, path.daemon_age),
            guardian_beat: before(now, path.guardian_age),
            knows_guardians: path.knows_guardians,
        };
        Seen {
            life: self.life,
            ended_life: self.ended_life,
            running: self.running,
            stamp: before(now, self.stamp_age),
            hold_until: Instant::from_nanos(self.hold_until),
            paths: self.paths.map(|seen| seen.map(path)),
        }
    }
}

/// Of what came of a look.
#[derive(Debug, Default)]
pub struct Sum {
    count: u32,
    hash: crc32fast::Hasher,
}

impl Sum {
    /// One more.
    pub fn add(&mut self, output: &WatchOutput) {
        self.count = self.count.saturating_add(1);
        match output {
            WatchOutput::Beat { slot, generation, as_guardian } => {
                self.hash.update(&[1]);
                self.hash.update(&(*slot as u64).to_be_bytes());
                self.hash.update(&generation.to_be_bytes());
                self.hash.update(&[u8::from(*as_guardian)]);
            }
            WatchOutput::Failed(Failure::Hangs) => self.hash.update(&[2]),
            WatchOutput::Failed(Failure::Died) => self.hash.update(&[3]),
            WatchOutput::Recovered => self.hash.update(&[4]),
        }
    }

    fn take(self) -> (u32, u32) {
        (self.count, self.hash.finalize())
    }
}

/// Where a guardian's looks are recorded.
#[derive(Debug)]
pub struct GuardianRecording {
    recorder: Recorder,
    end_said: bool,
}

impl GuardianRecording {
    /// Into this.
    #[must_use]
    pub const fn new(recorder: Recorder) -> Self {
        Self { recorder, end_said: false }
    }

    /// It has looked, and this came of it.
    pub fn looked(&mut self, now: Instant, seen: &Seen, came: Sum) {
        let (count, sum) = came.take();
        self.recorder.record(now, &What::Look(Look::of(now, seen), count, sum));
        self.recorder.hand_over();
    }

    /// The root disk does not answer, or does again.
    pub fn disk_gone(&mut self, now: Instant, gone: bool) {
        self.recorder.record(now, &What::DiskGone(gone));
    }

    /// Why nothing is recorded any more: said once.
    pub fn take_end(&mut self) -> Option<&'static str> {
        let why = self.recorder.ended().filter(|_| !self.end_said)?;
        self.end_said = true;
        Some(match why {
            Ending::Full => "its record ends: it reached its largest size",
            Ending::Behind => "its record ends: it cannot be written, or not fast enough",
            Ending::Stopped | Ending::Keys => "its record ends",
        })
    }

    /// The guardian ends.
    pub fn close(self, now: Instant) {
        self.recorder.close(now);
    }
}

/// A guardian's decision, run again.
#[derive(Debug)]
pub struct GuardianReplay<'a> {
    opening: Opening,
    start: Start,
    watch: Watch,
    lines: Lines<'a, What>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// It looked, and wanted this done.
    Outputs(Vec<WatchOutput>),
    /// The root disk does not answer (true), or does again.
    DiskGone(bool),
}

impl<'a> GuardianReplay<'a> {
    /// Makes the guardian as it was made then.
    ///
    /// # Errors
    /// [`ReplayError`], but for [`ReplayError::Differs`].
    pub fn new(opened: Opened<'a>) -> Result<Self, ReplayError> {
        let opening = opened.opening.clone();
        if opening.daemon != Daemon::Guardian {
            return Err(ReplayError::Another { found: opening.daemon, wanted: Daemon::Guardian });
        }
        let (start, lines): (Start, _) = opened.start()?;
        let watch = Watch::new(Instant::from_nanos(start.at_ns));
        Ok(Self { opening, start, watch, lines })
    }

    /// What it was made from.
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    /// How the record begins.
    #[must_use]
    pub const fn opening(&self) -> &Opening {
        &self.opening
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
    /// There is no next step.
    pub fn step(&mut self) -> Option<Result<(Instant, Looked), ReplayError>> {
        let (at, what) = match self.lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error.into())),
        };
        Some(match what {
            What::DiskGone(gone) => Ok((at, Looked::DiskGone(gone))),
            What::Look(look, count, sum) => self.look(at, &look, (count, sum)).map(|looked| (at, looked)),
        })
    }

    fn look(&mut self, at: Instant, look: &Look, recorded: (u32, u32)) -> Result<Looked, ReplayError> {
        self.watch.handle_seen(at, &look.seen(at));
        let outputs: Vec<WatchOutput> = std::iter::from_fn(|| self.watch.poll_output()).collect();
        let mut sum = Sum::default();
        outputs.iter().for_each(|output| sum.add(output));
        if sum.take() == recorded {
            return Ok(Looked::Outputs(outputs));
        }
        let (count, sum) = recorded;
        Err(ReplayError::Differs {
            line: self.lines.number(),
            at,
            what: "a look".to_owned(),
            difference: format!(
                "{count} outputs of checksum {sum:08x} are recorded, and now there are: {outputs:?}"
            ),
            product: self.opening.product.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
