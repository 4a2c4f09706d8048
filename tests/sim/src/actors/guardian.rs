//! The guardian of a guest: the real decision over the real page, which both share as memory.
//!
//! While its agent is well the guardian finds nothing to do twice a second. Those looks are left out: before the agent fails
//! it is given the look that it would have had last, and from then on it looks until all has been well for a while.

use std::time::Duration;

use vmpulse_agent::guardian::beat::{PACKET_BYTES, packet};
use vmpulse_agent::guardian::page::Page;
use vmpulse_agent::guardian::record::{GuardianRecording, Sum};
use vmpulse_agent::guardian::watch::{Failure, LOOK, REPLACED_WITHIN, Watch, WatchOutput};
use vmpulse_link::Destination;
use vmpulse_protocol::time::Instant;

use crate::says;

/// See [`vmpulse_agent::guardian::watch::REPLACED_WITHIN`]: by then nothing is left of the life before.
const DOZE_AFTER: Duration = REPLACED_WITHIN.saturating_add(Duration::from_secs(15));

/// See the module.
#[derive(Debug)]
pub(crate) struct Guardian {
    pub(crate) page: Page,
    watch: Watch,
    /// Its clock is behind by what a snapshot of its guest set it back.
    behind: Duration,
    /// Of the grid of its looks.
    began: Instant,
    doze_at: Option<Instant>,
    recording: Option<GuardianRecording>,
}

/// What came of a look.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(crate) frames: Vec<(Destination, Vec<u8>)>,
    /// The agent hangs: it is to be started again.
    pub(crate) restart: bool,
    pub(crate) says: Vec<&'static str>,
}

impl Guardian {
    pub(crate) fn new(now: Instant, recording: Option<GuardianRecording>) -> Self {
        Self {
            page: Page::in_memory(),
            watch: Watch::new(now),
            behind: Duration::ZERO,
            began: now,
            doze_at: Some(now + DOZE_AFTER),
            recording,
        }
    }

    /// As it is, but that nothing more of it is recorded: a record knows nothing of snapshots.
    pub(crate) fn unrecorded(&self) -> Self {
        Self {
            page: self.page.clone(),
            watch: self.watch.clone(),
            behind: self.behind,
            began: self.began,
            doze_at: self.doze_at,
            recording: None,
        }
    }

    /// It goes on so much later.
    pub(crate) fn set_back(&mut self, by: Duration) {
        self.behind += by;
    }

    /// By its own clock.
    pub(crate) fn own(&self, now: Instant) -> Instant {
        now.back(self.behind)
    }

    /// The last moment of its grid, of half seconds.
    pub(crate) fn last_look(&self, now: Instant) -> Instant {
        let step = u64::try_from(LOOK.as_nanos()).unwrap_or(u64::MAX);
        let passed = self.own(now).since(self.began).as_nanos();
        now.back(Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX) % step))
    }

    /// Something happens to the agent: it was well until now, if the guardian dozed.
    pub(crate) fn awake(&mut self, now: Instant) {
        if self.doze_at.is_some_and(|at| at <= self.own(now)) {
            let look = self.own(self.last_look(now));
            self.look(look);
        }
        self.doze_at = None;
    }

    /// All is well from now on.
    pub(crate) fn reassure(&mut self, now: Instant) {
        self.doze_at = Some(self.own(now) + DOZE_AFTER);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.watch.poll_timeout().unwrap_or(self.began);
        let dozes = self.doze_at.is_some_and(|at| at <= due);
        (!dozes).then_some(due + self.behind)
    }

    /// As in its driver.
    fn look(&mut self, now: Instant) -> Vec<WatchOutput> {
        let (seen, mut came) = (self.page.seen(), Sum::default());
        self.watch.handle_seen(now, &seen);
        let outputs: Vec<WatchOutput> = std::iter::from_fn(|| self.watch.poll_output()).collect();
        outputs.iter().for_each(|output| came.add(output));
        if let Some(recording) = &mut self.recording {
            recording.looked(now, &seen, came);
        }
        outputs
    }

    pub(crate) fn turn(&mut self, now: Instant) -> Looked {
        let now = self.own(now);
        let mut looked = Looked::default();
        for output in self.look(now) {
            if let Some(text) = says::guarded(&output) {
                looked.says.push(text);
            }
            match output {
                WatchOutput::Beat { slot, generation, as_guardian } => {
                    let mut room = [0; PACKET_BYTES];
                    if let Some((to, length)) =
                        packet(&self.page, now, (slot, generation), as_guardian, &mut room)
                    {
                        looked.frames.push((to, room[..length].to_vec()));
                    }
                }
                WatchOutput::Failed(Failure::Hangs) => looked.restart = true,
                WatchOutput::Failed(Failure::Died) | WatchOutput::Recovered => {}
            }
        }
        looked
    }
}
