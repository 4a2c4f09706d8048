//! Rounds: injections, healing, convergence, judgement, until the time is over or something is found.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use vmpulse_soak::deed::{Deed, ToGuest};
use vmpulse_soak::fact::Fact;
use vmpulse_soak::schedule::{self, Class, Mix};
use vmpulse_soak::verdict::Verdict;

use super::cluster::Cluster;
use super::log::Log;
use super::usage::{Usage, load};
use super::{Options, Output};
use crate::artifacts::JUDGE;
use crate::error::{Lab, LabError};
use crate::outcome::Report;
use crate::process::{Place, run as run_command};
use crate::wait::{self, Stopwatch};
use crate::workspace::{make_dir, write};
use crate::world::{self, World};

/// A line of progress this often.
const PROGRESS: Duration = Duration::from_secs(30);
/// Everybody's init looks this often.
const SUPERVISE: Duration = Duration::from_millis(500);
/// Between two looks at a cluster that is getting well: a look runs a command in every guest.
const LOOK: Duration = Duration::from_secs(5);
/// The simulator's checkers of convergence and of reports speak of guests that have run for 180 s; they are given the time to.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(200);
/// The injector says that it was not scheduled itself when a pause of its loop took longer than this.
const LATE: Duration = Duration::from_millis(250);

struct Soak<'a> {
    options: &'a Options,
    cluster: Cluster,
    log: Log,
    watch: Stopwatch,
    shown: Stopwatch,
    supervised: Stopwatch,
    injections: BTreeMap<Class, u64>,
    verdict: Verdict,
    /// How long each round's convergence took; nothing for one that did not get well.
    convergence: Vec<Option<Duration>>,
    worst_late: Duration,
    usage: Usage,
}

/// Runs all of it.
pub(super) fn run(world: World, options: &Options, report: &mut Report) -> Lab<()> {
    make_dir(world::dir("records"))?;
    let mut log = Log::begin(world::dir("records").join("facts.jsonl"))?;
    let watch = Stopwatch::start();
    let cluster = Cluster::start(world, &mut log, options.seed, options.guests)?;
    let cast = serde_json::to_string(&cluster.cast()).unwrap_or_default();
    write(&world::dir("records").join("cast.json"), cast)?;
    let usage = cluster.usage()?;
    options.tell(&format!(
        "{} guests are STARTED after {:.0} s; load {}",
        options.guests,
        watch.seconds(),
        load()
    ));
    let now = Stopwatch::start();
    let mut soak = Soak {
        options,
        cluster,
        log,
        watch: now,
        shown: now,
        supervised: now,
        injections: BTreeMap::new(),
        verdict: Verdict::default(),
        convergence: Vec::new(),
        worst_late: Duration::ZERO,
        usage,
    };
    let result = soak.rounds();
    if result.is_err() {
        soak.keep_store();
    }
    soak.keep_records();
    let figures = soak.summary(report);
    result.and(figures)
}

impl Soak<'_> {
    fn rounds(&mut self) -> Lab<()> {
        self.set_detection_times()?;
        let end = Duration::from_secs(self.options.minutes * 60);
        let mut number = 1;
        while self.watch.elapsed() < end {
            self.round(number)?;
            number += 1;
        }
        Ok(())
    }

    fn set_detection_times(&mut self) -> Lab<()> {
        let mut times: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for deed in schedule::opening(self.options.seed, self.cluster.shape()) {
            if let Deed::Guest(vm, ToGuest::DetectionTime(ms)) = deed {
                times.entry(ms).or_default().push(vm);
            }
            self.cluster.perform(&mut self.log, deed)?;
        }
        self.cluster.set_detection_times(&times)
    }

    fn round(&mut self, number: u64) -> Lab<()> {
        let length = Duration::from_secs(self.options.round_seconds);
        let injections = schedule::round(self.options.seed, number, self.cluster.shape(), length);
        self.log.note(Fact::Round(number))?;
        for injection in &injections {
            *self.injections.entry(injection.class).or_default() += 1;
        }
        let (mix, count) = (Mix::of(number), injections.len());
        self.options
            .tell(&format!("minute {:5.1}  round {number}: {count} injections ({mix})", self.minutes()));
        let began = Stopwatch::start();
        for (at, deed) in schedule::deeds(&injections) {
            self.pass_until(|_| began.elapsed() >= at, &format!("round {number}"))?;
            self.cluster.perform(&mut self.log, deed)?;
        }
        self.pass_until(|_| began.elapsed() >= length, &format!("round {number}"))?;
        self.cluster.perform(&mut self.log, Deed::Heal)?;
        let unwell = self.converge(number)?;
        self.judge(number, &unwell)
    }

    fn minutes(&self) -> f64 {
        self.watch.seconds() / 60.0
    }

    /// Goes on until something is so, doing what has to be done all the time.
    fn pass_until(&mut self, done: impl Fn(&Soak<'_>) -> bool, what: &str) -> Lab<()> {
        while !done(self) {
            if wait::interrupted() {
                return Err(LabError::Interrupted);
            }
            let pause = Stopwatch::start();
            wait::pause();
            let late = pause.elapsed();
            if late > LATE {
                self.worst_late = self.worst_late.max(late);
                self.log.note(Fact::Late(u64::try_from(late.as_millis()).unwrap_or(u64::MAX)))?;
            }
            if self.supervised.elapsed() >= SUPERVISE {
                self.supervised = Stopwatch::start();
                self.cluster.supervise(&mut self.log)?;
            }
            if self.shown.elapsed() >= PROGRESS {
                self.shown = Stopwatch::start();
                self.options.tell(&format!(
                    "minute {:5.1}  {what}; {} injections, {} events judged, {} violations; load {}",
                    self.minutes(),
                    self.injections.values().sum::<u64>(),
                    self.verdict.events,
                    self.verdict.violations.len(),
                    load()
                ));
            }
        }
        Ok(())
    }

    /// Until everything is well, or long enough for the checkers to say why it is not. Returns what is not.
    fn converge(&mut self, number: u64) -> Lab<Vec<String>> {
        let healed = Stopwatch::start();
        loop {
            let next = Stopwatch::start();
            self.pass_until(|_| next.elapsed() >= LOOK, &format!("round {number}, getting well"))?;
            let look = self.cluster.look()?;
            let well = look.unwell.is_empty();
            if !well && healed.elapsed() < CONVERGENCE_LIMIT {
                continue;
            }
            self.convergence.push(well.then(|| healed.elapsed()));
            if !well {
                self.options.tell(&format!("not well {:.0} s after the last injection:", healed.seconds()));
                look.unwell.iter().for_each(|line| self.options.tell(&format!("  {line}")));
            }
            for (at, fact) in self.cluster.told()? {
                self.log.note_at(at, fact)?;
            }
            look.facts.into_iter().try_for_each(|fact| self.log.note(fact))?;
            return Ok(look.unwell);
        }
    }

    fn judge(&mut self, number: u64, unwell: &[String]) -> Lab<()> {
        let mut command = Place::Here.command(self.cluster.world.kit().program(JUDGE));
        command.arg("judge").arg(world::dir("records"));
        let watch = Stopwatch::start();
        let text = run_command(command)?.ok()?;
        self.verdict = serde_json::from_str(&text)
            .map_err(|error| LabError::Unexpected(format!("the judge's answer: {error}:\n{text}")))?;
        let verdict = &self.verdict;
        self.options.tell(&format!(
            "minute {:5.1}  round {number} is judged in {:.1} s: {} events, {} violations; well again after {}; {} failures told of {} silences",
            self.minutes(),
            watch.seconds(),
            verdict.events,
            verdict.violations.len(),
            well_after(self.convergence.last().copied().flatten()),
            verdict.figures.failures_told,
            verdict.figures.silences,
        ));
        let Some(why) = verdict.ends(number, unwell) else { return Ok(()) };
        let last: String = verdict.last.iter().map(|line| format!("  {line}\n")).collect();
        self.options.tell(&format!("\nThe last events:\n{last}"));
        Err(LabError::Unexpected(why))
    }

    /// Facts and records, also of a soak that found nothing, so that they can be judged again.
    fn keep_records(&self) {
        let from = world::dir("records");
        let to = self.cluster.world.kit().lab_dir.join("soak");
        let _ = std::fs::remove_dir_all(&to);
        let entries = std::fs::read_dir(&from).into_iter().flatten().flatten();
        let copied = make_dir(to).and_then(|to| {
            entries.map(|entry| (entry.path(), to.join(entry.file_name()))).try_for_each(|(from, to)| {
                std::fs::copy(&from, &to).map(drop).map_err(LabError::file("write", &to))
            })
        });
        if let Err(error) = copied {
            self.options.tell(&format!("the records could not be kept: {}", error.explain()));
        }
    }

    /// The store as SQL, with the evidence.
    fn keep_store(&mut self) {
        let _ = self.cluster.perform(&mut self.log, Deed::Heal);
        if let Err(error) = self.cluster.site.dump(&world::dir("store").join("store.sql")) {
            self.options.tell(&format!("the store could not be kept: {}", error.explain()));
        }
    }

    fn summary(&mut self, report: &mut Report) -> Lab<()> {
        let (before, after) = (self.usage.clone(), self.cluster.usage()?);
        let figures = &self.verdict.figures;
        let classes: BTreeMap<String, u64> =
            self.injections.iter().map(|(class, count)| (class.to_string(), *count)).collect();
        let convergence: Vec<Option<u64>> =
            self.convergence.iter().map(|time| time.map(|time| time.as_secs())).collect();
        if self.options.output == Some(Output::Json) {
            let answer = json!({
                "command": self.options.command(), "minutes": self.minutes(), "injections": classes,
                "rounds_well_after_s": convergence, "verdict": self.verdict, "usage_before": before, "usage_after": after,
                "injector_late_ms": u64::try_from(self.worst_late.as_millis()).unwrap_or(u64::MAX),
                "restarted_by_themselves": self.cluster.restarts, "load": load(),
                "acknowledged": { "judged": self.cluster.answers.judged, "overtaken": self.cluster.answers.overtaken },
            });
            println!("{answer:#}");
            return Ok(());
        }
        let mut lines = vec![
            format!("{:.1} minutes, {} rounds, load {}", self.minutes(), convergence.len(), load()),
            format!("events judged {}, of them heartbeats {}", self.verdict.events, self.verdict.beats),
            format!("violations {}", self.verdict.violations.len()),
            format!(
                "well again after {}",
                self.convergence.iter().map(|time| well_after(*time)).collect::<Vec<_>>().join(", ")
            ),
            format!(
                "suspensions and their ends that were acknowledged: held against the store {}, overtaken by the next word {}",
                self.cluster.answers.judged, self.cluster.answers.overtaken
            ),
            format!(
                "VM failures: told {}; guests off or still for longer than their limits {}, by more than 15 s {}",
                figures.failures_told, figures.silences, figures.failures_due
            ),
            format!(
                "from a silent guest's last heartbeat to its declaration, less its limit (least, median, most of {}): {}",
                figures.detections,
                figures.detection_ms.map_or("-".to_string(), |[least, median, most]| format!(
                    "{:.1}, {:.1}, {:.1} s",
                    seconds(least),
                    seconds(median),
                    seconds(most)
                ))
            ),
            format!(
                "worst time between two heartbeats of an undisturbed path: {:.2} s",
                seconds(figures.worst_gap_ms)
            ),
            format!(
                "daemons not scheduled, by their own records: {} times, {:.2} s at most; the injector itself {:.2} s at most",
                figures.stalls,
                seconds(figures.worst_stall_ms),
                self.worst_late.as_secs_f64()
            ),
            format!("daemons that ended by themselves and were started again: {}", self.cluster.restarts),
            format!(
                "memory of host monitors in KiB: {:?}, before {:?}",
                after.monitors_kib, before.monitors_kib
            ),
            format!(
                "memory of the controller in KiB: {}, before {}",
                after.controller_kib, before.controller_kib
            ),
            format!(
                "largest agent {} KiB, before {}; largest guardian {} KiB, before {}",
                after.agent_kib, before.agent_kib, after.guardian_kib, before.guardian_kib
            ),
            format!(
                "descriptors of host monitors and controller: {}, before {}",
                after.descriptors, before.descriptors
            ),
            format!(
                "store: {} KiB, before {}; {} transactions",
                after.store_bytes / 1024,
                before.store_bytes / 1024,
                after.transactions.saturating_sub(before.transactions)
            ),
            "injections:".to_string(),
        ];
        lines.extend(classes.iter().map(|(class, count)| format!("  {class:<18} {count:>5}")));
        lines.push("judged:".to_string());
        lines.extend(self.verdict.judged.iter().map(|line| format!("  {line}")));
        println!();
        lines.into_iter().for_each(|line| {
            println!("{line}");
            report.figure(line);
        });
        Ok(())
    }
}

fn well_after(time: Option<Duration>) -> String {
    time.map_or("never".to_string(), |time| format!("{} s", time.as_secs()))
}

#[allow(clippy::cast_precision_loss)] // Milliseconds of hours.
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
