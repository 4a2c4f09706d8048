//! Trunks of this machine: where their two ends are.
//!
//! Frames are caught where they leave an end. So what goes up (from guests to the monitor) needs the guests' end on this machine,
//! and what goes down the monitor's. Where guests come in by an adapter from outside, there is the monitor's end only.

use std::io::ErrorKind;

use clap::{Arg, ArgAction};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmpulse_link::Interface;

use super::Way;
use super::netns::within;
use super::programs::run;
use crate::context::{Context, read};
use crate::error::{Inject, InjectError};
use crate::options::{Options, value};

/// What `hmmgr trunk create` calls the monitor's end: the trunk, with this behind.
const MONITOR_SUFFIX: &str = "-hm";
/// What the mark of a canary's adapter begins with, as host monitors write it.
const CANARY_MARK: &str = "vmpulse canary of ";
/// Where it keeps its trunks.
const RECORDS: &str = "/var/lib/vmpulse/trunks";
/// More trunks than any host has: each takes two taps and two tables.
const MOST_TRUNKS: usize = 8;

/// Where frames of one direction leave an end of a trunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The trunk, as it was named.
    pub trunk: String,
    /// Its number among those that were named: parts of the wire are called by it.
    pub number: usize,
    /// Where frames go that leave here.
    pub way: Way,
    /// The device.
    pub interface: String,
    /// The named network namespace it is in, if it is not in this one.
    pub netns: Option<String>,
}

impl End {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} {}", self.trunk, self.way.word())
    }

    /// The device as it is now.
    ///
    /// # Errors
    /// When the devices cannot be listed. `None`: there is none of the name.
    pub fn look(&self) -> Inject<Option<Interface>> {
        within(self.netns.as_deref(), || interface(&self.interface))
    }
}

/// The options by which trunks are named.
#[must_use]
pub fn arguments() -> Vec<Arg> {
    vec![
        value("trunk", "NAME", "the trunk; may be given several times").action(ArgAction::Append),
        value("monitor-end", "DEVICE", "the monitor's device of a trunk that hmmgr did not make"),
        value("monitor-netns", "NAME", "the network namespace of that device"),
        value("way", "WAY", "up: from guests to the monitor; down: from it to guests [default: both]")
            .value_parser(["both", "up", "down"]),
    ]
}

/// The ends that the options name, as far as they are on this machine.
///
/// # Errors
/// `Usage`, `Refused` for what is no trunk of the product and not marked, `Unsupported` when no end is here.
pub fn ends(context: &Context, options: &Options) -> Inject<Vec<End>> {
    let trunks = options.texts("trunk");
    let by_hand = options.text("monitor-end").is_some() || options.text("monitor-netns").is_some();
    if trunks.is_empty() || trunks.len() > MOST_TRUNKS || (by_hand && trunks.len() > 1) {
        return Err(InjectError::Usage(format!(
            "--trunk is needed, once to {MOST_TRUNKS} times, and only once with --monitor-end or --monitor-netns."
        )));
    }
    let mut found = Vec::new();
    for (number, trunk) in trunks.iter().enumerate() {
        found.extend(ends_of(context, options, number, trunk)?);
    }
    Ok(found)
}

fn ends_of(context: &Context, options: &Options, number: usize, trunk: &str) -> Inject<Vec<End>> {
    check_name(trunk)?;
    let netns = match recorded_netns(context, trunk)? {
        Some(netns) => netns,
        None => {
            context.need_target("trunk", trunk)?;
            options.text("monitor-netns")
        }
    };
    let monitor_end = options.text("monitor-end").unwrap_or_else(|| format!("{trunk}{MONITOR_SUFFIX}"));
    check_name(&monitor_end)?;
    let end = |way, interface: &str, netns| End {
        trunk: trunk.to_owned(),
        number,
        way,
        interface: interface.to_owned(),
        netns,
    };
    let way = options.text("way");
    let wanted = |end: &End| way.as_deref().is_none_or(|way| way == "both" || way == end.way.word());
    let both = [end(Way::Up, trunk, None), end(Way::Down, &monitor_end, netns)];
    let mut here = Vec::new();
    for end in both.into_iter().filter(wanted) {
        if let Some(device) = end.look()? {
            check_device(&device)?;
            here.push(end);
        }
    }
    if here.is_empty() {
        return Err(InjectError::Unsupported(format!(
            "no end of the trunk {trunk} is on this machine (looked for {trunk} and {monitor_end})."
        )));
    }
    Ok(here)
}

/// The namespace of the monitor's end as `hmmgr` has written it down; the outer `None`: it made no such trunk.
fn recorded_netns(context: &Context, trunk: &str) -> Inject<Option<Option<String>>> {
    let path = context.path(&format!("{RECORDS}/{trunk}.toml"));
    let text = match read(&path) {
        Ok(text) => text,
        Err(InjectError::Os { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record: toml::Table = text
        .parse()
        .map_err(|error| InjectError::Failed(format!("{} is no trunk's record: {error}.", path.display())))?;
    Ok(Some(record.get("netns").and_then(toml::Value::as_str).map(str::to_owned)))
}

/// A trunk carries Ethernet and no IP: what has an address is somebody else's network.
fn check_device(device: &Interface) -> Inject<()> {
    if !device.ethernet {
        return Err(InjectError::Usage(format!("{} is no Ethernet device.", device.name)));
    }
    if device.has_ip {
        return Err(InjectError::Refused(format!(
            "{} has an IP address, so it is more than a trunk. Nothing was touched.",
            device.name
        )));
    }
    Ok(())
}

/// What `ip` and `nft` take without quoting.
fn check_name(name: &str) -> Inject<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 15 || name.starts_with('-') || !name.chars().all(good) {
        return Err(InjectError::Usage(format!("\"{name}\" is no name of a device.")));
    }
    Ok(())
}

/// Whether a host monitor's canary stands on this device of this thread's network namespace: an adapter that bears its mark.
///
/// # Errors
/// When devices cannot be listed.
pub fn has_canary(device: &str) -> Inject<bool> {
    let text = run("ip", &["-j", "link", "show"])?;
    let links: Value = serde_json::from_str(&text).map_err(|error| {
        InjectError::Failed(format!("what `ip` says of devices cannot be read: {error}."))
    })?;
    let is = |link: &Value, field: &str, fits: &dyn Fn(&str) -> bool| {
        link.get(field).and_then(Value::as_str).is_some_and(fits)
    };
    let canary = |link: &Value| {
        is(link, "link", &|lower| lower == device)
            && is(link, "ifalias", &|mark| mark.starts_with(CANARY_MARK))
    };
    Ok(links.as_array().is_some_and(|links| links.iter().any(canary)))
}

/// A device of this thread's network namespace.
///
/// # Errors
/// When they cannot be listed.
pub fn interface(name: &str) -> Inject<Option<Interface>> {
    let all = vmpulse_link::interfaces().map_err(|error| InjectError::Failed(format!("{error}.")))?;
    Ok(all.into_iter().find(|one| one.name == name))
}
