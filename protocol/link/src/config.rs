//! How a link is opened.

use std::ops::RangeInclusive;

use crate::LinkError;
use crate::ring::geometry;
use crate::sys::ring::Geometry;

/// IEEE 802 local experimental EtherType 1, the protocol's default.
pub const DEFAULT_ETHERTYPE: u16 = 0x88B5;
/// Thousands of guests that answer at once fit, and a stall of the daemon of some seconds.
pub const DEFAULT_RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// The values below are lengths in an IEEE 802.3 header, not types. [C-1]
const LOWEST_ETHERTYPE: u16 = 0x0600;
/// VLAN 0 means "no VLAN, only a priority" and 4095 is reserved.
const VLANS: RangeInclusive<u16> = 1..=4094;

/// What a ring may take: below, a burst of one frame of each of a few hundred guests does not fit; above, a host's memory
/// is missed, since a ring takes all of it from the start.
pub const RING_BYTES: RangeInclusive<usize> = 64 << 10..=256 << 20;
/// How long the kernel may fill a block: less costs more timer interrupts than it saves, and a shortest heartbeat
/// interval of 100 ms does not bear more.
pub const BLOCK_TIMEOUT_MS: RangeInclusive<u32> = 1..=20;
/// A hundred heartbeats to a block: a wake-up for each hundred at most, and a stall of the daemon by seconds finds many
/// blocks to fill one after the other, because a block is also used up by its timeout.
const DEFAULT_BLOCK_BYTES: usize = 16 << 10;
/// The largest frame fits, and the kernel finds no larger piece of memory easily.
const LARGEST_BLOCK_BYTES: usize = 1 << 20;
const DEFAULT_BLOCK_TIMEOUT_MS: u32 = 4;

/// How frames come from the kernel. All ways deliver the same frames; they differ in cost and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveMethod {
    /// A system call for each frame: the least memory. For an agent, that hears one peer.
    #[default]
    Plain,
    /// Up to 64 frames in one system call.
    Batched,
    /// Frames lie in memory shared with the kernel: no system call for a frame, and one wake-up for a block of them. A frame
    /// is seen up to [`reading_lag`](crate::PacketSocket::reading_lag) after it came. For a monitor of many guests.
    Ring(RingConfig),
}

/// The shape of a ring. Its size is [`LinkConfig::receive_buffer_bytes`], held within [`RING_BYTES`]; all of it is
/// allocated when the link is opened, and cannot be swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Bytes of a block, which changes hands as a whole. Made a power of two between the page size and 1 MiB that holds
    /// a frame of the adapter's MTU.
    pub block_bytes: usize,
    /// A block with frames is handed over after at most this time, full or not; see [`BLOCK_TIMEOUT_MS`], within which it is
    /// held.
    pub block_timeout_ms: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { block_bytes: DEFAULT_BLOCK_BYTES, block_timeout_ms: DEFAULT_BLOCK_TIMEOUT_MS }
    }
}

impl RingConfig {
    /// The ring of `ring_bytes` for an adapter of that MTU.
    pub(crate) fn geometry(self, ring_bytes: usize, mtu: usize, page_bytes: usize) -> Geometry {
        let timeout = self.block_timeout_ms.clamp(*BLOCK_TIMEOUT_MS.start(), *BLOCK_TIMEOUT_MS.end());
        let ring_bytes = ring_bytes.clamp(*RING_BYTES.start(), *RING_BYTES.end());
        geometry(self.block_bytes.min(LARGEST_BLOCK_BYTES), ring_bytes, timeout, mtu, page_bytes)
    }
}

/// What to open, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Name of the adapter.
    pub interface: String,
    /// EtherType of the frames, the same on both sides.
    pub ethertype: u16,
    /// VLAN id: send tagged, and drop all other frames. Without one, tagged and untagged frames are taken. [C-5]
    pub vlan: Option<u16>,
    /// Size of the kernel's receive queue. Without CAP_NET_ADMIN the kernel may give less (net.core.rmem_max).
    pub receive_buffer_bytes: usize,
    /// How frames come from the kernel.
    pub receive: ReceiveMethod,
}

impl LinkConfig {
    /// The defaults on `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            ethertype: DEFAULT_ETHERTYPE,
            vlan: None,
            receive_buffer_bytes: DEFAULT_RECEIVE_BUFFER_BYTES,
            receive: ReceiveMethod::default(),
        }
    }

    /// Whether the numbers are possible.
    ///
    /// # Errors
    /// [`LinkError::InvalidEtherType`] or [`LinkError::InvalidVlan`].
    pub fn check(&self) -> Result<(), LinkError> {
        check_ethertype(self.ethertype)?;
        match self.vlan {
            Some(vlan) if !VLANS.contains(&vlan) => Err(LinkError::InvalidVlan { vlan }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether frames can have this EtherType.
pub(crate) fn check_ethertype(ethertype: u16) -> Result<(), LinkError> {
    if ethertype < LOWEST_ETHERTYPE || ethertype == crate::frame::TPID {
        return Err(LinkError::InvalidEtherType { ethertype });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_held_within_its_bounds() {
        let (small, large) = (
            RingConfig { block_bytes: 0, block_timeout_ms: 0 },
            RingConfig { block_bytes: usize::MAX, block_timeout_ms: 9999 },
        );
        let small = small.geometry(0, 1500, 4096);
        assert_eq!((small.block_bytes, small.blocks, small.block_timeout_ms), (4096, 16, 1));
        let large = large.geometry(usize::MAX, 1500, 4096);
        assert_eq!((large.block_bytes, large.blocks, large.block_timeout_ms), (1 << 20, 256, 20));
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let config = LinkConfig::new("eth0");
        assert!(config.check().is_ok());
        for ethertype in [0, 0x05FF, 0x8100] {
            let refused = LinkConfig { ethertype, ..config.clone() }.check();
            assert!(matches!(refused, Err(LinkError::InvalidEtherType { .. })), "{ethertype:#06x}");
        }
        for (vlan, possible) in [(0, false), (1, true), (4094, true), (4095, false), (0xA064, false)] {
            assert_eq!(LinkConfig { vlan: Some(vlan), ..config.clone() }.check().is_ok(), possible, "{vlan}");
        }
    }
}
