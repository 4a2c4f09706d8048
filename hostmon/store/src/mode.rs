//! Changes of host monitors' modes, as the controller tells of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::id::HostMonitorId;

use crate::{HostKey, MonitorMode};

/// A host monitor works in another way, and nobody was told of it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeNews {
    /// Names it to [`Store::mode_tell`](crate::Store::mode_tell).
    pub key: i64,
    /// Which host monitor.
    pub host_monitor: HostMonitorId,
    /// Its trunk adapter, once it ran.
    pub trunk: Option<String>,
    /// The host it is registered with.
    pub host: HostKey,
    /// How it works from then on.
    pub mode: MonitorMode,
    /// How long ago it changed, by the store's clock.
    pub age: Duration,
    /// Why, as a sentence.
    pub text: String,
}
