//! What every kind of packet socket needs: its adapter found, its queue sized, its errors understood.

use std::io;

use libc::{
    EACCES, EAGAIN, ENETDOWN, ENOBUFS, ENODEV, ENOMEM, ENXIO, EPERM, ETH_P_ALL, PACKET_AUXDATA,
    SO_RCVBUFFORCE, SO_TIMESTAMPNS, SOL_PACKET, SOL_SOCKET,
};
use socket2::{Domain, SockFilter, Socket, Type};

use crate::filter::Instruction;
use crate::{LinkError, MacAddr, sys};

/// One adapter, as it was when it was looked up.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub(crate) interface: String,
    pub(crate) index: u32,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: usize,
}

impl Adapter {
    /// A raw socket that receives nothing yet, and the adapter it is for.
    pub(crate) fn open(interface: &str) -> Result<(Socket, Self), LinkError> {
        let failed = |action| move |source| opening_error(action, interface, source);
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)
            .map_err(failed("open a raw socket"))?;
        let look_up = "look up the adapter";
        let index = sys::interface_index(&socket, interface).map_err(failed(look_up))?;
        let mtu = sys::interface_mtu(&socket, interface).map_err(failed(look_up))?;
        let mac = sys::ethernet_address(&socket, interface).map_err(failed(look_up))?;
        let mac = mac.ok_or_else(|| LinkError::NotEthernet { interface: interface.to_owned() })?;
        Ok((socket, Self { interface: interface.to_owned(), index, mac, mtu }))
    }

    /// From now on the socket receives what its filter lets through.
    pub(crate) fn bind(&self, socket: &Socket) -> Result<(), LinkError> {
        let bound = sys::link_address(self.index, ETH_P_ALL as u16).and_then(|address| socket.bind(&address));
        bound.map_err(|source| opening_error("bind", &self.interface, source))
    }

    /// Whether the adapter is still there.
    pub(crate) fn check(&self, socket: &Socket) -> Result<(), LinkError> {
        match sys::interface_exists(socket, self.index) {
            Ok(true) => Ok(()),
            Ok(false) => Err(LinkError::InterfaceGone { interface: self.interface.clone() }),
            Err(source) => Err(self.other("look up the adapter", source)),
        }
    }

    /// Whether it is set up. One that stands on another may be and have no way out: sending by it can say "down" then, too.
    pub(crate) fn is_up(&self, socket: &Socket) -> Result<bool, LinkError> {
        sys::interface_is_up(socket, &self.interface)
            .map_err(|source| self.other("ask for the state of the adapter", source))
    }

    /// What an error of the kernel means. It says "down" for "gone" and the other way round, so that is looked up.
    pub(crate) fn error(&self, socket: &Socket, action: &'static str, error: io::Error) -> LinkError {
        let interface = self.interface.clone();
        match error.raw_os_error() {
            Some(ENETDOWN | ENXIO | ENODEV) => match self.check(socket) {
                Ok(()) => LinkError::InterfaceDown { interface },
                Err(error) => error,
            },
            Some(EAGAIN) => LinkError::WouldBlock { interface },
            Some(ENOBUFS | ENOMEM) => LinkError::NoBuffers { interface },
            Some(EPERM | EACCES) => LinkError::NoPermission { interface },
            Some(_) | None => self.other(action, error),
        }
    }

    pub(crate) fn other(&self, action: &'static str, source: io::Error) -> LinkError {
        LinkError::Io { action, interface: self.interface.clone(), source }
    }
}

/// Asks for the tag and the time of each frame.
pub(crate) fn ask_for_remarks(socket: &Socket) -> io::Result<()> {
    sys::set_option(socket, SOL_PACKET, PACKET_AUXDATA, 1)?;
    sys::set_option(socket, SOL_SOCKET, SO_TIMESTAMPNS, 1)
}

pub(crate) fn attach(socket: &Socket, program: &[Instruction]) -> io::Result<()> {
    let kernel_form =
        |step: &Instruction| SockFilter::new(step.code, step.jump_true, step.jump_false, step.operand);
    socket.attach_filter(&program.iter().map(kernel_form).collect::<Vec<_>>())
}

pub(crate) fn size_queue(socket: &Socket, bytes: usize) -> io::Result<()> {
    let size = i32::try_from(bytes).unwrap_or(i32::MAX);
    if sys::set_option(socket, SOL_SOCKET, SO_RCVBUFFORCE, size).is_ok() {
        return Ok(());
    }
    // Beyond the system's limit only CAP_NET_ADMIN helps; within it, this does.
    socket.set_recv_buffer_size(bytes)?;
    // The kernel doubles what is asked, for its own book-keeping.
    let given = socket.recv_buffer_size()? / 2;
    if given < bytes {
        tracing::debug!(given, wanted = bytes, "small receive queue; net.core.rmem_max limits it");
    }
    Ok(())
}

/// What an error means before there is a link.
pub(crate) fn opening_error(action: &'static str, interface: &str, source: io::Error) -> LinkError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(EPERM | EACCES) => LinkError::NoPermission { interface },
        Some(ENODEV | ENXIO) => LinkError::NoSuchInterface { interface },
        Some(_) | None => LinkError::Io { action, interface, source },
    }
}
