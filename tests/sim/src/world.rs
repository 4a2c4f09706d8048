//! The world: everybody, the network, the store, and one clock.

mod act;
mod finale;
mod frames;
mod fresh;

use std::path::Path;
use std::time::Duration;

use vmpulse_agent::ame::{Outcome, RunId};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{
    HostMonitorRegistration, HostRegistration, Store, StoreError, SystemSettings, VmRegistration,
};

use crate::actors::canary::Frame as CanaryFrame;
use crate::actors::controller::ControllerNode;
use crate::actors::guest::{Frame as GuestFrame, Guest, Wish};
use crate::actors::hypervisor::Hypervisor;
use crate::actors::monitor::{Frame as MonitorFrame, MonitorNode};
use crate::actors::store_worker::Reply;
use crate::checkers::{Checker, Violation};
use crate::event::Event;
use crate::names::{Hm, Vm, host_key};
use crate::network::Network;
use crate::plan::Plan;
use crate::queue::Queue;
use crate::random::stream;
use crate::store::Backing;
use crate::trace::Trace;

pub(crate) use fresh::Mark;

/// Checkers that wait are asked this often.
const TICK: Duration = Duration::from_secs(5);
/// An agent that was killed, or that its guardian wants restarted, runs again after this.
const AGENT_RESTART: Duration = Duration::from_secs(2);
/// From the start of an instance to its agent's.
const BOOT: Duration = Duration::from_secs(20);
/// A daemon that ended by itself is started again after this.
const DAEMON_RESTART: Duration = Duration::from_secs(5);
/// Violations kept: the first says what is wrong, the others often only follow.
const VIOLATIONS_MAXIMUM: usize = 20;

/// What is due.
#[derive(Debug)]
enum Due {
    Action(usize),
    Tick,
    ToMonitor(Hm, Box<MonitorFrame>),
    ToGuest(Vm, Box<GuestFrame>),
    ToCanary(Hm, u64, Box<CanaryFrame>),
    Canary(usize),
    Guest(usize),
    Guardian(usize),
    ScriptEnds { vm: usize, life: u64, run: RunId, outcome: Outcome },
    Monitor(usize),
    Worker(usize),
    Reply(usize, u64, Box<Reply>),
    WakeMonitor(usize),
    AdapterSeen(usize),
    StartMonitor(usize),
    Controller(usize),
    WakeController,
    StartAgent { vm: usize, life: u64 },
    PowerOff { vm: usize, life: u64 },
    Migrated { vm: usize, host: usize, life: u64 },
}

/// When something was asked to be called; what is due earlier is called for nothing, which does no harm.
#[derive(Clone, Copy, Debug, Default)]
struct Alarm(Option<Instant>);

impl Alarm {
    /// Whether another call has to be asked for.
    fn set(&mut self, at: Instant) -> bool {
        if self.0.is_some_and(|set| set <= at) {
            return false;
        }
        self.0 = Some(at);
        true
    }

    /// Whether this call is the one that was asked for.
    fn rings(&mut self, now: Instant) -> bool {
        self.0.take_if(|at| *at == now).is_some()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Alarms {
    first: Alarm,
    second: Alarm,
    third: Alarm,
}

/// See the module.
pub(crate) struct World<'a> {
    plan: Plan,
    now: Instant,
    queue: Queue<Due>,
    random: fastrand::Rng,
    trace: Trace<'a>,
    checkers: Vec<Box<dyn Checker>>,
    violations: Vec<Violation>,
    network: Network,
    fresh: fresh::Fresh,
    store: Backing,
    revision: u64,
    hypervisor: Hypervisor,
    guests: Vec<Guest>,
    guest_alarms: Vec<Alarms>,
    monitors: Vec<MonitorNode>,
    monitor_alarms: Vec<Alarms>,
    /// Monitors that are meant to run.
    monitors_wanted: Vec<bool>,
    monitors_restarting: Vec<bool>,
    /// What a plan does to the controller is done to the first.
    controllers: Vec<ControllerNode>,
    controller_alarms: Vec<Alarm>,
    faults: usize,
    stalls: usize,
}

impl<'a> World<'a> {
    /// Everybody registered and started. With `records`, all record there what happens, as their daemons do.
    ///
    /// # Errors
    /// The store's file cannot be made.
    pub(crate) fn new(
        plan: Plan,
        trace: Trace<'a>,
        checkers: Vec<Box<dyn Checker>>,
        records: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let cluster = plan.cluster.clone();
        let seed = cluster.seed;
        let hms: Vec<Hm> = (0..cluster.hosts)
            .flat_map(|host| (0..cluster.trunks).map(move |trunk| Hm { host, trunk }))
            .collect();
        let store = Backing::new(stream(seed, "store"))?;
        register(&store, &plan, &hms)?;
        let guest = |vm: usize| {
            let random = stream(seed, &format!("guest {vm}"));
            Guest::new(Vm(vm), &cluster, random).recorded(records.map(Path::to_owned))
        };
        let monitor = |hm: &Hm| {
            let random = stream(seed, &format!("monitor {hm}"));
            MonitorNode::new(*hm, &cluster, random, records.map(Path::to_owned))
        };
        let poll_interval = Duration::from_millis(cluster.poll_interval_ms);
        let controller =
            |number| ControllerNode::new(number, poll_interval, cluster.vms, records.map(Path::to_owned));
        let mut world = Self {
            now: Instant::ZERO,
            queue: Queue::new(),
            random: stream(seed, "world"),
            trace,
            checkers,
            violations: Vec::new(),
            network: Network::new(stream(seed, "network"), cluster.auth, hms.iter().copied()),
            fresh: fresh::Fresh::default(),
            revision: 0,
            hypervisor: Hypervisor::new(cluster.vms, cluster.hosts),
            guests: (0..cluster.vms).map(guest).collect(),
            guest_alarms: vec![Alarms::default(); cluster.vms],
            monitors: hms.iter().map(monitor).collect(),
            monitor_alarms: vec![Alarms::default(); hms.len()],
            monitors_wanted: vec![true; hms.len()],
            monitors_restarting: vec![false; hms.len()],
            controllers: (1..=cluster.controllers).map(controller).collect(),
            controller_alarms: vec![Alarm::default(); cluster.controllers],
            // Until everybody was started.
            faults: usize::MAX,
            stalls: 0,
            store,
            plan,
        };
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        for (index, (at, _)) in self.plan.actions.iter().enumerate() {
            self.queue.push(*at, Due::Action(index));
        }
        self.queue.push(self.now + TICK, Due::Tick);
        for index in 0..self.monitors.len() {
            self.start_monitor(index);
        }
        self.start_controllers();
        for vm in 0..self.guests.len() {
            self.hypervisor.start(Vm(vm));
            // Not all at once, as hosts boot them.
            let after = Duration::from_millis(self.random.u64(0..5000));
            self.queue.push(self.now + after, Due::StartAgent { vm, life: 0 });
        }
        self.after_hypervisor();
        self.count_faults();
    }

    /// Runs to the end. Returns the violations.
    pub(crate) fn run(mut self) -> (Trace<'a>, Vec<Violation>) {
        while let Some((at, due)) = self.queue.pop() {
            if at > self.plan.end || self.violations.len() >= VIOLATIONS_MAXIMUM {
                break;
            }
            self.now = at;
            self.carry_out(due);
            self.note_revision();
        }
        self.now = self.plan.end;
        self.finish();
        (self.trace, self.violations)
    }

    fn carry_out(&mut self, due: Due) {
        let now = self.now;
        match due {
            Due::Action(index) => {
                if let Some((_, action)) = self.plan.actions.get(index).copied() {
                    self.act(action);
                }
            }
            Due::Tick => {
                self.event(&Event::Tick);
                self.queue.push(now + TICK, Due::Tick);
            }
            Due::ToMonitor(hm, frame) => self.reach_monitor(hm, *frame),
            Due::ToGuest(vm, frame) => self.reach_guest(vm, *frame),
            Due::ToCanary(hm, life, frame) => self.reach_canary(hm, life, *frame),
            Due::Canary(index) => self.on_canary(index),
            Due::Guest(vm) => self.on_guest(vm),
            Due::Guardian(vm) => self.on_guardian(vm),
            Due::ScriptEnds { vm, life, run, outcome } => {
                self.guests[vm].script_ended(now, life, run, outcome);
                self.after_guest(vm);
            }
            Due::Monitor(index) => {
                if self.monitor_alarms[index].first.rings(now) {
                    self.monitors[index].turn(now);
                    self.after_monitor(index);
                }
            }
            Due::Worker(index) => self.on_worker(index),
            Due::Reply(index, life, reply) => {
                self.monitors[index].reply(now, life, *reply);
                self.after_monitor(index);
            }
            Due::WakeMonitor(index) => self.wake_monitor(index),
            Due::AdapterSeen(index) => {
                let up = !self.network.is_down(self.monitors[index].hm);
                self.monitors[index].adapter(now, up);
                self.after_monitor(index);
            }
            Due::StartMonitor(index) => {
                self.monitors_restarting[index] = false;
                self.start_monitor(index);
            }
            Due::Controller(index) => {
                if self.controller_alarms[index].rings(now) {
                    self.controllers[index].turn(now, &self.store);
                    self.after_controllers();
                }
            }
            Due::WakeController => self.wake_controller(),
            Due::StartAgent { vm, life } => self.start_agent(vm, life),
            Due::PowerOff { vm, life } => {
                if self.guests[vm].life == life {
                    self.power_off(vm);
                }
            }
            Due::Migrated { vm, host, life } => self.migrated(vm, host, life),
        }
    }

    fn on_guest(&mut self, vm: usize) {
        if self.guest_alarms[vm].first.rings(self.now) {
            self.guests[vm].turn(self.now);
            self.after_guest(vm);
        }
    }

    fn on_guardian(&mut self, vm: usize) {
        if self.guest_alarms[vm].second.rings(self.now) {
            self.guests[vm].guardian_turn(self.now);
            self.after_guest(vm);
        }
    }

    fn wake_monitor(&mut self, index: usize) {
        self.stalls = self.stalls.saturating_sub(1);
        self.monitors[index].wake(self.now);
        self.after_monitor(index);
        self.count_faults();
    }

    fn wake_controller(&mut self) {
        self.stalls = self.stalls.saturating_sub(1);
        self.controllers[0].set_stalled(false);
        self.after_controllers();
        self.count_faults();
    }

    fn event(&mut self, event: &Event) {
        self.trace.push(self.now, event);
        for checker in &mut self.checkers {
            if let Err(text) = checker.on_event(self.now, event) {
                self.violations.push(Violation { checker: checker.name(), at: self.now, text });
                self.trace.keep();
            }
        }
    }

    /// Somebody wrote to the store: those who look will see it.
    fn note_revision(&mut self) {
        let revision = self.store.shared.revision();
        if revision != self.revision {
            self.revision = revision;
            self.stir_callers();
        }
    }

    fn stir_callers(&mut self) {
        for index in 0..self.monitors.len() {
            self.monitors[index].stir_worker(self.now);
            self.arm_monitor(index);
        }
        self.controllers.iter_mut().for_each(|controller| controller.stir(self.now));
        self.arm_controllers();
    }

    fn on_worker(&mut self, index: usize) {
        if !self.monitor_alarms[index].second.rings(self.now) {
            return;
        }
        let life = self.monitors[index].life;
        for (at, reply) in self.monitors[index].worker_turn(self.now, &self.store) {
            self.queue.push(at, Due::Reply(index, life, Box::new(reply)));
        }
        self.arm_monitor(index);
    }

    fn start_monitor(&mut self, index: usize) {
        if !self.monitors_wanted[index] || self.monitors[index].is_up() {
            return;
        }
        let up = !self.network.is_down(self.monitors[index].hm);
        self.monitors[index].start(self.now, up);
        self.after_monitor(index);
        self.count_faults();
    }

    fn start_agent(&mut self, vm: usize, life: u64) {
        let there = self.hypervisor.host_of(Vm(vm)).is_some();
        if there && self.guests[vm].life == life {
            self.guests[vm].start_agent(self.now);
            self.after_guest(vm);
        }
    }

    fn power_off(&mut self, vm: usize) {
        self.guests[vm].power_off();
        self.hypervisor.stop(Vm(vm));
        self.after_hypervisor();
        self.after_guest(vm);
    }

    fn migrated(&mut self, vm: usize, host: usize, life: u64) {
        if self.guests[vm].life == life && self.hypervisor.host_of(Vm(vm)).is_some() {
            self.hypervisor.move_to(Vm(vm), host);
            self.after_hypervisor();
            self.thaw(vm);
        }
    }

    fn thaw(&mut self, vm: usize) {
        if self.guests[vm].frozen {
            self.event(&Event::Thawed(Vm(vm)));
            self.guests[vm].thaw(self.now);
            self.after_guest(vm);
        }
    }

    fn after_hypervisor(&mut self) {
        for event in self.hypervisor.take_events() {
            self.event(&event);
        }
    }

    fn start_controllers(&mut self) {
        self.controllers.iter_mut().for_each(|controller| controller.start(self.now));
        self.after_controllers();
    }

    fn after_controllers(&mut self) {
        for index in 0..self.controllers.len() {
            for event in self.controllers[index].take_events() {
                self.event(&event);
            }
        }
        self.arm_controllers();
    }

    fn arm_controllers(&mut self) {
        for (index, controller) in self.controllers.iter().enumerate() {
            let Some(at) = controller.poll_timeout() else { continue };
            let at = at.max(self.now);
            if self.controller_alarms[index].set(at) {
                self.queue.push(at, Due::Controller(index));
            }
        }
    }

    fn after_monitor(&mut self, index: usize) {
        for event in self.monitors[index].take_events() {
            if let Event::Opened(vm, hm) = &event {
                self.fresh.on_monitor_opened(*vm, *hm);
            }
            self.event(&event);
        }
        let hm = self.monitors[index].hm;
        for (destination, payload) in self.monitors[index].take_frames() {
            self.send_down(hm, destination, &payload);
        }
        self.arm_monitor(index);
        if !self.monitors[index].is_up() {
            // It ended by itself: its init starts it.
            if self.monitors_wanted[index] && !std::mem::replace(&mut self.monitors_restarting[index], true) {
                self.queue.push(self.now + DAEMON_RESTART, Due::StartMonitor(index));
            }
            // One that was asked to stop does so some moments later.
            self.count_faults();
        }
    }

    fn arm_monitor(&mut self, index: usize) {
        let (core, worker) = (self.monitors[index].poll_timeout(), self.monitors[index].poll_worker());
        let canary = self.monitors[index].poll_canary();
        let alarms = &mut self.monitor_alarms[index];
        if let Some(at) = canary.map(|at| at.max(self.now)).filter(|at| alarms.third.set(*at)) {
            self.queue.push(at, Due::Canary(index));
        }
        if let Some(at) = core.map(|at| at.max(self.now)).filter(|at| alarms.first.set(*at)) {
            self.queue.push(at, Due::Monitor(index));
        }
        if let Some(at) = worker.map(|at| at.max(self.now)).filter(|at| alarms.second.set(*at)) {
            self.queue.push(at, Due::Worker(index));
        }
    }

    fn after_guest(&mut self, vm: usize) {
        for wish in self.guests[vm].take_wishes() {
            self.grant(vm, wish);
        }
        let guest = &self.guests[vm];
        let agent = guest.poll_timeout();
        let guardian = guest.guardian.as_ref().filter(|_| !guest.frozen);
        let guardian = guardian.and_then(crate::actors::guardian::Guardian::poll_timeout);
        let alarms = &mut self.guest_alarms[vm];
        if let Some(at) = agent.map(|at| at.max(self.now)).filter(|at| alarms.first.set(*at)) {
            self.queue.push(at, Due::Guest(vm));
        }
        if let Some(at) = guardian.map(|at| at.max(self.now)).filter(|at| alarms.second.set(*at)) {
            self.queue.push(at, Due::Guardian(vm));
        }
    }

    fn grant(&mut self, vm: usize, wish: Wish) {
        let (now, life) = (self.now, self.guests[vm].life);
        match wish {
            Wish::Event(event) => self.event(&event),
            Wish::Opened { trunk } => self.guest_opened(Vm(vm), trunk),
            Wish::Send { trunk, destination, payload } => self.send_up(Vm(vm), trunk, destination, &payload),
            Wish::ScriptEnds { after, life, run, outcome } => {
                self.queue.push(now + after, Due::ScriptEnds { vm, life, run, outcome });
            }
            Wish::SuspensionHeard => {
                let suspended = self.guests[vm].suspension.suspended;
                // What cannot be read counts as contradicted: somebody has to look.
                let stored = self.store.look().is_suspended(Vm(vm)).unwrap_or(!suspended);
                let kept = |monitor: &MonitorNode| {
                    monitor.kept_suspension(self.now, Vm(vm).uuid()) == Some(suspended)
                };
                let kept = stored != suspended && self.monitors.iter().any(kept);
                self.event(&Event::SuspensionHeard { vm: Vm(vm), suspended, stored, kept });
            }
            Wish::RestartAgent => {
                self.guests[vm].kill_agent(now, "is killed for its restart");
                self.queue.push(now + AGENT_RESTART, Due::StartAgent { vm, life });
                self.after_guest(vm);
            }
            Wish::Ended { shutdown } => {
                if shutdown {
                    self.queue.push(now + Duration::from_secs(1), Due::PowerOff { vm, life });
                }
            }
        }
    }

    /// What of the infrastructure is not as it should be.
    fn count_faults(&mut self) {
        let down = self.monitors.iter().filter(|monitor| !monitor.is_up()).count();
        let controllers = self.controllers.iter().filter(|controller| !controller.is_up()).count();
        let faults = self.network.faults() + self.store.shared.faults() + down + controllers + self.stalls;
        if faults != self.faults {
            self.faults = faults;
            self.event(&Event::Faults(faults));
        }
    }
}

/// As an operator does before anything runs.
fn register(store: &Backing, plan: &Plan, hms: &[Hm]) -> Result<(), StoreError> {
    store.shared.begin(Instant::ZERO);
    let mut administrator = store.administrator()?;
    for host in 0..plan.cluster.hosts {
        let of_host = hms.iter().filter(|hm| hm.host == host);
        let host_monitors = of_host
            .map(|hm| HostMonitorRegistration {
                id: hm.id(),
                part_number: 0,
                mac: Some(hm.mac().to_string()),
            })
            .collect();
        administrator.hosts_add(&[HostRegistration { key: host_key(host), host_monitors }])?;
        let vms = (0..plan.cluster.vms).map(Vm).filter(|vm| vm.0 % plan.cluster.hosts == host);
        let vms: Vec<VmRegistration> =
            vms.map(|vm| VmRegistration { uuid: vm.uuid(), name: Some(vm.to_string()) }).collect();
        administrator.vms_add(&host_key(host), &vms)?;
    }
    let all: Vec<_> = (0..plan.cluster.vms).map(|vm| Vm(vm).uuid()).collect();
    administrator.vms_start(&all)?;
    administrator.system_settings_replace(&SystemSettings {
        vm_failure_detection_speed: plan.cluster.detection,
        ..SystemSettings::default()
    })
}
