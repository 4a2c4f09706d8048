//! The canary: a VMM that the host itself runs on its trunk, so that the monitor can tell a dead trunk from dead guests.
//!
//! Pure. This is its guest's end; the monitor's end is in [`monitor`](crate::monitor). It speaks the protocol as any
//! guest does, always authenticated, with a key that is made at each start and never leaves the process.

use std::time::Duration;

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, Key, KeyId, Mode, Nonces};
use vmpulse_protocol::id::{Incarnation, VmUuid};
use vmpulse_protocol::message::Message;
use vmpulse_protocol::path::{Event, Initiator, Outputs, VmmIdentity, VmmSecurity};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet, Version};

/// Between two handshakes, and between two Hellos that ask for one. [H-4]
const CONNECT_PERIOD: Duration = Duration::from_secs(1);

/// Who the canary is: made up at each start, and told to nobody but both its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryIdentity {
    /// As a VM.
    pub vm: VmUuid,
    /// Address of its adapter.
    pub mac: MacAddr,
    /// Its secret. `None` where the core runs again from a record, which holds no key: what came in its name counts as
    /// the canary's, without proof.
    pub key: Option<Key>,
}

impl CanaryIdentity {
    /// From 54 bytes of randomness. The address is a locally administered one of a single adapter.
    #[must_use]
    pub fn from_random(random: &[u8; 54]) -> Self {
        let (uuid, rest) = random.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let (mac, rest) = rest.split_first_chunk::<6>().unwrap_or((&[0; 6], &[]));
        let (key, _) = rest.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
        let [first, b, c, d, e, f] = *mac;
        Self {
            vm: VmUuid::from_bytes(*uuid),
            mac: MacAddr((first & 0xfe) | 0x02, b, c, d, e, f),
            key: Some(Key::from_bytes(*key)),
        }
    }

    /// What both its ends demand.
    #[must_use]
    pub fn authentication(&self) -> Authentication {
        let Some(key) = &self.key else { return Authentication::NONE };
        Authentication::new(Mode::Required, KeyId::new(1).map(|id| (id, key.clone())))
    }
}

/// The guest's end. See the module.
#[derive(Debug)]
pub struct CanaryVmm {
    identity: CanaryIdentity,
    initiator: Initiator,
    nonces: Nonces,
    monitor: MacAddr,
    /// Of the Hello that the latest handshake answered.
    incarnation: Option<Incarnation>,
    last_connect: Option<Instant>,
    next_solicitation: Instant,
    /// Interval and time of the next heartbeat.
    beat: Option<(Duration, Instant)>,
    out: Outputs,
    solicits: bool,
    beaten: bool,
}

impl CanaryVmm {
    /// For a host monitor at this address. `nonce_seed`: from the kernel's source of randomness.
    #[must_use]
    pub fn new(
        now: Instant,
        identity: CanaryIdentity,
        monitor: MacAddr,
        mtu: usize,
        nonce_seed: &[u8; 32],
    ) -> Self {
        let vmm = VmmIdentity {
            uuid: identity.vm.to_string(),
            os_type: "Linux".to_owned(),
            lower: Version::V2_1,
            upper: Version::V2_1,
        };
        let (seed, _) = nonce_seed.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let mut canary = Self {
            initiator: Initiator::new(vmm, mtu, u64::from_ne_bytes(*seed)),
            identity,
            nonces: Nonces::new(nonce_seed),
            monitor,
            incarnation: None,
            last_connect: None,
            next_solicitation: now,
            beat: None,
            out: Outputs::new(),
            solicits: false,
            beaten: false,
        };
        canary.secure();
        canary
    }

    /// The monitor's address changed; handshakes are made with that from now on.
    pub fn handle_readdressed(&mut self, monitor: MacAddr) {
        if self.monitor != monitor {
            self.monitor = monitor;
            self.incarnation = None;
            self.secure();
        }
    }

    /// Takes a frame. Those of anybody but the monitor are nothing to it. `unicast`: it was for the canary alone.
    pub fn handle_frame(&mut self, now: Instant, source: MacAddr, unicast: bool, payload: &[u8]) {
        let Some(packet) = Packet::decode(payload).ok().filter(|_| source == self.monitor) else { return };
        if packet.has(Flags::HEL) {
            if let Some(incarnation) = Incarnation::from_payload(packet.payload) {
                self.on_hello(now, incarnation, unicast);
            }
            return;
        }
        self.initiator.handle_packet(now, &packet, &mut self.out);
        self.on_events(now);
    }

    /// Beats and repeats what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_solicitation <= now && !self.initiator.is_open() {
            self.next_solicitation = now + CONNECT_PERIOD;
            self.solicits = true;
        }
        if let Some((interval, next)) = self.beat.filter(|(_, next)| *next <= now) {
            // Start to start; what was slept through is not made up for. [M-6]
            let due = next + interval;
            self.beat = Some((interval, if due > now { due } else { now + interval }));
            self.send_heartbeat();
        }
        self.initiator.handle_timeout(now, &mut self.out);
        self.on_events(now);
    }

    /// Beats at once, as the monitor asked: somebody's time is up.
    pub fn handle_asked(&mut self) {
        if self.beat.is_some() {
            self.send_heartbeat();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let solicitation = (!self.initiator.is_open()).then_some(self.next_solicitation);
        let beat = self.beat.map(|(_, next)| next);
        self.initiator.poll_timeout().into_iter().chain(solicitation).chain(beat).min()
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<(MacAddr, Vec<u8>)> {
        if std::mem::take(&mut self.solicits) {
            let hello = Packet::plain(Version::V2_0, 0, Flags::HEL, b"").encode();
            return Some((self.monitor, hello));
        }
        self.out.poll_packet().map(|packet| (self.monitor, packet))
    }

    /// Whether it gave heartbeats to be sent since this was last asked.
    pub fn take_beaten(&mut self) -> bool {
        std::mem::take(&mut self.beaten)
    }

    fn send_heartbeat(&mut self) {
        if self.initiator.is_open() {
            self.initiator.send_heartbeat(&mut self.out);
            self.beaten = true;
        }
    }

    fn secure(&mut self) {
        self.initiator.secure(VmmSecurity {
            authentication: self.identity.authentication(),
            addresses: Addresses { vmm: self.identity.mac, hm: self.monitor },
            nonces: self.nonces.fork(),
        });
    }

    /// The monitor says it to the canary alone when it does not hear it.
    fn on_hello(&mut self, now: Instant, incarnation: Incarnation, unicast: bool) {
        let known = self.incarnation.as_ref() == Some(&incarnation);
        let too_soon = self.last_connect.is_some_and(|last| now.since(last) < CONNECT_PERIOD);
        let needed = unicast || !self.initiator.is_open();
        if self.initiator.is_connecting() || known && (too_soon || !needed) {
            return;
        }
        self.incarnation = Some(incarnation);
        self.last_connect = Some(now);
        self.initiator.connect(now, &mut self.out);
    }

    fn on_events(&mut self, now: Instant) {
        while let Some(event) = self.out.poll_event() {
            match event {
                Event::Message { delivery, payload } => {
                    match Message::parse(&payload) {
                        Some(Message::StartHeartbeat { interval_ms }) => {
                            self.beat = Some((Duration::from_millis(interval_ms.into()), now));
                        }
                        Some(Message::StopHeartbeat) => self.beat = None,
                        Some(_) | None => {}
                    }
                    self.initiator.accept(delivery, &mut self.out);
                }
                Event::Closed(_) => self.beat = None,
                Event::Opened { .. }
                | Event::HandshakeFailed(_)
                | Event::Heartbeat { .. }
                | Event::Delivered(_)
                | Event::HandedBack { .. }
                | Event::Discarded(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_one_adapters_address_and_says_nothing_of_its_key() {
        let mut random = [0xff; 54];
        random[16] = 0x01;
        let identity = CanaryIdentity::from_random(&random);
        assert_eq!(identity.mac, MacAddr(0x02, 0xff, 0xff, 0xff, 0xff, 0xff));
        assert!(!identity.mac.is_multicast());
        assert!(format!("{identity:?}").contains("Key(..)"));
        assert!(identity.authentication().mode.demands());
    }

    #[test]
    fn it_hears_nobody_but_the_monitor() {
        let now = Instant::ZERO;
        let monitor = MacAddr(2, 0, 0, 0, 0, 1);
        let mut canary = CanaryVmm::new(now, CanaryIdentity::from_random(&[7; 54]), monitor, 1500, &[3; 32]);
        let incarnation = Incarnation::new(1, 2, 3).to_string();
        let hello = Packet::plain(Version::V2_0, 0, Flags::HEL, incarnation.as_bytes()).encode();
        canary.handle_frame(now, MacAddr(2, 0, 0, 0, 0, 9), true, &hello);
        assert_eq!(canary.poll_transmit(), None);
        canary.handle_frame(now, monitor, false, &hello);
        let (to, syn) = canary.poll_transmit().unwrap();
        assert!(to == monitor && Packet::decode(&syn).unwrap().has(Flags::SYN));
    }
}
