//! The daemon under test, with a store of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmpulse_hostmon::settings::Settings;
use vmpulse_hostmon::status::{CommandRequest, Status};
use vmpulse_link::bench;
use vmpulse_local::command;
use vmpulse_local::keys::{KeyRing, LockedKeyFile, make_private_directory};
use vmpulse_protocol::id::HostMonitorId;
use vmpulse_store::{HostKey, HostMonitorRegistration, HostRegistration, VmRegistration};

use crate::guests::{key, key_id, vm};
use crate::measure::Scenario;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon. Dropped, it is ended.
pub(crate) struct Monitor {
    child: Child,
    settings: Settings,
    /// Of the thread that serves the trunk.
    thread: PathBuf,
    _folder: tempfile::TempDir,
}

/// What the trunk's thread did until now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) cpu: Duration,
    pub(crate) wakeups: u64,
}

impl Monitor {
    /// Starts it on `trunk`, on one core, and waits until it answers.
    pub(crate) fn start(trunk: &str, core: usize, receive: &str, scenario: &Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder.path().display().to_string(), trunk, receive, scenario);
        let file = folder.path().join("hostmon.toml");
        fs::write(&file, &settings).unwrap();
        let settings = Settings::parse(&settings, &file).unwrap();
        fill_store(&settings, scenario.paths);
        if scenario.authenticated {
            write_keys(&settings, scenario.paths);
        }
        // It inherits the core.
        bench::pin(core).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vmpulse-hostmond"))
            .arg("--settings")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        bench::pin(0).unwrap();
        let mut monitor = Self { child, settings, thread: PathBuf::new(), _folder: folder };
        monitor.wait(|status| status.counters.contains_key("writes"));
        monitor.thread = monitor.find_thread();
        monitor
    }

    pub(crate) fn status(&self) -> Option<Status> {
        command::call(&self.settings.socket_path(), &CommandRequest::Status, Duration::from_secs(10)).ok()
    }

    /// Until its status is so.
    pub(crate) fn wait(&mut self, so: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.status().filter(&so) {
                return status;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
                panic!("the daemon ended ({ended:?}) or did not get there; it said:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Exact: the kernel's own account, not a sample.
    pub(crate) fn spent(&self) -> Spent {
        let read = |name: &str| fs::read_to_string(self.thread.join(name)).unwrap();
        let nanoseconds = read("schedstat").split_whitespace().next().unwrap().parse().unwrap();
        let status = read("status");
        let wakeups = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Spent { cpu: Duration::from_nanos(nanoseconds), wakeups: wakeups.unwrap().trim().parse().unwrap() }
    }

    /// Memory of the whole process that is not in files: what guests and tables take.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kib: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    fn find_thread(&self) -> PathBuf {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let named =
            |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "trunk\n");
        threads.map(|entry| entry.unwrap().path()).find(named).expect("a thread serves the trunk")
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn settings(folder: &str, trunk: &str, receive: &str, scenario: &Scenario) -> String {
    let authentication = if scenario.authenticated { "required" } else { "off" };
    format!(
        "trunk = {trunk:?}\nuuid = \"{hm}\"\nstore = \"sqlite://{folder}/health.db\"\nrun_dir = {folder:?}\n\
         state_dir = {folder:?}\nkey_dir = \"{folder}/keys\"\nauthentication = {authentication:?}\nreceive = {receive:?}\n\
         heartbeat_interval_ms = {interval}\nlog = \"warn\"\n",
        hm = host_monitor(),
        interval = scenario.interval_ms(),
    )
}

fn host_monitor() -> HostMonitorId {
    HostMonitorId::from_bytes([0xaa; 16])
}

fn fill_store(settings: &Settings, paths: u32) {
    let mut store = vmpulse_store::open(&settings.store).unwrap();
    let host = HostKey { machine_type: "8286".into(), model: "42A".into(), serial: "0000001".into() };
    let host_monitors = vec![HostMonitorRegistration { id: host_monitor(), part_number: 0, mac: None }];
    store.hosts_add(&[HostRegistration { key: host.clone(), host_monitors }]).unwrap();
    let vms: Vec<_> = (0..paths).map(vm).collect();
    let registrations: Vec<_> = vms.iter().map(|uuid| VmRegistration { uuid: *uuid, name: None }).collect();
    store.vms_add(&host, &registrations).unwrap();
    store.vms_start(&vms).unwrap();
}

fn write_keys(settings: &Settings, paths: u32) {
    make_private_directory(&settings.key_dir).unwrap();
    for number in 0..paths {
        let file = vmpulse_hostmon::keys::KeyDirectory::new(settings.key_dir.clone()).file(vm(number));
        let mut ring = KeyRing::default();
        ring.add(key_id(), key(number)).unwrap();
        let (file, _) = LockedKeyFile::open(&file).unwrap();
        file.save(&ring).unwrap();
    }
}
