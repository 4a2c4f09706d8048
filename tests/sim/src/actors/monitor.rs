//! A host monitor: its core and the threads that write, in the shape of its driver.

use std::path::PathBuf;
use std::time::Duration;

use vmpulse_hostmon::monitor::{Input, Monitor, MonitorConfig, Output};
use vmpulse_hostmon::pending::Waiting;
use vmpulse_hostmon::record::{Aside, Recorded};
use vmpulse_hostmon::spool::record::HEADER_BYTES;
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::Mode;
use vmpulse_protocol::id::{Incarnation, VmUuid};
use vmpulse_protocol::path::HmIdentity;
use vmpulse_protocol::time::Instant;
use vmpulse_protocol::wire::Version;
use vmpulse_store::{HostMonitorWrite, SuspendReason};

use super::canary::{self, Canary};
use super::disk::Disk;
use super::keys;
use super::store_worker::{Clock, Reply, StoreWorker, contents};
use crate::event::Event;
use crate::names::{Hm, Vm};
use crate::plan::Cluster;
use crate::random::entropy;
use crate::store::Backing;
use crate::world::Mark;
use crate::{replay, says};

/// As in the daemon's settings.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
const QUIET_MAX: Duration = Duration::from_mins(10);
const STORE_HEARTBEAT: Duration = Duration::from_secs(30);
/// Between looks at the trunk adapter.
const ADAPTER_PERIOD: Duration = Duration::from_secs(1);
/// What an orderly stop waits for the store to take its last word.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// Frames that wait in the socket of a monitor that does not read: 1 MiB, and what the kernel counts for a small frame.
const SOCKET_FRAMES: usize = 1024;

/// A frame on its way into the core.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) arrived: Instant,
    pub(crate) source: MacAddr,
    pub(crate) payload: Vec<u8>,
    /// An intact heartbeat of this VM, and whether it is of its guardian.
    pub(crate) beat: Option<(Vm, bool)>,
    /// Where it stands among those that its guest has sent, if it is authenticated.
    pub(crate) mark: Option<Mark>,
}

struct Process {
    clock: Clock,
    monitor: Recorded,
    worker: StoreWorker,
    canary: Option<Canary>,
    frames: Vec<Frame>,
    dropped: u64,
    replies: Vec<Reply>,
    stalled_since: Option<Instant>,
    stopping: Option<Instant>,
    written: u64,
    committed: u64,
    failing: Option<String>,
}

/// See the module.
pub(crate) struct MonitorNode {
    pub(crate) hm: Hm,
    process: Option<Process>,
    disk: Disk,
    /// Counts its starts.
    pub(crate) life: u64,
    vms: usize,
    /// Whether it runs a canary.
    canary: bool,
    /// Of the guests' keys, where it demands them.
    keys: Option<u64>,
    random: fastrand::Rng,
    events: Vec<Event>,
    frames: Vec<(MacAddr, Vec<u8>)>,
    /// Where it records what happens, as its daemon does.
    records: Option<PathBuf>,
}

impl MonitorNode {
    pub(crate) fn new(hm: Hm, cluster: &Cluster, random: fastrand::Rng, records: Option<PathBuf>) -> Self {
        Self {
            hm,
            process: None,
            disk: Disk::default(),
            life: 0,
            vms: cluster.vms,
            canary: cluster.canary,
            keys: cluster.auth.then_some(cluster.seed),
            random,
            events: Vec::new(),
            frames: Vec::new(),
            records,
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stalled_since.is_some())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.worker.waiting())
    }

    /// Starts it, with a store or without.
    pub(crate) fn start(&mut self, now: Instant, adapter_up: bool) {
        self.life += 1;
        let clock = Clock { started: now };
        let (config, own) = (self.config(now), clock.own(now));
        let incarnation = config.incarnation.to_string();
        let canary = config.canary.clone();
        let canary =
            canary.map(|identity| Canary::new(clock, own, identity, self.hm.mac(), &mut self.random));
        let recorder =
            self.records.as_deref().and_then(|directory| replay::recorder(directory, self.hm, &config, own));
        let mut monitor = Recorded::with(Monitor::new(config, own), recorder);
        if !adapter_up {
            monitor.handle_input(own, Input::Adapter(false));
        }
        if let Some(seed) = self.keys {
            monitor.handle_input(own, Input::Keys(keys::of_monitor(seed, self.vms)));
        }
        let random = fastrand::Rng::with_seed(self.random.u64(..));
        self.process = Some(Process {
            clock,
            monitor,
            worker: StoreWorker::new(self.hm, &incarnation, clock, &mut self.disk, random),
            canary,
            frames: Vec::new(),
            dropped: 0,
            replies: Vec::new(),
            stalled_since: None,
            stopping: None,
            written: 0,
            committed: 0,
            failing: None,
        });
        self.events.push(Event::MonitorUp(self.hm));
        self.turn(now);
    }

    fn config(&mut self, now: Instant) -> MonitorConfig {
        let counter = u8::try_from(self.life % 200).unwrap_or(0);
        let nanos = now.as_nanos();
        let below_a_second = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        MonitorConfig {
            identity: HmIdentity {
                uuid: self.hm.id(),
                lower: Version::V2_0,
                upper: Version::V2_1,
                mtu: 1500,
            },
            incarnation: Incarnation::new(1_700_000_000 + nanos / 1_000_000_000, below_a_second, counter),
            trunk: format!("trunk{}", self.hm.trunk),
            mac: self.hm.mac(),
            vlan: None,
            heartbeat_interval_ms: u32::try_from(HEARTBEAT_INTERVAL.as_millis()).unwrap_or(u32::MAX),
            quiet_max: QUIET_MAX,
            store_heartbeat: STORE_HEARTBEAT,
            seed: self.random.u64(..),
            nonce_seed: entropy(&mut self.random),
            authentication: if self.keys.is_some() { Mode::Required } else { Mode::Off },
            canary: self.canary.then(|| canary::identity(&mut self.random)),
        }
    }

    pub(crate) fn kill(&mut self, now: Instant) {
        self.end(now, "was killed");
    }

    fn end(&mut self, now: Instant, how: &'static str) {
        if let Some(mut process) = self.process.take() {
            if process.stopping.is_some() {
                process.monitor.close(process.own(now));
            }
            process.worker.crash(&mut self.disk);
            self.events.push(Event::MonitorDown(self.hm, how));
        }
    }

    /// The last word about the suspension of a VM by its administrator that is in the spool's file.
    pub(crate) fn kept_suspension(&self, now: Instant, vm: VmUuid) -> Option<bool> {
        let kept = contents(&self.disk, Clock { started: Instant::ZERO }, now);
        let said = |write: &HostMonitorWrite| {
            if let HostMonitorWrite::Suspended { vm: of, reason: SuspendReason::Administrator, .. } = write {
                (*of == vm).then_some(true)
            } else if let HostMonitorWrite::Resumed { vm: of, .. } = write {
                (*of == vm).then_some(false)
            } else {
                None
            }
        };
        let writes = kept.starts.iter().flat_map(|start| &start.writes);
        writes.filter_map(|(_, write)| said(write)).next_back()
    }

    /// Bytes of the spool's file but for its beginning.
    pub(crate) fn spooled(&self) -> usize {
        self.disk.spool().len().saturating_sub(HEADER_BYTES)
    }

    pub(crate) fn stop(&mut self, now: Instant) {
        let Some(process) = self.process.as_mut().filter(|process| process.stopping.is_none()) else {
            return;
        };
        process.stopping = Some(now);
        let own = process.own(now);
        process.monitor.handle_input(own, Input::Shutdown);
        self.turn(now);
    }

    pub(crate) fn stall(&mut self, now: Instant) {
        if let Some(process) = &mut self.process {
            process.stalled_since.get_or_insert(now);
        }
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        if let Some(since) = self.process.as_mut().and_then(|process| process.stalled_since.take()) {
            self.events.push(Event::Stalled(self.hm, now.since(since)));
            self.turn(now);
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, frame: Frame) {
        let Some(process) = &mut self.process else { return };
        if process.frames.len() >= SOCKET_FRAMES {
            process.dropped += 1;
            if let Some((vm, _)) = frame.beat {
                self.events.push(Event::BeatDropped(vm, self.hm));
            }
            return;
        }
        process.frames.push(frame);
        self.turn(now);
    }

    pub(crate) fn adapter(&mut self, now: Instant, up: bool) {
        let Some(process) = &mut self.process else { return };
        let own = process.own(now);
        process.monitor.handle_input(own, Input::Adapter(up));
        self.turn(now);
    }

    /// How long after the adapter came back it is seen.
    pub(crate) const fn adapter_period() -> Duration {
        ADAPTER_PERIOD
    }

    pub(crate) fn reply(&mut self, now: Instant, life: u64, reply: Reply) {
        if life == self.life
            && let Some(process) = &mut self.process
        {
            process.replies.push(reply);
            self.turn(now);
        }
    }

    /// A turn of its loop.
    pub(crate) fn turn(&mut self, now: Instant) {
        let Some(process) = self.process.as_mut().filter(|process| process.stalled_since.is_none()) else {
            return;
        };
        let own = process.own(now);
        for frame in std::mem::take(&mut process.frames) {
            let arrived = process.own(frame.arrived);
            if let Some((vm, guardian)) = frame.beat {
                self.events.push(Event::Beat { vm, hm: self.hm, arrived: frame.arrived, guardian });
            }
            let Frame { source, payload, .. } = &frame;
            process.monitor.handle_input(own, Input::Frame { arrived, source: *source, vlan: None, payload });
        }
        process.monitor.handle_input(own, Input::Heard { until: own, lag: Duration::ZERO });
        if let Some(canary) = &mut process.canary {
            for report in canary.reports() {
                process.monitor.handle_input(own, Input::Canary(report));
            }
        }
        for reply in std::mem::take(&mut process.replies) {
            process.take_reply(own, reply, self.hm, &mut self.events);
        }
        if process.monitor.poll_timeout().is_some_and(|due| due <= own) && process.dropped > 0 {
            let frames = std::mem::take(&mut process.dropped);
            process.monitor.handle_input(own, Input::Dropped(frames));
        }
        if let Some(guests) = process.monitor.turn(own) {
            process.worker.ask_about(now, guests);
        }
        self.carry(own);
        self.end_if_done(now);
    }

    fn carry(&mut self, own: Instant) {
        while let Some(process) = &mut self.process {
            let Some(output) = process.monitor.poll_output() else { return };
            match output {
                Output::Transmit(frame) => self.frames.push((frame.destination, frame.payload)),
                Output::Store { number, write } => {
                    self.events.push(says::written(self.hm, number, &write));
                    process.written = number;
                    process.worker.push(Waiting { number, at: own, write });
                }
                Output::AskCanary => process.canary.iter_mut().for_each(Canary::ask),
                Output::Authenticated { vm } => {
                    let who = Vm::of(vm, self.vms).map_or_else(|| vm.to_string(), |vm| vm.to_string());
                    self.events.push(Event::Monitor(self.hm, format!("{who} is authenticated")));
                }
                Output::LogLevel(_) => {}
                Output::Note(note) => {
                    let vms = self.vms;
                    self.events.push(says::noted(self.hm, &note, |vm| Vm::of(vm, vms)));
                }
            }
        }
    }

    fn end_if_done(&mut self, now: Instant) {
        let done = |process: &Process| {
            let said = process.committed >= process.written;
            process.stopping.is_some_and(|since| said || now.since(since) >= STOP_PATIENCE)
        };
        if self.process.as_ref().is_some_and(done) {
            self.end(now, "ended");
        }
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn take_frames(&mut self) -> Vec<(MacAddr, Vec<u8>)> {
        std::mem::take(&mut self.frames)
    }

    /// When its loop is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let process = self.process.as_ref().filter(|process| process.stalled_since.is_none())?;
        let core = process.monitor.poll_timeout().map(|own| process.world(own));
        let stop = process.stopping.map(|since| since + STOP_PATIENCE);
        core.into_iter().chain(stop).min()
    }

    /// When its store thread is; a stall stops that too.
    pub(crate) fn poll_worker(&self) -> Option<Instant> {
        self.process.as_ref().filter(|process| process.stalled_since.is_none())?.worker.poll_timeout()
    }

    pub(crate) fn worker_turn(&mut self, now: Instant, store: &Backing) -> Vec<(Instant, Reply)> {
        let running = self.process.as_mut().filter(|process| process.stalled_since.is_none());
        running.map_or_else(Vec::new, |process| process.worker.turn(now, &mut self.disk, store))
    }

    /// The address of its canary.
    pub(crate) fn canary_mac(&self) -> Option<MacAddr> {
        self.process.as_ref()?.canary.as_ref().map(|canary| canary.mac)
    }

    /// When its canary's thread is to be called; a stall stops that too.
    pub(crate) fn poll_canary(&self) -> Option<Instant> {
        let process = self.process.as_ref().filter(|process| process.stalled_since.is_none())?;
        process.canary.as_ref()?.poll_timeout()
    }

    /// A frame for the canary of this life.
    pub(crate) fn receive_canary(&mut self, life: u64, frame: canary::Frame) {
        if life == self.life
            && let Some(canary) = self.process.as_mut().and_then(|process| process.canary.as_mut())
        {
            canary.receive(frame);
        }
    }

    /// A turn of the canary's thread. Returns the frames it sends.
    pub(crate) fn canary_turn(&mut self, now: Instant) -> Vec<(MacAddr, Vec<u8>)> {
        let running = self.process.as_mut().filter(|process| process.stalled_since.is_none());
        running.and_then(|process| process.canary.as_mut()).map_or_else(Vec::new, |canary| canary.turn(now))
    }

    pub(crate) fn doubt_clock(&mut self) {
        if let Some(process) = &mut self.process {
            process.worker.doubt_clock();
        }
    }

    pub(crate) fn stir_worker(&mut self, now: Instant) {
        if let Some(process) = &mut self.process {
            process.worker.stir(now);
        }
    }
}

impl Process {
    fn own(&self, now: Instant) -> Instant {
        self.clock.own(now)
    }

    fn world(&self, own: Instant) -> Instant {
        self.clock.world(own)
    }

    fn take_reply(&mut self, own: Instant, reply: Reply, hm: Hm, events: &mut Vec<Event>) {
        match reply {
            Reply::Safe { up_to, stored } => {
                self.committed = self.committed.max(up_to);
                events.push(if stored { Event::Committed(hm, up_to) } else { Event::Kept(hm, up_to) });
                if !stored {
                    self.monitor.aside(own, Aside::Kept);
                }
                self.monitor.handle_input(own, Input::Stored { up_to });
            }
            Reply::NotTaken { number, report } => {
                self.monitor.handle_input(own, Input::NotTaken { number, report });
            }
            Reply::Quiets(quiets) => {
                for answer in quiets {
                    self.monitor.handle_input(own, Input::Quiet(answer));
                }
            }
            Reply::Roster(roster) => self.monitor.handle_input(own, Input::Roster(roster)),
            Reply::Standings(standings) => self.monitor.handle_input(own, Input::Standings(standings)),
            Reply::ClockStepped => self.monitor.handle_input(own, Input::StoreClockStepped),
            Reply::Local { error } => {
                // Said once, as its driver does.
                if self.failing.as_ref() != Some(&error) {
                    events.push(Event::StoreFailed(hm, error.clone()));
                }
                self.monitor.aside(own, Aside::StoreFailed(error.clone()));
                self.failing = Some(error);
                self.monitor.handle_input(own, Input::StoreReachable(false));
            }
            Reply::Global => {
                self.failing = None;
                self.monitor.handle_input(own, Input::StoreReachable(true));
            }
        }
    }
}
