//! Why the daemon is being stopped: the guest shuts down (`SHDN:OS`), or only the daemon is (`SHDN:DAEMON`).
//!
//! SIGTERM says nothing of that, so whoever sends it at a shutdown is asked: systemd, where it is the init (its state is
//! `stopping` from the moment the shutdown is begun, long before services are stopped); else the runlevel of a System V
//! init, which is 0 or 6 then. A scheduled shutdown (`shutdown +60`) is none yet. Other inits are not asked: the daemon
//! is then said to be stopped, which suspends monitoring just the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use vmpulse_protocol::message::Shutdown;

/// How long the init may take to answer. It does within some 10 ms; a guest that shuts down is busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the init is asked.
#[derive(Clone, Debug)]
pub(super) struct Init {
    /// There if and only if systemd is the init (sd_booted(3)).
    systemd: PathBuf,
    systemctl: PathBuf,
    runlevel: PathBuf,
    patience: Duration,
}

impl Init {
    /// This system's.
    pub(super) fn system() -> Self {
        Self {
            systemd: PathBuf::from("/run/systemd/system"),
            systemctl: PathBuf::from("systemctl"),
            runlevel: PathBuf::from("runlevel"),
            patience: PATIENCE,
        }
    }

    /// What is being stopped.
    pub(super) async fn what_stops(self) -> Shutdown {
        let stopping = if self.systemd.is_dir() {
            // The exit code is that of a system that does not run as it should: only the word counts.
            self.answer(&self.systemctl, &["is-system-running"]).await.trim() == "stopping"
        } else {
            // "N 0", "5 6": the runlevel before, and the present one.
            matches!(self.answer(&self.runlevel, &[]).await.split_whitespace().nth(1), Some("0" | "6"))
        };
        if stopping { Shutdown::Os } else { Shutdown::Daemon }
    }

    /// What a program prints; nothing if it is not there or does not answer.
    async fn answer(&self, program: &Path, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).kill_on_drop(true).output();
        match timeout(self.patience, output).await {
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(Err(err)) => {
                tracing::debug!(%err, program = %program.display(), "the init cannot be asked");
                String::new()
            }
            Err(_) => {
                tracing::warn!(program = %program.display(), "the init does not answer");
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An init whose programs say this.
    fn init(folder: &Path, systemd: Option<&str>, runlevel: Option<&str>) -> Init {
        let program = |name: &str, text: Option<&str>| {
            let path = folder.join(name);
            if let Some(text) = text {
                // Both say it with an exit code of their own, and take no other arguments.
                fs::write(
                    &path,
                    format!("#!/bin/sh\n[ \"$*\" = \"$(cat $0.arguments)\" ] && echo {text}\nexit 1\n"),
                )
                .unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            path
        };
        fs::write(folder.join("systemctl.arguments"), "is-system-running").unwrap();
        fs::write(folder.join("runlevel.arguments"), "").unwrap();
        let booted = folder.join("system");
        if systemd.is_some() {
            fs::create_dir_all(&booted).unwrap();
        }
        Init {
            systemd: booted,
            systemctl: program("systemctl", systemd),
            runlevel: program("runlevel", runlevel),
            patience: Duration::from_secs(30),
        }
    }

    async fn found(systemd: Option<&str>, runlevel: Option<&str>) -> Shutdown {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), systemd, runlevel).what_stops().await
    }

    #[tokio::test]
    async fn a_guest_that_shuts_down_is_told_from_a_daemon_that_is_stopped() {
        assert_eq!(found(Some("stopping"), None).await, Shutdown::Os);
        for state in ["running", "degraded", "maintenance", "starting", "offline", "unknown"] {
            assert_eq!(found(Some(state), Some("N 0")).await, Shutdown::Daemon, "{state}");
        }
        for level in ["N 0", "2 6"] {
            assert_eq!(found(None, Some(level)).await, Shutdown::Os, "{level}");
        }
        for level in ["N 2", "0 5", "unknown", "6", ""] {
            assert_eq!(found(None, Some(level)).await, Shutdown::Daemon, "{level}");
        }
        assert_eq!(found(None, None).await, Shutdown::Daemon, "an init that nobody knows");
    }

    #[tokio::test]
    async fn an_init_that_does_not_answer_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut silent = init(folder.path(), Some("running"), None);
        silent.patience = Duration::from_millis(100);
        // Reading a pipe that nobody writes to does not end.
        let fifo = folder.path().join("is-system-running");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = folder.path().join("silent");
        fs::write(&script, format!("#!/bin/sh\nexec cat {}\n", fifo.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        silent.systemctl = script;
        assert_eq!(silent.what_stops().await, Shutdown::Daemon);
    }
}
