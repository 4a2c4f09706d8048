//! Frames in, and what comes of them.

use std::fmt;
use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, KeyId};
use vmpulse_protocol::bugs::{Bug, is_on};
use vmpulse_protocol::id::{HostMonitorId, Incarnation};
use vmpulse_protocol::message::{Doorbell, Message};
use vmpulse_protocol::path::{
    CloseReason, Delivery, Directions, Discard, Event, Initiator, Token, VmmSecurity,
};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet, Version};

use super::path::HmPath;
use super::{ASKED_MAXIMUM, PathKey, Purpose, TrunkOutput, Trunks};

/// Something on a trunk worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrunkEvent {
    /// An adapter is used.
    AdapterUp {
        /// Its name.
        name: String,
        /// Its address.
        mac: MacAddr,
    },
    /// An adapter is not used any more.
    AdapterDown {
        /// Its name.
        name: String,
    },
    /// A path was opened.
    Opened {
        /// Name of the adapter.
        adapter: String,
        /// The host monitor.
        host_monitor: HostMonitorId,
        /// Running version.
        version: Version,
        /// Which directions are authenticated, and with which key, if any is.
        security: Option<(Directions, KeyId)>,
    },
    /// A path was closed, or its handshake given up.
    Closed {
        /// Name of the adapter.
        adapter: String,
        /// Address of the host monitor.
        host_monitor_mac: MacAddr,
        /// Why.
        reason: CloseReason,
    },
    /// The host monitor asked for heartbeats.
    Beating {
        /// Name of the adapter.
        adapter: String,
        /// Their interval.
        interval: Duration,
    },
    /// The host monitor asked for none.
    Still {
        /// Name of the adapter.
        adapter: String,
    },
    /// A frame was dropped.
    Discarded {
        /// Name of the adapter.
        adapter: String,
        /// Why.
        reason: Discard,
    },
}

impl TrunkEvent {
    /// Whether it says nothing about a path's state: for the detailed log only.
    #[must_use]
    pub const fn is_detail(&self) -> bool {
        matches!(self, Self::Discarded { .. })
    }
}

impl fmt::Display for TrunkEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AdapterUp { name, mac } => write!(out, "using adapter {name} ({mac})"),
            Self::AdapterDown { name } => write!(out, "adapter {name} is gone"),
            Self::Opened { adapter, host_monitor, version, security } => {
                write!(out, "{adapter}: path to host monitor {host_monitor} is open, version {version}")?;
                security.map_or(Ok(()), |(directions, key)| write!(out, ", {directions} with key {key}"))
            }
            Self::Closed { adapter, host_monitor_mac, reason } => {
                write!(out, "{adapter}: path to the host monitor at {host_monitor_mac} is closed: {reason}")
            }
            Self::Beating { adapter, interval } => {
                write!(out, "{adapter}: heartbeats every {} ms", interval.as_millis())
            }
            Self::Still { adapter } => write!(out, "{adapter}: no heartbeats are wanted"),
            Self::Discarded { adapter, reason } => write!(out, "{adapter}: dropped a frame: {reason}"),
        }
    }
}

impl Trunks {
    pub(super) fn on_frame(
        &mut self,
        now: Instant,
        key: PathKey,
        destination: MacAddr,
        vlan: Option<u16>,
        payload: &[u8],
    ) {
        if key.1.is_multicast() {
            return self.discard(key, Discard::Flags);
        }
        let packet = match Packet::decode(payload) {
            Ok(packet) => packet,
            Err(malformed) => return self.discard(key, malformed.into()),
        };
        if packet.has(Flags::HEL) {
            return self.on_hello(now, key, destination, vlan, packet.payload);
        }
        if self.path(key).is_none() {
            return self.discard(key, Discard::NotOpen);
        }
        self.with_path(now, key, |path, out| path.initiator.handle_packet(now, &packet, out));
    }

    fn on_hello(
        &mut self,
        now: Instant,
        key: PathKey,
        destination: MacAddr,
        vlan: Option<u16>,
        payload: &[u8],
    ) {
        let Some(incarnation) = Incarnation::from_payload(payload) else {
            return self.discard(key, Discard::Message);
        };
        let Some(adapter) = self.adapters.get_mut(&key.0) else { return };
        let unicast = destination == adapter.mac;
        if !adapter.paths.contains_key(&key.1) {
            if !adapter.has_room() {
                return self.discard(key, Discard::Paths);
            }
            let mut initiator = Initiator::new(self.identity.clone(), adapter.mtu, self.random.u64(..));
            initiator.secure(VmmSecurity {
                authentication: self.authentication.clone(),
                addresses: Addresses { vmm: adapter.mac, hm: key.1 },
                nonces: self.nonces.fork(),
            });
            let mut path = HmPath::new(now, initiator, incarnation.clone(), vlan);
            path.silence(self.silenced);
            adapter.paths.insert(key.1, path);
        }
        if is_on(Bug::DeafToHello) && self.path(key).is_some_and(|path| path.initiator.is_open()) {
            return;
        }
        self.with_path(now, key, |path, out| {
            path.handle_hello(now, incarnation, unicast, vlan, out);
        });
    }

    /// Takes packets and events out of the scratch outputs.
    pub(super) fn carry(&mut self, now: Instant, key: PathKey) {
        loop {
            while let Some(payload) = self.scratch.poll_packet() {
                let vlan = self.path(key).and_then(|path| path.vlan_of(&payload));
                let (adapter, destination) = key;
                self.outputs.push_back(TrunkOutput::Transmit { adapter, destination, vlan, payload });
            }
            let Some(event) = self.scratch.poll_event() else { return };
            self.on_event(now, key, event);
        }
    }

    fn on_event(&mut self, now: Instant, key: PathKey, event: Event) {
        match event {
            Event::Opened { replaced } => self.on_opened(now, key, replaced),
            Event::Closed(reason) => {
                self.on_lost(now, key, reason);
                self.on_fewer_paths();
            }
            Event::HandshakeFailed(reason) => {
                if reason == CloseReason::VersionConflict
                    && let Some(path) = self.path_mut(key)
                {
                    path.on_conflict(now);
                }
                self.log_closed(key, reason);
                self.on_not_known(now, key);
                self.on_fewer_paths();
            }
            Event::Message { delivery, payload } => self.on_message(now, key, delivery, &payload),
            Event::Delivered(token) => self.on_delivered(token),
            Event::HandedBack { token, .. } => self.on_handed_back(now, token),
            Event::Discarded(reason) => self.discard(key, reason),
            // Host monitors do not beat.
            Event::Heartbeat { .. } => self.discard(key, Discard::Message),
        }
    }

    fn on_opened(&mut self, now: Instant, key: PathKey, replaced: bool) {
        let Some(path) = self.path_mut(key) else { return };
        path.on_opened(replaced);
        self.hand_over(key);
        let Some(path) = self.path_mut(key) else { return };
        let (peer, security) = (path.initiator.peer(), path.initiator.security());
        if let (Some((host_monitor, version)), Some(adapter)) = (peer, self.adapter_name(key)) {
            let event = TrunkEvent::Opened { adapter, host_monitor, version, security };
            self.outputs.push_back(TrunkOutput::Log(event));
        }
        self.bell.ring(now, Doorbell::CONNECTED);
        self.tell_announcements(now, key);
        self.tell_shutdown(now, key);
    }

    /// The guardian gets what it needs to beat on the channel, and the numbers are drawn where it draws them.
    fn hand_over(&mut self, key: PathKey) {
        let Some(adapter) = self.adapters.get_mut(&key.0) else { return };
        let source = adapter.mac;
        let (Some(keeper), Some(path)) = (&mut self.keeper, adapter.paths.get_mut(&key.1)) else { return };
        let Some(sending) = path.initiator.sending() else { return };
        let name = (key.0.0, key.1);
        if let Some(shared) = keeper.open(name, source, path.vlan(), path.beating(), &sending) {
            path.initiator.share(shared);
        }
    }

    /// A host monitor that did not answer a handshake does not know this path (another address has our UUID). If it
    /// asked for no heartbeats either, the path is of no use: it is closed, and a Hello asked for from time to time. [S-22]
    fn on_not_known(&mut self, now: Instant, key: PathKey) {
        if self.path(key).is_some_and(HmPath::is_useless) {
            self.with_path(now, key, |path, out| path.initiator.close(CloseReason::Unanswered, out));
        }
    }

    fn on_lost(&mut self, now: Instant, key: PathKey, reason: CloseReason) {
        if let Some(path) = self.path_mut(key) {
            path.on_closed();
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.close((key.0.0, key.1));
        }
        if let Some(adapter) = self.adapters.get_mut(&key.0) {
            adapter.on_path_lost(now);
        }
        self.log_closed(key, reason);
    }

    fn on_message(&mut self, now: Instant, key: PathKey, delivery: Delivery, payload: &[u8]) {
        // Everything a host monitor sends is taken at once: nothing of it has to be stored here.
        self.with_path(now, key, |path, out| path.initiator.accept(delivery, out));
        match Message::parse(payload) {
            Some(Message::StartHeartbeat { interval_ms }) => self.on_start(now, key, interval_ms),
            Some(Message::StopHeartbeat) => {
                if let Some(path) = self.path_mut(key) {
                    path.stop_heartbeats();
                }
                self.log(key, |adapter| TrunkEvent::Still { adapter });
            }
            Some(Message::ReportRequest { tag, what: "apps" }) => {
                if self.asked.len() >= ASKED_MAXIMUM {
                    self.asked.pop_front();
                }
                self.asked.push_back((tag, key));
                self.outputs.push_back(TrunkOutput::ReportWanted { tag });
            }
            Some(Message::ReportTaken { tag }) => {
                self.bell.on_taken(tag);
                self.asked.retain(|(asked, _)| *asked != tag);
                self.outputs.push_back(TrunkOutput::ReportTaken { tag });
                self.send(now, key, Purpose::Clear, &Message::ReportClear { tag });
            }
            Some(Message::QuietOk { ms }) => self.on_quiet_granted(key, ms),
            Some(_) | None => self.discard(key, Discard::Message),
        }
    }

    fn on_start(&mut self, now: Instant, key: PathKey, interval_ms: u32) {
        let interval = Duration::from_millis(interval_ms.into());
        self.with_path(now, key, |path, out| path.start_heartbeats(now, interval, out));
        self.log(key, |adapter| TrunkEvent::Beating { adapter, interval });
    }

    fn on_delivered(&mut self, token: Token) {
        let Some((key, purpose)) = self.under_way.remove(&token) else { return };
        match purpose {
            Purpose::Suspension { suspend } => self.on_suspension_delivered(key, token, suspend),
            Purpose::Quiet => self.on_quiet_delivered(key, token),
            Purpose::Shutdown => self.on_fewer_paths(),
            Purpose::Doorbell | Purpose::Report | Purpose::Clear | Purpose::LastWords => {}
        }
    }

    fn on_handed_back(&mut self, now: Instant, token: Token) {
        let Some((key, purpose)) = self.under_way.remove(&token) else { return };
        match purpose {
            Purpose::Doorbell | Purpose::Report => self.bell.on_handed_back(now),
            Purpose::Shutdown => self.on_fewer_paths(),
            // Told again when a path opens.
            Purpose::Suspension { .. } | Purpose::Quiet => self.on_announcement_lost(key, token),
            // The store clears an exchange that was never cleared by itself. Of last words nobody has more than one try.
            Purpose::Clear | Purpose::LastWords => {}
        }
    }

    fn discard(&mut self, key: PathKey, reason: Discard) {
        let count = self.discards.entry(reason).or_default();
        *count = count.saturating_add(1);
        self.log(key, |adapter| TrunkEvent::Discarded { adapter, reason });
    }

    fn log_closed(&mut self, key: PathKey, reason: CloseReason) {
        self.log(key, |adapter| TrunkEvent::Closed { adapter, host_monitor_mac: key.1, reason });
    }

    fn log(&mut self, key: PathKey, event: impl FnOnce(String) -> TrunkEvent) {
        if let Some(adapter) = self.adapter_name(key) {
            self.outputs.push_back(TrunkOutput::Log(event(adapter)));
        }
    }

    pub(super) fn adapter_name(&self, key: PathKey) -> Option<String> {
        self.adapters.get(&key.0).map(|adapter| adapter.name.clone())
    }

    fn path_mut(&mut self, key: PathKey) -> Option<&mut HmPath> {
        self.adapters.get_mut(&key.0)?.paths.get_mut(&key.1)
    }
}
