//! Without policing a flood may cost heartbeats. Then the monitor says that it lost some, and accuses nobody.

use std::time::Duration;

use super::Scenario;
use super::beats::Beats;
use super::flood::{healthy, nobody_accused, plan, start_flood, status, wait_for_policing};
use crate::daemons::{Chain, HostMonitor, MonitorSettings, Plan};
use crate::error::{Lab, expect};
use crate::frames::{FloodKind, Sent};
use crate::outcome::Report;
use crate::process::{self, sh};
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "flood-unpoliced",
    about: "without policing a flood's loss is reported and no healthy guest is accused; policing comes back by itself",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// So small that a flood overruns it on any machine.
const SMALL_BUFFER: u32 = 64 * 1024;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let plan = plan();
    let small =
        |settings: MonitorSettings| MonitorSettings { receive_buffer_bytes: SMALL_BUFFER, ..settings };
    let second_monitor = plan.second_monitor.map(small);
    let mut chain = Chain::start(world, Plan { monitors: small(plan.monitors), second_monitor, ..plan })?;
    chain.register_and_wait()?;
    let mut beats = Beats::watch(&chain, &healthy(&chain))?;
    for index in [0, 1] {
        wait_for_policing(chain.monitor(index)?)?;
        let table = format!("vmpulse-{}", chain.trunk(index)?.device());
        sh(&chain.trunk(index)?.place(), &format!("nft delete table netdev {table}"))?;
        wait::until(LIMIT, "policing to be off", || {
            Ok((!status(chain.monitor(index)?)?.policing.on).then_some(()))
        })?;
        for kind in [FloodKind::OwnHeartbeats, FloodKind::InventedHandshakes] {
            flood(&chain, index, kind, report)?;
        }
    }
    chain.wait_until_beating(LIMIT)?;
    let rightly = nobody_accused(&chain, &mut beats)?;
    report.figure(format!(
        "{rightly} times a guest was called silent that this machine kept from beating; no other was"
    ));
    for index in [0, 1] {
        let mut command = chain.trunk(index)?.place().command(chain.world.kit().program("hmmgr"));
        command.args(["trunk", "create", "--all"]);
        process::run(command)?.ok()?;
        wait_for_policing(chain.monitor(index)?)?;
    }
    chain.still_runs()
}

fn flood(chain: &Chain, index: usize, kind: FloodKind, report: &mut Report) -> Lab<()> {
    let (trunk, monitor) = (chain.trunk(index)?, chain.monitor(index)?);
    let before = Loss::of(monitor)?;
    let mut flood = start_flood(chain, &trunk, kind)?;
    let sent: Sent = wait::until(LIMIT, "the end of the flood", || flood.ended())?;
    let loss = Loss::of(monitor)?;
    let (drops, deferrals) = (loss.drops - before.drops, loss.deferrals - before.deferrals);
    report.figure(format!(
        "{:<27} {:>7.0} frames/s, the kernel dropped {drops} of {}, judgements deferred {deferrals} times",
        format!("{} {}", trunk.guests_device(), kind.name()),
        sent.rate(),
        sent.tried
    ));
    expect(drops > 0, || "the flood cost nothing, so it proves nothing".to_string())
}

/// What the monitor says that it lost.
struct Loss {
    drops: u64,
    deferrals: u64,
}

impl Loss {
    fn of(monitor: &HostMonitor) -> Lab<Loss> {
        let status = status(monitor)?;
        let deferrals = status.counters.get("deferrals").copied().unwrap_or_default();
        Ok(Loss { drops: status.kernel_drops, deferrals })
    }
}
