//! How long the store keeps what nobody needs any more.

use std::time::Duration;

/// Rows removed in one transaction at most: some milliseconds, so that no writer waits for long.
pub const PRUNE_MAXIMUM: u32 = 500;

/// How long records are kept. What is still in use is never removed: open incidents, what was not acknowledged, reports
/// that wait for a controller, announced silences in force or not told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events of closed incidents. The newest 100,000 at most are kept however young they are.
    pub events: Duration,
    /// Node events, read or not: a year old adapter failure is no news. At most 1024 of each host monitor.
    pub node_events: Duration,
    /// Conflicts of versions and UUIDs, since they were first seen. At most 1024 of each host monitor.
    pub conflicts: Duration,
    /// Discovered guests, once acknowledged. At most 1024 of each host monitor.
    pub discoveries: Duration,
    /// Tombstones of removed VMs: so long a guest that is still beating is not told of as a new one.
    pub removed_vms: Duration,
    /// Requests, exchanges of reports that were not finished, and announced silences: working data. At least an hour,
    /// which the budget of announced silences looks back.
    pub exchanges: Duration,
    /// Host monitors that were never registered with a host, since their last heartbeat.
    pub unregistered_monitors: Duration,
}

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

impl Default for Retention {
    fn default() -> Self {
        Self {
            events: 365 * DAY,
            node_events: 30 * DAY,
            conflicts: 30 * DAY,
            discoveries: 30 * DAY,
            removed_vms: 90 * DAY,
            exchanges: DAY,
            unregistered_monitors: 30 * DAY,
        }
    }
}

/// What one call removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many rows.
    pub rows: u32,
    /// There is more to remove: call again.
    pub more: bool,
}
