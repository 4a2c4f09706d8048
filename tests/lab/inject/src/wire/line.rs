//! What becomes of each frame of one direction.
//!
//! ```text
//!   frame --> cut? --> lost? --> twice? --> each: damaged? --> waits until due --> out
//!              |        |                             |
//!            counted  counted                  too many wait: counted
//! ```
//! A pure core: `now` is an argument, and the same seed, frames and times give the same.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use vmpulse_protocol::time::Instant;

use super::Way;
use super::counts::Counts;
use super::faults::Faults;

/// Frames that may wait: a trunk of 1,000 guests at ten beats a second each way, held back for 800 ms. One more is dropped, and
/// counted.
pub const MOST_WAITING: usize = 8192;
/// Bytes that may wait: as many frames of 4 KiB. One more is dropped, and counted; it bounds the memory where frames are large.
pub const MOST_WAITING_BYTES: usize = MOST_WAITING * 4096;

/// Destination and source.
const ADDRESS_BYTES: usize = 12;
/// EtherTypes of VLAN tags: 802.1Q, 802.1ad, and what was used for the latter before it was a standard.
const TAGS: [u16; 3] = [0x8100, 0x88A8, 0x9100];

/// One direction of a wire.
#[derive(Debug)]
pub struct Line {
    way: Way,
    faults: Faults,
    random: fastrand::Rng,
    /// Frames that are still to be lost of this burst.
    burst_left: u16,
    waiting: BinaryHeap<Waiting>,
    waiting_bytes: usize,
    /// When the last of those that wait is due.
    last_due: Instant,
    /// Frames and copies so far: who is due at once goes in this order.
    number: u64,
    ready: VecDeque<Vec<u8>>,
    counts: Counts,
}

/// A frame that waits. The first one due is the greatest, as the heap has it.
#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    due: Instant,
    number: u64,
    frame: Vec<u8>,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Line {
    /// A direction on which these things go wrong.
    #[must_use]
    pub fn new(way: Way, faults: Faults, seed: u64) -> Self {
        // Two directions of one seed must not do the same.
        let seed = match way {
            Way::Up => seed,
            Way::Down => !seed,
        };
        Self {
            way,
            faults,
            random: fastrand::Rng::with_seed(seed),
            burst_left: 0,
            waiting: BinaryHeap::new(),
            waiting_bytes: 0,
            last_due: Instant::ZERO,
            number: 0,
            ready: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// From now on these things go wrong. What waits is due when it was.
    pub fn change(&mut self, faults: Faults) {
        if self.faults != faults {
            self.faults = faults;
            self.burst_left = 0;
        }
    }

    /// A frame came.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        self.counts.taken += 1;
        if self.faults.cut.stops(self.way) {
            self.counts.cut += 1;
        } else if self.is_lost() {
            self.counts.lost += 1;
        } else {
            self.queue(now, frame);
            if self.happens(self.faults.duplicate_per_mille) {
                self.counts.duplicated += 1;
                self.queue(now, frame);
            }
        }
        self.handle_timeout(now);
    }

    /// What is due goes out.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.waiting.peek().is_some_and(|first| first.due <= now) {
            self.release();
        }
    }

    /// All that waits goes out, in the order in which it is due.
    pub fn release_all(&mut self) {
        while !self.waiting.is_empty() {
            self.release();
        }
    }

    /// The next frame to send.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        let frame = self.ready.pop_front()?;
        self.counts.passed += 1;
        Some(frame)
    }

    /// When the next frame is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.peek().map(|first| first.due)
    }

    /// The adapter did not take what [`poll_output`](Self::poll_output) gave.
    pub fn count_refused(&mut self) {
        self.counts.refused += 1;
    }

    /// What became of the frames so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let waiting = self.waiting.len() + self.ready.len();
        Counts { waiting: u64::try_from(waiting).unwrap_or(u64::MAX), ..self.counts }
    }

    fn release(&mut self) {
        if let Some(first) = self.waiting.pop() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(first.frame.len());
            self.ready.push_back(first.frame);
        }
    }

    fn queue(&mut self, now: Instant, frame: &[u8]) {
        let bytes = self.waiting_bytes.saturating_add(frame.len());
        if self.waiting.len() >= MOST_WAITING || bytes > MOST_WAITING_BYTES {
            self.counts.over_bound += 1;
            return;
        }
        let mut frame = frame.to_vec();
        let most = usize::from(self.faults.corrupt_bits);
        if self.happens(self.faults.corrupt_per_mille) && corrupt(&mut self.random, &mut frame, most) {
            self.counts.corrupted += 1;
        }
        let due = self.due(now);
        self.counts.delayed += u64::from(due > now);
        self.last_due = self.last_due.max(due);
        self.waiting_bytes = bytes;
        self.waiting.push(Waiting { due, number: self.number, frame });
        self.number += 1;
    }

    fn due(&mut self, now: Instant) -> Instant {
        let (from, to) = self.faults.delays();
        let spread = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        let due = now + from + Duration::from_nanos(self.random.u64(..=spread));
        if self.faults.keep_order { due.max(self.last_due) } else { due }
    }

    fn happens(&mut self, per_mille: u16) -> bool {
        // Nothing is drawn for what cannot happen: a fault that is off changes nothing of the others.
        per_mille > 0 && self.random.u16(..1000) < per_mille
    }

    /// Whether this one is lost. Bursts begin so rarely that the share of lost frames stays what was asked:
    /// `loss` of a thousand in bursts of `n` begin at `loss` of `loss + n (1000 - loss)` frames outside of bursts.
    fn is_lost(&mut self) -> bool {
        if self.burst_left > 0 {
            self.burst_left -= 1;
            return true;
        }
        let (loss, burst) = (u32::from(self.faults.loss_per_mille), self.faults.loss_burst.max(1));
        let outside = 1000_u32.saturating_sub(loss) * u32::from(burst);
        let begins = loss > 0 && self.random.u32(..loss + outside) < loss;
        if begins {
            self.burst_left = burst - 1;
        }
        begins
    }
}

/// Flips 1 to `most` bits behind the EtherType; `false` if there is nothing.
fn corrupt(random: &mut fastrand::Rng, frame: &mut [u8], most: usize) -> bool {
    let payload = frame.get_mut(payload_at(frame)..).unwrap_or_default();
    let bits = payload.len() * 8;
    if bits == 0 {
        return false;
    }
    let count = random.usize(1..=most.clamp(1, bits));
    // Distinct ones: a bit that is flipped twice is not flipped.
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        let bit = random.usize(..bits);
        if !chosen.contains(&bit) {
            chosen.push(bit);
        }
    }
    for bit in chosen {
        if let Some(byte) = payload.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
    }
    true
}

/// Where the bytes behind addresses, tags and EtherType begin.
fn payload_at(frame: &[u8]) -> usize {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut at = ADDRESS_BYTES;
    while word(at).is_some_and(|word| TAGS.contains(&word)) {
        at += 4;
    }
    (at + 2).min(frame.len())
}

#[cfg(test)]
mod tests;
