//! A heartbeat in the daemon's place, as bytes. Pure but for the page, from which its numbers are drawn; allocates nothing.

use vmpulse_link::Destination;
use vmpulse_protocol::auth::{KeyId, Sealer};
use vmpulse_protocol::path::Draw;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet};

use super::page::Page;

/// Header, `HB:G` and a trailer are 36 bytes.
pub const PACKET_BYTES: usize = 64;

/// Writes the packet into `room`: where to send it, and its length. `None` if another session has taken the place of the
/// one that was `seen` in that slot.
pub fn packet(
    page: &Page,
    now: Instant,
    (slot, seen): (usize, u64),
    as_guardian: bool,
    room: &mut [u8; PACKET_BYTES],
) -> Option<(Destination, usize)> {
    let (generation, session) = page.session(slot).filter(|(generation, _)| *generation == seen)?;
    // Also if it cannot be sent: it is not tried again at once.
    page.on_guardian_beat(slot, now);
    let numbers = page.numbers_of(slot, generation);
    let payload: &[u8] = if as_guardian { b"HB:G" } else { b"HB:" };
    let flags = Flags::BEG | Flags::END | Flags::PRI;
    let packet = Packet::plain(session.version, numbers.next_urgent(), flags, payload);
    let length = match session.key.as_ref().and_then(|(id, key)| Some((KeyId::new(*id)?, key))) {
        Some((id, key)) => Sealer::new(key, id).sealed(&packet, numbers.next_count()).encode_into(room),
        None => packet.encode_into(room),
    };
    Some((session.to, length.unwrap_or_default()))
}
