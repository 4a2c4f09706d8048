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

/// What each life of each agent said, with the time since its start, and what guardians said, with the world's. What is of one
/// moment is in the order of its letters: a frozen guest's is carried out later than it is recorded.
fn lives(events: impl IntoIterator<Item = (Instant, Event)>) -> BTreeMap<Vm, Vec<Vec<(u128, String)>>> {
    let mut lives: BTreeMap<Vm, Vec<Vec<(u128, String)>>> = BTreeMap::new();
    let mut since: BTreeMap<Vm, Instant> = BTreeMap::new();
    for (at, event) in events {
        #[allow(clippy::wildcard_enum_match_arm)]
        let vm = match &event {
            Event::AgentUp(vm) => {
                since.insert(*vm, at);
                lives.entry(*vm).or_default().push(Vec::new());
                *vm
            }
            Event::Agent(_, text) if text.starts_with("the guardian") => continue,
            Event::Agent(vm, _) | Event::App(vm, _) | Event::Said(vm, _) | Event::QuietGranted(vm, _) => *vm,
            _ => continue,
        };
        lives
            .get_mut(&vm)
            .unwrap()
            .last_mut()
            .unwrap()
            .push((at.since(since[&vm]).as_nanos(), event.to_string()));
    }
    lives.values_mut().flatten().for_each(|life| life.sort());
    lives
}

/// What guardians said, by the world's clock.
fn guarded(events: impl IntoIterator<Item = (Instant, Event)>) -> Vec<(Instant, String)> {
    let said = |event: &Event| matches!(event, Event::Agent(_, text) if text.starts_with("the guardian"));
    let mut all: Vec<_> = events
        .into_iter()
        .filter(|(_, event)| said(event))
        .map(|(at, event)| (at, event.to_string()))
        .collect();
    all.sort();
    all
}

/// Agents and guardians did the same.
fn same_guests(truth: &[(Instant, Event)], records: &[Replayed]) -> usize {
    let of = |daemon: Daemon| records.iter().filter(move |record| record.opening.daemon == daemon);
    let mut replayed: BTreeMap<Vm, Vec<Vec<(u128, String)>>> = BTreeMap::new();
    for record in of(Daemon::Agent) {
        for (vm, mut said) in lives(record.events.iter().cloned()) {
            replayed.entry(vm).or_default().append(&mut said);
        }
    }
    let truth_lives = lives(truth.iter().cloned());
    for (vm, truth) in &truth_lives {
        for (life, (truth, replayed)) in truth.iter().zip(&replayed[vm]).enumerate() {
            let place =
                (0..truth.len().max(replayed.len())).find(|place| truth.get(*place) != replayed.get(*place));
            if let Some(place) = place {
                panic!("{vm}, life {life}: {:?} and {:?}", truth.get(place), replayed.get(place));
            }
        }
        assert_eq!(truth.len(), replayed[vm].len(), "lives of {vm}");
    }
    assert_eq!(truth_lives.len(), replayed.len());
    let guardians = of(Daemon::Guardian).flat_map(|record| record.events.iter().cloned());
    assert_eq!(guarded(truth.iter().cloned()), guarded(guardians));
    truth_lives.values().map(Vec::len).sum()
}

fn records(directory: &Path) -> Vec<Replayed> {
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| one(path, &mut names()).unwrap()).collect()
}

/// What controllers found.
fn findings(events: &[(Instant, Event)]) -> Vec<String> {
    let found = |event: &Event| {
        matches!(event, Event::Told { .. } | Event::Closed(_) | Event::Phase(..) | Event::ControllerUp)
    };
    events.iter().filter(|(_, event)| found(event)).map(|(_, event)| event.to_string()).collect()
}

/// By their records, the oldest first.
fn of_controllers(records: &[Replayed]) -> Vec<String> {
    let controllers = records.iter().filter(|record| record.opening.daemon == Daemon::Controller);
    let mut events: Vec<_> = controllers.flat_map(|record| record.events.iter().cloned()).collect();
    keep_what_closes(&mut events);
    findings(&events)
}

/// Runs the plan, and says how many starts of host monitors were replayed to exactly the same.
fn same_events(plan: &Plan) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let truth = run::recorded(plan, folder.path());
    let records = records(folder.path());
    // Of what the store has and did not answer, no record knows.
    if !plan.to_string().contains("loses-answers") {
        assert_eq!(findings(&truth), of_controllers(&records));
    }
    assert!(same_guests(&truth, &records) > 0);
    let truth = starts(truth);
    let mut replayed: BTreeMap<Hm, Vec<Vec<(u128, String)>>> = BTreeMap::new();
    for record in records {
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
    for name in [
        "monitor-killed",
        "store-refuses",
        "report-application",
        "quiet-granted",
        "move",
        "session-lossy",
        "controller-restart",
        "agent-killed",
        "agent-stopped",
        "guardian-hang",
        "guardian-for-good",
        "suspension-late",
    ] {
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
