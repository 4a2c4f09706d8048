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
//! A candidate also runs beside an open channel, which stays open until the candidate replaces it. What the HM offers of
//! authentication decides whether its acknowledgement of our SYN must be authenticated; it may come before that is known.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::channel::{Channel, first_number};
use super::guard::{Agreed, Directions, Guard, Origin, check_syn_acknowledgement};
use super::outputs::{Delivery, Event, Outputs, Token};
use super::send::Framing;
use super::shared::{Sending, SendingKey, SharedDraw};
use super::syn::{OutgoingSyn, acknowledge_syn};
use super::{CloseReason, Discard, HISTORY_AGE, Priority};
use crate::auth::{Addresses, Authentication, KeyId, Nonces, Offer, Transcript, derive};
use crate::id::{HostMonitorId, VmUuid};
use crate::message::{HmSyn, Mark, Message, VmmSyn};
use crate::time::Instant;
use crate::wire::{Flags, Packet, Trailer, Version};

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

/// What a VMM needs to authenticate a path.
#[derive(Clone, Debug)]
pub struct VmmSecurity {
    /// Mode and keys.
    pub authentication: Authentication,
    /// The adapter's address and the HM's.
    pub addresses: Addresses,
    /// Of this path alone.
    pub nonces: Nonces,
}

/// The VMM's end of a path.
#[derive(Clone, Debug)]
pub struct Initiator {
    identity: VmmIdentity,
    mtu: usize,
    random: fastrand::Rng,
    security: Option<VmmSecurity>,
    /// The latest handshake failed, maybe for the newer key: the HM may not have it yet. [X-21]
    tries_other_key: bool,
    open: Option<Open>,
    candidate: Option<Candidate>,
}

#[derive(Clone, Debug)]
struct Open {
    channel: Channel,
    guard: Guard,
    host_monitor: HostMonitorId,
    version: Version,
    opened_at: Instant,
    answer: Received,
    /// Of what is sent, if that is authenticated.
    key: Option<SendingKey>,
}

#[derive(Clone, Debug)]
struct Candidate {
    syn: OutgoingSyn,
    mark: Mark,
    payload: Vec<u8>,
    offer: Option<Offer>,
    /// Acknowledgements of our SYN that came before the HM's SYN: a plain one, and the latest with a trailer.
    plain_acknowledgement: bool,
    early_acknowledgement: Option<(Version, Trailer)>,
    answer: Option<Answer>,
    /// The HM has answered with less than is demanded. [X-11]
    refused: bool,
}

/// What the HM's SYN said.
#[derive(Clone, Debug)]
struct Answer {
    received: Received,
    host_monitor: HostMonitorId,
    version: Version,
    agreed: Agreed,
    key: Option<SendingKey>,
}

/// A SYN as it came.
#[derive(Clone, Debug)]
struct Received {
    number: u8,
    payload: Vec<u8>,
}

impl Initiator {
    /// Closed. `mtu` is the adapter's; `seed` decides the numbers.
    #[must_use]
    pub fn new(identity: VmmIdentity, mtu: usize, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { identity, mtu, random, security: None, tries_other_key: false, open: None, candidate: None }
    }

    /// How handshakes begun from now on are authenticated. What is open stays as it is until it is replaced.
    pub fn secure(&mut self, security: VmmSecurity) {
        self.tries_other_key = false;
        self.security = Some(security);
    }

    /// Mixes in what nobody foresees, before a handshake: a guest that goes on from a snapshot must not repeat itself. [X-5]
    pub fn stir(&mut self, entropy: &[u8; 32]) {
        let (first, _) = entropy.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let seed = self.random.u64(..) ^ u64::from_ne_bytes(*first);
        self.random = fastrand::Rng::with_seed(seed);
        if let Some(security) = &mut self.security {
            security.nonces.stir(entropy);
        }
    }

    /// Begins a handshake, beside the open channel if there is one; takes the place of one under way.
    pub fn connect(&mut self, now: Instant, out: &mut Outputs) {
        let VmmIdentity { uuid, os_type, lower, upper } = self.identity.clone();
        let mark = Mark(self.random.u32(..));
        let offer = self.offer();
        let payload = VmmSyn { uuid, os_type, lower, upper, mark: Some(mark), offer }.encode();
        let first = first_number(
            self.open.as_ref().map(|open| &open.channel),
            self.candidate.as_ref().map(|candidate| candidate.syn.number()),
            &mut self.random,
        );
        let syn = OutgoingSyn::send(now, first, Flags::BEG, &payload, out);
        self.candidate = Some(Candidate {
            syn,
            mark,
            payload,
            offer,
            plain_acknowledgement: false,
            early_acknowledgement: None,
            answer: None,
            refused: false,
        });
    }

    /// Needs a key, and a UUID to bind it to.
    fn offer(&mut self) -> Option<Offer> {
        let security = self.security.as_mut()?;
        let mode = security.authentication.mode;
        let usable = mode.verifies() && self.identity.uuid.parse::<VmUuid>().is_ok();
        let keys = &security.authentication;
        let key_id = if self.tries_other_key { keys.other() } else { keys.preferred().map(|(id, _)| id) };
        let key_id = key_id.filter(|_| usable)?;
        Some(Offer { nonce: security.nonces.next_nonce(), key_id, sends: mode.sends() })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn identity(&self) -> &VmmIdentity {
        &self.identity
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

    /// Which directions of the open channel are authenticated, and with which key.
    #[must_use]
    pub fn security(&self) -> Option<(Directions, KeyId)> {
        self.open.as_ref().and_then(|open| open.channel.security(&open.guard))
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

    /// What somebody else needs to beat on the open channel.
    #[must_use]
    pub fn sending(&self) -> Option<Sending> {
        self.open.as_ref().map(|open| open.channel.sending(open.key.as_ref()))
    }

    /// Urgent numbers and counts of the open channel are drawn from there from now on; it begins where
    /// [`sending`](Self::sending) says.
    pub fn share(&mut self, shared: SharedDraw) {
        if let Some(open) = &mut self.open {
            open.channel.share(shared);
        }
    }

    /// Takes a packet from the HM; Hello is not for here.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outputs) {
        if packet.has(Flags::SYN) {
            return self.on_syn(now, packet, out);
        }
        let Some(open) = &mut self.open else { return out.discard(Discard::NotOpen) };
        let answer = self.candidate.as_mut().and_then(|candidate| candidate.answer.as_mut());
        let opener = answer.and_then(|answer| answer.agreed.opener.as_deref_mut());
        match open.guard.origin(packet, opener) {
            Ok(Origin::Channel) => {}
            // The HM has opened the new channel already; it will repeat this. [X-17]
            Ok(Origin::Candidate) => return out.discard(Discard::Handshaking),
            Err(reason) => return out.discard(reason),
        }
        let answered = self.candidate.as_ref().is_some_and(|candidate| candidate.answer.is_some());
        if answered && packet.has(Flags::ACKR) && !packet.has(Flags::ACK) {
            // The HM may have opened the new channel already, and send this message there as well. [S-19]
            return out.discard(Discard::Handshaking);
        }
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
        if let Some(candidate) = self.candidate.take_if(|_| !alive) {
            self.tries_other_key = !self.tries_other_key;
            let refused =
                if candidate.refused { CloseReason::Unauthenticated } else { CloseReason::Unanswered };
            out.event(Event::HandshakeFailed(refused));
        }
        if let Some(open) = &mut self.open {
            open.guard.handle_timeout(now);
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
        let guard = self.open.as_ref().and_then(|open| open.guard.poll_timeout());
        syn.into_iter().chain(channel).chain(guard).min()
    }

    /// Bytes held for incomplete messages.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.channel.partial_bytes())
    }

    fn on_syn(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outputs) {
        if packet.has(Flags::ACK) {
            let candidate =
                self.candidate.as_mut().filter(|candidate| candidate.syn.number() == packet.number);
            match candidate
                .map_or(Err(Discard::Acknowledgement), |candidate| candidate.on_acknowledged(packet))
            {
                Ok(()) => {}
                Err(reason) => return out.discard(reason),
            }
        } else if packet.has(Flags::ACKR | Flags::END) && !packet.has(Flags::BEG) && packet.trailer.is_none()
        {
            self.on_answer(now, packet, out);
        } else {
            out.discard(Discard::Flags);
        }
        self.promote(now, out);
    }

    /// The HM's SYN. A repetition after the path was opened is acknowledged again: its acknowledgement was lost. [S-14]
    fn on_answer(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Outputs) {
        let Ok(syn) = HmSyn::parse(packet.payload) else { return out.discard(Discard::Syn) };
        if let Some(open) = self.open.as_mut().filter(|open| open.is_opened_by(now, packet)) {
            return open.channel.acknowledge_syn(packet.number, out);
        }
        if let HmSyn::Conflict { lower, upper, .. } = syn
            && self.identity.lower.max(lower) <= self.identity.upper.min(upper)
        {
            // It answers somebody who used this address: there is a common version. [S-10]
            return out.discard(Discard::Syn);
        }
        let HmSyn::Accepted { uuid, running, answers, offer, .. } = syn else {
            // Nothing is kept of a conflict, so a repetition is simply acknowledged. [S-10]
            acknowledge_syn(packet.number, None, out);
            if self.candidate.take().is_some() {
                out.event(Event::HandshakeFailed(CloseReason::VersionConflict));
            }
            return;
        };
        if !(self.identity.lower..=self.identity.upper).contains(&running) {
            return out.discard(Discard::Syn);
        }
        let Some(candidate) = &self.candidate else { return out.discard(Discard::Flags) };
        if answers.is_some_and(|answers| answers != candidate.mark) {
            // To an earlier attempt: taken for the answer to this one, the ends would have different numbers. [S-6]
            return out.discard(Discard::Syn);
        }
        self.on_accepted(packet, uuid, running, offer, out);
    }

    fn on_accepted(
        &mut self,
        packet: &Packet<'_>,
        uuid: HostMonitorId,
        running: Version,
        offer: Option<Offer>,
        out: &mut Outputs,
    ) {
        let Some(candidate) = &mut self.candidate else { return };
        if let Some(answer) = candidate.answer.as_mut().filter(|answer| answer.received.is(packet)) {
            return acknowledge_syn(packet.number, answer.agreed.sealer.as_deref_mut(), out);
        }
        let agreed = self.security.as_ref().and_then(|security| {
            let matched = matching(candidate.offer, offer, running)?;
            agree(security, &self.identity, candidate, (uuid, packet.payload), matched)
        });
        let (mut agreed, key) = agreed.unwrap_or_default();
        let demanded = self.security.as_ref().is_some_and(|security| security.authentication.mode.demands())
            // Whoever offers nothing any more (switched off, key removed) cannot demand it, and must not be stuck here.
            || candidate.offer.is_some() && self.open.as_ref().is_some_and(|open| open.guard.is_on());
        if demanded && agreed.opener.is_none() {
            candidate.refused = true;
            return out.discard(Discard::Unauthenticated);
        }
        acknowledge_syn(packet.number, agreed.sealer.as_deref_mut(), out);
        let received = Received { number: packet.number, payload: packet.payload.to_vec() };
        candidate.refused = false;
        candidate.answer = Some(Answer { received, host_monitor: uuid, version: running, agreed, key });
        candidate.take_early_acknowledgement();
    }

    /// The candidate becomes the channel once both SYNs are through. [S-16]
    fn promote(&mut self, now: Instant, out: &mut Outputs) {
        let complete =
            |candidate: &mut Candidate| candidate.syn.is_acknowledged() && candidate.answer.is_some();
        let Some(candidate) = self.candidate.take_if(complete) else { return };
        let Some(Answer { received, host_monitor, version, agreed, key }) = candidate.answer else { return };
        let framing = Framing::new(version, self.mtu, agreed.sealer);
        let channel = Channel::new(framing, candidate.syn.number(), received.number);
        let mut replaced = self.open.take();
        let old_guard = replaced.as_mut().map(|old| core::mem::take(&mut old.guard));
        let guard = Guard::new(now, agreed.opener, old_guard);
        self.open =
            Some(Open { channel, guard, host_monitor, version, opened_at: now, answer: received, key });
        out.event(Event::Opened { replaced: replaced.is_some() });
        if let Some(mut old) = replaced {
            old.channel.hand_back(out);
        }
    }

    /// Closes the channel; everything queued is handed back. A candidate goes on. [A-7]
    pub fn close(&mut self, reason: CloseReason, out: &mut Outputs) {
        if let Some(mut open) = self.open.take() {
            open.channel.hand_back(out);
            out.event(Event::Closed(reason));
        }
    }
}

impl Candidate {
    /// Before the HM's SYN came nobody knows whether its acknowledgement must be authenticated: it is kept. [X-18]
    fn on_acknowledged(&mut self, packet: &Packet<'_>) -> Result<(), Discard> {
        if let Some(answer) = &mut self.answer {
            check_syn_acknowledgement(packet, answer.agreed.opener.as_deref_mut())?;
            return if self.syn.on_acknowledged(packet.number) {
                Ok(())
            } else {
                Err(Discard::Acknowledgement)
            };
        }
        if packet.flags.without(Flags::AUTH) != Flags::SYN | Flags::ACK || !packet.payload.is_empty() {
            return Err(Discard::Flags);
        }
        match packet.trailer {
            Some(trailer) => self.early_acknowledgement = Some((packet.version, trailer)),
            None => self.plain_acknowledgement = true,
        }
        Ok(())
    }

    fn take_early_acknowledgement(&mut self) {
        let (number, flags) = (self.syn.number(), Flags::SYN | Flags::ACK);
        let Some(answer) = &mut self.answer else { return };
        let acknowledged = match (answer.agreed.opener.as_deref_mut(), self.early_acknowledgement) {
            (None, _) => self.plain_acknowledgement,
            (Some(_), None) => false,
            (Some(opener), Some((version, trailer))) => {
                let sealed = Packet::plain(version, number, flags | Flags::AUTH, b"");
                opener.open(&Packet { trailer: Some(trailer), ..sealed }, &trailer).is_ok()
            }
        };
        if acknowledged {
            let _ = self.syn.on_acknowledged(number);
        }
    }
}

impl Received {
    fn is(&self, packet: &Packet<'_>) -> bool {
        self.number == packet.number && self.payload == packet.payload
    }
}

impl Open {
    fn is_opened_by(&self, now: Instant, packet: &Packet<'_>) -> bool {
        self.answer.is(packet) && now.since(self.opened_at) < HISTORY_AGE
    }
}

/// The two offers, if they fit. [X-1] [X-6]
fn matching(ours: Option<Offer>, theirs: Option<Offer>, running: Version) -> Option<(Offer, Offer)> {
    let (ours, theirs) = (ours?, theirs?);
    (ours.key_id == theirs.key_id && running >= Version::V2_1).then_some((ours, theirs))
}

/// What was agreed, and the key of what is sent if that is authenticated. `answer`: the HM and the payload of its SYN. `None`
/// if the VM's key was removed meanwhile.
fn agree(
    security: &VmmSecurity,
    identity: &VmmIdentity,
    candidate: &Candidate,
    answer: (HostMonitorId, &[u8]),
    (ours, theirs): (Offer, Offer),
) -> Option<(Agreed, Option<SendingKey>)> {
    let transcript = Transcript {
        addresses: security.addresses,
        vm: identity.uuid.parse().ok()?,
        host_monitor: answer.0,
        vmm_nonce: ours.nonce,
        hm_nonce: theirs.nonce,
        vmm_syn: &candidate.payload,
        hm_syn: answer.1,
    };
    let keys = derive(security.authentication.key(ours.key_id)?, &transcript);
    let directions = Directions { incoming: theirs.sends, outgoing: ours.sends };
    let key = directions.outgoing.then(|| SendingKey::new(keys.vmm_to_hm));
    Some((Agreed::at_vmm(ours.key_id, directions, &keys), key))
}
