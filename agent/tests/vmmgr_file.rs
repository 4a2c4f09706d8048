//! The configuration file under real `vmmgr` processes: killed at every system call, killed at any moment while others
//! write, and twenty at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test that cannot be set up has failed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;
use vmpulse_agent::config::Configuration;

/// Of writers at the same time.
const WRITERS: usize = 20;

/// Rounds in which writers are killed while others write.
const ROUNDS: usize = 12;

struct Guest {
    directory: TempDir,
}

impl Guest {
    fn new() -> Self {
        let guest = Self { directory: tempfile::tempdir().unwrap() };
        let settings = format!(
            "config = \"{0}/etc/HA.xml\"\nrun_dir = \"{0}\"\nstate_dir = \"{0}\"\nquery_group = \"\"\n\
             key_file = \"{0}/agent.key\"\nmax_apps = 64\n",
            guest.directory.path().display()
        );
        fs::write(guest.path("agent.toml"), settings).unwrap();
        fs::write(guest.path("script"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(guest.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn words(&self, words: &str) -> Vec<String> {
        let script = self.path("script").display().to_string();
        words.split(' ').map(|word| word.replace('@', &script)).collect()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmmgr"));
        command.args(self.words(words)).env("VMPULSE_AGENT_SETTINGS", self.path("agent.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    fn done(&self, words: &str) {
        let output = self.run(words);
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("etc").join(name)).ok()
    }

    /// The file as it must always be: there, and valid.
    fn file(&self) -> (String, Configuration) {
        let text = self.text("HA.xml").unwrap_or_else(|| panic!("there is no file"));
        let configuration = Configuration::read(&text, 64).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        (text, configuration)
    }
}

fn add(name: &str) -> String {
    format!("add app {name} monitor_script=@ start_script=@ stop_script=@")
}

/// Starts the command so that it can be traced from its first system call: a shell waits for a line before it becomes
/// the command.
fn held(guest: &Guest, words: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read go; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_vmmgr")]).args(guest.words(words));
    // Nothing else of the environment: where libraries are looked for would be most of the calls.
    command.env_clear().env("VMPULSE_AGENT_SETTINGS", guest.path("agent.toml"));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Whether the process has stopped at the call that locks the file. Calls are counted from there: what precedes it only
/// reads, and the loader does not always make the same calls.
#[cfg(target_arch = "x86_64")]
fn locks(pid: Pid) -> bool {
    ptrace::getregs(pid).unwrap().orig_rax == u64::try_from(nix::libc::SYS_flock).unwrap()
}

/// Here calls are counted from the first one on, and one may be missed.
#[cfg(not(target_arch = "x86_64"))]
const fn locks(_: Pid) -> bool {
    true
}

/// How a traced command ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Killed,
    /// Before it came so far.
    Exited(i32),
}

/// Runs a command and kills it at the beginning or the end of a system call: the one numbered `at` from the lock on.
fn killed_at(guest: &Guest, words: &str, at: usize) -> End {
    let mut child = held(guest, words);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXEC | ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut calls = 0;
    let mut is_command = false;
    let end = loop {
        let stop = waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        if let WaitStatus::Exited(_, code) = stop {
            break End::Exited(code);
        }
        if matches!(stop, WaitStatus::Signaled(_, Signal::SIGKILL, _)) {
            break End::Killed;
        }
        // It becomes the command.
        is_command |= matches!(stop, WaitStatus::PtraceEvent(..));
        if is_command && matches!(stop, WaitStatus::PtraceSyscall(_)) && (calls > 0 || locks(pid)) {
            calls += 1;
        }
        if is_command && calls >= at {
            // The call it is about to make is never made, or has just been made.
            nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
            let _ = ptrace::cont(pid, None);
        } else if is_command {
            ptrace::syscall(pid, None).unwrap();
        } else {
            ptrace::cont(pid, None).unwrap();
        }
    };
    // Already waited for.
    let _ = child.wait();
    end
}

#[test]
fn killed_at_every_system_call_the_file_is_the_old_or_the_new_one() {
    let guest = Guest::new();
    guest.done(&add("kept"));
    guest.done("modify app kept desc=0");
    let mut outcomes = BTreeSet::new();
    for at in 1.. {
        let (before, _) = guest.file();
        let previous = guest.text("HA.xml.prev").unwrap();
        let end = killed_at(&guest, &format!("modify app kept desc={}", at + 1), at);
        let (after, configuration) = guest.file();
        let desc = configuration.application("kept").unwrap().values.text("desc").to_owned();
        let kept = guest.text("HA.xml.prev").unwrap();
        if desc == (at + 1).to_string() {
            assert_eq!(kept, before, "at {at}: the previous file is kept");
            outcomes.insert("new");
        } else {
            assert_eq!(after, before, "at {at}: the old file is untouched");
            assert!(kept == previous || kept == before, "at {at}: {kept}");
            outcomes.insert("old");
        }
        if end != End::Killed {
            assert_eq!((end, desc), (End::Exited(0), (at + 1).to_string()));
            println!("killed at each of {at} beginnings and ends of calls");
            break;
        }
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["new", "old"]);
    // Nothing that a killed one left behind is in the way.
    guest.done("delete app kept");
}

#[test]
fn of_twenty_writers_at_once_none_is_lost() {
    let guest = Guest::new();
    // Also the directory is made by whoever comes first.
    let children: Vec<Child> =
        (0..WRITERS).map(|number| guest.command(&add(&format!("app{number}"))).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (_, configuration) = guest.file();
    assert_eq!(configuration.applications.len(), WRITERS);
    let uuids: BTreeSet<&str> = configuration.applications.iter().map(|app| app.uuid.as_str()).collect();
    assert_eq!(uuids.len(), WRITERS);
    let previous = Configuration::read(&guest.text("HA.xml.prev").unwrap(), 64).unwrap();
    assert_eq!(previous.applications.len(), WRITERS - 1);
}

#[test]
fn of_twenty_writers_some_of_them_killed_what_was_confirmed_is_there() {
    let guest = Guest::new();
    for number in 0..WRITERS {
        guest.done(&add(&format!("app{number}")));
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_until(&guest, &over));
        let mut random = fastrand::Rng::with_seed(4);
        let mut allowed = vec![vec![String::new()]; WRITERS];
        let (mut killed, mut confirmed) = (0, 0);
        for round in 0..ROUNDS {
            let new = format!("r{round}");
            let ended = write_and_kill(&guest, &new, &mut random);
            for (allowed, done) in allowed.iter_mut().zip(ended) {
                if done {
                    *allowed = vec![new.clone()];
                    confirmed += 1;
                } else {
                    // It may have come so far or not.
                    allowed.push(new.clone());
                    killed += 1;
                }
            }
            let (_, configuration) = guest.file();
            for (number, allowed) in allowed.iter_mut().enumerate() {
                let application = configuration.application(&format!("app{number}")).unwrap();
                let found = application.values.text("desc").to_owned();
                assert!(allowed.contains(&found), "{new}: app{number} has {found}, not one of {allowed:?}");
                *allowed = vec![found];
            }
        }
        over.store(true, Ordering::SeqCst);
        let reads = reader.join().unwrap();
        println!("{confirmed} confirmed, {killed} killed, {reads} reads in between");
        assert!(killed > 0 && confirmed > 0 && reads > 0);
    });
}

/// Reads file and previous file over and over: both are always whole. Returns how often.
fn read_until(guest: &Guest, over: &AtomicBool) -> usize {
    let mut reads = 0;
    while !over.load(Ordering::SeqCst) {
        assert_eq!(guest.file().1.applications.len(), WRITERS);
        let previous = guest.text("HA.xml.prev").unwrap_or_else(|| panic!("the previous file is not there"));
        assert!(Configuration::read(&previous, 64).unwrap().applications.len() >= WRITERS - 1);
        reads += 1;
    }
    reads
}

/// Every writer describes its application as `desc`; half of them are killed after a random while. Whether each was done.
fn write_and_kill(guest: &Guest, desc: &str, random: &mut fastrand::Rng) -> Vec<bool> {
    let start = |number| guest.command(&format!("modify app app{number} desc={desc}")).spawn().unwrap();
    let mut writers: Vec<Child> = (0..WRITERS).map(start).collect();
    // Spinning, not sleeping: the moment is to be any.
    for _ in 0..random.u32(0..3_000_000) {
        std::hint::spin_loop();
    }
    for writer in &mut writers {
        if random.bool() {
            writer.kill().unwrap();
        }
    }
    writers.into_iter().map(|writer| writer.wait_with_output().unwrap().status.success()).collect()
}
