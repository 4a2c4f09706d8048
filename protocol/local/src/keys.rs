//! Keys of VMs on disk: the key file that both sides have, and how secrets come in and go out.
//!
//! * [`KeyRing`]: at most two keys with their ids, and their text form. Pure;
//! * [`read`], [`LockedKeyFile`]: the file, which nobody else may read and which is never half there;
//! * [`generate`], [`read_secret`], [`secret_line`]: single keys.
//!
//! No error and no `Debug` form here holds anything of a key.

mod file;
mod ring;
mod secret;

pub use file::{KeyFileError, LockedKeyFile, check_directory, make_private_directory, read, remove_and_sync};
pub use ring::{AddError, KeyRing, LineProblem, RemoveError, RingError};
pub use secret::{SecretError, generate, read_secret, secret_line};

use serde::{Deserialize, Deserializer};
use vmpulse_protocol::auth::Mode;

/// How a path is authenticated, for people: `key 2 in+out`, or `-`. As seen from the end that tells.
#[must_use]
pub fn path_words(incoming: bool, outgoing: bool, key_id: Option<u8>) -> String {
    let directions = match (incoming, outgoing) {
        (true, true) => "in+out",
        (true, false) => "in",
        (false, true) => "out",
        (false, false) => return "-".to_owned(),
    };
    key_id.map_or_else(|| directions.to_owned(), |id| format!("key {id} {directions}"))
}

/// The setting `authentication`, for `deserialize_with`: one of the words of [`Mode`].
///
/// # Errors
/// The deserialiser's own, and one that names the words if it is none of them.
pub fn deserialize_mode<'de, D: Deserializer<'de>>(from: D) -> Result<Mode, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}
