//! KVM or emulation. A readable /dev/kvm proves nothing (it may want a paravirtualised guest kernel and die on an
//! ordinary one), so it is believed only after a guest has booted with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Machine, command, console_log, read_lossy};
use crate::error::Lab;
use crate::image;
use crate::kernel::GuestKernel;
use crate::preflight;
use crate::process::{Daemon, Place, run};
use crate::progress::Step;
use crate::wait;
use crate::workspace::{Workspace, make_dir, write};

/// Longest time a test boot may take. With working KVM it takes two seconds.
const TEST_BOOT_LIMIT: Duration = Duration::from_secs(10);
/// With KVM: a plain processor too, because some hosts refuse a part of what `host` would pass on.
const KVM_PROCESSOR: &str = if cfg!(target_arch = "x86_64") { "qemu64" } else { "host" };
/// The emulator's plain 64-bit processor: the fewest features to emulate.
const TCG_PROCESSOR: &str = if cfg!(target_arch = "x86_64") { "qemu64" } else { "cortex-a57" };
const MARKER: &str = "VMPULSE-TEST-BOOT";

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccelChoice {
    /// KVM if a test boot works, else emulation.
    Auto,
    /// KVM, whatever a test boot would say.
    Kvm,
    /// Emulation in software.
    Tcg,
}

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    /// The emulator's arguments for the machine and its processor.
    pub(crate) fn arguments(self) -> [&'static str; 6] {
        let machine = if cfg!(target_arch = "x86_64") { "q35" } else { "virt" };
        match self {
            Accel::Kvm => ["-machine", machine, "-accel", "kvm", "-cpu", KVM_PROCESSOR],
            Accel::Tcg => ["-machine", machine, "-accel", "tcg,tb-size=32", "-cpu", TCG_PROCESSOR],
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Accel::Kvm => "KVM",
            Accel::Tcg => "software emulation (TCG)",
        }
    }
}

/// Decides how guests run; a test boot's result is kept until kernel or emulator change.
pub(crate) fn choose(workspace: &Workspace, kernel: &GuestKernel, choice: AccelChoice) -> Lab<Accel> {
    match choice {
        AccelChoice::Kvm => return Ok(Accel::Kvm),
        AccelChoice::Tcg => return Ok(Accel::Tcg),
        AccelChoice::Auto => {}
    }
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let cache = workspace.lab()?.join("accel.json");
    let key = key(kernel)?;
    if let Some(known) = remembered(&cache, &key) {
        return Ok(known);
    }
    let found = test_boot(workspace, kernel)?;
    let record = Remembered { key, accel: found };
    write(&cache, serde_json::to_string(&record).unwrap_or_default())?;
    Ok(found)
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    key: String,
    accel: Accel,
}

fn remembered(cache: &Path, key: &str) -> Option<Accel> {
    let record: Remembered = serde_json::from_str(&fs::read_to_string(cache).ok()?).ok()?;
    (record.key == key).then_some(record.accel)
}

/// Everything a test boot's result depends on.
fn key(kernel: &GuestKernel) -> Lab<String> {
    let mut version = Place::Here.command(preflight::emulator());
    version.arg("--version");
    let emulator = run(version)?.ok()?;
    let host = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let emulator = emulator.lines().next().unwrap_or_default();
    Ok(format!("host {} / {emulator} / guest {}", host.trim(), kernel.release))
}

fn test_boot(workspace: &Workspace, kernel: &GuestKernel) -> Lab<Accel> {
    let dir = make_dir(workspace.lab()?.join(format!("test-boot.{}", std::process::id())))?;
    let step = Step::begin("test boot: is /dev/kvm good for an ordinary guest?");
    let result = boots(&dir, kernel);
    let _ = fs::remove_dir_all(&dir);
    match &result {
        Ok(true) => step.end("yes"),
        Ok(false) => step.end("no, guests are emulated"),
        Err(_) => step.end("FAILED"),
    }
    Ok(if result? { Accel::Kvm } else { Accel::Tcg })
}

fn boots(dir: &Path, kernel: &GuestKernel) -> Lab<bool> {
    let initrd = dir.join("initrd");
    image::build_probe(kernel, MARKER, &initrd)?;
    let machine = Machine {
        more_mib: 0,
        name: "test-boot".into(),
        uuid: "00000000-0000-4000-8000-000000000001".into(),
        accel: Accel::Kvm,
        kernel: kernel.image.clone(),
        initrd,
        adapters: Vec::new(),
        disk: None,
        sockets: dir.to_path_buf(),
        logs: dir.to_path_buf(),
    };
    let console = console_log(&machine);
    let mut tied = Place::Here.command("setpriv");
    let plain = command(&Place::Here, &machine);
    tied.args(["--pdeathsig", "KILL"]).arg(plain.get_program()).args(plain.get_args());
    let mut daemon = Daemon::start("test boot", tied, &dir.join("qemu.log"))?;
    let booted = wait::until(TEST_BOOT_LIMIT, "the test boot", || {
        daemon.still_runs()?;
        Ok(read_lossy(&console).contains(MARKER).then_some(()))
    });
    match booted {
        Ok(()) => Ok(true),
        Err(crate::error::LabError::Interrupted) => Err(crate::error::LabError::Interrupted),
        // A refusal by the emulator and a guest that hangs are the same answer: no.
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_answer_does_not_hold_for_another_kernel() {
        let dir = tempfile::tempdir().expect("tempdir");
        let cache = dir.path().join("accel.json");
        let record = Remembered { key: "a".into(), accel: Accel::Kvm };
        fs::write(&cache, serde_json::to_string(&record).expect("json")).expect("write");
        assert_eq!(remembered(&cache, "a"), Some(Accel::Kvm));
        assert_eq!(remembered(&cache, "b"), None);
    }
}
