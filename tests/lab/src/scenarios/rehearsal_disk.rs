//! An operator rehearses with the store's disk: writes to it never return, and later they do; the expected events come.

use std::time::Duration;

use super::Scenario;
use super::rehearsal_host::begin;
use crate::daemons::{Chain, Injector, postgresql};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::{Place, sh};
use crate::wait;
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-disk",
    about: "vmpulse-inject storage --how freeze under a PostgreSQL, with the expected events",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let (mut server, _) = postgresql::serve_store(world.kit())?;
    // Its data moves to a file system of its own, which alone is frozen.
    server.kill();
    let data = server.data().display().to_string();
    let image = world::dir("run").join("disk").display().to_string();
    sh(&Place::Here, &format!("mke2fs -q -t ext4 -d {data} {image} 256M"))?;
    if let Err(error) = sh(&Place::Here, &format!("mount -o loop {image} {data}")) {
        return Err(LabError::Skipped(format!("no file can be mounted here (loop devices): {error}")));
    }
    sh(&Place::Here, &format!("chown --reference={data}/PG_VERSION {data} && chmod 700 {data}"))?;
    server.launch().map_err(LabError::Unexpected)?;

    let (mut chain, host) = begin(world)?;
    host.mark(&[format!("mount:{data}")])?;
    let freeze = ["--how", "freeze", "--mount", data.as_str()];
    let all = [&["storage", "on", "--group", "lab", "--expect"][..], &freeze].concat();
    host.ends_with(&all, 2)?;
    let frozen = frozen(&chain, &host, &freeze, report);
    if frozen.is_err() {
        // A frozen file system outlives everybody here.
        host.off("storage")?;
    }
    frozen?;
    chain.wait_until_beating(LIMIT)?;
    let accused = chain.events("VM_FAILURE_DETECTED")?;
    expect(accused.is_empty(), || format!("a VM was accused: {accused:#?}"))?;
    chain.still_runs()
}

fn frozen(chain: &Chain, host: &Injector, freeze: &[&str], report: &mut Report) -> Lab<()> {
    host.on_expecting("storage", &[freeze, &["--whose", "store"]].concat())?;
    wait_for_mode(chain, "LOCAL")?;
    let both = ["--expect-monitor", "trunkA", "--expect-monitor", "trunkB"];
    report.figure(format!("a frozen disk under the store: {}", host.off_expecting("storage", &both)?));
    wait_for_mode(chain, "GLOBAL")
}

fn wait_for_mode(chain: &Chain, mode: &str) -> Lab<()> {
    for monitor in &chain.monitors {
        wait::until(LIMIT, &format!("{} to be {mode}", monitor.trunk().device()), || {
            Ok(monitor.status()?.filter(|status| status.mode == mode).map(drop))
        })?;
    }
    Ok(())
}
