//! A host of a test's own: its network namespace, its /run, its state folder.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};
use serde_json::Value;
use vmpulse_local::clock::MonotonicClock;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::time::Instant;
use vmpulse_store::{
    HostKey, HostMonitorRegistration, HostMonitorWrite, HostRegistration, NodeEventsWanted, VmRegistration,
};

/// Set in the process that runs inside.
const INSIDE: &str = "VMPULSE_TEST_INSIDE";
/// What `hmmgr` ends with where the kernel cannot do what is needed.
const UNAVAILABLE: i32 = 69;
/// Reached only if something is broken; the daemon looks at its table every 5 s.
const PATIENCE: Duration = Duration::from_secs(60);
const MONITOR: &str = "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83";
const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";

/// Runs `body` if we are inside, else the same test again inside.
pub(crate) fn run(name: &str, body: impl FnOnce(&Host)) {
    if std::env::var_os(INSIDE).is_some() {
        sh("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        // That of the machine tells of the machine's adapters.
        sh("mount", &["-t", "sysfs", "sysfs", "/sys"]);
        return body(&Host(tempfile::tempdir_in("/run").unwrap()));
    }
    let flags = match unshare_flags() {
        Ok(flags) => flags,
        Err(reason) => return eprintln!("SKIPPED {name}: no network namespaces here: {reason}"),
    };
    let program = std::env::current_exe().unwrap();
    let words = [program.as_os_str(), OsStr::new(name), OsStr::new("--exact"), OsStr::new("--nocapture")];
    let output = Command::new("unshare").arg(flags).args(words).env(INSIDE, "1").output();
    let output = output.unwrap_or_else(|error| panic!("cannot run unshare (package util-linux): {error}"));
    let text = both(&output);
    if text.contains("SKIPPED: this kernel") {
        return eprintln!("SKIPPED {name}: {text}");
    }
    assert!(output.status.success() && text.contains("1 passed"), "inside the namespace:\n{text}");
}

/// As root without a user namespace, else with one.
fn unshare_flags() -> Result<&'static str, String> {
    let mut reasons = String::new();
    for flags in ["-nm", "-Urnm"] {
        match Command::new("unshare").args([flags, "true"]).output() {
            Ok(output) if output.status.success() => return Ok(flags),
            Ok(output) => reasons.push_str(&both(&output)),
            Err(error) => panic!("cannot run unshare (package util-linux): {error}"),
        }
    }
    Err(reasons)
}

fn both(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

fn sh(program: &str, words: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(words).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(output.status.success(), "{program} {words:?}: {}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs one `ip` command.
pub(crate) fn ip(line: &str) -> String {
    sh("ip", &line.split(' ').collect::<Vec<_>>())
}

/// The host.
pub(crate) struct Host(tempfile::TempDir);

impl Host {
    /// `hmmgr trunk` with these words: exit code and everything said.
    pub(crate) fn hmmgr(&self, line: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmmgr"));
        command.arg("trunk").args(line.split(' ')).env("VMPULSE_HOSTMON_SETTINGS", self.settings());
        let output = command.output().unwrap();
        let (code, said) = (output.status.code().unwrap(), both(&output));
        if code == UNAVAILABLE && said.contains("this kernel") {
            // Not a failure of ours; whoever started us says so.
            println!("SKIPPED: this kernel: {said}");
            std::process::exit(1);
        }
        (code, said)
    }

    fn settings(&self) -> PathBuf {
        let folder = self.0.path();
        let settings = folder.join("hostmon.toml");
        let text = format!(
            "store = \"sqlite://{0}/h.db\"\nstate_dir = \"{0}/state\"\nrun_dir = \"{0}\"\n",
            folder.display()
        );
        std::fs::write(&settings, text).unwrap();
        settings
    }

    /// The same, and it must end well.
    pub(crate) fn ok(&self, line: &str) -> String {
        let (code, said) = self.hmmgr(line);
        assert_eq!(code, 0, "hmmgr trunk {line}: {said}");
        said
    }

    /// What a command changed, by its JSON.
    pub(crate) fn changes(&self, line: &str) -> Vec<String> {
        let answer: Value = serde_json::from_str(&self.ok(&format!("{line} -o json"))).unwrap();
        serde_json::from_value(answer["trunks"][0]["changes"].clone()).unwrap()
    }

    /// A trunk as it is shown.
    pub(crate) fn shown(&self, name: &str) -> Value {
        let answer: Value = serde_json::from_str(&self.ok(&format!("show {name} -o json"))).unwrap();
        answer["trunks"][0].clone()
    }

    /// Runs one command of `nft`.
    pub(crate) fn nft(&self, line: &str) -> String {
        sh("nft", &[line])
    }

    /// A registered VM of this host's monitor, whose path the store knows from before.
    pub(crate) fn store_a_guest_heard_before(&self, mac: &str) {
        let mut store = vmpulse_store::open(&format!("sqlite://{}/h.db", self.0.path().display())).unwrap();
        let (id, uuid) = (MONITOR.parse::<HostMonitorId>().unwrap(), VM.parse::<VmUuid>().unwrap());
        let key = HostKey { machine_type: "a".into(), model: "b".into(), serial: "1".into() };
        let host_monitors = vec![HostMonitorRegistration { id, part_number: 1, mac: None }];
        store.hosts_add(&[HostRegistration { key: key.clone(), host_monitors }]).unwrap();
        store.vms_add(&key, &[VmRegistration { uuid, name: None }]).unwrap();
        store.vms_start(&[uuid]).unwrap();
        let opened = HostMonitorWrite::PathOpened {
            vm: uuid,
            mac: mac.to_owned(),
            version: "2.1".into(),
            authenticated: false,
            age: Duration::ZERO,
        };
        store.host_monitor_apply(id, &[opened, HostMonitorWrite::PathDetected { vm: uuid }]).unwrap();
    }

    /// The host monitor of trunkA, in a namespace of its own; it ends with the value.
    pub(crate) fn start_daemon(&self, netns: &str) -> Daemon {
        self.start_daemon_with(netns, "canary = \"off\"\n")
    }

    /// The same, with more settings.
    pub(crate) fn start_daemon_with(&self, netns: &str, more: &str) -> Daemon {
        let folder = self.0.path().display();
        let settings = self.0.path().join("daemon.toml");
        let text = format!(
            "trunk = \"trunkA-hm\"\nuuid = \"{MONITOR}\"\nstore = \"sqlite://{folder}/h.db\"\nrun_dir = \"{folder}\"\n\
             state_dir = \"{folder}/state\"\npolicing_netns = \"/proc/{}/ns/net\"\n{more}",
            std::process::id()
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", netns, env!("CARGO_BIN_EXE_vmpulse-hostmond"), "--settings"])
            .arg(settings);
        Daemon(command.spawn().unwrap())
    }

    /// Asks for the daemon's status until its part about policing is so.
    pub(crate) fn wait_for(&self, what: &str, so: impl Fn(&Value) -> bool) {
        self.wait_for_status(what, |status| so(&status["policing"]));
    }

    /// Asks for the daemon's status until it is so.
    pub(crate) fn wait_for_status(&self, what: &str, so: impl Fn(&Value) -> bool) {
        let clock = MonotonicClock::start();
        let mut last = Value::Null;
        while clock.now().since(Instant::ZERO) < PATIENCE {
            let mut command = Command::new(env!("CARGO_BIN_EXE_hmmgr"));
            command.args(["status", "-o", "json"]).env("VMPULSE_HOSTMON_SETTINGS", self.settings());
            let answer: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap_or_default();
            last = answer["host_monitors"][0].clone();
            if so(&last) {
                return;
            }
        }
        panic!("not in time: {what}: {last:#}");
    }

    /// How many node events of a kind the store has.
    pub(crate) fn node_events(&self, kind: &str) -> usize {
        let mut store = vmpulse_store::open(&format!("sqlite://{}/h.db", self.0.path().display())).unwrap();
        let wanted = NodeEventsWanted { kinds: vec![kind.to_owned()], limit: 1000, ..Default::default() };
        store.node_events(&wanted).unwrap().len()
    }

    /// Everything a trunk could leave behind.
    pub(crate) fn state(&self) -> String {
        let records = std::fs::read_dir(self.0.path().join("state/trunks")).into_iter().flatten();
        let mut records: Vec<_> = records.map(|entry| entry.unwrap().file_name()).collect();
        records.retain(|name| name != "lock");
        let links = without_carrier(&ip("-d link show"));
        let tables = self.nft("list tables");
        format!("{records:?}\n{}\n{links}\n{tables}", ip("netns list"))
    }
}

/// The kernel notices a carrier when it gets round to it: that is no difference between before and after.
fn without_carrier(links: &str) -> String {
    let mut text = links.replace("NO-CARRIER,", "").replace(",LOWER_UP", "");
    for state in ["UP", "DOWN", "LOWERLAYERDOWN", "UNKNOWN"] {
        text = text.replace(&format!(" state {state} "), " ");
    }
    text
}

/// A daemon that ends with this value.
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A frame of the shortest length to everybody; `tag` stands before its EtherType.
pub(crate) fn frame(source: [u8; 6], tag: &[u8], ethertype: u16) -> Vec<u8> {
    let mut frame = vec![0xFF; 6];
    frame.extend(source);
    frame.extend(tag);
    frame.extend(ethertype.to_be_bytes());
    frame.resize(60 + tag.len(), 0);
    frame
}

/// Sends frames from an adapter as a guest could that sends what it likes. The rules may refuse them at once.
pub(crate) fn send(adapter: &str, frames: impl Iterator<Item = Vec<u8>>) {
    let address = address_of(adapter);
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).unwrap();
    for frame in frames {
        match sendto(socket.as_raw_fd(), &frame, &address, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS) => {}
            Err(error) => panic!("cannot send from {adapter}: {error}"),
        }
    }
}

/// Sends frames as an emulator does, through the node of a macvtap. `false`: without root there is no such node.
pub(crate) fn send_by_tap(adapter: &str, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let folder = format!("/sys/class/net/{adapter}");
    let index = std::fs::read_to_string(format!("{folder}/ifindex")).unwrap();
    let numbers = std::fs::read_to_string(format!("{folder}/tap{}/dev", index.trim())).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    let node = format!("/run/{adapter}");
    if !Command::new("mknod").args([&node, "c", major, minor]).status().unwrap().success() {
        return false;
    }
    let mut tap = std::fs::File::options().write(true).open(node).unwrap();
    for frame in frames {
        // Before each frame a header of virtio, which says nothing.
        tap.write_all(&[&[0; 10], &frame[..]].concat()).unwrap();
    }
    true
}

fn address_of(adapter: &str) -> LinkAddr {
    let mut all = getifaddrs().unwrap().filter(|entry| entry.interface_name == adapter);
    let links = |address: nix::sys::socket::SockaddrStorage| {
        (address.family() == Some(AddressFamily::Packet)).then(|| *address.as_link_addr().unwrap())
    };
    all.find_map(|entry| links(entry.address?)).unwrap()
}
