//! The programs under test: built here, by cargo, before a world is made.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Lab, LabError, expect};
use crate::process::Place;
use crate::progress::run_step;
use crate::workspace::{Workspace, host_triple};

/// The host's programs as the worlds run them.
const HOST_PACKAGES: [&str; 3] = ["vmpulse-agent", "vmpulse-hostmon", "vmpulse-controller"];
/// The programs in them.
const HOST_PROGRAMS: [&str; 7] = [
    "vmpulse-agentd",
    "vmpulse-guardian",
    "vmmgr",
    "vmpulse-hostmond",
    "hmmgr",
    "vmpulse-controllerd",
    "hamgr",
];
/// What only scenarios need: the failure-injection kit, and what replays the daemons' records.
const TOOL_PACKAGES: [&str; 2] = [INJECTOR, "vmpulse-sim"];
/// The programs in them.
const TOOLS: [&str; 2] = [INJECTOR, SIMULATOR];
/// Runs plans, and replays what the daemons recorded.
pub(crate) const SIMULATOR: &str = "simulate";
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
        command.arg("build").args(packages(&HOST_PACKAGES));
        let log = workspace.lab_dir("logs")?.join("build-host.log");
        run_step("building the daemons and commands", command, &log)?;
    }
    let folder = put_all(workspace, &HOST_PROGRAMS)?;
    // This program itself: cargo replaces its file when the tests are built.
    put(Path::new("/proc/self/exe"), &folder.join(OWN_PROGRAM))?;
    Ok(folder)
}

/// Builds, if `build` says so, what only scenarios need, and puts it beside the daemons and beside the static agent.
pub(crate) fn tools(workspace: &Workspace, build: bool) -> Lab<()> {
    if build {
        let mut command = cargo(workspace);
        command.arg("build").args(packages(&TOOL_PACKAGES));
        let log = workspace.lab_dir("logs")?.join("build-tools.log");
        run_step("building the injection kit and the simulator", command, &log)?;
        build_static(workspace, INJECTOR, "building the static injection kit")?;
    }
    put_all(workspace, &TOOLS)?;
    require_static(&static_folder(workspace)?.join(INJECTOR))
}

fn packages<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    names.iter().flat_map(|name| ["--package", name])
}

/// Copies programs to where worlds find them, and returns that folder.
fn put_all(workspace: &Workspace, programs: &[&str]) -> Lab<PathBuf> {
    let folder = workspace.lab_dir("programs")?;
    for program in programs {
        put(&workspace.target().join("debug").join(program), &folder.join(program))?;
    }
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
    if build {
        build_static(workspace, "vmpulse-agent", "building the static agent")?;
    }
    let folder = static_folder(workspace)?;
    for program in GUEST_PROGRAMS {
        require_static(&folder.join(program))?;
    }
    Ok(folder)
}

fn build_static(workspace: &Workspace, package: &str, text: &str) -> Lab<()> {
    let mut command = cargo(workspace);
    command.args(["build", "--profile", "agent", "--target", &host_triple()?, "--package", package]);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let log = workspace.lab_dir("logs")?.join(format!("build-static-{package}.log"));
    run_step(text, command, &log).map(drop)
}

/// Where statically linked programs are built.
fn static_folder(workspace: &Workspace) -> Lab<PathBuf> {
    Ok(workspace.target().join(host_triple()?).join("agent"))
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
