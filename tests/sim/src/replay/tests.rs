use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::names::Vm;
use crate::plan::{Plan, random};
use crate::run;

const VMS: usize = 20;

fn names() -> Names {
    let monitors = (0..4).flat_map(|host| (0..4).map(move |trunk| Hm { host, trunk }));
    Names::known((0..VMS).map(|vm| (Vm(vm).uuid(), Vm(vm))), monitors.map(|hm| (hm.id(), hm)))
}

/// Who says it, if it is a host monitor.
#[allow(clippy::wildcard_enum_match_arm)]
fn teller(event: &Event) -> Option<Hm> {
    match event {
        Event::MonitorUp(hm)
        | Event::Opened(_, hm)
        | Event::PathClosed(_, hm, _)
        | Event::Detected(_, hm)
        | Event::Missing { hm, .. }
        | Event::Blind(hm, _)
        | Event::Monitor(hm, _)
        | Event::Written(hm, ..)
        | Event::Committed(hm, _)
        | Event::Kept(hm, _)
        | Event::StoreFailed(hm, _)
        | Event::Beat { hm, .. } => Some(*hm),
        _ => None,
    }
}

/// What each start of each host monitor said, with the time since the start; heartbeats without when they arrived, and only
/// those of guests that had shaken hands with it.
fn starts(events: impl IntoIterator<Item = (Instant, Event)>) -> BTreeMap<Hm, Vec<Vec<(u128, String)>>> {
    let mut starts: BTreeMap<Hm, Vec<Vec<(u128, String)>>> = BTreeMap::new();
    let mut since: BTreeMap<Hm, Instant> = BTreeMap::new();
    let mut known = std::collections::BTreeSet::new();
    for (at, event) in events {
        let Some(hm) = teller(&event) else { continue };
        let of_hm = starts.entry(hm).or_default();
        if event == Event::MonitorUp(hm) {
            since.insert(hm, at);
            of_hm.push(Vec::new());
            known.retain(|(_, of)| *of != hm);
        }
        if let Event::Opened(vm, _) = event {
            known.insert((vm, hm));
        }
        if let Event::Beat { vm, .. } = event
            && !known.contains(&(vm, hm))
        {
            continue;
        }
        let text = if let Event::Beat { vm, arrived, guardian, .. } = event {
            format!("beat {vm} {guardian} {}", at.since(arrived).as_nanos())
        } else {
            event.to_string()
        };
        of_hm.last_mut().unwrap().push((at.since(since[&hm]).as_nanos(), text));
    }
    starts
}

fn records(directory: &Path) -> Vec<Replayed> {
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| one(path, &mut names()).unwrap()).collect()
}

/// Runs the plan, and says how many starts of host monitors were replayed to exactly the same.
fn same_events(plan: &Plan) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let truth = starts(run::recorded(plan, folder.path()));
    let mut replayed: BTreeMap<Hm, Vec<Vec<(u128, String)>>> = BTreeMap::new();
    for record in records(folder.path()) {
        for (hm, mut said) in starts(record.events) {
            replayed.entry(hm).or_default().append(&mut said);
        }
    }
    assert_eq!(truth.keys().collect::<Vec<_>>(), replayed.keys().collect::<Vec<_>>());
    for (hm, truth) in &truth {
        assert_eq!(truth.len(), replayed[hm].len(), "starts of {hm}");
        for (truth, replayed) in truth.iter().zip(&replayed[hm]) {
            if let Some(place) = (0..truth.len()).find(|place| truth.get(*place) != replayed.get(*place)) {
                panic!("{hm}, event {place}: {:?} and {:?}", truth.get(place), replayed.get(place));
            }
            assert_eq!(truth.len(), replayed.len(), "{:?}", replayed.get(truth.len()));
        }
    }
    truth.values().map(Vec::len).sum()
}

#[test]
fn what_simulated_monitors_recorded_is_what_they_did() {
    for name in
        ["monitor-killed", "store-refuses", "report-application", "quiet-granted", "move", "session-lossy"]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name).join("scenario");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(same_events(&Plan::parse(&text).unwrap()) > 0, "{name}");
    }
}

#[test]
fn so_is_what_those_of_random_seeds_did() {
    let seeds = (1..200).map(random::plan).filter(|plan| !plan.to_string().contains("pretend"));
    let starts: usize = seeds.take(20).map(|plan| same_events(&plan)).sum();
    assert!(starts > 20, "{starts}");
}
