//! `query event`.

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{EventRecord, Severity, Store, StoreTime};

use super::super::CliError;
use super::super::block::{Block, View, local, rfc3339};
use super::super::parse::Command;
use crate::events::EventKind;

/// Shown unless `count` says otherwise.
const COUNT: u32 = 20;
/// Most that are shown, and searched through for names: the store keeps 100,000.
const COUNT_LIMIT: u32 = 100_000;

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
pub(super) fn views(store: &mut dyn Store, command: &Command) -> Result<Vec<Shown>, CliError> {
    let count = match command.attributes.first() {
        None => COUNT,
        Some((_, value)) => number(value)?,
    };
    for name in &command.names {
        if !EventKind::ALL.iter().any(|kind| kind.name().eq_ignore_ascii_case(name)) {
            let (class, query) = ("kind of event", "hamgr query event");
            return Err(CliError::NoSuch { class, name: name.clone(), query });
        }
    }
    let searched = if command.names.is_empty() { count } else { COUNT_LIMIT };
    let mut events = store.events(searched)?;
    if !command.names.is_empty() {
        events.retain(|record| command.names.iter().any(|name| record.event.name.eq_ignore_ascii_case(name)));
    }
    let surplus = events.len().saturating_sub(count as usize);
    Ok(events.into_iter().skip(surplus).map(shown).collect())
}

fn number(value: &str) -> Result<u32, CliError> {
    value.parse().ok().filter(|count| (1..=COUNT_LIMIT).contains(count)).ok_or_else(|| CliError::Refused {
        attribute: "count",
        value: value.to_owned(),
        of: String::new(),
        why: format!("it must be a number from 1 to {COUNT_LIMIT}"),
    })
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
