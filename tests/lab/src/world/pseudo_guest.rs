//! A guest made of namespaces: its own adapters, processes, host name and /etc/vmpulse, /run, /var/log, so that the
//! agent and its command work there as in a guest with a kernel of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

use crate::error::{Lab, LabError};
use crate::process::{self, Daemon, Place};
use crate::wait;
use crate::workspace::{make_dir, write};
use crate::world::{self, Trunk, private};

/// How long making the namespaces may take on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(20);
/// A frozen or killed process may run on for a moment on another core.
const SIGNAL_LIMIT: Duration = Duration::from_secs(20);
/// A daemon says good-bye to every host monitor before it ends.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// What the guest's init leaves when all is in place.
const READY: &str = "run/guest-ready";

/// A running guest; all its processes end with this value.
#[derive(Debug)]
pub(crate) struct PseudoGuest {
    name: String,
    uuid: String,
    number: u8,
    /// Holds the namespaces: its end is the guest's end.
    keeper: Daemon,
    init: i32,
}

impl PseudoGuest {
    pub(super) fn start(trunks: &[Trunk], number: u8) -> Lab<PseudoGuest> {
        let name = format!("guest{number}");
        world::add_namespace(&name)?;
        for trunk in trunks {
            trunk.attach_namespace(&name, number)?;
        }
        let (keeper, init) = boot(&name)?;
        Ok(PseudoGuest { name, uuid: world::uuid(1, number), number, keeper, init })
    }

    /// Ends it as a power cut does: its first process is killed, and everything in it with that. Its adapters stay. `entered`:
    /// processes of ours that have children in it; they may stand still, and the guest is not gone before they have
    /// collected their children.
    pub(crate) fn power_off(&mut self, entered: impl IntoIterator<Item = i32>) -> Lab<()> {
        // It may have been killed already.
        let _ = process::signal(self.init, Signal::SIGKILL);
        for pid in entered {
            let _ = process::signal(pid, Signal::SIGCONT);
        }
        self.keeper.crash()?;
        let (name, init) = (&self.name, self.init);
        wait::until(SIGNAL_LIMIT, &format!("{name} to be gone"), || Ok(is_dead(init).then_some(())))
    }

    /// Starts it again after [`PseudoGuest::power_off`]; what it had outside its disk is gone.
    pub(crate) fn power_on(&mut self) -> Lab<()> {
        (self.keeper, self.init) = boot(&self.name)?;
        Ok(())
    }

    /// `guest1`, also its network namespace's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The UUID its agent is told.
    pub(crate) fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Its number in the world, the last byte of its adapters' addresses.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// Where commands in it run.
    pub(crate) fn place(&self) -> Place {
        Place::Guest(self.init)
    }

    /// A file of the guest as the lab sees it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        root_of(self.init).join(inside.trim_start_matches('/'))
    }

    /// Writes a file in the guest, with its folders, executable if it is a script.
    pub(crate) fn write(&self, inside: &str, content: &str) -> Lab<()> {
        let path = self.path(inside);
        if let Some(folder) = path.parent() {
            make_dir(folder.to_path_buf())?;
        }
        write(&path, content)?;
        let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&path, permissions).map_err(LabError::file("change", &path))
    }

    /// Stops every process of the guest where it stands, as a hypervisor would freeze it.
    pub(crate) fn freeze(&self) -> Lab<()> {
        let what = format!("{} to stand still", self.name);
        wait::until(SIGNAL_LIMIT, &what, || {
            let running: Vec<i32> = self.processes().into_iter().filter(|pid| !is_stopped(*pid)).collect();
            for pid in &running {
                // It may have ended since it was listed.
                let _ = process::signal(*pid, Signal::SIGSTOP);
            }
            Ok(running.is_empty().then_some(()))
        })
    }

    /// Lets a frozen guest go on.
    pub(crate) fn thaw(&self) -> Lab<()> {
        for pid in self.processes() {
            let _ = process::signal(pid, Signal::SIGCONT);
        }
        Ok(())
    }

    /// Stops every process of that name where it stands; fails if there is none.
    pub(crate) fn stun(&self, program: &str) -> Lab<()> {
        let victims = self.named(program)?;
        victims.iter().try_for_each(|pid| process::signal(*pid, Signal::SIGSTOP))?;
        wait::until(SIGNAL_LIMIT, &format!("{program} to stand still"), || {
            Ok(victims.iter().all(|pid| is_stopped(*pid)).then_some(()))
        })
    }

    /// Resident memory of all processes of that name, in KiB.
    pub(crate) fn resident_kib(&self, program: &str) -> Lab<u64> {
        let of = |pid: &i32| status_field(*pid, "VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok();
        Ok(self.named(program)?.iter().filter_map(of).sum())
    }

    /// Processor time that all threads of that name have had, their ended children not counted.
    pub(crate) fn processor_time(&self, program: &str) -> Lab<Duration> {
        let mut nanos = 0;
        for pid in self.named(program)? {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                nanos += text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0);
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    fn named(&self, program: &str) -> Lab<Vec<i32>> {
        // The kernel keeps 15 characters of a name.
        let known: String = program.chars().take(15).collect();
        let found: Vec<i32> = self.processes().into_iter().filter(|pid| comm(*pid) == known).collect();
        if found.is_empty() {
            return Err(LabError::Unexpected(format!("no {program} runs in {}", self.name)));
        }
        Ok(found)
    }

    /// SIGKILLs every process of that name in the guest; fails if there is none.
    pub(crate) fn crash(&self, program: &str) -> Lab<()> {
        self.end(program, Signal::SIGKILL, SIGNAL_LIMIT)
    }

    /// SIGTERMs every process of that name in the guest and waits for their orderly end; fails if there is none.
    pub(crate) fn stop(&self, program: &str) -> Lab<()> {
        self.end(program, Signal::SIGTERM, STOP_LIMIT)
    }

    fn end(&self, program: &str, signal: Signal, limit: Duration) -> Lab<()> {
        let victims: Vec<i32> = self.processes().into_iter().filter(|pid| comm(*pid) == program).collect();
        if victims.is_empty() {
            return Err(LabError::Unexpected(format!("no {program} runs in {}", self.name)));
        }
        for pid in &victims {
            process::signal(*pid, signal)?;
        }
        wait::until(limit, &format!("the end of {program} in {}", self.name), || {
            Ok(victims.iter().all(|pid| comm(*pid) != program || is_dead(*pid)).then_some(()))
        })
    }

    /// Whether a process of that name runs in the guest.
    pub(crate) fn runs(&self, program: &str) -> bool {
        self.processes().into_iter().any(|pid| comm(pid) == program && !is_dead(pid))
    }

    fn processes(&self) -> Vec<i32> {
        let Ok(mine) = fs::read_link(format!("/proc/{}/ns/pid", self.init)) else { return Vec::new() };
        all_processes()
            .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == mine))
            .collect()
    }
}

/// Makes the namespaces of a guest and its first process; returns who holds them, and that process.
fn boot(name: &str) -> Lab<(Daemon, i32)> {
    let me = std::env::current_exe()
        .map_err(|source| LabError::System { action: "find the lab's own program".into(), source })?;
    let mut command = Place::net(name).command("unshare");
    command.args(["--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--uts", "--"]);
    command.arg(me).args(["inside", "guest-init", name]);
    let mut keeper = Daemon::start(name, command, &world::log_file(&format!("{name}.init")))?;
    let init = wait::until(START_LIMIT, &format!("{name} to be made"), || {
        keeper.still_runs()?;
        Ok(host_pid_of_child(keeper.pid()).filter(|pid| root_of(*pid).join(READY).exists()))
    })?;
    write(&world::dir("run").join(format!("{name}.pid")), init.to_string())?;
    Ok((keeper, init))
}

/// The process that has `parent` as its parent, if there is one.
pub(crate) fn host_pid_of_child(parent: i32) -> Option<i32> {
    all_processes().find(|pid| status_field(*pid, "PPid:") == Some(parent.to_string()))
}

/// The first process of a guest: private folders, a host name, then it collects orphans for ever.
pub(crate) fn run_init(name: &str) -> Lab<()> {
    nix::unistd::sethostname(name).map_err(LabError::system("set the host name"))?;
    private::attach_disk(&world::dir("disks").join(name))?;
    private::make_folders_private()?;
    write(&Path::new("/").join(READY), "")?;
    collect_orphans()
}

/// Collects ended processes that have no other parent, for ever.
pub(crate) fn collect_orphans() -> Lab<()> {
    let mut signals = Signals::new([SIGCHLD])
        .map_err(|source| LabError::System { action: "listen for ended processes".into(), source })?;
    reap();
    for _ in signals.forever() {
        reap();
    }
    Ok(())
}

fn reap() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(_) | Err(_) => {}
        }
    }
}

fn all_processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn root_of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root"))
}

fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_string()
}

fn is_stopped(pid: i32) -> bool {
    matches!(state(pid).as_deref(), Some("T" | "Z") | None)
}

fn is_dead(pid: i32) -> bool {
    matches!(state(pid).as_deref(), Some("Z" | "X") | None)
}

fn state(pid: i32) -> Option<String> {
    status_field(pid, "State:").map(|text| text.chars().take(1).collect())
}

fn status_field(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim().to_string())
}
