//! Keeps what comes and goes from flooding the store: an adapter that flaps is a few events and a count.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::time::Instant;

/// Events of a kind in a [`WINDOW`]; those beyond are counted.
const SAID_MAXIMUM: u64 = 4;
const WINDOW: Duration = Duration::from_secs(600);

/// See the module. As many counts as there are kinds, which nobody can make up.
#[derive(Debug, Default)]
pub(super) struct Flapping {
    since: Option<Instant>,
    counts: BTreeMap<&'static str, u64>,
}

impl Flapping {
    /// Whether an event of this kind may be written; if not it is counted. [`take_summary`](Self::take_summary) comes before.
    pub(super) fn may_say(&mut self, now: Instant, kind: &'static str) -> bool {
        let _ = self.since.get_or_insert(now);
        let count = self.counts.entry(kind).or_default();
        *count = count.saturating_add(1);
        *count <= SAID_MAXIMUM
    }

    /// When a window is over: what was left out in it, if anything was.
    pub(super) fn take_summary(&mut self, now: Instant) -> Option<String> {
        let since = self.since.filter(|since| now.since(*since) >= WINDOW)?;
        self.since = None;
        let counts = std::mem::take(&mut self.counts);
        let many = counts.into_iter().filter(|(_, count)| *count > SAID_MAXIMUM);
        let many: Vec<String> = many.map(|(kind, count)| format!("{kind} {count} times")).collect();
        let seconds = now.since(since).as_secs();
        (!many.is_empty())
            .then(|| format!("in {seconds} s, of which only the first were recorded: {}", many.join(", ")))
    }

    /// When there is a summary to take.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let many = self.counts.values().any(|count| *count > SAID_MAXIMUM);
        self.since.filter(|_| many).map(|since| since + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flapping_adapter_is_a_few_events_and_a_count() {
        let mut flapping = Flapping::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        let said = (0..500).filter(|second| flapping.may_say(at(*second), "ADAPTER_DOWN")).count();
        assert_eq!(said, 4);
        assert!(flapping.may_say(at(500), "ISOLATED"), "another kind has its own share");
        assert_eq!(flapping.take_summary(at(599)), None);
        assert_eq!(flapping.poll_timeout(), Some(at(600)));
        let text = flapping.take_summary(at(600)).unwrap();
        assert!(text.contains("ADAPTER_DOWN 500 times") && !text.contains("ISOLATED"), "{text}");
        assert_eq!((flapping.take_summary(at(1300)), flapping.poll_timeout()), (None, None));
        assert!(flapping.may_say(at(1300), "ADAPTER_DOWN"));
    }
}
