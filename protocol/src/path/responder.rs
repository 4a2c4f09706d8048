//! The HM's end of a path.
//!
//! ```text
//!             SYN|BEG                     our SYN|END acknowledged
//!   closed -------------> candidate -----------------------------------> open
//!     ^                     |  sent six times, or it was a conflict        |
//!     +---------------------+                                             |
//!     ^            a message incomplete, or `close`                       |
//!     +-------------------------------------------------------------------+
//! ```
//! An unanswered message does not close the channel here: it is handed back, and the owner, who knows whether
//! heartbeats arrive, decides.

use alloc::vec::Vec;

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

/// What a host monitor says of itself in every handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HmIdentity {
    /// The host monitor.
    pub uuid: HostMonitorId,
    /// Lowest version accepted.
    pub lower: Version,
    /// Highest version accepted.
    pub upper: Version,
    /// MTU of the trunk adapter.
    pub mtu: usize,
}

impl HmIdentity {
    /// The highest version in both ranges.
    #[must_use]
    pub fn common_version(&self, syn: &VmmSyn) -> Option<Version> {
        let (lower, upper) = (self.lower.max(syn.lower), self.upper.min(syn.upper));
        (lower <= upper).then_some(upper)
    }
}

/// What became of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynOutcome {
    /// A repetition: acknowledged again.
    Repeated,
    /// A candidate was begun.
    Begun,
    /// Answered with the conflict; nothing will be opened.
    VersionConflict,
}

/// The HM's end of a path.
#[derive(Debug, Default)]
pub struct Responder {
    open: Option<Open>,
    candidate: Option<Candidate>,
}

#[derive(Debug)]
struct Open {
    channel: Channel,
    version: Version,
    request: Request,
}

/// The SYN|BEG by which a channel or candidate was begun.
#[derive(Debug)]
struct Request {
    number: u8,
    payload: Vec<u8>,
    at: Instant,
}

#[derive(Debug)]
struct Candidate {
    request: Request,
    syn: OutgoingSyn,
    /// `None`: a version conflict was answered.
    running: Option<Version>,
}

impl Responder {
    /// Closed.
    #[must_use]
    pub const fn new() -> Self {
        Self { open: None, candidate: None }
    }

    /// Takes a SYN|BEG whose payload read as `syn`. `seed` decides our number and mark.
    pub fn handle_syn(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        syn: &VmmSyn,
        identity: &HmIdentity,
        seed: u64,
        out: &mut Outputs,
    ) -> SynOutcome {
        acknowledge_syn(packet.number, out);
        if self.is_repetition(now, packet) {
            return SynOutcome::Repeated;
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let running = identity.common_version(syn);
        let answer = match running {
            Some(running) => {
                HmSyn::Accepted { uuid: identity.uuid, running, mark: Some(Mark(random.u32(..))) }
            }
            None => HmSyn::Conflict { uuid: identity.uuid, lower: identity.lower, upper: identity.upper },
        };
        let first = match &self.open {
            Some(open) => open.channel.far_number(&mut random),
            None => random.u8(..),
        };
        let syn = OutgoingSyn::send(now, first, Flags::END, &answer.encode(), out);
        let request = Request { number: packet.number, payload: packet.payload.to_vec(), at: now };
        self.candidate = Some(Candidate { request, syn, running });
        if running.is_some() { SynOutcome::Begun } else { SynOutcome::VersionConflict }
    }

    /// Whether this SYN|BEG is the one by which the channel or the candidate was begun.
    #[must_use]
    pub fn is_repetition(&self, now: Instant, packet: &Packet<'_>) -> bool {
        let repeated = |request: &Request| {
            request.number == packet.number
                && request.payload == packet.payload
                && now.since(request.at) < HISTORY_AGE
        };
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.request);
        candidate.into_iter().chain(self.open.as_ref().map(|open| &open.request)).any(repeated)
    }

    /// Takes any packet but Hello and SYN|BEG.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        identity: &HmIdentity,
        out: &mut Outputs,
    ) {
        if packet.has(Flags::AUTH) {
            return out.discard(Discard::Authenticated);
        }
        if packet.has(Flags::SYN) {
            return self.on_syn_acknowledged(packet, identity, out);
        }
        let Some(open) = &mut self.open else { return out.discard(Discard::NotOpen) };
        if !packet.has(Flags::ACKR) && !packet.has(Flags::ACK) {
            return on_heartbeat(packet, out);
        }
        if packet.has(Flags::ACKR) && self.candidate.is_some() {
            // The VMM may have opened the new channel already: taken on the old one and repeated on the new,
            // the message would be delivered twice.
            return out.discard(Discard::Handshaking);
        }
        if let Err(reason) = open.channel.handle_packet(now, packet, out) {
            self.close(reason, out);
        }
    }

    /// Whether messages can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether there is neither a channel nor a handshake: nothing to keep.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.open.is_none() && self.candidate.is_none()
    }

    /// The running version, while open.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.open.as_ref().map(|open| open.version)
    }

    /// The payload of the VMM's SYN by which the channel was opened.
    #[must_use]
    pub fn opened_by(&self) -> Option<&[u8]> {
        self.open.as_ref().map(|open| open.request.payload.as_slice())
    }

    /// Queues a message; handed back at once when the path is not open.
    pub fn send(&mut self, now: Instant, token: Token, message: &Message<'_>, out: &mut Outputs) {
        let payload = Bytes::from(message.encode());
        match &mut self.open {
            Some(open) => open.channel.send(now, token, payload, Priority::Normal, out),
            None => out.event(Event::HandedBack { token, payload }),
        }
    }

    /// The owner has taken this message: acknowledge it.
    pub fn accept(&mut self, delivery: Delivery, out: &mut Outputs) {
        if let Some(open) = &mut self.open {
            open.channel.accept(delivery, out);
        }
    }

    /// The owner cannot take this message now: its sender will repeat it.
    pub fn refuse(&mut self, delivery: Delivery) {
        if let Some(open) = &mut self.open {
            open.channel.refuse(delivery);
        }
    }

    /// Retransmissions and ages. True if a message went unanswered: it was handed back, and the owner decides
    /// whether to [`close`](Self::close).
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let alive = self.candidate.as_mut().is_none_or(|candidate| candidate.syn.handle_timeout(now, out));
        if !alive {
            self.candidate = None;
            out.event(Event::HandshakeFailed(CloseReason::Unanswered));
        }
        let Some(open) = &mut self.open else { return false };
        match open.channel.handle_timeout(now, out) {
            Ok(()) => false,
            Err(CloseReason::Unanswered) => {
                open.channel.hand_back(out);
                true
            }
            Err(reason @ (CloseReason::Incomplete | CloseReason::VersionConflict)) => {
                self.close(reason, out);
                false
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let syn = self.candidate.as_ref().and_then(|candidate| candidate.syn.poll_timeout());
        let channel = self.open.as_ref().and_then(|open| open.channel.poll_timeout());
        syn.into_iter().chain(channel).min()
    }

    /// Closes the channel; everything queued is handed back. A candidate goes on.
    pub fn close(&mut self, reason: CloseReason, out: &mut Outputs) {
        if let Some(mut open) = self.open.take() {
            open.channel.hand_back(out);
            out.event(Event::Closed(reason));
        }
    }

    /// Bytes held for incomplete messages.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.channel.partial_bytes())
    }

    fn on_syn_acknowledged(&mut self, packet: &Packet<'_>, identity: &HmIdentity, out: &mut Outputs) {
        if !packet.has(Flags::ACK) {
            return out.discard(Discard::Flags);
        }
        let ours = |candidate: &mut Candidate| candidate.syn.on_acknowledged(packet.number);
        let Some(candidate) = self.candidate.take_if(ours) else {
            return out.discard(Discard::Acknowledgement);
        };
        // After a conflict both forget the path.
        let Some(version) = candidate.running else { return };
        let framing = Framing { version, capacity: payload_capacity(identity.mtu, false) };
        let channel = Channel::new(framing, candidate.syn.number(), candidate.request.number);
        let replaced = self.open.replace(Open { channel, version, request: candidate.request });
        out.event(Event::Opened { replaced: replaced.is_some() });
        if let Some(mut old) = replaced {
            old.channel.hand_back(out);
        }
    }
}

/// Packets without ACKR are whole messages, never judged by their number: heartbeats.
fn on_heartbeat(packet: &Packet<'_>, out: &mut Outputs) {
    if !packet.has(Flags::BEG | Flags::END | Flags::PRI) {
        return out.discard(Discard::Flags);
    }
    match Message::parse(packet.payload) {
        Some(Message::Heartbeat { guardian }) => out.event(Event::Heartbeat { guardian }),
        Some(_) | None => out.discard(Discard::Message),
    }
}
