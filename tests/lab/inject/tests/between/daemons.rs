//! A daemon that runs as another user and in another network namespace than the injector comes back exactly so, or is left alone.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use vmpulse_inject::process::{Life, Process};
use vmpulse_inject::wait;
use vmpulse_local::lock::RunLock;

use super::{Bed, PATIENCE, inside, run};

const PROGRAM: &str = "/run/bin/vmpulse-hostmond";
const LOCK: &str = "/run/vmpulse/hostmon-tk.lock";
const FOLDER: &str = "/run/work";
const USER: &str = "setpriv --reuid=65534 --regid=65533 --groups=65531,65532 --";

/// The daemon: run by [`daemon`] under a daemon's name.
#[test]
fn holds_its_lock() {
    let Some(file) = std::env::var_os("INJECT_TEST_LOCK") else { return };
    let _lock = RunLock::acquire(Path::new(&file)).unwrap();
    wait::pause(std::time::Duration::from_secs(600));
}

/// Starts one behind these words, which make it another user's or start it elsewhere.
fn daemon(words: &str) -> (Child, Process) {
    for folder in ["/run/bin", "/run/vmpulse", FOLDER] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let _ = std::fs::remove_file(LOCK);
    if !Path::new(PROGRAM).exists() {
        std::fs::copy(std::env::current_exe().unwrap(), PROGRAM).unwrap();
    }
    let line = format!("{words} {PROGRAM} --exact daemons::holds_its_lock");
    let line: Vec<&str> = line.split_whitespace().collect();
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).current_dir(FOLDER).env("INJECT_TEST_LOCK", LOCK).env("OF_THE_DAEMON", "1");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    wait::until("the daemon has its lock", PATIENCE, || Ok(holder() == Some(pid))).unwrap();
    (child, Process::of(pid).unwrap())
}

fn holder() -> Option<i32> {
    std::fs::read_to_string(LOCK).ok()?.trim().parse().ok()
}

/// All that is to be the same again.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    ids: Vec<String>,
    network: u64,
    sys: String,
    words: Vec<String>,
    environment: BTreeSet<String>,
    folder: std::path::PathBuf,
}

fn facts(process: Process) -> Facts {
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", process.pid)).unwrap();
    let ids = ["Uid:", "Gid:", "Groups:"];
    let sys = file("mountinfo").lines().find(|line| line.contains(" /sys ")).unwrap_or_default().to_owned();
    Facts {
        ids: file("status")
            .lines()
            .filter(|line| ids.iter().any(|id| line.starts_with(id)))
            .map(str::to_owned)
            .collect(),
        network: std::fs::metadata(format!("/proc/{}/ns/net", process.pid)).unwrap().ino(),
        sys: sys.split(" - ").nth(1).unwrap_or_default().to_owned(),
        words: process.words(),
        environment: file("environ").split('\0').map(str::to_owned).collect(),
        folder: std::fs::read_link(format!("/proc/{}/cwd", process.pid)).unwrap(),
    }
}

/// A user namespace has one user.
fn has_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let all = map.split_whitespace().nth(2).is_some_and(|count| count.len() > 5);
    if !all {
        eprintln!("SKIPPED: only root has several users to run daemons as");
    }
    all
}

fn comes_back(bed: &Bed, words: &str) {
    let (mut child, before) = daemon(words);
    let was = facts(before);
    bed.good("hm-kill on --group rehearsal");
    assert_eq!(before.life(), Life::Gone);
    child.wait().unwrap();
    bed.good("hm-kill off");
    let again = Process::of(holder().unwrap()).unwrap();
    assert_ne!(again, before);
    assert_eq!(facts(again), was, "{words}");
    again.kill().unwrap();
}

#[test]
fn a_daemon_comes_back_as_the_user_and_in_the_namespace_that_it_had() {
    inside("daemons::a_daemon_comes_back_as_the_user_and_in_the_namespace_that_it_had", |bed| {
        if !has_users() {
            return;
        }
        run("ip", "netns add mon");
        for place in ["", "ip netns exec mon", "nsenter --net=/run/netns/mon"] {
            for user in ["", USER, "setpriv --reuid=65534 --regid=65533 --clear-groups --"] {
                comes_back(bed, &format!("{place} {user}"));
            }
        }
    });
}

#[test]
fn a_daemon_that_could_not_come_back_as_it_was_is_not_touched() {
    inside("daemons::a_daemon_that_could_not_come_back_as_it_was_is_not_touched", |bed| {
        if !has_users() {
            return;
        }
        for (words, reason) in [
            ("unshare --uts", "in a namespace of its own (uts)"),
            ("unshare --mount", "in a namespace of its own (mnt)"),
            ("unshare --net", "in a network namespace without a name"),
            (
                "setpriv --reuid=65534 --regid=65533 --clear-groups --inh-caps=+net_raw --ambient-caps=+net_raw --",
                "has capabilities",
            ),
        ] {
            let (mut child, process) = daemon(words);
            let output = bed.inject("hm-kill on --group rehearsal");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(69), "{words}: {said}");
            assert!(said.contains(reason), "{words}: {said}");
            assert_eq!(process.life(), Life::Running, "{words}");
            process.kill().unwrap();
            child.wait().unwrap();
        }
    });
}
