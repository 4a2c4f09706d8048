//! Captured frames as a file that Wireshark and tcpdump read: classic pcap with nanoseconds.
//!
//! The file is a header of 24 bytes, then for each frame a header of 16 bytes and the frame. The numbers are in this
//! file's order, little-endian, which a reader sees by the first number. Source of the format: the IETF's
//! draft-ietf-opsawg-pcap.

use std::io::{self, Write};

use crate::capture::Captured;
use crate::frame::{Header, Outgoing};

/// Says that the fractions of seconds are nanoseconds.
const MAGIC: u32 = 0xA1B2_3C4D;
const MAJOR_VERSION: u16 = 2;
const MINOR_VERSION: u16 = 4;
/// What every reader takes, and more than any frame Linux carries: nothing is cut.
const LARGEST_FRAME_BYTES: u32 = 262_144;
/// Frames start with an Ethernet header.
const LINKTYPE_ETHERNET: u32 = 1;

/// Writes frames to a file or pipe. Give it a buffered writer, and flush that.
#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
}

impl<W: Write> PcapWriter<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        let versions = [MAJOR_VERSION, MINOR_VERSION].map(u16::to_le_bytes).concat();
        // Two numbers in the middle are unused by all writers: time zone and accuracy.
        let rest = [0, 0, LARGEST_FRAME_BYTES, LINKTYPE_ETHERNET].map(u32::to_le_bytes).concat();
        out.write_all(&[&MAGIC.to_le_bytes()[..], &versions, &rest].concat())?;
        Ok(Self { out })
    }

    /// Adds one frame, with its Ethernet header and its tag.
    ///
    /// # Errors
    /// Those of `out`; the file ends within a frame then.
    pub fn write(&mut self, frame: &Captured<'_>) -> io::Result<()> {
        let header =
            Header { destination: frame.destination, source: frame.source, ethertype: frame.ethertype };
        let header = Outgoing::tagged(header, frame.tag);
        let length = header.bytes().len() + frame.payload.len();
        let length = u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // The format ends in the year 2106.
        let seconds = u32::try_from(frame.stamp.as_secs()).unwrap_or(u32::MAX);
        let numbers = [seconds, frame.stamp.subsec_nanos(), length, length].map(u32::to_le_bytes);
        self.out.write_all(numbers.as_flattened())?;
        self.out.write_all(header.bytes())?;
        self.out.write_all(frame.payload)
    }

    /// Hands what was written to its reader.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The writer, for the caller to finish.
    pub fn into_inner(self) -> W {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::Direction;
    use crate::{MacAddr, Tag};

    fn frame(tag: Option<Tag>) -> Captured<'static> {
        Captured {
            stamp: Duration::new(1_556_303_548, 719_328_001),
            direction: Direction::Received,
            destination: MacAddr(1, 2, 3, 4, 5, 6),
            source: MacAddr(7, 8, 9, 10, 11, 12),
            tag,
            ethertype: 0x88B5,
            payload: b"payload",
        }
    }

    #[test]
    fn the_bytes_of_a_file_are_as_the_format_says() {
        let mut file = PcapWriter::new(Vec::new()).unwrap();
        file.write(&frame(None)).unwrap();
        file.write(&frame(Some(Tag { tpid: 0x8100, tci: 0xA064 }))).unwrap();
        let addresses = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let expected = [
            &[0x4D, 0x3C, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0][..],
            &[0xBC, 0x4E, 0xC3, 0x5C, 0x01, 0x13, 0xE0, 0x2A, 21, 0, 0, 0, 21, 0, 0, 0],
            &addresses,
            &[0x88, 0xB5],
            b"payload",
            &[0xBC, 0x4E, 0xC3, 0x5C, 0x01, 0x13, 0xE0, 0x2A, 25, 0, 0, 0, 25, 0, 0, 0],
            &addresses,
            &[0x81, 0x00, 0xA0, 0x64, 0x88, 0xB5],
            b"payload",
        ];
        assert_eq!(file.into_inner(), expected.concat());
    }

    #[test]
    fn a_stamp_beyond_the_format_is_held_at_its_end() {
        let mut file = PcapWriter::new(Vec::new()).unwrap();
        file.write(&Captured { stamp: Duration::from_secs(1 << 40), ..frame(None) }).unwrap();
        assert_eq!(file.into_inner()[24..28], [0xFF; 4]);
    }

    #[test]
    fn a_full_disk_is_told() {
        let mut room = [0; 40];
        let mut file = PcapWriter::new(&mut room[..]).unwrap();
        assert_eq!(file.write(&frame(None)).unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
