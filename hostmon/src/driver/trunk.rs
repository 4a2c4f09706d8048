//! The trunk adapter: read until empty, survive its absence.

use std::time::Duration;

use vmpulse_link::{Link, LinkConfig, LinkError, PacketSocket, ReceiveBuffer, interfaces};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::{Instant, arrival};

use crate::sessions::Transmit;

/// Frames read in one turn: enough for a burst of every guest, few enough that timers keep their time under a flood.
const FRAMES_PER_TURN: usize = 4096;
/// Between looks at whether the adapter has a carrier, which costs a list of all adapters.
const CARRIER_PERIOD: Duration = Duration::from_secs(5);

pub(super) struct Trunk {
    config: LinkConfig,
    socket: Option<PacketSocket>,
    buffer: ReceiveBuffer,
    last_empty: Instant,
    told_drops: u64,
    /// Drops of sockets that are closed.
    old_drops: u64,
    up: bool,
    next_carrier_look: Instant,
    pub(super) send_failures: u64,
}

/// A frame with the time it arrived.
pub(super) struct Frame<'a> {
    pub(super) arrived: Instant,
    pub(super) source: MacAddr,
    pub(super) vlan: Option<u16>,
    pub(super) payload: &'a [u8],
}

pub(super) enum Outcome {
    Empty,
    MoreWaits,
    Lost,
}

impl Trunk {
    pub(super) fn open(config: LinkConfig, now: Instant) -> Result<Self, LinkError> {
        let socket = PacketSocket::open(&config)?;
        Ok(Self {
            config,
            socket: Some(socket),
            buffer: ReceiveBuffer::new(),
            last_empty: now,
            told_drops: 0,
            old_drops: 0,
            up: true,
            next_carrier_look: now,
            send_failures: 0,
        })
    }

    pub(super) fn mac_and_mtu(&self) -> Option<(MacAddr, usize)> {
        self.socket.as_ref().map(|socket| (socket.mac(), socket.mtu()))
    }

    /// Pends for ever while there is no adapter.
    pub(super) async fn readable(&self) {
        match &self.socket {
            Some(socket) => {
                if let Err(error) = socket.readable().await {
                    tracing::error!(err = %error, "cannot wait for frames");
                    std::future::pending::<()>().await;
                }
            }
            None => std::future::pending().await,
        }
    }

    pub(super) fn read(
        &mut self,
        now: Instant,
        realtime: Duration,
        mut take: impl FnMut(Frame<'_>),
    ) -> Outcome {
        let Some(socket) = &self.socket else { return Outcome::Empty };
        for _ in 0..FRAMES_PER_TURN {
            match socket.receive(&mut self.buffer) {
                Ok(Some(frame)) => take(Frame {
                    arrived: arrival(now, realtime, frame.stamp, self.last_empty),
                    source: frame.source,
                    vlan: frame.vlan,
                    payload: frame.payload,
                }),
                Ok(None) => {
                    self.last_empty = now;
                    return Outcome::Empty;
                }
                Err(error) => return self.on_error(&error),
            }
        }
        Outcome::MoreWaits
    }

    pub(super) fn send(&mut self, frame: &Transmit) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(frame.destination, frame.vlan, &frame.payload) {
            // Lost like any frame may be; the protocol repeats what matters.
            self.send_failures = self.send_failures.saturating_add(1);
            tracing::debug!(err = %error, "a frame was not sent");
        }
    }

    /// Frames that the kernel dropped since this was last asked.
    pub(super) fn new_drops(&mut self) -> u64 {
        let total = self.drops();
        let new = total.saturating_sub(self.told_drops);
        self.told_drops = total;
        new
    }

    pub(super) fn drops(&self) -> u64 {
        self.old_drops.saturating_add(self.socket.as_ref().map_or(0, PacketSocket::drops))
    }

    /// Whether the adapter is there and up; opens it again when it came back.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        if self.socket.as_ref().is_some_and(|socket| socket.check().is_err()) {
            self.close();
        }
        if self.socket.is_none() {
            match PacketSocket::open(&self.config) {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.last_empty = now;
                }
                Err(error) => {
                    tracing::debug!(err = %error, "the trunk adapter is not back yet");
                    return false;
                }
            }
        }
        if !self.up || now >= self.next_carrier_look {
            self.next_carrier_look = now + CARRIER_PERIOD;
            self.up = self.is_well();
        }
        self.up
    }

    /// Up, with a carrier, and with the address that the socket listens for.
    fn is_well(&mut self) -> bool {
        // Not knowing is no reason to stop judging.
        let Ok(all) = interfaces() else { return true };
        let Some(adapter) = all.iter().find(|one| one.name == self.config.interface) else { return false };
        if self.socket.as_ref().is_some_and(|socket| socket.mac() != adapter.mac) {
            tracing::warn!(mac = %adapter.mac, "the trunk adapter has another address now");
            self.close();
            return false;
        }
        adapter.up && adapter.running
    }

    fn on_error(&mut self, error: &LinkError) -> Outcome {
        match error {
            LinkError::WouldBlock { .. } | LinkError::NoBuffers { .. } | LinkError::TooLong { .. } => {
                return Outcome::Empty;
            }
            LinkError::InterfaceDown { .. } => {}
            LinkError::InterfaceGone { .. } | LinkError::NoSuchInterface { .. } => self.close(),
            LinkError::NoPermission { .. }
            | LinkError::NotEthernet { .. }
            | LinkError::InvalidEtherType { .. }
            | LinkError::InvalidVlan { .. }
            | LinkError::Io { .. } => {
                tracing::warn!(err = %error, "the trunk adapter");
                self.close();
            }
        }
        self.up = false;
        Outcome::Lost
    }

    fn close(&mut self) {
        self.old_drops = self.drops();
        self.socket = None;
        self.up = false;
    }
}
