//! Packets: one HVNCP header and its payload in one Ethernet frame.
//!
//! ```text
//! | 0 major | 1 minor | 2 number | 3 flags | 4-5 payload length | 6 reserved | 7 checksum | payload ...
//! ```
//! Nothing here allocates, and nothing is trusted before it is checked.

mod flags;
mod packet;

pub use flags::Flags;
pub use packet::{Malformed, Packet, Version};

/// IEEE 802 local experimental 1; a setting on both sides.
pub const ETHERTYPE: u16 = 0x88B5;

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 8;

/// Largest payload of one packet on an adapter of this MTU.
#[must_use]
pub const fn payload_capacity(mtu: usize) -> usize {
    mtu.saturating_sub(HEADER_LENGTH)
}
