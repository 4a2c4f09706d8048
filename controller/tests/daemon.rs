//! The programs themselves: a daemon that is killed, stopped, started twice, or has no store; exit codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;
use vmpulse_test_postgres::Server;

const DAEMON: &str = env!("CARGO_BIN_EXE_vmpulse-controllerd");
const HAMGR: &str = env!("CARGO_BIN_EXE_hamgr");
/// Longer than a busy machine needs, so that only a fault reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

struct Bench {
    folder: TempDir,
}

/// A daemon that does not outlive its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let store = format!("sqlite://{}/lib/health.db", bench.folder.path().display());
        bench.configure(&store);
        bench
    }

    fn configure(&self, store: &str) {
        let folder = self.folder.path().display();
        let settings = format!(
            "store = \"{store}\"\npoll_interval_ms = 100\n\
             events_log = \"{folder}/log/events.log\"\nrun_dir = \"{folder}/run\"\n"
        );
        std::fs::write(self.path("controller.toml"), settings).unwrap();
    }

    fn with_store() -> Self {
        let bench = Self::new();
        std::fs::create_dir(bench.path("lib")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path("lib/health.db"), Box::new(SystemClock)).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(DAEMON);
        command.arg("--settings").arg(self.path("controller.toml")).env_remove("VMPULSE_LOG");
        command
    }

    fn start(&self) -> Daemon {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("stderr")).unwrap();
        Daemon(self.command().stderr(log).spawn().unwrap())
    }

    fn hamgr(&self, line: &str) -> Output {
        hamgr(HAMGR.as_ref(), &self.path("controller.toml"), line)
    }

    fn logged(&self, what: &str) -> usize {
        std::fs::read_to_string(self.path("log/events.log")).unwrap_or_default().matches(what).count()
    }
}

fn hamgr(program: &Path, settings: &Path, line: &str) -> Output {
    Command::new(program)
        .args(line.split_whitespace())
        .env("VMPULSE_CONTROLLER_SETTINGS", settings)
        .output()
        .unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = MonotonicClock::start();
    while !holds() {
        assert!(clock.now().since(Default::default()) < DEADLINE, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A VM that is to be called failed after 0.3 s, on one trunk.
struct Guest {
    store: Box<dyn Store>,
    monitor: HostMonitorId,
    vm: VmUuid,
}

impl Guest {
    fn new(bench: &Bench) -> Self {
        Self::on(Box::new(bench.store()))
    }

    fn on(store: Box<dyn Store>) -> Self {
        let monitor: HostMonitorId = "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".parse().unwrap();
        let vm: VmUuid = "61be20f0-09a8-4753-b5e5-564f8a545ed5".parse().unwrap();
        let key =
            HostKey { machine_type: "8408".to_owned(), model: "E8E".to_owned(), serial: "2".to_owned() };
        let mut guest = Self { store, monitor, vm };
        let host_monitors = vec![HostMonitorRegistration { id: monitor, part_number: 0, mac: None }];
        guest.store.hosts_add(&[HostRegistration { key: key.clone(), host_monitors }]).unwrap();
        guest.store.vms_add(&key, &[VmRegistration { uuid: vm, name: Some("guest".to_owned()) }]).unwrap();
        guest.store.vms_start(&[vm]).unwrap();
        let settings = VmSettings {
            heartbeat_interval_ms: Some(100),
            vm_failure_detection_speed: None,
            vm_failure_detection_time_ms: Some(300),
        };
        guest.store.vm_settings_replace(vm, &settings).unwrap();
        guest.write(HostMonitorWrite::Started(HostMonitorStart {
            trunk: "trunk0".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            vlan: None,
            incarnation: "1556303548.719328000.38".to_owned(),
            versions: "2.0-2.1".to_owned(),
            heartbeat_interval: Duration::from_secs(3600),
        }));
        guest.write(HostMonitorWrite::PathOpened {
            vm,
            mac: "52:54:00:00:00:01".to_owned(),
            version: "2.1".to_owned(),
            authenticated: false,
            age: Duration::ZERO,
        });
        guest.write(HostMonitorWrite::PathDetected { vm });
        guest
    }

    fn write(&mut self, write: HostMonitorWrite) {
        self.store.host_monitor_apply(self.monitor, &[write]).unwrap();
    }

    fn silent(&mut self) {
        let age = Duration::from_millis(190);
        self.write(HostMonitorWrite::PathMissing { vm: self.vm, age, common: false });
    }

    fn heard(&mut self) {
        self.write(HostMonitorWrite::PathDetected { vm: self.vm });
    }

    fn told(&mut self, name: &str) -> usize {
        self.store.events(1000).unwrap().iter().filter(|record| record.event.name == name).count()
    }
}

#[test]
fn a_daemon_that_is_killed_loses_and_doubles_nothing() {
    let bench = Bench::with_store();
    let mut guest = Guest::new(&bench);
    let daemon = bench.start();
    guest.silent();
    wait_until("detection", || guest.told("VM_FAILURE_DETECTED") == 1);
    assert_eq!(daemon.stop(Signal::SIGKILL), None);
    guest.heard();
    let daemon = bench.start();
    wait_until("recovery", || guest.told("VM_RECOVERED") == 1);
    // At least once: the first daemon may have been killed before it wrote, or after.
    wait_until("both in the log", || {
        bench.logged("Event:             VM_FAILURE_DETECTED\n") >= 1
            && bench.logged("Event:             VM_RECOVERED\n") == 1
    });
    guest.silent();
    wait_until("the next detection", || guest.told("VM_FAILURE_DETECTED") == 2);
    assert_eq!(daemon.stop(Signal::SIGTERM), Some(0));
    wait_until("the log is complete", || {
        bench.logged("Description:       0000-187 VM: guest failure detected.") >= 2
    });
    assert_eq!(guest.told("VM_RECOVERED"), 1);
}

#[test]
fn a_second_daemon_for_one_store_is_refused() {
    let bench = Bench::with_store();
    let daemon = bench.start();
    wait_until("the first runs", || bench.path("lib/health.db").exists());
    let second = bench.command().output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("already running") && said.contains(&daemon.0.id().to_string()), "{said}");
    assert_eq!(daemon.stop(Signal::SIGINT), Some(0));
}

#[test]
fn a_daemon_waits_for_its_store() {
    let bench = Bench::new();
    let daemon = bench.start();
    let said = |what: &str| std::fs::read_to_string(bench.path("stderr")).unwrap().matches(what).count();
    wait_until("it says that it cannot open the store", || said("cannot open the store") == 1);
    std::fs::create_dir(bench.path("lib.new")).unwrap();
    std::fs::write(bench.path("lib.new/health.db"), "this is no database").unwrap();
    std::fs::rename(bench.path("lib.new"), bench.path("lib")).unwrap();
    wait_until("it says that the file is none", || said("is not a health store") == 1);
    std::fs::remove_file(bench.path("lib/health.db")).unwrap();
    wait_until("the store is made", || bench.path("lib/health.db").exists());
    wait_until("the controller says that it lives", || !bench.store().controllers().unwrap().is_empty());
    wait_until("it says that all is well", || said("the health store is back") == 1);
    assert_eq!((said("cannot open the store"), said("is not a health store")), (1, 1), "once each");
    // The store is replaced under the daemon's feet.
    for name in ["health.db", "health.db-wal", "health.db-shm"] {
        let _ = std::fs::remove_file(bench.path("lib").join(name));
    }
    wait_until("it is made again", || bench.path("lib/health.db").exists());
    wait_until("and used", || !bench.store().controllers().unwrap().is_empty());
    assert_eq!(daemon.stop(Signal::SIGTERM), Some(0));
}

#[test]
fn a_daemon_outlives_its_postgresql_server() {
    let mut server = match Server::start() {
        Ok(server) => server,
        Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
        Err(reason) => panic!("{reason}"),
    };
    let database = server.database();
    let url = server.url("postgres", &database);
    let bench = Bench::new();
    bench.configure(&url);
    let mut guest = Guest::on(open(&url).unwrap());
    let daemon = bench.start();
    guest.silent();
    wait_until("detection", || guest.told("VM_FAILURE_DETECTED") == 1);
    server.kill();
    let said = |what: &str| std::fs::read_to_string(bench.path("stderr")).unwrap().matches(what).count();
    wait_until("it says that the store fails", || said("store") > 0);
    server.launch().unwrap();
    guest.heard();
    wait_until("recovery", || guest.told("VM_RECOVERED") == 1);
    let shown = bench.hamgr("q vm guest");
    assert_eq!((shown.status.code(), shown.stderr.len()), (Some(0), 0));
    assert_eq!(guest.told("VM_FAILURE_DETECTED"), 1, "the incident was told once");
    assert_eq!(daemon.stop(Signal::SIGTERM), Some(0));
}

#[test]
fn settings_are_checked() {
    let bench = Bench::new();
    let checked = bench.command().arg("--check-config").output().unwrap();
    assert_eq!((checked.status.code(), checked.stdout.as_slice()), (Some(0), &b"settings are valid\n"[..]));
    for wrong in ["poll_interval_ms = 1\n", "nonsense = 1\n", "log = \"vmpulse=loud\"\n"] {
        std::fs::write(bench.path("controller.toml"), wrong).unwrap();
        let checked = bench.command().arg("--check-config").output().unwrap();
        assert_eq!(checked.status.code(), Some(78), "{wrong}");
        assert!(!checked.stderr.is_empty());
        assert_eq!(bench.command().output().unwrap().status.code(), Some(78), "{wrong}");
    }
}

#[test]
fn hamgr_ends_with_the_documented_codes() {
    let bench = Bench::with_store();
    let missing = bench.hamgr("query vm");
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().starts_with("ERROR: there is no health store at "));
    assert!(!bench.path("lib/health.db").exists(), "a query makes no store");
    let _guest = Guest::new(&bench);
    let shown = bench.hamgr("q vm guest");
    assert_eq!((shown.status.code(), shown.stderr.len()), (Some(0), 0));
    assert!(String::from_utf8(shown.stdout).unwrap().starts_with("Name:                guest\n"));
    for (line, code) in
        [("q vm nobody", 1), ("recover vm guest", 1), ("query", 2), ("frobnicate", 2), ("", 2), ("-h", 0)]
    {
        let output = bench.hamgr(line);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert_eq!(output.stdout.is_empty(), code != 0, "stdout is data: {line}");
    }
}

#[test]
fn hamgr_answers_to_its_other_name() {
    let bench = Bench::with_store();
    let other = bench.path("ksysmgr");
    symlink(HAMGR, &other).unwrap();
    let help = hamgr(&other, &bench.path("controller.toml"), "-h");
    assert!(String::from_utf8(help.stdout).unwrap().starts_with("ksysmgr [flags] ACTION CLASS"));
}
