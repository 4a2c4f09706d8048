//! Authentication of packets: extension 2.1 of the protocol.
//!
//! Each VM has a [`Key`] of 32 bytes that its agent and the host monitors know. A handshake in which both ends offer
//! authentication derives a fresh key per direction from it ([`derive()`]); from then on every packet of a direction
//! that is *on* carries a trailer made by a [`Sealer`] and checked by an [`Opener`].
//!
//! * [`Mode`]: what an end offers and demands;
//! * [`Authentication`]: mode and keys together, as given to a path;
//! * [`Nonces`]: fresh values for handshakes.

mod derive;
mod key;
mod nonce;
mod offer;
mod seal;

pub use derive::{Addresses, DirectionKeys, Transcript, derive};
pub use key::{Authentication, KEYS_MAXIMUM, Key, KeyId, MalformedKey, Mode, UnknownMode};
pub use nonce::{Nonce, Nonces};
pub use offer::{MalformedOffer, Offer};
pub use seal::{Opener, Rejected, Sealer};
