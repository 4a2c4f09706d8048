//! A monitor with thousands of guests that beat: real handshakes, an imagined store, one virtual clock.
//!
//! Shared by the benchmarks and by the tests of memory and allocations.
#![allow(dead_code)] // Nobody uses all of it.
// Test code, as in a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::time::Duration;

use vmpulse_hostmon::monitor::{Input, Monitor, MonitorConfig, Output};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Addresses, Authentication, Key, KeyId, Mode, Nonces};
use vmpulse_protocol::id::{HostMonitorId, Incarnation, VmUuid};
use vmpulse_protocol::message::{Doorbell, Message};
use vmpulse_protocol::path::{Event, HmIdentity, Initiator, Outputs, Token, VmmIdentity, VmmSecurity};
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Packet, Version};
use vmpulse_store::{Roster, RosterPath, RosterVm, VmState};

/// Handshakes under way at once: fewer than a monitor has room for.
const AT_ONCE: usize = 1000;

/// The monitor's address.
const TRUNK: MacAddr = MacAddr(0x52, 0x54, 0xff, 0, 0, 0);

/// A guest's address and its end of the path.
struct Guest {
    mac: MacAddr,
    end: Initiator,
    out: Outputs,
    told: bool,
}

/// See the module.
pub(crate) struct Fleet {
    pub(crate) monitor: Monitor,
    pub(crate) now: Instant,
    guests: Vec<Guest>,
    by_mac: HashMap<MacAddr, usize>,
    interval: Duration,
}

pub(crate) fn vm(number: usize) -> VmUuid {
    let mut bytes = [0x5a; 16];
    bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
    VmUuid::from_bytes(bytes)
}

pub(crate) fn mac(number: usize) -> MacAddr {
    let [.., a, b, c] = number.to_be_bytes();
    MacAddr(0x52, 0x54, 0, a, b, c)
}

fn config(interval_ms: u32) -> MonitorConfig {
    let uuid = HostMonitorId::from_bytes([0xaa; 16]);
    MonitorConfig {
        identity: HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 },
        incarnation: Incarnation::new(1_556_303_548, 719_328_000, 1),
        trunk: "trunkA".to_owned(),
        mac: TRUNK,
        vlan: None,
        heartbeat_interval_ms: interval_ms,
        quiet_max: Duration::from_secs(300),
        store_heartbeat: Duration::from_secs(30),
        seed: 1,
        nonce_seed: [1; 32],
        authentication: Mode::Off,
        canary: None,
    }
}

/// Whether a guest authenticates what it sends, and the monitor what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secured {
    No,
    Yes,
}

fn authentication(number: usize) -> Authentication {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let id = KeyId::new(1).expect("1 to 255 are key ids");
    Authentication::new(Mode::Required, [(id, Key::from_bytes(key))])
}

fn guest(number: usize, secured: Secured) -> Guest {
    let (lower, upper) = (Version::V2_0, Version::V2_1);
    let identity = VmmIdentity { uuid: vm(number).to_string(), os_type: "Linux".to_owned(), lower, upper };
    let mut end = Initiator::new(identity, 1500, number as u64);
    if secured == Secured::Yes {
        let addresses = Addresses { vmm: mac(number), hm: TRUNK };
        let nonces = Nonces::new(&[number.to_be_bytes()[7]; 32]);
        end.secure(VmmSecurity { authentication: authentication(number), addresses, nonces });
    }
    Guest { mac: mac(number), end, out: Outputs::new(), told: false }
}

/// As the store reads it while everybody beats.
pub(crate) fn roster(count: usize) -> Roster {
    let vms = (0..count).map(|number| RosterVm {
        uuid: vm(number),
        state: VmState::Starting,
        suspended: None,
        heartbeat_interval_ms: None,
        path: Some(RosterPath { mac: mac(number).to_string(), missed: None }),
    });
    Roster { vms: vms.collect(), ..Roster::default() }
}

impl Fleet {
    /// A monitor that watches `count` VMs, and as many guests that have not said anything yet.
    pub(crate) fn silent(count: usize, interval_ms: u32, secured: Secured) -> Self {
        let now = Instant::from_millis(1_000_000);
        let mut monitor = Monitor::new(config(interval_ms), now);
        monitor.handle_input(now, Input::Roster(roster(count)));
        if secured == Secured::Yes {
            let keys = (0..count).map(|number| (vm(number), authentication(number))).collect();
            monitor.handle_input(now, Input::Keys(keys));
        }
        let guests: Vec<Guest> = (0..count).map(|number| guest(number, secured)).collect();
        let by_mac = guests.iter().enumerate().map(|(at, guest)| (guest.mac, at)).collect();
        let interval = Duration::from_millis(interval_ms.into());
        let mut fleet = Self { monitor, now, guests, by_mac, interval };
        fleet.drain();
        fleet
    }

    /// The same after every guest shook hands, was told to beat, and has beaten once.
    pub(crate) fn beating(count: usize, interval_ms: u32, secured: Secured) -> Self {
        let mut fleet = Self::silent(count, interval_ms, secured);
        for first in (0..count).step_by(AT_ONCE) {
            let now = fleet.now;
            let chunk = first..count.min(first + AT_ONCE);
            for guest in &mut fleet.guests[chunk.clone()] {
                guest.end.connect(now, &mut guest.out);
            }
            fleet.settle(chunk);
        }
        assert!(fleet.guests.iter().all(|guest| guest.told), "not every guest was told to beat");
        fleet.beat_all();
        let beating = fleet.monitor.counters().into_iter().find(|(name, _)| name == "vms_beating");
        assert_eq!(beating.map(|(_, count)| count), Some(count as u64));
        fleet
    }

    /// The next heartbeat of each guest, in the order in which they are sent.
    pub(crate) fn heartbeats(&mut self) -> Vec<(MacAddr, Vec<u8>)> {
        let beats = self.guests.iter_mut().map(|guest| {
            guest.end.send_heartbeat(&mut guest.out);
            (guest.mac, guest.out.poll_packet().expect("an open path beats"))
        });
        beats.collect()
    }

    /// One interval with a heartbeat of every guest, evenly spread, and every timeout of it. Takes `turn` frames at
    /// a time, as a driver does that finds so many in its socket.
    pub(crate) fn interval(&mut self, beats: &[(MacAddr, Vec<u8>)], turn: usize) {
        let step = self.interval / u32::try_from(beats.len()).unwrap();
        for frames in beats.chunks(turn) {
            self.now = self.now + step * u32::try_from(frames.len()).unwrap();
            for (source, payload) in frames {
                let input = Input::Frame { arrived: self.now, source: *source, vlan: None, payload };
                self.monitor.handle_input(self.now, input);
            }
            if self.monitor.poll_timeout().is_some_and(|due| due <= self.now) {
                self.monitor.handle_timeout(self.now);
            }
            while let Some(output) = self.monitor.poll_output() {
                drop(output);
            }
        }
    }

    /// The same some times over, with heartbeats that were never sent before, as authenticated ones must be. Only the
    /// monitor's part is timed.
    pub(crate) fn timed_rounds(&mut self, rounds: u64, turn: usize, clock: fn() -> Duration) -> Duration {
        let mut spent = Duration::ZERO;
        for _ in 0..rounds {
            let beats = self.heartbeats();
            let begun = clock();
            self.interval(&beats, turn);
            spent += clock() - begun;
        }
        spent
    }

    pub(crate) fn take_roster(&mut self, roster: Roster) {
        self.monitor.handle_input(self.now, Input::Roster(roster));
    }

    /// All at once, and with everything that comes of it.
    pub(crate) fn fall_silent(&mut self) {
        let all = self.now + self.interval * 3;
        while let Some(due) = self.monitor.poll_timeout().filter(|due| *due < all) {
            self.now = due;
            self.monitor.handle_timeout(due);
        }
        while let Some(output) = self.monitor.poll_output() {
            drop(output);
        }
    }

    /// A message of everybody is in the store.
    pub(crate) fn ring_doorbells(&mut self) {
        let doorbell = Message::Doorbell(Doorbell::STATUS);
        for guest in &mut self.guests {
            guest.end.send(self.now, Token(1), &doorbell, &mut guest.out);
        }
        let all = 0..self.guests.len();
        self.settle(all);
    }

    /// A heartbeat of every guest within one interval.
    pub(crate) fn beat_all(&mut self) {
        let beats = self.heartbeats();
        self.interval(&beats, 64);
    }

    /// Takes a frame as it came from a real trunk.
    pub(crate) fn take_frame(&mut self, arrived: Instant, source: MacAddr, payload: &[u8]) {
        self.monitor.handle_input(self.now, Input::Frame { arrived, source, vlan: None, payload });
    }

    /// Heartbeats that the monitor has heard.
    pub(crate) fn heard(&self) -> u64 {
        let counters = self.monitor.counters();
        counters.into_iter().find(|(name, _)| name == "heartbeats").map_or(0, |(_, count)| count)
    }

    /// Lets time pass while every guest beats.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.beat_all();
            self.drain();
        }
    }

    /// Carries frames between the monitor and these guests until nobody has anything to say.
    fn settle(&mut self, guests: std::ops::Range<usize>) {
        loop {
            let mut quiet = true;
            for at in guests.clone() {
                let (now, guest) = (self.now, &mut self.guests[at]);
                guest.listen(now);
                let packets: Vec<Vec<u8>> = std::iter::from_fn(|| guest.out.poll_packet()).collect();
                for payload in packets {
                    quiet = false;
                    let source = self.guests[at].mac;
                    let input = Input::Frame { arrived: self.now, source, vlan: None, payload: &payload };
                    self.monitor.handle_input(self.now, input);
                }
            }
            self.drain();
            if quiet {
                return;
            }
        }
    }

    /// Does what the monitor wants: its store commits at once.
    fn drain(&mut self) {
        let mut written = 0;
        while let Some(output) = self.monitor.poll_output() {
            match output {
                Output::Transmit(frame) => {
                    let Some(guest) = self.by_mac.get(&frame.destination).map(|at| &mut self.guests[*at])
                    else {
                        continue;
                    };
                    let packet = Packet::decode(&frame.payload).expect("the monitor sends packets");
                    guest.end.handle_packet(self.now, &packet, &mut guest.out);
                }
                Output::Store { number, .. } => written = number,
                Output::Authenticated { .. } | Output::AskCanary | Output::LogLevel(_) | Output::Note(_) => {}
            }
        }
        if written > 0 {
            self.monitor.handle_input(self.now, Input::Stored { up_to: written });
        }
    }
}

impl Guest {
    fn listen(&mut self, now: Instant) {
        self.end.handle_timeout(now, &mut self.out);
        while let Some(event) = self.out.poll_event() {
            if let Event::Message { delivery, payload } = event {
                self.told |= matches!(Message::parse(&payload), Some(Message::StartHeartbeat { .. }));
                self.end.accept(delivery, &mut self.out);
            }
        }
    }
}
