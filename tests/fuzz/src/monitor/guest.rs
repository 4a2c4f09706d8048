//! A guest: the agent's own core on one adapter, and whether it may speak.

use std::collections::BTreeSet;
use std::time::Duration;

use vmpulse_agent::trunks::{AdapterId, TrunkInput, TrunkOutput, Trunks, TrunksConfig};
use vmpulse_protocol::MacAddr;
use vmpulse_protocol::auth::Authentication;
use vmpulse_protocol::message::{Doorbell, Shutdown};
use vmpulse_protocol::time::Instant;

use super::{mac, vm};

const ADAPTER: AdapterId = AdapterId(2);
/// Turns without time between them: what a paused agent has not asked for, and that it has.
const TURNS_MAXIMUM: usize = 5;

/// A report is made of its tag, so that another guest's is noticed.
pub(super) fn report(number: u8, tag: i64) -> Vec<u8> {
    let length = (tag.unsigned_abs() % 40) * 100;
    vec![number.wrapping_mul(31).wrapping_add(tag as u8); length as usize]
}

/// What its people made it say, in all its lives.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) suspend: bool,
    pub(super) resume: bool,
    pub(super) shutdown: bool,
    pub(super) quiet: bool,
    pub(super) bits: u32,
    pub(super) reports: BTreeSet<i64>,
}

#[derive(Debug)]
pub(super) struct Guest {
    number: u8,
    trunks: Trunks,
    authentication: Authentication,
    pub(super) frozen: bool,
    pub(super) said: Said,
}

impl Guest {
    pub(super) fn new(now: Instant, number: u8, seed: u64) -> Self {
        let (authentication, said) = (Authentication::NONE, Said::default());
        let trunks = Self::trunks(number, seed, now);
        let mut guest = Self { number, trunks, authentication, frozen: false, said };
        guest.adapter_up(now);
        guest
    }

    fn trunks(number: u8, seed: u64, now: Instant) -> Trunks {
        let mut nonce_seed = [number; 32];
        nonce_seed[..8].copy_from_slice(&seed.to_be_bytes());
        Trunks::new(
            TrunksConfig {
                vm: vm(number).to_string(),
                incarnation_seed: seed,
                nonce_seed,
                unheard_suspension: None,
            },
            now,
        )
    }

    fn adapter_up(&mut self, now: Instant) {
        let up = TrunkInput::AdapterUp {
            adapter: ADAPTER,
            mac: mac(self.number),
            mtu: 1500,
            name: "eth1".to_owned(),
        };
        self.trunks.handle_authentication(now, self.authentication.clone());
        self.trunks.handle_input(now, up);
        self.trunks.handle_timeout(now);
    }

    /// A new life of its agent.
    pub(super) fn restart(&mut self, now: Instant, seed: u64) {
        self.frozen = false;
        self.trunks = Self::trunks(self.number, seed, now);
        self.adapter_up(now);
    }

    pub(super) fn rekey(&mut self, now: Instant, authentication: Authentication) {
        self.authentication = authentication.clone();
        self.trunks.handle_authentication(now, authentication);
    }

    pub(super) fn suspend(&mut self, now: Instant, suspend: bool) {
        self.said.suspend |= suspend;
        self.said.resume |= !suspend;
        self.trunks.handle_input(now, if suspend { TrunkInput::Suspend } else { TrunkInput::Resume });
    }

    /// Zero: the announced silence is over.
    pub(super) fn quiet(&mut self, now: Instant, asked: Duration) {
        self.said.quiet = true;
        self.trunks.handle_input(now, TrunkInput::Quiet { asked, reason: "backup".to_owned() });
    }

    pub(super) fn shut_down(&mut self, now: Instant, kind: Shutdown) {
        self.said.shutdown = true;
        self.trunks.handle_input(now, TrunkInput::Shutdown(kind));
    }

    pub(super) fn ring(&mut self, now: Instant, bits: u32) {
        self.said.bits |= bits;
        self.trunks.handle_input(now, TrunkInput::Ring(Doorbell(bits)));
    }

    pub(super) fn hear(&mut self, now: Instant, hm: MacAddr, destination: MacAddr, payload: &[u8]) {
        let frame = TrunkInput::Frame { adapter: ADAPTER, source: hm, destination, vlan: None, payload };
        self.trunks.handle_input(now, frame);
    }

    pub(super) fn look(&mut self, now: Instant) {
        for _ in 0..TURNS_MAXIMUM {
            if self.poll_timeout().is_none_or(|due| due > now) {
                return;
            }
            self.trunks.handle_timeout(now);
        }
        panic!("the agent would turn without rest");
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.trunks.poll_timeout().filter(|_| !self.frozen)
    }

    /// What it sends, and to whom; it answers by itself what it is asked.
    pub(super) fn frames(&mut self, now: Instant, seed: u64) -> Vec<(MacAddr, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(output) = self.trunks.poll_output() {
            match output {
                TrunkOutput::Transmit { destination, payload, .. } => frames.push((destination, payload)),
                TrunkOutput::ReportWanted { tag } => {
                    self.said.reports.insert(tag);
                    let xml = report(self.number, tag);
                    self.trunks.handle_input(now, TrunkInput::Report { tag, xml });
                }
                TrunkOutput::ReportTaken { .. } | TrunkOutput::SuspensionHeard | TrunkOutput::Log(_) => {}
                // The agent ends, and its service manager starts it again.
                TrunkOutput::ShutdownDone => self.restart(now, seed),
            }
        }
        frames
    }

    pub(super) fn is_beating(&self, now: Instant) -> bool {
        self.trunks.paths(now).iter().any(|path| path.state == "BEATING")
    }
}
