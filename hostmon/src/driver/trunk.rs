//! The trunk adapter: read until empty, survive its absence.

use std::time::Duration;

use vmpulse_link::{
    Left, Link, LinkChanges, LinkConfig, LinkError, PacketSocket, Received, RingConfig, interfaces,
};
use vmpulse_local::errors;
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::{Instant, arrival};

use crate::sessions::Transmit;

/// The shape of the ring, where frames are received in one. A block for each 10 ms bounds the wake-ups to 100 a second at
/// everyday rates, at which they are most of the cost, and 8 MiB of such blocks are 5 s of a stopped daemon; a hundred
/// heartbeats fill one.
pub const RING: RingConfig = RingConfig { block_bytes: 16 << 10, block_timeout_ms: 10 };
/// Frames read in one turn: enough for a burst of every guest, few enough that timers keep their time under a flood: about
/// a millisecond's work, two if all are authenticated.
const FRAMES_PER_TURN: usize = 4096;
/// Between looks at whether the adapter has a carrier, which costs a list of all adapters.
const CARRIER_PERIOD: Duration = Duration::from_secs(5);
/// Lines for the log that wait for the end of a turn.
const WARNINGS_MAXIMUM: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Trunk {
    config: LinkConfig,
    socket: Option<PacketSocket>,
    /// Every frame that arrived before this was handed over.
    heard: Instant,
    told_drops: u64,
    /// Of sockets that are closed.
    old_drops: u64,
    old_freezes: u64,
    up: bool,
    /// What is wrong with it; empty if nothing is known to be.
    trouble: &'static str,
    /// `None`: the kernel does not tell, and only looking helps.
    changes: Option<LinkChanges>,
    next_carrier_look: Instant,
    warnings: Vec<String>,
    pub(super) send_failures: u64,
}

/// A frame with the time it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// By the kernel's stamp.
    pub arrived: Instant,
    /// From whom.
    pub source: MacAddr,
    /// TCI of its tag.
    pub vlan: Option<u16>,
    /// What follows the Ethernet header.
    pub payload: &'a [u8],
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The adapter is there, as far as is known.
    Heard {
        /// Every frame that arrived before this was handed over.
        until: Instant,
        /// How far that lies back at best.
        lag: Duration,
    },
    /// It went down or away.
    Lost,
}

impl Trunk {
    /// Opens the adapter; within a running tokio runtime.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn open(config: LinkConfig, now: Instant) -> Result<Self, LinkError> {
        let socket = PacketSocket::open(&config)?;
        Ok(Self {
            config,
            socket: Some(socket),
            heard: now,
            told_drops: 0,
            old_drops: 0,
            old_freezes: 0,
            up: true,
            trouble: "",
            changes: LinkChanges::open().ok(),
            next_carrier_look: now,
            warnings: Vec::new(),
            send_failures: 0,
        })
    }

    pub(super) fn mac_and_mtu(&self) -> Option<(MacAddr, usize)> {
        self.socket.as_ref().map(|socket| (socket.mac(), socket.mtu()))
    }

    /// Until there is something to read; for ever while there is no adapter. Cancel-safe.
    pub async fn readable(&self) {
        match &self.socket {
            Some(socket) => {
                if socket.readable().await.is_err() {
                    // The runtime is shutting down.
                    std::future::pending::<()>().await;
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Until an adapter of this namespace has changed. Cancel-safe.
    pub(super) async fn changed(&self) {
        match &self.changes {
            Some(changes) if changes.changed().await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    }

    /// What was known of the adapter may not hold any more.
    pub(super) fn doubt(&mut self) {
        self.next_carrier_look = Instant::ZERO;
    }

    /// What is wrong with the adapter, to follow its name in a sentence; empty if nothing is known.
    pub(super) const fn trouble(&self) -> &'static str {
        self.trouble
    }

    /// Hands the frames that wait to `take`, a bounded number of them. Both clocks as of now. Allocates nothing.
    pub fn read(&mut self, now: Instant, realtime: Duration, mut take: impl FnMut(Frame<'_>)) -> Outcome {
        let Some(socket) = &mut self.socket else {
            self.heard = now;
            return Outcome::Heard { until: now, lag: Duration::ZERO };
        };
        let (heard, lag) = (self.heard, socket.reading_lag());
        let mut last = None;
        let left = socket.receive_batch(FRAMES_PER_TURN, |frame: Received<'_>| {
            last = frame.stamp;
            take(Frame {
                arrived: arrival(now, realtime, frame.stamp, heard),
                source: frame.source,
                vlan: frame.vlan,
                payload: frame.payload,
            });
        });
        match left {
            Ok(Left::Nothing) => self.heard = heard.max(now.back(lag)),
            // Frames come in their order. A stamp of the future is one of before the wall clock was set back.
            Ok(Left::More) => {
                let last = last.filter(|stamp| *stamp <= realtime);
                self.heard = last.map_or(heard, |stamp| arrival(now, realtime, Some(stamp), heard));
            }
            Err(error) => return self.on_error(now, &error),
        }
        Outcome::Heard { until: self.heard, lag }
    }

    pub(super) fn send(&mut self, frame: &Transmit) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(frame.destination, frame.vlan, &frame.payload) {
            // Lost like any frame may be; the protocol repeats what matters.
            self.send_failures = self.send_failures.saturating_add(1);
            tracing::debug!(err = %error, "a frame was not sent");
        }
    }

    /// What is worth a line in the log.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn warn(&mut self, line: String) {
        if self.warnings.len() < WARNINGS_MAXIMUM {
            self.warnings.push(line);
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

    /// Times that the ring was full.
    pub(super) fn freezes(&self) -> u64 {
        self.old_freezes.saturating_add(self.socket.as_ref().map_or(0, PacketSocket::freezes))
    }

    /// Whether the adapter is there and up; opens it again when it came back.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        if self.socket.as_ref().is_some_and(|socket| socket.check().is_err()) {
            self.trouble = "was removed";
            self.close();
        }
        if self.socket.is_none() && !self.reopen(now) {
            return false;
        }
        if !self.up || now >= self.next_carrier_look {
            self.next_carrier_look = now + CARRIER_PERIOD;
            self.up = self.is_well();
            if self.socket.is_none() && self.reopen(now) {
                self.up = self.is_well();
            }
        }
        self.up
    }

    fn reopen(&mut self, now: Instant) -> bool {
        match PacketSocket::open(&self.config) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.heard = now;
                true
            }
            Err(error) => {
                tracing::debug!(err = %error, "the trunk adapter is not back yet");
                false
            }
        }
    }

    /// Up, with a carrier, and with the address and the MTU that the socket was made for.
    fn is_well(&mut self) -> bool {
        // Not knowing is no reason to stop judging.
        let Ok(all) = interfaces() else { return true };
        let Some(adapter) = all.iter().find(|one| one.name == self.config.interface) else {
            self.trouble = "was removed";
            return false;
        };
        let made_for = self.socket.as_ref().map(|socket| (socket.mac(), socket.mtu()));
        if made_for.is_some_and(|made_for| made_for != (adapter.mac, adapter.mtu)) {
            self.warn(format!("the trunk adapter has address {} and MTU {} now", adapter.mac, adapter.mtu));
            self.trouble = "has another address or MTU, and is opened again";
            self.close();
            return false;
        }
        self.trouble = match (adapter.up, adapter.running) {
            (false, _) => "is down",
            (true, false) => "has no carrier",
            (true, true) => "",
        };
        adapter.up && adapter.running
    }

    fn on_error(&mut self, now: Instant, error: &LinkError) -> Outcome {
        match error {
            LinkError::WouldBlock { .. } | LinkError::NoBuffers { .. } | LinkError::TooLong { .. } => {
                self.heard = now;
                return Outcome::Heard { until: self.heard, lag: Duration::ZERO };
            }
            LinkError::InterfaceDown { .. } => self.trouble = "is down",
            LinkError::InterfaceGone { .. } | LinkError::NoSuchInterface { .. } => {
                self.trouble = "was removed";
                self.close();
            }
            LinkError::NoPermission { .. }
            | LinkError::NotEthernet { .. }
            | LinkError::InvalidEtherType { .. }
            | LinkError::InvalidVlan { .. }
            | LinkError::Io { .. } => {
                self.warn(format!("the trunk adapter: {}", errors::chain(error)));
                self.close();
            }
        }
        self.up = false;
        Outcome::Lost
    }

    fn close(&mut self) {
        self.old_drops = self.drops();
        self.old_freezes = self.freezes();
        self.socket = None;
        self.up = false;
    }
}
