//! One HM/VMM pair over one trunk: handshake, numbers, acknowledgement, retransmission, reassembly.
//!
//! [`Initiator`] is the VMM's end, [`Responder`] the HM's. Both are driven alike: packets, timeouts and messages
//! go in, and what comes of it is put into an [`Outputs`] that belongs to whoever owns many of them; so an idle
//! path holds no buffers, and a heartbeat allocates nothing.
//!
//! A new handshake runs as a *candidate* beside an open channel, which it replaces only when it is complete:
//! a forged Hello or SYN cannot disturb what works.

mod channel;
mod guard;
mod initiator;
mod outputs;
mod receive;
mod responder;
mod send;
mod shared;
mod syn;

pub use guard::Directions;
pub use initiator::{Initiator, VmmIdentity, VmmSecurity};
pub use outputs::{Delivery, Event, Outputs, Token};
pub use responder::{HmIdentity, Reception, Refusal, Responder, SynOutcome};
pub use shared::{Draw, Sending, SendingKey, SharedDraw};

use core::fmt;
use core::time::Duration;

use crate::wire::Malformed;

/// First retransmission timeout; doubled at each sending up to [`RETRANSMISSION_MAXIMUM`].
pub const RETRANSMISSION_FIRST: Duration = Duration::from_millis(500);
/// Longest retransmission timeout.
pub const RETRANSMISSION_MAXIMUM: Duration = Duration::from_secs(4);
/// Sendings of a packet, after which its path is given up: 15.5 s in all.
pub const SENDINGS_MAXIMUM: u8 = 6;
/// Packets of a message sent ahead of the oldest not acknowledged. [N-6]
pub const WINDOW: u8 = 32;
/// ACKR packets of a priority against which duplicates are judged: more than a window, far less than 256.
pub const HISTORY_LENGTH: usize = 48;
/// How long each of them is remembered: longer than a sender tries, shorter than numbers take to come round.
pub const HISTORY_AGE: Duration = Duration::from_secs(20);
/// How long an incomplete message is kept: longer than its sender tries.
pub const PARTIAL_AGE: Duration = Duration::from_secs(30);
/// Longest message, in bytes: the largest report (256 applications) with room to spare. [B-1]
pub const MESSAGE_MAXIMUM: usize = 256 * 1024;
/// Partial messages of one priority. A correct sender has one; more only after it gave up a message. [B-2]
pub const PARTIALS_MAXIMUM: usize = 4;
/// Messages waiting to be sent, per priority: more means that the owner does not look at what is handed back. [B-8]
pub const QUEUE_MAXIMUM: usize = 64;
/// Complete messages delivered and not accepted yet, per path. A correct sender has one per priority. [B-3]
pub const DELIVERIES_MAXIMUM: usize = 4;

/// When to send for the `sendings + 1`th time.
fn retransmission_timeout(sendings: u8) -> Duration {
    let doublings = u32::from(sendings.saturating_sub(1)).min(8);
    RETRANSMISSION_FIRST.saturating_mul(1 << doublings).min(RETRANSMISSION_MAXIMUM)
}

/// Why a packet was dropped; each is counted. [K-1]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// No packet at all.
    Short,
    /// Its length does not hold.
    Length,
    /// Its checksum does not hold.
    Checksum,
    /// Another major version.
    Major,
    /// No open path.
    NotOpen,
    /// Needs an acknowledgement, which must wait until the handshake under way is complete.
    Handshaking,
    /// Authenticated, though authentication was not negotiated.
    Authenticated,
    /// Not authenticated, though that was negotiated.
    Unauthenticated,
    /// Its authentication does not hold: made with another key, or changed on its way.
    Forged,
    /// Its authentication holds, and it (or a later packet) was received before.
    Replayed,
    /// Made with the key of the channel that was just replaced.
    Stale,
    /// Flags that make no sense together, or not in this direction.
    Flags,
    /// A payload that is no message, or not one for this end.
    Message,
    /// A SYN whose payload is malformed.
    Syn,
    /// Belongs to no message under way.
    Orphan,
    /// A repetition of what was received already.
    Duplicate,
    /// More partial messages, or undelivered ones, than a path may have.
    Bound,
    /// No room for another path.
    Paths,
    /// An acknowledgement of nothing outstanding.
    Acknowledgement,
}

impl Discard {
    /// As a counter's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Major => "major",
            Self::NotOpen => "not_open",
            Self::Handshaking => "handshaking",
            Self::Authenticated => "authenticated",
            Self::Unauthenticated => "unauthenticated",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Stale => "stale",
            Self::Flags => "flags",
            Self::Message => "message",
            Self::Syn => "syn",
            Self::Orphan => "orphan",
            Self::Duplicate => "duplicate",
            Self::Bound => "bound",
            Self::Paths => "paths",
            Self::Acknowledgement => "acknowledgement",
        }
    }
}

impl fmt::Display for Discard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl From<Malformed> for Discard {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Short => Self::Short,
            Malformed::Length => Self::Length,
            Malformed::Checksum => Self::Checksum,
            Malformed::Major(_) => Self::Major,
        }
    }
}

/// Why a path was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A packet was sent six times and never acknowledged.
    Unanswered,
    /// An incomplete message was dropped, for age or for a bound: its sender must hand it back.
    Incomplete,
    /// The peer speaks no common version.
    VersionConflict,
    /// The peer's authentication is not what this end demands.
    Unauthenticated,
    /// Another VM's path took its place, or the VM's own at another address.
    Replaced,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unanswered => "the peer does not answer",
            Self::Incomplete => "a message stayed incomplete",
            Self::VersionConflict => "no common protocol version",
            Self::Unauthenticated => "the peer does not authenticate as is required",
            Self::Replaced => "another path took its place",
        })
    }
}

/// The two sequences of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Priority {
    Normal,
    Urgent,
}

#[cfg(test)]
mod tests;
