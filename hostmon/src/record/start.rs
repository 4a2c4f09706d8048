//! What a core was made from.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::{HostMonitorId, Incarnation, VmUuid};
use vmpulse_protocol::path::HmIdentity;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;

use crate::canary::CanaryIdentity;
use crate::monitor::{Monitor, MonitorConfig};

/// [`MonitorConfig`] without its secrets: the source of nonces, and the canary's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    at_ns: u64,
    uuid: [u8; 16],
    versions: [(u8, u8); 2],
    mtu: u64,
    incarnation: String,
    trunk: String,
    mac: [u8; 6],
    vlan: Option<u16>,
    heartbeat_interval_ms: u32,
    quiet_max: Duration,
    store_heartbeat: Duration,
    seed: u64,
    authentication: String,
    canary: Option<([u8; 16], [u8; 6])>,
}

impl Start {
    /// Of a core that is made of this now.
    #[must_use]
    pub fn of(config: &MonitorConfig, now: Instant) -> Self {
        let HmIdentity { uuid, lower, upper, mtu } = config.identity;
        let version = |version: Version| (version.major, version.minor);
        let canary = config.canary.as_ref().map(|canary| (*canary.vm.as_bytes(), canary.mac.octets()));
        Self {
            at_ns: now.as_nanos(),
            uuid: *uuid.as_bytes(),
            versions: [version(lower), version(upper)],
            mtu: mtu as u64,
            incarnation: config.incarnation.to_string(),
            trunk: config.trunk.clone(),
            mac: config.mac.octets(),
            vlan: config.vlan,
            heartbeat_interval_ms: config.heartbeat_interval_ms,
            quiet_max: config.quiet_max,
            store_heartbeat: config.store_heartbeat,
            seed: config.seed,
            authentication: config.authentication.to_string(),
            canary,
        }
    }

    /// When it was made.
    #[must_use]
    pub const fn at(&self) -> Instant {
        Instant::from_nanos(self.at_ns)
    }

    /// Which host monitor it was.
    #[must_use]
    pub const fn host_monitor(&self) -> HostMonitorId {
        HostMonitorId::from_bytes(self.uuid)
    }

    /// Its trunk adapter.
    #[must_use]
    pub fn trunk(&self) -> &str {
        &self.trunk
    }

    /// Interval for VMs that have none of their own.
    #[must_use]
    pub const fn heartbeat_interval_ms(&self) -> u32 {
        self.heartbeat_interval_ms
    }

    /// The same core again, but for its secrets; `None` if what was recorded cannot be.
    pub(super) fn core(&self) -> Option<Monitor> {
        let [lower, upper] = self.versions.map(|(major, minor)| Version { major, minor });
        let canary = self.canary.map(|(vm, mac)| CanaryIdentity {
            vm: VmUuid::from_bytes(vm),
            mac: address(mac),
            key: None,
        });
        let config = MonitorConfig {
            identity: HmIdentity {
                uuid: self.host_monitor(),
                lower,
                upper,
                mtu: usize::try_from(self.mtu).ok()?,
            },
            incarnation: Incarnation::from_payload(self.incarnation.as_bytes())?,
            trunk: self.trunk.clone(),
            mac: address(self.mac),
            vlan: self.vlan,
            heartbeat_interval_ms: self.heartbeat_interval_ms,
            quiet_max: self.quiet_max,
            store_heartbeat: self.store_heartbeat,
            seed: self.seed,
            nonce_seed: [0; 32],
            authentication: self.authentication.parse().ok()?,
            canary,
        };
        Some(Monitor::new(config, self.at()))
    }
}

pub(super) const fn address(octets: [u8; 6]) -> MacAddr {
    let [a, b, c, d, e, f] = octets;
    MacAddr(a, b, c, d, e, f)
}
