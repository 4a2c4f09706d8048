//! The two questions to a hardware watchdog that are not a write (include/uapi/linux/watchdog.h).
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::check;

/// `_IOWR('W', 6, int)` and `_IOR('W', 7, int)`, as on every architecture but MIPS, PowerPC and SPARC.
const SET_TIMEOUT: u32 = 0xC004_5706;
const GET_TIMEOUT: u32 = 0x8004_5707;

/// Tells the watchdog after how many seconds without being fed it acts. It may choose others: they are returned.
///
/// # Errors
/// `Unsupported` or `InvalidInput` if it cannot be set; ask [`watchdog_timeout`] then.
pub fn set_watchdog_timeout(device: &File, seconds: u16) -> io::Result<u32> {
    ask(device, SET_TIMEOUT, seconds.into())
}

/// After how many seconds without being fed it acts.
///
/// # Errors
/// What the driver says; `device` is no watchdog.
pub fn watchdog_timeout(device: &File) -> io::Result<u32> {
    ask(device, GET_TIMEOUT, 0)
}

fn ask(device: &File, question: u32, seconds: c_int) -> io::Result<u32> {
    let mut seconds = seconds;
    // SAFETY: both questions read and write one int, which is exclusively ours during the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), question as _, &raw mut seconds) })?;
    u32::try_from(seconds).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_says_so() {
        let file = File::options().write(true).open("/dev/null").unwrap();
        assert!(watchdog_timeout(&file).is_err());
        assert!(set_watchdog_timeout(&file, 10).is_err());
    }
}
