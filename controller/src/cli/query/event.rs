//! `query event`: what the controller tells.

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{EventRecord, NODE_EVENT_KINDS, Severity, Since, SinceError, Store, StoreTime};

use super::super::CliError;
use super::super::block::{Block, View, local, rfc3339};
use super::super::parse::{Command, UsageError};
use crate::events::EventKind;

/// Shown unless `count` says otherwise.
pub(super) const COUNT: u32 = 20;
/// Most that are shown, and searched through for names and times: the store keeps 100,000.
const COUNT_LIMIT: u32 = 100_000;

/// Who tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The controller: what is in the catalogue.
    Controller,
    /// The host monitors.
    Vios,
}

impl Source {
    /// From `source=`.
    pub(super) fn of(command: &Command) -> Result<Self, UsageError> {
        let value = attribute(command, "source").unwrap_or("controller");
        match value.to_lowercase().as_str() {
            "controller" => Ok(Self::Controller),
            "vios" => Ok(Self::Vios),
            _ => Err(UsageError::value("source", value, "it must be controller or vios")),
        }
    }

    /// The attributes of a query.
    pub(super) const fn attributes(self) -> &'static [&'static str] {
        match self {
            Self::Controller => &["source", "since", "count"],
            Self::Vios => &["source", "vios", "since", "count"],
        }
    }
}

/// An event as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    event: String,
    severity: Severity,
    #[serde(serialize_with = "rfc3339")]
    time: StoreTime,
    entity: String,
    resource: String,
    description: String,
    id: i64,
}

/// The newest events, of the kinds that are named if any are, oldest of them first.
pub(super) fn views(
    store: &mut dyn Store,
    command: &Command,
    zone: &TimeZone,
) -> Result<Vec<Shown>, CliError> {
    let (count, since) = (count(command, COUNT_LIMIT)?.unwrap_or(COUNT), since(command)?);
    for name in &command.names {
        if !EventKind::ALL.iter().any(|kind| kind.name().eq_ignore_ascii_case(name)) {
            let of_vios = NODE_EVENT_KINDS.iter().any(|kind| kind.eq_ignore_ascii_case(name));
            let query = if of_vios { "hamgr query event source=vios" } else { "hamgr query event" };
            return Err(CliError::NoSuch { class: "kind of event", name: name.clone(), query });
        }
    }
    let searched = if command.names.is_empty() { count } else { COUNT_LIMIT };
    let mut events = store.events(searched)?;
    if !command.names.is_empty() {
        events.retain(|record| command.names.iter().any(|name| record.event.name.eq_ignore_ascii_case(name)));
    }
    if let Some(since) = since {
        let since = since.resolve(store.now()?, zone);
        events.retain(|record| record.at >= since);
    }
    let surplus = events.len().saturating_sub(count as usize);
    Ok(events.into_iter().skip(surplus).map(shown).collect())
}

/// The value of an attribute, if it is given.
pub(super) fn attribute<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    let found = command.attributes.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| value.as_str())
}

/// `count=`.
pub(super) fn count(command: &Command, limit: u32) -> Result<Option<u32>, UsageError> {
    let Some(value) = attribute(command, "count") else { return Ok(None) };
    let count = value.parse().ok().filter(|count| (1..=limit).contains(count));
    let wrong = || UsageError::value("count", value, format!("it must be a number from 1 to {limit}"));
    count.map(Some).ok_or_else(wrong)
}

/// `since=`.
pub(super) fn since(command: &Command) -> Result<Option<Since>, UsageError> {
    let Some(value) = attribute(command, "since") else { return Ok(None) };
    value.parse().map(Some).map_err(|error: SinceError| UsageError::value("since", value, error.to_string()))
}

fn shown(record: EventRecord) -> Shown {
    Shown {
        event: record.event.name,
        severity: record.event.severity,
        time: record.at,
        entity: record.event.entity,
        resource: record.event.resource,
        description: record.event.description,
        id: record.id,
    }
}

impl View for Shown {
    fn block(&self, verbose: bool, zone: &TimeZone) -> Block {
        let block = Block::default()
            .line("Event", &self.event)
            .line("Severity", self.severity)
            .line("Time", local(self.time, zone))
            .line("Resource", &self.resource)
            .line("Description", &self.description);
        if verbose { block.line("Entity", &self.entity).line("Event_ID", self.id) } else { block }
    }
}
