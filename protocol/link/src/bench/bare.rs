//! The least a program can do to receive: no filter, no runtime, no check, nothing done with a frame. What other receivers
//! are compared with.

use std::io::{self, Read};
use std::time::Duration;

use socket2::Socket;

use crate::DEFAULT_ETHERTYPE;
use crate::adapter::{Adapter, size_queue};
use crate::sys::ring::{Geometry, SharedBlocks};
use crate::sys::{link_address, take_losses, wait_readable};

/// How long to wait before the caller looks whether it shall end.
const PATIENCE: Duration = Duration::from_millis(50);

/// A blocking `recv` for each frame.
#[derive(Debug)]
pub struct BareQueue {
    socket: Socket,
    buffer: [u8; 256],
    drops: u64,
}

impl BareQueue {
    /// Opens the adapter.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn open(interface: &str, queue_bytes: usize) -> io::Result<Self> {
        let (socket, adapter) = Adapter::open(interface).map_err(io::Error::other)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        size_queue(&socket, queue_bytes)?;
        socket.bind(&link_address(adapter.index, DEFAULT_ETHERTYPE)?)?;
        Ok(Self { socket, buffer: [0; 256], drops: 0 })
    }

    /// Frames received, one or, after a while without any, none.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn count(&mut self) -> io::Result<u64> {
        match (&self.socket).read(&mut self.buffer) {
            Ok(_) => Ok(1),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Frames the kernel dropped since the opening.
    pub fn drops(&mut self) -> u64 {
        self.drops += u64::from(take_losses(&self.socket).unwrap_or_default().drops);
        self.drops
    }
}

/// A TPACKET_V3 ring: from each block's first frame to its last, and back with it.
#[derive(Debug)]
pub struct BareRing {
    socket: Socket,
    blocks: SharedBlocks,
    turn: usize,
    drops: u64,
}

impl BareRing {
    /// Opens the adapter with a ring of that shape: `block_bytes` a power of two and whole pages.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn open(interface: &str, ring_bytes: usize, block_bytes: usize, timeout_ms: u32) -> io::Result<Self> {
        let (socket, adapter) = Adapter::open(interface).map_err(io::Error::other)?;
        let blocks = ring_bytes.checked_div(block_bytes).unwrap_or_default();
        let blocks =
            SharedBlocks::new(&socket, Geometry { block_bytes, blocks, block_timeout_ms: timeout_ms })?;
        socket.bind(&link_address(adapter.index, DEFAULT_ETHERTYPE)?)?;
        Ok(Self { socket, blocks, turn: 0, drops: 0 })
    }

    /// Frames of the next block or, after a while without any, none.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn count(&mut self) -> io::Result<u64> {
        let Some(block) = self.blocks.ours(self.turn) else {
            wait_readable(&self.socket, PATIENCE)?;
            return Ok(0);
        };
        let (frames, mut at) = (word(block, 12), word(block, 16) as usize);
        for _ in 0..frames {
            at += word(block, at) as usize;
        }
        // So that the walk is not left out as useless.
        std::hint::black_box(at);
        self.blocks.give_back(self.turn);
        self.turn = (self.turn + 1) % self.blocks.count();
        Ok(frames.into())
    }

    /// Frames the kernel dropped since the opening.
    pub fn drops(&mut self) -> u64 {
        self.drops += u64::from(take_losses(&self.socket).unwrap_or_default().drops);
        self.drops
    }
}

fn word(block: &[u8], at: usize) -> u32 {
    block.get(at..).and_then(|bytes| bytes.first_chunk()).copied().map_or(0, u32::from_ne_bytes)
}
