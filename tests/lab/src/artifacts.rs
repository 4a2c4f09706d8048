//! The programs under test: built here, by cargo, before a world is made.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Lab, LabError, expect};
use crate::process::Place;
use crate::progress::run_step;
use crate::workspace::{Workspace, host_triple};

/// The host's programs as the worlds run them.
const HOST_PACKAGES: [&str; 4] = ["vmpulse-agent", "vmpulse-hostmon", "vmpulse-controller", "vmpulse-inject"];
/// The programs in them.
const HOST_PROGRAMS: [&str; 8] = [
    "vmpulse-agentd",
    "vmpulse-guardian",
    "vmmgr",
    "vmpulse-hostmond",
    "hmmgr",
    "vmpulse-controllerd",
    "hamgr",
    INJECTOR,
];
/// The failure-injection kit, on hosts and in guests.
pub(crate) const INJECTOR: &str = "vmpulse-inject";
/// The lab's own program among them.
pub(crate) const OWN_PROGRAM: &str = "vmpulse-lab";
/// What a guest of its own kernel is given.
pub(crate) const GUEST_PROGRAMS: [&str; 3] = ["vmpulse-agentd", "vmpulse-guardian", "vmmgr"];

/// The folder of the daemons and commands for this machine, built now if `build` says so.
pub(crate) fn host(workspace: &Workspace, build: bool) -> Lab<PathBuf> {
    if build {
        let mut command = cargo(workspace);
        command.arg("build").args(HOST_PACKAGES.iter().flat_map(|name| ["--package", name]));
        let log = workspace.lab_dir("logs")?.join("build-host.log");
        run_step("building the daemons and commands", command, &log)?;
    }
    let folder = workspace.lab_dir("programs")?;
    for program in HOST_PROGRAMS {
        put(&workspace.target().join("debug").join(program), &folder.join(program))?;
    }
    // This program itself: cargo replaces its file when the tests are built.
    put(Path::new("/proc/self/exe"), &folder.join(OWN_PROGRAM))?;
    Ok(folder)
}

/// Name of the program that judges a soak.
pub(crate) const JUDGE: &str = "vmpulse-soak";

/// Builds, if `build` says so, the program that judges a soak, and puts it beside the daemons.
pub(crate) fn judge(workspace: &Workspace, build: bool) -> Lab<()> {
    if build {
        let mut command = cargo(workspace);
        command.args(["build", "--package", JUDGE]);
        let log = workspace.lab_dir("logs")?.join("build-judge.log");
        run_step("building the judge: the simulator's checkers", command, &log)?;
    }
    put(&workspace.target().join("debug").join(JUDGE), &workspace.lab_dir("programs")?.join(JUDGE))
}

/// Copies a program to where no later build replaces it under a running world. What runs the old copy keeps it.
fn put(from: &Path, to: &Path) -> Lab<()> {
    let scratch = to.with_extension("part");
    std::fs::copy(from, &scratch).map_err(LabError::file("copy", from))?;
    std::fs::rename(&scratch, to).map_err(LabError::file("write", to))
}

/// The folder of the agent that needs no shared library, built now if `build` says so.
pub(crate) fn static_agent(workspace: &Workspace, build: bool) -> Lab<PathBuf> {
    let triple = host_triple()?;
    if build {
        let mut command = cargo(workspace);
        command.args(["build", "--profile", "agent", "--target", &triple, "--package", "vmpulse-agent"]);
        command.args(["--package", INJECTOR]);
        command.env("RUSTFLAGS", "-C target-feature=+crt-static");
        let log = workspace.lab_dir("logs")?.join("build-agent.log");
        run_step("building the static agent", command, &log)?;
    }
    let folder = workspace.target().join(&triple).join("agent");
    for program in GUEST_PROGRAMS.into_iter().chain([INJECTOR]) {
        require_static(&folder.join(program))?;
    }
    Ok(folder)
}

/// A cargo command at the top of the workspace, without what the cargo that runs us has set.
pub(crate) fn cargo(workspace: &Workspace) -> Command {
    let mut command = Place::Here.command("cargo");
    command.current_dir(workspace.root()).env_remove("CARGO_MANIFEST_DIR").env("CARGO_TERM_COLOR", "never");
    command
}

fn require_static(program: &Path) -> Lab<()> {
    let bytes = std::fs::read(program).map_err(LabError::file("read", program))?;
    expect(!has_interpreter(&bytes), || {
        format!("{} needs a dynamic loader; it is to be linked statically", program.display())
    })
}

/// Whether an ELF file (64 bits, of this machine's byte order) names a dynamic loader (PT_INTERP).
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| elf.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let word = |at: usize| elf.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
    let long = |at: usize| elf.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
    let (Some(table), Some(size), Some(count)) = (long(0x20), half(0x36), half(0x38)) else { return true };
    let table = usize::try_from(table).unwrap_or(usize::MAX / 2);
    (0..usize::from(count)).any(|entry| word(table + entry * usize::from(size)) == Some(PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_dynamic_test_names_a_loader() {
        let me = std::fs::read("/proc/self/exe").expect("readable");
        assert!(has_interpreter(&me));
    }

    #[test]
    fn a_file_that_is_no_program_is_not_called_static() {
        assert!(has_interpreter(b"#!/bin/sh"));
    }
}
