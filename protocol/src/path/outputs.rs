//! What comes of packets, timeouts and messages.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{CloseReason, Discard};

/// Names a message queued for sending; chosen by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a message received; its last packet is acknowledged when the owner accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery(u64);

/// What happened on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete. `replaced`: it took the place of an open channel.
    Opened {
        /// Whether the path was open before.
        replaced: bool,
    },
    /// The channel is closed; what it had queued was handed back before.
    Closed(CloseReason),
    /// The handshake under way was given up; an open channel beside it stays.
    HandshakeFailed(CloseReason),
    /// A heartbeat arrived.
    Heartbeat {
        /// Sent by the guardian.
        guardian: bool,
    },
    /// A message arrived whole: accept or refuse it.
    Message {
        /// To accept or refuse it by.
        delivery: Delivery,
        /// Its bytes; to be parsed and not to be trusted.
        payload: Vec<u8>,
    },
    /// A message sent was acknowledged: its receiver has accepted it.
    Delivered(Token),
    /// A message was not acknowledged (or its acknowledgement was lost): it is its owner's again.
    HandedBack {
        /// Which.
        token: Token,
        /// Its bytes.
        payload: Bytes,
    },
    /// A packet was dropped.
    Discarded(Discard),
}

/// Where paths put packets to send and events; owned by the table of the paths, and drained after each call.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    acknowledgements: VecDeque<Vec<u8>>,
    packets: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    deliveries: u64,
}

impl Outputs {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            acknowledgements: VecDeque::new(),
            packets: VecDeque::new(),
            events: VecDeque::new(),
            deliveries: 0,
        }
    }

    /// The next packet to send: acknowledgements before anything else.
    pub fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.acknowledgements.pop_front().or_else(|| self.packets.pop_front())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn acknowledge(&mut self, packet: Vec<u8>) {
        self.acknowledgements.push_back(packet);
    }

    pub(super) fn transmit(&mut self, packet: Vec<u8>) {
        self.packets.push_back(packet);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn discard(&mut self, reason: Discard) {
        self.event(Event::Discarded(reason));
    }

    /// Unique among all paths that share these outputs, so that a delivery of a replaced channel names nothing.
    pub(super) fn next_delivery(&mut self) -> Delivery {
        self.deliveries = self.deliveries.wrapping_add(1);
        Delivery(self.deliveries)
    }
}
