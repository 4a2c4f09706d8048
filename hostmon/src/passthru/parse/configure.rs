//! `CONFIGURE_HM`.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use vmpulse_store::{AcceptedVersions, SettingsChange, SettingsScope};

use super::element::Element;
use crate::passthru::request::{Refusal, Request};

/// What is set, in the order of the page.
const SETTINGS: [&str; 4] = ["logLevel", "heartbeatIntervalMs", "storeHeartbeatIntervalMs", "versions"];

/// Takes a setting back.
const DEFAULT: &str = "default";

/// What the protocol allows for a heartbeat interval, in milliseconds; the same for host monitors' own.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 100..=60_000;

/// Longest log level; one for each of our modules is shorter.
const MAX_LEVEL_BYTES: usize = 255;

pub(super) const ATTRIBUTES: [&str; 8] = [
    "uuid",
    "machine_type",
    "model",
    "serial",
    "logLevel",
    "heartbeatIntervalMs",
    "storeHeartbeatIntervalMs",
    "versions",
];

pub(super) fn configure(configure: Element<'_, '_>) -> Result<Request, Refusal> {
    configure.empty()?;
    if SETTINGS.iter().all(|name| configure.attribute(name).is_none()) {
        return Err(configure.malformed(format!("configureHM needs one of {}", SETTINGS.join(", "))));
    }
    let change = SettingsChange {
        log_level: setting(configure, "logLevel", log_level, "a log level: error, warn, info, debug, trace")?,
        heartbeat_interval_ms: interval(configure, "heartbeatIntervalMs")?,
        store_heartbeat_interval_ms: interval(configure, "storeHeartbeatIntervalMs")?,
        versions: setting(
            configure,
            "versions",
            |text| AcceptedVersions::from_str(text).ok(),
            &format!("a range within {}", AcceptedVersions::ALL),
        )?,
    };
    Ok(Request::Configure { scope: scope(configure)?, change })
}

fn scope(configure: Element<'_, '_>) -> Result<SettingsScope, Refusal> {
    let of_host = ["machine_type", "model", "serial"].iter().any(|name| configure.attribute(name).is_some());
    match (configure.attribute("uuid"), of_host) {
        (Some(_), true) => Err(configure.malformed("configureHM names a host monitor or a host, not both")),
        (Some(_), false) => configure.id("uuid").map(SettingsScope::One),
        (None, true) => configure.host_key().map(SettingsScope::Host),
        (None, false) => Ok(SettingsScope::All),
    }
}

fn interval(configure: Element<'_, '_>, name: &str) -> Result<Option<Option<u32>>, Refusal> {
    let parse = |text: &str| text.parse().ok().filter(|ms| INTERVAL_MS.contains(ms));
    setting(configure, name, parse, &format!("{} to {} milliseconds", INTERVAL_MS.start(), INTERVAL_MS.end()))
}

/// A bare word that is no level would be taken for a module's name.
fn log_level(text: &str) -> Option<String> {
    let short = text.len() <= MAX_LEVEL_BYTES && !text.contains(char::is_control);
    let meant = |part: &str| part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok();
    let good = short && text.split(',').all(meant) && vmpulse_local::logging::check(text).is_ok();
    good.then(|| text.to_owned())
}

/// `None` if it is not named, `Some(None)` if it is to be taken back.
fn setting<T>(
    configure: Element<'_, '_>,
    name: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    allowed: &str,
) -> Result<Option<Option<T>>, Refusal> {
    let Some(text) = configure.attribute(name) else { return Ok(None) };
    if text == DEFAULT {
        return Ok(Some(None));
    }
    match parse(text) {
        Some(value) => Ok(Some(Some(value))),
        None => Err(configure.malformed(format!("{name} must be {allowed}, or {DEFAULT}"))),
    }
}
