//! The controller and its command.

use std::time::Duration;

use serde_json::Value;

use super::{SETTINGS_DIR, store_url, write_settings};
use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::process::{Daemon, Place, Said, run};
use crate::workspace::read;
use crate::world;

/// How long an orderly end may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A controller; it ends with this value.
#[derive(Debug)]
pub(crate) struct Controller {
    kit: Kit,
    daemon: Option<Daemon>,
}

impl Controller {
    /// Writes its settings and starts it.
    pub(crate) fn start(kit: &Kit, poll_interval_ms: u32) -> Lab<Controller> {
        Controller::start_with(kit, poll_interval_ms, "")
    }

    /// The same with more settings.
    pub(crate) fn start_with(kit: &Kit, poll_interval_ms: u32, more: &str) -> Lab<Controller> {
        let text = format!(
            "store = \"{}\"\npoll_interval_ms = {poll_interval_ms}\nevents_log = \"{}\"\n\
             log = \"debug\"\n{more}",
            store_url(),
            world::log_file("events").display(),
        );
        write_settings("controller.toml", &text)?;
        let mut controller = Controller { kit: kit.clone(), daemon: None };
        controller.restart()?;
        Ok(controller)
    }

    /// Stops it in order and starts it with more settings.
    pub(crate) fn restart_with(&mut self, settings: &str) -> Lab<()> {
        self.stop()?;
        let text = read(&std::path::Path::new(SETTINGS_DIR).join("controller.toml"))?;
        write_settings("controller.toml", &format!("{text}{settings}"))?;
        self.restart()
    }

    /// Starts it, again if it was stopped or crashed.
    pub(crate) fn restart(&mut self) -> Lab<()> {
        self.daemon = None;
        let command = Place::Here.command(self.kit.program("vmpulse-controllerd"));
        self.daemon = Some(Daemon::start("controllerd", command, &world::log_file("controllerd"))?);
        Ok(())
    }

    /// Fails if it has ended.
    pub(crate) fn still_runs(&mut self) -> Lab<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::still_runs)
    }

    /// SIGKILL.
    pub(crate) fn crash(&mut self) -> Lab<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.crash())
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop(&mut self) -> Lab<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.terminate(STOP_LIMIT).map(drop))
    }

    /// Sends a signal to its process; fails if it was not started.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) -> Lab<()> {
        let none = || LabError::Unexpected("the controller does not run".to_string());
        crate::process::signal(self.pid().ok_or_else(none)?, signal)
    }

    /// Its process, if it was started.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Runs `hamgr`; it finds the store by the world's own /etc/vmpulse/controller.toml.
    pub(crate) fn hamgr(&self, line: &str) -> Lab<Said> {
        let mut command = Place::Here.command(self.kit.program("hamgr"));
        command.args(line.split_whitespace());
        run(command)
    }

    /// Runs a query and reads its JSON.
    pub(crate) fn query(&self, line: &str) -> Lab<Value> {
        let text = self.hamgr(&format!("-o json query {line}"))?.ok()?;
        serde_json::from_str(&text).map_err(|error| {
            LabError::Unexpected(format!("`hamgr query {line}` is no JSON ({error}):\n{text}"))
        })
    }
}
