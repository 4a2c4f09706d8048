//! Faults that are compiled in on purpose, for the simulator to prove that it finds them.
//!
//! Without the feature `deliberate-bugs` [`is_on`] is a constant, and nothing of this is in a program. With it all of them are off
//! until one is switched on, which only `tests/sim` does: no setting, argument or environment variable leads there.

#[cfg(feature = "deliberate-bugs")]
use core::sync::atomic::{AtomicU8, Ordering};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A host monitor acknowledges before the store has it.
    AcknowledgedEarly = 1,
    /// Writes of a batch that failed are forgotten.
    LostBatch,
    /// A path is missing after 0.9 intervals.
    EarlyMissing,
    /// A path that beats again is not said to.
    DetectedNotSaid,
    /// A path that falls silent is not said to.
    MissingNotSaid,
    /// A batch whose answer was lost is applied again.
    AppliedTwice,
    /// A path that beat when its monitor was last heard is forgotten at once.
    UnknownForgotten,
    /// The largest of the paths' silences counts.
    OldestSilence,
    /// Ages of a clock that stepped are believed.
    AgesBelieved,
    /// Silence that was announced counts.
    AnnouncedCounts,
    /// A failure stays open when the VM recovers.
    FailureNeverClosed,
    /// Reports are taken and not kept.
    ReportNotKept,
    /// A doorbell is rung once, whatever becomes of it.
    RingsOnce,
    /// An agent does not care that its host monitor was started again.
    DeafToHello,
    /// A guardian finds that its agent failed, and does not beat.
    GuardianSleeps,
    /// A suspension counts as heard when one monitor has acknowledged it.
    LateSuspension,
    /// What was made with any key is taken for what was made with the right one.
    TagNotCompared,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::AcknowledgedEarly,
        Self::LostBatch,
        Self::EarlyMissing,
        Self::DetectedNotSaid,
        Self::MissingNotSaid,
        Self::AppliedTwice,
        Self::UnknownForgotten,
        Self::OldestSilence,
        Self::AgesBelieved,
        Self::AnnouncedCounts,
        Self::FailureNeverClosed,
        Self::ReportNotKept,
        Self::RingsOnce,
        Self::DeafToHello,
        Self::GuardianSleeps,
        Self::LateSuspension,
        Self::TagNotCompared,
    ];
}

#[cfg(feature = "deliberate-bugs")]
static ON: AtomicU8 = AtomicU8::new(0);

/// Whether this fault is on.
#[cfg(feature = "deliberate-bugs")]
#[must_use]
pub fn is_on(bug: Bug) -> bool {
    ON.load(Ordering::Relaxed) == bug as u8
}

/// Never: the feature is off.
#[cfg(not(feature = "deliberate-bugs"))]
#[must_use]
pub const fn is_on(_bug: Bug) -> bool {
    false
}

/// Switches this fault on and every other off; `None`: all off.
#[cfg(feature = "deliberate-bugs")]
pub fn switch(bug: Option<Bug>) {
    ON.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
}
