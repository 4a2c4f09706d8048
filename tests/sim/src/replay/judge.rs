//! A stream of events, judged.

use vmpulse_protocol::time::Instant;

use crate::checkers::{Checker, Violation};
use crate::event::Event;

/// Violations that are kept; more say nothing new.
const VIOLATIONS_MAXIMUM: usize = 20;

/// Everything that these checkers find wrong with these events, up to a few.
#[must_use]
pub fn judge(events: &[(Instant, Event)], mut checkers: Vec<Box<dyn Checker>>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut keep = |checker: &dyn Checker, at: Instant, found: Result<(), String>| {
        if let Err(text) = found
            && violations.len() < VIOLATIONS_MAXIMUM
        {
            violations.push(Violation { checker: checker.name(), at, text });
        }
    };
    for (at, event) in events {
        for checker in &mut checkers {
            let found = checker.on_event(*at, event);
            keep(checker.as_ref(), *at, found);
        }
    }
    let end = events.last().map_or(Instant::ZERO, |(at, _)| *at);
    for checker in &mut checkers {
        let found = checker.at_end(end);
        keep(checker.as_ref(), end, found);
    }
    violations
}
