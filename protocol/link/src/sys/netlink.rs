//! The address of the kernel's announcements about adapters.

use std::io;
use std::mem::size_of;

use libc::{sockaddr_nl, socklen_t};
use socket2::SockAddr;

/// Group of announcements of adapters that come, go or change.
const LINKS: u32 = libc::RTMGRP_LINK as u32;

pub(crate) fn links_address() -> io::Result<SockAddr> {
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut socklen_t| {
        // SAFETY: `storage` is zeroed, aligned and large enough for every kind of address; zero is valid in every
        // field of sockaddr_nl. `length` is valid for writes.
        unsafe {
            let address = &mut *storage.cast::<sockaddr_nl>();
            address.nl_family = libc::AF_NETLINK as u16;
            address.nl_groups = LINKS;
            *length = size_of::<sockaddr_nl>() as socklen_t;
        }
        Ok(())
    };
    // SAFETY: `fill` writes a whole address of the family it names, and that address's length.
    unsafe { SockAddr::try_init(fill) }.map(|((), address)| address)
}
