//! One host monitor heard on an adapter.

use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::id::Incarnation;
use vmpulse_protocol::path::{Initiator, Outputs, VmmSecurity};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Flags;

use super::PathStatus;

/// Handshakes are begun at most this often. [H-4]
const CONNECT_PERIOD: Duration = Duration::from_secs(1);
/// After a version conflict a host monitor is tried again this late, unless it was restarted. [S-10]
const CONFLICT_PERIOD: Duration = Duration::from_secs(600);
/// A path on which no heartbeats are wanted is opened anew this often. [H-3]
const FORGOTTEN_PERIOD: Duration = Duration::from_secs(600);
/// The first doorbell follows this many heartbeats. [M-11]
const HEARTBEATS_BEFORE_DOORBELL: u64 = 4;

#[derive(Clone, Debug)]
pub(super) struct HmPath {
    pub(super) initiator: Initiator,
    /// Of the Hello by which the channel was begun, and of the one by which the latest handshake was: anybody can forge a
    /// Hello, and none may lead the heartbeats of an open channel elsewhere.
    vlan: Option<u16>,
    candidate_vlan: Option<u16>,
    incarnation: Incarnation,
    last_hello: Instant,
    last_connect: Option<Instant>,
    /// It came too early, for an HM that was restarted; the next one will not.
    early_connect: bool,
    conflict_until: Option<Instant>,
    beat: Option<Beat>,
    heartbeats_sent: u64,
    /// Of those, since the path was opened.
    heartbeats_since_open: u64,
    silenced: bool,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    interval: Duration,
    next: Instant,
}

impl HmPath {
    pub(super) fn new(
        now: Instant,
        initiator: Initiator,
        incarnation: Incarnation,
        vlan: Option<u16>,
    ) -> Self {
        Self {
            initiator,
            vlan,
            candidate_vlan: vlan,
            incarnation,
            last_hello: now,
            last_connect: None,
            early_connect: false,
            conflict_until: None,
            beat: None,
            heartbeats_sent: 0,
            heartbeats_since_open: 0,
            silenced: false,
        }
    }

    /// Whether heartbeats are left out.
    pub(super) fn silence(&mut self, silenced: bool) {
        self.silenced = silenced;
    }

    pub(super) const fn heartbeats_sent(&self) -> u64 {
        self.heartbeats_sent
    }

    /// How often it is to beat, while it can.
    pub(super) fn beating(&self) -> Option<Duration> {
        self.beat.filter(|_| self.initiator.is_open()).map(|beat| beat.interval)
    }

    pub(super) const fn vlan(&self) -> Option<u16> {
        self.vlan
    }

    /// A Hello. A new incarnation, or one addressed to us alone, asks for a handshake; any asks a closed path. [H-3]
    pub(super) fn handle_hello(
        &mut self,
        now: Instant,
        incarnation: Incarnation,
        unicast: bool,
        vlan: Option<u16>,
        out: &mut Outputs,
    ) {
        self.last_hello = now;
        let restarted = incarnation != self.incarnation;
        let closed = !self.initiator.is_open() && !self.initiator.is_connecting();
        let conflict = self.conflict_until.is_some_and(|until| now < until);
        if restarted || unicast || closed || self.is_forgotten(now) {
            let too_soon = self.last_connect.is_some_and(|last| now.since(last) < CONNECT_PERIOD);
            let early = too_soon && restarted && !self.early_connect;
            if (too_soon && !early) || (conflict && !restarted) {
                // As if it had not come: the identifier is still the old one. [H-4]
                return;
            }
            self.early_connect = early;
            self.incarnation = incarnation;
            self.last_connect = Some(now);
            self.conflict_until = None;
            self.candidate_vlan = vlan;
            self.initiator.connect(now, out);
        }
    }

    /// Whether it waits in vain to be told to beat: the HM may have given the channel up long ago.
    fn is_forgotten(&self, now: Instant) -> bool {
        let long_ago = self.last_connect.is_none_or(|last| now.since(last) >= FORGOTTEN_PERIOD);
        self.is_useless() && !self.initiator.is_connecting() && long_ago
    }

    /// Other keys, or another mode: an open path is replaced by one that uses them.
    pub(super) fn handle_security(&mut self, now: Instant, security: VmmSecurity, out: &mut Outputs) {
        self.initiator.secure(security);
        if self.initiator.is_open() || self.initiator.is_connecting() {
            self.last_connect = Some(now);
            if self.initiator.is_open() {
                self.candidate_vlan = self.vlan;
            }
            self.initiator.connect(now, out);
        }
    }

    /// The tag for a packet to the HM.
    pub(super) fn vlan_of(&self, packet: &[u8]) -> Option<u16> {
        let handshake = packet.get(3).is_some_and(|flags| flags & Flags::SYN.bits() != 0);
        if handshake { self.candidate_vlan } else { self.vlan }
    }

    /// A replaced channel goes on beating: silence until the next `START_HB` would look like a dead guest. [M-7]
    pub(super) fn on_opened(&mut self, replaced: bool) {
        self.vlan = self.candidate_vlan;
        self.heartbeats_since_open = 0;
        if !replaced {
            self.beat = None;
        }
    }

    pub(super) fn on_closed(&mut self) {
        self.beat = None;
        self.heartbeats_since_open = 0;
    }

    pub(super) fn on_conflict(&mut self, now: Instant) {
        self.conflict_until = Some(now + CONFLICT_PERIOD);
    }

    pub(super) fn start_heartbeats(&mut self, now: Instant, interval: Duration, out: &mut Outputs) {
        self.beat = Some(Beat { interval, next: now });
        self.handle_timeout(now, out);
    }

    pub(super) fn stir(&mut self, entropy: &[u8; 32]) {
        self.initiator.stir(entropy);
    }

    pub(super) fn stop_heartbeats(&mut self) {
        self.beat = None;
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outputs) {
        if let Some(beat) = &mut self.beat
            && beat.next <= now
            && self.initiator.is_open()
        {
            // Start to start; what was slept through is not made up for. [M-6]
            beat.next = beat.next + beat.interval;
            if beat.next <= now {
                beat.next = now + beat.interval;
            }
            if self.silenced {
                return self.initiator.handle_timeout(now, out);
            }
            self.initiator.send_heartbeat(out);
            self.heartbeats_sent = self.heartbeats_sent.saturating_add(1);
            self.heartbeats_since_open = self.heartbeats_since_open.saturating_add(1);
        }
        self.initiator.handle_timeout(now, out);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let beat = self.beat.filter(|_| self.initiator.is_open()).map(|beat| beat.next);
        self.initiator.poll_timeout().into_iter().chain(beat).min()
    }

    /// Whether a doorbell may be rung here.
    pub(super) fn hears(&self) -> bool {
        self.initiator.is_open() && self.heartbeats_since_open >= HEARTBEATS_BEFORE_DOORBELL
    }

    /// Open, but no heartbeats were asked for.
    pub(super) fn is_useless(&self) -> bool {
        self.initiator.is_open() && self.beat.is_none()
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.initiator.is_open() && !self.initiator.is_connecting()
    }

    pub(super) fn status(
        &self,
        now: Instant,
        adapter: (&str, MacAddr),
        host_monitor_mac: MacAddr,
    ) -> PathStatus {
        let peer = self.initiator.peer();
        let state = match (self.initiator.is_open(), self.beat, self.initiator.is_connecting()) {
            (true, Some(_), _) => "BEATING",
            (true, None, _) => "OPEN",
            (false, _, true) => "CONNECTING",
            (false, _, false) => "WAITING",
        };
        PathStatus {
            adapter: adapter.0.to_owned(),
            mac: adapter.1,
            state,
            host_monitor_mac: Some(host_monitor_mac),
            host_monitor: peer.map(|(host_monitor, _)| host_monitor),
            version: peer.map(|(_, version)| version),
            interval: self.beat.map(|beat| beat.interval),
            last_hello_age: Some(now.since(self.last_hello)),
            heartbeats_sent: self.heartbeats_sent,
            security: self.initiator.security(),
        }
    }
}
