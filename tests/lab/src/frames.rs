//! Raw Ethernet: capturing a trunk into a file with the kernel's receive time stamps, and sending frames byte by byte.

mod capture;
mod flood;
mod packet;
mod sender;

use std::path::Path;
use std::time::Duration;

use crate::error::{Lab, LabError};
use crate::process::{Daemon, Place, run_with_input};
use crate::wait;
use crate::world;

pub(crate) use capture::{capture_into, parse, save};
pub(crate) use flood::{Flood, FloodKind, Sent, flood};
pub(crate) use packet::packet;
pub(crate) use packet::{Message, Packet, messages};
pub(crate) use sender::send_lines;

/// The EtherType of heartbeats.
pub(crate) const ETHER_TYPE: u16 = 0x88b5;

/// One captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// When the kernel saw it, on the wall clock since 1970.
    pub(crate) at: Duration,
    /// The whole frame, without a tag the kernel has taken off.
    pub(crate) bytes: Vec<u8>,
}

impl Frame {
    /// The destination address, as `52:54:00:...`.
    pub(crate) fn to(&self) -> String {
        mac_text(self.bytes.get(0..6).unwrap_or_default())
    }

    /// The source address.
    pub(crate) fn from(&self) -> String {
        mac_text(self.bytes.get(6..12).unwrap_or_default())
    }

    /// The EtherType.
    pub(crate) fn ether_type(&self) -> u16 {
        self.bytes.get(12..14).and_then(|two| two.try_into().ok()).map_or(0, u16::from_be_bytes)
    }

    /// What follows the Ethernet header.
    pub(crate) fn payload(&self) -> &[u8] {
        self.bytes.get(14..).unwrap_or_default()
    }

    /// Whether it is a heartbeat: the text behind the 8 bytes of the protocol's header says so.
    pub(crate) fn is_heartbeat(&self) -> bool {
        self.ether_type() == ETHER_TYPE && self.payload().get(8..11) == Some(b"HB:")
    }

    /// Whether it is a Hello: the flag in the header's fourth byte says so.
    pub(crate) fn is_hello(&self) -> bool {
        const HELLO: u8 = 0x02;
        self.ether_type() == ETHER_TYPE && self.payload().get(3).is_some_and(|flags| flags & HELLO != 0)
    }
}

/// A running capture of one interface; it ends with this value, the file stays.
#[derive(Debug)]
pub(crate) struct Capture {
    daemon: Daemon,
    file: std::path::PathBuf,
}

impl Capture {
    /// Starts capturing and returns once frames are really seen.
    pub(crate) fn start(place: &Place, interface: &str, name: &str) -> Lab<Capture> {
        let file = world::dir("logs").join(format!("{name}.pcap"));
        let mut command = place.command(own_program()?);
        command.args(["inside", "capture", interface]).arg(&file);
        let mut daemon = Daemon::start(name, command, &world::log_file(&format!("{name}.capture")))?;
        wait::until(Duration::from_secs(10), "the capture to begin", || {
            daemon.still_runs()?;
            Ok(file.exists().then_some(()))
        })?;
        Ok(Capture { daemon, file })
    }

    /// Everything captured so far.
    pub(crate) fn frames(&mut self) -> Lab<Vec<Frame>> {
        self.daemon.still_runs()?;
        read(&self.file)
    }
}

/// Reads a capture file.
pub(crate) fn read(file: &Path) -> Lab<Vec<Frame>> {
    Ok(parse(&std::fs::read(file).map_err(LabError::file("read", file))?))
}

/// Sends whole frames out of an interface.
pub(crate) fn send(place: &Place, interface: &str, frames: &[Vec<u8>]) -> Lab<()> {
    let mut command = place.command(own_program()?);
    command.args(["inside", "send", interface]);
    let lines: String = frames.iter().map(|frame| format!("{}\n", hex(frame))).collect();
    run_with_input(command, lines.as_bytes())?.ok().map(drop)
}

/// Builds a frame from addresses in text form.
pub(crate) fn frame(to: &str, from: &str, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = mac_bytes(to);
    bytes.extend(mac_bytes(from));
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn own_program() -> Lab<std::path::PathBuf> {
    std::env::current_exe()
        .map_err(|source| LabError::System { action: "find the lab's own program".into(), source })
}

fn mac_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn mac_bytes(text: &str) -> Vec<u8> {
    text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_built() {
        let mut payload = vec![2, 1, 0, 0x38, 0, 3, 0, 0];
        payload.extend(b"HB:");
        let bytes = frame("ff:ff:ff:ff:ff:ff", "52:54:00:7e:00:01", ETHER_TYPE, &payload);
        let frame = Frame { at: Duration::ZERO, bytes };
        assert_eq!(frame.to(), "ff:ff:ff:ff:ff:ff");
        assert_eq!(frame.from(), "52:54:00:7e:00:01");
        assert!(frame.is_heartbeat() && !frame.is_hello());
    }
}
