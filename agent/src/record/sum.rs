//! A checksum of what an agent's cores want done.

use std::fmt::Write;

use crate::ame::{AmeOutput, StartScript};
use crate::trunks::TrunkOutput;

/// Of some outputs.
#[derive(Debug, Default)]
pub(super) struct Sum {
    count: u32,
    hash: crc32fast::Hasher,
}

impl Write for Sum {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.hash.update(text.as_bytes());
        Ok(())
    }
}

impl Sum {
    pub(super) fn add_trunks(&mut self, output: &TrunkOutput) {
        match output {
            TrunkOutput::Transmit { adapter, destination, vlan, payload } => {
                self.add(1, format_args!("{adapter:?} {destination} {vlan:?}"));
                self.hash.update(payload);
            }
            TrunkOutput::ReportWanted { tag } => self.add(2, format_args!("{tag}")),
            TrunkOutput::ReportTaken { tag } => self.add(3, format_args!("{tag}")),
            TrunkOutput::SuspensionHeard => self.add(4, format_args!("")),
            TrunkOutput::Log(event) => self.add(5, format_args!("{event}")),
            TrunkOutput::ShutdownDone => self.add(6, format_args!("")),
        }
    }

    /// But for what is left out of records.
    pub(super) fn add_engine(&mut self, output: &AmeOutput) {
        match output {
            AmeOutput::StartScript(script) => {
                let StartScript { app, uuid, run, kind, command: _, typed: _, user, time_limit } = script;
                self.add(7, format_args!("{app} {uuid} {} {kind} {user} {time_limit:?}", run.0));
            }
            AmeOutput::KillScript { run } => self.add(8, format_args!("{}", run.0)),
            AmeOutput::StatusChanged { app, from, to } => self.add(9, format_args!("{app} {from} {to}")),
            AmeOutput::Waits { app, status, waits_for } => {
                self.add(10, format_args!("{app} {status} {}", waits_for.join(",")));
            }
            AmeOutput::Changed(bits) => self.add(11, format_args!("{}", bits.0)),
            AmeOutput::Table(text) => self.add(12, format_args!("{text}")),
        }
    }

    fn add(&mut self, kind: u8, what: std::fmt::Arguments<'_>) {
        self.count = self.count.saturating_add(1);
        self.hash.update(&[kind]);
        // It only fails if what is printed does.
        let _ = self.write_fmt(what);
    }

    /// How many there were and their checksum, if there were any; begins anew.
    pub(super) fn take(&mut self) -> Option<(u32, u32)> {
        let (count, hash) = (std::mem::take(&mut self.count), std::mem::take(&mut self.hash));
        (count > 0).then(|| (count, hash.finalize()))
    }
}
