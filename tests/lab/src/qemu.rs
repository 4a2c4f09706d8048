//! A real guest: its own kernel in an emulator, with a command channel, a console log and a control socket.

mod accel;
mod qmp;
mod shell;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::error::{Lab, LabError};
use crate::preflight;
use crate::process::{Daemon, Place, Said};
use crate::wait;

pub(crate) use accel::{Accel, AccelChoice, choose};
pub(crate) use shell::{attach, run as run_in_shell};

/// Memory of a guest in MiB. 64 is too little for a distribution's kernel, 80 suffices.
const MEMORY_MIB: u32 = 96;
/// Longest time from start to the agent being started, on two loaded cores without KVM.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// What /init says on the console when it is done.
const UP_MARKER: &str = "VMPULSE-GUEST-UP";

/// The disk as the emulator's control socket knows it.
const DISK: &str = "disk";

/// One adapter of a guest.
#[derive(Debug, Clone)]
pub(crate) enum Adapter {
    /// A macvtap, opened by its device node.
    Node { node: PathBuf, mac: String },
    /// A tap, opened by its name.
    Tap { name: String, mac: String },
}

/// What a guest is started from.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) accel: Accel,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) adapters: Vec<Adapter>,
    /// Memory beyond what every guest has, in MiB.
    pub(crate) more_mib: u32,
    /// Its only disk, empty: the file system is in memory.
    pub(crate) disk: Option<PathBuf>,
    /// Where its sockets go.
    pub(crate) sockets: PathBuf,
    /// Where its console and the emulator's own words go.
    pub(crate) logs: PathBuf,
}

/// A running guest; it ends with this value.
#[derive(Debug)]
pub(crate) struct Qemu {
    daemon: Daemon,
    machine: Machine,
}

impl Qemu {
    /// Starts the emulator; the guest then boots by itself.
    pub(crate) fn start(place: &Place, machine: Machine) -> Lab<Qemu> {
        let log = machine.logs.join(format!("{}.qemu.log", machine.name));
        let daemon = Daemon::start(&machine.name, command(place, &machine), &log)?;
        Ok(Qemu { daemon, machine })
    }

    /// Switches it off without asking it, and starts it again.
    pub(crate) fn restart(self, place: &Place) -> Lab<Qemu> {
        let machine = self.machine.clone();
        drop(self);
        // What the dead kernel said must not be taken for words of the new one.
        let console = console_log(&machine);
        let old = console.with_extension("before-restart.log");
        std::fs::rename(&console, &old).map_err(LabError::file("rename", &console))?;
        Qemu::start(place, machine)
    }

    /// Waits until the guest's /init has done its work.
    pub(crate) fn wait_until_up(&mut self) -> Lab<()> {
        let what = format!("{} to boot", self.machine.name);
        let console = self.console_log();
        let up = wait::until(BOOT_LIMIT, &what, || {
            self.daemon.still_runs()?;
            Ok(read_lossy(&console).contains(UP_MARKER).then_some(()))
        });
        up.map_err(|error| error.seen_last(|| crate::progress::last_lines(&read_lossy(&console), 20)))
    }

    /// Runs a command line in the guest's shell.
    pub(crate) fn shell(&self, line: &str) -> Lab<Said> {
        shell::run(&self.shell_socket(), line)
    }

    /// Sends a command line of which no answer is expected, such as one that kills the kernel.
    pub(crate) fn shell_and_forget(&self, line: &str) -> Lab<()> {
        shell::send(&self.shell_socket(), line)
    }

    /// What the guest's kernel and /init have said so far.
    pub(crate) fn console(&self) -> String {
        read_lossy(&self.console_log())
    }

    /// The state as the emulator sees it: `running`, `paused`, `guest-panicked`.
    pub(crate) fn status(&self) -> Lab<String> {
        qmp::status(&self.machine.sockets.join(format!("{}.qmp", self.machine.name)))
    }

    /// Its disk stops (true): what is read from it takes hours. Or it works again.
    pub(crate) fn stop_disk(&self, stopped: bool) -> Lab<()> {
        let bytes_per_second = u8::from(stopped);
        let limits = json!({
            "device": DISK, "bps": bytes_per_second, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0
        });
        qmp::order(
            &self.machine.sockets.join(format!("{}.qmp", self.machine.name)),
            "block_set_io_throttle",
            &limits,
        )
    }

    /// The socket of the guest's shell.
    pub(crate) fn shell_socket(&self) -> PathBuf {
        self.machine.sockets.join(format!("{}.shell", self.machine.name))
    }

    fn console_log(&self) -> PathBuf {
        console_log(&self.machine)
    }
}

fn console_log(machine: &Machine) -> PathBuf {
    machine.logs.join(format!("{}.console.log", machine.name))
}

fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The emulator's command line. Descriptors of macvtap nodes are opened by a shell: 3 for the first, 4 for the next.
fn command(place: &Place, machine: &Machine) -> Command {
    let nodes: Vec<&PathBuf> = machine
        .adapters
        .iter()
        .filter_map(|adapter| match adapter {
            Adapter::Node { node, .. } => Some(node),
            Adapter::Tap { .. } => None,
        })
        .collect();
    let opened: String = (3..).zip(&nodes).map(|(fd, node)| format!(" {fd}<>'{}'", node.display())).collect();
    let mut command = place.command("sh");
    command.args(["-c", &format!("exec \"$@\"{opened}"), "sh", preflight::emulator()]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-name", &machine.name]);
    command.args(["-uuid", &machine.uuid, "-m", &(MEMORY_MIB + machine.more_mib).to_string(), "-smp", "1"]);
    command.args(machine.accel.arguments());
    command.arg("-kernel").arg(&machine.kernel).arg("-initrd").arg(&machine.initrd);
    command.args(["-append", &format!("{} vmpulse.name={}", kernel_arguments(), machine.name)]);
    command.arg("-serial").arg(format!("file:{}", console_log(machine).display()));
    let socket = |kind: &str| machine.sockets.join(format!("{}.{kind}", machine.name)).display().to_string();
    command.args(["-qmp", &format!("unix:{},server=on,wait=off", socket("qmp"))]);
    command.args(["-device", "virtio-serial-pci"]);
    command.args(["-chardev", &format!("socket,id=shell,path={},server=on,wait=off", socket("shell"))]);
    command.args(["-device", "virtconsole,chardev=shell"]);
    if cfg!(target_arch = "x86_64") {
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
    }
    if let Some(disk) = &machine.disk {
        command.args(["-drive", &format!("file={},if=none,id={DISK},format=raw", disk.display())]);
        command.args(["-device", &format!("virtio-blk-pci,drive={DISK}")]);
    }
    let mut next_fd = 3;
    for (index, adapter) in machine.adapters.iter().enumerate() {
        let (backend, mac) = match adapter {
            Adapter::Node { mac, .. } => {
                next_fd += 1;
                (format!("tap,id=net{index},fd={},vhost=off", next_fd - 1), mac)
            }
            Adapter::Tap { name, mac } => {
                (format!("tap,id=net{index},ifname={name},script=no,downscript=no"), mac)
            }
        };
        command.args(["-netdev", &backend]);
        command.args(["-device", &format!("virtio-net-pci,netdev=net{index},mac={mac},romfile=")]);
    }
    command
}

/// `no_timer_check`: without it an emulated guest on a loaded machine panics now and then at boot.
fn kernel_arguments() -> String {
    let console = if cfg!(target_arch = "x86_64") { "ttyS0" } else { "ttyAMA0" };
    format!("console={console} quiet nokaslr mitigations=off no_timer_check panic=0 net.ifnames=0")
}
