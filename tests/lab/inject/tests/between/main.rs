//! What lies between the daemons, in a network namespace of each test's own: what passes while a class is on, and that nothing is left.
//!
//! Each test runs itself again inside `unshare`, so it needs no root where the kernel allows user namespaces.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test may panic, its helper functions too.

mod accounts;
mod daemons;
mod endpoint;
mod numbers;
mod paths;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use vmpulse_inject::wait;
use vmpulse_link::{FrameBuffer, FramePort};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "VMPULSE_TEST_INSIDE";
/// Reached only if something is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const HEADER: [u8; 14] = [0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 0x88, 0xB5];
/// Sent in each direction.
const FRAMES: u32 = 400;

/// Runs `body` if we are inside, else the same test again inside.
fn inside(name: &str, body: impl FnOnce(&Bed)) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        return body(&Bed::new());
    }
    let root = nix::unistd::geteuid().is_root();
    // Workers end with the namespace of processes, whatever happens.
    let flags = if root {
        ["-nmpf", "--kill-child", "--mount-proc"]
    } else {
        ["-Urnmpf", "--kill-child", "--mount-proc"]
    };
    let output = Command::new("unshare")
        .args(flags)
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    if text.contains("unshare failed") {
        eprintln!("SKIPPED {name}: the kernel refuses namespaces here: {text}");
        return;
    }
    assert!(output.status.success() && text.contains("1 passed"), "inside the namespace:\n{text}");
    // What was skipped inside is said outside as well.
    for line in text.lines().filter(|line| line.starts_with("SKIPPED")) {
        eprintln!("{name}: {line}");
    }
}

fn run(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A trunk `tk` with a guest's adapter, whose monitor's end is `tk-hm`, on a marked machine.
struct Bed {
    folder: std::rc::Rc<tempfile::TempDir>,
    guests: FramePort,
    monitor: FramePort,
}

impl Bed {
    fn new() -> Bed {
        run("mount", "-t tmpfs tmpfs /run");
        std::fs::create_dir("/run/netns").unwrap();
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        run("ip", "link set lo up");
        run("ip", "link add tk type veth peer name tk-hm");
        run("ip", "link set tk mtu 1400 up");
        run("ip", "link set tk-hm mtu 1400 up");
        run("ip", "link add link tk name g1 address 52:54:00:00:00:01 type macvlan mode vepa");
        run("ip", "link set g1 up");
        let (guests, monitor) = (FramePort::open("g1").unwrap(), FramePort::open("tk-hm").unwrap());
        let bed = Bed { folder: tempfile::tempdir().unwrap().into(), guests, monitor };
        bed.settle();
        bed.good("mark rehearsal --target trunk:tk --target endpoint:127.0.0.1:5432 --yes");
        bed
    }

    /// The same bed, whose monitor listens elsewhere.
    fn with_monitor(&self, monitor: FramePort) -> Bed {
        Bed { folder: self.folder.clone(), guests: FramePort::open("g1").unwrap(), monitor }
    }

    /// A new adapter swallows the first frames. Nothing overtakes here, so what comes before these was sent before: nothing may.
    fn settle(&self) {
        let settling = frame(u32::MAX);
        for (from, to) in [(&self.guests, &self.monitor), (&self.monitor, &self.guests)] {
            let mut buffer = FrameBuffer::new();
            wait::until("frames pass", PATIENCE, || {
                let _ = from.send(&settling);
                Ok(to.receive(&mut buffer).is_ok_and(|got| got.is_some_and(|got| got == settling)))
            })
            .unwrap();
            while let Some(got) = to.receive(&mut buffer).unwrap() {
                assert_eq!(got, settling, "a frame that was not to pass");
            }
        }
    }

    fn inject(&self, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmpulse-inject"));
        command.arg("--state").arg(self.state()).arg("--marker").arg(self.folder.path().join("mark"));
        command.args(words.split_whitespace()).output().unwrap()
    }

    fn good(&self, words: &str) -> String {
        let output = self.inject(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Devices with their numbers, addresses, MTU and flags; rules; state files.
    fn traces(&self) -> (String, String, Vec<String>) {
        let links = run("ip", "-o link show");
        let files = std::fs::read_dir(self.state()).into_iter().flatten().flatten();
        let files = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        (links, run("nft", "list ruleset"), files)
    }

    /// Sends both ways, and everything arrives once and in order.
    fn all_pass(&self) {
        assert_eq!(self.exchange(), [all(), all()]);
    }

    /// Takes what waits at both ends.
    fn take(&self, came: &mut [Vec<u32>; 2]) {
        let mut buffer = FrameBuffer::new();
        for (came, port) in came.iter_mut().zip([&self.monitor, &self.guests]) {
            while let Some(got) = port.receive(&mut buffer).unwrap() {
                assert_eq!(got[..14], HEADER);
                came.push(u32::from_be_bytes(got[14..18].try_into().unwrap()));
            }
        }
    }
}

fn frame(number: u32) -> Vec<u8> {
    [&HEADER[..], &number.to_be_bytes(), &[0xA5; 42]].concat()
}

fn none() -> Vec<u32> {
    Vec::new()
}

fn all() -> Vec<u32> {
    (0..FRAMES).collect()
}
