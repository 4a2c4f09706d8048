//! What a SYN says of authentication.

use alloc::string::String;
use core::fmt::Write;

use super::{KeyId, Nonce};
use crate::message::Pairs;

/// The only function there is: `auth=hmac-sha256`.
const FUNCTION: &str = "hmac-sha256";

/// `nonce=<32 hex>:auth=hmac-sha256:kid=<1-255>`, and `:authtx=1`: its sender checks trailers made with this key, and,
/// if it `sends`, will add them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Fresh per handshake.
    pub nonce: Nonce,
    /// The VM's key.
    pub key_id: KeyId,
    /// Whether the sender of the SYN will authenticate what it sends.
    pub sends: bool,
}

/// An offer that is incomplete or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedOffer;

impl Offer {
    /// `None` if there is no offer, or one of a function that is not known here.
    ///
    /// # Errors
    /// [`MalformedOffer`] if nonce or key id are missing or wrong, or `authtx` is neither 0 nor 1.
    pub fn read(pairs: &Pairs<'_>) -> Result<Option<Self>, MalformedOffer> {
        if pairs.value("auth") != Some(FUNCTION) {
            return Ok(None);
        }
        let nonce = pairs.value("nonce").and_then(|text| Nonce::from_hex(text.as_bytes()));
        let key_id = pairs.value("kid").and_then(|text| text.parse().ok());
        let sends = match pairs.value("authtx") {
            Some("1") => true,
            Some("0") | None => false,
            Some(_) => return Err(MalformedOffer),
        };
        match (nonce, key_id) {
            (Some(nonce), Some(key_id)) => Ok(Some(Self { nonce, key_id, sends })),
            (Some(_) | None, Some(_) | None) => Err(MalformedOffer),
        }
    }

    /// Appends the pairs to a payload.
    pub fn write(&self, payload: &mut String) {
        let Self { nonce, key_id, sends } = self;
        let sends = if *sends { ":authtx=1" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(payload, ":nonce={nonce}:auth={FUNCTION}:kid={key_id}{sends}");
    }
}
