//! `query event source=vios`: what host monitors recorded of their trunks and of themselves.

use jiff::tz::TimeZone;
use serde::Serialize;
use vmpulse_store::{NODE_EVENTS_LIMIT, NodeEventRecord, NodeEventsWanted, Since, Store, StoreTime};

use super::super::CliError;
use super::super::block::{Block, View, local, rfc3339};
use super::super::parse::Command;
use super::event::{COUNT, attribute, count, since};
use super::vios;
use crate::events::upper;

/// A node event as shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    event: String,
    #[serde(serialize_with = "rfc3339")]
    time: StoreTime,
    /// As `query vios` calls it.
    host_monitor: String,
    uuid: String,
    host: Option<String>,
    description: String,
}

/// The newest ones that the attributes and names ask for, oldest of them first.
pub(super) fn views(
    store: &mut dyn Store,
    command: &Command,
    zone: &TimeZone,
) -> Result<Vec<Shown>, CliError> {
    let host_monitors: Vec<String> = attribute(command, "vios")
        .into_iter()
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    let limit = count(command, NODE_EVENTS_LIMIT)?.unwrap_or(COUNT);
    let since: Option<Since> = since(command)?;
    // A name that nothing has is refused, not answered with nothing.
    vios::views(store, &host_monitors)?;
    let since = match since {
        Some(since) => Some(since.resolve(store.now()?, zone)),
        None => None,
    };
    let wanted = NodeEventsWanted { host_monitors, kinds: command.names.clone(), since, limit };
    let found = store.node_events(&wanted)?;
    if let Some(kind) = wanted.unknown_kind(&found) {
        let (class, query) = ("kind of node event", "hamgr query event source=vios");
        return Err(CliError::NoSuch { class, name: kind.to_owned(), query });
    }
    Ok(found.into_iter().map(shown).collect())
}

fn shown(record: NodeEventRecord) -> Shown {
    let uuid = upper(record.host_monitor);
    Shown {
        event: record.kind,
        time: record.at,
        host_monitor: record.trunk.unwrap_or_else(|| uuid.clone()),
        uuid,
        host: record.host.map(|host| host.to_string()),
        description: record.text,
    }
}

impl View for Shown {
    fn block(&self, verbose: bool, zone: &TimeZone) -> Block {
        let block = Block::default()
            .line("Event", &self.event)
            .line("Time", local(self.time, zone))
            .line("Host_monitor", &self.host_monitor)
            .line("Host", self.host.as_deref().unwrap_or("none"))
            .line("Description", &self.description);
        if verbose { block.line("UUID", &self.uuid) } else { block }
    }
}
