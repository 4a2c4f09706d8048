//! `simulate --replay RECORD...`

use std::path::PathBuf;

use vmpulse_protocol::time::Instant;
use vmpulse_sim::checkers;
use vmpulse_sim::event::Event;
use vmpulse_sim::plan::{Cluster, Plan};
use vmpulse_sim::replay::judge::judge;
use vmpulse_sim::replay::{self, Names, Replayed, Stream, Timeline};
use vmpulse_sim::trace::{self, Trace};

/// Whether all is well.
pub(super) fn judge_all(files: &[PathBuf], trace: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let mut names = Names::learned();
    let stream = match replay::events(files, &mut names) {
        Ok(stream) => stream,
        Err(failure) if failure.is_difference() => {
            say!("{failure}");
            return Ok(false);
        }
        Err(failure) => return Err(failure.into()),
    };
    let first = stream.events.first().map_or(Instant::ZERO, |(at, _)| *at);
    names.legend().iter().for_each(|line| say!("{line}"));
    stream.records.iter().for_each(|record| say!("{}", about(record)));
    show(&stream, first, trace);
    let plan = Plan { cluster: Cluster::default(), actions: Vec::new(), end: first, converges: false };
    let violations = judge(&stream.events, checkers::of_records(&plan));
    for violation in &violations {
        let at = Instant::ZERO + violation.at.since(first);
        say!("  FOUND by {} at {at}: {}", violation.checker, violation.text);
    }
    Ok(violations.is_empty())
}

fn about(record: &Replayed) -> String {
    let Replayed { path, opening, lines, ending, torn_bytes, .. } = record;
    let ending = match (ending, torn_bytes) {
        (Some(why), _) => format!("ends because {why}"),
        (None, 0) => "has no end: the process was killed, or runs".to_owned(),
        (None, bytes) => format!("has no end, and {bytes} bytes of a line that was cut short"),
    };
    let (daemon, product) = (opening.daemon, &opening.product);
    format!("{}: {daemon}, version {product}; {lines} lines, replayed as recorded; {ending}", path.display())
}

fn show(stream: &Stream, first: Instant, all: bool) {
    if stream.records.len() > 1 && stream.timeline == Timeline::Wall {
        say!("records of several machines: together by their wall clocks");
    }
    let mut trace = Trace::new(None);
    for (at, event) in &stream.events {
        let at = Instant::ZERO + at.since(first);
        // Unlike a world's, whose writes can be seen in its store.
        if all && !matches!(event, Event::Beat { .. }) {
            say!("{}", trace::line(at, &event.to_string()));
        }
        trace.push(at, event);
    }
    say!("trace {} of {} events", trace.hash(), trace.events());
    if !all {
        say!("  the last events:");
        trace.last().for_each(|line| say!("  {line}"));
    }
}
