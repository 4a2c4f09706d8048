//! Frames on their way.

use super::{Due, World};
use crate::actors::canary::Frame as CanaryFrame;
use crate::actors::guest::Frame as GuestFrame;
use crate::actors::monitor::Frame as MonitorFrame;
use crate::names::{Hm, Vm};
use crate::network::Way;
use crate::says::beat;
use vmpulse_protocol::MacAddr;

/// Whose paths a canary's frames take: nobody's, so that none is cut but by its trunk.
const CANARY: Vm = Vm(usize::MAX);

impl World<'_> {
    /// From a guest to the monitor of the trunk it is on; guests do not hear each other.
    pub(super) fn send_up(&mut self, vm: Vm, trunk: usize, destination: MacAddr, payload: &[u8]) {
        self.trace.push_frame(self.now, payload);
        let Some(host) = self.hypervisor.host_of(vm) else { return };
        let hm = Hm { host, trunk };
        if destination != hm.mac() && !destination.is_broadcast() {
            return;
        }
        let mark = self.fresh.on_sent(vm, hm, payload);
        for arrival in self.network.carry(hm, vm, Way::Up, payload) {
            let at = self.now + arrival.after;
            let beat = beat(&arrival.payload).filter(|_| !arrival.damaged).map(|guardian| (vm, guardian));
            let source = vm.mac(trunk);
            let frame = MonitorFrame { arrived: at, source, payload: arrival.payload, beat, mark };
            self.queue.push(at, Due::ToMonitor(hm, Box::new(frame)));
        }
    }

    /// A guest has opened its path to the monitor of that trunk.
    pub(super) fn guest_opened(&mut self, vm: Vm, trunk: usize) {
        if let Some(host) = self.hypervisor.host_of(vm) {
            self.fresh.on_guest_opened(vm, Hm { host, trunk });
        }
    }

    /// From a monitor to one guest or to all.
    pub(super) fn send_down(&mut self, hm: Hm, destination: MacAddr, payload: &[u8]) {
        self.trace.push_frame(self.now, payload);
        for vm in (0..self.guests.len()).map(Vm) {
            let meant = destination.is_broadcast() || destination == vm.mac(hm.trunk);
            if !meant || self.hypervisor.host_of(vm) != Some(hm.host) {
                continue;
            }
            for arrival in self.network.carry(hm, vm, Way::Down, payload) {
                let frame =
                    GuestFrame { trunk: hm.trunk, source: hm.mac(), destination, payload: arrival.payload };
                self.queue.push(self.now + arrival.after, Due::ToGuest(vm, Box::new(frame)));
            }
        }
        self.send_to_canary(hm, destination, payload);
    }

    fn send_to_canary(&mut self, hm: Hm, destination: MacAddr, payload: &[u8]) {
        let monitor = &self.monitors[self.index(hm)];
        let (life, unicast) = (monitor.life, !destination.is_broadcast());
        if monitor.canary_mac().is_none_or(|mac| unicast && mac != destination) {
            return;
        }
        for arrival in self.network.carry(hm, CANARY, Way::Down, payload) {
            let frame = CanaryFrame { source: hm.mac(), unicast, payload: arrival.payload };
            self.queue.push(self.now + arrival.after, Due::ToCanary(hm, life, Box::new(frame)));
        }
    }

    pub(super) fn reach_canary(&mut self, hm: Hm, life: u64, frame: CanaryFrame) {
        let index = self.index(hm);
        self.monitors[index].receive_canary(life, frame);
        self.arm_monitor(index);
    }

    /// A turn of a canary's thread; what it sends takes the way of a guest's.
    pub(super) fn on_canary(&mut self, index: usize) {
        if !self.monitor_alarms[index].third.rings(self.now) {
            return;
        }
        let (hm, frames) = (self.monitors[index].hm, self.monitors[index].canary_turn(self.now));
        let Some(source) = self.monitors[index].canary_mac() else { return };
        for (_, payload) in frames {
            self.trace.push_frame(self.now, &payload);
            for arrival in self.network.carry(hm, CANARY, Way::Up, &payload) {
                let at = self.now + arrival.after;
                let frame =
                    MonitorFrame { arrived: at, source, payload: arrival.payload, beat: None, mark: None };
                self.queue.push(at, Due::ToMonitor(hm, Box::new(frame)));
            }
        }
        self.arm_monitor(index);
    }

    pub(super) fn reach_monitor(&mut self, hm: Hm, mut frame: MonitorFrame) {
        if self.network.is_down(hm) {
            return;
        }
        if self.plan.cluster.auth {
            let fresh = frame.mark.is_some_and(|mark| self.fresh.on_arrived(hm, mark));
            frame.beat = frame.beat.filter(|_| fresh);
        }
        let index = self.index(hm);
        self.monitors[index].receive(self.now, frame);
        self.after_monitor(index);
    }

    /// One that has moved meanwhile is not there any more.
    pub(super) fn reach_guest(&mut self, vm: Vm, frame: GuestFrame) {
        let here = self
            .hypervisor
            .host_of(vm)
            .is_some_and(|host| Hm { host, trunk: frame.trunk }.mac() == frame.source);
        if here {
            self.guests[vm.0].receive(self.now, frame);
            self.after_guest(vm.0);
        }
    }

    pub(super) const fn index(&self, hm: Hm) -> usize {
        hm.host * self.plan.cluster.trunks + hm.trunk
    }
}
