//! A host monitor's canary: its core, in the shape of its thread. It shares the process with the monitor, and is stopped and
//! killed with it.

use vmpulse_hostmon::canary::{CanaryIdentity, CanaryVmm};
use vmpulse_hostmon::monitor::{CanaryReport, Input};
use vmpulse_hostmon::record::Recorded;
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::time::Instant;

use super::store_worker::Clock;
use crate::random::entropy;

const MTU: usize = 1500;
/// Frames that wait in its socket while its process does not run.
const WAITING_MAXIMUM: usize = 64;

/// A frame for it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) source: MacAddr,
    pub(crate) unicast: bool,
    pub(crate) payload: Vec<u8>,
}

/// See the module.
pub(crate) struct Canary {
    pub(crate) mac: MacAddr,
    clock: Clock,
    vmm: CanaryVmm,
    up: bool,
    tried: Option<Instant>,
    /// It was asked for a heartbeat, or a frame came.
    woken: bool,
    waiting: Vec<Frame>,
}

/// Who it is, made up at each start.
pub(super) fn identity(random: &mut fastrand::Rng) -> CanaryIdentity {
    let mut bytes = [0; 54];
    random.fill(&mut bytes);
    CanaryIdentity::from_random(&bytes)
}

impl Canary {
    pub(super) fn new(
        clock: Clock,
        own: Instant,
        identity: CanaryIdentity,
        monitor: MacAddr,
        random: &mut fastrand::Rng,
    ) -> Self {
        let mac = identity.mac;
        let vmm = CanaryVmm::new(own, identity, monitor, MTU, &entropy(random));
        Self { mac, clock, vmm, up: false, tried: None, woken: false, waiting: Vec::new() }
    }

    /// As the driver polls its thread.
    pub(super) fn report(&mut self, own: Instant, monitor: &mut Recorded) {
        if !std::mem::replace(&mut self.up, true) {
            monitor.handle_input(own, Input::Canary(CanaryReport::Up));
        }
        if let Some(tried) = self.tried.take() {
            monitor.handle_input(own, Input::Canary(CanaryReport::Tried(tried)));
        }
    }

    pub(super) fn ask(&mut self) {
        self.vmm.handle_asked();
        self.woken = true;
    }

    pub(super) fn receive(&mut self, frame: Frame) {
        if self.waiting.len() < WAITING_MAXIMUM {
            self.waiting.push(frame);
        }
        self.woken = true;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let woken = self.woken.then_some(Instant::ZERO);
        woken.or_else(|| self.vmm.poll_timeout().map(|own| self.clock.world(own)))
    }

    /// A turn of its thread. Returns the frames it sends.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<(MacAddr, Vec<u8>)> {
        let own = self.clock.own(now);
        self.woken = false;
        for frame in std::mem::take(&mut self.waiting) {
            self.vmm.handle_frame(own, frame.source, frame.unicast, &frame.payload);
        }
        self.vmm.handle_timeout(own);
        let mut frames = Vec::new();
        while let Some(frame) = self.vmm.poll_transmit() {
            frames.push(frame);
        }
        if self.vmm.take_beaten() {
            self.tried = Some(own);
        }
        frames
    }
}
