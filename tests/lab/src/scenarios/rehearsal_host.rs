//! An operator rehearses on a host: one host monitor is killed, the whole host stands still, all host monitors are killed and stay
//! dead until that is detected. No VM is called failed.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, Injector, MonitorSettings, Plan};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::process::Place;
use crate::wait;
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-host",
    about: "vmpulse-inject on a host: hm-kill, host, and all-hm until it is detected; no VM is accused",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let (chain, host) = begin(world)?;
    let guest = format!("guest-pid-file:{}", world::dir("run").join("guest1.pid").display());
    host.mark(&[guest])?;

    host.ends_with(&["hm-kill", "on", "--group", "lab"], 2)?;
    host.on("hm-kill", &["--trunk", "trunkA"])?;
    expect(chain.monitor(0)?.status()?.is_none(), || "the killed host monitor answers".to_string())?;
    host.off("hm-kill")?;
    chain.wait_until_beating(LIMIT)?;

    let before = beats(&chain)?;
    host.on("host", &[])?;
    host.off("host")?;
    wait::until(LIMIT, "heartbeats after the host went on", || Ok((beats(&chain)? > before).then_some(())))?;

    report.figure(format!("all-hm: {}", host.on_expecting("all-hm", &[])?));
    report.figure(format!("all-hm undone: {}", host.off_expecting("all-hm", &[])?));
    chain.wait_until_beating(LIMIT)?;
    let accused = chain.events("VM_FAILURE_DETECTED")?;
    expect(accused.is_empty(), || format!("a VM was accused: {accused:#?}"))
}

/// A chain whose host monitors soon say what is wrong, and the kit beside them.
pub(super) fn begin(world: World) -> Lab<(Chain, Injector)> {
    let kit = world.kit().clone();
    let monitors =
        MonitorSettings { heartbeat_interval_ms: 1000, store_heartbeat_interval_ms: 2000, ..AS_SHIPPED };
    let mut chain = Chain::start(world, Plan { monitors, ..Plan::default() })?;
    chain.register_and_wait()?;
    Ok((chain, Injector::at(&kit, Place::Here)))
}

fn beats(chain: &Chain) -> Lab<u64> {
    let mut sum = 0;
    for monitor in &chain.monitors {
        sum += monitor.paths()?.iter().map(|path| path.heartbeats).sum::<u64>();
    }
    Ok(sum)
}
