//! For benchmarks (feature `bench`): a wire in a namespace of its own, a sender as fast as this machine, and meters.
//!
//! ```no_run
//! use vmpulse_link::bench;
//! # fn main() -> std::io::Result<()> {
//! bench::enter_namespace()?; // before any thread is started; needs root
//! let wire = bench::Wire::new(1500)?;
//! let to = wire.receiver_mac()?;
//! let load = bench::Load { interface: wire.sender.clone(), core: 0, rate: Some(100_000) };
//! let running = load.start(bench::heartbeats(to, 10_000, None))?;
//! // ... open wire.receiver, pin yourself to core 1, read, and measure with bench::Usage ...
//! let sent = running.stop();
//! # Ok(())
//! # }
//! ```
//! The kernel handles a veth pair's frames on the core of their sender: what a receiver on another core is charged for is
//! what it does itself. On a real adapter the interrupt's work is on the interrupt's core.

mod bare;
mod load;
mod usage;

use std::io;
use std::process::Command;

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;

pub use bare::{BareQueue, BareRing};
pub use load::{Injector, Load, Running, Sent};
pub use usage::{CoreTime, Usage};

use crate::frame::{Header, Outgoing};
use crate::{DEFAULT_ETHERTYPE, MacAddr, interfaces};

/// A heartbeat without authentication: header and `HB:`.
pub const HEARTBEAT: [u8; 11] = *b"\x02\x00\x00\x38\x00\x03\x00\x01HB:";

/// Puts this thread, and those it starts later, into a network namespace of its own, with a `/sys` that shows it. It is
/// gone when they are.
///
/// # Errors
/// `PermissionDenied` without root.
pub fn enter_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(io::Error::from)?;
    run("mount", "--make-rprivate /")?;
    run("mount", "-t sysfs sysfs /sys")
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// There is no such core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)?;
    Ok(())
}

/// Two connected adapters in this namespace.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Where a sender sends.
    pub sender: String,
    /// Where a receiver receives.
    pub receiver: String,
}

impl Wire {
    /// Makes the adapters with that MTU, and switches them on.
    ///
    /// # Errors
    /// `ip` is missing, or what it says.
    pub fn new(mtu: usize) -> io::Result<Self> {
        let wire = Self { sender: "va".to_owned(), receiver: "vb".to_owned() };
        let (a, b) = (&wire.sender, &wire.receiver);
        ip(&format!("link add {a} type veth peer name {b}"))?;
        for name in [a, b] {
            // No address: nothing else is sent on the wire then.
            ip(&format!("link set {name} mtu {mtu} addrgenmode none"))?;
            ip(&format!("link set {name} up"))?;
        }
        Ok(wire)
    }

    /// Lets the kernel handle received frames on that core, as on a machine whose adapter interrupts it there; before, it
    /// does on the sender's core.
    ///
    /// # Errors
    /// The kernel does not spread frames (CONFIG_RPS), or there is no such core.
    pub fn deliver_on(&self, core: usize) -> io::Result<()> {
        let path = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", self.receiver);
        let mask = 1_u64.checked_shl(u32::try_from(core).unwrap_or(u32::MAX)).unwrap_or_default();
        std::fs::write(path, format!("{mask:x}"))
    }

    /// The address of the receiving adapter.
    ///
    /// # Errors
    /// It is gone.
    pub fn receiver_mac(&self) -> io::Result<MacAddr> {
        let all = interfaces().map_err(io::Error::other)?;
        let found = all.into_iter().find(|interface| interface.name == self.receiver);
        found.map(|interface| interface.mac).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn ip(arguments: &str) -> io::Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> io::Result<()> {
    let output = Command::new(program).args(arguments.split_whitespace()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {arguments}: {}", text.trim())))
}

/// The address of the `number`th of many senders: locally administered, unicast.
#[must_use]
pub fn source(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr(0x02, 0x5E, a, b, c, d)
}

/// Writes a whole frame into `frame`, padded to the shortest. `vlan` is a TCI.
pub fn write_frame(
    frame: &mut Vec<u8>,
    destination: MacAddr,
    source: MacAddr,
    vlan: Option<u16>,
    payload: &[u8],
) {
    let header = Outgoing::new(Header { destination, source, ethertype: DEFAULT_ETHERTYPE }, vlan);
    frame.clear();
    frame.extend([header.bytes(), payload, header.padding(payload.len())].into_iter().flatten());
}

/// For [`Load::start`]: plain heartbeats of `sources` senders, one after the other.
pub fn heartbeats(
    destination: MacAddr,
    sources: u32,
    vlan: Option<u16>,
) -> impl FnMut(u64, &mut Vec<u8>) + Send + 'static {
    move |number, frame| {
        // Fits: it is less than `sources`.
        let sender = u32::try_from(number % u64::from(sources.max(1))).unwrap_or_default();
        write_frame(frame, destination, source(sender), vlan, &HEARTBEAT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heartbeat_has_its_checksum() {
        let sum = HEARTBEAT.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(sum.wrapping_sub(HEARTBEAT[7]), HEARTBEAT[7]);
    }

    #[test]
    fn heartbeats_come_from_each_sender_in_turn() {
        let (to, mut frame) = (MacAddr(2, 0, 0, 0, 0, 1), Vec::new());
        let mut write = heartbeats(to, 300, Some(100));
        let mut sources = std::collections::BTreeSet::new();
        for number in 0..600 {
            write(number, &mut frame);
            assert_eq!(
                (frame.len(), &frame[..6], &frame[12..18]),
                (60, &to.octets()[..], &[0x81, 0, 0, 100, 0x88, 0xB5][..])
            );
            assert!(frame[18..].starts_with(&HEARTBEAT));
            sources.insert(frame[6..12].to_vec());
        }
        assert_eq!(sources.len(), 300);
    }
}
