//! Which heartbeats can be believed where they are authenticated: a frame that one sent later has overtaken, or that came before, is
//! dropped, as one that was recorded and is played again would be.
//!
//! Told from the counters in the frames, by the order in which they were sent. Where frames of two channels are mixed, as while a
//! handshake runs, one that is believed may be taken for one that is not.
//!
//! So is one of a channel that its host monitor has replaced already, while its guest still waits for the last packet of the
//! handshake: its key is that of before. And one of a channel that its guest has opened alone, whose key the host monitor
//! forgets when it gives up: until then it is believed, but counts for no promise here. Told from who has opened which.

use std::collections::BTreeMap;

use crate::names::{Hm, Vm};

/// AUTH, in the byte of flags.
const AUTH: u8 = 0x01;
/// Likewise: ACK; and what a SYN has with which a guest begins a handshake.
const ACK: u8 = 0x40;
const SYN_BEGIN: u8 = 0x04 | 0x20;
/// Of the trailer: a counter of 8 bytes, and the tag.
const TRAILER: usize = 24;

/// Of an authenticated frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Who sent it.
    vm: Vm,
    /// His channels by their counters so far, and its own counter.
    count: (u64, u64),
    /// How often he has opened the path.
    opened: u64,
}

/// How far the two ends of a path are.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// How often the guest has opened it.
    guest: u64,
    /// It has begun a handshake since.
    begun: bool,
    /// Which of the guest's openings belongs to what the monitor has open.
    monitor: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    sent: BTreeMap<(Vm, Hm), (u64, u64)>,
    arrived: BTreeMap<(Vm, Hm), (u64, u64)>,
    ends: BTreeMap<(Vm, Hm), Ends>,
}

impl Fresh {
    /// A frame is sent; `None`: it is not authenticated.
    pub(super) fn on_sent(&mut self, vm: Vm, hm: Hm, payload: &[u8]) -> Option<Mark> {
        let flags = payload.get(3).copied().unwrap_or_default();
        let ends = self.ends.entry((vm, hm)).or_default();
        ends.begun |= flags & (SYN_BEGIN | ACK) == SYN_BEGIN;
        let (authenticated, opened) = (flags & AUTH != 0, ends.guest);
        let trailer = payload.len().checked_sub(TRAILER).filter(|_| authenticated)?;
        let counter = payload.get(trailer..trailer + 8)?.try_into().ok().map(u64::from_be_bytes)?;
        let (channel, last) = self.sent.entry((vm, hm)).or_default();
        // Each channel counts from 1.
        *channel += u64::from(counter <= *last);
        *last = counter;
        Some(Mark { vm, count: (*channel, counter), opened })
    }

    /// The guest has opened its path.
    pub(super) fn on_guest_opened(&mut self, vm: Vm, hm: Hm) {
        let ends = self.ends.entry((vm, hm)).or_default();
        (ends.guest, ends.begun) = (ends.guest + 1, false);
    }

    /// The monitor has: the same that the guest opened last, or, if that has begun another since, what it opens next.
    pub(super) fn on_monitor_opened(&mut self, vm: Vm, hm: Hm) {
        let ends = self.ends.entry((vm, hm)).or_default();
        ends.monitor = ends.guest + u64::from(ends.begun);
    }

    /// It arrives. Returns whether it is neither an old nor a repeated one, nor of a channel that the monitor has not open.
    pub(super) fn on_arrived(&mut self, hm: Hm, mark: Mark) -> bool {
        let latest = self.arrived.entry((mark.vm, hm)).or_default();
        let fresh = mark.count > *latest;
        *latest = (*latest).max(mark.count);
        fresh && self.ends.get(&(mark.vm, hm)).is_none_or(|ends| mark.opened == ends.monitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(counter: u64) -> Vec<u8> {
        let mut frame = b"\x21\x00\x00\x01\x00\x04\x01\x00HB:1".to_vec();
        frame.extend(counter.to_be_bytes());
        frame.extend([7; 16]);
        frame
    }

    #[test]
    fn what_was_overtaken_or_comes_again_is_not_fresh() {
        let (vm, hm) = (Vm(0), Hm { host: 0, trunk: 0 });
        let mut fresh = Fresh::default();
        let mut marks: Vec<_> =
            [1, 2, 3, 1].iter().map(|n| fresh.on_sent(vm, hm, &frame(*n)).unwrap()).collect();
        let again = marks[0];
        marks.swap(1, 2);
        let taken: Vec<_> = marks.into_iter().map(|mark| fresh.on_arrived(hm, mark)).collect();
        assert_eq!(taken, [true, true, false, true], "the last one is of another channel");
        assert!(!fresh.on_arrived(hm, again));
        assert_eq!(fresh.on_sent(vm, hm, b"\x21\x00\x00\x00\x00\x04\x00\x00HB:1"), None);
    }
    #[test]
    fn what_is_sent_with_the_key_of_before_is_not_fresh_once_the_monitor_has_opened_anew() {
        let (vm, hm) = (Vm(0), Hm { host: 0, trunk: 0 });
        let begin = b"\x21\x00\x00\xa4\x00\x04\x00\x00uuid";
        let mut fresh = Fresh::default();
        let mut counter = 0;
        let mut beats = |fresh: &mut Fresh| {
            counter += 1;
            let mark = fresh.on_sent(vm, hm, &frame(counter)).unwrap();
            fresh.on_arrived(hm, mark)
        };
        // The guest opens first.
        fresh.on_sent(vm, hm, begin);
        fresh.on_guest_opened(vm, hm);
        assert!(!beats(&mut fresh), "the monitor may give up");
        fresh.on_monitor_opened(vm, hm);
        assert!(beats(&mut fresh));
        // The monitor does.
        fresh.on_sent(vm, hm, begin);
        assert!(beats(&mut fresh), "under way");
        fresh.on_monitor_opened(vm, hm);
        assert!(!beats(&mut fresh));
        fresh.on_guest_opened(vm, hm);
        assert!(beats(&mut fresh));
    }
}
