//! What passes on an adapter, both ways, for a person who wants to see it.
//!
//! A socket of its own beside the daemon's: it takes nothing from it, and is taken nothing from. It needs no runtime:
//! a command waits in [`CaptureSocket::next`].
//!
//! The kernel shows an outgoing frame on its way to the adapter, so one that is seen here may still be lost there.
//! A frame sent past the adapter's queue (PACKET_QDISC_BYPASS) is not shown at all; the daemons send none that way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::adapter::{Adapter, ask_for_remarks, attach, opening_error, size_queue};
use crate::config::check_ethertype;
use crate::control::Remarks;
use crate::filter::CaptureFilter;
use crate::frame::{Header, TPID, Tag};
use crate::{DEFAULT_ETHERTYPE, DEFAULT_RECEIVE_BUFFER_BYTES, LinkError, MacAddr, ReceiveBuffer, sys};

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Name of the adapter.
    pub interface: String,
    /// EtherType of the frames, behind a VLAN tag or without one.
    pub ethertype: u16,
    /// Only frames from or to this address, or to all (a handshake starts with the monitor's Hello to all).
    pub peer: Option<MacAddr>,
    /// Size of the kernel's receive queue. Without CAP_NET_ADMIN the kernel may give less (net.core.rmem_max).
    pub receive_buffer_bytes: usize,
}

impl CaptureConfig {
    /// All of the protocol's frames on `interface`.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            ethertype: DEFAULT_ETHERTYPE,
            peer: None,
            receive_buffer_bytes: DEFAULT_RECEIVE_BUFFER_BYTES,
        }
    }
}

/// Which way a frame went, seen from this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In through the adapter.
    Received,
    /// Out through the adapter.
    Sent,
}

/// One frame as it was on the wire, in the buffer it was received into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When the kernel saw it, on the wall clock, since the Unix epoch; zero if that clock is set before it.
    pub stamp: Duration,
    /// Which way it went.
    pub direction: Direction,
    /// Whom it was sent to.
    pub destination: MacAddr,
    /// Who sent it.
    pub source: MacAddr,
    /// Its outer VLAN tag.
    pub tag: Option<Tag>,
    /// What follows the tag: the configured EtherType, or 0x8100 before a second tag.
    pub ethertype: u16,
    /// All that follows the EtherType, padding included. A sent frame may be shorter than the shortest on the wire: the
    /// adapter pads it.
    pub payload: &'a [u8],
}

/// A socket that sees one EtherType on an adapter in both directions.
#[derive(Debug)]
pub struct CaptureSocket {
    socket: socket2::Socket,
    adapter: Adapter,
    drops: AtomicU64,
}

impl CaptureSocket {
    /// Starts to capture: what passes from now on waits in the kernel's queue. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn open(config: &CaptureConfig) -> Result<Self, LinkError> {
        check_ethertype(config.ethertype)?;
        let (socket, adapter) = Adapter::open(&config.interface)?;
        let filter = CaptureFilter { ethertype: config.ethertype, peer: config.peer };
        ask_for_remarks(&socket)
            .and_then(|()| attach(&socket, &filter.program()))
            .and_then(|()| size_queue(&socket, config.receive_buffer_bytes))
            .map_err(|source| opening_error("set up the raw socket", &config.interface, source))?;
        adapter.bind(&socket)?;
        Ok(Self { socket, adapter, drops: 0.into() })
    }

    /// The next frame, waited for at most `patience` (zero: looks, and returns at once). `None` if there was none, or a
    /// signal came: time for the caller to look whether it shall end.
    ///
    /// # Errors
    /// [`LinkError::InterfaceDown`] once when the adapter goes down: call again, it goes on once the adapter is up.
    /// [`LinkError::InterfaceGone`] if it is removed while it is up; see [`check`](Self::check). Others of the kernel.
    pub fn next<'a>(
        &self,
        buffer: &'a mut ReceiveBuffer,
        patience: Duration,
    ) -> Result<Option<Captured<'a>>, LinkError> {
        let failed = |error| self.adapter.error(&self.socket, "capture", error);
        match sys::wait_readable(&self.socket, patience) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        match sys::receive_either_way(&self.socket, &mut buffer.frame, &mut buffer.control) {
            Ok((lengths, outgoing)) => {
                let remarks = Remarks::decode(buffer.control.get(..lengths.control).unwrap_or_default());
                let direction = if outgoing { Direction::Sent } else { Direction::Received };
                Ok(captured(buffer.frame.get(..lengths.frame).unwrap_or_default(), remarks, direction))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Frames that are missing in the capture because the queue was full, since it was opened.
    pub fn drops(&self) -> u64 {
        // The kernel forgets its count when it is read. It refuses only what is no packet socket.
        let new = sys::take_drops(&self.socket).unwrap_or_default().into();
        self.drops.fetch_add(new, Ordering::Relaxed) + new
    }

    /// Whether the adapter is still there. One that is removed while it is down says nothing by itself.
    ///
    /// # Errors
    /// [`LinkError::InterfaceGone`] if it is not.
    pub fn check(&self) -> Result<(), LinkError> {
        self.adapter.check(&self.socket)
    }

    /// The adapter's address when the capture was started.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.adapter.mac
    }
}

/// `None` if it is no whole frame, which the filter lets none through of.
fn captured(frame: &[u8], remarks: Remarks, direction: Direction) -> Option<Captured<'_>> {
    let header = Header::decode(frame)?;
    let payload = frame.get(crate::frame::HEADER_BYTES..)?;
    let frame = Captured {
        stamp: remarks.stamp.unwrap_or_default(),
        direction,
        destination: header.destination,
        source: header.source,
        tag: remarks.tag,
        ethertype: header.ethertype,
        payload,
    };
    // A sent frame still has its tag inside.
    if remarks.tag.is_some() || header.ethertype != TPID {
        return Some(frame);
    }
    let (tci, rest) = payload.split_first_chunk()?;
    let (ethertype, payload) = rest.split_first_chunk()?;
    let tag = Some(Tag { tpid: TPID, tci: u16::from_be_bytes(*tci) });
    Some(Captured { tag, ethertype: u16::from_be_bytes(*ethertype), payload, ..frame })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    fn seen(rest: &[u8], tag: Option<Tag>) -> Option<(Option<Tag>, u16, Vec<u8>)> {
        let frame = [&ADDRESSES[..], rest].concat();
        let frame = captured(&frame, Remarks { tag, stamp: None }, Direction::Sent)?;
        Some((frame.tag, frame.ethertype, frame.payload.to_vec()))
    }

    #[test]
    fn a_tag_is_the_same_inside_the_frame_and_beside_it() {
        let tag = Some(Tag { tpid: TPID, tci: 0xA064 });
        let expected = Some((tag, 0x88B5, b"payload".to_vec()));
        assert_eq!(seen(b"\x88\xB5payload", tag), expected);
        assert_eq!(seen(b"\x81\x00\xA0\x64\x88\xB5payload", None), expected);
        assert_eq!(seen(b"\x88\xB5payload", None), Some((None, 0x88B5, b"payload".to_vec())));
        let second = b"\x81\x00\x00\x05\x88\xB5";
        assert_eq!(
            seen(second, tag),
            Some((tag, TPID, second[2..].to_vec())),
            "the inner one is left as it is"
        );
    }

    #[test]
    fn a_cut_frame_is_none() {
        for length in 0..6 {
            assert_eq!(seen(&b"\x81\x00\xA0\x64\x88\xB5"[..length], None), None, "{length}");
        }
    }
}
