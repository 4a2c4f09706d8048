//! The disk under a store in a file is full, and later has room again.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{self, Chain, Plan, text_of};
use crate::error::{Lab, LabError};
use crate::outcome::Report;
use crate::process::{Place, run as run_command};
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "store-full",
    about: "no room under a SQLite store: monitors are LOCAL, and what was acknowledged is there when there is room",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Room for a fresh store and some minutes of it.
const DISK: &str = "size=4m";

fn run(world: World, report: &mut Report) -> Lab<()> {
    let folder = crate::world::dir("store");
    std::fs::create_dir_all(&folder).map_err(LabError::file("create", &folder))?;
    let mut mount = Place::Here.command("mount");
    mount.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(&folder);
    run_command(mount)?.ok()?;
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;

    let filler = folder.join("filler");
    let mut fill = Place::Here.command("dd");
    fill.arg("if=/dev/zero").arg(format!("of={}", filler.display())).arg("bs=4k");
    let full = run_command(fill)?;
    crate::error::expect(full.text().contains("No space left"), || full.text())?;
    chain.agent(0)?.vmmgr(chain.guest(0)?, "suspend")?.ok()?;
    wait_for_mode(&chain, "LOCAL")?;
    let kept = chain.monitor(0)?.status()?.map_or(0, |status| status.spool);
    report.figure(format!("with a full disk a suspension is acknowledged; {kept} writes are in the spool"));

    std::fs::remove_file(&filler).map_err(LabError::file("remove", &filler))?;
    wait_for_mode(&chain, "GLOBAL")?;
    chain
        .wait_for_vm("guest1", LIMIT, "to be suspended", |vm| text_of(vm, "suspended") == "ADMINISTRATOR")?;
    for name in ["VIOS_MODE_LOCAL", "VIOS_MODE_GLOBAL"] {
        wait::until(LIMIT, &format!("one event {name} of each host monitor"), || {
            Ok((chain.events(name)?.len() == chain.monitors.len()).then_some(()))
        })?;
    }
    chain.wait_until_beating(LIMIT)?;
    chain.still_runs()
}

/// The second monitor has nothing to write but its signs of life.
fn wait_for_mode(chain: &Chain, mode: &str) -> Lab<()> {
    for monitor in &chain.monitors {
        wait::until(LIMIT, &format!("{} to be {mode}", monitor.trunk().device()), || {
            let there = |status: &daemons::MonitorStatus| status.mode == mode;
            Ok(monitor.status()?.filter(there).map(drop))
        })?;
    }
    Ok(())
}
