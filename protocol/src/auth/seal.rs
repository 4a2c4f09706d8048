//! Trailers: made by the sender, checked by the receiver.

use alloc::vec::Vec;
use core::fmt;

use hmac::block_api::HmacCore;
use hmac::digest::block_api::CoreProxy;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::KeyId;
use crate::bugs::{Bug, is_on};
use crate::wire::{Packet, TAG_LENGTH, Trailer};

/// A keyed function without the buffer that it needs at work only: there are thousands of paths.
type Function = HmacCore<Sha256>;

/// Authenticates the packets of one direction. Every sending takes a new count, a repetition too.
///
/// A clone seals with the same counts, which must not leave its host: it is for snapshots of a whole guest, as the simulator takes them.
#[derive(Clone)]
pub struct Sealer {
    function: Function,
    key_id: KeyId,
    count: u64,
}

impl Sealer {
    /// `key`: of this direction, see [`derive`](super::derive); `key_id`: of the VM's key behind it.
    #[must_use]
    pub fn new(key: &[u8; 32], key_id: KeyId) -> Self {
        Self { function: keyed(key), key_id, count: 0 }
    }

    /// The bytes of a packet with its trailer.
    #[must_use]
    pub fn seal(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        // A wrapped count would be refused; at a million packets a second that is half a million years away.
        self.count = self.count.saturating_add(1);
        self.sealed(packet, self.count).encode()
    }

    /// The packet with its trailer, for whoever draws the counts elsewhere: each only once, and in the order of sending.
    #[must_use]
    pub fn sealed<'a>(&self, packet: &Packet<'a>, count: u64) -> Packet<'a> {
        let mut trailer = Trailer { key_id: self.key_id.as_u8(), count, tag: [0; TAG_LENGTH] };
        let sealed = Packet { trailer: Some(trailer), ..*packet };
        trailer.tag = tag(&self.function, &sealed, &trailer);
        Packet { trailer: Some(trailer), ..*packet }
    }

    /// The count of the next packet, if it draws them itself.
    #[must_use]
    pub const fn next_count(&self) -> u64 {
        self.count.saturating_add(1)
    }

    /// Which key of the VM is behind it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }
}

/// Why a trailer was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Made with another key, or changed on its way.
    Forged,
    /// Rightly made, and seen before (or overtaken by a later one).
    Replayed,
}

/// Checks the packets of one direction.
#[derive(Clone)]
pub struct Opener {
    function: Function,
    key_id: KeyId,
    greatest: u64,
}

impl Opener {
    /// See [`Sealer::new`].
    #[must_use]
    pub fn new(key: &[u8; 32], key_id: KeyId) -> Self {
        Self { function: keyed(key), key_id, greatest: 0 }
    }

    /// Checks a packet's trailer, and remembers its count if it is right.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(&mut self, packet: &Packet<'_>, trailer: &Trailer) -> Result<(), Rejected> {
        if trailer.key_id != self.key_id.as_u8() || !self.is_tag(packet, trailer) {
            return Err(Rejected::Forged);
        }
        if trailer.count <= self.greatest {
            return Err(Rejected::Replayed);
        }
        self.greatest = trailer.count;
        Ok(())
    }

    /// Which key of the VM is behind it.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn is_tag(&self, packet: &Packet<'_>, trailer: &Trailer) -> bool {
        // In constant time.
        let is_tag = fed(&self.function, packet, trailer).verify_truncated_left(&trailer.tag).is_ok();
        is_tag || is_on(Bug::TagNotCompared)
    }
}

fn keyed(key: &[u8; 32]) -> Function {
    // 32 bytes are shorter than a block, and so no key length is refused.
    Function::new_from_slice(key).unwrap_or_else(|_| Function::new(&Default::default()))
}

fn fed(function: &Function, packet: &Packet<'_>, trailer: &Trailer) -> Hmac<Sha256> {
    let mut function = Hmac::<Sha256>::compose(function.clone(), Default::default());
    function.update(&packet.header());
    function.update(packet.payload);
    function.update(&trailer.count.to_be_bytes());
    function
}

fn tag(function: &Function, packet: &Packet<'_>, trailer: &Trailer) -> [u8; TAG_LENGTH] {
    let digest: [u8; 32] = fed(function, packet, trailer).finalize().into_bytes().into();
    digest.first_chunk().copied().unwrap_or_default()
}

impl fmt::Debug for Sealer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Sealer(key {}, {} sent)", self.key_id, self.count)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Opener(key {}, up to {})", self.key_id, self.greatest)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Flags, Version};

    const KEY: [u8; 32] = [0x5a; 32];

    fn ends() -> (Sealer, Opener) {
        let id = KeyId::new(3).unwrap();
        (Sealer::new(&KEY, id), Opener::new(&KEY, id))
    }

    fn packet(payload: &[u8]) -> Packet<'_> {
        Packet::plain(Version::V2_1, 9, Flags::BEG | Flags::END | Flags::PRI, payload)
    }

    fn open(opener: &mut Opener, bytes: &[u8]) -> Option<Result<(), Rejected>> {
        let packet = Packet::decode(bytes).ok()?;
        Some(opener.open(&packet, &packet.trailer?))
    }

    #[test]
    fn each_sending_is_accepted_once() {
        let (mut sealer, mut opener) = ends();
        let (first, second) = (sealer.seal(&packet(b"HB:")), sealer.seal(&packet(b"HB:")));
        assert_ne!(first, second);
        assert_eq!(open(&mut opener, &second), Some(Ok(())));
        assert_eq!(open(&mut opener, &first), Some(Err(Rejected::Replayed)));
        assert_eq!(open(&mut opener, &second), Some(Err(Rejected::Replayed)));
    }

    #[test]
    fn another_key_or_key_id_is_forged() {
        let (mut sealer, _) = ends();
        let sealed = sealer.seal(&packet(b"HB:"));
        for (key, id) in [([0; 32], 3), (KEY, 4)] {
            let mut opener = Opener::new(&key, KeyId::new(id).unwrap());
            assert_eq!(open(&mut opener, &sealed), Some(Err(Rejected::Forged)));
        }
    }

    proptest! {
        /// Whatever is changed, with the checksum made right again: it is noticed.
        #[test]
        fn any_change_is_noticed(payload: Vec<u8>, at: prop::sample::Index, change in 1u8..) {
            let (mut sealer, mut opener) = ends();
            let mut bytes = sealer.seal(&packet(&payload));
            let at = at.index(bytes.len());
            let before = bytes.clone();
            bytes[at] ^= change;
            bytes[7] = bytes.iter().enumerate().filter(|(at, _)| *at != 7)
                .fold(0u8, |sum, (_, byte)| sum.wrapping_add(*byte));
            if bytes != before {
                prop_assert_ne!(open(&mut opener, &bytes), Some(Ok(())));
            }
        }

        #[test]
        fn padding_does_not_matter(payload: Vec<u8>, padding in 0usize..60) {
            let (mut sealer, mut opener) = ends();
            let mut bytes = sealer.seal(&packet(&payload));
            bytes.append(&mut vec![0xEE; padding]);
            prop_assert_eq!(open(&mut opener, &bytes), Some(Ok(())));
        }
    }
}
