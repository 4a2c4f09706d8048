//! Facts and records, put in order by the machine's clock and given to the simulator's checkers.
//!
//! Several processes noted them: of two things within a few milliseconds nobody can say which came first. Injections are
//! therefore noted before they begin and after they are over.

mod figures;
mod records;
mod source;

use std::path::{Path, PathBuf};

use vmpulse_protocol::time::Instant;
use vmpulse_sim::checkers::{self, Checker};
use vmpulse_sim::event::Event;
use vmpulse_sim::plan::{Cluster, Plan};
use vmpulse_sim::trace::Trace;

use crate::fact::{Cast, Fact, Line};
use crate::verdict::{Found, Verdict};
use figures::Meter;

/// Violations kept: the first says what is wrong, the others often only follow.
const VIOLATIONS_MAXIMUM: usize = 20;
/// Checkers that wait are asked this often, as in the simulator.
const TICK_NS: u64 = 5_000_000_000;

/// Why nothing could be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A file is not there or cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Judges what is in a soak's folder: `cast.json`, `facts.jsonl`, and records of daemons.
///
/// # Errors
/// [`JudgeError`].
pub fn judge(folder: &Path) -> Result<Verdict, JudgeError> {
    let (mut verdict, mut gaps) = judge_what_there_is(folder)?;
    if verdict.beats == 0 {
        gaps.push(records::gap(
            "no heartbeat is recorded, and so nothing was judged that needs them".to_owned(),
        ));
    }
    verdict.violations.splice(0..0, gaps);
    Ok(verdict)
}

/// And says what is missing.
fn judge_what_there_is(folder: &Path) -> Result<(Verdict, Vec<Found>), JudgeError> {
    let path = folder.join("cast.json");
    let cast: Cast = serde_json::from_str(&read(&path)?)
        .map_err(|error| JudgeError::Content { path, problem: error.to_string() })?;
    let lines = facts(&folder.join("facts.jsonl"))?;
    let mut events = source::of_facts(&lines);
    let mut verdict = Verdict::default();
    let gaps = records::add(folder, &cast, &mut events, &mut verdict)?;
    Ok((feed(&cast, events, verdict), gaps))
}

fn read(path: &Path) -> Result<String, JudgeError> {
    std::fs::read_to_string(path).map_err(|source| JudgeError::File { path: path.to_path_buf(), source })
}

/// Final looks of rounds before the last are left out: what was under way then is not any more.
fn facts(path: &Path) -> Result<Vec<Line>, JudgeError> {
    let mut lines = Vec::new();
    for (number, text) in read(path)?.lines().enumerate() {
        let line: Line = serde_json::from_str(text).map_err(|error| JudgeError::Content {
            path: path.to_path_buf(),
            problem: format!("line {}: {error}", number + 1),
        })?;
        if matches!(line.fact, Fact::Round(_)) {
            lines.retain(|line: &Line| !is_final(&line.fact));
        }
        lines.push(line);
    }
    Ok(lines)
}

const fn is_final(fact: &Fact) -> bool {
    matches!(fact, Fact::FinalVm(_) | Fact::FinalMonitor(_) | Fact::FinalNodeEvents(..) | Fact::FinalRows(..))
}

/// What the checkers have to know.
fn plan(cast: &Cast, end: Instant) -> Plan {
    let cluster = Cluster {
        seed: cast.seed,
        hosts: cast.hosts,
        trunks: cast.trunks,
        vms: cast.vms.len(),
        apps: 1,
        guardian: true,
        ..Cluster::default()
    };
    Plan { cluster, actions: Vec::new(), end, converges: true }
}

fn feed(cast: &Cast, mut events: Vec<(u64, Event)>, mut verdict: Verdict) -> Verdict {
    events.sort_by_key(|(at, _)| *at);
    let (first, last) = (events.first().map_or(0, |(at, _)| *at), events.last().map_or(0, |(at, _)| *at));
    let instant = |at: u64| relative(at, first);
    let plan = plan(cast, instant(last));
    let mut checkers = checkers::all(&plan);
    let mut meter = Meter::new(cast.vms.len());
    let mut trace = Trace::new(None);
    let mut next_tick = first;
    for (at, event) in &events {
        while next_tick < *at {
            step(&mut checkers, &mut trace, &mut verdict, instant(next_tick), &Event::Tick);
            next_tick += TICK_NS;
        }
        let now = instant(*at);
        let mut event = event.clone();
        if let Event::Beat { arrived, .. } = &mut event {
            verdict.beats += 1;
            *arrived = instant(arrived.as_nanos());
        }
        meter.on_event(now, &event);
        step(&mut checkers, &mut trace, &mut verdict, now, &event);
    }
    for checker in &mut checkers {
        if let Err(text) = checker.at_end(plan.end) {
            note(&mut verdict, &trace, plan.end, checker.name(), text);
        }
    }
    if verdict.last.is_empty() {
        verdict.last = trace.last().map(str::to_owned).collect();
    }
    verdict.events = events.len() as u64;
    verdict.figures = meter.figures();
    verdict
}

/// Time begins with the soak; nothing is at zero, where checkers put what never was.
const fn relative(at: u64, first: u64) -> Instant {
    Instant::from_nanos(at.saturating_sub(first).saturating_add(1_000_000_000))
}

fn step(
    checkers: &mut [Box<dyn Checker>],
    trace: &mut Trace<'_>,
    verdict: &mut Verdict,
    now: Instant,
    event: &Event,
) {
    trace.push(now, event);
    for checker in checkers {
        if let Err(text) = checker.on_event(now, event) {
            note(verdict, trace, now, checker.name(), text);
        }
    }
}

fn note(verdict: &mut Verdict, trace: &Trace<'_>, now: Instant, checker: &str, text: String) {
    if verdict.last.is_empty() {
        verdict.last = trace.last().map(str::to_owned).collect();
    }
    if verdict.violations.len() < VIOLATIONS_MAXIMUM {
        let at_s = now.as_nanos() / 1_000_000_000;
        verdict.violations.push(Found { checker: checker.to_owned(), at_s, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deed::Hm;
    use crate::fact::FinalVm;

    const SECOND: u64 = 1_000_000_000;

    fn cast() -> Cast {
        Cast {
            seed: 1,
            hosts: 1,
            trunks: 1,
            vms: vec!["7e57ab1e-0001-4000-8000-000000000001".to_owned()],
            monitors: vec![(Hm { host: 0, trunk: 0 }, "7e57ab1e-0002-4000-8000-000000000041".to_owned())],
        }
    }

    fn judged(facts: Vec<(u64, Fact)>) -> Verdict {
        judged_with(facts, |_| {})
    }

    fn judged_with(facts: Vec<(u64, Fact)>, prepare: impl FnOnce(&Path)) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        std::fs::write(folder.path().join("cast.json"), serde_json::to_string(&cast()).unwrap()).unwrap();
        let lines = facts.into_iter().map(|(at, fact)| Line { at: (at + 7000) * SECOND, fact });
        let text: String = lines.map(|line| serde_json::to_string(&line).unwrap() + "\n").collect();
        std::fs::write(folder.path().join("facts.jsonl"), text).unwrap();
        // Facts alone: what the checkers make of them, whatever is not recorded.
        judge_what_there_is(folder.path()).unwrap().0
    }

    fn well(at: u64, told: bool) -> Vec<(u64, Fact)> {
        let mut facts = vec![
            (0, Fact::Faults(1)),
            (1, Fact::Started(0, 0)),
            (2, Fact::AgentUp(0)),
            (10, Fact::Faults(0)),
            (11, Fact::Round(1)),
        ];
        if told {
            let told = Fact::Told("VM_FAILURE_DETECTED".to_owned(), "vm-silent:x".to_owned(), Some(0));
            facts.push((at, told));
        }
        facts
    }

    #[test]
    fn a_healthy_guest_that_is_called_failed_is_found_and_the_last_events_say_so() {
        let verdict = judged(well(1000, true));
        let found: Vec<&str> = verdict.violations.iter().map(|found| found.checker.as_str()).collect();
        assert!(found.contains(&"alive"), "{verdict:?}");
        assert!(verdict.last.last().is_some_and(|line| line.contains("VM_FAILURE_DETECTED")), "{verdict:?}");
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        let verdict = judged(well(1000, false));
        assert_eq!(verdict.violations, [], "{verdict:?}");
    }

    #[test]
    fn a_record_that_cannot_be_replayed_is_found() {
        let verdict =
            judged_with(well(0, false), |folder| std::fs::write(folder.join("a.vmrec"), "nothing").unwrap());
        assert_eq!(
            verdict.violations.first().map(|found| found.checker.as_str()),
            Some("replay"),
            "{verdict:?}"
        );
    }

    /// A run of the simulator as a soak's folder: its records, and facts that say the same.
    fn simulated(prepare: impl FnOnce(&Path)) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Cluster { trunks: 2, vms: 1, ..Cluster::default() };
        let plan =
            Plan { cluster, actions: Vec::new(), end: Instant::from_nanos(400 * SECOND), converges: true };
        vmpulse_sim::run::record(&plan, folder.path()).unwrap();
        let hm = |trunk| vmpulse_sim::names::Hm { host: 0, trunk };
        let vms = vec![vmpulse_sim::names::Vm(0).uuid().to_string()];
        let monitors = (0..2).map(|trunk| (Hm { host: 0, trunk }, hm(trunk).id().to_string())).collect();
        let cast = Cast { trunks: 2, vms, monitors, ..cast() };
        std::fs::write(folder.path().join("cast.json"), serde_json::to_string(&cast).unwrap()).unwrap();
        let facts =
            [(0, Fact::Faults(1)), (1, Fact::Started(0, 0)), (1, Fact::AgentUp(0)), (390, Fact::Round(1))];
        let lines = facts.map(|(at, fact)| serde_json::to_string(&Line { at: at * SECOND, fact }).unwrap());
        std::fs::write(folder.path().join("facts.jsonl"), lines.join("\n")).unwrap();
        prepare(folder.path());
        judge(folder.path()).unwrap()
    }

    fn records_in(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "vmrec")).collect()
    }

    fn texts(verdict: &Verdict) -> String {
        verdict.violations.iter().map(|found| format!("{}: {}\n", found.checker, found.text)).collect()
    }

    #[test]
    fn a_run_that_is_recorded_is_judged_and_one_that_is_not_is_a_finding() {
        let verdict = simulated(|_| {});
        assert_eq!(texts(&verdict), "");
        assert!(verdict.beats > 0, "{verdict:?}");
        let verdict = simulated(|folder| {
            for path in records_in(folder) {
                std::fs::remove_file(path).unwrap();
            }
        });
        let text = texts(&verdict);
        assert_eq!(
            verdict.violations.len(),
            4,
            "two host monitors, a controller, and no heartbeats:\n{text}"
        );
        assert!(text.contains("replay: controller has no record"), "{text}");
        assert!(text.contains("replay: no heartbeat is recorded"), "{text}");
        assert!(!verdict.last.is_empty(), "what was judged last is told");
    }

    #[test]
    fn a_single_daemon_without_a_record_is_found() {
        for who in ["h1b", "controller"] {
            let verdict = simulated(|folder| {
                let is_of = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(who);
                for path in records_in(folder).into_iter().filter(is_of) {
                    std::fs::remove_file(path).unwrap();
                }
            });
            let text = texts(&verdict);
            assert_eq!(verdict.violations.len(), 1, "{who}:\n{text}");
            assert!(text.contains(who) && text.contains("has no record"), "{who}:\n{text}");
        }
    }

    #[test]
    fn a_daemon_that_was_killed_before_its_first_block_is_no_finding() {
        let verdict = simulated(|folder| {
            let whole = std::fs::read(records_in(folder).first().unwrap()).unwrap();
            std::fs::write(folder.join("killed-0.vmrec"), "").unwrap();
            std::fs::write(folder.join("killed-1.vmrec"), &whole[..12]).unwrap();
            std::fs::write(folder.join("killed-2.vmrec"), &whole[..30]).unwrap();
        });
        assert_eq!(texts(&verdict), "");
        assert!(verdict.judged.iter().any(|line| line.contains("2 records end before")), "{verdict:?}");
    }

    #[test]
    fn only_the_last_look_counts_and_what_it_finds_unwell_is_found() {
        let vm = |state: &str| {
            Fact::FinalVm(FinalVm { runs: true, beating: 1, state: state.to_owned(), ..FinalVm::default() })
        };
        let mut facts = well(0, false);
        facts.extend([(500, vm("UNKNOWN")), (501, Fact::Round(2)), (900, vm("STARTED"))]);
        assert_eq!(judged(facts.clone()).violations, []);
        facts.extend([(901, vm("UNKNOWN"))]);
        assert_eq!(judged(facts).violations.first().map(|found| found.checker.as_str()), Some("convergence"));
    }
}
