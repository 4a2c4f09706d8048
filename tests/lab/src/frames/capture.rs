//! A capture in the pcap format with nanoseconds, so that any analyser can open what is kept of a failure.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};

use super::Frame;
use crate::error::{Lab, LabError};

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINK_ETHERNET: u32 = 1;
/// Bytes of the file's header and of each record's.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// The largest frame of any trunk of the lab, jumbo frames included.
const LARGEST_FRAME: usize = 16 * 1024;
/// Receive buffer: a burst of thousands of small frames must not be lost while the file is written.
const BUFFER_BYTES: usize = 8 << 20;

/// Captures one interface of this network namespace for ever, what it sends included.
pub(crate) fn capture_into(interface: &str, path: &Path) -> Lab<()> {
    let index = nix::net::if_::if_nametoindex(interface)
        .map_err(LabError::system(format!("find the interface {interface}")))?;
    let socket = open()?;
    // The file appears at once and complete, which tells who waits that the capture has begun.
    let scratch = path.with_extension("part");
    let mut file = File::create(&scratch).map_err(LabError::file("create", &scratch))?;
    file.write_all(&file_header()).map_err(LabError::file("write", &scratch))?;
    std::fs::rename(&scratch, path).map_err(LabError::file("create", path))?;
    let mut buffer = vec![0; LARGEST_FRAME];
    loop {
        let (on, at, length) = receive(&socket, &mut buffer)?;
        if on == index as usize {
            let bytes = buffer.get(..length).unwrap_or_default();
            file.write_all(&record(at, bytes)).map_err(LabError::file("write", path))?;
        }
    }
}

/// Writes frames as a capture file.
pub(crate) fn save(frames: &[Frame], path: &Path) -> Lab<()> {
    let records = frames.iter().map(|frame| record(frame.at, &frame.bytes));
    let file: Vec<u8> = std::iter::once(file_header()).chain(records).flatten().collect();
    std::fs::write(path, file).map_err(LabError::file("write", path))
}

fn open() -> Lab<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
        .map_err(LabError::system("open a packet socket"))?;
    setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES).map_err(LabError::system("size a packet socket"))?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)
        .map_err(LabError::system("ask for receive time stamps"))?;
    Ok(socket)
}

/// One frame: the interface's index, the time stamp, the length.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Lab<(usize, Duration, usize)> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())
        .map_err(LabError::system("receive frames"))?;
    let stamp = message.cmsgs().map_err(LabError::system("read a time stamp"))?.find_map(|item| {
        if let ControlMessageOwned::ScmTimestampns(time) = item { Some(Duration::from(time)) } else { None }
    });
    let index = message.address.map_or(0, |address| address.ifindex());
    Ok((index, stamp.unwrap_or_default(), message.bytes))
}

fn file_header() -> Vec<u8> {
    let mut header = MAGIC_NANOSECONDS.to_ne_bytes().to_vec();
    for half in [2_u16, 4] {
        header.extend(half.to_ne_bytes());
    }
    for word in [0, 0, u32::try_from(LARGEST_FRAME).unwrap_or(u32::MAX), LINK_ETHERNET] {
        header.extend(word.to_ne_bytes());
    }
    header
}

fn record(at: Duration, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(RECORD_HEADER + bytes.len());
    for word in [seconds, at.subsec_nanos(), length, length] {
        record.extend(word.to_ne_bytes());
    }
    record.extend(bytes);
    record
}

/// The frames of a capture file; an unfinished last one is left out.
pub(crate) fn parse(file: &[u8]) -> Vec<Frame> {
    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((frame, after)) = next_frame(rest) {
        frames.push(frame);
        rest = after;
    }
    frames
}

fn next_frame(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (seconds, nanos, length) = (word(0)?, word(4)?, usize::try_from(word(8)?).ok()?);
    let frame = bytes.get(RECORD_HEADER..RECORD_HEADER + length)?;
    let at = Duration::new(u64::from(seconds), nanos);
    Some((Frame { at, bytes: frame.to_vec() }, bytes.get(RECORD_HEADER + length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_short_gives_the_whole_frames_only() {
        let at = Duration::new(1_795_000_000, 123_456_789);
        let mut file = file_header();
        file.extend(record(at, b"first frame"));
        file.extend(record(at, b"second"));
        let whole = parse(&file);
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[0], Frame { at, bytes: b"first frame".to_vec() });
        file.pop();
        assert_eq!(parse(&file), whole[..1]);
    }
}
