//! Sends frames on a trunk from two ports as guests have them, and looks whether any reaches the other one.
//!
//! The ports are there for a second: macvlans in VEPA mode, or isolated ports of a bridge where one carries the trunk. Whether the
//! frames left by the trunk is looked at too: frames that never left prove nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vmpulse_link::{
    CaptureConfig, CaptureSocket, Destination, Direction, MacAddr, ReceiveBuffer, Transmitter, interfaces,
};
use vmpulse_local::clock::MonotonicClock;
use vmpulse_local::errors;
use vmpulse_protocol::time::Instant;

use crate::doctor::{Probe, Reflected};
use crate::trunk_setup::programs::Programs;
use crate::trunk_setup::seen::Links;

/// What our ports are marked with, before the number of the process that they belong to.
const MARK: &str = "vmpulse doctor ";
/// What frames begin with. No packet of the protocol does.
const GREETING: &[u8; 15] = b"vmpulse doctor ";
/// Until a frame that did not leave is sent again; and how often.
const ROUND: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;
/// For frames to come back, behind the last that left: a switch takes microseconds, a program some milliseconds.
const RETURN: Duration = Duration::from_millis(500);
/// Between looks at three sockets, one after the other.
const LOOK: Duration = Duration::from_millis(5);
/// A queue for a few frames.
const QUEUE_BYTES: usize = 1 << 20;

/// Where to send, and what.
pub(super) struct Place<'a> {
    /// The adapter that guests hang on.
    pub(super) guests_adapter: &'a str,
    /// The bridge that it is a port of.
    pub(super) bridge: Option<&'a str>,
    pub(super) ethertype: u16,
    pub(super) vlan: Option<u16>,
}

/// What became of it, and how far the kernel's stamps were off, in microseconds.
pub(super) type Outcome = (Probe, Option<i64>);

pub(super) fn run(programs: &Programs, place: &Place<'_>, stopped: &AtomicBool) -> Result<Outcome, String> {
    let ports = Ports::make(programs, place)?;
    let listen = |adapter: &str| {
        let config = CaptureConfig {
            ethertype: place.ethertype,
            receive_buffer_bytes: QUEUE_BYTES,
            ..CaptureConfig::new(adapter)
        };
        CaptureSocket::open(&config).map_err(|error| errors::chain(&error))
    };
    let [one, other] = &ports.names;
    let sockets = [listen(one)?, listen(other)?, listen(place.guests_adapter)?];
    let mut greeting = GREETING.to_vec();
    let mut mark = [0; 8];
    vmpulse_local::random::fill(&mut mark).map_err(|error| error.to_string())?;
    greeting.extend(mark);
    let mut sending = Sending::new(place, &ports, &sockets, greeting)?;
    sending.send_until_left(stopped)?;
    sending.collect(RETURN, stopped)?;
    Ok(sending.outcome())
}

/// Two ports; they go with the value.
struct Ports<'a> {
    programs: &'a Programs,
    names: [String; 2],
}

impl<'a> Ports<'a> {
    fn make(programs: &'a Programs, place: &Place<'_>) -> Result<Self, String> {
        let pid = std::process::id();
        let ports = Self { programs, names: ["a", "b"].map(|which| format!("vmdr{pid:x}{which}")) };
        for name in &ports.names {
            ports.make_one(name, place).map_err(|error| errors::chain(&error))?;
        }
        Ok(ports)
    }

    fn make_one(
        &self,
        name: &str,
        place: &Place<'_>,
    ) -> Result<(), crate::trunk_setup::programs::ProgramError> {
        match place.bridge {
            None => {
                let on = ["link", "add", "link", place.guests_adapter, "name", name];
                self.programs.ip(&[&on[..], &["type", "macvlan", "mode", "vepa"]].concat())?;
            }
            Some(bridge) => {
                let port = format!("{name}p");
                self.programs.ip(&["link", "add", "name", name, "type", "veth", "peer", "name", &port])?;
                self.programs.ip(&["link", "set", "dev", &port, "master", bridge])?;
                self.programs.ip(&["link", "set", "dev", &port, "type", "bridge_slave", "isolated", "on"])?;
                self.programs.ip(&["link", "set", "dev", &port, "up"])?;
            }
        }
        let mark = format!("{MARK}{}", std::process::id());
        // A kernel without IPv6 refuses this, and does not need it.
        let _without_ipv6 = self.programs.ip(&["link", "set", "dev", name, "addrgenmode", "none"]);
        self.programs.ip(&["link", "set", "dev", name, "arp", "off", "alias", &mark, "up"]).map(drop)
    }
}

impl Drop for Ports<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            // The other end of a pair goes with it. One that was not made need not be removed.
            let _gone = self.programs.ip(&["link", "delete", "dev", name]);
        }
    }
}

/// Removes ports of processes that were killed.
pub(super) fn sweep(programs: &Programs, near: &Links) {
    for link in near.all() {
        let owner = link.alias.strip_prefix(MARK).and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _gone = programs.ip(&["link", "delete", "dev", &link.name]);
        }
    }
}

/// A frame that is sent.
#[derive(Clone, Copy)]
struct Sent {
    from: usize,
    what: Reflected,
    /// Or need not.
    left: bool,
    reflected: bool,
}

struct Sending<'a> {
    sockets: &'a [CaptureSocket; 3],
    transmitter: Transmitter,
    /// Indexes and addresses of the two ports.
    ends: [(u32, MacAddr); 2],
    place: &'a Place<'a>,
    greeting: Vec<u8>,
    frames: [Sent; 4],
    clock: MonotonicClock,
    began: Instant,
    stamps_off_us: Option<i64>,
}

impl<'a> Sending<'a> {
    fn new(
        place: &'a Place<'a>,
        ports: &Ports<'_>,
        sockets: &'a [CaptureSocket; 3],
        greeting: Vec<u8>,
    ) -> Result<Self, String> {
        let all = interfaces().map_err(|error| errors::chain(&error))?;
        let end = |name: &String| {
            let found = all.iter().find(|one| one.name == *name).map(|one| (one.index, one.mac));
            found.ok_or_else(|| format!("the port {name} vanished"))
        };
        let [one, other] = &ports.names;
        // A bridge that has learned where the other port is sends nothing for it to the trunk, and isolation drops it.
        let frame = |from, what| {
            let kept = place.bridge.is_some() && what == Reflected::Unicast;
            Sent { from, what, left: kept, reflected: false }
        };
        let clock = MonotonicClock::start();
        Ok(Self {
            sockets,
            transmitter: Transmitter::open().map_err(|error| format!("no raw socket: {error}"))?,
            ends: [end(one)?, end(other)?],
            place,
            greeting,
            frames: [
                frame(0, Reflected::Unicast),
                frame(0, Reflected::Broadcast),
                frame(1, Reflected::Unicast),
                frame(1, Reflected::Broadcast),
            ],
            began: clock.now(),
            clock,
            stamps_off_us: None,
        })
    }

    fn send_until_left(&mut self, stopped: &AtomicBool) -> Result<(), String> {
        for round in 0..ROUNDS {
            for number in 0..self.frames.len() {
                self.send(number, round);
            }
            self.collect(ROUND, stopped)?;
            if self.frames.iter().all(|frame| frame.left) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What cannot be sent has not left, which is what is told.
    fn send(&self, number: usize, round: usize) {
        let Some(frame) = self.frames.get(number).filter(|frame| !frame.left || round == 0) else { return };
        let [one, other] = self.ends;
        let ((adapter, source), (_, unicast)) = if frame.from == 0 { (one, other) } else { (other, one) };
        let destination = match frame.what {
            Reflected::Unicast => unicast,
            Reflected::Broadcast => MacAddr::broadcast(),
        };
        let to = Destination {
            adapter,
            source,
            destination,
            vlan: self.place.vlan,
            ethertype: self.place.ethertype,
        };
        let payload = [&self.greeting[..], &[u8::try_from(number).unwrap_or_default()]].concat();
        let _refused = self.transmitter.send(&to, &payload);
    }

    fn collect(&mut self, time: Duration, stopped: &AtomicBool) -> Result<(), String> {
        let until = self.clock.now() + time;
        let mut buffer = ReceiveBuffer::new();
        while self.clock.now() < until {
            if stopped.load(Ordering::Relaxed) {
                return Err("it was interrupted".to_owned());
            }
            for (number, socket) in self.sockets.iter().enumerate() {
                let seen = socket.next(&mut buffer, LOOK).map_err(|error| errors::chain(&error))?;
                let Some(seen) = seen else { continue };
                let Some(frame) = seen.payload.strip_prefix(&self.greeting[..]).and_then(|rest| rest.first())
                else {
                    continue;
                };
                let off = self.clock.realtime().as_micros() as i64 - seen.stamp.as_micros() as i64;
                let Some(frame) = self.frames.get_mut(usize::from(*frame)) else { continue };
                match (number, seen.direction) {
                    (2, Direction::Sent) => {
                        frame.left = true;
                        self.stamps_off_us = Some(self.stamps_off_us.map_or(off, |most| most.max(off)));
                    }
                    (0 | 1, Direction::Received) if number != frame.from => frame.reflected = true,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn outcome(&self) -> Outcome {
        let probe = Probe {
            sent: self.frames.len(),
            left: self.frames.iter().filter(|frame| frame.left).count(),
            reflected: self.frames.iter().filter(|frame| frame.reflected).map(|frame| frame.what).collect(),
            waited: self.clock.now().since(self.began),
        };
        (probe, self.stamps_off_us)
    }
}
