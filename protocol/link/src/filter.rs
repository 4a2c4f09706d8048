//! Which frames are ours, said twice: as a classic BPF program for the kernel and as a check of our own.
//!
//! The program keeps foreign traffic from waking the daemon. The check holds whatever the kernel let through.
//! A frame is ours if its EtherType is the configured one, it is addressed to us or to all, it is not sent from our own
//! address (some adapters echo), and, if a VLAN is configured, it has that VLAN id.
//!
//! Linux takes the outer tag off before a socket sees the frame, whether or not the adapter can do it. A tag that still
//! stands in the frame is therefore a second one, and a frame may carry one only: it is not ours. Nor is a frame
//! whose one tag is not 802.1Q (a provider tag, 0x88A8): it could not be answered in kind.

mod capture;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SKF_AD_OFF,
    SKF_AD_VLAN_TAG, SKF_AD_VLAN_TAG_PRESENT, SKF_AD_VLAN_TPID,
};

pub(crate) use capture::CaptureFilter;

use crate::MacAddr;
use crate::frame::{Header, TPID, Tag, VLAN_MASK};

const LOAD_WORD: u32 = BPF_LD | BPF_W | BPF_ABS;
const LOAD_HALF: u32 = BPF_LD | BPF_H | BPF_ABS;
const LOAD_BYTE: u32 = BPF_LD | BPF_B | BPF_ABS;
const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
const JUMP_IF_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const RETURN: u32 = BPF_RET | BPF_K;

const DESTINATION_OFFSET: u32 = 0;
const SOURCE_OFFSET: u32 = 6;
const ETHERTYPE_OFFSET: u32 = 12;
const WHOLE_FRAME: u32 = u32::MAX;

/// One instruction, as the kernel takes it: operation, distance to jump if true, if false, operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) operand: u32,
}

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum To {
    Next,
    Skip(u8),
    Vlan,
    Take,
    Drop,
}

#[derive(Clone, Copy)]
enum Step {
    Do(u32, u32),
    IfEqual(u32, To, To),
}

/// The rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) mac: MacAddr,
    pub(crate) ethertype: u16,
    pub(crate) vlan: Option<u16>,
}

impl Filter {
    /// The rule for a frame at hand. [C-6]
    pub(crate) fn accepts(&self, header: &Header, tag: Option<Tag>) -> bool {
        header.ethertype == self.ethertype
            && (header.destination == self.mac || header.destination.is_broadcast())
            && header.source != self.mac
            && tag.is_none_or(|tag| tag.tpid == TPID)
            && self.vlan.is_none_or(|vlan| tag.is_some_and(|tag| tag.tci & VLAN_MASK == vlan))
    }

    /// The rule as a program for the kernel.
    pub(crate) fn program(&self) -> Vec<Instruction> {
        let addresses = self.address_steps();
        let vlan = TAG_STEPS.into_iter().chain(self.vlan.map(vlan_steps).into_iter().flatten());
        let vlan_at = addresses.len();
        let steps: Vec<Step> = addresses.into_iter().chain(vlan).collect();
        assemble(&steps, vlan_at)
    }

    fn address_steps(&self) -> Vec<Step> {
        use Step::{Do, IfEqual};
        let (start, end) = halves(self.mac);
        let (all_start, all_end) = halves(MacAddr::broadcast());
        vec![
            Do(LOAD_HALF, ETHERTYPE_OFFSET),
            IfEqual(self.ethertype.into(), To::Next, To::Drop),
            // Not from ourselves.
            Do(LOAD_WORD, SOURCE_OFFSET),
            IfEqual(start, To::Next, To::Skip(2)),
            Do(LOAD_HALF, SOURCE_OFFSET + 4),
            IfEqual(end, To::Drop, To::Next),
            // To us, or to all. An adapter's own address never starts like the broadcast address.
            Do(LOAD_WORD, DESTINATION_OFFSET),
            IfEqual(start, To::Next, To::Skip(2)),
            Do(LOAD_HALF, DESTINATION_OFFSET + 4),
            IfEqual(end, To::Vlan, To::Drop),
            IfEqual(all_start, To::Next, To::Drop),
            Do(LOAD_HALF, DESTINATION_OFFSET + 4),
            IfEqual(all_end, To::Vlan, To::Drop),
        ]
    }
}

/// No tag, or an 802.1Q one: a flood of frames with another tag must not reach the daemon either. [C-3]
const TAG_STEPS: [Step; 4] = [
    Step::Do(LOAD_BYTE, ancillary(SKF_AD_VLAN_TAG_PRESENT)),
    Step::IfEqual(0, To::Skip(2), To::Next),
    Step::Do(LOAD_HALF, ancillary(SKF_AD_VLAN_TPID)),
    Step::IfEqual(TPID as u32, To::Next, To::Drop),
];

fn vlan_steps(vlan: u16) -> [Step; 5] {
    [
        Step::Do(LOAD_BYTE, ancillary(SKF_AD_VLAN_TAG_PRESENT)),
        Step::IfEqual(0, To::Drop, To::Next),
        Step::Do(LOAD_HALF, ancillary(SKF_AD_VLAN_TAG)),
        Step::Do(AND, VLAN_MASK.into()),
        Step::IfEqual(vlan.into(), To::Next, To::Drop),
    ]
}

/// The program of `steps`, at whose end a frame is taken. `vlan_at` is where [`To::Vlan`] leads.
fn assemble(steps: &[Step], vlan_at: usize) -> Vec<Instruction> {
    let take_at = steps.len();
    let ends = [Step::Do(RETURN, WHOLE_FRAME), Step::Do(RETURN, 0)];
    let all = steps.iter().chain(&ends).enumerate();
    all.map(|(at, step)| step.assemble(at, vlan_at, take_at)).collect()
}

/// The kernel's remarks are loaded from negative offsets.
const fn ancillary(offset: i32) -> u32 {
    (SKF_AD_OFF + offset).cast_unsigned()
}

/// An address as the word and the half word a program can compare.
fn halves(mac: MacAddr) -> (u32, u32) {
    let [a, b, c, d, e, f] = mac.octets();
    (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]).into())
}

impl Step {
    fn assemble(self, at: usize, vlan_at: usize, take_at: usize) -> Instruction {
        let distance = |to| match to {
            To::Next => 0,
            To::Skip(count) => count,
            // The program has some 20 instructions: every distance fits.
            To::Vlan => u8::try_from(vlan_at - at - 1).unwrap_or(u8::MAX),
            To::Take => u8::try_from(take_at - at - 1).unwrap_or(u8::MAX),
            To::Drop => u8::try_from(take_at - at).unwrap_or(u8::MAX),
        };
        let (code, operand, jump_true, jump_false) = match self {
            Self::Do(code, operand) => (code, operand, 0, 0),
            Self::IfEqual(value, yes, no) => (JUMP_IF_EQUAL, value, distance(yes), distance(no)),
        };
        // Operation codes are 16 bits wide; the library's constants are not.
        Instruction { code: code as u16, jump_true, jump_false, operand }
    }
}

#[cfg(test)]
mod tests;
