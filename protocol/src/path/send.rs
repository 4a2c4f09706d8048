//! Sending messages of one priority: one in flight, in packets, until each is acknowledged.
//!
//! ```text
//!            queue                  every packet acknowledged
//!  waiting ---------> in flight --------------------------------> Delivered
//!                      |   ^ timeout: sent again, same number
//!                      +---+ six sendings: Unanswered, all handed back
//! ```

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::outputs::{Event, Outputs, Token};
use super::shared::SharedDraw;
use super::{Priority, QUEUE_MAXIMUM, SENDINGS_MAXIMUM, WINDOW, retransmission_timeout};
use crate::auth::Sealer;
use crate::time::Instant;
use crate::wire::{Flags, Packet, Version, payload_capacity};

/// What every packet of a channel has in common.
#[derive(Clone, Debug)]
pub(super) struct Framing {
    version: Version,
    /// Largest payload of a packet. Small, as there are thousands of paths.
    capacity: u16,
    /// If what is sent here is authenticated.
    pub(super) sealer: Option<Box<Sealer>>,
    /// Where urgent numbers and counts are drawn, if somebody else draws there as well.
    pub(super) shared: Option<Box<SharedDraw>>,
    /// The peer's guardian beats: it acknowledges nothing, so nothing is sent that it would have to. [M-14]
    pub(super) held: bool,
}

impl Framing {
    pub(super) const fn new(version: Version, mtu: usize, sealer: Option<Box<Sealer>>) -> Self {
        let capacity = payload_capacity(mtu, sealer.is_some());
        // A length on the wire has no more bits.
        let capacity = if capacity > 0xFFFF { 0xFFFF } else { capacity as u16 };
        Self { version, capacity, sealer, shared: None, held: false }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity.into()
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    /// A packet's bytes, authenticated anew at each sending. [X-12]
    pub(super) fn encode(&mut self, number: u8, flags: Flags, payload: &[u8]) -> Vec<u8> {
        self.seal(&Packet::plain(self.version, number, flags, payload))
    }

    pub(super) fn seal(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        match (&mut self.sealer, &self.shared) {
            (Some(sealer), Some(shared)) => sealer.sealed(packet, shared.next_count()).encode(),
            (Some(sealer), None) => sealer.seal(packet),
            (None, _) => packet.encode(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Sender {
    priority: Flags,
    next: u8,
    /// Boxed, and gone when there is nothing to do: there are thousands of paths, and hardly any of them is sent to.
    work: Option<Box<Work>>,
}

#[derive(Clone, Debug, Default)]
struct Work {
    waiting: VecDeque<(Token, Bytes)>,
    flight: Option<Flight>,
}

#[derive(Clone, Debug)]
struct Flight {
    token: Token,
    payload: Bytes,
    first: u8,
    /// Packets the message has, and packets of it sent at least once.
    total: usize,
    sent: usize,
    outstanding: Vec<Outstanding>,
}

#[derive(Clone, Debug)]
struct Outstanding {
    index: usize,
    sendings: u8,
    deadline: Instant,
}

/// A packet went unanswered for as often as it may.
#[derive(Debug)]
pub(super) struct Unanswered;

impl Sender {
    pub(super) const fn new(priority: Priority, first: u8) -> Self {
        let priority = match priority {
            Priority::Normal => Flags::NONE,
            Priority::Urgent => Flags::PRI,
        };
        Self { priority, next: first, work: None }
    }

    /// Queues a message; false if the queue is full.
    #[must_use]
    pub(super) fn queue(&mut self, token: Token, payload: Bytes) -> bool {
        let work = self.work.get_or_insert_default();
        let room = work.waiting.len() < QUEUE_MAXIMUM;
        if room {
            work.waiting.push_back((token, payload));
        }
        room
    }

    /// Sends a whole message that nobody acknowledges. [N-3]
    pub(super) fn send_unreliable(&mut self, framing: &mut Framing, payload: &[u8], out: &mut Outputs) {
        let flags = Flags::BEG | Flags::END | self.priority;
        let number = match &framing.shared {
            Some(shared) => shared.next_urgent(),
            None => self.take_number(),
        };
        out.transmit(framing.encode(number, flags, payload));
    }

    /// Sends as much as the window allows. [N-6]
    pub(super) fn pump(&mut self, now: Instant, framing: &mut Framing, out: &mut Outputs) {
        if framing.held {
            return;
        }
        let (priority, next) = (self.priority, &mut self.next);
        let Some(work) = &mut self.work else { return };
        if work.flight.is_none() {
            let Some((token, payload)) = work.waiting.pop_front() else {
                self.work = None;
                return;
            };
            let total = payload.len().div_ceil(framing.capacity().max(1)).max(1);
            // An urgent message is one packet, so its first number is its only one.
            let shared = framing.shared.as_ref().filter(|_| priority == Flags::PRI);
            let first = shared.map_or(*next, |shared| shared.next_urgent());
            work.flight = Some(Flight { token, payload, first, total, sent: 0, outstanding: Vec::new() });
        }
        let Some(flight) = &mut work.flight else { return };
        while flight.may_send() {
            let index = flight.sent;
            flight.transmit(index, priority, framing, out);
            flight.outstanding.push(Outstanding {
                index,
                sendings: 1,
                deadline: now + retransmission_timeout(1),
            });
            flight.sent = flight.sent.saturating_add(1);
            *next = next.wrapping_add(1);
        }
    }

    /// Takes an acknowledgement; false if it acknowledges nothing outstanding. [A-4]
    #[must_use]
    pub(super) fn on_acknowledged(
        &mut self,
        now: Instant,
        number: u8,
        framing: &mut Framing,
        out: &mut Outputs,
    ) -> bool {
        let Some(work) = &mut self.work else { return false };
        let Some(flight) = &mut work.flight else { return false };
        let Some(at) = flight.outstanding.iter().position(|packet| flight.number(packet.index) == number)
        else {
            return false;
        };
        flight.outstanding.remove(at);
        if flight.outstanding.is_empty() && flight.sent == flight.total {
            out.event(Event::Delivered(flight.token));
            work.flight = None;
        }
        self.pump(now, framing, out);
        true
    }

    /// Sends again what is due.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        framing: &mut Framing,
        out: &mut Outputs,
    ) -> Result<(), Unanswered> {
        let priority = self.priority;
        if framing.held {
            return Ok(());
        }
        let Some(flight) = self.work.as_mut().and_then(|work| work.flight.as_mut()) else { return Ok(()) };
        let mut due = Vec::new();
        for packet in flight.outstanding.iter_mut().filter(|packet| packet.deadline <= now) {
            if packet.sendings >= SENDINGS_MAXIMUM {
                return Err(Unanswered);
            }
            packet.sendings = packet.sendings.saturating_add(1);
            packet.deadline = now + retransmission_timeout(packet.sendings);
            due.push(packet.index);
        }
        for index in due {
            flight.transmit(index, priority, framing, out);
        }
        Ok(())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let flight = self.work.as_ref()?.flight.as_ref()?;
        flight.outstanding.iter().map(|packet| packet.deadline).min()
    }

    /// What was held back goes on: what is not acknowledged is sent again at once, as often as if it had not been sent. [M-14]
    pub(super) fn resume(&mut self, now: Instant, framing: &mut Framing, out: &mut Outputs) {
        for packet in self
            .work
            .iter_mut()
            .filter_map(|work| work.flight.as_mut())
            .flat_map(|flight| &mut flight.outstanding)
        {
            (packet.sendings, packet.deadline) = (0, now);
        }
        self.pump(now, framing, out);
    }

    /// Hands everything back, oldest first.
    pub(super) fn hand_back(&mut self, out: &mut Outputs) {
        let Some(work) = self.work.take() else { return };
        if work.flight.is_some() {
            // Should the channel stay open, no packet of the next message may be taken for one of this. [N-6]
            self.next = self.next.wrapping_add(WINDOW);
        }
        let flying = work.flight.map(|flight| (flight.token, flight.payload));
        for (token, payload) in flying.into_iter().chain(work.waiting) {
            out.event(Event::HandedBack { token, payload });
        }
    }

    /// A first number for the channel that is to replace this one: far from those that may still be repeated here. [S-18]
    pub(super) fn far_number(&self, random: &mut fastrand::Rng) -> u8 {
        const CLEARANCE: u8 = 2 * WINDOW;
        self.next.wrapping_add(CLEARANCE).wrapping_add(random.u8(..64))
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.work.is_none()
    }

    /// The number of the next packet.
    pub(super) const fn next_number(&self) -> u8 {
        self.next
    }

    fn take_number(&mut self) -> u8 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }
}

impl Flight {
    fn may_send(&self) -> bool {
        let oldest = self.outstanding.iter().map(|packet| packet.index).min().unwrap_or(self.sent);
        self.sent < self.total && self.sent.saturating_sub(oldest) < usize::from(WINDOW)
    }

    /// The packet's number: the message's packets have consecutive ones. [N-4]
    fn number(&self, index: usize) -> u8 {
        self.first.wrapping_add(u8::try_from(index % 256).unwrap_or_default())
    }

    fn transmit(&self, index: usize, priority: Flags, framing: &mut Framing, out: &mut Outputs) {
        let begin = index.saturating_mul(framing.capacity()).min(self.payload.len());
        let end = begin.saturating_add(framing.capacity()).min(self.payload.len());
        let mut flags = Flags::ACKR | priority;
        if index == 0 {
            flags = flags | Flags::BEG;
        }
        if index.saturating_add(1) == self.total {
            flags = flags | Flags::END;
        }
        let payload = self.payload.get(begin..end).unwrap_or_default();
        out.transmit(framing.encode(self.number(index), flags, payload));
    }
}
