//! `hmmgr doctor`: collects what [`crate::doctor`] judges, and shows what is found.

mod collect;
mod probe;
mod progress;

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde::Serialize;
use vmpulse_local::exit::Exit;

use super::{Output, fail, print};
use crate::doctor::{Facts, Finding, TrunkFacts, judge};
use crate::settings::Settings;
use crate::trunk_setup::plan::Adapter;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The trunk; if none is named, every trunk that was made here, and the one in the settings.
    trunk: Option<Adapter>,
    /// What not to look at.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECK,...")]
    without: Vec<Check>,
}

/// What can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The wall clock: this host has no NTP on purpose.
    Clock,
    /// The host monitors: they are stopped on purpose.
    Daemon,
    /// The keys of VMs.
    Keys,
    /// Frames that are sent on the trunks.
    Probe,
    /// The health store.
    Store,
}

/// As `-o json` shows it.
#[derive(Serialize)]
struct Report<'a> {
    /// Nothing was found.
    ok: bool,
    findings: &'a [Finding],
    trunks: Vec<Looked<'a>>,
    /// What was left out.
    not_checked: Vec<String>,
}

/// A trunk that was looked at.
#[derive(Serialize)]
struct Looked<'a> {
    trunk: &'a str,
    guests_adapter: Option<&'a str>,
    monitor_adapter: &'a str,
    /// Frames that were sent on it, and those that came back; none: none were sent.
    frames_sent: Option<usize>,
    frames_reflected: Option<usize>,
    waited_ms: Option<u128>,
}

impl<'a> Looked<'a> {
    fn new(trunk: &'a TrunkFacts) -> Self {
        let probe = trunk.probe.as_ref().and_then(|probe| probe.as_ref().ok());
        Self {
            trunk: &trunk.name,
            guests_adapter: trunk.guests_adapter.as_deref(),
            monitor_adapter: &trunk.monitor_adapter,
            frames_sent: probe.map(|probe| probe.sent),
            frames_reflected: probe.map(|probe| probe.reflected.len()),
            waited_ms: probe.map(|probe| probe.waited.as_millis()),
        }
    }
}

pub(super) fn run(settings: &Settings, store: Option<&str>, wanted: &Doctor, output: Output) -> Exit {
    let facts = match collect::facts(settings, store.unwrap_or(&settings.store), wanted) {
        Ok(facts) => facts,
        Err(error) => return fail(&error, error.exit()),
    };
    let findings = judge(&facts);
    let exit = if findings.is_empty() { Exit::Done } else { Exit::Failed };
    let not_checked = not_checked(&facts, wanted);
    let text = match output {
        Output::Json => {
            let trunks = facts.trunks.iter().map(Looked::new).collect();
            let report = Report { ok: findings.is_empty(), findings: &findings, trunks, not_checked };
            serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
        }
        Output::Text => show(&facts, &findings, &not_checked),
    };
    print(&text, exit)
}

fn not_checked(facts: &Facts, wanted: &Doctor) -> Vec<String> {
    let left_out =
        wanted.without.iter().filter_map(|check| Some(check.to_possible_value()?.get_name().to_owned()));
    let far = facts.trunks.iter().filter(|trunk| trunk.guests_adapter.is_none());
    let far = far.map(|trunk| {
        format!("isolation on {}: its guests' side is not in this network namespace", trunk.name)
    });
    left_out.chain(far).collect()
}

fn show(facts: &Facts, findings: &[Finding], not_checked: &[String]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { finding, place, what, why, remedy } = finding;
        let _ = writeln!(
            text,
            "{place}: {what} [{finding}]\n  why it matters: {why}\n  what to do:     {remedy}\n"
        );
    }
    for what in not_checked {
        let _ = writeln!(text, "not checked: {what}");
    }
    let names: Vec<&str> = facts.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    let trunks = if names.is_empty() { "no trunk".to_owned() } else { names.join(", ") };
    let _ = match findings.len() {
        0 => writeln!(text, "{trunks}: nothing was found"),
        1 => writeln!(text, "{trunks}: 1 finding"),
        count => writeln!(text, "{trunks}: {count} findings"),
    };
    text
}
