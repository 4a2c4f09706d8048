//! What host monitors recorded of their trunks and of themselves, as people ask for it.

use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil::DateTime};
use vmpulse_protocol::id::HostMonitorId;

use crate::{HostKey, StoreTime};

/// Most node events that are told at once: all that the store keeps of a handful of host monitors.
pub const NODE_EVENTS_LIMIT: u32 = 10_000;

/// The kinds there are, in order. The store takes others, too.
pub const NODE_EVENT_KINDS: &[&str] = &[
    "ADAPTER_CHANGED",
    "ADAPTER_DOWN",
    "ADAPTER_UP",
    "AGENT_BACK",
    "AGENT_FAILURE",
    "AUTHENTICATION_REFUSED",
    "BLIND",
    "CANARY_BACK",
    "CANARY_OFF",
    "CANARY_SILENT",
    "CONFIGURED",
    "DEFERRED",
    "FLAPPING",
    "FORGERY",
    "GUEST_DYING",
    "ISOLATED",
    "ISOLATION_OVER",
    "KEY_PROBLEM",
    "MODE",
    "NODE",
    "REMOVED",
    "SIGHTED",
    "STARTED",
    "STORE_BACK",
    "UUID_CONFLICT",
    "VERSION_CONFLICT",
];

/// Which node events are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEventsWanted {
    /// Of these host monitors, each by its UUID or the name of its trunk adapter; empty: of all.
    pub host_monitors: Vec<String>,
    /// Of these kinds, in either case; empty: of all.
    pub kinds: Vec<String>,
    /// None older than this.
    pub since: Option<StoreTime>,
    /// The newest so many, at most [`NODE_EVENTS_LIMIT`].
    pub limit: u32,
}

impl NodeEventsWanted {
    /// The first kind asked for that there is not: it is none of [`NODE_EVENT_KINDS`], and none of the `found` is of it.
    #[must_use]
    pub fn unknown_kind(&self, found: &[NodeEventRecord]) -> Option<&str> {
        let is_known = |kind: &str| {
            NODE_EVENT_KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind))
                || found.iter().any(|event| event.kind.eq_ignore_ascii_case(kind))
        };
        self.kinds.iter().map(String::as_str).find(|kind| !is_known(kind))
    }
}

/// A node event, or a conflict, which is one of the kinds `UUID_CONFLICT` and `VERSION_CONFLICT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEventRecord {
    /// When the store took it; a conflict: when it was first seen.
    pub at: StoreTime,
    /// Who recorded it.
    pub host_monitor: HostMonitorId,
    /// Its trunk adapter, once it ran.
    pub trunk: Option<String>,
    /// The host it is registered with, if it is.
    pub host: Option<HostKey>,
    /// As in [`NODE_EVENT_KINDS`].
    pub kind: String,
    /// A sentence. It may hold what a guest said, which may be any text.
    pub text: String,
    /// Whether somebody acknowledged it.
    pub acknowledged: bool,
}

/// From when on something is to be shown, as people say it: an age (`90s`, `15min`, `2h`, `1h 30min`, `7d`) or a time,
/// RFC 3339 (`2026-11-21T08:00:00Z`) or without a zone (`2026-11-21 08:00`, `2026-11-21`), which is a local one.
#[derive(Clone, Debug)]
pub struct Since(Moment);

#[derive(Clone, Debug)]
enum Moment {
    Ago(Span),
    At(Timestamp),
    Local(DateTime),
}

/// A text that is no [`Since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it must be an age, as 90s, 15min, 2h or 7d, or a time, as 2026-11-21T08:00:00Z or 2026-11-21 08:00 (local)"
)]
pub struct SinceError;

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, SinceError> {
        if let Ok(time) = text.parse() {
            return Ok(Self(Moment::At(time)));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self(Moment::Local(time)));
        }
        text.parse().map(|span: Span| Self(Moment::Ago(span.abs()))).map_err(|_| SinceError)
    }
}

impl Since {
    /// As a time of the store's clock, which shows `now`. What cannot be a time is the beginning of all.
    #[must_use]
    pub fn resolve(&self, now: StoreTime, zone: &TimeZone) -> StoreTime {
        let now = Timestamp::from_microsecond(now.0).unwrap_or(Timestamp::UNIX_EPOCH);
        let time = match &self.0 {
            Moment::Ago(span) => now.to_zoned(zone.clone()).checked_sub(*span).map(|time| time.timestamp()),
            Moment::At(time) => Ok(*time),
            Moment::Local(time) => time.to_zoned(zone.clone()).map(|time| time.timestamp()),
        };
        StoreTime(time.map_or(0, Timestamp::as_microsecond))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_age_or_a_time() {
        let at = |text: &str| StoreTime(text.parse::<Timestamp>().unwrap().as_microsecond());
        let now = at("2026-11-21T08:00:00Z");
        let zone = TimeZone::posix("CST6").unwrap();
        for (text, expected) in [
            ("90s", "2026-11-21T07:58:30Z"),
            ("15min", "2026-11-21T07:45:00Z"),
            ("15m", "2026-11-21T07:45:00Z"),
            ("2h", "2026-11-21T06:00:00Z"),
            ("1h 30min", "2026-11-21T06:30:00Z"),
            ("2h ago", "2026-11-21T06:00:00Z"),
            ("7d", "2026-11-14T08:00:00Z"),
            ("2026-11-20T23:00:00Z", "2026-11-20T23:00:00Z"),
            ("2026-11-20T23:00:00+01:00", "2026-11-20T22:00:00Z"),
            ("2026-11-20 23:00", "2026-11-21T05:00:00Z"),
            ("2026-11-20", "2026-11-20T06:00:00Z"),
            ("15000y", "1970-01-01T00:00:00Z"),
        ] {
            let since = text.parse::<Since>().map(|since| since.resolve(now, &zone));
            assert_eq!(since, Ok(at(expected)), "{text}");
        }
        for text in ["", "yesterday", "5", "2026-13-01", "-"] {
            assert_eq!(text.parse::<Since>().map(|_| ()), Err(SinceError), "{text}");
        }
    }

    #[test]
    fn the_kinds_are_in_order_and_none_is_twice() {
        assert!(NODE_EVENT_KINDS.is_sorted_by(|one, other| one < other));
    }
}
