//! Before anything is done: is everything here that the lab needs, and may we do it?
//!
//! What is missing is told first, then installed where that is possible (root, and a Debian or Ubuntu), or else
//! named with the exact command or setting that would help.

mod permissions;
mod tools;
mod unpacked;

use crate::error::{Lab, LabError};
use crate::process::{Place, run};
use crate::progress::{Step, run_step, say};
use crate::workspace::Workspace;

pub(crate) use permissions::Privilege;
pub(crate) use tools::{Purpose, emulator, is_ubuntu, postgresql_programs};
pub(crate) use unpacked::promtool;

/// Checks permissions and programs, installs what is missing, and says what it found.
pub(crate) fn check(workspace: &Workspace, purpose: Purpose) -> Lab<Privilege> {
    let missing = tools::missing(purpose)?;
    if !missing.is_empty() {
        provide(workspace, &missing)?;
    }
    if purpose != Purpose::Worlds {
        unpacked::provide(workspace)?;
    }
    let privilege = permissions::check()?;
    match privilege {
        Privilege::Root => {}
        Privilege::UserNamespace => say("  not root: everything runs inside a user namespace of its own"),
    }
    Ok(privilege)
}

fn provide(workspace: &Workspace, missing: &[tools::Tool]) -> Lab<()> {
    say("This machine lacks what the lab needs:");
    for tool in missing {
        say(&format!("  {:<24} {} ({})", tool.package, tool.why, tool.name));
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let (components, packages): (Vec<&str>, Vec<&str>) =
        packages.into_iter().partition(|package| package.starts_with("rustup:"));
    install_components(workspace, &components)?;
    if packages.is_empty() {
        return Ok(());
    }
    may_install(&packages)?;
    install_packages(workspace, &packages)
}

fn may_install(packages: &[&str]) -> Lab<()> {
    let list = packages.join(" ");
    if !tools::on_path("apt-get") {
        return Err(LabError::Missing(format!(
            "there is no apt-get here; install by this system's own means what Debian calls: {list}"
        )));
    }
    if nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    Err(LabError::Permission(format!(
        "installing needs root; run once: sudo apt-get install --no-install-recommends {list}"
    )))
}

fn install_packages(workspace: &Workspace, packages: &[&str]) -> Lab<()> {
    let logs = workspace.lab_dir("logs")?;
    say(&format!("Installing with apt-get: {}", packages.join(" ")));
    run_step("apt-get update", apt(&["update"]), &logs.join("apt-update.log"))?;
    let mut words = vec!["install", "-y", "--no-install-recommends"];
    words.extend(packages);
    run_step("apt-get install", apt(&words), &logs.join("apt-install.log")).map(drop)
}

/// An apt-get command that asks nobody.
pub(crate) fn apt(words: &[&str]) -> std::process::Command {
    let mut command = Place::Here.command("apt-get");
    command.args(["-q", "-o", "Dpkg::Use-Pty=0"]).args(words).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn install_components(workspace: &Workspace, components: &[&str]) -> Lab<()> {
    let names: Vec<&str> = components.iter().filter_map(|name| name.strip_prefix("rustup:")).collect();
    if names.is_empty() {
        return Ok(());
    }
    if !tools::on_path("rustup") {
        return Err(LabError::Missing(format!(
            "rustup is not there to install: {}; install them by the means Rust was installed by",
            names.join(" ")
        )));
    }
    let mut command = Place::Here.command("rustup");
    command.args(["component", "add"]).args(&names);
    let log = workspace.lab_dir("logs")?.join("rustup.log");
    run_step(&format!("rustup component add {}", names.join(" ")), command, &log).map(drop)
}

/// Builds and takes down the smallest network the lab is made of, so that a kernel without it is named now.
pub(crate) fn check_kernel(privilege: Privilege) -> Lab<()> {
    let step = Step::begin("network namespaces, veth and macvlan of this kernel");
    let mut command = crate::isolate::command(privilege, true);
    command.args(["sh", "-ec", include_str!("preflight/kernel.sh")]);
    let said = run(command)?;
    let result = if said.status.success() {
        Ok(())
    } else {
        Err(LabError::Missing(format!(
            "this kernel does not give the lab its network: {}; needed are CONFIG_NET_NS, CONFIG_VETH, \
             CONFIG_MACVLAN and CONFIG_PACKET",
            said.text().trim()
        )))
    };
    step.finish(result)
}
