//! The daemon under test, on any store.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmpulse_hostmon::settings::Settings;
use vmpulse_hostmon::status::{CommandRequest, Status};
use vmpulse_local::command;
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{HostKey, HostMonitorRegistration, HostRegistration, Store, VmRegistration};

use crate::guests::vm;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon. Dropped, it is ended.
pub(crate) struct Daemon {
    child: Child,
    settings: Settings,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it on `trunk` and waits until it answers.
    pub(crate) fn start(trunk: &str, store: &str, interval: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let text = format!(
            "trunk = {trunk:?}\nuuid = \"{}\"\nstore = \"{store}\"\nrun_dir = \"{at}\"\nstate_dir = \"{at}\"\n\
             key_dir = \"{at}/keys\"\nheartbeat_interval_ms = {}\nlog = \"warn\"\n",
            host_monitor(),
            interval.as_millis()
        );
        let file = folder.path().join("hostmon.toml");
        fs::write(&file, &text).unwrap();
        let settings = Settings::parse(&text, &file).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmpulse-hostmond"));
        command.arg("--settings").arg(&file).stdin(Stdio::null()).stderr(log);
        let mut daemon = Self { child: command.spawn().unwrap(), settings, folder };
        let begun = Instant::now();
        while daemon.counter("writes") == 0 {
            assert!(begun.elapsed() < PATIENCE, "it does not start: {}", daemon.logged());
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    /// One of its counters; 0 while it does not answer.
    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        self.status().and_then(|status| status.counters.get(name).copied()).unwrap_or_default()
    }

    /// Transactions that it has committed.
    pub(crate) fn commits(&mut self) -> u64 {
        self.status().map(|status| status.store_work.commits).unwrap_or_default()
    }

    fn status(&mut self) -> Option<Status> {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the daemon ended ({ended:?}): {}", self.logged());
        let wait = Duration::from_secs(10);
        command::call(&self.settings.socket_path(), &CommandRequest::Status, wait).ok()
    }

    fn logged(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

pub(crate) fn host_monitor() -> HostMonitorId {
    HostMonitorId::from_bytes([0xaa; 16])
}

/// A host with that many VMs, which are to be monitored.
pub(crate) fn fill(store: &mut dyn Store, count: u32) {
    let host = HostKey { machine_type: "8286".into(), model: "42A".into(), serial: "0000001".into() };
    let host_monitors = vec![HostMonitorRegistration { id: host_monitor(), part_number: 0, mac: None }];
    store.hosts_add(&[HostRegistration { key: host.clone(), host_monitors }]).unwrap();
    let vms: Vec<_> = (0..count).map(vm).collect();
    let registrations: Vec<_> = vms.iter().map(|uuid| VmRegistration { uuid: *uuid, name: None }).collect();
    store.vms_add(&host, &registrations).unwrap();
    store.vms_start(&vms).unwrap();
}
