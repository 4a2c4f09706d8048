//! Which of a path's keys a packet was made with, if any.
//!
//! While a handshake runs the two ends do not change over at the same moment: what was made with the key of the
//! candidate, or of the channel that was just replaced, is no forgery.

use alloc::boxed::Box;

use super::{Discard, HISTORY_AGE};
use crate::auth::{DirectionKeys, KeyId, Opener, Rejected, Sealer};
use crate::time::Instant;
use crate::wire::Packet;

/// What a handshake agreed on: whether an end seals what it sends, and checks what it receives.
#[derive(Clone, Debug, Default)]
pub(super) struct Agreed {
    pub(super) sealer: Option<Box<Sealer>>,
    pub(super) opener: Option<Box<Opener>>,
}

/// Which directions of a path are to be authenticated, seen from one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directions {
    /// What arrives.
    pub incoming: bool,
    /// What is sent.
    pub outgoing: bool,
}

impl core::fmt::Display for Directions {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(match (self.incoming, self.outgoing) {
            (true, true) => "authenticated",
            (true, false) => "authenticated inwards only",
            (false, true) => "authenticated outwards only",
            (false, false) => "not authenticated",
        })
    }
}

impl Agreed {
    /// `keys`: what is sent, and what is received, in this order.
    pub(super) fn new(
        key_id: KeyId,
        directions: Directions,
        outgoing: &[u8; 32],
        incoming: &[u8; 32],
    ) -> Self {
        Self {
            sealer: directions.outgoing.then(|| Box::new(Sealer::new(outgoing, key_id))),
            opener: directions.incoming.then(|| Box::new(Opener::new(incoming, key_id))),
        }
    }

    pub(super) fn at_vmm(key_id: KeyId, directions: Directions, keys: &DirectionKeys) -> Self {
        Self::new(key_id, directions, &keys.vmm_to_hm, &keys.hm_to_vmm)
    }

    pub(super) fn at_hm(key_id: KeyId, directions: Directions, keys: &DirectionKeys) -> Self {
        Self::new(key_id, directions, &keys.hm_to_vmm, &keys.vmm_to_hm)
    }
}

/// The checks of an open channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    opener: Option<Box<Opener>>,
    /// Of the channel that this one replaced, and when: its last packets may still be on their way.
    previous: Option<Box<(Opener, Instant)>>,
}

/// What a packet that may be taken was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Channel,
    Candidate,
}

impl Guard {
    pub(super) fn new(now: Instant, opener: Option<Box<Opener>>, replaced: Option<Self>) -> Self {
        let previous = replaced.and_then(|replaced| replaced.opener);
        Self { opener, previous: previous.map(|opener| Box::new((*opener, now))) }
    }

    /// Whether only authenticated packets are taken.
    pub(super) const fn is_on(&self) -> bool {
        self.opener.is_some()
    }

    pub(super) fn key_id(&self) -> Option<KeyId> {
        self.opener.as_ref().map(|opener| opener.key_id())
    }

    /// Where a packet belongs, or why it is dropped.
    pub(super) fn origin(
        &mut self,
        packet: &Packet<'_>,
        candidate: Option<&mut Opener>,
    ) -> Result<Origin, Discard> {
        let Some(trailer) = &packet.trailer else {
            return if self.is_on() { Err(Discard::Unauthenticated) } else { Ok(Origin::Channel) };
        };
        if self.opener.is_none() && candidate.is_none() && self.previous.is_none() {
            return Err(Discard::Authenticated);
        }
        let channel = self.opener.as_deref_mut().map(|opener| (opener, Origin::Channel));
        let candidate = candidate.map(|opener| (opener, Origin::Candidate));
        for (opener, origin) in channel.into_iter().chain(candidate) {
            match opener.open(packet, trailer) {
                Ok(()) => return Ok(origin),
                Err(Rejected::Replayed) => return Err(Discard::Replayed),
                Err(Rejected::Forged) => {}
            }
        }
        match self.previous.as_mut().map(|previous| previous.0.open(packet, trailer)) {
            Some(Ok(()) | Err(Rejected::Replayed)) => Err(Discard::Stale),
            Some(Err(Rejected::Forged)) | None => Err(Discard::Forged),
        }
    }

    /// Forgets the replaced channel's key when nothing of it can come any more.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.previous = None;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.previous.as_ref().map(|previous| previous.1 + HISTORY_AGE)
    }
}

/// Checks the acknowledgement of a SYN: made with the candidate's key, or plain if that is what was agreed.
pub(super) fn check_syn_acknowledgement(
    packet: &Packet<'_>,
    opener: Option<&mut Opener>,
) -> Result<(), Discard> {
    match (opener, &packet.trailer) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Discard::Authenticated),
        (Some(_), None) => Err(Discard::Unauthenticated),
        (Some(opener), Some(trailer)) => opener.open(packet, trailer).map_err(|rejected| match rejected {
            Rejected::Forged => Discard::Forged,
            Rejected::Replayed => Discard::Replayed,
        }),
    }
}
