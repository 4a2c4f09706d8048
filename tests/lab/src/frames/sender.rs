//! Sends frames exactly as given, wrong ones included.

use std::io::BufRead;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};

use crate::error::{Lab, LabError};

/// Sends one frame for each line of hexadecimal digits.
pub(crate) fn send_lines(interface: &str, lines: impl BufRead) -> Lab<()> {
    let address = address_of(interface)?;
    // Protocol 0: this socket never receives.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .map_err(LabError::system("open a packet socket"))?;
    for line in lines.lines() {
        let line = line.map_err(|source| LabError::System { action: "read frames".into(), source })?;
        send(&socket, &address, &bytes_of(line.trim())?)?;
    }
    Ok(())
}

fn send(socket: &OwnedFd, address: &LinkAddr, frame: &[u8]) -> Lab<()> {
    sendto(socket.as_raw_fd(), frame, address, MsgFlags::empty())
        .map(drop)
        .map_err(LabError::system(format!("send a frame of {} bytes", frame.len())))
}

/// The kernel's own address record of the interface names it by its index, which is what sending needs.
pub(super) fn address_of(interface: &str) -> Lab<LinkAddr> {
    let mut all = getifaddrs().map_err(LabError::system("list the interfaces"))?;
    all.find_map(|entry| {
        let address = entry.address.filter(|_| entry.interface_name == interface)?;
        (address.family() == Some(AddressFamily::Packet)).then(|| address.as_link_addr().copied())?
    })
    .ok_or_else(|| LabError::Missing(format!("there is no interface {interface}")))
}

fn bytes_of(hex: &str) -> Lab<Vec<u8>> {
    let wrong = || LabError::Unexpected(format!("not a frame in hexadecimal digits: {hex}"));
    let pairs = (0..hex.len()).step_by(2).map(|at| hex.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair.ok_or_else(wrong)?, 16).map_err(|_| wrong())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_digits_and_refuses_others() {
        assert_eq!(bytes_of("00ff7e").expect("good"), [0, 255, 126]);
        assert!(bytes_of("00f").is_err());
        assert!(bytes_of("zz").is_err());
    }
}
