//! Whole frames of any kind, as a relay takes and gives them: nothing is looked at, added or taken away.
//!
//! * [`FramePort`]: an adapter; what it takes in, and what goes out by it;
//! * [`Tap`]: a device of this process's own, to which the kernel can be told to send what it would send elsewhere.
//!
//! A VLAN tag that the kernel took off a received frame is put back, so a frame is always as it was on the wire.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{EMSGSIZE, PACKET_IGNORE_OUTGOING, SOL_PACKET};
use socket2::{Domain, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::adapter::{Adapter, ask_for_remarks, opening_error, size_queue};
use crate::control::Remarks;
use crate::frame::{HEADER_BYTES, Tag};
use crate::link::{BUFFER_BYTES, CONTROL_BYTES};
use crate::socket::look;
use crate::{DEFAULT_RECEIVE_BUFFER_BYTES, LinkError, MacAddr, sys};

/// Where the kernel makes tap devices.
const TUN: &str = "/dev/net/tun";
/// The two addresses that stand before a tag.
const ADDRESS_BYTES: usize = 12;
/// Bytes of a tag.
const TAG_BYTES: usize = 4;

/// Room for one frame of any size, used again for each.
#[derive(Debug)]
pub struct FrameBuffer {
    frame: Box<[u8]>,
    control: [u8; CONTROL_BYTES],
}

impl FrameBuffer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { frame: vec![0; TAG_BYTES + BUFFER_BYTES].into(), control: [0; CONTROL_BYTES] }
    }

    /// The frame of `length` bytes that stands behind the room for a tag, with its tag.
    fn whole(&mut self, length: usize, tag: Option<Tag>) -> &[u8] {
        let end = TAG_BYTES + length;
        let Some(tag) = tag.filter(|_| length >= HEADER_BYTES) else {
            return self.frame.get(TAG_BYTES..end).unwrap_or_default();
        };
        self.frame.copy_within(TAG_BYTES..TAG_BYTES + ADDRESS_BYTES, 0);
        let bytes = [tag.tpid.to_be_bytes(), tag.tci.to_be_bytes()];
        let room = self.frame.iter_mut().skip(ADDRESS_BYTES);
        room.zip(bytes.as_flattened()).for_each(|(to, from)| *to = *from);
        self.frame.get(..end).unwrap_or_default()
    }
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// An adapter by which whole frames come and go. Needs CAP_NET_RAW.
///
/// It belongs to the network namespace of the thread that opened it; any thread may use it then.
#[derive(Debug)]
pub struct FramePort {
    socket: AsyncFd<Socket>,
    adapter: Adapter,
    drops: AtomicU64,
}

impl FramePort {
    /// A port that takes in all that arrives at the adapter, whomever it is addressed to, and none of what leaves by it.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn open(interface: &str) -> Result<Self, LinkError> {
        let (socket, adapter) = Adapter::open(interface)?;
        sys::set_option(&socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            .and_then(|()| ask_for_remarks(&socket))
            .and_then(|()| size_queue(&socket, DEFAULT_RECEIVE_BUFFER_BYTES))
            .and_then(|()| sys::tap::listen_to_all(&socket, adapter.index))
            .map_err(|source| opening_error("set up the raw socket", interface, source))?;
        adapter.bind(&socket)?;
        Self::ready(socket, adapter)
    }

    /// A port that only sends. Its frames bear `mark` within the kernel (SO_MARK), by which a rule of nftables can tell them
    /// from all others; with a mark it needs CAP_NET_ADMIN, too.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn sender(interface: &str, mark: Option<u32>) -> Result<Self, LinkError> {
        let (socket, adapter) = Adapter::open(interface)?;
        let failed = |source| opening_error("set up the raw socket", interface, source);
        mark.map_or(Ok(()), |mark| socket.set_mark(mark)).map_err(failed)?;
        // Protocol 0: it receives nothing.
        sys::link_address(adapter.index, 0).and_then(|address| socket.bind(&address)).map_err(failed)?;
        Self::ready(socket, adapter)
    }

    fn ready(socket: Socket, adapter: Adapter) -> Result<Self, LinkError> {
        let socket = sys::register(socket)
            .map_err(|source| opening_error("wait for frames", &adapter.interface, source))?;
        Ok(Self { socket, adapter, drops: 0.into() })
    }

    /// Waits until there is something to receive, a frame or an error. Then call [`receive`](Self::receive) until it
    /// returns `None`. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the runtime is shutting down.
    pub async fn readable(&self) -> Result<(), LinkError> {
        let ready = self.socket.ready(sys::INTEREST).await;
        ready.map_err(|source| self.error("wait for frames", source))?.retain_ready();
        Ok(())
    }

    /// The next frame that waits, with its tag; `None` if none waits now.
    ///
    /// # Errors
    /// See [`LinkError`]: [`LinkError::InterfaceDown`] once when the adapter goes down, [`LinkError::InterfaceGone`] if it is
    /// removed.
    pub fn receive<'a>(&self, buffer: &'a mut FrameBuffer) -> Result<Option<&'a [u8]>, LinkError> {
        let room = buffer.frame.get_mut(TAG_BYTES..).unwrap_or_default();
        let taken =
            look(&self.socket, |socket| Ok((sys::receive(socket, room, &mut buffer.control)?, false)));
        match taken {
            Ok(lengths) => {
                let remarks = Remarks::decode(buffer.control.get(..lengths.control).unwrap_or_default());
                Ok(Some(buffer.whole(lengths.frame, remarks.tag)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(self.error("receive", error)),
        }
    }

    /// Sends one whole frame, exactly as it is. Never blocks.
    ///
    /// # Errors
    /// See [`LinkError`]. The frame is lost then.
    pub fn send(&self, frame: &[u8]) -> Result<(), LinkError> {
        match self.socket.get_ref().send(frame) {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(EMSGSIZE) => Err(LinkError::TooLong {
                length: frame.len().saturating_sub(HEADER_BYTES),
                mtu: sys::interface_mtu(self.socket.get_ref(), &self.adapter.interface)
                    .unwrap_or(self.adapter.mtu),
            }),
            Err(error) => Err(self.error("send", error)),
        }
    }

    /// Frames the kernel dropped because the queue was full, since the port was opened.
    pub fn drops(&self) -> u64 {
        // The kernel forgets its count when it is read. It refuses only what is no packet socket.
        let new = sys::take_losses(self.socket.get_ref()).unwrap_or_default().drops.into();
        self.drops.fetch_add(new, Ordering::Relaxed) + new
    }

    /// Whether the adapter is still there.
    ///
    /// # Errors
    /// [`LinkError::InterfaceGone`] if it is not.
    pub fn check(&self) -> Result<(), LinkError> {
        self.adapter.check(self.socket.get_ref())
    }

    fn error(&self, action: &'static str, error: io::Error) -> LinkError {
        self.adapter.error(self.socket.get_ref(), action, error)
    }
}

/// A tap device: what the kernel sends out by it is read here, tags included, segments and checksums finished.
///
/// It is there as long as this value and no longer, however the process ends. It is made down, with an address of the
/// kernel's choice; what the kernel itself would say from that address (IPv6) is left out and counted.
#[derive(Debug)]
pub struct Tap {
    tun: AsyncFd<File>,
    interface: String,
    mac: MacAddr,
    own: AtomicU64,
}

impl Tap {
    /// Makes the device. Needs CAP_NET_ADMIN, and /dev/net/tun.
    ///
    /// # Errors
    /// [`LinkError::Io`]: not found if this kernel makes none, busy if there is a device of that name.
    pub fn create(interface: &str) -> Result<Self, LinkError> {
        let failed = |action| move |source| LinkError::Io { action, interface: interface.to_owned(), source };
        let mut options = File::options();
        let tun = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN);
        let tun = tun.map_err(failed("open /dev/net/tun for"))?;
        sys::tap::become_tap(&tun, interface).map_err(failed("make the tap device for"))?;
        let any = Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None).map_err(failed("look up"))?;
        let mac = sys::ethernet_address(&any, interface).map_err(failed("look up"))?.unwrap_or_default();
        let tun = sys::tap::register(tun).map_err(failed("wait for frames"))?;
        Ok(Self { tun, interface: interface.to_owned(), mac, own: 0.into() })
    }

    /// Waits until there is something to read. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Io`] if the runtime is shutting down.
    pub async fn readable(&self) -> Result<(), LinkError> {
        let ready = self.tun.ready(sys::INTEREST).await;
        ready.map_err(|source| self.error("wait for frames", source))?.retain_ready();
        Ok(())
    }

    /// The next frame that waits; `None` if none waits now.
    ///
    /// # Errors
    /// [`LinkError::Io`] of the kernel; [`LinkError::InterfaceGone`] if somebody removed the device.
    pub fn receive<'a>(&self, buffer: &'a mut FrameBuffer) -> Result<Option<&'a [u8]>, LinkError> {
        loop {
            let read = look(&self.tun, |mut tun| Ok((tun.read(&mut buffer.frame)?, false)));
            let length = match read {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.error("read", error)),
            };
            let source = buffer.frame.get(ADDRESS_BYTES / 2..ADDRESS_BYTES);
            if source != Some(&self.mac.octets()[..]) {
                return Ok(buffer.frame.get(..length));
            }
            self.own.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Name of the device.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Frames of the device's own that were left out.
    pub fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }

    fn error(&self, action: &'static str, source: io::Error) -> LinkError {
        let interface = self.interface.clone();
        // "File descriptor in bad state" is what the kernel calls a tap whose device was deleted.
        if source.raw_os_error() == Some(libc::EBADFD) {
            return LinkError::InterfaceGone { interface };
        }
        LinkError::Io { action, interface, source }
    }
}
