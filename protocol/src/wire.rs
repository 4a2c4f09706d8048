//! Packets: one HVNCP header and its payload in one Ethernet frame.
//!
//! ```text
//! | 0 major | 1 minor | 2 number | 3 flags | 4-5 payload length | 6 key id | 7 checksum | payload | count (8) | tag (16) |
//! ```
//! Nothing here allocates, and nothing is trusted before it is checked.

mod flags;
mod packet;

pub use flags::Flags;
pub use packet::{Malformed, Packet, Trailer, Version};

/// IEEE 802 local experimental 1; a setting on both sides. [C-1]
pub const ETHERTYPE: u16 = 0x88B5;

/// Bytes of a header. [P-1]
pub const HEADER_LENGTH: usize = 8;

/// Bytes of an authentication trailer's tag: the first half of an HMAC-SHA256.
pub const TAG_LENGTH: usize = 16;

/// Bytes of an authentication trailer: a count and the tag. [X-9]
pub const TRAILER_LENGTH: usize = 8 + TAG_LENGTH;

/// Largest payload of one packet on an adapter of this MTU. [C-7]
#[must_use]
pub const fn payload_capacity(mtu: usize, authenticated: bool) -> usize {
    mtu.saturating_sub(HEADER_LENGTH).saturating_sub(if authenticated { TRAILER_LENGTH } else { 0 })
}
