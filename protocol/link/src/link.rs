//! The seam between a driver and an adapter.

use std::time::Duration;

use crate::control::Remarks;
use crate::filter::Filter;
use crate::frame::{HEADER_BYTES, Header, LARGEST_HEADER_BYTES};
use crate::sys::Lengths;
use crate::{LinkError, MacAddr};

/// The largest frame Linux can carry: MTU 65535 and a tagged header.
pub(crate) const BUFFER_BYTES: usize = 65_535 + LARGEST_HEADER_BYTES;
/// Room for the kernel's remarks on a frame: 36 bytes for the tag and 32 for the stamp, and some to spare.
pub(crate) const CONTROL_BYTES: usize = 128;

/// An adapter that carries the frames of one EtherType.
pub trait Link {
    /// The adapter's address when the link was opened.
    fn mac(&self) -> MacAddr;

    /// The largest payload of one frame.
    fn mtu(&self) -> usize;

    /// Sends one frame. `vlan` is a whole TCI (priority and VLAN id); answer with the one that was received. [C-4]
    ///
    /// Without one the frame goes untagged, or with the configured VLAN id if there is one. Never blocks.
    ///
    /// # Errors
    /// See [`LinkError`]. The frame is lost then.
    fn send(&self, destination: MacAddr, vlan: Option<u16>, payload: &[u8]) -> Result<(), LinkError>;

    /// The next frame that waits, or `None` if none waits now. Never blocks.
    ///
    /// # Errors
    /// See [`LinkError`]. Frames that wait behind the error are not lost.
    fn receive<'a>(&self, buffer: &'a mut ReceiveBuffer) -> Result<Option<Received<'a>>, LinkError>;
}

/// One received frame, in the buffer it was received into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it.
    pub source: MacAddr,
    /// Our own address or the broadcast address.
    pub destination: MacAddr,
    /// The TCI of its 802.1Q tag, if it had one.
    pub vlan: Option<u16>,
    /// When the kernel received it, on the wall clock, since the Unix epoch.
    pub stamp: Option<Duration>,
    /// What follows the EtherType, padding included.
    pub payload: &'a [u8],
}

/// What a link was left with after [`receive_batch`](crate::PacketSocket::receive_batch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: all frames were handed over that came more than [`reading_lag`](crate::PacketSocket::reading_lag) ago.
    Nothing,
    /// The limit was reached: more frames may wait.
    More,
}

/// Room for one frame, used again for each.
#[derive(Debug)]
pub struct ReceiveBuffer {
    pub(crate) frame: Box<[u8]>,
    pub(crate) control: [u8; CONTROL_BYTES],
}

impl ReceiveBuffer {
    /// A buffer for frames of any size.
    #[must_use]
    pub fn new() -> Self {
        Self { frame: vec![0; BUFFER_BYTES].into(), control: [0; CONTROL_BYTES] }
    }

    /// Puts `payload` in place of a received one, for links that are not sockets. Cut at the largest frame.
    pub fn fill(&mut self, payload: &[u8]) -> &[u8] {
        let length = payload.len().min(BUFFER_BYTES - HEADER_BYTES);
        for (to, from) in self.frame.iter_mut().skip(HEADER_BYTES).zip(payload) {
            *to = *from;
        }
        self.payload(HEADER_BYTES + length)
    }

    /// The kernel's remarks on the frame that the buffer holds.
    pub(crate) fn remarks(&self, lengths: Lengths) -> Remarks {
        Remarks::decode(self.control.get(..lengths.control).unwrap_or_default())
    }

    /// Puts a whole frame in place of a received one. Returns its length.
    pub(crate) fn hold(&mut self, frame: &[u8]) -> usize {
        let length = frame.len().min(BUFFER_BYTES);
        self.frame.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
        length
    }

    fn payload(&self, length: usize) -> &[u8] {
        self.frame.get(HEADER_BYTES..length).unwrap_or_default()
    }
}

impl<'a> Received<'a> {
    /// A frame and the kernel's remarks on it, if it is ours.
    pub(crate) fn accept(filter: &Filter, frame: &'a [u8], remarks: Remarks) -> Option<Self> {
        let header = Header::decode(frame)?;
        filter.accepts(&header, remarks.tag).then_some(Self {
            source: header.source,
            destination: header.destination,
            vlan: remarks.tag.map(|tag| tag.tci),
            stamp: remarks.stamp,
            payload: frame.get(HEADER_BYTES..).unwrap_or_default(),
        })
    }
}

impl Default for ReceiveBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_buffer_holds_what_was_put_in() {
        let mut buffer = ReceiveBuffer::new();
        assert_eq!(buffer.fill(b"longer"), b"longer");
        assert_eq!(buffer.fill(b"short"), b"short");
        assert_eq!(buffer.fill(&vec![7; 100_000]).len(), 65_539);
    }
}
