//! What daemons recorded, replayed by their own cores and given to the checkers as events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vmpulse_local::recorder::Ending;
use vmpulse_protocol::time::Instant;
use vmpulse_sim::event::Event;
use vmpulse_sim::names::{Hm, Vm};
use vmpulse_sim::replay::{self, Names, Replayed};

use super::{JudgeError, source};
use crate::fact::Cast;
use crate::verdict::{Found, Verdict};

/// How records are called.
const SUFFIX: &str = "vmrec";

/// Adds what is in the folder's records. Who runs when records say better than the injector: to the instant.
pub(super) fn add(
    folder: &Path,
    cast: &Cast,
    events: &mut Vec<(u64, Event)>,
    verdict: &mut Verdict,
) -> Result<(), JudgeError> {
    let mut names = names(cast, folder)?;
    let mut of_monitors: BTreeMap<Hm, Vec<Replayed>> = BTreeMap::new();
    for path in files(folder)? {
        match replay::one(&path, &mut names) {
            Ok(record) => {
                if let Some(hm) = whose(&record) {
                    of_monitors.entry(hm).or_default().push(record);
                }
            }
            Err(failure) => verdict.violations.push(of_failure(&failure)),
        }
    }
    let runs: Vec<Hm> = of_monitors.keys().copied().filter(|hm| runs(events, *hm)).collect();
    events.retain(|(_, event)| !matches!(life(event), Some(hm) if of_monitors.contains_key(&hm)));
    for (hm, mut records) in of_monitors {
        records.sort_by_key(|record| record.opening.monotonic_ns);
        let lines: u64 = records.iter().map(|record| record.lines).sum();
        verdict.judged.push(format!("{hm}: {} starts, {lines} lines recorded", records.len()));
        let last = records.len();
        for (number, record) in records.into_iter().enumerate() {
            if let Some(ending) = record.ending.as_ref().filter(|ending| **ending != Ending::Stopped) {
                verdict.judged.push(format!("{hm}: not all of it: {ending}"));
            }
            let still_runs = number + 1 == last && runs.contains(&hm);
            let origin = record.opening.monotonic_ns;
            let happened = record.events.into_iter();
            // The last record of one that runs ends where it was read, and nowhere else.
            let happened =
                happened.filter(|(_, event)| !(still_runs && matches!(event, Event::MonitorDown(..))));
            events.extend(happened.map(|(at, event)| (at.as_nanos() + origin, at_origin(event, origin))));
        }
    }
    Ok(())
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

/// The host monitor that a record is of.
fn whose(record: &Replayed) -> Option<Hm> {
    record.events.iter().find_map(|(_, event)| life(event))
}

// Everything else says nothing of a monitor's start and end.
#[allow(clippy::wildcard_enum_match_arm)]
const fn life(event: &Event) -> Option<Hm> {
    match event {
        Event::MonitorUp(hm) | Event::MonitorDown(hm, _) => Some(*hm),
        _ => None,
    }
}

/// By what the injector noted last of it.
fn runs(events: &[(u64, Event)], hm: Hm) -> bool {
    let last = events.iter().rev().find(|(_, event)| life(event) == Some(hm));
    matches!(last, Some((_, Event::MonitorUp(_))))
}

/// The core did something else than it had done, or a record is damaged.
fn of_failure(failure: &replay::Failure) -> Found {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    Found { checker: "replay".to_owned(), at_s: 0, text }
}

/// Heartbeats have an instant of their own.
fn at_origin(mut event: Event, origin: u64) -> Event {
    if let Event::Beat { arrived, .. } = &mut event {
        *arrived = Instant::from_nanos(arrived.as_nanos().saturating_add(origin));
    }
    event
}
