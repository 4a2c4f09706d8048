//! How the store's clock stood to the machine's when it was last read, kept on the host monitor's disk: it tells a start that the
//! store's clock was set while nobody looked, so that the ages in the roster are not what they seem.
//!
//! Pure. The machine's clock is the time since it was switched on, which nobody sets. Of another boot there is nothing to compare
//! with, above all not by a wall clock: on SQLite that is the store's own.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{Roster, StoreTime};

use crate::spool::record::{BootClock, frame, unframe};

/// Two clocks that nobody sets may have gone apart by this much between two looks, the daemon's absence included.
const TOLERANCE_US: i64 = 1_000_000;
/// The mark is written anew when they went apart by this much, so that they never do by the tolerance between two daemons: a few times
/// a day if nothing disciplines them.
const KEEP_US: i64 = 250_000;

/// The store's clock less the machine's: between these, since an answer takes time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    boot: String,
    least_us: i64,
    most_us: i64,
}

impl Mark {
    /// How far apart the two are at least.
    const fn gap_us(&self, other: &Self) -> i64 {
        let above = self.least_us.saturating_sub(other.most_us);
        let below = other.least_us.saturating_sub(self.most_us);
        if above > below { above } else { below }
    }

    const fn width_us(&self) -> i64 {
        self.most_us.saturating_sub(self.least_us)
    }
}

/// See the module.
#[derive(Debug)]
pub struct ClockMark {
    clock: BootClock,
    started: Instant,
    kept: Option<Mark>,
    /// The first reading of this daemon was judged.
    judged: bool,
    /// The last reading is not kept yet.
    waits: bool,
}

/// What a reading of the store's clock says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Ages in the roster that was read with it are this at most, as far as is sure.
    pub bound: Option<Duration>,
    /// To be written to the disk.
    pub keep: Option<Vec<u8>>,
}

impl ClockMark {
    /// `bytes` is what an earlier daemon kept; `started` is now. Without a sound mark all ages are believed: it is the first start.
    #[must_use]
    pub fn new(bytes: &[u8], clock: BootClock, started: Instant) -> Self {
        let kept = unframe(bytes).and_then(|(text, _, _)| serde_json::from_slice(text).ok());
        Self { clock, started, kept, judged: false, waits: false }
    }

    /// Takes a reading, `asked` for and `answered` by our clock; `stepped` says that readings of this daemon differ.
    ///
    /// One that tells of a step is not kept before the next: until then the silences in the store have their wrong ages, and a
    /// daemon that ends now must not hide that from the one that follows.
    pub fn judge(&mut self, store: StoreTime, asked: Instant, answered: Instant, stepped: bool) -> Judgement {
        let us = |at: Instant| i64::try_from(self.clock.at(at).as_micros()).unwrap_or(i64::MAX);
        let read = Mark {
            boot: self.clock.boot.clone(),
            least_us: store.0.saturating_sub(us(answered)),
            most_us: store.0.saturating_sub(us(asked)),
        };
        let first = !std::mem::replace(&mut self.judged, true);
        let bound = if first { self.bound(&read, answered) } else { None };
        self.waits = bound.is_some() || stepped;
        let keep = (!self.waits && self.is_news(&read)).then(|| {
            let text = serde_json::to_vec(&read).unwrap_or_default();
            self.kept = Some(read);
            frame(&text, &[])
        });
        Judgement { bound, keep }
    }

    /// Whether another reading is wanted soon.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// The disk did not take it.
    pub fn not_kept(&mut self) {
        self.kept = None;
    }

    /// After a step all that is sure is how long this daemon has not heard it; after a boot, how long the machine is on.
    fn bound(&self, read: &Mark, answered: Instant) -> Option<Duration> {
        let kept = self.kept.as_ref()?;
        if kept.boot != read.boot {
            return Some(self.clock.at(answered));
        }
        (kept.gap_us(read) > TOLERANCE_US).then(|| answered.since(self.started))
    }

    fn is_news(&self, read: &Mark) -> bool {
        self.kept.as_ref().is_none_or(|kept| {
            kept.boot != read.boot
                || kept.gap_us(read) > KEEP_US
                || kept.width_us() > read.width_us().saturating_add(KEEP_US)
        })
    }
}

/// Makes older silences this old. Returns whether there are any at all, which are then to be said to the store again: one that
/// seems to be young may have begun in the future of a clock that was set back, and would stay as young until it is there again.
pub fn bound_ages(roster: &mut Roster, bound: Duration) -> bool {
    let paths = roster.vms.iter_mut().chain(&mut roster.visiting).filter_map(|vm| vm.path.as_mut());
    let silences = paths.filter_map(|path| path.missed.as_mut());
    silences.map(|missed| *missed = bound.min(*missed)).count() > 0
}

#[cfg(test)]
mod tests;
