//! What the plan wants, done.

use std::time::Duration;

use vmpulse_protocol::message::Shutdown;
use vmpulse_store::{Store, VmSettings};

use super::{AGENT_RESTART, BOOT, Due, World};
use crate::actors::monitor::MonitorNode;
use crate::event::{Event, Held};
use crate::names::{Hm, Vm};
use crate::plan::{Action, ControllerAction, GuestAction, MonitorAction, StoreAction, TrunkAction};
use crate::store::Caller;

impl World<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.event(&Event::Action(action.to_string()));
        match action {
            Action::Guest(vm, action) => self.act_on_guest(vm.0, action),
            Action::Trunk(hm, action) => self.act_on_trunk(hm, action),
            Action::Monitor(hm, action) => self.act_on_monitor(self.index(hm), action),
            Action::Store(action) => self.act_on_store(action),
            Action::Controller(action) => self.act_on_controller(action),
            Action::Heal => self.heal(),
        }
        self.count_faults();
    }

    fn act_on_guest(&mut self, vm: usize, action: GuestAction) {
        let now = self.now;
        let life = self.guests[vm].life;
        match action {
            GuestAction::Crash => self.power_off(vm),
            GuestAction::Boot => self.boot(vm),
            GuestAction::Freeze => self.freeze(vm),
            GuestAction::Thaw => self.thaw(vm),
            GuestAction::Shutdown => self.guests[vm].stop_agent(now, Shutdown::Os),
            GuestAction::AgentStop => self.guests[vm].stop_agent(now, Shutdown::Daemon),
            GuestAction::AgentKill => {
                self.guests[vm].kill_agent(now, "was killed");
                self.queue.push(now + AGENT_RESTART, Due::StartAgent { vm, life });
            }
            GuestAction::AgentHang => self.guests[vm].hang_agent(now),
            GuestAction::AgentBreak => self.guests[vm].kill_agent(now, "was killed for good"),
            GuestAction::AgentStart => self.start_agent(vm, life),
            GuestAction::Suspend => self.guests[vm].suspend(now, true),
            GuestAction::Resume => self.guests[vm].suspend(now, false),
            GuestAction::Quiet { ms } => self.guests[vm].quiet(now, Duration::from_millis(ms.into())),
            GuestAction::AppFail { app } => self.guests[vm].set_app_broken(app, true),
            GuestAction::AppMend { app } => self.guests[vm].set_app_broken(app, false),
            GuestAction::Migrate { host, ms } => {
                self.freeze(vm);
                let host = host.saturating_sub(1);
                self.queue.push(now + Duration::from_millis(ms), Due::Migrated { vm, host, life });
            }
            GuestAction::Pretend { vm: other } => self.guests[vm].pretend(other),
            GuestAction::Snapshot => self.guests[vm].take_snapshot(now),
            GuestAction::Revert => self.revert(vm),
            GuestAction::KeyNone => self.guests[vm].hold_key(now, Held::None),
            GuestAction::KeyWrong => self.guests[vm].hold_key(now, Held::Wrong),
            GuestAction::KeyOf { vm: other } => self.guests[vm].hold_key(now, Held::Of(other)),
            GuestAction::KeyOwn => self.guests[vm].hold_key(now, Held::Of(Vm(vm))),
            GuestAction::PathCut { hm } => self.network.set_path_cut(Vm(vm), hm, true),
            GuestAction::PathMend { hm } => self.network.set_path_cut(Vm(vm), hm, false),
            GuestAction::Interval { ms } => {
                self.set(vm, |settings| settings.heartbeat_interval_ms = Some(ms))
            }
            GuestAction::DetectionTime { ms } => {
                self.set(vm, |settings| settings.vm_failure_detection_time_ms = Some(ms));
            }
        }
        self.after_guest(vm);
    }

    fn boot(&mut self, vm: usize) {
        if self.hypervisor.start(Vm(vm)) {
            self.after_hypervisor();
            let life = self.guests[vm].life;
            self.queue.push(self.now + BOOT, Due::StartAgent { vm, life });
        }
    }

    fn revert(&mut self, vm: usize) {
        if self.guests[vm].has_snapshot() {
            self.hypervisor.start(Vm(vm));
            self.after_hypervisor();
            if self.guests[vm].frozen {
                self.event(&Event::Thawed(Vm(vm)));
            }
            self.event(&Event::Reverted(Vm(vm)));
            self.guests[vm].revert(self.now);
        }
    }

    fn freeze(&mut self, vm: usize) {
        if self.hypervisor.host_of(Vm(vm)).is_some() && !self.guests[vm].frozen {
            self.guests[vm].frozen = true;
            self.event(&Event::Frozen(Vm(vm)));
        }
    }

    /// By an administrator's command, which reaches the store whatever else does not.
    fn set(&mut self, vm: usize, change: impl FnOnce(&mut VmSettings)) {
        self.store.shared.begin(self.now);
        let mut settings = VmSettings::default();
        change(&mut settings);
        let done = self
            .store
            .administrator()
            .and_then(|mut store| store.vm_settings_replace(Vm(vm).uuid(), &settings));
        if let Err(error) = done {
            self.event(&Event::Action(format!("refused: {error}")));
        }
        self.stir_callers();
    }

    fn act_on_trunk(&mut self, hm: Hm, action: TrunkAction) {
        let before = self.network.is_down(hm);
        self.network.act(hm, action);
        self.tell_adapter(hm, before);
    }

    /// That it is down is heard at the next reading; that it is up, at the next look.
    fn tell_adapter(&mut self, hm: Hm, before: bool) {
        let (down, index) = (self.network.is_down(hm), self.index(hm));
        if down != before {
            let after = if down { Duration::ZERO } else { MonitorNode::adapter_period() };
            self.queue.push(self.now + after, Due::AdapterSeen(index));
        }
    }

    fn act_on_monitor(&mut self, index: usize, action: MonitorAction) {
        let (now, hm) = (self.now, self.monitors[index].hm);
        match action {
            MonitorAction::Kill => {
                self.monitors_wanted[index] = false;
                self.monitors[index].kill(self.now);
            }
            MonitorAction::Stop => {
                self.monitors_wanted[index] = false;
                self.monitors[index].stop(now);
            }
            MonitorAction::Start => {
                self.monitors_wanted[index] = true;
                self.start_monitor(index);
            }
            MonitorAction::Stall { ms } => {
                if self.monitors[index].is_up() && !self.monitors[index].is_stalled() {
                    self.stalls += 1;
                    self.monitors[index].stall(now);
                    self.queue.push(now + Duration::from_millis(ms), Due::WakeMonitor(index));
                }
            }
            MonitorAction::StoreCut => self.store.shared.set_cut(Caller::Monitor(hm), true),
            MonitorAction::StoreJoin => self.store.shared.set_cut(Caller::Monitor(hm), false),
        }
        self.stir_callers();
        self.after_monitor(index);
    }

    fn act_on_store(&mut self, action: StoreAction) {
        self.store.shared.act(action);
        self.monitors.iter_mut().for_each(MonitorNode::doubt_clock);
        self.stir_callers();
    }

    fn act_on_controller(&mut self, action: ControllerAction) {
        match action {
            ControllerAction::Kill => self.controllers[0].kill(),
            ControllerAction::Start => self.start_controllers(),
            ControllerAction::Stall { ms } => {
                if self.controllers[0].is_up() && !self.controllers[0].is_stalled() {
                    self.stalls += 1;
                    self.controllers[0].set_stalled(true);
                    self.queue.push(self.now + Duration::from_millis(ms), Due::WakeController);
                }
            }
            ControllerAction::StoreCut => self.store.shared.set_cut(Caller::Controller(1), true),
            ControllerAction::StoreJoin => self.store.shared.set_cut(Caller::Controller(1), false),
        }
        self.after_controllers();
    }

    fn heal(&mut self) {
        let down: Vec<Hm> =
            self.monitors.iter().map(|one| one.hm).filter(|hm| self.network.is_down(*hm)).collect();
        self.network.mend();
        for hm in down {
            self.tell_adapter(hm, true);
        }
        self.store.shared.mend();
        self.stir_callers();
        for index in 0..self.monitors.len() {
            self.monitors_wanted[index] = true;
            self.start_monitor(index);
        }
        self.start_controllers();
        for vm in 0..self.guests.len() {
            self.thaw(vm);
            self.boot(vm);
            if self.guests[vm].forgot {
                self.guests[vm].remind(self.now);
            }
            if !self.guests[vm].is_agent_up() {
                let life = self.guests[vm].life;
                self.guests[vm].kill_agent(self.now, "is killed for its restart");
                self.queue.push(self.now + AGENT_RESTART, Due::StartAgent { vm, life });
            }
            if self.guests[vm].suspension.suspended {
                self.guests[vm].suspend(self.now, false);
            }
            self.guests[vm].hold_key(self.now, Held::Of(Vm(vm)));
            (1..=self.plan.cluster.apps).for_each(|app| self.guests[vm].set_app_broken(app, false));
            self.after_guest(vm);
        }
    }
}
