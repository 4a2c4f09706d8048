//! The daemon's side of the command socket.

use std::time::Duration;

use nix::unistd::geteuid;
use vmpulse_local::command::{CommandCall, Peer};
use vmpulse_protocol::message::is_quiet_reason;
use vmpulse_protocol::time::Instant;

use super::{Daemon, start};
use crate::ame::{AmeInput, ApplicationStatus, Order};
use crate::command::{
    DaemonStatus, LiveApplication, LiveGuardian, LivePath, LiveQuiet, LiveTold, Reply, Request,
};
use crate::config_file;
use crate::suspension::{self, Suspension};
use crate::trunks::{Announced, PathStatus, PathTold, Told, TrunkInput};
use vmpulse_local::errors::chain as error_chain;

/// How long a command waits for the host monitors before it is told how far they are. They answer within the 400 ms of a
/// group commit, unless a frame was lost: then half a second later.
const HOLD: Duration = Duration::from_millis(1500);

/// Commands that wait at once; further ones are told at once how far it is. The socket serves 64 connections.
const HELD_MAXIMUM: usize = 16;

/// A command that waits for what the host monitors make of something.
pub(super) struct Held {
    call: CommandCall,
    what: Announced,
    pub(super) until: Instant,
}

/// What becomes of a request.
enum Answer {
    Now(Box<Reply>),
    /// When the host monitors have answered.
    When(Announced),
}

impl Answer {
    fn now(reply: Reply) -> Self {
        Self::Now(Box::new(reply))
    }
}

impl Daemon {
    pub(super) fn on_command(&mut self, call: CommandCall) {
        let answer = match serde_json::from_value::<Request>(call.request.clone()) {
            Ok(request) => self.answer(call.peer, request),
            Err(error) => return call.refuse(&format!("no such request: {error}")),
        };
        match answer {
            Answer::Now(reply) => call.reply(&*reply),
            Answer::When(what) if self.held.len() < HELD_MAXIMUM => {
                self.held.push(Held { call, what, until: self.clock.now() + HOLD });
            }
            Answer::When(what) => call.reply(&self.told(what)),
        }
    }

    /// Answers those whose host monitors have all answered, and those that have waited for long enough.
    pub(super) fn answer_held(&mut self, now: Instant) {
        let due = |held: &mut Held| held.until <= now || self.trunks.announcement(held.what).settled;
        let due: Vec<Held> = self.held.extract_if(.., due).collect();
        for held in due {
            held.call.reply(&self.told(held.what));
        }
    }

    fn answer(&mut self, peer: Peer, request: Request) -> Answer {
        if request.is_change() && !may_change(peer.uid) {
            tracing::warn!(uid = peer.uid, pid = peer.pid, "a change was refused: only root may");
            return Answer::now(Reply::NotAllowed);
        }
        let now = self.clock.now();
        Answer::now(match request {
            Request::Status => Reply::Status(Box::new(self.status(now))),
            Request::Applications => Reply::Applications {
                applications: self.ame.applications().map(|app| self.live(now, app)).collect(),
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
            Request::StartApplication { name } => self.order(now, Order::Start, &name),
            Request::StopApplication { name } => self.order(now, Order::Stop, &name),
            Request::ResumeApplication { name } => self.order(now, Order::Resume, &name),
            Request::Quiet { ms, reason } => return self.announce_quiet(now, ms, reason),
            Request::Suspension { suspend } => return self.suspend(now, suspend),
            Request::Told { quiet } => {
                return Answer::When(if quiet { Announced::Quiet } else { Announced::Suspension });
            }
        })
    }

    fn announce_quiet(&mut self, now: Instant, ms: u32, reason: String) -> Answer {
        if !is_quiet_reason(&reason) {
            // `vmmgr` has checked it; the host monitors would not take it.
            return Answer::now(Reply::NotDone { problem: "this reason cannot be sent".to_owned() });
        }
        match ms {
            0 => tracing::info!("the announced silence is over"),
            _ => tracing::info!(ms, reason, "a silence is announced"),
        }
        let asked = Duration::from_millis(ms.into());
        self.trunks.handle_input(now, TrunkInput::Quiet { asked, reason });
        Answer::When(Announced::Quiet)
    }

    /// Kept before it is said: what a host monitor was told must not be forgotten here.
    fn suspend(&mut self, now: Instant, suspend: bool) -> Answer {
        let suspension = Suspension { suspended: suspend, heard: false };
        if let Err(error) = suspension::save(&self.settings.state_dir, suspension) {
            let path = self.settings.state_dir.join(suspension::FILE);
            return Answer::now(Reply::NotDone { problem: format!("{}: {error}", path.display()) });
        }
        self.suspension = suspension;
        tracing::info!("monitoring is {}", if suspend { "suspended" } else { "resumed" });
        self.suspend_applications(now, suspend);
        self.trunks.handle_input(now, if suspend { TrunkInput::Suspend } else { TrunkInput::Resume });
        Answer::When(Announced::Suspension)
    }

    /// A host monitor knows: the store has it, and it is not said again after a restart.
    pub(super) fn on_suspension_heard(&mut self) {
        self.suspension.heard = true;
        if let Err(err) = suspension::save(&self.settings.state_dir, self.suspension) {
            // Said once more after a restart, which changes nothing unless somebody else has changed it since.
            tracing::warn!(%err, "cannot keep that the host monitors know of the suspension");
        }
    }

    fn told(&self, what: Announced) -> Reply {
        let announcement = self.trunks.announcement(what);
        let paths = announcement.paths.into_iter().map(told).collect();
        Reply::Told { settled: announcement.settled, paths }
    }

    fn quiet(&self, now: Instant) -> Option<LiveQuiet> {
        let quiet = self.trunks.quiet(now)?;
        let paths = self.trunks.announcement(Announced::Quiet).paths.into_iter().map(told).collect();
        let (asked_ms, left_ms) = (milliseconds(quiet.asked), milliseconds(quiet.left));
        Some(LiveQuiet { asked_ms, left_ms, granted: quiet.granted, reason: quiet.reason, paths })
    }

    /// Loads the file, or keeps what there is and remembers what is wrong.
    pub(super) fn load_configuration(&mut self) -> Result<(), String> {
        let monitored = self.ame.applications().count();
        match config_file::reload(&self.config_path(), self.settings.max_apps, monitored) {
            Ok(configuration) => {
                start::change_level(&self.log_level, configuration.vmm.log);
                self.config_problem = None;
                self.config_warnings = configuration.unknown.sentences();
                for warning in &self.config_warnings {
                    tracing::warn!("{}: {warning}", self.settings.config.display());
                }
                self.last_scripts.retain(|name, _| configuration.application(name).is_some());
                self.healthy.retain(|name| configuration.application(name).is_some());
                self.ame.handle_input(self.clock.now(), AmeInput::Configure(configuration));
                self.health_is_stale = true;
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

    fn live(&self, now: Instant, application: ApplicationStatus) -> LiveApplication {
        let age = now.since(application.changed_at).as_millis();
        LiveApplication {
            last_script: self.last_scripts.get(&application.name).cloned(),
            healthy: self.healthy.contains(&application.name),
            monitored: application.monitored,
            name: application.name,
            uuid: application.uuid,
            status: application.status.to_string(),
            colour: application.status.colour().to_string(),
            nooftimes_restarted: application.restarts,
            last_result: application.last_result.to_string(),
            last_change_ms: u64::try_from(age).unwrap_or(u64::MAX),
            stopped: application.stopped,
            waits_for: application.waits_for,
        }
    }

    fn status(&self, now: Instant) -> DaemonStatus {
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vm_uuid: self.vm_uuid.clone(),
            config: self.settings.config.display().to_string(),
            config_problem: self.config_problem.clone(),
            config_warnings: self.config_warnings.clone(),
            applications: self.ame.applications().count(),
            suspended: self.suspension.suspended,
            suspension_heard: self.suspension.heard,
            quiet: self.quiet(now).map(Box::new),
            paths: self.trunks.paths(now).into_iter().map(path).collect(),
            discarded: self.trunks.discards().map(|(reason, count)| (reason.to_string(), count)).collect(),
            adapter_problems: self.links.problems().to_vec(),
            authentication: self.secrets.mode.to_string(),
            key_ids: self.secrets.ids.clone(),
            key_problem: self.secrets.problem.clone(),
            guardian: Box::new(LiveGuardian {
                pid: self.guard.pid(now),
                problem: self.guard.problem().map(str::to_owned),
            }),
        }
    }
}

/// Root, or whoever the daemon runs as.
fn may_change(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn told(path: PathTold) -> LiveTold {
    let (answer, granted) = match path.told {
        Told::Waiting => ("waiting", None),
        Told::Acknowledged => ("acknowledged", None),
        Told::Granted(granted) => ("granted", Some(milliseconds(granted))),
        Told::TooOld => ("too_old", None),
        Told::Lost => ("lost", None),
    };
    LiveTold {
        adapter: path.adapter,
        host_monitor: path.host_monitor.map(|id| id.to_string()),
        answer: answer.to_owned(),
        granted_ms: granted,
    }
}

fn path(path: PathStatus) -> LivePath {
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
