//! A channel's numbers, drawn by two: the VMM's daemon, and whoever beats in its place when it hangs.

use alloc::sync::Arc;
use core::fmt;

use zeroize::Zeroizing;

use crate::auth::KeyId;
use crate::wire::Version;

/// Where the urgent numbers and the counts of a channel come from, once they are shared. Nothing that it gave is given
/// again, whoever asks. [N-1]
pub trait Draw: fmt::Debug + Send + Sync {
    /// The number of the next urgent packet.
    fn next_urgent(&self) -> u8;

    /// The count of the next authenticated packet.
    fn next_count(&self) -> u64;
}

/// A source that may be shared.
pub type SharedDraw = Arc<dyn Draw>;

/// What somebody else needs to beat on the open channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The running version.
    pub version: Version,
    /// The next urgent number.
    pub next_urgent: u8,
    /// The next count.
    pub next_count: u64,
    /// What packets to the HM are authenticated with, if they are.
    pub key: Option<(KeyId, SendingKey)>,
}

/// The key of one direction. Wiped when it is dropped; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SendingKey(Zeroizing<[u8; 32]>);

impl SendingKey {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SendingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SendingKey")
    }
}
