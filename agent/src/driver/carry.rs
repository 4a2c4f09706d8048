//! What the cores want done, done.

use std::sync::Arc;

use vmpulse_protocol::time::Instant;

use super::Daemon;
use crate::ame::{AmeOutput, Colour, Outcome};
use crate::health::Health;
use crate::runner::Ended;
use crate::trunks::{TrunkInput, TrunkOutput};

impl Daemon {
    /// Drains both cores. True when the host monitors know that the daemon stops.
    pub(super) fn carry(&mut self, now: Instant) -> bool {
        let mut shutdown_done = false;
        loop {
            if let Some(output) = self.ame.poll_output() {
                self.carry_engine(now, output);
            } else if let Some(output) = self.trunks.poll_output() {
                shutdown_done |= output == TrunkOutput::ShutdownDone;
                self.carry_trunk(now, output);
            } else {
                self.publish_health();
                return shutdown_done;
            }
        }
    }

    fn carry_engine(&mut self, now: Instant, output: AmeOutput) {
        if let AmeOutput::StatusChanged { app, to, .. } = &output {
            self.healthy.on_change(app, *to);
            self.health_is_stale = true;
        }
        match output {
            // News may reach the engine while the daemon ends; nobody would wait for what it began now.
            AmeOutput::StartScript(_) if self.stop_at.is_some() => {}
            AmeOutput::StartScript(order) => self.runner.start(order),
            AmeOutput::KillScript { run } => self.runner.kill(run),
            AmeOutput::StatusChanged { app, from, to } if to.colour() == Colour::Red => {
                tracing::warn!(app, %from, %to, "application is RED");
            }
            AmeOutput::StatusChanged { app, from, to } => tracing::info!(app, %from, %to, "application"),
            AmeOutput::Waits { app, status, waits_for } => {
                tracing::info!(app, %status, waits_for = waits_for.join(","), "application waits");
            }
            AmeOutput::Changed(bits) => self.trunks.handle_input(now, TrunkInput::Ring(bits)),
            AmeOutput::Table(table) => tracing::debug!("round\n{table}"),
        }
    }

    /// For the health endpoint, once a turn at most.
    fn publish_health(&mut self) {
        if let Some(health) = &self.health
            && std::mem::take(&mut self.health_is_stale)
        {
            health.send_replace(Arc::new(Health::of(self.ame.applications(), &self.healthy)));
        }
    }

    fn carry_trunk(&mut self, now: Instant, output: TrunkOutput) {
        match output {
            TrunkOutput::Transmit { adapter, destination, vlan, payload } => {
                self.links.send(adapter, destination, vlan, &payload);
            }
            TrunkOutput::ReportWanted { tag } => {
                let xml = self.reporter.build(now, self.ame.applications(), |name| {
                    self.last_scripts.get(name).map_or("", |script| script.output.as_str())
                });
                self.trunks.handle_input(now, TrunkInput::Report { tag, xml });
            }
            TrunkOutput::ReportTaken { tag } => tracing::debug!(tag, "the controller has the report"),
            TrunkOutput::SuspensionHeard => self.on_suspension_heard(),
            TrunkOutput::Log(event) if event.is_detail() => tracing::debug!("{event}"),
            TrunkOutput::Log(event) => tracing::info!("{event}"),
            TrunkOutput::ShutdownDone => tracing::debug!("the host monitors know"),
        }
    }
}

/// What failed, with its last words; what succeeded at the detailed level only.
pub(super) fn log_script(ended: &Ended) {
    let Ended { app, kind, outcome, how, output, .. } = ended;
    if *outcome == Outcome::Exit(0) {
        tracing::debug!(app, %kind, output, "script succeeded");
    } else {
        tracing::info!(app, %kind, how, output, "script failed");
    }
}
