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
//! With authentication agreed, a candidate is complete only when our SYN's acknowledgement was made with its key; and
//! an open channel that is authenticated has no candidates that are not.
//!
//! An unanswered message does not close the channel here: it is handed back, and the owner, who knows whether
//! heartbeats arrive, decides.

use alloc::boxed::Box;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::channel::{Channel, first_number};
use super::guard::{Agreed, Directions, Guard, Origin, check_syn_acknowledgement};
use super::outputs::{Delivery, Event, Outputs, Token};
use super::send::Framing;
use super::syn::{OutgoingSyn, acknowledge_syn};
use super::{CloseReason, Discard, HISTORY_AGE, Priority};
use crate::auth::{Addresses, Authentication, Key, KeyId, Nonce, Offer, Transcript, derive};
use crate::id::{HostMonitorId, VmUuid};
use crate::message::{HmSyn, Mark, Message, VmmSyn};
use crate::time::Instant;
use crate::wire::{Flags, Packet, Version};

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
    /// The highest version in both ranges. [S-9]
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
    /// Not taken: it has a trailer, though keys do not exist yet.
    Dropped,
    /// A candidate was begun.
    Begun,
    /// Answered with the conflict; nothing will be opened.
    VersionConflict,
    /// Not answered, for want of authentication.
    Refused(Refusal),
}

/// Why a handshake is refused for want of authentication. [X-11]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The VMM does not offer to send authenticated, and this VM's paths must be.
    NotOffered,
    /// It offers a key that is not known here.
    UnknownKey(KeyId),
    /// The open channel is authenticated, and this would not be.
    Downgrade,
    /// The open channel is authenticated, and is another VM's: with its own key a guest could end the other's path. [X-19]
    AnotherVm(VmUuid),
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotOffered => out.write_str("it does not offer authentication, which is required"),
            Self::UnknownKey(id) => write!(out, "it uses key {id}, which is not known here"),
            Self::AnotherVm(vm) => write!(out, "VM {vm} has an authenticated path at that address"),
            Self::Downgrade => out.write_str("its open path is authenticated, and this handshake is not"),
        }
    }
}

/// What a handshake is answered with, besides who the HM is.
#[derive(Clone, Copy, Debug)]
pub struct Reception<'a> {
    /// The VM that the SYN names.
    pub vm: VmUuid,
    /// Of the SYN's frame.
    pub addresses: Addresses,
    /// Mode and keys for this VM.
    pub authentication: &'a Authentication,
    /// Whether an authenticated channel of another VM at this address may be replaced: that VM is missing or not
    /// monitored. [X-19]
    pub gives_way: bool,
    /// Fresh.
    pub nonce: Nonce,
    /// Decides our number and mark.
    pub seed: u64,
}

/// The HM's end of a path.
#[derive(Debug, Default)]
pub struct Responder {
    open: Option<Open>,
    /// Boxed: rarely there, and there are thousands of paths.
    candidate: Option<Box<Candidate>>,
}

#[derive(Debug)]
struct Open {
    channel: Channel,
    guard: Guard,
    vm: VmUuid,
    version: Version,
    request: Request,
}

/// The SYN|BEG by which a channel or candidate was begun.
#[derive(Debug)]
struct Request {
    number: u8,
    /// Kept in the payload's place: there are thousands of paths.
    digest: [u8; 16],
    at: Instant,
}

#[derive(Debug)]
struct Candidate {
    request: Request,
    vm: VmUuid,
    syn: OutgoingSyn,
    agreed: Agreed,
    /// `None`: a version conflict was answered.
    running: Option<Version>,
}

impl Responder {
    /// Closed.
    #[must_use]
    pub const fn new() -> Self {
        Self { open: None, candidate: None }
    }

    /// Takes a SYN|BEG whose payload read as `syn`. [S-11]
    pub fn handle_syn(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        syn: &VmmSyn,
        identity: &HmIdentity,
        reception: &Reception<'_>,
        out: &mut Outputs,
    ) -> SynOutcome {
        if packet.trailer.is_some() {
            out.discard(Discard::Flags);
            return SynOutcome::Dropped;
        }
        if self.repeat(now, packet, out) {
            return SynOutcome::Repeated;
        }
        let running = identity.common_version(syn);
        let terms = match running.map(|running| self.terms(syn, running, reception)) {
            Some(Err(refusal)) => return SynOutcome::Refused(refusal),
            Some(Ok(terms)) => terms,
            None => None,
        };
        let mut random = fastrand::Rng::with_seed(reception.seed);
        let answer = answer(identity, running, (Mark(random.u32(..)), syn.mark), terms.as_ref());
        let first = first_number(
            self.open.as_ref().map(|open| &open.channel),
            self.candidate.as_ref().map(|candidate| candidate.syn.number()),
            &mut random,
        );
        let payload = answer.encode();
        let mut agreed = Agreed::default();
        if let Some(terms) = &terms {
            agreed = terms.agree(identity.uuid, reception, (packet.payload, &payload));
        }
        acknowledge_syn(packet.number, agreed.sealer.as_deref_mut(), out);
        let syn = OutgoingSyn::send(now, first, Flags::END, &payload, out);
        let request = Request { number: packet.number, digest: digest(packet.payload), at: now };
        self.candidate = Some(Box::new(Candidate { request, vm: reception.vm, syn, agreed, running }));
        if running.is_some() { SynOutcome::Begun } else { SynOutcome::VersionConflict }
    }

    /// What to agree on with this VMM; `None`: nothing. [X-1] [X-6]
    fn terms<'a>(
        &self,
        syn: &VmmSyn,
        running: Version,
        reception: &Reception<'a>,
    ) -> Result<Option<Terms<'a>>, Refusal> {
        let another = self.open.as_ref().filter(|open| open.guard.is_on() && open.vm != reception.vm);
        if let Some(open) = another.filter(|_| !reception.gives_way) {
            return Err(Refusal::AnotherVm(open.vm));
        }
        let authentication = reception.authentication;
        let offer = syn.offer.filter(|_| running >= Version::V2_1 && authentication.mode.verifies());
        let key = offer.and_then(|offer| authentication.key(offer.key_id).map(|key| (offer, key)));
        let terms = key.map(|(offer, key)| {
            let directions = Directions { incoming: offer.sends, outgoing: authentication.mode.sends() };
            Terms {
                key,
                offer: Offer { nonce: reception.nonce, sends: directions.outgoing, ..offer },
                vmm: offer,
                directions,
            }
        });
        if terms.as_ref().is_some_and(|terms| terms.directions.incoming) {
            return Ok(terms);
        }
        match offer {
            Some(offer) if authentication.mode.demands() && key.is_none() => {
                Err(Refusal::UnknownKey(offer.key_id))
            }
            Some(_) | None if authentication.mode.demands() => Err(Refusal::NotOffered),
            Some(_) | None if self.is_authenticated() && another.is_none() => Err(Refusal::Downgrade),
            Some(_) | None => Ok(terms),
        }
    }

    /// Acknowledges a SYN|BEG again by which the channel or the candidate was begun; false if it is another. [S-12]
    fn repeat(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outputs) -> bool {
        if let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.request.is(now, packet))
        {
            acknowledge_syn(packet.number, candidate.agreed.sealer.as_deref_mut(), out);
            return true;
        }
        let open = self.open.as_mut().filter(|open| open.request.is(now, packet));
        let repeated = open.is_some();
        if let Some(open) = open {
            open.channel.acknowledge_syn(packet.number, out);
        }
        repeated
    }

    /// Whether this SYN|BEG is the one by which the channel or the candidate was begun.
    #[must_use]
    pub fn is_repetition(&self, now: Instant, packet: &Packet<'_>) -> bool {
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.request);
        let open = self.open.as_ref().map(|open| &open.request);
        candidate.into_iter().chain(open).any(|request| request.is(now, packet))
    }

    /// Takes any packet but Hello and SYN|BEG. [P-8]
    pub fn handle_packet(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        identity: &HmIdentity,
        out: &mut Outputs,
    ) {
        if packet.has(Flags::SYN) {
            return self.on_syn_acknowledged(now, packet, identity, out);
        }
        let Some(open) = &mut self.open else { return out.discard(Discard::NotOpen) };
        let opener = self.candidate.as_mut().and_then(|candidate| candidate.agreed.opener.as_deref_mut());
        let origin = match open.guard.origin(packet, opener) {
            Ok(origin) => origin,
            Err(reason) => return out.discard(reason),
        };
        if !packet.has(Flags::ACKR) && !packet.has(Flags::ACK) {
            let same_vm = self.candidate.as_ref().is_some_and(|candidate| candidate.vm == open.vm);
            return match origin {
                Origin::Channel => {
                    if let Some(guardian) = on_heartbeat(packet, out) {
                        open.channel.hold(now, guardian, out);
                    }
                }
                // The VMM has opened the new channel already, and is alive. [X-17]
                Origin::Candidate if same_vm => drop(on_heartbeat(packet, out)),
                Origin::Candidate => out.discard(Discard::Handshaking),
            };
        }
        if origin == Origin::Candidate || (packet.has(Flags::ACKR) && self.candidate.is_some()) {
            // The VMM may have opened the new channel already: taken on the old one and repeated on the new,
            // the message would be delivered twice. [S-19]
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

    /// Whether the VMM's guardian beats in its place: messages to it wait. [M-14]
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.channel.is_held())
    }

    /// The running version, while open.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.open.as_ref().map(|open| open.version)
    }

    /// Whether what arrives on the open channel is authenticated.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.guard.is_on())
    }

    /// Which directions of the open channel are authenticated, and with which key.
    #[must_use]
    pub fn security(&self) -> Option<(Directions, KeyId)> {
        self.open.as_ref().and_then(|open| open.channel.security(&open.guard))
    }

    /// The number that the VMM's SYN named, for tests that play the VMM.
    #[cfg(test)]
    pub(super) fn opened_with(&self) -> u8 {
        self.open.as_ref().map_or(0, |open| open.request.number)
    }

    /// The VM whose SYN opened the channel.
    #[must_use]
    pub fn vm(&self) -> Option<VmUuid> {
        self.open.as_ref().map(|open| open.vm)
    }

    /// The VM whose handshake is under way; none after a version conflict, which opens nothing.
    #[must_use]
    pub fn candidate_vm(&self) -> Option<VmUuid> {
        self.candidate.as_ref().filter(|candidate| candidate.running.is_some()).map(|candidate| candidate.vm)
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
    /// whether to [`close`](Self::close). [A-6]
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outputs) -> bool {
        let alive = self.candidate.as_mut().is_none_or(|candidate| candidate.syn.handle_timeout(now, out));
        if !alive {
            self.candidate = None;
            out.event(Event::HandshakeFailed(CloseReason::Unanswered));
        }
        let Some(open) = &mut self.open else { return false };
        open.guard.handle_timeout(now);
        match open.channel.handle_timeout(now, out) {
            Ok(()) => false,
            Err(CloseReason::Unanswered) => {
                open.channel.hand_back(out);
                true
            }
            Err(
                reason @ (CloseReason::Incomplete
                | CloseReason::VersionConflict
                | CloseReason::Unauthenticated
                | CloseReason::Replaced),
            ) => {
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
        let guard = self.open.as_ref().and_then(|open| open.guard.poll_timeout());
        syn.into_iter().chain(channel).chain(guard).min()
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

    fn on_syn_acknowledged(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        identity: &HmIdentity,
        out: &mut Outputs,
    ) {
        if !packet.has(Flags::ACK) {
            return out.discard(Discard::Flags);
        }
        let ours = self.candidate.as_mut().filter(|candidate| candidate.syn.number() == packet.number);
        let Some(candidate) = ours else { return out.discard(Discard::Acknowledgement) };
        if let Err(reason) = check_syn_acknowledgement(packet, candidate.agreed.opener.as_deref_mut()) {
            return out.discard(reason);
        }
        if let Some(candidate) = self.candidate.take() {
            self.promote(now, *candidate, identity, out);
        }
    }

    fn promote(&mut self, now: Instant, candidate: Candidate, identity: &HmIdentity, out: &mut Outputs) {
        // After a conflict both forget the path. [S-10]
        let Some(version) = candidate.running else { return };
        let Candidate { request, vm, syn, agreed, .. } = candidate;
        let framing = Framing::new(version, identity.mtu, agreed.sealer);
        let channel = Channel::new(framing, syn.number(), request.number);
        let mut replaced = self.open.take();
        let old_guard = replaced.as_mut().map(|old| core::mem::take(&mut old.guard));
        let guard = Guard::new(now, agreed.opener, old_guard);
        self.open = Some(Open { channel, guard, vm, version, request });
        out.event(Event::Opened { replaced: replaced.is_some() });
        if let Some(mut old) = replaced {
            old.channel.hand_back(out);
        }
    }
}

/// What a handshake is to agree on.
struct Terms<'a> {
    key: &'a Key,
    /// What the VMM offered.
    vmm: Offer,
    /// What is answered.
    offer: Offer,
    directions: Directions,
}

impl Terms<'_> {
    /// `syns`: the payloads of the VMM's SYN and of ours.
    fn agree(&self, host_monitor: HostMonitorId, reception: &Reception<'_>, syns: (&[u8], &[u8])) -> Agreed {
        let keys = derive(
            self.key,
            &Transcript {
                addresses: reception.addresses,
                vm: reception.vm,
                host_monitor,
                vmm_nonce: self.vmm.nonce,
                hm_nonce: self.offer.nonce,
                vmm_syn: syns.0,
                hm_syn: syns.1,
            },
        );
        Agreed::at_hm(self.offer.key_id, self.directions, &keys)
    }
}

impl Request {
    fn is(&self, now: Instant, packet: &Packet<'_>) -> bool {
        self.number == packet.number
            && now.since(self.at) < HISTORY_AGE
            && self.digest == digest(packet.payload)
    }
}

/// Half of a SHA-256: nobody finds two payloads with the same.
fn digest(payload: &[u8]) -> [u8; 16] {
    let whole: [u8; 32] = Sha256::digest(payload).into();
    whole.first_chunk().copied().unwrap_or_default()
}

/// `running`: `None` if there is no common version; `marks`: ours, and the one that is answered.
fn answer(
    identity: &HmIdentity,
    running: Option<Version>,
    (mark, answers): (Mark, Option<Mark>),
    terms: Option<&Terms<'_>>,
) -> HmSyn {
    let HmIdentity { uuid, lower, upper, .. } = *identity;
    match running {
        Some(running) => {
            let offer = terms.map(|terms| terms.offer);
            HmSyn::Accepted { uuid, running, mark: Some(mark), answers, offer }
        }
        None => HmSyn::Conflict { uuid, lower, upper },
    }
}

/// Packets without ACKR are whole messages, never judged by their number: heartbeats. Returns whether it is the guardian's, if
/// it is one. [N-3]
fn on_heartbeat(packet: &Packet<'_>, out: &mut Outputs) -> Option<bool> {
    if !packet.has(Flags::BEG | Flags::END | Flags::PRI) {
        out.discard(Discard::Flags);
        return None;
    }
    let Some(Message::Heartbeat { guardian }) = Message::parse(packet.payload) else {
        out.discard(Discard::Message);
        return None;
    };
    out.event(Event::Heartbeat { guardian });
    Some(guardian)
}
