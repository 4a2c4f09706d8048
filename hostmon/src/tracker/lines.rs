//! Deadlines that move at every heartbeat, and always to the same distance: nothing need be searched or sorted.
//!
//! Paths of one interval stand in a line, the longest silent first. A heartbeat sends its path to the end, so the
//! first of each line has the next deadline, and a timer that looks at that one never comes in vain.
//!
//! ```text
//!   first                                    last
//!   [since 3.2 s] <-> [since 3.9 s] <-> ... [since 9.8 s]     one line per interval
//! ```

use std::time::Duration;

use vmpulse_protocol::time::Instant;

use crate::by_vm::{Hint, make_room};

/// Lines: intervals that paths have. A trunk has one or a few; paths of more intervals than this are scheduled each.
const LINES_MAXIMUM: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// By place; those of nobody stand in no line.
    links: Vec<Link>,
}

#[derive(Debug)]
struct Line {
    patience: Duration,
    first: Option<Hint>,
    last: Option<Hint>,
}

#[derive(Clone, Debug, Default)]
struct Link {
    since: Instant,
    before: Option<Hint>,
    behind: Option<Hint>,
    line: Option<u8>,
}

impl Lines {
    /// Goes to where it belongs in the line of its patience, which is nearly always the end. False if there are
    /// too many lines.
    #[must_use]
    pub(super) fn enter(&mut self, at: Hint, since: Instant, patience: Duration) -> bool {
        self.leave(at);
        let Some(line) = self.line_of(patience) else { return false };
        let mut before = self.lines.get(usize::from(line)).and_then(|line| line.last);
        // Stamps grow, but for those of frames that several processors took at once.
        while let Some(other) =
            before.and_then(|before| self.link(before)).filter(|other| other.since > since)
        {
            before = other.before;
        }
        let behind = match before {
            Some(before) => self.link(before).and_then(|link| link.behind),
            None => self.lines.get(usize::from(line)).and_then(|line| line.first),
        };
        while self.links.len() <= at.index() {
            make_room(&mut self.links);
            self.links.push(Link::default());
        }
        if let Some(link) = self.links.get_mut(at.index()) {
            *link = Link { since, line: Some(line), ..Link::default() };
        }
        self.join(line, before, Some(at));
        self.join(line, Some(at), behind);
        true
    }

    /// Stands in no line any more.
    pub(super) fn leave(&mut self, at: Hint) {
        let Some(link) = self.links.get_mut(at.index()) else { return };
        let Link { before, behind, line, .. } = std::mem::take(link);
        if let Some(line) = line {
            self.join(line, before, behind);
        }
    }

    /// Whether it stands in a line.
    pub(super) fn contains(&self, at: Hint) -> bool {
        self.link(at).is_some_and(|link| link.line.is_some())
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.earliest().map(|(due, _)| due)
    }

    /// Takes out the one with the next deadline, if that has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Hint> {
        let (_, at) = self.earliest().filter(|(due, _)| *due <= now)?;
        self.leave(at);
        Some(at)
    }

    fn earliest(&self) -> Option<(Instant, Hint)> {
        let firsts = self.lines.iter().filter_map(|line| {
            let first = line.first?;
            Some((self.link(first)?.since + line.patience, first))
        });
        firsts.min()
    }

    fn link(&self, at: Hint) -> Option<&Link> {
        self.links.get(at.index())
    }

    /// Makes them neighbours; nobody stands for the line's ends.
    fn join(&mut self, line: u8, before: Option<Hint>, behind: Option<Hint>) {
        match before.and_then(|before| self.links.get_mut(before.index())) {
            Some(link) => link.behind = behind,
            None => self.change_line(line, |line| line.first = behind),
        }
        match behind.and_then(|behind| self.links.get_mut(behind.index())) {
            Some(link) => link.before = before,
            None => self.change_line(line, |line| line.last = before),
        }
    }

    fn change_line(&mut self, line: u8, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(usize::from(line)) {
            change(line);
        }
    }

    /// An empty line is used again for another patience.
    fn line_of(&mut self, patience: Duration) -> Option<u8> {
        let same = self.lines.iter().position(|line| line.patience == patience);
        let free = || self.lines.iter().position(|line| line.first.is_none());
        let at = match same.or_else(free) {
            Some(at) => at,
            None if self.lines.len() < LINES_MAXIMUM => {
                self.lines.push(Line { patience, first: None, last: None });
                self.lines.len().saturating_sub(1)
            }
            None => return None,
        };
        self.lines.get_mut(at)?.patience = patience;
        u8::try_from(at).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever comes and goes, in whatever order: the earliest deadline is next, and nobody is lost.
        #[test]
        fn the_earliest_is_next(steps: Vec<(u8, u8, u16)>) {
            let (mut lines, mut model) = (Lines::default(), BTreeMap::new());
            for (kind, number, since) in steps {
                let at = Hint::at_index(usize::from(number % 8));
                let since = Instant::from_millis(since.into());
                let patience = Duration::from_millis(100 * u64::from(kind / 4 % 3));
                match kind % 4 {
                    0 => {
                        lines.leave(at);
                        model.remove(&at);
                    }
                    1 => {
                        let due = model.values().min().copied();
                        let popped = lines.pop_due(since);
                        prop_assert_eq!(popped.is_some(), due.is_some_and(|due| due <= since));
                        prop_assert_eq!(popped.and_then(|at| model.remove(&at)), due.filter(|_| popped.is_some()));
                    }
                    _ => {
                        prop_assert!(lines.enter(at, since, patience));
                        model.insert(at, since + patience);
                    }
                }
                prop_assert_eq!(lines.next(), model.values().min().copied());
                prop_assert!((0..8).map(Hint::at_index).all(|at| lines.contains(at) == model.contains_key(&at)));
            }
            let mut order = vec![];
            while let Some(at) = lines.pop_due(Instant::from_nanos(u64::MAX)) {
                order.push(model.remove(&at).unwrap());
            }
            prop_assert!(model.is_empty() && order.is_sorted());
        }
    }

    #[test]
    fn too_many_lines_are_refused_and_an_empty_one_is_used_again() {
        let mut lines = Lines::default();
        let mut enter = |number: usize, patience: u64| {
            lines.enter(Hint::at_index(number), Instant::ZERO, Duration::from_millis(patience))
        };
        assert!((0..LINES_MAXIMUM).all(|number| enter(number, number as u64)));
        assert!(!enter(99, 99));
        assert!(enter(99, 1));
        assert!(enter(0, 1));
        assert!(enter(0, 99));
    }
}
