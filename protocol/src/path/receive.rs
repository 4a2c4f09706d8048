//! Receiving messages of one priority: each once, whatever is repeated, reordered or missing.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Discard, HISTORY_AGE, HISTORY_LENGTH, MESSAGE_MAXIMUM, PARTIAL_AGE, PARTIALS_MAXIMUM, WINDOW};
use crate::time::Instant;
use crate::wire::{Flags, Packet};

#[derive(Clone, Debug, Default)]
pub(super) struct Receiver {
    /// What else comes is of the channel that this one replaced: its sender does not know yet that it was replaced, or it
    /// was long on its way, and it was received there. `None` for the urgent sequence. [N-7]
    gate: Option<Gate>,
    /// Boxed, and gone when all of it is old: there are thousands of paths, and heartbeats leave nothing here.
    memory: Option<Box<Memory>>,
}

/// Which numbers may come.
#[derive(Clone, Copy, Debug)]
struct Gate {
    /// The number after the greatest that was taken; the one that the peer's SYN named until one was.
    next: u8,
    opened: bool,
}

impl Gate {
    const fn lets_in(self, number: u8) -> bool {
        // A sender is at most a window ahead, and leaves out as much when it gives a message up.
        if self.opened {
            number.wrapping_sub(self.next.wrapping_sub(WINDOW)) < 3 * WINDOW
        } else {
            number.wrapping_sub(self.next) < WINDOW
        }
    }

    const fn on_taken(&mut self, number: u8) {
        if !self.opened || number.wrapping_sub(self.next) < 2 * WINDOW {
            self.next = number.wrapping_add(1);
        }
        self.opened = true;
    }
}

#[derive(Clone, Debug, Default)]
struct Memory {
    history: VecDeque<Seen>,
    partials: Vec<Partial>,
}

#[derive(Clone, Debug)]
struct Seen {
    number: u8,
    at: Instant,
    acknowledged: bool,
    /// It began a message: its sender has had the acknowledgement of everything before it. [N-6]
    begins: bool,
    /// Another packet came with its number: an acknowledgement would be taken for that one's.
    disputed: bool,
    /// Of its flags and payload, to tell a repetition from another packet.
    digest: u32,
    /// The message that it completed with others, which are acknowledged and do not come again: kept while it is refused.
    refused: Option<Vec<u8>>,
}

/// A message of which packets are missing.
#[derive(Clone, Debug)]
struct Partial {
    /// Number of the first packet still missing.
    next: u8,
    data: Vec<u8>,
    /// Packets behind the missing one.
    ahead: Vec<Ahead>,
    deadline: Instant,
}

#[derive(Clone, Debug)]
struct Ahead {
    number: u8,
    end: bool,
    payload: Vec<u8>,
}

/// What to do about a packet with ACKR.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Receipt {
    /// Acknowledge it.
    Acknowledge,
    /// It made a message complete: deliver that; acknowledge this packet when the message is accepted.
    Complete(Vec<u8>),
    /// Neither acknowledge nor keep it.
    Discard(Discard),
    /// Its message cannot be kept: close the path.
    Overflow,
}

impl Receiver {
    /// `first`: the number that the peer's SYN named.
    pub(super) fn starting_at(first: u8) -> Self {
        Self { gate: Some(Gate { next: first, opened: false }), ..Self::default() }
    }

    pub(super) fn handle_packet(&mut self, now: Instant, packet: &Packet<'_>) -> Receipt {
        self.forget_old(now);
        if let Some(receipt) = self.memory.as_mut().and_then(|memory| memory.repeat(packet)) {
            return receipt;
        }
        if self.gate.is_some_and(|gate| !gate.lets_in(packet.number)) {
            return Receipt::Discard(Discard::Duplicate);
        }
        let memory = self.memory.get_or_insert_default();
        if packet.has(Flags::BEG) {
            memory.forget_given_up(packet.number);
        }
        let receipt = match (packet.has(Flags::BEG), packet.has(Flags::END)) {
            (true, true) => Receipt::Complete(packet.payload.to_vec()),
            (true, false) => memory.begin(now, packet),
            (false, _) => memory.go_on(packet),
        };
        match receipt {
            Receipt::Acknowledge => memory.remember(now, packet, true),
            Receipt::Complete(_) => memory.remember(now, packet, false),
            Receipt::Discard(_) | Receipt::Overflow => return receipt,
        }
        if let Some(gate) = &mut self.gate {
            gate.on_taken(packet.number);
        }
        receipt
    }

    /// The message that this packet completed was accepted; from now on repetitions are acknowledged. False: do not
    /// acknowledge it, as its sender says something else with that number by now.
    #[must_use]
    pub(super) fn on_accepted(&mut self, number: u8) -> bool {
        let mut history = self.memory.iter_mut().flat_map(|memory| memory.history.iter_mut());
        let Some(seen) = history.find(|seen| seen.number == number) else { return true };
        seen.acknowledged = true;
        !seen.disputed
    }

    /// The message that this packet completed was refused; a repetition delivers it again. `message`: the message, if it
    /// was of several packets.
    pub(super) fn on_refused(&mut self, number: u8, message: Option<Vec<u8>>) {
        let Some(memory) = &mut self.memory else { return };
        if message.is_none() {
            return memory.history.retain(|seen| seen.number != number);
        }
        if let Some(seen) = memory.history.iter_mut().find(|seen| seen.number == number) {
            seen.refused = message;
        }
    }

    /// Whether a message stayed incomplete for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.forget_old(now);
        self.partials().any(|partial| partial.deadline <= now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.memory.as_ref().and_then(|memory| memory.history.front());
        let forget = oldest.map(|seen| seen.at + HISTORY_AGE);
        self.partials().map(|partial| partial.deadline).chain(forget).min()
    }

    /// Bytes held for incomplete and refused messages.
    pub(super) fn partial_bytes(&self) -> usize {
        let history = self.memory.iter().flat_map(|memory| memory.history.iter());
        let refused = history.filter_map(|seen| seen.refused.as_ref()).map(Vec::len);
        self.partials().map(Partial::length).chain(refused).sum()
    }

    fn partials(&self) -> impl Iterator<Item = &Partial> {
        self.memory.iter().flat_map(|memory| memory.partials.iter())
    }

    fn forget_old(&mut self, now: Instant) {
        let Some(memory) = &mut self.memory else { return };
        while memory.history.front().is_some_and(|seen| seen.at + HISTORY_AGE <= now) {
            memory.history.pop_front();
        }
        if memory.history.is_empty() && memory.partials.is_empty() {
            self.memory = None;
        }
    }
}

impl Memory {
    /// What to do about a packet whose number is remembered. A sender that does not repeat what it sent last under that number was
    /// set back to an earlier state: what it says now was not heard, whatever was said under its number.
    fn repeat(&mut self, packet: &Packet<'_>) -> Option<Receipt> {
        let at = self.history.iter().position(|seen| seen.number == packet.number)?;
        let over = self.history.iter().skip(at + 1).any(|seen| seen.begins);
        let seen = self.history.get_mut(at)?;
        seen.disputed |= over || seen.digest != digest(packet);
        if seen.disputed {
            return Some(Receipt::Discard(Discard::Duplicate));
        }
        Some(match seen.refused.take() {
            Some(message) => Receipt::Complete(message),
            None if seen.acknowledged => Receipt::Acknowledge,
            None => Receipt::Discard(Discard::Duplicate),
        })
    }

    fn begin(&mut self, now: Instant, packet: &Packet<'_>) -> Receipt {
        if self.partials.len() >= PARTIALS_MAXIMUM {
            return Receipt::Overflow;
        }
        self.partials.push(Partial {
            next: packet.number.wrapping_add(1),
            data: packet.payload.to_vec(),
            ahead: Vec::new(),
            deadline: now + PARTIAL_AGE,
        });
        Receipt::Acknowledge
    }

    /// A sender that begins a message this far ahead of what is missing has given the other up, and handed it back.
    fn forget_given_up(&mut self, number: u8) {
        self.partials.retain(|partial| !(WINDOW..128).contains(&number.wrapping_sub(partial.next)));
    }

    fn go_on(&mut self, packet: &Packet<'_>) -> Receipt {
        let distance = |partial: &Partial| packet.number.wrapping_sub(partial.next);
        let partials = self.partials.iter().enumerate().filter(|(_, partial)| distance(partial) < WINDOW);
        let Some((at, _)) = partials.min_by_key(|(_, partial)| distance(partial)) else {
            return Receipt::Discard(Discard::Orphan);
        };
        let Some(partial) = self.partials.get_mut(at) else { return Receipt::Discard(Discard::Orphan) };
        if partial.length().saturating_add(packet.payload.len()) > MESSAGE_MAXIMUM {
            return Receipt::Overflow;
        }
        if partial.ahead.iter().any(|ahead| ahead.number == packet.number) {
            return Receipt::Discard(Discard::Duplicate);
        }
        let end = packet.has(Flags::END);
        partial.ahead.push(Ahead { number: packet.number, end, payload: packet.payload.to_vec() });
        if partial.advance() {
            return Receipt::Complete(self.partials.swap_remove(at).data);
        }
        Receipt::Acknowledge
    }

    fn remember(&mut self, now: Instant, packet: &Packet<'_>, acknowledged: bool) {
        if self.history.len() >= HISTORY_LENGTH {
            self.history.pop_front();
        }
        self.history.push_back(Seen {
            number: packet.number,
            at: now,
            acknowledged,
            begins: packet.has(Flags::BEG),
            disputed: false,
            digest: digest(packet),
            refused: None,
        });
    }
}

/// FNV-1a of what makes a packet another one: where in its message it is, and its payload. Four bytes, because they fit into what is
/// kept of a packet anyway. Whoever finds another payload for one deceives nobody but himself: it is his own message that is lost.
fn digest(packet: &Packet<'_>) -> u32 {
    let place = u8::from(packet.has(Flags::BEG)) | u8::from(packet.has(Flags::END)) << 1;
    let bytes = core::iter::once(&place).chain(packet.payload);
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl Partial {
    fn length(&self) -> usize {
        self.data.len().saturating_add(self.ahead.iter().map(|packet| packet.payload.len()).sum())
    }

    /// Appends what follows on without a gap; true when that was the end of the message.
    fn advance(&mut self) -> bool {
        while let Some(at) = self.ahead.iter().position(|packet| packet.number == self.next) {
            let packet = self.ahead.swap_remove(at);
            self.data.extend_from_slice(&packet.payload);
            self.next = self.next.wrapping_add(1);
            if packet.end {
                return true;
            }
        }
        false
    }
}
