//! The daemon's side of the command socket.

use nix::unistd::geteuid;
use vmpulse_local::command::{CommandCall, Peer};
use vmpulse_protocol::time::Instant;

use super::{Daemon, start};
use crate::ame::{AmeInput, ApplicationStatus};
use crate::command::{DaemonStatus, LiveApplication, LivePath, Reply, Request};
use crate::config_file;
use crate::trunks::PathStatus;
use vmpulse_local::errors::chain as error_chain;

impl Daemon {
    pub(super) fn on_command(&mut self, call: CommandCall) {
        match serde_json::from_value::<Request>(call.request.clone()) {
            Ok(request) => {
                let reply = self.answer(call.peer, request);
                call.reply(&reply);
            }
            Err(error) => call.refuse(&format!("no such request: {error}")),
        }
    }

    fn answer(&mut self, peer: Peer, request: Request) -> Reply {
        if request.is_change() && !may_change(peer.uid) {
            tracing::warn!(uid = peer.uid, pid = peer.pid, "a change was refused: only root may");
            return Reply::NotAllowed;
        }
        let now = self.clock.now();
        match request {
            Request::Status => Reply::Status(self.status(now)),
            Request::Applications => Reply::Applications {
                applications: self.ame.applications().map(|app| live(now, app)).collect(),
            },
            Request::Sync => match self.load_configuration() {
                Ok(()) => Reply::Synced { applications: self.ame.applications().count() },
                Err(problem) => Reply::NotLoaded { problem },
            },
            Request::LoadKeys => match self.load_keys() {
                Ok(()) => {
                    Reply::KeysLoaded { mode: self.secrets.mode.to_string(), ids: self.secrets.ids.clone() }
                }
                Err(problem) => Reply::NotLoaded { problem },
            },
        }
    }

    /// Loads the file, or keeps what there is and remembers what is wrong.
    pub(super) fn load_configuration(&mut self) -> Result<(), String> {
        let monitored = self.ame.applications().count();
        match config_file::reload(&self.config_path(), self.settings.max_apps, monitored) {
            Ok(configuration) => {
                start::change_level(&self.log_level, configuration.vmm.log);
                self.config_problem = None;
                self.ame.handle_input(self.clock.now(), AmeInput::Configure(configuration));
                Ok(())
            }
            Err(error) => {
                let problem = error_chain(&error);
                tracing::error!("the configuration was not loaded, the last good one is kept: {problem}");
                self.config_problem = Some(problem.clone());
                Err(problem)
            }
        }
    }

    fn status(&self, now: Instant) -> DaemonStatus {
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vm_uuid: self.vm_uuid.clone(),
            config: self.settings.config.display().to_string(),
            config_problem: self.config_problem.clone(),
            applications: self.ame.applications().count(),
            paths: self.trunks.paths(now).into_iter().map(path).collect(),
            adapter_problems: self.links.problems().to_vec(),
            authentication: self.secrets.mode.to_string(),
            key_ids: self.secrets.ids.clone(),
            key_problem: self.secrets.problem.clone(),
        }
    }
}

/// Root, or whoever the daemon runs as.
fn may_change(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

fn path(path: PathStatus) -> LivePath {
    let milliseconds =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    LivePath {
        adapter: path.adapter,
        host_monitor: path.host_monitor.map(|id| id.to_string()),
        host_monitor_mac: path.host_monitor_mac.map(|mac| mac.to_string()),
        state: path.state.to_owned(),
        version: path.version.map(|version| version.to_string()),
        interval_ms: path.interval.map(milliseconds),
        last_hello_age_ms: path.last_hello_age.map(milliseconds),
        heartbeats_sent: path.heartbeats_sent,
        authenticated_in: path.security.is_some_and(|(directions, _)| directions.incoming),
        authenticated_out: path.security.is_some_and(|(directions, _)| directions.outgoing),
        key_id: path.security.map(|(_, key)| key.as_u8()),
    }
}

fn live(now: Instant, application: ApplicationStatus) -> LiveApplication {
    let age = now.since(application.changed_at).as_millis();
    LiveApplication {
        name: application.name,
        uuid: application.uuid,
        status: application.status.to_string(),
        colour: application.status.colour().to_string(),
        nooftimes_restarted: application.restarts,
        last_result: application.last_result.to_string(),
        last_change_ms: u64::try_from(age).unwrap_or(u64::MAX),
    }
}
