//! Carrying out deeds. Faults are noted before they begin and after they are over: what is judged in between is judged with care.

use nix::sys::signal::Signal;
use vmpulse_soak::deed::{Deed, Hm, ToController, ToGuest, ToMonitor, ToStore, ToTrunk};
use vmpulse_soak::fact::Fact;

use super::cluster::{Cluster, Life, StoreLife};
use super::log::Log;
use crate::error::Lab;
use crate::process::{Place, sh};
use crate::wait::Stopwatch;

impl Cluster {
    /// Does it, and notes what is true before and after.
    pub(super) fn perform(&mut self, log: &mut Log, deed: Deed) -> Lab<()> {
        log.note(Fact::Action(deed.to_string()))?;
        match deed {
            Deed::Guest(vm, what) => self.on_guest(log, vm, what)?,
            Deed::Trunk(hm, what) => self.on_trunk(log, hm, what)?,
            Deed::Monitor(hm, what) => self.on_monitor(log, hm, what)?,
            Deed::Store(what) => self.on_store(log, what)?,
            Deed::Controller(what) => self.on_controller(log, what)?,
            Deed::Heal => self.heal(log)?,
        }
        log.faults(self.faults())
    }

    fn on_guest(&mut self, log: &mut Log, vm: usize, what: ToGuest) -> Lab<()> {
        match what {
            ToGuest::Crash => self.guest(vm)?.crash(log),
            ToGuest::Boot => self.guest(vm)?.boot(log),
            ToGuest::Freeze => self.guest(vm)?.freeze(log),
            ToGuest::Thaw => self.guest(vm)?.thaw(log),
            ToGuest::AgentKill => self.guest(vm)?.kill_agent(log, false),
            ToGuest::AgentBreak => self.guest(vm)?.kill_agent(log, true),
            ToGuest::AgentHang => self.guest(vm)?.hang_agent(log),
            ToGuest::AgentStop => self.guest(vm)?.stop_agent(log),
            ToGuest::AgentStart => self.guest(vm)?.start_agent_again(log),
            ToGuest::Suspend => self.guest(vm)?.suspend(log, true),
            ToGuest::Resume => self.guest(vm)?.suspend(log, false),
            ToGuest::Quiet(ms) => self.guest(vm)?.quiet(log, ms),
            ToGuest::AppFail => self.guest(vm)?.break_application(true),
            ToGuest::AppMend => self.guest(vm)?.break_application(false),
            ToGuest::PathCut(hm) => self.cut_path(vm, hm, true),
            ToGuest::PathMend(hm) => self.cut_path(vm, hm, false),
            // All of them at once, when the soak begins.
            ToGuest::DetectionTime(_) => Ok(()),
        }
    }

    fn cut_path(&mut self, vm: usize, hm: Hm, cut: bool) -> Lab<()> {
        let number = self.guest(vm)?.number();
        let node = self.node(hm)?;
        let mac = node.trunk.guest_mac(number);
        if cut {
            node.cuts.guests.insert(mac);
        } else {
            node.cuts.guests.remove(&mac);
        }
        node.cuts.apply(&node.trunk)
    }

    fn on_trunk(&mut self, log: &mut Log, hm: Hm, what: ToTrunk) -> Lab<()> {
        let node = self.node(hm)?;
        match what {
            ToTrunk::Loss(permille) => node.cuts.permille = permille,
            ToTrunk::CutUp => node.cuts.up = true,
            ToTrunk::CutDown => node.cuts.down = true,
            ToTrunk::Cut => (node.cuts.up, node.cuts.down) = (true, true),
            ToTrunk::Down => node.link_down = true,
            ToTrunk::Mend => return self.mend_trunk(hm),
        }
        let (cuts, trunk, down) = (node.cuts.clone(), node.trunk.clone(), node.link_down);
        log.faults(self.faults())?;
        if down { trunk.cut() } else { cuts.apply(&trunk) }
    }

    fn mend_trunk(&mut self, hm: Hm) -> Lab<()> {
        let node = self.node(hm)?;
        (node.cuts.up, node.cuts.down, node.cuts.permille) = (false, false, 0);
        node.cuts.apply(&node.trunk)?;
        if std::mem::take(&mut node.link_down) { node.trunk.mend() } else { Ok(()) }
    }

    fn on_monitor(&mut self, log: &mut Log, hm: Hm, what: ToMonitor) -> Lab<()> {
        let node = self.node(hm)?;
        let letter = node.trunk.letter();
        match what {
            ToMonitor::Kill | ToMonitor::Stop => {
                let stop = what == ToMonitor::Stop;
                node.life = Life::Down;
                log.faults(self.faults())?;
                log.note(Fact::MonitorDown(hm, if stop { "stopped" } else { "was killed" }.to_string()))?;
                let monitor = &mut self.node(hm)?.monitor;
                if stop { monitor.stop() } else { monitor.crash() }
            }
            ToMonitor::Start => {
                let node = self.node(hm)?;
                if node.life == Life::Down {
                    log.note(Fact::MonitorUp(hm))?;
                    node.monitor.restart()?;
                    node.life = Life::Up;
                }
                Ok(())
            }
            ToMonitor::Stall(ms) => {
                node.life = Life::Stalled(Stopwatch::start(), std::time::Duration::from_millis(ms));
                log.faults(self.faults())?;
                self.node(hm)?.monitor.signal(Signal::SIGSTOP)
            }
            ToMonitor::StoreCut => {
                node.store_cut = true;
                log.faults(self.faults())?;
                sh(&Place::Here, &format!("ip link set mgmt{letter} down")).map(drop)
            }
            ToMonitor::StoreJoin => {
                node.store_cut = false;
                sh(&Place::Here, &format!("ip link set mgmt{letter} up")).map(drop)
            }
        }
    }

    fn on_store(&mut self, log: &mut Log, what: ToStore) -> Lab<()> {
        match what {
            ToStore::Refuses => {
                self.store = StoreLife::Dead;
                log.faults(self.faults())?;
                self.site.kill();
            }
            ToStore::Hangs => {
                self.store = StoreLife::Frozen;
                log.faults(self.faults())?;
                self.site.signal("STOP");
            }
            ToStore::Mend => {
                match self.store {
                    StoreLife::Dead => self.site.launch()?,
                    StoreLife::Frozen => self.site.signal("CONT"),
                    StoreLife::Up => {}
                }
                self.store = StoreLife::Up;
            }
        }
        Ok(())
    }

    fn on_controller(&mut self, log: &mut Log, what: ToController) -> Lab<()> {
        match what {
            ToController::Kill => {
                self.controller_life = Life::Down;
                log.faults(self.faults())?;
                log.note(Fact::ControllerDown("was killed".to_string()))?;
                self.controller.crash()
            }
            ToController::Start => {
                if self.controller_life == Life::Down {
                    log.note(Fact::ControllerUp)?;
                    self.controller.restart()?;
                    self.controller_life = Life::Up;
                }
                Ok(())
            }
            ToController::Stall(ms) => {
                self.controller_life =
                    Life::Stalled(Stopwatch::start(), std::time::Duration::from_millis(ms));
                log.faults(self.faults())?;
                self.controller.signal(Signal::SIGSTOP)
            }
        }
    }

    /// Every fault is over: what the schedule has left, which is little.
    fn heal(&mut self, log: &mut Log) -> Lab<()> {
        self.on_store(log, ToStore::Mend)?;
        let hms: Vec<Hm> = self.nodes.iter().map(|node| node.hm).collect();
        for hm in hms {
            self.node(hm)?.cuts.guests.clear();
            self.mend_trunk(hm)?;
            self.on_monitor(log, hm, ToMonitor::StoreJoin)?;
            self.on_monitor(log, hm, ToMonitor::Start)?;
        }
        self.on_controller(log, ToController::Start)?;
        self.guests.iter_mut().try_for_each(|guest| guest.heal(log))
    }
}
