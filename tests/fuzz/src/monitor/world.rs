//! The monitor, its guests, its store and one clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::iter;
use std::time::Duration;

use vmpulse_hostmon::monitor::{Input, Monitor, MonitorConfig, Output};
use vmpulse_hostmon::sessions::{REASSEMBLY_MAXIMUM, STRANGERS_MAXIMUM, Transmit};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::{Authentication, Key, KeyId, Mode};
use vmpulse_protocol::id::{HostMonitorId, Incarnation, VmUuid};
use vmpulse_protocol::message::Shutdown;
use vmpulse_protocol::path::HmIdentity;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::{Flags, Packet, Version};
use vmpulse_store::{
    HostMonitorRequest, HostMonitorWrite, RequestKind, Roster, RosterPath, RosterVm, Standing, VmState,
};

use super::claims::{Claims, INTERVAL, check_said, protected, said_by};
use super::guest::Guest;
use super::store::Store;
use super::{EVERYBODY, PLAIN, PROTECTED, mac, vm};
use crate::trace::trace;

pub(super) const HOST_MONITOR: HostMonitorId = HostMonitorId::from_bytes([0xaa; 16]);

/// What one frame can make the monitor do: a window of packets, everything queued handed back, a few writes.
const OUTPUTS_PER_FRAME: usize = 300;
/// What one turn of everything can: a window to every guest.
const OUTPUTS_PER_TURN: usize = 8 * OUTPUTS_PER_FRAME;
/// Messages that wait for the store, of each VM.
const TO_ACCEPT_PER_VM: usize = 8;
/// Messages to guests: one about heartbeats each, and the requests.
const TO_GUESTS: usize = 8 + REQUESTS_MAXIMUM;
/// Requests open at once.
const REQUESTS_MAXIMUM: usize = 8;
/// Frames that a replayer remembers.
const LOG_MAXIMUM: usize = 64;
/// Rounds of frames and answers before everything is silent; more is a storm.
const STORM: usize = 1000;
/// Turns without time between them: the Hellos that a stalled monitor has not sent.
const TURNS_MAXIMUM: usize = 4;
/// How late a block of the ring may be.
const RING_LAG: Duration = Duration::from_millis(8);
/// Every VM, whoever it is.
const VMS: usize = 8;

pub(super) struct World {
    now: Instant,
    random: fastrand::Rng,
    mode: Mode,
    mac: MacAddr,
    monitor: Monitor,
    guests: BTreeMap<u8, Guest>,
    keys: HashMap<VmUuid, Authentication>,
    current_key: BTreeMap<u8, u8>,
    plain: [u8; 3],
    /// A VM of another host.
    moved: Option<RosterVm>,
    requests: Vec<HostMonitorRequest>,
    next_tag: i64,
    adapter_up: bool,
    /// How late a ring hands frames over, if the monitor reads from one.
    lag: Option<Duration>,
    commits: bool,
    written: u64,
    store: Store,
    log: VecDeque<(MacAddr, Vec<u8>)>,
    claims: Claims,
    pub(super) flooded: usize,
}

fn keys(mode: Mode, ids: &[u8]) -> Authentication {
    let key = |id: &u8| Some((KeyId::new(*id)?, Key::from_bytes([*id; 32])));
    Authentication::new(mode, ids.iter().filter_map(key))
}

impl World {
    /// With the protected guests beating.
    pub(super) fn new(mode: u8, seed: u64) -> Self {
        let (now, mode) = (Instant::from_millis(1_000_000), Mode::ALL[usize::from(mode % 4)]);
        let mac = MacAddr(0x52, 0x54, 0, 0, 0xff, 0);
        let mut world = Self {
            now,
            random: fastrand::Rng::with_seed(seed),
            mode,
            mac,
            monitor: Monitor::new(config(mode, mac, seed, 0), now),
            guests: BTreeMap::new(),
            keys: PROTECTED.map(|number| (vm(number), keys(Mode::Required, &[1]))).collect(),
            current_key: PROTECTED.map(|number| (number, 1)).collect(),
            plain: [0xff, 1, 0],
            moved: None,
            requests: Vec::new(),
            next_tag: 1,
            adapter_up: true,
            lag: None,
            commits: true,
            written: 0,
            store: Store::default(),
            log: VecDeque::new(),
            claims: Claims::default(),
            flooded: 0,
        };
        world.tell(Input::Keys(world.keys.clone()));
        world.tell_roster(false);
        for number in PROTECTED {
            world.start(number);
            let guest = world.guests.get_mut(&number).expect("just started");
            guest.rekey(world.now, keys(Mode::Required, &[1]));
        }
        world.pass(Duration::from_secs(1));
        world
    }

    // What happens to guests.

    pub(super) fn start(&mut self, number: u8) {
        let (now, seed) = (self.now, self.random.u64(..));
        match self.guests.get_mut(&number) {
            Some(guest) => guest.restart(now, seed),
            None => drop(self.guests.insert(number, Guest::new(now, number, seed))),
        }
        self.carry();
    }

    pub(super) fn freeze(&mut self, number: u8) {
        self.with(number, |guest, _| guest.frozen = true);
    }

    pub(super) fn thaw(&mut self, number: u8) {
        self.with(number, |guest, _| guest.frozen = false);
    }

    pub(super) fn suspend(&mut self, number: u8, suspend: bool) {
        self.with(number, |guest, now| guest.suspend(now, suspend));
    }

    pub(super) fn shut_down(&mut self, number: u8, kind: Shutdown) {
        self.with(number, |guest, now| guest.shut_down(now, kind));
    }

    pub(super) fn ring(&mut self, number: u8, bits: u32) {
        self.with(number, |guest, now| guest.ring(now, bits));
    }

    pub(super) fn quiet(&mut self, number: u8, asked: Duration) {
        self.with(number, |guest, now| guest.quiet(now, asked));
    }

    fn with(&mut self, number: u8, call: impl FnOnce(&mut Guest, Instant)) {
        if let Some(guest) = self.guests.get_mut(&number) {
            call(guest, self.now);
        }
        self.carry();
    }

    /// Another key at both sides, the monitor first.
    pub(super) fn rotate(&mut self, number: u8, which: u8) {
        let (old, new) = (self.current_key[&number], which % 4 + 1);
        self.current_key.insert(number, new);
        self.keys.insert(vm(number), keys(Mode::Required, &[old, new]));
        self.tell(Input::Keys(self.keys.clone()));
        self.with(number, |guest, now| guest.rekey(now, keys(Mode::Required, &[new])));
    }

    /// Any keys and modes at either side of a VM that is not protected.
    pub(super) fn rekey_plain(&mut self, number: u8, which: u8) {
        let modes = [which >> 4, which >> 6].map(|mode| Mode::ALL[usize::from(mode % 4)]);
        self.keys.insert(vm(number), keys(modes[0], &[9]));
        if which & 8 == 0 {
            self.keys.remove(&vm(number));
        }
        self.tell(Input::Keys(self.keys.clone()));
        self.with(number, |guest, now| guest.rekey(now, keys(modes[1], &[9])));
    }

    // What happens to the monitor.

    pub(super) fn commit(&mut self, commits: bool) {
        self.commits = commits;
        self.tell(Input::StoreReachable(commits));
        self.committed();
        self.carry();
    }

    pub(super) fn doubt(&mut self, which: u8) {
        match which % 2 {
            0 => self.tell(Input::Dropped(u64::from(which) + 1)),
            _ => {
                self.lag = Some(RING_LAG);
                self.tell_heard();
                // A turn that does not get to the end of the ring.
                self.now = self.now + Duration::from_millis(100 * u64::from(which));
                self.monitor.handle_timeout(self.now);
                self.take_outputs(OUTPUTS_PER_TURN);
            }
        }
    }

    /// Down, up, or away and back with another address.
    pub(super) fn adapter(&mut self, which: u8) {
        if which.is_multiple_of(3) || which % 3 == 2 {
            self.adapter_up = false;
            self.tell(Input::Adapter(false));
        }
        if which % 3 == 2 {
            // Never one that it had before: its guests would take that for the path they had.
            self.mac.5 = self.mac.5.wrapping_add(1);
            let mtu = [68, 576, 1500, 9000][usize::from(which >> 2) % 4];
            self.tell(Input::Readdressed { mac: self.mac, mtu });
        }
        if which % 3 != 0 {
            if !self.adapter_up {
                self.claims.heard_again = Some(self.now);
            }
            self.adapter_up = true;
            self.tell(Input::Adapter(true));
        }
    }

    /// A new start of the monitor, which learns from the store what the one before knew.
    pub(super) fn restart(&mut self) {
        let (seed, counter) = (self.random.u64(..), self.random.u8(..));
        self.monitor = Monitor::new(config(self.mode, self.mac, seed, counter), self.now);
        self.written = 0;
        self.store.forget_asked();
        self.claims.on_restarted();
        if !self.adapter_up {
            self.tell(Input::Adapter(false));
        }
        self.tell(Input::Keys(self.keys.clone()));
        self.tell_roster(true);
        self.turn();
    }

    pub(super) fn ask_report(&mut self, number: u8, kind: u8) {
        if self.requests.len() >= REQUESTS_MAXIMUM {
            self.requests.remove(0);
        }
        let (tag, vm) = (self.next_tag, vm(number));
        self.next_tag += 1;
        let what = match kind >> 6 {
            0 | 1 => RequestKind::AskReport { vm, message: tag },
            2 => RequestKind::ReportTaken { vm, message: tag - 1 },
            _ => RequestKind::Reconsider(vm),
        };
        self.requests.push(HostMonitorRequest { tag, what });
        self.tell_roster(false);
    }

    /// Those without keys come and go; the protected ones stay.
    pub(super) fn change_roster(&mut self, plain: [u8; 3]) {
        self.plain = plain;
        self.tell_roster(false);
    }

    fn tell_roster(&mut self, first: bool) {
        let mut vms: Vec<RosterVm> =
            PROTECTED.map(|number| self.roster_vm(number, VmState::Started, None, first)).collect();
        let states = [VmState::Starting, VmState::Started, VmState::Stopped, VmState::Added];
        let [present, state, elsewhere] = self.plain;
        for (at, number) in PLAIN.enumerate().filter(|(at, _)| present >> at & 1 == 1) {
            let state = states[usize::from(state >> (2 * at)) % 4];
            let interval = (present >> at & 8 == 8).then_some(100 + 300 * u32::from(elsewhere));
            vms.push(self.roster_vm(number, state, interval, first));
        }
        self.moved = (elsewhere & 1 == 1).then(|| self.roster_vm(7, VmState::Started, None, false));
        self.claims.rostered.extend(vms.iter().chain(&self.moved).map(|vm| vm.uuid));
        let (requests, quiet) = (self.requests.clone(), self.store.quiets(self.now));
        self.tell(Input::Roster(Roster { vms, quiet, requests, ..Roster::default() }));
    }

    fn roster_vm(&self, number: u8, state: VmState, interval: Option<u32>, first: bool) -> RosterVm {
        let uuid = vm(number);
        let beat = self.claims.beats.get(&uuid).filter(|_| first);
        let missed = |beat| self.claims.missing.contains(&uuid).then(|| self.now.since(beat));
        let path = beat.map(|beat| RosterPath { mac: mac(number).to_string(), missed: missed(*beat) });
        RosterVm { uuid, state, suspended: None, heartbeat_interval_ms: interval, path }
    }

    fn tell(&mut self, input: Input<'_>) {
        self.tell_only(input);
        self.carry();
    }

    fn tell_only(&mut self, input: Input<'_>) {
        self.monitor.handle_input(self.now, input);
        self.take_outputs(OUTPUTS_PER_TURN);
    }

    // Time and frames.

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.turn();
        while let Some(due) = self.due().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.look();
            self.turn();
        }
        self.now = end;
        self.look();
        self.turn();
    }

    fn due(&self) -> Option<Instant> {
        let guests = self.guests.values().filter_map(Guest::poll_timeout);
        guests.chain(self.monitor.poll_timeout()).min()
    }

    fn look(&mut self) {
        let now = self.now;
        for guest in self.guests.values_mut().filter(|guest| !guest.frozen) {
            guest.look(now);
        }
    }

    /// A turn of the monitor's loop: everything that waits is read, then what is due is done.
    fn turn(&mut self) {
        for _ in 0..TURNS_MAXIMUM {
            self.carry();
            self.tell_heard();
            self.monitor.handle_timeout(self.now);
            self.take_outputs(OUTPUTS_PER_TURN);
            self.carry();
            if self.monitor.poll_timeout().is_none_or(|due| due > self.now) {
                return;
            }
        }
        panic!("the monitor would turn without rest");
    }

    /// Everything is read.
    fn tell_heard(&mut self) {
        if let Some(lag) = self.lag {
            self.tell(Input::Heard { until: self.now, lag });
        }
    }

    /// The monitor does not turn for a while; what its guests send meanwhile waits in its socket.
    pub(super) fn stall(&mut self, time: Duration) {
        let end = self.now + time;
        let mut waiting = Vec::new();
        loop {
            waiting.extend(self.frames().into_iter().map(|frame| (self.now, frame)));
            let due = self.guests.values().filter_map(Guest::poll_timeout).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = due.max(self.now);
            self.look();
        }
        self.now = end;
        for (arrived, (source, frame)) in waiting {
            self.receive_at(arrived, source, None, &frame, true);
        }
        self.turn();
    }

    fn frames(&mut self) -> Vec<(MacAddr, Vec<u8>)> {
        let (now, to) = (self.now, self.mac);
        let mut frames = Vec::new();
        for (number, guest) in self.guests.iter_mut().filter(|(_, guest)| !guest.frozen) {
            let sent = guest.frames(now, self.random.u64(..));
            let heard =
                sent.into_iter().filter(|(destination, _)| *destination == to || destination.is_broadcast());
            frames.extend(heard.map(|(_, frame)| (mac(*number), frame)));
        }
        frames
    }

    /// Carries frames to and fro until nobody has one.
    fn carry(&mut self) {
        for _ in 0..STORM {
            let asked = self.answer_question();
            let frames = self.frames();
            if frames.is_empty() && !asked {
                return;
            }
            for (source, frame) in frames {
                self.receive_at(self.now, source, None, &frame, true);
            }
        }
        panic!("the monitor and a guest never stop answering each other");
    }

    /// The store says what strangers are. Returns whether it was asked.
    fn answer_question(&mut self) -> bool {
        let Some(guests) = self.monitor.take_question(self.now) else { return false };
        assert!(guests.len() <= STRANGERS_MAXIMUM + VMS, "{} strangers are asked about", guests.len());
        let moved = self.moved.clone();
        let standing = |vm| match &moved {
            Some(moved) if moved.uuid == vm => Standing::Elsewhere(moved.clone()),
            _ => Standing::Unknown,
        };
        let standings = guests.into_iter().map(|vm| (vm, standing(vm))).collect();
        self.tell_only(Input::Standings(standings));
        true
    }

    /// A frame of somebody who is no guest.
    pub(super) fn receive(&mut self, source: MacAddr, vlan: Option<u16>, frame: &[u8]) {
        self.receive_at(self.now, source, vlan, frame, false);
        self.carry();
    }

    /// The number of the packet that was heard last.
    pub(super) fn latest_number(&self) -> Option<u8> {
        self.log.back().and_then(|(_, frame)| frame.get(2).copied())
    }

    /// A frame that a guest has sent before.
    pub(super) fn replay(&mut self, which: u8) {
        if !self.log.is_empty() {
            let (source, frame) = self.log[usize::from(which) % self.log.len()].clone();
            self.receive(source, None, &frame);
        }
    }

    fn receive_at(
        &mut self,
        arrived: Instant,
        source: MacAddr,
        vlan: Option<u16>,
        payload: &[u8],
        honest: bool,
    ) {
        if !self.adapter_up {
            return;
        }
        if honest {
            self.on_honest(arrived, source, payload);
        }
        trace(|| format!("{} {source} -> monitor: {:?}", self.now, Packet::decode(payload)));
        self.monitor.handle_input(self.now, Input::Frame { arrived, source, vlan, payload });
        self.take_outputs(OUTPUTS_PER_FRAME);
    }

    /// A heartbeat counts where the guest has a path.
    fn on_honest(&mut self, arrived: Instant, source: MacAddr, frame: &[u8]) {
        if self.log.len() >= LOG_MAXIMUM {
            self.log.pop_front();
        }
        self.log.push_back((source, frame.to_vec()));
        let packet = Packet::decode(frame).expect("what an agent sends is a packet");
        let heartbeat = packet.flags.without(Flags::AUTH) == Flags::BEG | Flags::END | Flags::PRI;
        let path = self.monitor.paths(self.now).find(|path| path.session.mac == source);
        if let Some(path) = path.filter(|path| heartbeat && path.watched) {
            self.claims.on_beat(arrived, path.session.vm);
        }
    }

    fn take_outputs(&mut self, maximum: usize) {
        let monitor = &mut self.monitor;
        let outputs: Vec<Output> = iter::from_fn(|| monitor.poll_output()).collect();
        assert!(outputs.len() <= maximum, "{} outputs at once", outputs.len());
        for output in outputs {
            trace(|| format!("{} monitor: {}", self.now, shown(&output)));
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Store { number, write } => self.on_write(number, &write),
                Output::AskCanary => panic!("there is no canary"),
                Output::Authenticated { vm } => assert!(self.keys.contains_key(&vm)),
                Output::Note(note) => assert!(!note.to_string().is_empty()),
                Output::LogLevel(level) => unreachable!("no roster says so: {level:?}"),
            }
        }
        self.committed();
    }

    /// The store has everything, and answers announcements.
    fn committed(&mut self) {
        if !self.commits {
            return;
        }
        self.monitor.handle_input(self.now, Input::Stored { up_to: self.written });
        self.take_acknowledgements();
        while let Some(answer) = self.store.poll_answer(self.now) {
            self.monitor.handle_input(self.now, Input::Quiet(answer));
            self.take_outputs(OUTPUTS_PER_FRAME);
        }
    }

    /// What a commit brings: acknowledgements only.
    fn take_acknowledgements(&mut self) {
        while let Some(output) = self.monitor.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                other @ (Output::Store { .. } | Output::Authenticated { .. } | Output::AskCanary | Output::Note(_) | Output::LogLevel(_)) => {
                    panic!("a commit has brought {other:?}")
                }
            }
        }
    }

    fn transmit(&mut self, transmit: &Transmit) {
        let to = transmit.destination;
        let everybody = to.is_broadcast();
        let (now, hm, up) = (self.now, self.mac, self.adapter_up);
        for (number, guest) in self.guests.iter_mut().filter(|(_, guest)| !guest.frozen && up) {
            if everybody || mac(*number) == to {
                guest.hear(now, hm, to, &transmit.payload);
            }
        }
    }

    fn on_write(&mut self, number: u64, write: &HostMonitorWrite) {
        self.written = number;
        self.claims.on_write(self.now, number, write);
        self.store.handle_write(write);
        if let Some(guest) = said_by(write) {
            check_said(guest, &self.guests[&guest].said, write);
        }
        if let HostMonitorWrite::RequestDone { tag } = write {
            self.requests.retain(|request| request.tag != *tag);
        }
    }

    // What must hold.

    pub(super) fn check(&self) {
        let sizes = self.monitor.sizes();
        assert!(sizes.sessions.sessions <= STRANGERS_MAXIMUM + VMS, "{sizes:?}");
        assert!(sizes.sessions.newcomers <= STRANGERS_MAXIMUM, "{sizes:?}");
        assert!(sizes.sessions.reassembly_bytes <= REASSEMBLY_MAXIMUM, "{sizes:?}");
        assert!(sizes.sessions.looks <= 4 * (STRANGERS_MAXIMUM + VMS), "{sizes:?}");
        assert!(sizes.watched <= VMS && sizes.to_guests <= TO_GUESTS, "{sizes:?}");
        assert!(sizes.to_accept <= TO_ACCEPT_PER_VM * VMS, "{sizes:?}");
        for path in self.monitor.paths(self.now) {
            if let Some(number) = protected(path.session.vm) {
                assert_eq!(path.session.mac, mac(number), "a path was taken over");
                let both = path.session.security.is_some_and(|(on, _)| on.incoming && on.outgoing);
                assert!(both, "a protected path is not authenticated");
            }
        }
    }

    /// Nobody forges any more, and everything works: the protected guests beat. Then they stop, and are missed.
    pub(super) fn heal(mut self) {
        self.commit(true);
        self.adapter(1);
        for number in PROTECTED {
            self.thaw(number);
            self.rotate(number, self.current_key[&number] - 1);
        }
        self.until(200, "the protected guests do not beat", |world| {
            PROTECTED.into_iter().all(|number| world.beats(number))
        });
        self.check();
        for number in EVERYBODY {
            self.freeze(number);
        }
        self.until(90, "silent guests are not called MISSING", |world| {
            PROTECTED.into_iter().all(|number| world.claims.missing.contains(&vm(number)))
        });
        self.pass(Duration::from_secs(60));
        let sizes = self.monitor.sizes();
        assert_eq!((sizes.sessions.reassembly_bytes, sizes.to_accept), (0, 0), "{sizes:?}");
    }

    fn beats(&self, number: u8) -> bool {
        let heard = self.claims.beats.get(&vm(number)).is_some_and(|beat| self.now.since(*beat) <= INTERVAL);
        heard && self.guests[&number].is_beating(self.now) && !self.claims.missing.contains(&vm(number))
    }

    fn until(&mut self, seconds: u32, problem: &str, reached: impl Fn(&Self) -> bool) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            if reached(self) {
                return;
            }
        }
        panic!("{problem} after {seconds} s");
    }
}

fn shown(output: &Output) -> String {
    match output {
        Output::Transmit(Transmit { destination, payload, .. }) => {
            format!("-> {destination}: {:?}", Packet::decode(payload))
        }
        other @ (Output::Store { .. } | Output::Authenticated { .. } | Output::AskCanary | Output::Note(_) | Output::LogLevel(_)) => {
            format!("{other:?}")
        }
    }
}

fn config(mode: Mode, mac: MacAddr, seed: u64, counter: u8) -> MonitorConfig {
    let mut nonce_seed = [counter; 32];
    nonce_seed[..8].copy_from_slice(&seed.to_be_bytes());
    MonitorConfig {
        identity: HmIdentity { uuid: HOST_MONITOR, lower: Version::V2_0, upper: Version::V2_1, mtu: 1500 },
        incarnation: Incarnation::new(1_556_303_548, seed as u32 % 1_000_000_000, counter),
        trunk: "trunkA".to_owned(),
        mac,
        vlan: None,
        heartbeat_interval_ms: INTERVAL.as_millis() as u32,
        quiet_max: Duration::from_secs(10),
        store_heartbeat: Duration::from_secs(30),
        seed,
        nonce_seed,
        authentication: mode,
        canary: None,
    }
}
