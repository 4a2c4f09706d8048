//! What became of the frames of one direction.

use serde::{Deserialize, Serialize};

/// Numbers of frames. `taken + duplicated` is what there is to account for; see [`Counts::accounted`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Came in.
    pub taken: u64,
    /// Went out, copies included.
    pub passed: u64,
    /// Were lost on purpose.
    pub lost: u64,
    /// Came while this direction was cut.
    pub cut: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Had bits flipped; a copy counts by itself.
    pub corrupted: u64,
    /// Were held back for a while; a copy counts by itself.
    pub delayed: u64,
    /// Were dropped because too many waited already.
    pub over_bound: u64,
    /// Wait.
    pub waiting: u64,
    /// Of those that passed: the adapter did not take them (it is down, or its queue is full).
    pub refused: u64,
}

impl Counts {
    /// Every frame and every copy passed, waits, or is counted among those that do not.
    #[must_use]
    pub const fn accounted(&self) -> bool {
        self.taken + self.duplicated == self.passed + self.lost + self.cut + self.over_bound + self.waiting
    }

    /// For people: what is not zero.
    #[must_use]
    pub fn describe(&self) -> String {
        let all = [
            ("taken", self.taken),
            ("passed", self.passed),
            ("lost", self.lost),
            ("cut", self.cut),
            ("duplicated", self.duplicated),
            ("corrupted", self.corrupted),
            ("delayed", self.delayed),
            ("over_bound", self.over_bound),
            ("waiting", self.waiting),
            ("refused", self.refused),
        ];
        let always = |name: &str| name == "taken" || name == "passed";
        let told = all.into_iter().filter(|(name, count)| *count > 0 || always(name));
        told.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }
}
