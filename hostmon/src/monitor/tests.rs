//! The monitor's core against real guest ends of paths and an imagined store, under one virtual clock.
#![allow(clippy::wildcard_enum_match_arm)]

mod adversity;
mod canary;
mod half_open;
mod known;
mod life;
mod quiet;
mod requests;
mod revenants;
mod shown;
mod spooled;
mod strangers;

use std::collections::BTreeMap;

use vmpulse_protocol::auth::Mode;
use vmpulse_protocol::id::{HostMonitorId, Incarnation};
use vmpulse_protocol::message::{Doorbell, Message, Shutdown};
use vmpulse_protocol::path::{Event, Initiator, Outputs, VmmIdentity};
use vmpulse_protocol::wire::{Flags, Packet, Version};
use vmpulse_store::{
    HostMonitorRequest, RequestKind, Roster, RosterPath, RosterVm, Standing, SuspendReason, VmState,
};

use super::*;
use crate::sessions::Transmit;

const TRUNK: MacAddr = MacAddr(0x52, 0x54, 0, 0, 0xff, 0);

fn vm(number: u8) -> VmUuid {
    VmUuid::from_bytes([number; 16])
}

fn mac(number: u8) -> MacAddr {
    MacAddr(0x52, 0x54, 0, 0, 0, number)
}

struct Guest {
    end: Initiator,
    out: Outputs,
    beat: Option<(Duration, Instant)>,
    frozen: bool,
    heard: Vec<String>,
    delivered: usize,
}

mod authentication;
mod guardian;

struct World {
    now: Instant,
    monitor: Monitor,
    guests: BTreeMap<MacAddr, Guest>,
    writes: Vec<(u64, HostMonitorWrite)>,
    commits: bool,
    hellos: Vec<Instant>,
    /// Hellos to one guest alone.
    reminders: Vec<(Instant, MacAddr)>,
    authenticated: Vec<VmUuid>,
    /// Lines in the log about what guests announced.
    announced: usize,
    /// Other lines.
    notes: Vec<Note>,
    levels: Vec<Option<String>>,
    /// What guests are that are not in the roster; others are unknown. `None`: the store does not answer.
    standings: Option<BTreeMap<VmUuid, Standing>>,
    canary: Option<crate::canary::CanaryVmm>,
    /// No frame passes.
    cut: bool,
    /// Of the canary none passes.
    canary_mute: bool,
    /// The canary's thread does not run.
    canary_stalled: bool,
}

pub(crate) fn config() -> MonitorConfig {
    let uuid = HostMonitorId::from_bytes([0xaa; 16]);
    MonitorConfig {
        identity: HmIdentity { uuid, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 },
        incarnation: Incarnation::new(1_556_303_548, 719_328_000, 1),
        trunk: "trunkA".to_owned(),
        mac: TRUNK,
        vlan: None,
        heartbeat_interval_ms: 10_000,
        quiet_max: Duration::from_secs(300),
        store_heartbeat: Duration::from_secs(30),
        seed: 1,
        nonce_seed: [1; 32],
        authentication: Mode::Off,
        canary: None,
    }
}

fn registered(number: u8, state: VmState, path: Option<RosterPath>) -> RosterVm {
    RosterVm { uuid: vm(number), state, suspended: None, heartbeat_interval_ms: None, path }
}

fn roster(vms: Vec<RosterVm>) -> Roster {
    Roster { vms, ..Roster::default() }
}

impl World {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: MonitorConfig) -> Self {
        let now = Instant::from_millis(1_000_000);
        let monitor = Monitor::new(config, now);
        let mut world = Self {
            now,
            monitor,
            guests: BTreeMap::new(),
            writes: vec![],
            commits: true,
            hellos: vec![],
            reminders: vec![],
            authenticated: vec![],
            announced: 0,
            notes: vec![],
            levels: vec![],
            standings: Some(BTreeMap::new()),
            canary: None,
            cut: false,
            canary_mute: false,
            canary_stalled: false,
        };
        world.carry();
        let started = |write: &HostMonitorWrite| matches!(write, HostMonitorWrite::NodeEvent { kind, .. } if kind == "STARTED");
        assert_eq!(world.writes().into_iter().filter(|write| started(write)).count(), 1);
        world.writes.retain(|(_, write)| !started(write));
        world
    }

    /// With these VMs STARTING, each with a guest that shook hands and beats.
    fn beating(numbers: std::ops::RangeInclusive<u8>) -> Self {
        let mut world = Self::new();
        let vms = numbers.clone().map(|number| registered(number, VmState::Starting, None)).collect();
        world.roster(roster(vms));
        for number in numbers {
            world.guest(number, number);
        }
        world.run(1);
        world
    }

    fn missing(&self, number: u8) -> bool {
        self.monitor.tracker.is_missing(vm(number))
    }

    fn roster(&mut self, roster: Roster) {
        self.monitor.handle_input(self.now, Input::Roster(roster));
        self.carry();
    }

    fn guest(&mut self, address: u8, uuid: u8) {
        self.guest_saying(address, &vm(uuid).to_string());
    }

    fn new_guest(address: u8, uuid: &str) -> Guest {
        let (lower, upper) = (Version::V2_0, Version::V2_1);
        let identity = VmmIdentity { uuid: uuid.to_owned(), os_type: "Linux".to_owned(), lower, upper };
        Guest {
            end: Initiator::new(identity, 1500, u64::from(address)),
            out: Outputs::new(),
            beat: None,
            frozen: false,
            heard: vec![],
            delivered: 0,
        }
    }

    fn guest_saying(&mut self, address: u8, uuid: &str) {
        let mut guest = Self::new_guest(address, uuid);
        guest.end.connect(self.now, &mut guest.out);
        self.guests.insert(mac(address), guest);
        self.carry();
    }

    fn say(&mut self, address: u8, message: &Message<'_>) {
        let guest = self.guests.get_mut(&mac(address)).unwrap();
        guest.end.send(self.now, Token(1), message, &mut guest.out);
        self.carry();
    }

    fn guest_mut(&mut self, address: u8) -> &mut Guest {
        self.guests.get_mut(&mac(address)).unwrap()
    }

    fn run(&mut self, seconds: u64) {
        self.run_to(self.now + Duration::from_secs(seconds));
    }

    fn run_to(&mut self, end: Instant) {
        loop {
            self.carry();
            let thawed = self.guests.values().filter(|guest| !guest.frozen);
            let guests =
                thawed.flat_map(|guest| [guest.beat.map(|beat| beat.1), guest.end.poll_timeout()]).flatten();
            let canary = self
                .canary
                .as_ref()
                .filter(|_| !self.canary_stalled)
                .and_then(|canary| canary.poll_timeout());
            let due = guests.chain(self.monitor.poll_timeout()).chain(canary).min().filter(|due| *due <= end);
            let Some(due) = due else { break };
            self.now = due.max(self.now);
            self.beat();
            self.carry();
            self.monitor.handle_timeout(self.now);
        }
        self.now = end;
        self.monitor.handle_timeout(self.now);
        self.carry();
    }

    fn beat(&mut self) {
        for guest in self.guests.values_mut().filter(|guest| !guest.frozen) {
            guest.end.handle_timeout(self.now, &mut guest.out);
            if let Some((interval, next)) = guest.beat.filter(|(_, next)| *next <= self.now) {
                guest.beat = Some((interval, next + interval));
                guest.end.send_heartbeat(&mut guest.out);
            }
        }
        self.beat_canary();
    }

    fn carry(&mut self) {
        loop {
            let mut quiet = true;
            self.carry_canary();
            for (mac, packet) in self.packets_of_guests() {
                quiet = false;
                if self.cut {
                    continue;
                }
                let input = Input::Frame { arrived: self.now, source: mac, vlan: None, payload: &packet };
                self.monitor.handle_input(self.now, input);
            }
            while let Some(output) = self.monitor.poll_output() {
                quiet = false;
                self.on_output(output);
            }
            if let Some(guests) = self.monitor.take_question(self.now) {
                quiet = false;
                self.answer(&guests);
            }
            if quiet {
                return;
            }
        }
    }

    /// What the store says of strangers.
    fn answer(&mut self, guests: &[VmUuid]) {
        let Some(known) = &self.standings else { return };
        let standing = |vm: &VmUuid| known.get(vm).cloned().unwrap_or(Standing::Unknown);
        let standings = guests.iter().map(|vm| (*vm, standing(vm))).collect();
        self.monitor.handle_input(self.now, Input::Standings(standings));
    }

    /// A VM of another host.
    fn elsewhere(&mut self, number: u8, state: VmState) {
        let moved = Standing::Elsewhere(registered(number, state, None));
        self.standings.as_mut().unwrap().insert(vm(number), moved);
    }

    fn packets_of_guests(&mut self) -> Vec<(MacAddr, Vec<u8>)> {
        let mut packets = vec![];
        for (mac, guest) in self.guests.iter_mut().filter(|(_, guest)| !guest.frozen) {
            guest.listen(self.now);
            packets.extend(std::iter::from_fn(|| guest.out.poll_packet()).map(|packet| (*mac, packet)));
        }
        packets
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Transmit(_) if self.cut => {}
            Output::Transmit(frame) => {
                self.tell_canary(&frame);
                let packet = Packet::decode(&frame.payload).unwrap();
                if packet.has(Flags::HEL) {
                    self.hellos.push(self.now);
                    if !frame.destination.is_broadcast() {
                        self.reminders.push((self.now, frame.destination));
                    }
                } else if let Some(guest) =
                    self.guests.get_mut(&frame.destination).filter(|guest| !guest.frozen)
                {
                    guest.end.handle_packet(self.now, &packet, &mut guest.out);
                }
            }
            Output::Store { number, write } => {
                self.writes.push((number, write));
                if self.commits {
                    self.monitor.handle_input(self.now, Input::Stored { up_to: number });
                }
            }
            Output::AskCanary => self.asked_canary(),
            Output::Authenticated { vm } => self.authenticated.push(vm),
            Output::Note(Note::Announced { .. }) => self.announced += 1,
            Output::Note(note) => self.notes.push(note),
            Output::LogLevel(level) => self.levels.push(level),
        }
    }

    fn writes(&self) -> Vec<&HostMonitorWrite> {
        self.writes.iter().map(|(_, write)| write).collect()
    }

    fn forget_writes(&mut self) {
        self.writes.clear();
    }
}

impl Guest {
    fn listen(&mut self, now: Instant) {
        while let Some(event) = self.out.poll_event() {
            match event {
                Event::Message { delivery, payload } => {
                    self.end.accept(delivery, &mut self.out);
                    self.on_message(now, &payload);
                }
                Event::Delivered(_) => self.delivered += 1,
                _ => {}
            }
        }
    }

    fn on_message(&mut self, now: Instant, payload: &[u8]) {
        match Message::parse(payload) {
            Some(Message::StartHeartbeat { interval_ms }) => {
                self.beat = Some((Duration::from_millis(interval_ms.into()), now));
            }
            Some(Message::StopHeartbeat) => self.beat = None,
            _ => {}
        }
        self.heard.push(String::from_utf8(payload.to_vec()).unwrap());
    }
}

fn missing_edges(world: &World) -> Vec<(VmUuid, u128)> {
    let edge = |write: &&HostMonitorWrite| match write {
        HostMonitorWrite::PathMissing { vm, age, .. } => Some((*vm, age.as_millis())),
        _ => None,
    };
    world.writes().iter().filter_map(edge).collect()
}
