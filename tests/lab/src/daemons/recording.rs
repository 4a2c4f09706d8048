//! `hmmgr capture` at a trunk's end, as an operator runs it beside the host monitor.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::{Lab, expect};
use crate::kit::Kit;
use crate::process::{Daemon, signal};
use crate::wait;
use crate::world::{self, Trunk};

/// How long a command may take to begin or to end on a loaded machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A capture under way; it ends with this value, the file stays.
#[derive(Debug)]
pub(crate) struct Recording {
    daemon: Daemon,
    file: PathBuf,
}

impl Recording {
    /// Starts it and returns once it records; `words` are further arguments.
    pub(crate) fn start(kit: &Kit, trunk: &Trunk, name: &str, words: &[&str]) -> Lab<Recording> {
        let file = world::dir("logs").join(format!("{name}.pcap"));
        let mut command = capture_command(kit, trunk, words);
        command.arg("--write").arg(&file);
        let mut daemon = Daemon::start(name, command, &world::log_file(name))?;
        wait::until(LIMIT, &format!("the capture {name} to begin"), || {
            daemon.still_runs()?;
            // The file's header.
            Ok(file.metadata().is_ok_and(|data| data.len() >= 24).then_some(()))
        })?;
        Ok(Recording { daemon, file })
    }

    /// What it writes.
    pub(crate) fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// Ctrl-C, and waits for its orderly end; returns the file and what it said.
    pub(crate) fn interrupt(self) -> Lab<(PathBuf, String)> {
        signal(self.daemon.pid(), Signal::SIGINT)?;
        self.wait()
    }

    /// Waits for its own end, which must be a good one; returns the file and what it said.
    pub(crate) fn wait(self) -> Lab<(PathBuf, String)> {
        let file = self.file.clone();
        let (status, said) = self.end()?;
        expect(status.success(), || format!("the capture ended with {status}:\n{said}"))?;
        Ok((file, said))
    }

    /// Waits for its own end, whatever it is; returns that and what it said.
    pub(crate) fn end(mut self) -> Lab<(ExitStatus, String)> {
        let status = self.daemon.wait_for_end(LIMIT)?;
        Ok((status, self.said()))
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.daemon.logged()
    }
}

/// `hmmgr capture` where the trunk is.
pub(crate) fn capture_command(kit: &Kit, trunk: &Trunk, words: &[&str]) -> Command {
    let mut command = trunk.place().command(kit.program("hmmgr"));
    command.arg("capture").args(words);
    command
}
