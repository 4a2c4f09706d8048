//! Many frames in one system call.
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

use libc::{iovec, mmsghdr};
use socket2::Socket;

use super::Lengths;

/// Frames of one call: enough to make its fixed cost small for each, few enough for the stack.
pub(crate) const MOST_AT_ONCE: usize = 64;

/// Receives as many frames as wait, at most as many as there is room for in each of the three. `frames` is cut into rooms of
/// `frame_bytes`. Returns how many; their lengths are in `lengths`.
pub(crate) fn receive_many(
    socket: &Socket,
    frames: &mut [u8],
    frame_bytes: usize,
    controls: &mut [impl AsMut<[u8]>],
    lengths: &mut [Lengths],
) -> io::Result<usize> {
    // SAFETY: both are numbers and pointers; all zero means "nothing given" for each of them.
    let mut vectors: [iovec; MOST_AT_ONCE] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut messages: [mmsghdr; MOST_AT_ONCE] = unsafe { zeroed() };
    let mut count = 0;
    let rooms = frames.chunks_exact_mut(frame_bytes.max(1)).zip(controls).zip(lengths.iter());
    for (((frame, control), _), (vector, message)) in rooms.zip(vectors.iter_mut().zip(&mut messages)) {
        *vector = iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        message.msg_hdr.msg_iov = &raw mut *vector;
        message.msg_hdr.msg_iovlen = 1;
        let control = control.as_mut();
        message.msg_hdr.msg_control = control.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = control.len() as _;
        count += 1;
    }
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: `count` messages were filled in, each with one vector and a control area that are exclusively borrowed for
    // the whole function, disjoint, and as long as said; the kernel writes plain bytes into them and no further. A null
    // timeout is none.
    let received =
        unsafe { libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, flags as _, null_mut()) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (length, message) in lengths.iter_mut().zip(&messages).take(received) {
        #[allow(clippy::unnecessary_cast)] // It has another type in other C libraries.
        let control = message.msg_hdr.msg_controllen as usize;
        *length = Lengths { frame: message.msg_len as usize, control };
    }
    Ok(received)
}

/// Sends whole frames, at most [`MOST_AT_ONCE`]; says how many the adapter took.
#[cfg(feature = "bench")]
pub(crate) fn send_many(socket: &Socket, frames: &[Vec<u8>]) -> io::Result<usize> {
    // SAFETY: both are numbers and pointers; all zero means "nothing given" for each of them.
    let mut vectors: [iovec; MOST_AT_ONCE] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut messages: [mmsghdr; MOST_AT_ONCE] = unsafe { zeroed() };
    let mut count = 0;
    for (frame, (vector, message)) in frames.iter().zip(vectors.iter_mut().zip(&mut messages)) {
        *vector = iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        message.msg_hdr.msg_iov = &raw mut *vector;
        message.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: `count` messages were filled in, each with one vector of bytes that are borrowed for the whole function; the
    // kernel only reads them.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
