//! An application of type SYSTEMD under a real systemd: a container of this machine's own systemd, booted for it. The
//! agent starts the unit and brings it back when it is killed; a unit that is not there is refused.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::Scenario;
use crate::daemons::text_of;
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::{self, Daemon, Place, Said, run as run_command};
use crate::wait::{self, Stopwatch};
use crate::workspace::{make_dir, write};
use crate::world::{self, World, host_pid_of_child};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "systemd-unit",
    about: "a systemd unit is started by the agent and brought back, under a real systemd",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);

/// How long what was killed may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(10);

const SETTINGS: &str = "adapters = [\"absent0\"]\nvm_uuid = \"61be20f0-09a8-4753-b5e5-564f8a545ed5\"\n\
    config = \"/run/vmpulse/HAMonitoring.xml\"\nstate_dir = \"/run/vmpulse\"\nkey_file = \"/run/vmpulse/agent.key\"\n";

/// Where control groups are: all kinds of them, or beside others in one of these folders.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Moves itself into control groups of its own and becomes the container. $1 names the groups.
const IN_OWN_GROUPS: &str = "for kind in . systemd unified; do \
    [ -e /sys/fs/cgroup/$kind/cgroup.procs ] || continue; mkdir -p /sys/fs/cgroup/$kind/$1; \
    echo $$ > /sys/fs/cgroup/$kind/$1/cgroup.procs; done; shift; exec systemd-nspawn \"$@\"";

/// A booted container; its processes end with this value, and what they leave in the kernel is removed.
pub(super) struct Container {
    nspawn: Daemon,
    pub(super) init: i32,
}

impl Drop for Container {
    fn drop(&mut self) {
        let Ok(name) = groups() else { return };
        // The groups are empty only when the last process has gone; a deadline passed leaves them behind, empty.
        let _ = process::signal(self.init, Signal::SIGKILL);
        let _ = self.nspawn.crash();
        let line = format!(
            "for kind in . systemd unified; do [ ! -d {CGROUPS}/$kind/{name} ] || \
             find {CGROUPS}/$kind/{name} -depth -type d -exec rmdir {{}} +; done"
        );
        let _ = wait::until_ended(END_LIMIT, "the container's control groups to be removed", || {
            let mut command = Place::Here.command("sh");
            command.args(["-c", &line]);
            Ok(run_command(command)?.status.success().then_some(()))
        });
    }
}

/// A name for the container's groups: the number of this world's process namespace, which no other has.
fn groups() -> Lab<String> {
    let path = Path::new("/proc/self/ns/pid");
    let namespace = std::fs::read_link(path).map_err(LabError::file("read", path))?;
    let number: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    Ok(format!("vmpulse-lab-{number}"))
}

fn run(world: World, report: &mut Report) -> Lab<()> {
    if !world.kit().real_root {
        return Err(LabError::Skipped("a container of systemd needs root: run this as root".into()));
    }
    let watch = Stopwatch::start();
    let container = boot(&world, &[])?;
    report.figure(format!("systemd booted in {:.1} s", watch.seconds()));
    let command = Place::Guest(container.init).command("/lab/vmpulse-agentd");
    let _agent = Daemon::start("agentd", command_with_settings(command), &world::log_file("agentd"))?;
    container.wait_for("vmpulse-agentd to be active", || Ok(container.vmmgr("status")?.status.success()))?;

    let quick = "monitor_period=2 monitor_timeout=1 monitor_failure_threshold=1 restart_window=3600";
    container.vmmgr(&format!("-s add app unit type=SYSTEMD instancename=lab-app.service {quick}"))?.ok()?;
    container.wait_for_app("unit", "NORMAL", "1")?;
    container.systemctl("kill --signal=KILL lab-app.service")?.ok()?;
    container.wait_for_app("unit", "NORMAL", "2")?;
    container.systemctl("is-active lab-app.service")?.ok()?;
    let refused = container.vmmgr("add app none type=SYSTEMD instancename=no-such.service")?;
    let text = refused.text();
    expect(refused.code() == Some(1) && text.contains("there is no unit no-such.service"), || text.clone())
}

/// A system of its own: an empty /etc and /var, no network, and nothing started but the basics. With these units more.
pub(super) fn boot(world: &World, units: &[(&str, &str)]) -> Lab<Container> {
    let folder = make_dir(world::dir("systemd"))?;
    write(&folder.join("lab-app.service"), "[Service]\nExecStart=/bin/sleep infinity\n")?;
    write(&folder.join("agent.toml"), SETTINGS)?;
    let programs = world.kit().program("");
    let mut command = Place::Here.command("sh");
    command.args(["-ec", IN_OWN_GROUPS, "sh", &groups()?]);
    command.args(["--directory=/", "--volatile=yes", "--private-network", "--register=no", "--keep-unit"]);
    command.args(["--machine=lab", "--console=pipe", "--link-journal=no"]);
    command.arg(format!("--bind-ro={}:/lab", programs.display()));
    for (file, inside) in [
        ("lab-app.service", "/etc/systemd/system/lab-app.service"),
        ("agent.toml", "/etc/vmpulse/agent.toml"),
    ] {
        command.arg(format!("--bind-ro={}:{inside}", folder.join(file).display()));
    }
    for (name, text) in units {
        write(&folder.join(name), text)?;
        command.arg(format!("--bind-ro={}:/etc/systemd/system/{name}", folder.join(name).display()));
    }
    command.args(["--boot", "systemd.unit=basic.target", "systemd.firstboot=off"]);
    let mut nspawn = Daemon::start("systemd", command, &world::log_file("systemd"))?;
    let init = wait::until(LIMIT, "the container's init", || {
        nspawn.still_runs()?;
        Ok(host_pid_of_child(nspawn.pid()).filter(|child| is_init(*child)))
    })?;
    let container = Container { nspawn, init };
    container.wait_for("systemd to have booted", || {
        Ok(container.systemctl("is-active basic.target").is_ok_and(|said| said.status.success()))
    })?;
    Ok(container)
}

/// Not the process in between, which nspawn begins with and which ends when init has begun.
fn is_init(process: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "systemd")
}

fn command_with_settings(mut command: std::process::Command) -> std::process::Command {
    command.env("VMPULSE_AGENT_SETTINGS", "/etc/vmpulse/agent.toml");
    command
}

impl Container {
    fn command(&self, program: &str, line: &str) -> Lab<Said> {
        let mut command = command_with_settings(Place::Guest(self.init).command(program));
        command.args(line.split_whitespace());
        run_command(command)
    }

    fn vmmgr(&self, line: &str) -> Lab<Said> {
        self.command("/lab/vmmgr", line)
    }

    pub(super) fn systemctl(&self, line: &str) -> Lab<Said> {
        self.command("/bin/systemctl", line)
    }

    pub(super) fn wait_for(&self, what: &str, mut good: impl FnMut() -> Lab<bool>) -> Lab<()> {
        wait::until(LIMIT, what, || Ok(good()?.then_some(())))
    }

    fn wait_for_app(&self, name: &str, status: &str, restarts: &str) -> Lab<()> {
        let what = format!("{name} to be {status} after {restarts} restarts");
        let read = || self.vmmgr(&format!("-o json query app {name}"))?.ok();
        let good = |text: &str| {
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            let app = answer.pointer("/applications/0").cloned().unwrap_or_default();
            text_of(&app, "status") == status && text_of(&app, "nooftimes_restarted") == restarts
        };
        wait::until_text(LIMIT, &what, read, good).map(drop)
    }
}
