//! Settings of host monitors that are kept in the store: they go before those in their files, and hold at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_protocol::wire::Version;

use crate::HostKey;

/// Protocol versions that a host monitor accepts; as text `2.0-2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AcceptedVersions {
    /// The lowest.
    pub lower: Version,
    /// The highest, spoken with guests that can.
    pub upper: Version,
}

impl AcceptedVersions {
    /// Every version that this program speaks.
    pub const ALL: Self = Self { lower: Version::V2_0, upper: Version::V2_1 };
}

impl fmt::Display for AcceptedVersions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.lower, self.upper)
    }
}

impl From<AcceptedVersions> for String {
    fn from(versions: AcceptedVersions) -> Self {
        versions.to_string()
    }
}

impl TryFrom<String> for AcceptedVersions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|()| format!("{text:?} are no versions that this program speaks"))
    }
}

impl FromStr for AcceptedVersions {
    type Err = ();

    /// `2.0-2.1`, or `2.1` for one alone; only what is in [`AcceptedVersions::ALL`].
    fn from_str(text: &str) -> Result<Self, ()> {
        let (lower, upper) = text.split_once('-').unwrap_or((text, text));
        let (lower, upper): (Version, Version) = (lower.parse()?, upper.parse()?);
        let ours = Self::ALL.lower <= lower && lower <= upper && upper <= Self::ALL.upper;
        if ours { Ok(Self { lower, upper }) } else { Err(()) }
    }
}

/// What the store says of one host monitor; `None`: as its own file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MonitorSettings {
    /// Names them: grows whenever any of them is changed; 0 before the first change.
    pub version: i64,
    /// Log level.
    pub log_level: Option<String>,
    /// Interval of guests' heartbeats where a VM has none of its own, in milliseconds.
    pub heartbeat_interval_ms: Option<u32>,
    /// Interval of its own heartbeat to the store, in milliseconds.
    pub store_heartbeat_interval_ms: Option<u32>,
    /// What it accepts in new handshakes.
    pub versions: Option<AcceptedVersions>,
}

/// Whose settings are changed. What is said of one host monitor goes before what is said of its host, and that before what
/// is said of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsScope {
    /// Every host monitor, also those that are registered later.
    All,
    /// Those of a host, also those that are registered with it later.
    Host(HostKey),
    /// One.
    One(HostMonitorId),
}

/// A change: `None` leaves a setting as it is, `Some(None)` takes it back in this scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// See [`MonitorSettings::log_level`].
    pub log_level: Option<Option<String>>,
    /// 100-60,000 ms.
    pub heartbeat_interval_ms: Option<Option<u32>>,
    /// 100-60,000 ms.
    pub store_heartbeat_interval_ms: Option<Option<u32>>,
    /// See [`MonitorSettings::versions`].
    pub versions: Option<Option<AcceptedVersions>>,
}

/// What holds for the whole system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolVersions {
    /// The highest that is accepted.
    pub running: String,
    /// What host monitors accept unless something else is said of one of them or of its host.
    pub accepted: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_speak_is_accepted() {
        for (text, expected) in
            [("2.0-2.1", Some("2.0-2.1")), ("2.1", Some("2.1-2.1")), ("2.0-2.0", Some("2.0-2.0"))]
        {
            assert_eq!(
                text.parse().ok().map(|versions: AcceptedVersions| versions.to_string()).as_deref(),
                expected
            );
        }
        for text in ["", "2", "2.1-2.0", "1.0-2.1", "2.0-2.2", "2.0-", "-2.1", "2.0-2.1-2.1", "3.0"] {
            assert!(text.parse::<AcceptedVersions>().is_err(), "{text}");
        }
    }
}
