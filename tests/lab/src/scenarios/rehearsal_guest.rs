//! An operator rehearses in guests: refused without a mark, an application, agents that are killed and hang, a VM that stands still;
//! each is undone, and whoever watches where the store is sees the events that are documented, and no others.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Application, Chain, Injector, Plan};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::Place;
use crate::wait;
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-guest",
    about: "vmpulse-inject in guests: app, agent-kill, agent-hang, vm-freeze; marks, undo, expected events",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Room for a fresh store and some minutes of it.
const DISK: &str = "size=8m";
const AGENT: &str = "vmpulse-agentd";
const SHOP: usize = 0;
const HANGS: usize = 1;

fn run(world: World, report: &mut Report) -> Lab<()> {
    store_on_a_disk_of_its_own()?;
    let kit = world.kit().clone();
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    chain.register_and_wait()?;
    let change = "modify vm guest1,guest2 heartbeat_interval=1000 vm_failure_detection_time=5";
    chain.controller.hamgr(change)?.ok()?;
    let host = Injector::at(&kit, Place::Here);
    let guests: Lab<Vec<Injector>> =
        [SHOP, HANGS].into_iter().map(|guest| Ok(Injector::at(&kit, chain.guest(guest)?.place()))).collect();
    let guests = guests?;
    let [first, second] = guests.as_slice() else {
        return Err(LabError::Unexpected("two guests were asked for".into()));
    };

    marks(&chain, first, second)?;
    application(&chain, &host, first, report)?;
    killed(&chain, &host, first, report)?;
    hangs(&chain, &host, second, report)?;
    frozen(&chain, &host, report)?;
    full(&chain, &host, report)?;
    for monitor in &mut chain.monitors {
        monitor.still_runs()?;
    }
    chain.controller.still_runs()
}

fn store_on_a_disk_of_its_own() -> Lab<()> {
    let folder = world::dir("store");
    let line = format!("mount -t tmpfs -o {DISK} tmpfs {}", folder.display());
    crate::process::sh(&Place::Here, &line).map(drop)
}

/// A mark is one machine's; what was begun and not made leaves nothing.
fn marks(chain: &Chain, first: &Injector, second: &Injector) -> Lab<()> {
    first.refused("agent-kill", &[])?;
    second.mark(&[])?;
    first.refused("agent-kill", &[])?;
    first.mark(&[])?;
    first.ends_with(&["agent-kill", "on", "--group", "another"], 77)?;
    second.dies_before("agent-hang", &[])?;
    second.expect_state("agent-hang", "off")?;
    expect(chain.guest(HANGS)?.runs(AGENT), || "the agent is gone".to_string())?;
    second.off("agent-hang")
}

fn application(chain: &Chain, host: &Injector, guest: &Injector, report: &mut Report) -> Lab<()> {
    let shop = Application::install(chain, SHOP, "shop")?;
    shop.vmmgr(chain, &shop.add_line())?.ok()?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;
    let vmmgr = chain.world.kit().program("vmmgr").display().to_string();
    let watching = host.watch("app", "on", &[])?;
    guest.on("app", &["--app", "shop", "--vmmgr", &vmmgr])?;
    report.figure(format!("app: {}", watching.saw_it()?));
    guest.off("app")?;
    chain.wait_for_application("shop", "GREEN", LIMIT)
}

fn killed(chain: &Chain, host: &Injector, guest: &Injector, report: &mut Report) -> Lab<()> {
    let uuid = chain.guest(SHOP)?.uuid();
    let watching = host.watch("agent-kill", "on", &["--expect-vm", uuid])?;
    guest.on("agent-kill", &[])?;
    let dead = watching.saw_it()?;
    expect(!chain.guest(SHOP)?.runs(AGENT), || "the agent lives".to_string())?;
    let watching = host.watch("agent-kill", "off", &["--expect-vm", uuid])?;
    guest.off("agent-kill")?;
    report.figure(format!("agent-kill: {dead}; {}", watching.saw_it()?));
    expect(chain.guest(SHOP)?.runs(AGENT), || "the agent was not started again".to_string())?;
    chain.wait_until_beating(LIMIT)
}

fn hangs(chain: &Chain, host: &Injector, guest: &Injector, report: &mut Report) -> Lab<()> {
    let uuid = chain.guest(HANGS)?.uuid();
    let watching = host.watch("agent-hang", "on", &["--expect-vm", uuid])?;
    guest.on("agent-hang", &[])?;
    let hangs = watching.saw_it()?;
    let watching = host.watch("agent-hang", "off", &["--expect-vm", uuid])?;
    guest.off("agent-hang")?;
    report.figure(format!("agent-hang: {hangs}; {}", watching.saw_it()?));
    chain.wait_until_beating(LIMIT)
}

fn frozen(chain: &Chain, host: &Injector, report: &mut Report) -> Lab<()> {
    let file = world::dir("run").join("guest2.pid").display().to_string();
    let target = ["--guest-pid-file", file.as_str()];
    let expected = ["--guest-pid-file", file.as_str(), "--expect-vm", "guest2"];
    host.refused("vm-freeze", &target)?;
    host.mark(&[])?;
    host.refused("vm-freeze", &target)?;
    host.mark(&[format!("guest-pid-file:{file}"), format!("database:{}", world::dir("store").display())])?;
    let on = host.on_expecting("vm-freeze", &expected)?;
    let off = host.off_expecting("vm-freeze", &["--expect-vm", "guest2"])?;
    report.figure(format!("vm-freeze: {on}; {off}"));
    chain.wait_until_beating(LIMIT)
}

fn full(chain: &Chain, host: &Injector, report: &mut Report) -> Lab<()> {
    let store = world::dir("store").display().to_string();
    host.on("store-full", &["--data", &store])?;
    let suspended = chain.agent(SHOP)?.vmmgr(chain.guest(SHOP)?, "suspend")?;
    suspended.ok()?;
    for monitor in &chain.monitors {
        wait::until(LIMIT, &format!("{} to be LOCAL", monitor.trunk().device()), || {
            Ok(monitor.status()?.filter(|status| status.mode == "LOCAL").map(drop))
        })?;
    }
    let off =
        host.off_expecting("store-full", &["--expect-monitor", "trunkA", "--expect-monitor", "trunkB"])?;
    report.figure(format!("store-full: {off}"));
    chain.wait_until_beating(LIMIT)
}
