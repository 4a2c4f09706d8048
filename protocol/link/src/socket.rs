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

mod receive;

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use libc::{EMSGSIZE, PACKET_IGNORE_OUTGOING, SOL_PACKET};
use socket2::Socket;
use tokio::io::unix::AsyncFd;

use crate::adapter::{Adapter, ask_for_remarks, attach, opening_error};
use crate::filter::Filter;
use crate::frame::{Header, Outgoing};
use crate::sys;
use receive::Source;

pub(crate) use receive::look;

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
    source: Source,
    drops: AtomicU64,
    freezes: AtomicU64,
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
        prepare(&socket, &filter).map_err(failed("set up the raw socket"))?;
        let source =
            Source::prepare(&socket, config, adapter.mtu).map_err(failed("make the receive queue"))?;
        adapter.bind(&socket)?;
        Ok(Self {
            socket: sys::register(socket).map_err(failed("wait for frames"))?,
            mtu: adapter.mtu.into(),
            adapter,
            filter,
            source,
            drops: 0.into(),
            freezes: 0.into(),
            down: false.into(),
        })
    }

    /// Waits until there is something to receive, a frame or an error. Then call [`receive`](Link::receive) until it
    /// returns `None`, or [`receive_batch`](Self::receive_batch). Cancel-safe.
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

    /// Whether the adapter itself is set up. A macvlan is while what it stands on is down, although sending by it may say
    /// [`LinkError::InterfaceDown`] then.
    ///
    /// # Errors
    /// [`LinkError::Io`] if there is none of its name.
    pub fn is_up(&self) -> Result<bool, LinkError> {
        self.adapter.is_up(self.socket.get_ref())
    }

    /// Frames the kernel dropped because the queue was full, since the socket was opened. With a ring also those it
    /// cut: frames larger than any that the adapter's MTU allowed when the link was opened.
    pub fn drops(&self) -> u64 {
        self.count_losses();
        self.drops.load(Ordering::Relaxed)
    }

    /// Times the ring was full, since the socket was opened; none without a ring.
    pub fn freezes(&self) -> u64 {
        self.count_losses();
        self.freezes.load(Ordering::Relaxed)
    }

    /// The kernel forgets its counts when they are read. It refuses only what is no packet socket.
    fn count_losses(&self) {
        let new = sys::take_losses(self.socket.get_ref()).unwrap_or_default();
        self.drops.fetch_add(new.drops.into(), Ordering::Relaxed);
        self.freezes.fetch_add(new.freezes.into(), Ordering::Relaxed);
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
        let Some((length, remarks)) = self.receive_into(buffer)? else { return Ok(None) };
        Ok(Received::accept(&self.filter, buffer.frame.get(..length).unwrap_or_default(), remarks))
    }
}

fn prepare(socket: &Socket, filter: &Filter) -> io::Result<()> {
    sys::set_option(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    ask_for_remarks(socket)?;
    attach(socket, &filter.program())
}
