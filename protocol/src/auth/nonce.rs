//! Fresh values for handshakes.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What an end adds to a handshake so that no earlier one can be played again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    /// From 32 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Nonces that nobody without the seed can foresee, and that do not repeat: HMAC-SHA256 of a count, keyed by the seed.
#[derive(Clone)]
pub struct Nonces {
    function: Hmac<Sha256>,
    count: u64,
}

impl Nonces {
    /// `seed`: 32 bytes from the kernel's source of randomness, different at each start.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self { function: keyed(seed), count: 0 }
    }

    /// Mixes in what nobody foresees: a guest that goes on from a snapshot must not repeat itself.
    pub fn stir(&mut self, entropy: &[u8; 32]) {
        let mut function = self.function.clone();
        function.update(&self.next_digest());
        function.update(entropy);
        self.function = keyed(&function.finalize().into_bytes().into());
    }

    /// Another source, whose nonces are not this one's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self { function: keyed(&self.next_digest()), count: 0 }
    }

    /// The next one.
    pub fn next_nonce(&mut self) -> Nonce {
        let digest = self.next_digest();
        Nonce(digest.first_chunk().copied().unwrap_or_default())
    }

    fn next_digest(&mut self) -> [u8; 32] {
        self.count = self.count.wrapping_add(1);
        let mut function = self.function.clone();
        function.update(&self.count.to_be_bytes());
        function.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Nonces({})", self.count)
    }
}

/// HMAC-SHA256 with this key.
pub(super) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // 32 bytes are shorter than a block, and so no key length is refused.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

pub(super) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn nonces_differ_and_follow_from_their_seed() {
        let (mut nonces, mut again) = (Nonces::new(&[7; 32]), Nonces::new(&[7; 32]));
        let (first, second) = (nonces.next_nonce(), nonces.next_nonce());
        assert_ne!(first, second);
        assert_eq!((again.next_nonce(), again.next_nonce()), (first, second));
        assert_ne!(Nonces::new(&[8; 32]).next_nonce(), first);
        let mut forks = [nonces.fork(), nonces.fork()];
        let forked = forks.each_mut().map(Nonces::next_nonce);
        assert!(forked[0] != forked[1] && !forked.contains(&nonces.next_nonce()));
        let mut restored = nonces.clone();
        restored.stir(&[5; 32]);
        assert_ne!(restored.next_nonce(), nonces.next_nonce());
        assert_eq!(Nonce::from_hex(first.to_string().as_bytes()), Some(first));
        assert_eq!(Nonce::from_hex(b"00"), None);
    }
}
