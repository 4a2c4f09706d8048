//! A guest that sends as many frames as the machine can.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use clap::ValueEnum;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, sendmmsg, sendto, socket,
};
use serde::{Deserialize, Serialize};

use super::{ETHER_TYPE, frame, own_program, packet, sender};
use crate::error::{Lab, LabError};
use crate::process::{Daemon, Place};
use crate::wait::Stopwatch;
use crate::world;

/// Frames in a call: more bring nothing.
const BATCH: usize = 64;
/// Different frames of a flood, and so addresses where they are invented.
const FRAMES: u16 = 10_000;
/// How long after its time a flood may end on a loaded machine.
const END_LIMIT: Duration = Duration::from_secs(30);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloodKind {
    /// Heartbeats from the sender's own address.
    OwnHeartbeats,
    /// Handshakes from the sender's own address that claim another guest's UUID.
    OwnClaims,
    /// Requests for a Hello, each from another address.
    InventedHellos,
    /// Handshakes, each from another address and with another UUID.
    InventedHandshakes,
    /// Random bytes, each from another address.
    InventedGarbage,
    /// Heartbeats, each from another address.
    InventedHeartbeats,
}

impl FloodKind {
    /// Every kind.
    pub(crate) const ALL: [FloodKind; 6] = [
        FloodKind::OwnHeartbeats,
        FloodKind::OwnClaims,
        FloodKind::InventedHellos,
        FloodKind::InventedHandshakes,
        FloodKind::InventedGarbage,
        FloodKind::InventedHeartbeats,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }

    /// The frames, to be sent over and over.
    pub(crate) fn frames(self, to: &str, from: &str, uuid: &str) -> Vec<Vec<u8>> {
        (0..FRAMES).map(|n| frame(to, &self.source(from, n), ETHER_TYPE, &self.payload(uuid, n))).collect()
    }

    fn source(self, own: &str, n: u16) -> String {
        let [high, low] = n.to_be_bytes();
        match self {
            FloodKind::OwnHeartbeats | FloodKind::OwnClaims => own.to_string(),
            FloodKind::InventedHellos => format!("02:01:00:00:{high:02x}:{low:02x}"),
            FloodKind::InventedHandshakes => format!("02:02:00:00:{high:02x}:{low:02x}"),
            FloodKind::InventedGarbage => format!("02:03:00:00:{high:02x}:{low:02x}"),
            FloodKind::InventedHeartbeats => format!("02:04:00:00:{high:02x}:{low:02x}"),
        }
    }

    fn payload(self, uuid: &str, n: u16) -> Vec<u8> {
        const HELLO: u8 = 0x02;
        const HEARTBEAT: u8 = 0x38;
        match self {
            FloodKind::OwnHeartbeats | FloodKind::InventedHeartbeats => packet(2, HEARTBEAT, 3, b"HB:"),
            FloodKind::InventedHellos => packet(2, HELLO, 0, b""),
            FloodKind::OwnClaims => handshake(uuid, n),
            FloodKind::InventedHandshakes => handshake(&format!("f100d000-0000-4000-8000-{n:012x}"), n),
            FloodKind::InventedGarbage => garbage(n),
        }
    }
}

fn handshake(uuid: &str, n: u16) -> Vec<u8> {
    const SYN: u8 = 0xa4;
    let text = format!("uuid={uuid}:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1:n={n:08x}");
    packet(2, SYN, text.len(), text.as_bytes())
}

/// Bytes without sense, the same at each run.
fn garbage(n: u16) -> Vec<u8> {
    let mut state = u32::from(n).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..100).map(|_| next()).collect()
}

/// What a flood came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Frames given to the kernel.
    pub(crate) tried: u64,
    /// Frames that it took; the others it refused at once.
    pub(crate) taken: u64,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl Sent {
    /// Frames given to the kernel in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.tried as f64 / self.seconds.max(0.001)
    }
}

/// Sends the frames over and over, as fast as they go.
pub(crate) fn flood(interface: &str, frames: &[Vec<u8>], seconds: u64) -> Lab<Sent> {
    let address = sender::address_of(interface)?;
    let addresses = vec![Some(address); BATCH];
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
        .map_err(LabError::system("open a packet socket"))?;
    let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
    let watch = Stopwatch::start();
    let (mut tried, mut taken, mut at, mut refused) = (0_u64, 0_u64, 0_usize, false);
    while watch.elapsed() < Duration::from_secs(seconds) {
        let to = slices.len().min(at + BATCH);
        let done = if refused {
            // A call ends at the first frame that is refused, so as long as all are, one by one is faster.
            one_by_one(&socket, &address, frames.get(at..to).unwrap_or_default())
        } else {
            let batch = slices.get(at..to).unwrap_or_default();
            let sent = sendmmsg(socket.as_raw_fd(), &mut headers, batch, &addresses, [], MsgFlags::empty());
            sent.map(|sent| (sent.count(), 0))
        };
        let (accepted, dropped) = match done {
            Ok(done) => done,
            Err(Errno::ENOBUFS) => (0, 1),
            Err(errno) => return Err(LabError::system("send a flood")(errno)),
        };
        refused = accepted == 0;
        tried += (accepted + dropped) as u64;
        taken += accepted as u64;
        at = if at + accepted + dropped >= slices.len() { 0 } else { at + accepted + dropped };
    }
    Ok(Sent { tried, taken, seconds: watch.seconds() })
}

/// How many were accepted and how many refused, up to the first that is accepted.
fn one_by_one(socket: &OwnedFd, to: &LinkAddr, frames: &[Vec<u8>]) -> nix::Result<(usize, usize)> {
    let mut refused = 0;
    for frame in frames {
        match sendto(socket.as_raw_fd(), frame, to, MsgFlags::empty()) {
            Ok(_) => return Ok((1, refused)),
            Err(Errno::ENOBUFS) => refused += 1,
            Err(errno) => return Err(errno),
        }
    }
    Ok((0, refused))
}

/// A flood under way; it ends with this value.
#[derive(Debug)]
pub(crate) struct Flood {
    daemon: Daemon,
}

impl Flood {
    /// Starts one from a guest's adapter.
    pub(crate) fn start(
        place: &Place,
        (interface, kind): (&str, FloodKind),
        (to, from, uuid): (&str, &str, &str),
        seconds: u64,
    ) -> Lab<Flood> {
        let name = format!("flood-{interface}-{}", kind.name());
        let mut command = place.command(own_program()?);
        command.args([
            "inside",
            "flood",
            interface,
            &kind.name(),
            "--to",
            to,
            "--from",
            from,
            "--uuid",
            uuid,
        ]);
        command.args(["--seconds", &seconds.to_string()]);
        Ok(Flood { daemon: Daemon::start(&name, command, &world::log_file(&name))? })
    }

    /// What it came to, once it has ended.
    pub(crate) fn ended(&mut self) -> Lab<Option<Sent>> {
        let log = self.daemon.logged();
        match log.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
            Some(sent) => self.daemon.wait_for_end(END_LIMIT).map(|_| Some(sent)),
            None => self.daemon.still_runs().map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_addresses_are_all_different_and_own_ones_all_the_same() {
        for kind in FloodKind::ALL {
            let frames = kind.frames("52:54:00:7e:00:ff", "52:54:00:7e:00:05", "u");
            let sources: std::collections::BTreeSet<&[u8]> =
                frames.iter().map(|frame| &frame[6..12]).collect();
            let own = matches!(kind, FloodKind::OwnHeartbeats | FloodKind::OwnClaims);
            assert_eq!(sources.len(), if own { 1 } else { usize::from(FRAMES) }, "{kind:?}");
            assert!(frames.iter().all(|frame| frame.len() >= 22), "{kind:?}");
        }
    }
}
