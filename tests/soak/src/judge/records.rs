//! What daemons recorded, replayed by their own cores and given to the checkers as events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use vmpulse_local::recorder::{Ending, ReadError};
use vmpulse_protocol::time::Instant;
use vmpulse_sim::event::Event;
use vmpulse_sim::names::{Hm, Vm};
use vmpulse_sim::replay::{self, Names, Replayed};

use super::{JudgeError, source};
use crate::fact::Cast;
use crate::verdict::{Found, Verdict};

/// How records are called.
const SUFFIX: &str = "vmrec";

/// A daemon that is killed, or read, while its first block is written leaves the header, or no more than a page of the file.
const UNBEGUN_BYTES: u64 = 4096;

/// The controller's word and the store's are the same thing if they are no further apart than a slow commit.
const SAME_WITHIN_NS: u64 = 10_000_000_000;

/// Of whom a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Monitor(Hm),
    Controller,
}

impl fmt::Display for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monitor(hm) => write!(out, "{hm}"),
            Self::Controller => out.write_str("controller"),
        }
    }
}

/// Adds what is in the folder's records. Who runs when records say better than the injector: to the instant.
///
/// Returns what is not recorded and should be: of that nothing was judged, however little was found.
pub(super) fn add(
    folder: &Path,
    cast: &Cast,
    events: &mut Vec<(u64, Event)>,
    verdict: &mut Verdict,
) -> Result<Vec<Found>, JudgeError> {
    let mut names = names(cast, folder)?;
    let mut recorded: BTreeMap<Who, Vec<Replayed>> = BTreeMap::new();
    let mut unbegun = 0_u64;
    for path in files(folder)? {
        match replay::one(&path, &mut names) {
            Ok(record) => {
                if let Some(who) = whose(&record) {
                    recorded.entry(who).or_default().push(record);
                }
            }
            Err(failure) if is_unbegun(&path, &failure) => unbegun += 1,
            Err(failure) => verdict.violations.push(of_failure(&failure)),
        }
    }
    if unbegun > 0 {
        verdict.judged.push(format!("{unbegun} records end before they begin: killed at once"));
    }
    let mut gaps = without_records(cast, &recorded.keys().copied().collect());
    let running: Vec<Who> = recorded.keys().copied().filter(|who| runs(events, *who)).collect();
    events.retain(|(_, event)| !matches!(life(event), Some(who) if recorded.contains_key(&who)));
    let mut happened = Vec::new();
    for (who, mut records) in recorded {
        records.sort_by_key(|record| record.opening.monotonic_ns);
        let lines: u64 = records.iter().map(|record| record.lines).sum();
        verdict.judged.push(format!("{who}: {} starts, {lines} lines recorded", records.len()));
        let last = records.len();
        for (number, record) in records.into_iter().enumerate() {
            gaps.extend(record.ending.as_ref().and_then(|ending| cut_short(who, ending)));
            let still_runs = number + 1 == last && running.contains(&who);
            let origin = record.opening.monotonic_ns;
            let of_record = record.events.into_iter();
            // The last record of one that runs ends where it was read, and nowhere else.
            let of_record = of_record.filter(|(_, event)| !(still_runs && is_end(event)));
            happened.extend(of_record.map(|(at, event)| (at.as_nanos() + origin, at_origin(event, origin))));
        }
    }
    leave_out_what_was_said_twice(events, &happened);
    events.extend(happened);
    Ok(gaps)
}

/// A recorder that cannot start only warns in its daemon's log.
fn without_records(cast: &Cast, recorded: &BTreeSet<Who>) -> Vec<Found> {
    let monitors = cast.monitors.iter().map(|(hm, _)| Who::Monitor(source::hm(*hm)));
    let all = monitors.chain([Who::Controller]);
    all.filter(|who| !recorded.contains(who))
        .map(|who| gap(format!("{who} has no record, and so is not judged: its log says why")))
        .collect()
}

/// What came after the end of a record whose daemon went on was not judged.
fn cut_short(who: Who, ending: &Ending) -> Option<Found> {
    match ending {
        Ending::Stopped => None,
        Ending::Full | Ending::Behind | Ending::Keys => {
            Some(gap(format!("{who} is not recorded to its end, and so is not judged: {ending}")))
        }
    }
}

/// Something that could not be judged.
pub(super) fn gap(text: String) -> Found {
    Found { checker: "replay".to_owned(), at_s: 0, text }
}

/// Whether the daemon was killed before it had written its first block: then there is nothing to judge.
fn is_unbegun(path: &Path, failure: &replay::Failure) -> bool {
    let is_empty = matches!(failure, replay::Failure::Record { source, .. }
        if matches!(**source, replay::Cause::Read(ReadError::Empty)));
    is_empty && path.metadata().is_ok_and(|data| data.len() <= UNBEGUN_BYTES)
}

/// The store's table of events has what a controller told that was killed before it recorded that; and all else once more.
fn leave_out_what_was_said_twice(events: &mut Vec<(u64, Event)>, recorded: &[(u64, Event)]) {
    let mut told: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for (at, event) in recorded {
        if let Event::Told { name, incident, .. } = event {
            told.entry((name, incident)).or_default().push(*at);
        }
    }
    if told.is_empty() {
        return;
    }
    let is_known = |at: u64, name: &str, incident: &str| {
        told.get(&(name, incident))
            .is_some_and(|times| times.iter().any(|time| time.abs_diff(at) < SAME_WITHIN_NS))
    };
    // What the injector guesses of closings is not needed where they are recorded.
    events.retain(|(at, event)| match told_of(event) {
        Some((name, incident)) => !is_known(*at, name, incident),
        None => !matches!(event, Event::Closed(_)),
    });
}

// Nothing else is told.
#[allow(clippy::wildcard_enum_match_arm)]
fn told_of(event: &Event) -> Option<(&str, &str)> {
    match event {
        Event::Told { name, incident, .. } => Some((name, incident)),
        _ => None,
    }
}

fn names(cast: &Cast, folder: &Path) -> Result<Names, JudgeError> {
    let unread = |problem: String| JudgeError::Content { path: folder.join("cast.json"), problem };
    let mut vms = Vec::new();
    for (vm, text) in cast.vms.iter().enumerate() {
        vms.push((text.parse().map_err(|_| unread(format!("{text} is no UUID")))?, Vm(vm)));
    }
    let mut monitors = Vec::new();
    for (hm, text) in &cast.monitors {
        monitors.push((text.parse().map_err(|_| unread(format!("{text} is no UUID")))?, source::hm(*hm)));
    }
    Ok(Names::known(vms, monitors))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, JudgeError> {
    let unread = |source| JudgeError::File { path: folder.to_path_buf(), source };
    let entries = std::fs::read_dir(folder).map_err(unread)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // One that was only just begun has nothing in it.
    paths.retain(|path| {
        path.extension().is_some_and(|suffix| suffix == SUFFIX)
            && path.metadata().is_ok_and(|data| data.len() > 0)
    });
    paths.sort();
    Ok(paths)
}

fn whose(record: &Replayed) -> Option<Who> {
    record.events.iter().find_map(|(_, event)| life(event))
}

// Everything else says nothing of a start or an end.
#[allow(clippy::wildcard_enum_match_arm)]
const fn life(event: &Event) -> Option<Who> {
    match event {
        Event::MonitorUp(hm) | Event::MonitorDown(hm, _) => Some(Who::Monitor(*hm)),
        Event::ControllerUp | Event::ControllerDown(_) => Some(Who::Controller),
        _ => None,
    }
}

const fn is_end(event: &Event) -> bool {
    matches!(event, Event::MonitorDown(..) | Event::ControllerDown(_))
}

/// By what the injector noted last of it.
fn runs(events: &[(u64, Event)], who: Who) -> bool {
    let last = events.iter().rev().find(|(_, event)| life(event) == Some(who));
    last.is_some_and(|(_, event)| !is_end(event))
}

/// The core did something else than it had done, or a record is damaged.
fn of_failure(failure: &replay::Failure) -> Found {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    gap(text)
}

/// Heartbeats have an instant of their own.
fn at_origin(mut event: Event, origin: u64) -> Event {
    if let Event::Beat { arrived, .. } = &mut event {
        *arrived = Instant::from_nanos(arrived.as_nanos().saturating_add(origin));
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(incident: &str) -> Event {
        Event::Told { name: "VM_FAILURE_DETECTED".to_owned(), incident: incident.to_owned(), vm: None }
    }

    #[test]
    fn a_record_that_ends_before_its_daemon_is_found() {
        assert_eq!(cut_short(Who::Controller, &Ending::Stopped), None);
        for ending in [Ending::Full, Ending::Behind, Ending::Keys] {
            let found = cut_short(Who::Monitor(Hm { host: 0, trunk: 1 }), &ending).unwrap();
            assert_eq!(found.checker, "replay");
            assert!(found.text.contains("h1b") && found.text.contains(&ending.to_string()), "{found:?}");
        }
    }

    #[test]
    fn what_a_controller_told_counts_once_and_what_only_the_store_has_counts_too() {
        let second = 1_000_000_000;
        let closed = Event::Closed("a".to_owned());
        let mut of_store = vec![
            (100 * second, told("a")),
            (200 * second, closed.clone()),
            (200 * second, told("a")),
            (201 * second, told("b")),
        ];
        leave_out_what_was_said_twice(&mut of_store, &[(101 * second, told("a")), (150 * second, closed)]);
        assert_eq!(of_store, [(200 * second, told("a")), (201 * second, told("b"))]);
        let mut alone = vec![(1, told("a")), (2, Event::Closed("a".to_owned()))];
        leave_out_what_was_said_twice(&mut alone, &[]);
        assert_eq!(alone.len(), 2, "nothing is recorded: the store's word is all there is");
    }
}
