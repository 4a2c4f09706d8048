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

impl Verdict {
    /// Why the soak ends with this round, if it does: what was found, or else what was not well long after everything was healed.
    #[must_use]
    pub fn ends(&self, round: u64, unwell: &[String]) -> Option<String> {
        if !self.violations.is_empty() {
            let line = |found: &Found| format!("\n  {} at {} s: {}", found.checker, found.at_s, found.text);
            let found: String = self.violations.iter().map(line).collect();
            return Some(format!("round {round}, {} violations:{found}", self.violations.len()));
        }
        let lines: String = unwell.iter().map(|line| format!("\n  {line}")).collect();
        (!unwell.is_empty())
            .then(|| format!("round {round} did not get well, and no checker says why:{lines}"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_does_not_get_well_ends_the_soak_and_what_was_found_is_said_first() {
        let mut verdict = Verdict::default();
        assert_eq!(verdict.ends(1, &[]), None);
        let unwell = ["vm3 UNKNOWN".to_owned(), "2 rows of message wait".to_owned()];
        let text = verdict.ends(2, &unwell).unwrap();
        assert!(text.contains("round 2") && unwell.iter().all(|line| text.contains(line)), "{text}");
        verdict.violations.push(Found { checker: "once".to_owned(), at_s: 7, text: "told twice".to_owned() });
        let text = verdict.ends(2, &unwell).unwrap();
        assert!(text.contains("once at 7 s: told twice") && !text.contains("vm3"), "{text}");
    }
}
