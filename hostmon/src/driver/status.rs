//! What `hmmgr status` is told.

use std::time::Duration;

use serde::{Serialize, Serializer};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{AcceptedVersions, MonitorMode, StoreTime};

use super::Driver;
use crate::monitor::{AbsentView, CanaryState, CanaryView, PathView, QuietView};
use crate::spool::SpoolView;
use crate::status::{AbsentStatus, CanaryStatus, PathStatus, QuietStatus, SettingsStatus, Status, StoreWork};

/// What does not change, and the store's state.
pub(super) struct Facts {
    pub(super) started: String,
    pub(super) store: String,
    pub(super) store_error: Option<String>,
    /// Unless the store says something else.
    pub(super) log_level: String,
}

/// Everything that the status needs, copied in one turn of the loop: about a millisecond for 10,000 paths. What takes
/// longer, sorting and texts, is the desk's.
pub(super) struct Snapshot {
    /// Not in order; without announced silences.
    status: Status<ShownPath>,
    quiets: Vec<QuietView>,
    absent: Vec<AbsentView>,
}

/// Its texts are made one after the other, when they are written.
pub(super) struct ShownPath {
    path: PathView,
    hears_trunk: bool,
}

impl Snapshot {
    /// With its texts, for whoever reads them more than once.
    pub(super) fn whole(self) -> Status {
        self.status().map_paths(|shown| path_status(&shown.path, shown.hears_trunk))
    }

    pub(super) fn status(self) -> Status<ShownPath> {
        let Self { mut status, quiets, mut absent } = self;
        status.paths.sort_by_key(|shown| (shown.path.session.vm, shown.path.session.mac.octets()));
        absent.sort_by_key(|absent| absent.vm);
        let hears_trunk = status.trunk_heard;
        status.without_path = absent.iter().map(|absent| absent_status(absent, hears_trunk)).collect();
        status.quiet = quiets.into_iter().map(quiet_status).collect();
        status.quiet.sort_by(|a, b| a.vm.cmp(&b.vm));
        status
    }
}

impl Serialize for ShownPath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        path_status(&self.path, self.hears_trunk).serialize(to)
    }
}

impl Driver {
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let hears_trunk = self.monitor.hears_trunk();
        let paths = self.monitor.paths(now).map(|path| ShownPath { path, hears_trunk }).collect();
        let quiets = self.monitor.quiets(now).collect();
        let absent = self.monitor.absent(now).collect();
        let canary = self.monitor.canary(now).map(canary_status).unwrap_or_default();
        Snapshot { status: Status { paths, canary, ..self.own_status(now) }, quiets, absent }
    }

    /// By the wall clock as it is now.
    fn wall_time(&self, at: Instant) -> String {
        let ago = self.clock.now().since(at);
        let at = StoreTime(i64::try_from(self.clock.realtime().as_micros()).unwrap_or(i64::MAX)).back(ago);
        at.rfc3339()
    }

    fn own_status(&self, now: Instant) -> Status<ShownPath> {
        let config = self.monitor.config();
        let spool = self.store.view();
        let counters: std::collections::BTreeMap<String, u64> = self
            .monitor
            .counters()
            .into_iter()
            .chain([
                ("send_failures".to_owned(), self.trunk.send_failures),
                ("ring_freezes".to_owned(), self.trunk.freezes()),
                ("spool_remarks_dropped".to_owned(), spool.dropped),
            ])
            .collect();
        Status {
            trunk: config.trunk.clone(),
            trunk_heard: self.monitor.hears_trunk(),
            isolated: self.monitor.is_isolated(),
            canary: CanaryStatus::default(),
            uuid: config.identity.uuid.to_string(),
            mac: config.mac.to_string(),
            pid: std::process::id(),
            mode: mode(&spool),
            mode_since: spool.local.as_ref().map(|(since, _)| self.wall_time(*since)),
            mode_reason: spool.local.as_ref().map(|(_, why)| why.clone()),
            incarnation: config.incarnation.to_string(),
            started: self.facts.started.clone(),
            store: self.facts.store.clone(),
            store_ok: spool.local.is_none(),
            pending_writes: spool.waiting as u64,
            spool: spool.kept as u64,
            spool_bytes: spool.file_bytes as u64,
            spool_error: spool.file_error.clone(),
            paths: Vec::new(),
            without_path: Vec::new(),
            quiet: Vec::new(),
            late: counters.get("late_turns").copied().unwrap_or_default(),
            counters,
            kernel_drops: self.trunk.drops(),
            policing: self.policing.status(),
            settings: self.settings_status(),
            removed: self.monitor.is_removed(),
            store_work: store_work(&spool, now),
        }
    }
}

pub(super) const fn mode(spool: &SpoolView) -> MonitorMode {
    if spool.local.is_none() { MonitorMode::Global } else { MonitorMode::Local }
}

fn store_work(spool: &SpoolView, now: Instant) -> StoreWork {
    StoreWork {
        commits: spool.commits,
        failures: spool.failures,
        statements: vmpulse_store::statements(),
        last_commit_age_ms: spool.last_commit.map(|at| milliseconds(now.since(at))),
    }
}

impl Driver {
    fn settings_status(&self) -> SettingsStatus {
        let (config, settings) = (self.monitor.config(), self.monitor.settings());
        let versions = AcceptedVersions { lower: config.identity.lower, upper: config.identity.upper };
        SettingsStatus {
            version: settings.version,
            log_level: settings.log_level.clone().unwrap_or_else(|| self.facts.log_level.clone()),
            heartbeat_interval_ms: config.heartbeat_interval_ms,
            store_heartbeat_interval_ms: milliseconds(config.store_heartbeat),
            versions: versions.to_string(),
        }
    }
}

pub(super) fn path_status(path: &PathView, hears_trunk: bool) -> PathStatus {
    let state = match (path.watched, path.beating, path.missing) {
        (true, _, _) if !hears_trunk => "UNKNOWN",
        (false, _, _) => "NOT_MONITORED",
        (true, _, _) if path.quiet => "QUIET",
        (true, true, _) => "BEATING",
        (true, false, true) => "MISSING",
        (true, false, false) => "EXPECTED",
    };
    PathStatus {
        vm: path.session.vm.to_string(),
        mac: path.session.mac.to_string(),
        state: state.to_owned(),
        suspended: path.suspended,
        version: path.session.version.to_string(),
        interval_ms: path.interval_ms.map(u64::from).unwrap_or_default(),
        last_heartbeat_age_ms: path.silence.filter(|_| path.session.heartbeats > 0).map(milliseconds),
        heartbeats: path.session.heartbeats,
        authenticated_in: path.session.security.is_some_and(|(directions, _)| directions.incoming),
        authenticated_out: path.session.security.is_some_and(|(directions, _)| directions.outgoing),
        key_id: path.session.security.map(|(_, key)| key.as_u8()),
        guardian: path.session.guardian,
    }
}

/// Why it is not heard, the strongest reason first.
pub(super) fn absent_status(absent: &AbsentView, hears_trunk: bool) -> AbsentStatus {
    let AbsentView { vm, wanted, suspended, quiet, missing, silence } = *absent;
    let state = match (suspended, silence) {
        _ if !wanted => "NOT_MONITORED",
        (Some(_), _) => "SUSPENDED",
        _ if !hears_trunk => "UNKNOWN",
        _ if quiet => "QUIET",
        (None, None) => "NEVER_HEARD",
        (None, Some(_)) if missing => "MISSING",
        (None, Some(_)) => "EXPECTED",
    };
    AbsentStatus {
        vm: vm.to_string(),
        state: state.to_owned(),
        suspended,
        silent_ms: silence.map(milliseconds),
    }
}

fn canary_status(view: CanaryView) -> CanaryStatus {
    let state = match view.state {
        CanaryState::Off => "off",
        CanaryState::Starting => "starting",
        CanaryState::Beating => "beating",
        CanaryState::Silent => "silent",
        CanaryState::Broken => "broken",
    };
    CanaryStatus {
        state: state.to_owned(),
        reason: view.reason,
        interval_ms: view.interval_ms,
        last_heartbeat_age_ms: view.silence.map(milliseconds),
        heartbeats: view.heartbeats,
    }
}

fn quiet_status(quiet: QuietView) -> QuietStatus {
    QuietStatus { vm: quiet.vm.to_string(), left_ms: milliseconds(quiet.left), reason: quiet.reason }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmpulse_store::SuspendReason;

    #[test]
    fn a_vm_without_a_path_is_shown_with_the_reason() {
        let missing = AbsentView {
            vm: "61be20f0-09a8-4753-b5e5-564f8a545ed5".parse().unwrap(),
            wanted: true,
            suspended: None,
            quiet: false,
            missing: true,
            silence: Some(Duration::from_millis(19_500)),
        };
        let never = AbsentView { missing: false, silence: None, ..missing };
        let suspended = Some(SuspendReason::Os);
        for (view, hears_trunk, expected) in [
            (missing, true, "MISSING"),
            (missing, false, "UNKNOWN"),
            (AbsentView { missing: false, ..missing }, true, "EXPECTED"),
            (never, true, "NEVER_HEARD"),
            (AbsentView { quiet: true, ..never }, true, "QUIET"),
            (AbsentView { suspended, ..missing }, true, "SUSPENDED"),
            (AbsentView { suspended, ..never }, false, "SUSPENDED"),
            (AbsentView { wanted: false, ..never }, true, "NOT_MONITORED"),
        ] {
            assert_eq!(absent_status(&view, hears_trunk).state, expected, "{view:?}");
        }
        assert_eq!(absent_status(&missing, true).silent_ms, Some(19_500));
    }
}
