//! One adapter: whom it hears, and asking to be heard.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet, Version};

use super::path::HmPath;
use super::{AdapterId, PathStatus, TrunkOutput};

/// Host monitors kept per adapter. A trunk has one; a forger may play many. [H-5]
const HOST_MONITORS_MAXIMUM: usize = 4;
/// When a Hello is asked for after the adapter came up, then every [`SOLICITATION_PERIOD`].
const SOLICITATIONS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(7)];
const SOLICITATION_PERIOD: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) struct Adapter {
    pub(super) name: String,
    pub(super) mac: MacAddr,
    pub(super) mtu: usize,
    pub(super) paths: BTreeMap<MacAddr, HmPath>,
    since: Instant,
    solicitations: usize,
    next_solicitation: Instant,
}

impl Adapter {
    pub(super) fn new(now: Instant, mac: MacAddr, mtu: usize, name: String) -> Self {
        Self { name, mac, mtu, paths: BTreeMap::new(), since: now, solicitations: 0, next_solicitation: now }
    }

    /// Whether another host monitor may be kept; makes room at the expense of one that never answered.
    pub(super) fn has_room(&mut self) -> bool {
        if self.paths.len() >= HOST_MONITORS_MAXIMUM {
            let idle = self.paths.iter().find(|(_, path)| path.is_idle()).map(|(mac, _)| *mac);
            if let Some(mac) = idle {
                self.paths.remove(&mac);
            }
        }
        self.paths.len() < HOST_MONITORS_MAXIMUM
    }

    /// A Hello without an identifier: asks a host monitor for one. Only while nobody is heard. [H-6]
    pub(super) fn solicit(&mut self, now: Instant, id: AdapterId) -> Option<TrunkOutput> {
        if self.next_solicitation > now || self.is_served() {
            return None;
        }
        self.solicitations = self.solicitations.saturating_add(1);
        self.next_solicitation = match SOLICITATIONS.get(self.solicitations) {
            Some(after) => self.since + *after,
            None => now + SOLICITATION_PERIOD,
        };
        let payload = Packet::plain(Version::V2_0, 0, Flags::HEL, b"").encode();
        Some(TrunkOutput::Transmit { adapter: id, destination: MacAddr::broadcast(), vlan: None, payload })
    }

    /// A path was lost: ask anew, quickly at first.
    pub(super) fn on_path_lost(&mut self, now: Instant) {
        self.since = now;
        self.solicitations = 0;
        self.next_solicitation = now;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let solicitation = (!self.is_served()).then_some(self.next_solicitation);
        self.paths.values().filter_map(HmPath::poll_timeout).chain(solicitation).min()
    }

    pub(super) fn status(&self, now: Instant) -> Vec<PathStatus> {
        if !self.paths.is_empty() {
            return self
                .paths
                .iter()
                .map(|(mac, path)| path.status(now, (&self.name, self.mac), *mac))
                .collect();
        }
        vec![PathStatus {
            adapter: self.name.clone(),
            mac: self.mac,
            state: "WAITING",
            host_monitor_mac: None,
            host_monitor: None,
            version: None,
            interval: None,
            last_hello_age: None,
            heartbeats_sent: 0,
            security: None,
        }]
    }

    fn is_served(&self) -> bool {
        self.paths.values().any(|path| path.initiator.is_open() || path.initiator.is_connecting())
    }
}
