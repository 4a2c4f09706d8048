//! The VMM's end of a path.
//!
//! ```text
//!              connect              SYN acknowledged and HM's SYN came
//!   closed ---------------> candidate --------------------------------> open
//!     ^                       |  sent six times, or version conflict     |
//!     +-----------------------+                                          |
//!     ^            a packet unanswered, or a message incomplete          |
//!     +------------------------------------------------------------------+
//! ```
//! A candidate also runs beside an open channel, which stays open until the candidate replaces it.

use alloc::string::String;

use bytes::Bytes;

use super::channel::Channel;
use super::outputs::{Delivery, Event, Outputs, Token};
use super::send::Framing;
use super::syn::{OutgoingSyn, acknowledge_syn};
use super::{CloseReason, Discard, HISTORY_AGE, Priority};
use crate::id::HostMonitorId;
use crate::message::{HmSyn, Mark, Message, VmmSyn};
use crate::time::Instant;
use crate::wire::{Flags, Packet, Version, payload_capacity};

/// What a VMM says of itself in every handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmmIdentity {
    /// The VM's UUID as it will be sent.
    pub uuid: String,
    /// `Linux`.
    pub os_type: String,
    /// Lowest version spoken.
    pub lower: Version,
    /// Highest version spoken.
    pub upper: Version,
}

/// The VMM's end of a path.
#[derive(Debug)]
pub struct Initiator {
    identity: VmmIdentity,
    mtu: usize,
    random: fastrand::Rng,
    open: Option<Open>,
    candidate: Option<Candidate>,
}

#[derive(Debug)]
struct Open {
    channel: Channel,
    host_monitor: HostMonitorId,
    version: Version,
    opened_at: Instant,
}

#[derive(Debug)]
struct Candidate {
    syn: OutgoingSyn,
    /// What the HM's SYN said.
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    host_monitor: HostMonitorId,
    version: Version,
    first: u8,
}

impl Initiator {
    /// Closed. `mtu` is the adapter's; `seed` decides the numbers.
    #[must_use]
    pub fn new(identity: VmmIdentity, mtu: usize, seed: u64) -> Self {
        Self { identity, mtu, random: fastrand::Rng::with_seed(seed), open: None, candidate: None }
    }

    /// Begins a handshake, beside the open channel if there is one; takes the place of one under way.
    pub fn connect(&mut self, now: Instant, out: &mut Outputs) {
        let VmmIdentity { uuid, os_type, lower, upper } = self.identity.clone();
        let mark = Some(Mark(self.random.u32(..)));
        let payload = VmmSyn { uuid, os_type, lower, upper, mark }.encode();
        let first = match &self.open {
            Some(open) => open.channel.far_number(&mut self.random),
            None => self.random.u8(..),
        };
        let syn = OutgoingSyn::send(now, first, Flags::BEG, &payload, out);
        self.candidate = Some(Candidate { syn, answer: None });
    }

    /// Whether messages can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a handshake is under way.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        self.candidate.is_some()
    }

    /// Whether nothing waits for an acknowledgement.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.candidate.is_none() && self.open.as_ref().is_none_or(|open| open.channel.is_idle())
    }

    /// The host monitor at the other end and the running version, while open.
    #[must_use]
    pub fn peer(&self) -> Option<(HostMonitorId, Version)> {
        self.open.as_ref().map(|open| (open.host_monitor, open.version))
    }

    /// Queues a message; handed back at once when the path is not open.
    pub fn send(&mut self, now: Instant, token: Token, message: &Message<'_>, out: &mut Outputs) {
        let payload = Bytes::from(message.encode());
        let priority = if message.is_urgent() { Priority::Urgent } else { Priority::Normal };
        match &mut self.open {
            Some(open) => open.channel.send(now, token, payload, priority, out),
            None => out.event(Event::HandedBack { token, payload }),
        }
    }

    /// Sends a heartbeat, if the path is open.
    pub fn send_heartbeat(&mut self, out: &mut Outputs) {
        if let Some(open) = &mut self.open {
            open.channel.send_heartbeat(b"HB:", out);
        }
    }

    /// Takes a packet from the HM; Hello is not for here.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outputs) {
        if packet.has(Flags::AUTH) {
            return out.discard(Discard::Authenticated);
        }
        if packet.has(Flags::SYN) {
            return self.on_syn(now, packet, out);
        }
        let Some(open) = &mut self.open else { return out.discard(Discard::NotOpen) };
        if let Err(reason) = open.channel.handle_packet(now, packet, out) {
            self.close(reason, out);
        }
    }

    /// The owner has taken this message: acknowledge it.
    pub fn accept(&mut self, delivery: Delivery, out: &mut Outputs) {
        if let Some(open) = &mut self.open {
            open.channel.accept(delivery, out);
        }
    }

    /// Retransmissions and ages.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outputs) {
        let alive = self.candidate.as_mut().is_none_or(|candidate| candidate.syn.handle_timeout(now, out));
        if !alive {
            self.candidate = None;
            out.event(Event::HandshakeFailed(CloseReason::Unanswered));
        }
        if let Some(Err(reason)) = self.open.as_mut().map(|open| open.channel.handle_timeout(now, out)) {
            self.close(reason, out);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let syn = self.candidate.as_ref().and_then(|candidate| candidate.syn.poll_timeout());
        let channel = self.open.as_ref().and_then(|open| open.channel.poll_timeout());
        syn.into_iter().chain(channel).min()
    }

    fn on_syn(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outputs) {
        if packet.has(Flags::ACK) {
            let ours =
                self.candidate.as_mut().is_some_and(|candidate| candidate.syn.on_acknowledged(packet.number));
            if !ours {
                out.discard(Discard::Acknowledgement);
            }
        } else if packet.has(Flags::ACKR | Flags::END) && !packet.has(Flags::BEG) {
            self.on_answer(now, packet, out);
        } else {
            out.discard(Discard::Flags);
        }
        self.promote(now, out);
    }

    /// The HM's SYN. A repetition after the path was opened is acknowledged again: its acknowledgement was lost.
    fn on_answer(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outputs) {
        let Ok(syn) = HmSyn::parse(packet.payload) else { return out.discard(Discard::Syn) };
        let HmSyn::Accepted { uuid, running, .. } = syn else {
            // Nothing is kept of a conflict, so a repetition is simply acknowledged.
            acknowledge_syn(packet.number, out);
            if self.candidate.take().is_some() {
                out.event(Event::HandshakeFailed(CloseReason::VersionConflict));
            }
            return;
        };
        let spoken = (self.identity.lower..=self.identity.upper).contains(&running);
        if self.candidate.is_none() && !self.repeats_open(now, uuid, running) {
            out.discard(Discard::Flags);
        } else if !spoken {
            out.discard(Discard::Syn);
        } else {
            acknowledge_syn(packet.number, out);
            if let Some(candidate) = &mut self.candidate {
                candidate.answer =
                    Some(Answer { host_monitor: uuid, version: running, first: packet.number });
            }
        }
    }

    fn repeats_open(&self, now: Instant, uuid: HostMonitorId, running: Version) -> bool {
        self.open.as_ref().is_some_and(|open| {
            (open.host_monitor, open.version) == (uuid, running) && now.since(open.opened_at) < HISTORY_AGE
        })
    }

    /// The candidate becomes the channel once both SYNs are through.
    fn promote(&mut self, now: Instant, out: &mut Outputs) {
        let complete =
            |candidate: &mut Candidate| candidate.syn.is_acknowledged() && candidate.answer.is_some();
        let Some(candidate) = self.candidate.take_if(complete) else { return };
        let Some(Answer { host_monitor, version, first }) = candidate.answer else { return };
        let framing = Framing { version, capacity: payload_capacity(self.mtu, false) };
        let channel = Channel::new(framing, candidate.syn.number(), first);
        let replaced = self.open.replace(Open { channel, host_monitor, version, opened_at: now });
        out.event(Event::Opened { replaced: replaced.is_some() });
        if let Some(mut old) = replaced {
            old.channel.hand_back(out);
        }
    }

    /// Closes the channel; everything queued is handed back. A candidate goes on.
    pub fn close(&mut self, reason: CloseReason, out: &mut Outputs) {
        if let Some(mut open) = self.open.take() {
            open.channel.hand_back(out);
            out.event(Event::Closed(reason));
        }
    }
}
