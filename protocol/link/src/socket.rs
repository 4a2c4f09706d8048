//! The AF_PACKET socket.
//!
//! # Why it is bound to every EtherType
//! A socket bound to one EtherType sees a tagged frame only by a detour: Linux offers the frame to it after the VLAN code
//! found no VLAN interface for it, has lost the tag by then (no TCI in the auxiliary data) and marks it as somebody
//! else's (pkttype OTHERHOST), even if it is addressed to us. Only ETH_P_ALL sees tag and frame as they came.
//! The filter in the kernel then keeps all foreign traffic away, at no cost to the daemon.
//! Because of that mark, and because adapters in promiscuous mode deliver anything, a frame is judged by its destination
//! address and never by its pkttype.
//!
//! # Order of the set-up
//! The socket is opened with protocol 0, which receives nothing. Filter and options are in place before it is bound,
//! so no frame can slip in before the filter.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use libc::{EMSGSIZE, PACKET_IGNORE_OUTGOING, SOL_PACKET};
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::adapter::{Adapter, ask_for_remarks, attach, opening_error, size_queue};
use crate::control::Remarks;
use crate::filter::Filter;
use crate::frame::{Header, Outgoing};
use crate::sys::{self, Lengths};
use crate::{Link, LinkConfig, LinkError, MacAddr, ReceiveBuffer, Received};

/// A [`Link`] on a real adapter.
///
/// It belongs to the network namespace it was opened in. The adapter's address is read once: after a change of it,
/// open a new one.
#[derive(Debug)]
pub struct PacketSocket {
    socket: AsyncFd<Socket>,
    adapter: Adapter,
    /// As last heard; the adapter's own is that of the opening.
    mtu: AtomicUsize,
    filter: Filter,
    drops: AtomicU64,
    /// Told to be down, and nothing since then says otherwise.
    down: AtomicBool,
}

impl PacketSocket {
    /// Opens the adapter. Needs CAP_NET_RAW and a running tokio runtime. The adapter may be down.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn open(config: &LinkConfig) -> Result<Self, LinkError> {
        config.check()?;
        let failed = |action| move |source| opening_error(action, &config.interface, source);
        let (socket, adapter) = Adapter::open(&config.interface)?;
        let filter = Filter { mac: adapter.mac, ethertype: config.ethertype, vlan: config.vlan };
        prepare(&socket, &filter, config.receive_buffer_bytes).map_err(failed("set up the raw socket"))?;
        adapter.bind(&socket)?;
        Ok(Self {
            socket: sys::register(socket).map_err(failed("wait for frames"))?,
            mtu: adapter.mtu.into(),
            adapter,
            filter,
            drops: 0.into(),
            down: false.into(),
        })
    }

    /// Waits until there is something to receive, a frame or an error. Then call [`receive`](Link::receive) until it
    /// returns `None`. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the runtime is shutting down.
    pub async fn readable(&self) -> Result<(), LinkError> {
        let ready = self.socket.ready(sys::INTEREST).await;
        ready.map_err(|source| self.error("wait for frames", source))?.retain_ready();
        Ok(())
    }

    /// Whether the adapter is still there. A removed adapter that was down before says nothing by itself, so a daemon
    /// that only listens asks from time to time.
    ///
    /// # Errors
    /// [`LinkError::InterfaceGone`] if it is not.
    pub fn check(&self) -> Result<(), LinkError> {
        self.adapter.check(self.socket.get_ref())
    }

    /// Frames the kernel dropped because the queue was full, since the socket was opened.
    pub fn drops(&self) -> u64 {
        // The kernel forgets its count when it is read. It refuses only what is no packet socket.
        let new = sys::take_drops(self.socket.get_ref()).unwrap_or_default().into();
        self.drops.fetch_add(new, Ordering::Relaxed) + new
    }

    /// Name of the adapter when the socket was opened.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.adapter.interface
    }

    /// Index of the adapter. A new adapter of the same name has another one.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.adapter.index
    }

    /// Receives, and tells the reactor what was found empty, so that it waits for the next event.
    fn try_receive(&self, buffer: &mut ReceiveBuffer) -> io::Result<Lengths> {
        let mut tried = false;
        // One at a time: the reactor clears nothing for two interests at once.
        for interest in [Interest::READABLE, Interest::ERROR] {
            let result = self.socket.try_io(interest, |socket| {
                tried = true;
                sys::receive(socket, &mut buffer.frame, &mut buffer.control)
            });
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
        if tried {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // The reactor has not told of a frame, but it may only not have looked yet. A daemon that was stopped
        // for a while must not take what waits for silence, so look.
        sys::receive(self.socket.get_ref(), &mut buffer.frame, &mut buffer.control)
    }

    fn no_frame(&self, error: io::Error) -> Result<(), LinkError> {
        if error.kind() == io::ErrorKind::WouldBlock {
            return if self.down.load(Ordering::Relaxed) { self.check() } else { Ok(()) };
        }
        let error = self.error("receive", error);
        self.down.store(matches!(error, LinkError::InterfaceDown { .. }), Ordering::Relaxed);
        Err(error)
    }

    fn error(&self, action: &'static str, error: io::Error) -> LinkError {
        self.adapter.error(self.socket.get_ref(), action, error)
    }

    /// The kernel refused a length that the MTU of the opening allows: the MTU has changed.
    fn too_long(&self, length: usize) -> LinkError {
        match sys::interface_mtu(self.socket.get_ref(), &self.adapter.interface) {
            Ok(mtu) => {
                self.mtu.store(mtu, Ordering::Relaxed);
                LinkError::TooLong { length, mtu }
            }
            Err(source) => self.error("look up the MTU", source),
        }
    }
}

impl Link for PacketSocket {
    fn mac(&self) -> MacAddr {
        self.filter.mac
    }

    fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    fn send(&self, destination: MacAddr, vlan: Option<u16>, payload: &[u8]) -> Result<(), LinkError> {
        if payload.len() > self.mtu() {
            return Err(LinkError::TooLong { length: payload.len(), mtu: self.mtu() });
        }
        let header = Header { destination, source: self.filter.mac, ethertype: self.filter.ethertype };
        let header = Outgoing::new(header, vlan.or(self.filter.vlan));
        let parts = [header.bytes(), payload, header.padding(payload.len())].map(IoSlice::new);
        match self.socket.get_ref().send_vectored(&parts) {
            Ok(_) => {
                self.down.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(EMSGSIZE) => Err(self.too_long(payload.len())),
            Err(error) => Err(self.error("send", error)),
        }
    }

    fn receive<'a>(&self, buffer: &'a mut ReceiveBuffer) -> Result<Option<Received<'a>>, LinkError> {
        // Ends: each turn takes a frame off the queue, and the filter lets hardly any through that is not ours.
        let (length, header, remarks) = loop {
            let lengths = match self.try_receive(buffer) {
                Ok(lengths) => lengths,
                Err(error) => return self.no_frame(error).map(|()| None),
            };
            let remarks = Remarks::decode(buffer.control.get(..lengths.control).unwrap_or_default());
            match buffer.header(lengths.frame) {
                Some(header) if self.filter.accepts(&header, remarks.tag) => {
                    break (lengths.frame, header, remarks);
                }
                Some(_) | None => {}
            }
        };
        self.down.store(false, Ordering::Relaxed);
        Ok(Some(Received {
            source: header.source,
            destination: header.destination,
            vlan: remarks.tag.map(|tag| tag.tci),
            stamp: remarks.stamp,
            payload: buffer.payload(length),
        }))
    }
}

fn prepare(socket: &Socket, filter: &Filter, receive_buffer_bytes: usize) -> io::Result<()> {
    sys::set_option(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    ask_for_remarks(socket)?;
    attach(socket, &filter.program())?;
    size_queue(socket, receive_buffer_bytes)
}
