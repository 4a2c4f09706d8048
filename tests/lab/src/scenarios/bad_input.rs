//! What people get wrong: requests, files, command lines, a second daemon, missing permission. Each is told clearly,
//! with an exit code that says what kind of fault it is, and nothing is half done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, Plan};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::process::{Daemon, Place, Said, run as run_command};
use crate::workspace::{make_dir, read, write};
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bad-input",
    about: "bad XML, command lines, a second daemon, no permission: a clear error, nothing half done",
    run,
};

const LIMIT: Duration = Duration::from_secs(20);
/// Exit codes after sysexits.h.
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NO_PERMISSION: i32 = 77;
const BAD_SETTINGS: i32 = 78;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    bad_requests(&chain)?;
    bad_configuration(&chain)?;
    bad_command_lines(&chain)?;
    second_daemons(&chain, report)?;
    no_permission(&chain)?;
    bad_settings(&chain)?;
    chain.wait_until_beating(LIMIT)?;
    chain.still_runs()
}

fn bad_requests(chain: &Chain) -> Lab<()> {
    let before = chain.controller.hamgr("query vm")?.ok()?;
    let unknown = "<VIO><Request action_str=\"VIO_HS_NO_SUCH\"/></VIO>";
    let bomb = "<!DOCTYPE a [<!ENTITY b \"c\">]><VIO><Request action_str=\"VIO_HS_QUICK_QUERY\"/></VIO>";
    let half = "<VIO><Request action_str=\"VIO_HS_ADD_VM\"><addVM><vmList machine_type=\"lab\" model=\"one\" \
                serial=\"1\"><vm uuid=\"7e57ab1e-0001-4000-8000-0000000000aa\" name=\"extra\"/>\
                <vm uuid=\"not a uuid\"/></vmList></addVM></Request></VIO>";
    let huge = format!("<VIO>{}</VIO>", " ".repeat(2 << 20));
    for (what, xml) in [("nothing", ""), ("cut", "<VIO><Request"), ("unknown", unknown), ("an entity", bomb)]
    {
        refused(&chain.monitor(0)?.passthru(xml)?, what)?;
    }
    refused(&chain.monitor(0)?.passthru(half)?, "a list with one bad entry")?;
    refused(&chain.monitor(0)?.passthru(&huge)?, "two MiB")?;
    let after = chain.controller.hamgr("query vm")?.ok()?;
    let names = |text: &str| text.lines().filter(|line| line.starts_with("Name:")).count();
    expect(names(&before) == names(&after), || format!("a refused request changed something:\n{after}"))
}

fn refused(said: &Said, what: &str) -> Lab<()> {
    expect(said.code() == Some(FAILED) && said.stdout.contains("<Error code="), || {
        format!("{what}: exit {:?}, {}", said.code(), said.text())
    })
}

/// A configuration that does not parse stops nothing: the last good one is kept, and the place is named.
fn bad_configuration(chain: &Chain) -> Lab<()> {
    let (guest, agent) = (chain.guest(0)?, chain.agent(0)?);
    let add = "-s add app kept monitor_script=/bin/true start_script=/bin/true stop_script=/bin/true";
    agent.vmmgr(guest, add)?.ok()?;
    let good = agent.vmmgr(guest, "query app kept")?.ok()?;
    guest.write(
        "/etc/vmpulse/HAMonitoring.xml",
        "<Monitoring version=\"1.0\">\n  <Application name=\"a\"\n",
    )?;
    let sync = agent.vmmgr(guest, "sync")?;
    expect(sync.code() == Some(FAILED), || {
        format!("sync with a bad file: {:?} {}", sync.code(), sync.text())
    })?;
    let status = agent.vmmgr(guest, "status")?.text();
    expect(status.contains("HAMonitoring.xml"), || {
        format!("status does not tell of the bad file:\n{status}")
    })?;
    expect(guest.runs("vmpulse-agentd"), || "the agent ended over a bad file".to_string())?;
    expect(good.contains("kept"), || format!("the application was not added:\n{good}"))
}

fn bad_command_lines(chain: &Chain) -> Lab<()> {
    let (guest, agent) = (chain.guest(0)?, chain.agent(0)?);
    for line in ["no-such-action", "query no-such-class", "-o yaml query vm", "modify vm guest1 no_such=1"] {
        told_usage("hamgr", line, &chain.controller.hamgr(line)?)?;
    }
    for words in [&["no-such-action"][..], &["status", "-o", "yaml"], &[]] {
        told_usage("hmmgr", &words.join(" "), &chain.monitor(0)?.hmmgr(words)?)?;
    }
    for line in ["no-such-action", "add no-such-class x"] {
        told_usage("vmmgr", line, &agent.vmmgr(guest, line)?)?;
    }
    let missing = chain.controller.hamgr("query vm no-such-vm")?;
    expect(missing.code() == Some(FAILED) && missing.stderr.contains("no-such-vm"), || {
        format!("hamgr query vm no-such-vm: {:?} {}", missing.code(), missing.text())
    })
}

fn told_usage(program: &str, line: &str, said: &Said) -> Lab<()> {
    let told = said.code() == Some(USAGE) && !said.stderr.trim().is_empty() && said.stdout.is_empty();
    expect(told, || {
        format!(
            "`{program} {line}`: exit {:?}, stdout {:?}, stderr {:?}",
            said.code(),
            said.stdout,
            said.stderr
        )
    })
}

/// A second daemon names the first one and ends; the first one goes on.
fn second_daemons(chain: &Chain, report: &mut Report) -> Lab<()> {
    let kit = chain.world.kit();
    let monitor = chain.monitor(0)?;
    let mut second = chain.trunk(0)?.place().command(kit.program("vmpulse-hostmond"));
    second.arg("--settings").arg(monitor.settings());
    let mut daemons = vec![("a second host monitor", second)];
    let mut third = chain.trunk(0)?.place().command(kit.program("vmpulse-hostmond"));
    third.arg("--settings").arg(with_run_dir_of_its_own(monitor.settings(), "elsewhere")?);
    daemons.push(("a second host monitor with a run directory of its own", third));
    daemons.push(("a second controller", Place::Here.command(kit.program("vmpulse-controllerd"))));
    daemons.push(("a second agent", chain.guest(0)?.place().command(kit.program("vmpulse-agentd"))));
    for (what, command) in daemons {
        let (code, text) = ends_by_itself(what, command)?;
        expect(code != 0 && (text.contains("pid") || text.contains("process")), || {
            format!("{what}: exit {code}, without naming the one that runs:\n{text}")
        })?;
        report.figure(format!("{what} ends with exit status {code}"));
    }
    Ok(())
}

fn with_run_dir_of_its_own(settings: &Path, name: &str) -> Lab<PathBuf> {
    let run_dir = make_dir(world::dir(name))?;
    let settings = format!("{}run_dir = \"{}\"\n", read(settings)?, run_dir.display());
    let path = world::dir("settings").join(format!("{name}.toml"));
    write(&path, settings)?;
    Ok(path)
}

/// Root without any capability may not open packet sockets. It is told to keep its lock elsewhere, so that it is not
/// the running monitor that stops it.
fn no_permission(chain: &Chain) -> Lab<()> {
    let path = with_run_dir_of_its_own(chain.monitor(1)?.settings(), "powerless")?;
    let mut command = chain.trunk(1)?.place().command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(chain.world.kit().program("vmpulse-hostmond")).arg("--settings").arg(&path);
    let (code, text) = ends_by_itself("a host monitor without permission", command)?;
    expect(code == NO_PERMISSION, || format!("a host monitor without permission: exit {code}:\n{text}"))
}

fn bad_settings(chain: &Chain) -> Lab<()> {
    let path = world::dir("settings").join("wrong.toml");
    write(&path, "no_such_key = 1\n")?;
    let kit = chain.world.kit();
    for program in ["vmpulse-hostmond", "vmpulse-controllerd", "vmpulse-agentd"] {
        let mut command = Place::Here.command(kit.program(program));
        command.arg("--settings").arg(&path);
        let said = run_command(command)?;
        expect(said.code() == Some(BAD_SETTINGS) && said.stderr.contains("no_such_key"), || {
            format!("{program} with an unknown key: exit {:?}:\n{}", said.code(), said.text())
        })?;
    }
    Ok(())
}

/// Exit code and log of a daemon that is expected to end at once.
fn ends_by_itself(what: &str, command: std::process::Command) -> Lab<(i32, String)> {
    let log = world::log_file(&what.replace(' ', "-"));
    let mut daemon = Daemon::start(what, command, &log)?;
    let status = daemon.wait_for_end(LIMIT)?;
    Ok((status.code().unwrap_or(-1), daemon.logged()))
}
