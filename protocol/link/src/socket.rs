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

use libc::{
    EACCES, EAGAIN, EMSGSIZE, ENETDOWN, ENOBUFS, ENODEV, ENOMEM, ENXIO, EPERM, ETH_P_ALL, PACKET_AUXDATA,
    PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE, SO_TIMESTAMPNS, SOL_PACKET, SOL_SOCKET,
};
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::control::Remarks;
use crate::filter::{Filter, Instruction};
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
    interface: String,
    index: u32,
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
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)
            .map_err(failed("open a raw socket"))?;
        let look_up = "look up the adapter";
        let index = sys::interface_index(&socket, &config.interface).map_err(failed(look_up))?;
        let mtu = sys::interface_mtu(&socket, &config.interface).map_err(failed(look_up))?;
        let mac = sys::ethernet_address(&socket, &config.interface).map_err(failed(look_up))?;
        let mac = mac.ok_or_else(|| LinkError::NotEthernet { interface: config.interface.clone() })?;
        let filter = Filter { mac, ethertype: config.ethertype, vlan: config.vlan };
        prepare(&socket, &filter, config.receive_buffer_bytes).map_err(failed("set up the raw socket"))?;
        let address = sys::link_address(index, ETH_P_ALL as u16).map_err(failed("bind"))?;
        socket.bind(&address).map_err(failed("bind"))?;
        Ok(Self {
            socket: sys::register(socket).map_err(failed("wait for frames"))?,
            interface: config.interface.clone(),
            index,
            mtu: mtu.into(),
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
        match sys::interface_exists(self.socket.get_ref(), self.index) {
            Ok(true) => Ok(()),
            Ok(false) => Err(LinkError::InterfaceGone { interface: self.interface.clone() }),
            Err(source) => Err(self.other("look up the adapter", source)),
        }
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
        &self.interface
    }

    /// Index of the adapter. A new adapter of the same name has another one.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
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

    /// What an error of the kernel means. It says "down" for "gone" and the other way round, so that is looked up.
    fn error(&self, action: &'static str, error: io::Error) -> LinkError {
        let interface = self.interface.clone();
        match error.raw_os_error() {
            Some(ENETDOWN | ENXIO | ENODEV) => match self.check() {
                Ok(()) => LinkError::InterfaceDown { interface },
                Err(error) => error,
            },
            Some(EAGAIN) => LinkError::WouldBlock { interface },
            Some(ENOBUFS | ENOMEM) => LinkError::NoBuffers { interface },
            Some(EPERM | EACCES) => LinkError::NoPermission { interface },
            Some(_) | None => self.other(action, error),
        }
    }

    fn other(&self, action: &'static str, source: io::Error) -> LinkError {
        LinkError::Io { action, interface: self.interface.clone(), source }
    }

    /// The kernel refused a length that the MTU of the opening allows: the MTU has changed.
    fn too_long(&self, length: usize) -> LinkError {
        match sys::interface_mtu(self.socket.get_ref(), &self.interface) {
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
    sys::set_option(socket, SOL_PACKET, PACKET_AUXDATA, 1)?;
    sys::set_option(socket, SOL_SOCKET, SO_TIMESTAMPNS, 1)?;
    let program: Vec<SockFilter> = filter.program().iter().map(kernel_form).collect();
    socket.attach_filter(&program)?;
    let size = i32::try_from(receive_buffer_bytes).unwrap_or(i32::MAX);
    if sys::set_option(socket, SOL_SOCKET, SO_RCVBUFFORCE, size).is_ok() {
        return Ok(());
    }
    // Beyond the system's limit only CAP_NET_ADMIN helps; within it, this does.
    socket.set_recv_buffer_size(receive_buffer_bytes)?;
    // The kernel doubles what is asked, for its own book-keeping.
    let given = socket.recv_buffer_size()? / 2;
    if given < receive_buffer_bytes {
        tracing::debug!(
            given,
            wanted = receive_buffer_bytes,
            "small receive queue; net.core.rmem_max limits it"
        );
    }
    Ok(())
}

fn kernel_form(instruction: &Instruction) -> SockFilter {
    SockFilter::new(instruction.code, instruction.jump_true, instruction.jump_false, instruction.operand)
}

fn opening_error(action: &'static str, interface: &str, source: io::Error) -> LinkError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(EPERM | EACCES) => LinkError::NoPermission { interface },
        Some(ENODEV | ENXIO) => LinkError::NoSuchInterface { interface },
        Some(_) | None => LinkError::Io { action, interface, source },
    }
}
