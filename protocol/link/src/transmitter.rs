//! Sending only: for a guardian, which has nothing to receive and must not wait, allocate or start a runtime.

use std::io::{self, IoSlice};

use libc::ETH_P_ALL;
use socket2::{Domain, Socket, Type};

use crate::frame::{Header, Outgoing};
use crate::{MacAddr, sys};

/// Whom a frame goes to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Index of the adapter.
    pub adapter: u32,
    /// The adapter's address.
    pub source: MacAddr,
    /// To whom.
    pub destination: MacAddr,
    /// TCI of its tag, if it is to have one.
    pub vlan: Option<u16>,
    /// EtherType.
    pub ethertype: u16,
}

/// Sends frames on any adapter of the network namespace it was opened in.
#[derive(Debug)]
pub struct Transmitter {
    socket: Socket,
}

impl Transmitter {
    /// Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        // Protocol 0 receives nothing.
        Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None).map(|socket| Self { socket })
    }

    /// Sends one frame. Never blocks, never allocates.
    ///
    /// # Errors
    /// What the kernel says: the adapter is gone, or down, or takes nothing more. The frame is lost then.
    pub fn send(&self, to: &Destination, payload: &[u8]) -> io::Result<()> {
        let header = Header { destination: to.destination, source: to.source, ethertype: to.ethertype };
        let header = Outgoing::new(header, to.vlan);
        let parts = [header.bytes(), payload, header.padding(payload.len())].map(IoSlice::new);
        let address = sys::link_address(to.adapter, ETH_P_ALL as u16)?;
        self.socket.send_to_vectored(&parts, &address).map(drop)
    }
}
