//! What must not hold the guardian up: writing to the log, and asking systemd for another daemon. A thread of its own does both.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// The daemon's unit.
const UNIT: &str = "vmpulse-agentd.service";
/// There if and only if systemd is the init (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
/// Errands that wait; further ones are not done. Each is a change of state, and there are few.
const ERRANDS: usize = 16;
/// It formats a line, or starts a program. Locked memory is dear.
pub(super) const STACK_BYTES: usize = 64 * 1024;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errand {
    /// A line in the log.
    Say(&'static str),
    /// The same, with what the system said.
    Complain(&'static str, i32),
    /// Ask systemd to start the daemon again.
    Restart,
}

/// Where errands are left.
#[derive(Debug)]
pub(super) struct Clerk(SyncSender<Errand>);

impl Clerk {
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(ERRANDS);
        thread::Builder::new()
            .name("clerk".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(&receiver))?;
        Ok(Self(sender))
    }

    /// Never waits and never allocates; more than can wait is dropped.
    pub(super) fn run(&self, errand: Errand) {
        let _ = self.0.try_send(errand);
    }
}

fn serve(errands: &Receiver<Errand>) {
    while let Ok(errand) = errands.recv() {
        match errand {
            Errand::Say(line) => eprintln!("vmpulse-guardian: {line}"),
            Errand::Complain(line, errno) => {
                eprintln!("vmpulse-guardian: {line}: {}", std::io::Error::from_raw_os_error(errno));
            }
            Errand::Restart => restart(),
        }
    }
}

fn restart() {
    if !Path::new(SYSTEMD).is_dir() {
        return;
    }
    let mut command = Command::new("systemctl");
    command.args(["--no-block", "restart", UNIT]).stdin(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => eprintln!("vmpulse-guardian: systemd was asked to restart {UNIT}"),
        Ok(status) => eprintln!("vmpulse-guardian: systemd does not restart {UNIT}: {status}"),
        Err(error) => eprintln!("vmpulse-guardian: systemd cannot be asked to restart {UNIT}: {error}"),
    }
}
