//! What the store says of this monitor itself: its settings, and whether it was taken out.

use std::time::Duration;

use vmpulse_protocol::time::Instant;
use vmpulse_store::{AcceptedVersions, HostMonitorWrite, MonitorSettings, NodeState, Roster};

use super::notes::Note;
use super::{Monitor, MonitorConfig, Output};

/// What its own file says: in force where the store says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnSettings {
    heartbeat_interval_ms: u32,
    store_heartbeat: Duration,
    versions: AcceptedVersions,
}

impl OwnSettings {
    pub(super) const fn of(config: &MonitorConfig) -> Self {
        Self {
            heartbeat_interval_ms: config.heartbeat_interval_ms,
            store_heartbeat: config.store_heartbeat,
            versions: AcceptedVersions { lower: config.identity.lower, upper: config.identity.upper },
        }
    }
}

impl Monitor {
    /// The settings that the store says are in force; version 0 before any were.
    #[must_use]
    pub const fn settings(&self) -> &MonitorSettings {
        &self.settings
    }

    /// Whether it was taken out: what it writes is ignored.
    #[must_use]
    pub const fn is_removed(&self) -> bool {
        self.removed
    }

    /// To be called before the roster's VMs are looked at: their intervals may follow from it.
    pub(super) fn on_settings(&mut self, now: Instant, settings: MonitorSettings) {
        if settings == self.settings {
            return;
        }
        let own = self.own_settings;
        self.config.heartbeat_interval_ms =
            settings.heartbeat_interval_ms.unwrap_or(own.heartbeat_interval_ms);
        let every = settings.store_heartbeat_interval_ms.map(|ms| Duration::from_millis(ms.into()));
        self.config.store_heartbeat = every.unwrap_or(own.store_heartbeat);
        self.next_store_heartbeat = self.next_store_heartbeat.min(now + self.config.store_heartbeat);
        let AcceptedVersions { lower, upper } = settings.versions.unwrap_or(own.versions);
        (self.config.identity.lower, self.config.identity.upper) = (lower, upper);
        // Paths that are open keep the version they agreed on.
        self.sessions.handle_readdressed(self.config.mac, self.config.identity);
        if settings.log_level != self.settings.log_level {
            self.outputs.push_back(Output::LogLevel(settings.log_level.clone()));
        }
        let version = settings.version;
        self.settings = settings;
        self.note(Note::Configured { version });
        self.write(HostMonitorWrite::Configured {
            version,
            versions: AcceptedVersions { lower, upper }.to_string(),
            heartbeat_interval: self.config.store_heartbeat,
        });
    }

    /// One that is registered again says anew who it is: nothing that it said meanwhile was kept.
    pub(super) fn on_removed(&mut self, removed: bool) {
        if removed == self.removed {
            return;
        }
        self.removed = removed;
        self.note(Note::Removed { removed });
        if !removed {
            self.say_who_it_is();
        }
    }

    /// Whether it was taken out and registered again between two rosters: the store takes it to be down, although it has heard
    /// of this start, by which it was up. Not while it waits for the store to hear what it said of that: a store that can be read and
    /// not written would be told with each roster.
    pub(super) fn is_registered_anew(&self, roster: &Roster) -> bool {
        let heard_of = roster.incarnation.as_deref() == Some(self.config.incarnation.as_str());
        let waits = self.said_anew.is_some();
        roster.state == Some(NodeState::Down) && heard_of && !self.shutting_down && !self.removed && !waits
    }

    pub(super) fn say_who_it_is(&mut self) {
        let start = self.start_record();
        self.write(HostMonitorWrite::Started(start));
        // What the store took back with it is said anew.
        self.isolation.on_started();
        if !self.hears_trunk() {
            self.write(HostMonitorWrite::TrunkHeard { heard: false });
        }
        self.settings = MonitorSettings::default();
    }

    /// The store forgot its paths: those that are open, and which of them beat or are MISSING.
    pub(super) fn say_paths_again(&mut self, now: Instant) {
        let watched: Vec<_> = self.watched.keys().copied().collect();
        for vm in watched {
            // A handshake ends a suspension, so it is not said of one that is silent: it may have been shut down.
            if self.tracker.is_beating(vm) {
                self.write_opened(now, vm);
            }
            self.tracker.repeat(now, vm);
        }
    }
}
