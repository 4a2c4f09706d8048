//! A host monitor's status as metrics of Prometheus. Pure.
//!
//! Made anew from a status whenever somebody asks, so nothing is counted twice and no heartbeat pays for it. Names are in
//! docs/reference/metrics.md, which a test holds against this file.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};
use vmpulse_store::MonitorMode;

use crate::status::Status;

/// What every name begins with.
const PREFIX: &str = "vmpulse_hostmon";

/// VMs of which `/metrics/vms` tells: each is three lines of some 150 bytes and three series for whoever keeps them.
pub const VM_METRICS_MAXIMUM: usize = 1000;

/// States of paths, all of them told always: a series that comes and goes is hard to alert on.
const PATH_STATES: [&str; 6] = ["BEATING", "EXPECTED", "MISSING", "NOT_MONITORED", "QUIET", "UNKNOWN"];

/// States of registered VMs without a path.
const ABSENT_STATES: [&str; 7] =
    ["EXPECTED", "MISSING", "NEVER_HEARD", "NOT_MONITORED", "QUIET", "SUSPENDED", "UNKNOWN"];

/// States of the trunk's canary.
const CANARY_STATES: [&str; 5] = ["beating", "broken", "off", "silent", "starting"];

/// Counters of the status that have a metric of their own: the counter, the metric, what it counts.
const COUNTERS: [(&str, &str, &str); 12] = [
    ("heartbeats", "heartbeats_received_total", "Heartbeats received on open paths."),
    ("hellos_unicast", "hellos_unicast_total", "Hellos sent to single guests."),
    ("hellos_withheld", "hellos_withheld_total", "Hellos not sent because too many were asked for."),
    ("handshakes_failed", "handshakes_failed_total", "Handshakes that were begun and not completed."),
    ("handshakes_refused", "handshakes_refused_total", "Handshakes refused for want of authentication."),
    (
        "late_turns",
        "late_turns_total",
        "Times the loop was held up; nobody is accused until an interval was clean.",
    ),
    ("deferrals", "deferrals_total", "Judgements put off because the monitor doubted itself."),
    (
        "log_lines_left_out",
        "log_lines_left_out_total",
        "Log lines about unregistered guests that were left out.",
    ),
    (
        "canary_discarded",
        "canary_discarded_packets_total",
        "Packets in the name of the trunk's canary that its key does not authenticate.",
    ),
    ("send_failures", "transmit_failures_total", "Frames that could not be sent."),
    ("ring_freezes", "receive_ring_freezes_total", "Times the receive ring was full."),
    (
        "writes",
        "store_writes_total",
        "Writes handed to the store's thread: edges, messages, its own heartbeat.",
    ),
];

/// Counters of the status that are gauges here.
const GAUGES: [(&str, &str, &str); 2] = [
    ("vms_watched", "watched_vms", "VMs whose silence counts."),
    ("vms_beating", "beating_vms", "Watched VMs that beat."),
];

const DISCARDED: &str = "discarded_";

/// Metrics of the whole monitor: some hundred lines, whatever the number of guests.
///
/// # Errors
/// None with the names that are here.
pub fn page(status: &Status) -> prometheus::Result<String> {
    let page = Page::default();
    identity(&page, status)?;
    paths(&page, status)?;
    counted(&page, &status.counters)?;
    page.counter(
        "kernel_dropped_frames_total",
        "Frames lost because the receive buffer was full.",
        status.kernel_drops,
    )?;
    store(&page, status)?;
    policing(&page, status)?;
    page.text()
}

/// Metrics of single VMs, of the first [`VM_METRICS_MAXIMUM`] by their UUID.
///
/// # Errors
/// None with the names that are here.
pub fn vm_page(status: &Status) -> prometheus::Result<String> {
    let page = Page::default();
    let total = status.paths.len();
    let shown = || status.paths.iter().take(VM_METRICS_MAXIMUM);
    page.gauge(
        "vm_metrics_left_out",
        "Paths beyond those told here.",
        total.saturating_sub(VM_METRICS_MAXIMUM) as f64,
    )?;
    let vms = |value: fn(&crate::status::PathStatus) -> Option<f64>| {
        shown().filter_map(move |path| Some((vec![path.vm.as_str()], value(path)?))).collect::<Vec<_>>()
    };
    let beats = vms(|path| Some(f64::from(u8::from(path.state == "BEATING"))));
    page.gauges("vm_beating", "Whether the VM beats.", &["vm"], beats)?;
    let ages = vms(|path| path.last_heartbeat_age_ms.map(|age| age as f64 / 1000.0));
    page.gauges("vm_last_heartbeat_age_seconds", "Age of the VM's last heartbeat.", &["vm"], ages)?;
    let counts = shown().map(|path| (vec![path.vm.as_str()], path.heartbeats)).collect();
    page.counters("vm_heartbeats_received_total", "Heartbeats of the VM's path.", &["vm"], counts)?;
    page.text()
}

fn identity(page: &Page, status: &Status) -> prometheus::Result<()> {
    let version = vec![(vec![env!("CARGO_PKG_VERSION")], 1.0)];
    page.gauges("build_info", "Version of the host monitor.", &["version"], version)?;
    let who = vec![(vec![status.trunk.as_str(), &status.uuid], 1.0)];
    page.gauges("info", "Which host monitor this is.", &["trunk", "uuid"], who)?;
    if let Ok(started) = status.started.parse::<jiff::Timestamp>() {
        let seconds = started.as_microsecond() as f64 / 1e6;
        page.gauge("start_time_seconds", "When it started, since 1970.", seconds)?;
    }
    page.gauge(
        "trunk_heard",
        "Whether it can hear its trunk; otherwise its paths are unknown.",
        flag(status.trunk_heard),
    )?;
    page.gauge(
        "isolated",
        "Whether its adapter is down or its trunk carries nothing.",
        flag(status.isolated),
    )?;
    let canary =
        CANARY_STATES.iter().map(|state| (vec![*state], flag(*state == status.canary.state))).collect();
    page.gauges("canary", "How the trunk's canary is: 1 for the state that holds.", &["state"], canary)?;
    let modes = [MonitorMode::Global, MonitorMode::Local, MonitorMode::Down];
    let names = modes.map(|mode| (mode.to_string(), flag(mode == status.mode)));
    let modes = names.iter().map(|(name, is)| (vec![name.as_str()], *is)).collect();
    page.gauges("mode", "How it works: 1 for the mode that holds.", &["mode"], modes)
}

fn paths(page: &Page, status: &Status) -> prometheus::Result<()> {
    let open = by_state(&PATH_STATES, status.paths.iter().map(|path| path.state.as_str()));
    page.gauges("paths", "Open paths by state.", &["state"], open)?;
    let absent = by_state(&ABSENT_STATES, status.without_path.iter().map(|vm| vm.state.as_str()));
    page.gauges("vms_without_path", "Registered VMs without an open path, by state.", &["state"], absent)?;
    let count = |of: fn(&crate::status::PathStatus) -> bool| {
        status.paths.iter().filter(|path| of(path)).count() as f64
    };
    page.gauge(
        "guardian_paths",
        "Paths on which a guardian beats for its agent.",
        count(|path| path.guardian),
    )?;
    page.gauge(
        "authenticated_paths",
        "Paths whose heartbeats are authenticated.",
        count(|path| path.authenticated_in),
    )?;
    page.gauge("announced_silences", "Announced silences in force.", status.quiet.len() as f64)
}

fn counted(page: &Page, counters: &BTreeMap<String, u64>) -> prometheus::Result<()> {
    let value = |counter: &str| counters.get(counter).copied().unwrap_or_default();
    for (counter, name, help) in COUNTERS {
        page.counter(name, help, value(counter))?;
    }
    for (counter, name, help) in GAUGES {
        page.gauge(name, help, value(counter) as f64)?;
    }
    let discards =
        counters.iter().filter_map(|(name, count)| Some((vec![name.strip_prefix(DISCARDED)?], *count)));
    page.counters("discarded_packets_total", "Packets dropped, by reason.", &["reason"], discards.collect())?;
    let others = counters
        .iter()
        .filter(|(name, _)| !has_metric(name))
        .map(|(name, count)| (vec![name.as_str()], *count));
    page.counters("other_events_total", "Whatever else it counts, by name.", &["event"], others.collect())
}

/// Whether a counter of the status is told under a name of its own.
fn has_metric(counter: &str) -> bool {
    let mut named = COUNTERS.iter().chain(&GAUGES).map(|(name, _, _)| *name);
    counter.starts_with(DISCARDED) || named.any(|name| name == counter)
}

fn store(page: &Page, status: &Status) -> prometheus::Result<()> {
    let work = &status.store_work;
    page.gauge("store_reachable", "Whether the last write reached the store.", flag(status.store_ok))?;
    page.gauge(
        "store_pending_writes",
        "Writes that wait for the store, in memory.",
        status.pending_writes as f64,
    )?;
    page.gauge("store_spooled_edges", "Edges that wait in the spool file.", status.spool as f64)?;
    page.counter("store_commits_total", "Transactions of writes that were committed.", work.commits)?;
    page.counter("store_failures_total", "Times the store could not be reached.", work.failures)?;
    page.counter("store_statements_total", "Statements given to the store.", work.statements)?;
    if let Some(age) = work.last_commit_age_ms {
        page.gauge("store_last_commit_age_seconds", "Age of the last commit.", age as f64 / 1000.0)?;
    }
    Ok(())
}

/// Ports are added up: each has the name of a guest's adapter.
fn policing<'a>(page: &Page, status: &'a Status) -> prometheus::Result<()> {
    let policing = &status.policing;
    page.gauge("policing_enabled", "Whether the kernel polices the trunk.", flag(policing.on))?;
    page.gauge(
        "policing_known_addresses",
        "Addresses that have a lane of their own.",
        policing.known as f64,
    )?;
    let (mut passed, mut dropped): (BTreeMap<&'a str, u64>, BTreeMap<&'a str, u64>) = Default::default();
    for (counter, frames) in &policing.counters {
        let (sums, rule) = match (counter.strip_prefix("port-"), counter.strip_suffix("_passed")) {
            (Some(port), _) if port.ends_with("-forged") => (&mut dropped, "port_forged"),
            (Some(_), _) => (&mut dropped, "port_over"),
            (None, Some(lane)) => (&mut passed, lane),
            (None, None) => (&mut dropped, counter.strip_suffix("_dropped").unwrap_or(counter)),
        };
        let sum = sums.entry(rule).or_default();
        *sum = sum.saturating_add(*frames);
    }
    let series =
        |sums: BTreeMap<&'a str, u64>| sums.into_iter().map(|(rule, frames)| (vec![rule], frames)).collect();
    page.counters(
        "policing_passed_frames_total",
        "Frames that the kernel let pass.",
        &["lane"],
        series(passed),
    )?;
    page.counters(
        "policing_dropped_frames_total",
        "Frames that the kernel dropped.",
        &["rule"],
        series(dropped),
    )
}

fn by_state<'a>(states: &[&'a str], of: impl Iterator<Item = &'a str>) -> Vec<(Vec<&'a str>, f64)> {
    let mut counts: BTreeMap<&str, f64> = states.iter().map(|state| (*state, 0.0)).collect();
    for state in of {
        *counts.entry(state).or_default() += 1.0;
    }
    counts.into_iter().map(|(state, count)| (vec![state], count)).collect()
}

const fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

/// Series of one metric: the labels' values, and the value.
type Series<'a, T> = Vec<(Vec<&'a str>, T)>;

/// Metrics on their way to be written.
#[derive(Default)]
struct Page {
    registry: Registry,
}

impl Page {
    fn gauge(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let gauge = Gauge::with_opts(options(name, help))?;
        gauge.set(value);
        self.add(gauge)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        series: Series<'_, f64>,
    ) -> prometheus::Result<()> {
        let gauges = GaugeVec::new(options(name, help), labels)?;
        for (values, value) in series {
            gauges.get_metric_with_label_values(&values)?.set(value);
        }
        self.add(gauges)
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::with_opts(options(name, help))?;
        counter.inc_by(value);
        self.add(counter)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        series: Series<'_, u64>,
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(options(name, help), labels)?;
        for (values, value) in series {
            counters.get_metric_with_label_values(&values)?.inc_by(value);
        }
        self.add(counters)
    }

    fn add(&self, metric: impl Collector + 'static) -> prometheus::Result<()> {
        self.registry.register(Box::new(metric))
    }

    fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

#[cfg(test)]
pub(crate) use tests::status as tests_status;

#[cfg(test)]
mod tests;
