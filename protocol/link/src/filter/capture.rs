//! Which frames a capture takes: both directions, whatever their VLAN.

use super::Step::{Do, IfEqual};
use super::{
    DESTINATION_OFFSET, ETHERTYPE_OFFSET, Instruction, LOAD_HALF, LOAD_WORD, SOURCE_OFFSET, Step, To,
    assemble, halves,
};
use crate::MacAddr;
use crate::frame::TPID;

/// Bytes an 802.1Q tag takes.
const TAG_BYTES: u32 = 4;

/// The rule: our EtherType, behind one tag or none, and one of two ends is the wanted one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaptureFilter {
    pub(crate) ethertype: u16,
    /// From or to this address, or to all.
    pub(crate) peer: Option<MacAddr>,
}

impl CaptureFilter {
    pub(crate) fn program(&self) -> Vec<Instruction> {
        let steps = self.type_steps().into_iter().chain(self.peer.into_iter().flat_map(peer_steps));
        assemble(&steps.collect::<Vec<_>>(), 0)
    }

    /// The tag of a received frame is not in the frame. That of a frame that goes out still is.
    fn type_steps(&self) -> [Step; 5] {
        let ethertype = self.ethertype.into();
        [
            Do(LOAD_HALF, ETHERTYPE_OFFSET),
            IfEqual(ethertype, To::Skip(3), To::Next),
            IfEqual(TPID.into(), To::Next, To::Drop),
            Do(LOAD_HALF, ETHERTYPE_OFFSET + TAG_BYTES),
            IfEqual(ethertype, To::Next, To::Drop),
        ]
    }
}

fn peer_steps(peer: MacAddr) -> Vec<Step> {
    let (start, end) = halves(peer);
    let (all_start, all_end) = halves(MacAddr::broadcast());
    vec![
        Do(LOAD_WORD, SOURCE_OFFSET),
        IfEqual(start, To::Next, To::Skip(2)),
        Do(LOAD_HALF, SOURCE_OFFSET + 4),
        IfEqual(end, To::Take, To::Next),
        Do(LOAD_WORD, DESTINATION_OFFSET),
        IfEqual(start, To::Next, To::Skip(2)),
        Do(LOAD_HALF, DESTINATION_OFFSET + 4),
        IfEqual(end, To::Take, To::Drop),
        IfEqual(all_start, To::Next, To::Drop),
        Do(LOAD_HALF, DESTINATION_OFFSET + 4),
        IfEqual(all_end, To::Take, To::Drop),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;
    use crate::frame::{Header, Outgoing};

    const PEER: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 1);
    const MONITOR: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 0xFF);
    /// Shares the first word with both.
    const OTHER: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0, 2);
    const ALL: MacAddr = MacAddr(0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF);
    const ALMOST_ALL: MacAddr = MacAddr(0xFF, 0xFF, 0xFF, 0xFF, 0, 1);

    fn takes(peer: Option<MacAddr>, frame: &[u8]) -> bool {
        run(&CaptureFilter { ethertype: 0x88B5, peer }.program(), frame, None).is_some_and(|bytes| bytes > 0)
    }

    #[test]
    fn both_directions_of_one_path_and_what_goes_to_all() {
        let addresses = [PEER, MONITOR, OTHER, ALL, ALMOST_ALL];
        for (source, destination) in addresses.iter().flat_map(|from| addresses.map(|to| (*from, to))) {
            for (vlan, ethertype) in [(None, 0x88B5), (Some(5), 0x88B5), (None, 0x88B6), (Some(5), 0x0800)] {
                let header = Header { destination, source, ethertype };
                let frame = [Outgoing::new(header, vlan).bytes(), &[0; 46]].concat();
                let ours = ethertype == 0x88B5;
                let path = source == PEER || destination == PEER || destination == ALL;
                assert_eq!(takes(None, &frame), ours, "{header:?} {vlan:?}");
                assert_eq!(takes(Some(PEER), &frame), ours && path, "{header:?} {vlan:?}");
            }
        }
    }

    #[test]
    fn a_frame_that_ends_within_its_header_is_none() {
        let header = Header { destination: PEER, source: MONITOR, ethertype: 0x88B5 };
        let whole = Outgoing::new(header, Some(5));
        for length in 0..whole.bytes().len() {
            assert!(!takes(Some(PEER), &whole.bytes()[..length]), "{length}");
        }
        assert!(takes(Some(PEER), whole.bytes()));
    }
}
