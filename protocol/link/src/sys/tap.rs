//! A tap device, and listening to what is meant for others.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use libc::{IFF_NO_PI, IFF_TAP, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, SOL_PACKET, packet_mreq};
use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::{INTEREST, check, named, set_struct};

/// Makes the tap device `name`, which is then read and written by `tun`, the opened /dev/net/tun, and goes with it.
pub(crate) fn become_tap(tun: &File, name: &str) -> io::Result<()> {
    let mut request = named(name)?;
    // Both fit: the field is 16 bits wide, the library's constants are not.
    request.ifr_ifru.ifru_flags = (IFF_TAP | IFF_NO_PI) as i16;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which is exclusively ours during the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })
}

/// From now on the adapter takes in frames that are addressed to others, for as long as the socket lives.
pub(crate) fn listen_to_all(socket: &Socket, index: u32) -> io::Result<()> {
    let request = packet_mreq {
        mr_ifindex: index.cast_signed(),
        mr_type: PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_struct(socket, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request)
}

/// Hands the opened /dev/net/tun to the reactor. Needs a running tokio runtime.
pub(crate) fn register(tun: File) -> io::Result<AsyncFd<File>> {
    tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    // SAFETY: a File owns its descriptor, always returns the same one, and closes it only when it is dropped, which the
    // AsyncFd does after it has deregistered.
    unsafe { AsyncFd::register_with_interest(tun, INTEREST) }.map_err(io::Error::from)
}
