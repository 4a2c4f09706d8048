//! An operator rehearses with the store: PostgreSQL is killed, and stands still; each is undone, and the expected events come.

use std::time::Duration;

use super::Scenario;
use super::rehearsal_host::begin;
use crate::daemons::{Chain, postgresql};
use crate::error::{Lab, LabError};
use crate::outcome::Report;
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-store",
    about: "vmpulse-inject: store-freeze and store-kill of a PostgreSQL, undone, with the expected events",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let (mut server, database) = postgresql::serve_store(world.kit())?;
    let (mut chain, host) = begin(world)?;
    let data = server.data();
    let data = data.canonicalize().map_err(LabError::file("find", &data))?.display().to_string();
    let words = ["--data", data.as_str()];
    host.mark(&[])?;
    host.refused("store-freeze", &words)?;
    host.mark(&[format!("database:{data}")])?;

    host.on_expecting("store-kill", &words)?;
    // Collects the dead, as whoever started the server does.
    server.kill();
    wait_for_mode(&chain, "LOCAL")?;
    let both = ["--expect-monitor", "trunkA", "--expect-monitor", "trunkB"];
    report.figure(format!("store-kill: {}", host.off_expecting("store-kill", &both)?));
    wait_for_mode(&chain, "GLOBAL")?;

    // The store's incident is open for a minute more: its events are not told again.
    host.on("store-freeze", &words)?;
    wait_for_mode(&chain, "LOCAL")?;
    host.off("store-freeze")?;
    wait_for_mode(&chain, "GLOBAL")?;
    let registered =
        server.sql(&database, "SELECT count(*) FROM vmpulse.vm").map_err(LabError::Unexpected)?;
    crate::error::expect(registered == "1", || format!("{registered} VMs are registered"))?;
    chain.wait_until_beating(LIMIT)?;
    chain.still_runs()
}

fn wait_for_mode(chain: &Chain, mode: &str) -> Lab<()> {
    for monitor in &chain.monitors {
        wait::until(LIMIT, &format!("{} to be {mode}", monitor.trunk().device()), || {
            Ok(monitor.status()?.filter(|status| status.mode == mode).map(drop))
        })?;
    }
    Ok(())
}
