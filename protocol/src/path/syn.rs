//! Sending a SYN until it is acknowledged; the same at both ends.

use alloc::vec::Vec;

use super::outputs::Outputs;
use super::{SENDINGS_MAXIMUM, retransmission_timeout};
use crate::auth::Sealer;
use crate::time::Instant;
use crate::wire::{Flags, Packet, Version};

/// Hello and SYN packets carry the major version and minor 0: the running version is not agreed yet. [P-6]
pub(super) const SYN_VERSION: Version = Version::V2_0;

#[derive(Clone, Debug)]
pub(super) struct OutgoingSyn {
    packet: Vec<u8>,
    number: u8,
    sendings: u8,
    deadline: Option<Instant>,
}

impl OutgoingSyn {
    /// Sends it for the first time. `direction`: BEG from the VMM, END from the HM.
    pub(super) fn send(
        now: Instant,
        number: u8,
        direction: Flags,
        payload: &[u8],
        out: &mut Outputs,
    ) -> Self {
        let flags = Flags::SYN | Flags::ACKR | direction;
        let packet = Packet::plain(SYN_VERSION, number, flags, payload).encode();
        out.transmit(packet.clone());
        Self { packet, number, sendings: 1, deadline: Some(now + retransmission_timeout(1)) }
    }

    pub(super) const fn number(&self) -> u8 {
        self.number
    }

    /// Takes an acknowledgement; false if it is of another SYN.
    #[must_use]
    pub(super) fn on_acknowledged(&mut self, number: u8) -> bool {
        let ours = number == self.number;
        if ours {
            self.deadline = None;
        }
        ours
    }

    pub(super) const fn is_acknowledged(&self) -> bool {
        self.deadline.is_none()
    }

    /// Sends it again if that is due; false when it was sent as often as it may. [S-1]
    #[must_use]
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outputs) -> bool {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return true;
        }
        if self.sendings >= SENDINGS_MAXIMUM {
            return false;
        }
        self.sendings = self.sendings.saturating_add(1);
        self.deadline = Some(now + retransmission_timeout(self.sendings));
        out.transmit(self.packet.clone());
        true
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Acknowledges a peer's SYN; authenticated as all that follows, if that is agreed.
pub(super) fn acknowledge_syn(number: u8, sealer: Option<&mut Sealer>, out: &mut Outputs) {
    let packet = acknowledgement(number);
    out.acknowledge(match sealer {
        Some(sealer) => sealer.seal(&packet),
        None => packet.encode(),
    });
}

pub(super) const fn acknowledgement(number: u8) -> Packet<'static> {
    Packet::plain(SYN_VERSION, number, Flags::SYN.with(Flags::ACK), b"")
}
