//! Which heartbeats can be believed where they are authenticated: a frame that one sent later has overtaken, or that came before, is
//! dropped, as one that was recorded and is played again would be.
//!
//! Told from the counters in the frames alone, by the order in which they were sent. Where frames of two channels are mixed, as while a
//! handshake runs, one that is believed may be taken for one that is not.

use std::collections::BTreeMap;

use crate::names::{Hm, Vm};

/// AUTH, in the byte of flags.
const AUTH: u8 = 0x01;
/// Of the trailer: a counter of 8 bytes, and the tag.
const TRAILER: usize = 24;

/// Whose frame it is, its channels so far, and the counter in the last one.
pub(crate) type Mark = (Vm, u64, u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    sent: BTreeMap<(Vm, Hm), (u64, u64)>,
    arrived: BTreeMap<(Vm, Hm), (u64, u64)>,
}

impl Fresh {
    /// A frame is sent; `None`: it is not authenticated.
    pub(super) fn on_sent(&mut self, vm: Vm, hm: Hm, payload: &[u8]) -> Option<Mark> {
        let authenticated = payload.get(3).is_some_and(|flags| flags & AUTH != 0);
        let trailer = payload.len().checked_sub(TRAILER).filter(|_| authenticated)?;
        let counter = payload.get(trailer..trailer + 8)?.try_into().ok().map(u64::from_be_bytes)?;
        let (channel, last) = self.sent.entry((vm, hm)).or_default();
        // Each channel counts from 1.
        *channel += u64::from(counter <= *last);
        *last = counter;
        Some((vm, *channel, counter))
    }

    /// It arrives. Returns whether it is neither an old nor a repeated one.
    pub(super) fn on_arrived(&mut self, hm: Hm, (vm, channel, counter): Mark) -> bool {
        let latest = self.arrived.entry((vm, hm)).or_default();
        let fresh = (channel, counter) > *latest;
        *latest = (*latest).max((channel, counter));
        fresh
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
}
