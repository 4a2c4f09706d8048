//! One host monitor on its trunk, with its command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{store_url, write_common_settings, write_settings};
use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::process::{Daemon, Place, Said, run, run_with_input};
use crate::workspace::{read, write};
use crate::world::{self, Trunk};

/// How long an orderly end may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// One path as `hmmgr status -o json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PathStatus {
    /// The VM's UUID.
    pub(crate) vm: String,
    /// The address its path is open at.
    pub(crate) mac: String,
    /// `BEATING`, `MISSING`, ...
    pub(crate) state: String,
    /// Interval of its heartbeats.
    pub(crate) interval_ms: u64,
    /// Age of the last heartbeat, none before the first.
    pub(crate) last_heartbeat_age_ms: Option<u64>,
    /// Heartbeats counted.
    pub(crate) heartbeats: u64,
    /// Whether what the guest sends is authenticated, what is sent to it, and with which key.
    pub(crate) authenticated_in: bool,
    pub(crate) authenticated_out: bool,
    pub(crate) key_id: Option<u8>,
    /// Why its VM is suspended.
    pub(crate) suspended: Option<String>,
    /// Whether the guest's guardian beats in its agent's place.
    pub(crate) guardian: bool,
}

/// One registered VM without a path as `hmmgr status -o json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct AbsentStatus {
    /// Its UUID.
    pub(crate) vm: String,
    /// `MISSING`, ...
    pub(crate) state: String,
    /// Why it is suspended.
    pub(crate) suspended: Option<String>,
}

/// One announced silence as `hmmgr status -o json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct QuietStatus {
    /// The VM's UUID.
    pub(crate) vm: String,
}

/// One host monitor as `hmmgr status -o json` tells it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MonitorStatus {
    uuid: String,
    /// `GLOBAL` or `LOCAL`.
    pub(crate) mode: String,
    /// Writes that the store does not have, in the spool's file.
    pub(crate) spool: u64,
    /// Writes under way to the store or to the spool.
    pub(crate) pending_writes: u64,
    /// Times its loop was late.
    pub(crate) late: u64,
    /// Whether it says that it is isolated.
    pub(crate) isolated: bool,
    /// Its trunk's canary.
    pub(crate) canary: CanaryStatus,
    /// Its process.
    pub(crate) pid: i32,
    /// Its guests.
    pub(crate) paths: Vec<PathStatus>,
    /// Registered VMs without a path.
    pub(crate) without_path: Vec<AbsentStatus>,
    /// Frames that the kernel dropped because the receive buffer was full.
    pub(crate) kernel_drops: u64,
    /// What the kernel drops before it gets there.
    pub(crate) policing: Policing,
    /// Announced silences in force.
    pub(crate) quiet: Vec<QuietStatus>,
    /// What it counts, by name.
    pub(crate) counters: BTreeMap<String, u64>,
    /// What it works by.
    pub(crate) settings: SettingsStatus,
    /// Whether it was taken out of the store.
    pub(crate) removed: bool,
}

/// The settings in force that `CONFIGURE_HM` changes.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SettingsStatus {
    /// Of the store's settings; 0 for its own file's.
    pub(crate) version: i64,
    /// Log level.
    pub(crate) log_level: String,
    /// Of guests without one of their own.
    pub(crate) heartbeat_interval_ms: u64,
    /// Of its own heartbeat to the store.
    pub(crate) store_heartbeat_interval_ms: u64,
}

/// A trunk's canary.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CanaryStatus {
    /// `beating`, `silent`, ...
    pub(crate) state: String,
    /// Why it is off or broken.
    pub(crate) reason: Option<String>,
    /// What it beats at.
    pub(crate) interval_ms: Option<u32>,
}

/// How a trunk is policed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Policing {
    /// Whether it is.
    pub(crate) on: bool,
    /// Addresses with a lane of their own.
    pub(crate) known: u64,
    /// Frames by counter.
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Policing {
    /// Frames of every kind that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.counters.iter().filter(|(name, _)| name.ends_with("_dropped")).map(|(_, frames)| frames).sum()
    }
}

#[derive(Debug, Deserialize)]
struct StatusAnswer {
    host_monitors: Vec<MonitorStatus>,
}

/// What scenarios set differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MonitorSettings {
    /// Interval of guests' heartbeats.
    pub(crate) heartbeat_interval_ms: u32,
    /// Interval of the monitor's own heartbeat to the store.
    pub(crate) store_heartbeat_interval_ms: u32,
    /// Receive buffer of the trunk's socket.
    pub(crate) receive_buffer_bytes: u32,
    /// VLAN id of its frames; 0 for none.
    pub(crate) vlan: u16,
    /// Whether a trunk that the lab made has a canary; one that `hmmgr trunk create` made has.
    pub(crate) canary: bool,
}

/// The settings as shipped.
pub(crate) const AS_SHIPPED: MonitorSettings = MonitorSettings {
    heartbeat_interval_ms: 10_000,
    store_heartbeat_interval_ms: 30_000,
    receive_buffer_bytes: 8 << 20,
    vlan: 0,
    canary: false,
};

/// A host monitor; it ends with this value.
#[derive(Debug)]
pub(crate) struct HostMonitor {
    kit: Kit,
    trunk: Trunk,
    uuid: String,
    settings: PathBuf,
    daemon: Option<Daemon>,
}

impl HostMonitor {
    /// Writes its settings and starts it.
    pub(crate) fn start(kit: &Kit, trunk: &Trunk, settings: MonitorSettings) -> Lab<HostMonitor> {
        HostMonitor::start_with_store(kit, trunk, settings, &store_url())
    }

    /// The UUID of the monitor on a trunk.
    pub(crate) fn uuid_on(trunk: &Trunk) -> String {
        world::uuid(2, u8::try_from(u32::from(trunk.letter())).unwrap_or(0))
    }

    /// The same with a URL of its own for the store.
    pub(crate) fn start_with_store(
        kit: &Kit,
        trunk: &Trunk,
        settings: MonitorSettings,
        store: &str,
    ) -> Lab<HostMonitor> {
        HostMonitor::start_with_more(kit, trunk, settings, store, "")
    }

    /// The same with more settings.
    pub(crate) fn start_with_more(
        kit: &Kit,
        trunk: &Trunk,
        settings: MonitorSettings,
        store: &str,
        more: &str,
    ) -> Lab<HostMonitor> {
        let uuid = HostMonitor::uuid_on(trunk);
        let text = format!(
            "trunk = \"{}\"\nuuid = \"{uuid}\"\nstore = \"{}\"\nstate_dir = \"{}\"\n\
             heartbeat_interval_ms = {}\nstore_heartbeat_interval_ms = {}\nreceive_buffer_bytes = {}\n\
             vlan = {}\nlog = \"debug\"\n{}{more}",
            trunk.device(),
            store,
            world::dir("state").display(),
            settings.heartbeat_interval_ms,
            settings.store_heartbeat_interval_ms,
            settings.receive_buffer_bytes,
            settings.vlan,
            trunk.canary(settings.canary),
        );
        write_common_settings()?;
        let settings = write_settings(&format!("hostmon-{}.toml", trunk.letter()), &text)?;
        let mut monitor =
            HostMonitor { kit: kit.clone(), trunk: trunk.clone(), uuid, settings, daemon: None };
        monitor.restart()?;
        Ok(monitor)
    }

    /// Starts it, again if it was stopped or crashed.
    pub(crate) fn restart(&mut self) -> Lab<()> {
        self.daemon = None;
        let mut command = self.trunk.place().command(self.kit.program("vmpulse-hostmond"));
        command.arg("--settings").arg(&self.settings);
        self.daemon = Some(Daemon::start(&self.name(), command, &world::log_file(&self.name()))?);
        Ok(())
    }

    /// Stops it in order and starts it with this mode of authentication.
    pub(crate) fn restart_with_authentication(&mut self, mode: &str) -> Lab<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.terminate(STOP_LIMIT).map(drop))?;
        let text = read(&self.settings)?;
        let others: Vec<&str> = text.lines().filter(|line| !line.starts_with("authentication")).collect();
        write(&self.settings, format!("{}\nauthentication = \"{mode}\"\n", others.join("\n")))?;
        self.restart()
    }

    /// Stops it in order and starts it with more settings.
    pub(crate) fn restart_with(&mut self, settings: &str) -> Lab<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.terminate(STOP_LIMIT).map(drop))?;
        let text = read(&self.settings)?;
        write(&self.settings, format!("{text}{settings}"))?;
        self.restart()
    }

    /// Its UUID.
    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Its trunk.
    pub(crate) fn trunk(&self) -> &Trunk {
        &self.trunk
    }

    /// Its settings file.
    pub(crate) fn settings(&self) -> &PathBuf {
        &self.settings
    }

    /// Everything it has logged, over all its starts.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(world::log_file(&self.name())).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub(crate) fn still_runs(&mut self) -> Lab<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::still_runs)
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(&mut self) -> Lab<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.terminate(STOP_LIMIT).map(drop))
    }

    /// SIGKILL.
    pub(crate) fn crash(&mut self) -> Lab<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.crash())
    }

    /// Sends a signal to its process; fails if it was not started.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> Lab<()> {
        let none = || LabError::Unexpected(format!("{} does not run", self.name()));
        crate::process::signal(self.pid().ok_or_else(none)?, signal)
    }

    /// Its process, if it was started.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Runs `hmmgr`, which finds all monitors of this machine by itself.
    pub(crate) fn hmmgr(&self, words: &[&str]) -> Lab<Said> {
        run(self.command(words))
    }

    /// Gives a request to `hmmgr passthru`.
    pub(crate) fn passthru(&self, xml: &str) -> Lab<Said> {
        run_with_input(self.command(&["passthru"]), xml.as_bytes())
    }

    /// What `hmmgr status` says of this monitor; `None` while it does not answer.
    pub(crate) fn status(&self) -> Lab<Option<MonitorStatus>> {
        let said = self.hmmgr(&["status", "-o", "json"])?;
        let answer: Result<StatusAnswer, _> = serde_json::from_str(&said.stdout);
        let answer = answer.map_err(|error| {
            LabError::Unexpected(format!("`hmmgr status -o json`: {error}:\n{}", said.text()))
        })?;
        Ok(answer.host_monitors.into_iter().find(|monitor| monitor.uuid == self.uuid))
    }

    /// Every path it knows; none while it does not answer.
    pub(crate) fn paths(&self) -> Lab<Vec<PathStatus>> {
        Ok(self.status()?.map(|status| status.paths).unwrap_or_default())
    }

    /// Why a VM is suspended, as it shows it, with a path or without.
    pub(crate) fn suspended(&self, uuid: &str) -> Lab<Option<String>> {
        let Some(status) = self.status()? else { return Ok(None) };
        let with = status.paths.into_iter().map(|path| (path.vm, path.suspended));
        let without = status.without_path.into_iter().map(|absent| (absent.vm, absent.suspended));
        Ok(with.chain(without).find(|(vm, _)| vm.eq_ignore_ascii_case(uuid)).and_then(|(_, reason)| reason))
    }

    /// One of its counters; 0 if it does not count that.
    pub(crate) fn counter(&self, name: &str) -> Lab<u64> {
        Ok(self.status()?.and_then(|status| status.counters.get(name).copied()).unwrap_or_default())
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = Place::Here.command(self.kit.program("hmmgr"));
        command.args(words);
        command
    }

    fn name(&self) -> String {
        format!("hostmond-{}", self.trunk.letter())
    }
}
