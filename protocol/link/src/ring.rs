//! Reading frames out of the ring: where they lie in a block, and what the kernel wrote beside them.
//!
//! A block has a header (struct tpacket_block_desc) with the number of its frames and the place of the first. Each frame
//! has a header too (struct tpacket3_hdr) with the place of the next one, the frame's own place and length, its time and
//! its tag. Numbers are in the machine's own order. Read here without pointers, so that a surprise is counted.

use std::time::Duration;

use libc::{TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID};
use socket2::Socket;

use crate::control::Remarks;
use crate::frame::{HEADER_BYTES, TPID, Tag};
use crate::sys::ring::{Geometry, SharedBlocks};

const COUNT_OFFSET: usize = 12;
const FIRST_OFFSET: usize = 16;
const BLOCK_HEADER_BYTES: usize = 48;
const FRAME_HEADER_BYTES: usize = 48;
/// From the start of a frame's header to the frame: the header, an address (20 bytes), and what aligns the payload.
const FRAME_OFFSET: usize = 82;
/// What a frame in a block needs besides its payload: block header, distance, Ethernet header, a second tag that stays.
const OVERHEAD_BYTES: usize = BLOCK_HEADER_BYTES + FRAME_OFFSET + HEADER_BYTES + 4;

/// Fewer blocks would leave the kernel none while one is being read.
const FEWEST_BLOCKS: usize = 4;

/// The ring of one socket, and how far it was read.
#[derive(Debug)]
pub(crate) struct Ring {
    blocks: SharedBlocks,
    /// The block whose turn it is.
    turn: usize,
    /// Where in that block to go on, if it was begun.
    begun: Option<Position>,
}

/// What one go at a ring brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Frames that were looked at, the lost ones included.
    pub(crate) frames: usize,
    /// Nothing is left that the kernel has handed over.
    pub(crate) emptied: bool,
    /// Frames that cannot be delivered: cut, or lost in a block that makes no sense.
    pub(crate) lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    offset: usize,
    left: u32,
}

#[derive(Debug, PartialEq, Eq)]
struct Slot<'a> {
    frame: &'a [u8],
    remarks: Remarks,
    /// The frame was longer than a block.
    cut: bool,
    next: Position,
}

impl Ring {
    /// Makes `socket` receive into a ring. To be done before it is bound.
    pub(crate) fn new(socket: &Socket, geometry: Geometry) -> std::io::Result<Self> {
        Ok(Self { blocks: SharedBlocks::new(socket, geometry)?, turn: 0, begun: None })
    }

    /// Whether the kernel has handed over a block that is not yet read to its end.
    pub(crate) fn has_frames(&self) -> bool {
        self.blocks.ours(self.turn).is_some()
    }

    /// Hands at most `limit` frames to `take`. A block goes back to the kernel after its last frame was handled.
    pub(crate) fn read(&mut self, limit: usize, mut take: impl FnMut(&[u8], Remarks)) -> Taken {
        let mut taken = Taken { frames: 0, emptied: false, lost: 0 };
        while taken.frames < limit {
            let Some(block) = self.blocks.ours(self.turn) else { return Taken { emptied: true, ..taken } };
            let mut position = self.begun.or_else(|| Position::first(block)).unwrap_or_default();
            while position.left > 0 && taken.frames < limit {
                taken.frames += 1;
                let Some(slot) = position.read(block) else {
                    taken.lost += u64::from(position.left);
                    position.left = 0;
                    break;
                };
                position = slot.next;
                if slot.cut {
                    taken.lost += 1;
                } else {
                    take(slot.frame, slot.remarks);
                }
            }
            self.go_on(position);
        }
        taken
    }

    fn go_on(&mut self, position: Position) {
        if position.left > 0 {
            self.begun = Some(position);
            return;
        }
        self.begun = None;
        self.blocks.give_back(self.turn);
        self.turn = (self.turn + 1) % self.blocks.count().max(1);
    }
}

/// No frames.
impl Default for Position {
    fn default() -> Self {
        Self { offset: 0, left: 0 }
    }
}

impl Position {
    fn first(block: &[u8]) -> Option<Self> {
        let left = number(block, COUNT_OFFSET)?;
        Some(Self { offset: number(block, FIRST_OFFSET)? as usize, left })
    }

    /// The frame at this place; `None` if no frame can be there.
    fn read(self, block: &[u8]) -> Option<Slot<'_>> {
        let at = block.get(self.offset..)?;
        let header: &[u8; FRAME_HEADER_BYTES] = at.first_chunk()?;
        let word = |offset| number(header, offset);
        let (next, seconds, nanoseconds) = (word(0)? as usize, word(4)?, word(8)?);
        let (kept, whole, status) = (word(12)?, word(16)?, word(20)?);
        let frame = at.get(half(header, 24)?.into()..)?.get(..kept as usize)?;
        let left = self.left.saturating_sub(1);
        // A frame that leads to itself would be read again and again.
        if left > 0 && next < FRAME_HEADER_BYTES {
            return None;
        }
        let tag = (status & TP_STATUS_VLAN_VALID != 0).then_some(Tag {
            // Kernels that do not name the TPID know 802.1Q only.
            tpid: if status & TP_STATUS_VLAN_TPID_VALID == 0 { TPID } else { half(header, 36)? },
            // The kernel keeps these 16 bits in 32.
            tci: word(32)? as u16,
        });
        let stamp = Some(Duration::new(seconds.into(), nanoseconds));
        let next = Self { offset: self.offset.checked_add(next)?, left };
        Some(Slot { frame, remarks: Remarks { tag, stamp }, cut: kept < whole, next })
    }
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

/// The ring that comes nearest to what is wished: blocks of `block_bytes`, `ring_bytes` in all.
///
/// A block holds at least one frame of the adapter's MTU, and there are at least four.
pub(crate) fn geometry(
    block_bytes: usize,
    ring_bytes: usize,
    block_timeout_ms: u32,
    mtu: usize,
    page_bytes: usize,
) -> Geometry {
    let least = page_bytes.max(mtu + OVERHEAD_BYTES).next_power_of_two();
    let block_bytes = block_bytes.next_power_of_two().max(least);
    Geometry { block_bytes, blocks: (ring_bytes / block_bytes).max(FEWEST_BLOCKS), block_timeout_ms }
}

#[cfg(test)]
mod tests;
