//! `hmmgr event`: what host monitors recorded of their trunks and of themselves, from the health store.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_local::exit::Exit;
use vmpulse_store::{NODE_EVENTS_LIMIT, NodeEventRecord, NodeEventsWanted, Since, Store, StoreError};

use super::status::local_time;
use super::{Output, fail, print};
use crate::settings::Settings;

/// The newest of them, the newest last: conflicts, refused handshakes, forgeries, keys that cannot be used, what the
/// monitor could not hear.
#[derive(Debug, Args)]
pub(super) struct Event {
    /// Only of these kinds, as FORGERY,KEY_PROBLEM.
    #[arg(long = "kind", value_name = "KIND,...", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Only of these host monitors: trunk adapters or UUIDs.
    #[arg(long = "trunk", value_name = "NAME,...", value_delimiter = ',')]
    trunks: Vec<String>,
    /// None older than this: an age (15min, 2h, 7d) or a time (2026-11-21T08:00:00Z; without a zone it is local).
    #[arg(long, value_name = "AGE|TIME")]
    since: Option<Since>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODE_EVENTS_LIMIT)))]
    count: u32,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error("there is no health store at {0}: does a host monitor run with another one?")]
    Missing(String),
    #[error("the health store cannot be used")]
    Store(#[from] StoreError),
    #[error("there is no kind of event {0:?}; `hmmgr event` without --kind shows every kind")]
    NoKind(String),
    #[error("the store knows no host monitor {0:?}; `hamgr query vios` lists them")]
    NoMonitor(String),
}

/// As `-o json` shows it.
#[derive(Debug, Serialize)]
struct Report {
    events: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    /// RFC 3339.
    time: String,
    trunk: Option<String>,
    uuid: String,
    host: Option<String>,
    kind: String,
    text: String,
    /// By VIO_HS_ACKNOWLEDGE of a VIO_HS_QUERY_NODE_DATA.
    acknowledged: bool,
}

pub(super) fn run(settings: &Settings, store: Option<&str>, wanted: &Event, output: Output) -> Exit {
    let zone = TimeZone::system();
    let events = match find(store.unwrap_or(&settings.store), wanted, &zone) {
        Ok(events) => events,
        Err(error) => return fail(&error, Exit::Failed),
    };
    match output {
        Output::Text if events.is_empty() => {
            // A remark: nothing is no failure.
            fail(&std::io::Error::other("there is no such event"), Exit::Done)
        }
        Output::Text => print(&lines(&events), Exit::Done),
        Output::Json => {
            let report = Report { events: events.into_iter().map(shown).collect() };
            print(&(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"), Exit::Done)
        }
    }
}

fn find(url: &str, wanted: &Event, zone: &TimeZone) -> Result<Vec<NodeEventRecord>, EventError> {
    // A question makes no store.
    if url.strip_prefix("sqlite://").is_some_and(|path| !Path::new(path).exists()) {
        return Err(EventError::Missing(url.to_owned()));
    }
    let mut store = vmpulse_store::open(url)?;
    known(store.as_mut(), &wanted.trunks)?;
    let since = match &wanted.since {
        Some(since) => Some(since.resolve(store.now()?, zone)),
        None => None,
    };
    let wanted = NodeEventsWanted {
        host_monitors: wanted.trunks.clone(),
        kinds: wanted.kinds.clone(),
        since,
        limit: wanted.count,
    };
    let found = store.node_events(&wanted)?;
    match wanted.unknown_kind(&found) {
        Some(kind) => Err(EventError::NoKind(kind.to_owned())),
        None => Ok(found),
    }
}

/// Refuses a name that no host monitor has.
fn known(store: &mut dyn Store, names: &[String]) -> Result<(), EventError> {
    if names.is_empty() {
        return Ok(());
    }
    let assigned = store.quick_query()?.hosts.into_iter().flat_map(|host| host.host_monitors);
    let monitors: Vec<_> = assigned.chain(store.host_monitors_unassigned()?).collect();
    let is_called = |name: &str| {
        let mut all = monitors.iter();
        all.any(|one| one.trunk.as_deref() == Some(name) || one.id.to_string().eq_ignore_ascii_case(name))
    };
    match names.iter().find(|name| !is_called(name)) {
        Some(name) => Err(EventError::NoMonitor(name.clone())),
        None => Ok(()),
    }
}

fn lines(events: &[NodeEventRecord]) -> String {
    let wide = events.iter().map(|event| event.kind.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for event in events {
        let uuid = event.host_monitor.to_string();
        let monitor = event.trunk.as_ref().unwrap_or(&uuid);
        let time = local_time(&event.at.rfc3339());
        let line = format!("{time}  {monitor}  {:wide$}  {}", event.kind, event.text);
        let _cannot_fail = writeln!(text, "{}", printable(&line));
    }
    text
}

fn shown(event: NodeEventRecord) -> Shown {
    Shown {
        time: event.at.rfc3339(),
        trunk: event.trunk,
        uuid: event.host_monitor.to_string(),
        host: event.host.map(|host| host.to_string()),
        kind: event.kind,
        text: event.text,
        acknowledged: event.acknowledged,
    }
}

/// Guests have their say in some texts; none may write to the terminal what is no text.
fn printable(line: &str) -> String {
    line.chars().map(|one| if one.is_control() { '?' } else { one }).collect()
}
