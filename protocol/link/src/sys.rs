//! The system calls that have no safe wrapper. All `unsafe` of the project is in this file and its folder.
#![allow(unsafe_code)]

pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod many;
pub(crate) mod netlink;
pub(crate) mod ring;
pub(crate) mod sched;
pub(crate) mod shared;
pub(crate) mod tap;
pub(crate) mod watchdog;

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::AsRawFd;
use std::time::Duration;

use libc::{ifreq, sockaddr_ll, socklen_t, tpacket_stats_v3};
use socket2::{SockAddr, Socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::MacAddr;

/// What the reactor waits for: frames, and the adapter's end, which is an error without a frame.
pub(crate) const INTEREST: Interest = Interest::READABLE.add(Interest::ERROR);

/// That of a kernel built for 100 ticks a second.
const SLOWEST_TICK: Duration = Duration::from_millis(10);

/// How much a call to [`receive`] brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lengths {
    /// Bytes of the whole frame, even if the buffer was smaller.
    pub(crate) frame: usize,
    /// Bytes of the kernel's remarks.
    pub(crate) control: usize,
}

/// Sets a socket option that is a number.
pub(crate) fn set_option(socket: &Socket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_struct(socket, level, name, &value)
}

/// Sets a socket option that is a plain structure.
fn set_struct<T: Copy>(socket: &Socket, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let (pointer, length) = ((&raw const *value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: `pointer` is valid for `length` bytes during the call, and the kernel only reads them.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, length) })
}

/// What the kernel could not deliver since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Frames dropped for want of room.
    pub(crate) drops: u32,
    /// Times a ring was full; none without a ring.
    pub(crate) freezes: u32,
}

/// Asks what was lost; the kernel then forgets it.
pub(crate) fn take_losses(socket: &Socket) -> io::Result<Losses> {
    // Without a ring the kernel fills in the first two fields only.
    let mut statistics = tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
    let mut length = size_of::<tpacket_stats_v3>() as socklen_t;
    let pointer = (&raw mut statistics).cast::<c_void>();
    // SAFETY: `pointer` is valid for writes of `length` bytes, and the kernel writes no more than that.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            pointer,
            &raw mut length,
        )
    })?;
    Ok(Losses { drops: statistics.tp_drops, freezes: statistics.tp_freeze_q_cnt })
}

/// Receives one frame and the kernel's remarks on it.
pub(crate) fn receive(socket: &Socket, frame: &mut [u8], control: &mut [u8]) -> io::Result<Lengths> {
    receive_from(socket, frame, control, None)
}

/// The same, and whether this machine sent the frame.
pub(crate) fn receive_either_way(
    socket: &Socket,
    frame: &mut [u8],
    control: &mut [u8],
) -> io::Result<(Lengths, bool)> {
    // SAFETY: sockaddr_ll is numbers; zero is valid in each.
    let mut address: sockaddr_ll = unsafe { zeroed() };
    let lengths = receive_from(socket, frame, control, Some(&mut address))?;
    Ok((lengths, address.sll_pkttype == libc::PACKET_OUTGOING))
}

fn receive_from(
    socket: &Socket,
    frame: &mut [u8],
    control: &mut [u8],
    address: Option<&mut sockaddr_ll>,
) -> io::Result<Lengths> {
    let mut vector = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
    // SAFETY: msghdr is numbers and pointers; all zero means "nothing given" for each of them.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len() as _;
    if let Some(address) = address {
        message.msg_namelen = size_of_val(address) as socklen_t;
        message.msg_name = (&raw mut *address).cast();
    }
    // SAFETY: `message` points to one vector, a control area and perhaps an address that are exclusively borrowed during
    // the call and as long as said; the kernel writes plain bytes into them and no further.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
    let frame = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok(Lengths { frame, control: message.msg_controllen as usize })
}

/// Waits until there is something to receive, a frame or an error; `false` if `patience` passed before.
pub(crate) fn wait_readable(socket: &Socket, patience: Duration) -> io::Result<bool> {
    let mut waiting = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: one pollfd, exclusively ours during the call.
    let ready = unsafe { libc::poll(&raw mut waiting, 1, milliseconds) };
    check(ready.min(0)).map(|()| ready > 0)
}

/// The address to bind a packet socket to an interface with.
pub(crate) fn link_address(index: u32, protocol: u16) -> io::Result<SockAddr> {
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut socklen_t| {
        // SAFETY: `storage` is zeroed, aligned and large enough for every kind of address; zero is valid in every
        // field of sockaddr_ll. `length` is valid for writes.
        unsafe {
            let address = &mut *storage.cast::<sockaddr_ll>();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol.to_be();
            address.sll_ifindex = index.cast_signed();
            *length = size_of::<sockaddr_ll>() as socklen_t;
        }
        Ok(())
    };
    // SAFETY: `fill` writes a whole address of the family it names, and that address's length.
    unsafe { SockAddr::try_init(fill) }.map(|((), address)| address)
}

/// Hands the socket to the reactor. Needs a running tokio runtime.
pub(crate) fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    // SAFETY: a Socket owns its descriptor, always returns the same one, and closes it only when it is dropped, which
    // the AsyncFd does after it has deregistered.
    unsafe { AsyncFd::register_with_interest(socket, INTEREST) }.map_err(io::Error::from)
}

/// Index of the interface called `name`, in the network namespace of `socket`.
pub(crate) fn interface_index(socket: &Socket, name: &str) -> io::Result<u32> {
    let request = interface_call(socket, libc::SIOCGIFINDEX as _, named(name)?)?;
    // SAFETY: SIOCGIFINDEX has filled in the index; every bit pattern is one.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex }.cast_unsigned())
}

/// Largest payload of a frame on the interface.
pub(crate) fn interface_mtu(socket: &Socket, name: &str) -> io::Result<usize> {
    let request = interface_call(socket, libc::SIOCGIFMTU as _, named(name)?)?;
    // SAFETY: SIOCGIFMTU has filled in the MTU; every bit pattern is one.
    usize::try_from(unsafe { request.ifr_ifru.ifru_mtu }).map_err(io::Error::other)
}

/// The address of an Ethernet adapter; `None` if the interface is of another kind.
pub(crate) fn ethernet_address(socket: &Socket, name: &str) -> io::Result<Option<MacAddr>> {
    let request = interface_call(socket, libc::SIOCGIFHWADDR as _, named(name)?)?;
    // SAFETY: SIOCGIFHWADDR has filled in an address; its fields are numbers.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let [a, b, c, d, e, f, ..] = address.sa_data.map(|byte| byte.to_ne_bytes()[0]);
    Ok((address.sa_family == libc::ARPHRD_ETHER).then_some(MacAddr(a, b, c, d, e, f)))
}

/// Whether there is an interface with this index, in the network namespace of `socket`.
pub(crate) fn interface_exists(socket: &Socket, index: u32) -> io::Result<bool> {
    let mut request = empty_request();
    request.ifr_ifru.ifru_ifindex = index.cast_signed();
    match interface_call(socket, libc::SIOCGIFNAME as _, request) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the interface of this name was set up (IFF_UP), whatever becomes of its frames.
pub(crate) fn interface_is_up(socket: &Socket, name: &str) -> io::Result<bool> {
    let request = interface_call(socket, libc::SIOCGIFFLAGS as _, named(name)?)?;
    // SAFETY: SIOCGIFFLAGS has filled in the flags; every bit pattern is some.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(libc::c_int::from(flags) & libc::IFF_UP != 0)
}

fn interface_call(socket: &Socket, call: libc::Ioctl, mut request: ifreq) -> io::Result<ifreq> {
    // SAFETY: all calls above read and write one ifreq, which is exclusively ours during the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), call, &raw mut request) })?;
    Ok(request)
}

fn named(name: &str) -> io::Result<ifreq> {
    let mut request = empty_request();
    let last = size_of_val(&request.ifr_name) - 1;
    // A longer name, or one with a zero inside, names no interface. The zero at the end must stay.
    if name.len() > last || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as _;
    }
    Ok(request)
}

fn empty_request() -> ifreq {
    // SAFETY: ifreq is numbers and pointers the kernel does not follow for these calls; zero is valid in each.
    unsafe { zeroed() }
}

/// Time between two ticks of the kernel's clock, the unit of its ordinary timers.
pub(crate) fn tick() -> Duration {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `resolution` is valid for writes of one timespec.
    let asked = check(unsafe { libc::clock_getres(libc::CLOCK_REALTIME_COARSE, &raw mut resolution) });
    match (asked, u64::try_from(resolution.tv_nsec)) {
        (Ok(()), Ok(nanoseconds)) if resolution.tv_sec == 0 => Duration::from_nanos(nanoseconds),
        _ => SLOWEST_TICK,
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
