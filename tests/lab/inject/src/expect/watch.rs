//! Asks `hamgr` what came.

use std::io::{IsTerminal, Write};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Bounds, Expectation, Named, Seen};
use crate::class::{Source, Subject};
use crate::error::{Inject, InjectError};
use crate::tool;
use crate::wait::{self, Stopwatch};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two lines that say how it goes, where they cannot overwrite each other.
const TELL_EVERY_S: u64 = 10;
/// More events than a failure ever brings; the store answers with the newest.
const COUNT: &str = "count=1000";
/// A host monitor's write and the questions themselves, beside the controller's poll.
const SLACK_S: u64 = 10;
/// Where no controller says how it polls.
const POLL_MS: u64 = 20_000;
/// `host_failure_detection_time` unless it is set.
const HOST_S: u64 = 90;

/// How the store is asked.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The controller's command.
    pub hamgr: String,
    /// Its settings, if not the usual.
    pub settings: Option<String>,
    /// The store, if not that of the settings.
    pub store: Option<String>,
}

impl Asker {
    /// The answer to `hamgr query ...`.
    ///
    /// # Errors
    /// `Failed` with what it said, or that it cannot be run.
    pub fn query(&self, words: &[&str]) -> Inject<Value> {
        let mut command = Command::new(&self.hamgr);
        command.args(["-o", "json"]);
        for (flag, value) in [("--settings", &self.settings), ("--store", &self.store)] {
            if let Some(value) = value {
                command.args([flag, value]);
            }
        }
        command.arg("query").args(words);
        tool::ask(command)
    }

    /// What the store says now.
    ///
    /// # Errors
    /// As [`Asker::query`], and when it says no time.
    pub fn told(&self) -> Inject<Told> {
        let system = self.query(&["system"])?;
        let system = system.get(0).unwrap_or(&system).clone();
        let Some(time) = system.get("time").and_then(Value::as_str).map(str::to_owned) else {
            return Err(InjectError::Failed("`hamgr query system` says no time.".to_owned()));
        };
        Ok(Told { time, system, vms: self.query(&["vm"])? })
    }

    /// Everything that came since.
    fn since(&self, time: &str) -> Inject<Vec<Seen>> {
        let since = format!("since={time}");
        let events = self.query(&["event", &since, COUNT])?;
        let remarks = self.query(&["event", "source=vios", &since, COUNT])?;
        let list = |answer: &Value, source: Source| -> Vec<Seen> {
            answer.as_array().into_iter().flatten().map(|event| seen(event, source)).collect()
        };
        Ok([list(&events, Source::Controller), list(&remarks, Source::Monitor)].concat())
    }
}

/// What the store said before anything was broken.
#[derive(Debug, Clone)]
pub struct Told {
    /// The store's time: what comes afterwards is later.
    pub time: String,
    system: Value,
    vms: Value,
}

impl Told {
    /// What bounds depend on, by the settings that hold.
    #[must_use]
    pub fn bounds(&self, named: &[Named], own_s: u64) -> Bounds {
        let host_s = self.system.pointer("/settings/host_failure_detection_time_s").and_then(Value::as_u64);
        let controllers = self.system.get("controllers").and_then(Value::as_array).into_iter().flatten();
        let poll_ms =
            controllers.filter_map(|one| one.get("poll_interval_ms")?.as_u64()).max().unwrap_or(POLL_MS);
        let vms = self.vms.as_array().into_iter().flatten().filter(|vm| is_named(vm, named));
        let vmfdt_s = vms.filter_map(silence_ms).max().unwrap_or_default().div_ceil(1000);
        // Of three polls only one asks about VMs.
        Bounds {
            vmfdt_s,
            host_s: host_s.unwrap_or(HOST_S),
            own_s,
            slack_s: SLACK_S + (poll_ms * 3).div_ceil(1000),
        }
    }
}

/// One of the VMs that are named; all if none is.
fn is_named(vm: &Value, named: &[Named]) -> bool {
    let called = |name: &str| ["name", "uuid"].iter().any(|field| text(vm, field).eq_ignore_ascii_case(name));
    let mut names = named.iter().filter(|(of, _)| *of == Subject::Vm).peekable();
    names.peek().is_none() || names.any(|(_, name)| called(name))
}

/// How long a VM may have been silent when it is called failed, and a heartbeat interval before that.
fn silence_ms(vm: &Value) -> Option<u64> {
    let interval = vm.pointer("/detection/heartbeat_interval_ms/value")?.as_u64()?;
    Some(vm.pointer("/detection/vmfdt_ms/value")?.as_u64()? + interval)
}

fn seen(event: &Value, source: Source) -> Seen {
    let parts = ["resource", "host_monitor", "uuid", "description"].map(|field| text(event, field));
    Seen {
        event: text(event, "event"),
        source,
        critical: text(event, "severity").eq_ignore_ascii_case("critical"),
        text: parts.join(" ").trim().to_owned(),
    }
}

fn text(record: &Value, field: &str) -> String {
    record.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Watches what comes after `since` until all came or the last bound is over, and for `at_least_s` in any case. A store that does not
/// answer is asked again: it may be what was broken.
///
/// # Errors
/// `Failed` when it did not answer once.
pub fn watch(asker: &Asker, since: &str, expectation: &mut Expectation, at_least_s: u64) -> Inject<()> {
    let stopwatch = Stopwatch::start();
    let mut progress = Progress::default();
    let mut answered = Err(InjectError::Failed("nothing was asked".to_owned()));
    loop {
        let after_s = stopwatch.seconds();
        match asker.since(since) {
            Ok(seen) => {
                expectation.take(&seen, after_s);
                answered = Ok(());
            }
            Err(error) if answered.is_err() => answered = Err(error),
            Err(_) => {}
        }
        if expectation.is_over(after_s) && after_s >= at_least_s {
            break;
        }
        let last =
            expectation.expected.iter().map(|wanted| wanted.within_s).max().unwrap_or(0).max(at_least_s);
        progress.tell(after_s, last, &expectation.missing());
        wait::pause(PAUSE);
    }
    progress.end();
    answered
}

/// A line on standard error that says how it goes.
#[derive(Debug, Default)]
struct Progress {
    told: Option<u64>,
}

impl Progress {
    fn tell(&mut self, after_s: u64, last_s: u64, missing: &str) {
        let mut out = std::io::stderr();
        let missing = if missing.is_empty() { "anything that must not come" } else { missing };
        if out.is_terminal() {
            let _ = write!(out, "\r\x1b[Kwaiting, {after_s} of at most {last_s} s: {missing}");
            let _ = out.flush();
            self.told = Some(after_s);
        } else if self.told.is_none_or(|told| after_s >= told + TELL_EVERY_S) {
            let _ = writeln!(out, "waiting, {after_s} of at most {last_s} s: {missing}");
            self.told = Some(after_s);
        }
    }

    fn end(&self) {
        let mut out = std::io::stderr();
        if self.told.is_some() && out.is_terminal() {
            let _ = write!(out, "\r\x1b[K");
        }
    }
}
