//! An open channel: both directions of a path after its handshake.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::guard::{Directions, Guard};
use super::outputs::{Delivery, Event, Outputs, Token};
use super::receive::{Receipt, Receiver};
use super::send::{Framing, Sender};
use super::shared::{Sending, SendingKey, SharedDraw};
use super::{CloseReason, DELIVERIES_MAXIMUM, Discard, MESSAGE_MAXIMUM, Priority};
use crate::auth::KeyId;
use crate::time::Instant;
use crate::wire::{Flags, Packet};

#[derive(Clone, Debug)]
pub(super) struct Channel {
    framing: Framing,
    send_normal: Sender,
    send_urgent: Sender,
    receive_normal: Receiver,
    receive_urgent: Receiver,
    /// Delivered, not accepted yet.
    undecided: Vec<Undecided>,
}

/// A first number for a channel that is to replace `open`, not that of a candidate which it replaces: so a late
/// acknowledgement of either is not taken for one of this. [S-18]
pub(super) fn first_number(open: Option<&Channel>, candidate: Option<u8>, random: &mut fastrand::Rng) -> u8 {
    let mut draw = || match open {
        Some(open) => open.far_number(random),
        None => random.u8(..),
    };
    let first = draw();
    if candidate != Some(first) {
        return first;
    }
    // Another one of the 64 that there are; once in 4,000 the same again, which the gate then sorts out.
    draw()
}

#[derive(Clone, Debug)]
struct Undecided {
    delivery: Delivery,
    priority: Priority,
    number: u8,
    /// The message, if it was of several packets.
    whole: Option<Vec<u8>>,
}

impl Channel {
    /// `first`: the number that our SYN named; `peer_first`: the peer's.
    pub(super) fn new(framing: Framing, first: u8, peer_first: u8) -> Self {
        Self {
            framing,
            send_normal: Sender::new(Priority::Normal, first),
            send_urgent: Sender::new(Priority::Urgent, 0),
            receive_normal: Receiver::starting_at(peer_first),
            receive_urgent: Receiver::default(),
            undecided: Vec::new(),
        }
    }

    /// Queues a message, or hands it back at once where the queue is full, it is too long for the receiver's bound, or an
    /// urgent one needs several packets.
    pub(super) fn send(
        &mut self,
        now: Instant,
        token: Token,
        payload: Bytes,
        priority: Priority,
        out: &mut Outputs,
    ) {
        let too_long = payload.len() > MESSAGE_MAXIMUM
            || (priority == Priority::Urgent && payload.len() > self.framing.capacity());
        let (framing, sender) = self.sender(priority);
        if too_long || !sender.queue(token, payload.clone()) {
            out.event(Event::HandedBack { token, payload });
            return;
        }
        sender.pump(now, framing, out);
    }

    pub(super) fn send_heartbeat(&mut self, payload: &[u8], out: &mut Outputs) {
        self.send_urgent.send_unreliable(&mut self.framing, payload, out);
    }

    /// What somebody else needs to send heartbeats here. `key`: of the direction, if it is authenticated.
    pub(super) fn sending(&self, key: Option<&SendingKey>) -> Sending {
        let sealer = self.framing.sealer.as_ref();
        Sending {
            version: self.framing.version(),
            next_urgent: self.send_urgent.next_number(),
            next_count: sealer.map_or(1, |sealer| sealer.next_count()),
            key: sealer.zip(key).map(|(sealer, key)| (sealer.key_id(), key.clone())),
        }
    }

    /// Numbers are drawn from there from now on.
    pub(super) fn share(&mut self, shared: SharedDraw) {
        self.framing.shared = Some(Box::new(shared));
    }

    /// Whether the peer's guardian beats in its place: what it would have to acknowledge waits until it does not. True if that
    /// is new. [M-14]
    pub(super) fn hold(&mut self, now: Instant, held: bool, out: &mut Outputs) -> bool {
        if self.framing.held == held {
            return false;
        }
        self.framing.held = held;
        if !held {
            for sender in [&mut self.send_urgent, &mut self.send_normal] {
                sender.resume(now, &mut self.framing, out);
            }
        }
        true
    }

    pub(super) const fn is_held(&self) -> bool {
        self.framing.held
    }

    /// Takes a packet that is neither Hello nor SYN, and whose trailer was checked.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        out: &mut Outputs,
    ) -> Result<(), CloseReason> {
        let priority = if packet.has(Flags::PRI) { Priority::Urgent } else { Priority::Normal };
        if packet.has(Flags::ACK) {
            self.on_acknowledgement(now, packet, priority, out);
            return Ok(());
        }
        let single = packet.has(Flags::BEG | Flags::END);
        if !packet.has(Flags::ACKR) || (priority == Priority::Urgent && !single) {
            out.discard(Discard::Flags);
            return Ok(());
        }
        if self.undecided.len() >= DELIVERIES_MAXIMUM {
            // Any packet may be the one that was missing. [B-3]
            out.discard(Discard::Bound);
            return Ok(());
        }
        self.on_data(now, packet, priority, out)
    }

    pub(super) fn accept(&mut self, delivery: Delivery, out: &mut Outputs) {
        let Some(decided) = self.decide(delivery) else { return };
        if self.receiver(decided.priority).on_accepted(decided.number) {
            self.acknowledge(decided.number, decided.priority, out);
        }
    }

    pub(super) fn refuse(&mut self, delivery: Delivery) {
        if let Some(decided) = self.decide(delivery) {
            self.receiver(decided.priority).on_refused(decided.number, decided.whole);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outputs) -> Result<(), CloseReason> {
        if self.receive_normal.handle_timeout(now) || self.receive_urgent.handle_timeout(now) {
            return Err(CloseReason::Incomplete);
        }
        for sender in [&mut self.send_urgent, &mut self.send_normal] {
            sender.handle_timeout(now, &mut self.framing, out).map_err(|_| CloseReason::Unanswered)?;
        }
        Ok(())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let senders = [self.send_normal.poll_timeout(), self.send_urgent.poll_timeout()];
        let senders = if self.framing.held { [None, None] } else { senders };
        let receivers = [self.receive_normal.poll_timeout(), self.receive_urgent.poll_timeout()];
        senders.into_iter().chain(receivers).flatten().min()
    }

    /// Hands back everything queued, urgent messages first.
    pub(super) fn hand_back(&mut self, out: &mut Outputs) {
        self.send_urgent.hand_back(out);
        self.send_normal.hand_back(out);
    }

    /// See [`Sender::far_number`].
    pub(super) fn far_number(&self, random: &mut fastrand::Rng) -> u8 {
        self.send_normal.far_number(random)
    }

    /// Whether nothing waits to be sent or acknowledged by the peer.
    pub(super) fn is_idle(&self) -> bool {
        self.send_normal.is_idle() && self.send_urgent.is_idle()
    }

    pub(super) fn partial_bytes(&self) -> usize {
        let undecided = self.undecided.iter().filter_map(|undecided| undecided.whole.as_ref()).map(Vec::len);
        undecided.chain([self.receive_normal.partial_bytes(), self.receive_urgent.partial_bytes()]).sum()
    }

    fn on_acknowledgement(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        priority: Priority,
        out: &mut Outputs,
    ) {
        let (framing, sender) = self.sender(priority);
        if !sender.on_acknowledged(now, packet.number, framing, out) {
            out.discard(Discard::Acknowledgement);
        }
    }

    fn on_data(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        priority: Priority,
        out: &mut Outputs,
    ) -> Result<(), CloseReason> {
        match self.receiver(priority).handle_packet(now, packet) {
            Receipt::Acknowledge => self.acknowledge(packet.number, priority, out),
            Receipt::Complete(payload) => {
                let delivery = out.next_delivery();
                let whole = (!packet.has(Flags::BEG)).then(|| payload.clone());
                self.undecided.push(Undecided { delivery, priority, number: packet.number, whole });
                out.event(Event::Message { delivery, payload });
            }
            Receipt::Discard(reason) => out.discard(reason),
            Receipt::Overflow => return Err(CloseReason::Incomplete),
        }
        Ok(())
    }

    fn acknowledge(&mut self, number: u8, priority: Priority, out: &mut Outputs) {
        let flags = match priority {
            Priority::Normal => Flags::ACK,
            Priority::Urgent => Flags::ACK | Flags::PRI,
        };
        out.acknowledge(self.framing.encode(number, flags, b""));
    }

    /// Acknowledges the SYN by which this channel was begun once more.
    pub(super) fn acknowledge_syn(&mut self, number: u8, out: &mut Outputs) {
        out.acknowledge(self.framing.seal(&super::syn::acknowledgement(number)));
    }

    /// Which directions are authenticated, if any is, and with which key.
    pub(super) fn security(&self, guard: &Guard) -> Option<(Directions, KeyId)> {
        let sealer = self.framing.sealer.as_ref();
        let key_id = sealer.map(|sealer| sealer.key_id()).or_else(|| guard.key_id())?;
        Some((Directions { incoming: guard.is_on(), outgoing: sealer.is_some() }, key_id))
    }

    fn decide(&mut self, delivery: Delivery) -> Option<Undecided> {
        let at = self.undecided.iter().position(|undecided| undecided.delivery == delivery)?;
        let decided = self.undecided.swap_remove(at);
        if self.undecided.is_empty() {
            // An idle path holds no buffer.
            self.undecided = Vec::new();
        }
        Some(decided)
    }

    const fn sender(&mut self, priority: Priority) -> (&mut Framing, &mut Sender) {
        let sender = match priority {
            Priority::Normal => &mut self.send_normal,
            Priority::Urgent => &mut self.send_urgent,
        };
        (&mut self.framing, sender)
    }

    const fn receiver(&mut self, priority: Priority) -> &mut Receiver {
        match priority {
            Priority::Normal => &mut self.receive_normal,
            Priority::Urgent => &mut self.receive_urgent,
        }
    }
}
