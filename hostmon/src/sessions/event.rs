//! What sessions say, and what is shown of them.

use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::KeyId;
use vmpulse_protocol::id::VmUuid;
use vmpulse_protocol::path::{CloseReason, Delivery, Directions, Refusal, Token};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;

use crate::by_vm::Hint;

/// What happened with a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A handshake was asked for under a UUID that cannot be one; it is not answered. [S-20]
    CannotManage {
        /// The guest's address.
        mac: MacAddr,
        /// As it came.
        uuid: String,
    },
    /// A handshake was asked for from another address than the open path's; `open_at` decides. [S-21]
    AnotherAddress {
        /// Which VM.
        vm: VmUuid,
        /// Where its path is open.
        open_at: MacAddr,
        /// Who asks.
        mac: MacAddr,
    },
    /// The guest speaks no version of ours.
    VersionConflict {
        /// The guest's address.
        mac: MacAddr,
        /// Its UUID, empty if it did not get so far as to say it.
        uuid: String,
        /// What it speaks.
        versions: String,
    },
    /// A handshake was refused for want of authentication.
    Refused {
        /// Which VM.
        vm: VmUuid,
        /// Who asks.
        mac: MacAddr,
        /// Why.
        refusal: Refusal,
    },
    /// The VM was authenticated for the first time: from now on it must be.
    Authenticated {
        /// Which VM.
        vm: VmUuid,
    },
    /// Packets on an authenticated path were forged or replayed: three in a minute, said once in that minute.
    Forgeries {
        /// Which VM's path.
        vm: VmUuid,
        /// The address that they seem to come from.
        mac: MacAddr,
    },
    /// A path was opened.
    Opened {
        /// Which VM.
        vm: VmUuid,
        /// The guest's address.
        mac: MacAddr,
        /// Running version.
        version: Version,
    },
    /// A path was closed.
    Closed {
        /// Which VM.
        vm: VmUuid,
        /// The guest's address.
        mac: MacAddr,
        /// Why.
        reason: CloseReason,
    },
    /// A message.
    Message {
        /// Which VM.
        vm: VmUuid,
        /// To accept or refuse it by.
        receipt: Receipt,
        /// Its bytes, to be parsed.
        payload: Vec<u8>,
    },
    /// A message to the guest was taken by it.
    Delivered {
        /// Which.
        token: Token,
    },
    /// A message to the guest did not get through.
    HandedBack {
        /// Which.
        token: Token,
    },
    /// The guardian of a guest beats in its agent's place (true), or the agent beats again. [M-14]
    Guardian {
        /// Which VM's path.
        vm: VmUuid,
        /// Whether the guardian beats.
        beats: bool,
    },
    /// Messages to the guest went unanswered; they were handed back before.
    Unanswered {
        /// Which VM.
        vm: VmUuid,
    },
}

/// A heartbeat on an open path. There are too many of them to be events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Which VM.
    pub vm: VmUuid,
    /// What was given to [`Sessions::remember`].
    pub hints: Hints,
}

/// Where the owner of the sessions keeps what it knows of a guest.
pub type Hints = [Hint; 2];

/// A message to be accepted: whose, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(super) mac: MacAddr,
    pub(super) delivery: Delivery,
}

/// A frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub destination: MacAddr,
    /// TCI to tag it with; `None`: as the socket is configured.
    pub vlan: Option<u16>,
    /// What follows the Ethernet header.
    pub payload: Vec<u8>,
}

/// A session as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Which VM.
    pub vm: VmUuid,
    /// The guest's address.
    pub mac: MacAddr,
    /// Running version.
    pub version: Version,
    /// When its latest handshake completed.
    pub opened: Instant,
    /// Heartbeats received from this address since the monitor started.
    pub heartbeats: u64,
    /// Which directions are authenticated, and with which key, if any is.
    pub security: Option<(Directions, KeyId)>,
    /// Whether the guest's guardian beats, because its agent does not.
    pub guardian: bool,
    /// See [`Beat::hints`].
    pub hints: Hints,
}
