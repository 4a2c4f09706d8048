//! What the judge says: the only thing that the lab hears of it.

use serde::{Deserialize, Serialize};

/// Of a whole soak so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Events judged.
    pub events: u64,
    /// Heartbeats among them.
    pub beats: u64,
    /// What must not be.
    pub violations: Vec<Found>,
    /// The last events before the first violation, or before the end.
    pub last: Vec<String>,
    /// Checkers that judged, and what they had to judge from.
    pub judged: Vec<String>,
    /// Figures.
    pub figures: Figures,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Who found it.
    pub checker: String,
    /// Seconds since the soak's first fact.
    pub at_s: u64,
    /// What.
    pub text: String,
}

/// What was measured; times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// VMs declared failed.
    pub failures_told: u64,
    /// Times for which a guest was off or stood still for longer than its limit, unexcused by an announcement.
    pub silences: u64,
    /// Of these, such that lasted for 15 s more: if nothing else was wrong they had to be declared.
    pub failures_due: u64,
    /// From the last heartbeat of a guest that crashed or was frozen to its declaration, less its limit: the product's own part.
    /// Least, median and most.
    pub detection_ms: Option<[u64; 3]>,
    /// How many of these there were.
    pub detections: usize,
    /// The worst time between two heartbeats of a guest to which nothing was done, on a trunk and a host monitor to which nothing
    /// was done.
    pub worst_gap_ms: u64,
    /// The longest time for which a daemon says that it was not scheduled, though nobody had stopped it.
    pub worst_stall_ms: u64,
    /// How often one said so.
    pub stalls: u64,
}
