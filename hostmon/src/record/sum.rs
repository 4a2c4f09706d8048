//! A checksum of what a core wants done.

use vmpulse_protocol::MacAddr;
use vmpulse_store::HostMonitorWrite;

use crate::monitor::{MonitorConfig, Output};

/// Of some outputs.
#[derive(Debug, Default)]
pub(super) struct Sum {
    /// What is sent there depends on its key, which no record holds.
    canary: Option<MacAddr>,
    count: u32,
    hash: crc32fast::Hasher,
}

impl Sum {
    pub(super) fn new(config: &MonitorConfig) -> Self {
        Self { canary: config.canary.as_ref().map(|canary| canary.mac), ..Self::default() }
    }

    /// Whether it counts.
    pub(super) fn add(&mut self, output: &Output) -> bool {
        if let Output::Transmit(frame) = output
            && Some(frame.destination) == self.canary
        {
            return false;
        }
        self.count = self.count.saturating_add(1);
        let hash = &mut self.hash;
        match output {
            Output::Transmit(frame) => {
                hash.update(&[1]);
                hash.update(&frame.destination.octets());
                hash.update(&frame.vlan.map_or([0xff; 2], u16::to_be_bytes));
                hash.update(&frame.payload);
            }
            Output::Store { number, write } => {
                hash.update(&[2]);
                hash.update(&number.to_be_bytes());
                // JSON as in the spool: the same in every build.
                hash.update(&serde_json::to_vec(write).unwrap_or_default());
                if let HostMonitorWrite::Report { payload, .. } = write {
                    hash.update(payload);
                }
            }
            Output::Authenticated { vm } => {
                hash.update(&[3]);
                hash.update(vm.as_bytes());
            }
            Output::AskCanary => hash.update(&[4]),
            Output::Note(note) => {
                hash.update(&[5]);
                hash.update(note.to_string().as_bytes());
            }
            Output::LogLevel(level) => {
                hash.update(&[6]);
                hash.update(level.as_deref().unwrap_or("-").as_bytes());
            }
        }
        true
    }

    /// How many there were and their checksum, if there were any; begins anew.
    pub(super) fn take(&mut self) -> Option<(u32, u32)> {
        let (count, hash) = (std::mem::take(&mut self.count), std::mem::take(&mut self.hash));
        (count > 0).then(|| (count, hash.finalize()))
    }
}
