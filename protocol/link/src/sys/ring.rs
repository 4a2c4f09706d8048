//! The memory a packet socket shares with the kernel: TPACKET_V3, blocks of frames.
//!
//! ```text
//!            kernel writes frames                    full, or its time is over
//!  kernel's ----------------------> kernel's, filled -------------------------> ours
//!     ^                                                                           |
//!     +-------------------------------- give_back --------------------------------+
//! ```
//! Blocks change hands in the order of their numbers, round and round.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{PACKET_RX_RING, PACKET_VERSION, SOL_PACKET, TP_STATUS_KERNEL, TP_STATUS_USER, tpacket_req3};
use socket2::Socket;

use super::{check, set_option, set_struct};

/// Where in a block the kernel keeps whose it is: behind a version and an offset (struct tpacket_block_desc).
const STATUS_OFFSET: usize = 8;

/// How large a ring is, and how long the kernel may fill a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Bytes of one block: a power of two, and a multiple of the page size.
    pub(crate) block_bytes: usize,
    pub(crate) blocks: usize,
    pub(crate) block_timeout_ms: u32,
}

/// The blocks of one socket.
#[derive(Debug)]
pub(crate) struct SharedBlocks {
    start: NonNull<u8>,
    geometry: Geometry,
}

// SAFETY: the mapping belongs to the process, not to a thread, and only its owner unmaps it.
unsafe impl Send for SharedBlocks {}
// SAFETY: what a shared reference can do is atomic loads, and reads of blocks that nobody can give back meanwhile, because
// that takes an exclusive reference.
unsafe impl Sync for SharedBlocks {}

impl SharedBlocks {
    /// Makes `socket` receive into a ring. To be done before it is bound.
    pub(crate) fn new(socket: &Socket, geometry: Geometry) -> io::Result<Self> {
        let number = |size| c_uint::try_from(size).map_err(io::Error::other);
        let (block_bytes, blocks) = (number(geometry.block_bytes)?, number(geometry.blocks)?);
        set_option(socket, SOL_PACKET, PACKET_VERSION, libc::tpacket_versions::TPACKET_V3 as c_int)?;
        let request = tpacket_req3 {
            tp_block_size: block_bytes,
            tp_block_nr: blocks,
            // Frames are laid one behind the other, as large as they are: these two only have to be possible.
            tp_frame_size: block_bytes,
            tp_frame_nr: blocks,
            tp_retire_blk_tov: geometry.block_timeout_ms,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_struct(socket, SOL_PACKET, PACKET_RX_RING, &request)?;
        let bytes = geometry.bytes().ok_or_else(|| io::Error::other("the ring is too large"))?;
        Ok(Self { start: map(socket, bytes)?, geometry })
    }

    pub(crate) fn count(&self) -> usize {
        self.geometry.blocks
    }

    /// The bytes of a block, if it is ours; its header included.
    pub(crate) fn ours(&self, block: usize) -> Option<&[u8]> {
        // Acquire: what the kernel wrote before it handed the block over is seen behind this.
        if self.status(block)?.load(Ordering::Acquire) & TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: `status` has checked the number, so these bytes lie within the mapping, which lives as long as `self`.
        // The kernel does not write to a block that is ours, and it stays ours while this slice lives: `give_back`
        // takes an exclusive reference.
        Some(unsafe { std::slice::from_raw_parts(self.block(block).as_ptr(), self.geometry.block_bytes) })
    }

    /// Lets the kernel fill a block again.
    pub(crate) fn give_back(&mut self, block: usize) {
        if let Some(status) = self.status(block) {
            // Release: what was read from the block was read before this.
            status.store(TP_STATUS_KERNEL, Ordering::Release);
        }
    }

    fn status(&self, block: usize) -> Option<&AtomicU32> {
        if block >= self.geometry.blocks {
            return None;
        }
        // SAFETY: within the mapping, as the number is, and aligned, as blocks start at pages. The kernel and we access
        // this word by single loads and stores only. (A slice of the block spans it too, but is not read there, and we
        // store only when no slice lives.)
        Some(unsafe { AtomicU32::from_ptr(self.block(block).add(STATUS_OFFSET).cast().as_ptr()) })
    }

    /// Where a block starts. `block` must be one of the ring's.
    fn block(&self, block: usize) -> NonNull<u8> {
        debug_assert!(block < self.geometry.blocks);
        // SAFETY: the only callers have checked the number, so the place lies within the mapping.
        unsafe { self.start.add(block * self.geometry.block_bytes) }
    }
}

impl Geometry {
    pub(crate) fn bytes(&self) -> Option<usize> {
        self.block_bytes.checked_mul(self.blocks)
    }
}

impl Drop for SharedBlocks {
    fn drop(&mut self) {
        let bytes = self.geometry.bytes().unwrap_or_default();
        // SAFETY: mapped by `new` with this size, and no slice of it outlives `self`. Failing would leak, no more.
        unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), bytes) };
    }
}

fn map(socket: &Socket, bytes: usize) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs no other.
    let start = unsafe { libc::mmap(null_mut(), bytes, access, libc::MAP_SHARED, socket.as_raw_fd(), 0) };
    check(if start == libc::MAP_FAILED { -1 } else { 0 })?;
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// Bytes of a page of memory.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: a question without arguments in memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}
