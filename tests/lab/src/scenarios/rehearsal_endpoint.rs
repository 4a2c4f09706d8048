//! An operator takes the store's address away, first from a host, then from the controller: each brings its own events, and no VM
//! is called failed. The store is a PostgreSQL that everybody reaches by a network.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, Injector, MonitorSettings, Plan, postgresql};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::{Place, sh};
use crate::wait;
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-endpoint",
    about: "vmpulse-inject endpoint on the store's port, at a host and at the controller, with the expected events",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Of the management network between the store's and controller's machine and the host.
const STORE: &str = "10.99.0.1";
const HOST: &str = "10.99.0.2";
const PORT: &str = "5432";
/// Of the world's log of the controller: it cannot ask the store.
const FAILS: &str = "fails; trying again";

fn run(world: World, report: &mut Report) -> Lab<()> {
    sh(&Place::Here, "ip link add mgmt type veth peer name mgmt netns host")?;
    sh(&Place::Here, &format!("ip addr add {STORE}/24 dev mgmt && ip link set mgmt up"))?;
    sh(&Place::net("host"), &format!("ip addr add {HOST}/24 dev mgmt && ip link set mgmt up"))?;
    let _server = postgresql::serve_store_at(world.kit(), STORE)?;
    let kit = world.kit().clone();
    let monitors =
        MonitorSettings { heartbeat_interval_ms: 1000, store_heartbeat_interval_ms: 2000, ..AS_SHIPPED };
    // The monitors of these are in the host's own network namespace.
    let mut chain = Chain::start(world, Plan { monitors, policed: true, ..Plan::default() })?;
    chain.register_and_wait()?;
    let (host, here) = (Injector::at(&kit, Place::net("host")), Injector::at(&kit, Place::Here));
    let endpoint = ["--address", STORE, "--port", PORT];
    host.refused("endpoint", &endpoint)?;
    host.mark(&[format!("endpoint:{STORE}:{PORT}")])?;

    // Who does not say whose it is, or says that nothing comes of it, has nothing judged.
    for whose in [&[][..], &["--whose", "other"]] {
        let on = ["endpoint", "on", "--group", "lab", "--expect", "--hamgr", "/nonexistent"];
        host.ends_with(&[&on[..], &endpoint, whose].concat(), 2)?;
        host.expect_state("endpoint", "off")?;
    }
    of_the_monitors(&chain, &host, &endpoint, report)?;
    of_the_controller(&chain, &here, &endpoint, report)?;
    chain.wait_until_beating(LIMIT)?;
    let accused = chain.events("VM_FAILURE_DETECTED")?;
    expect(accused.is_empty(), || format!("a VM was accused: {accused:#?}"))?;
    chain.still_runs()
}

/// Nothing answers at the host: its monitors are alone, the controller is not.
fn of_the_monitors(chain: &Chain, host: &Injector, endpoint: &[&str], report: &mut Report) -> Lab<()> {
    let whose = ["--how", "drop", "--whose", "store-of-monitors"];
    host.on_expecting("endpoint", &[endpoint, &whose].concat())?;
    for monitor in &chain.monitors {
        wait_for_mode(monitor, "LOCAL")?;
    }
    let both = ["--expect-monitor", "trunkA-hm", "--expect-monitor", "trunkB-hm"];
    report.figure(format!("endpoint of the host's monitors: {}", host.off_expecting("endpoint", &both)?));
    for monitor in &chain.monitors {
        wait_for_mode(monitor, "GLOBAL")?;
    }
    let told = chain.events("STORE_UNREACHABLE")?;
    expect(told.is_empty(), || format!("the controller lost the store, too: {told:#?}"))
}

/// Connections are refused at the controller: it is blind, the monitors are not.
fn of_the_controller(chain: &Chain, here: &Injector, endpoint: &[&str], report: &mut Report) -> Lab<()> {
    let log = world::log_file("controllerd");
    let failures = || {
        let text = std::fs::read_to_string(&log).map_err(LabError::file("read", &log))?;
        Ok(text.matches(FAILS).count())
    };
    let before = failures()?;
    let whose = ["--how", "refuse", "--whose", "store-of-controller"];
    here.on_expecting("endpoint", &[endpoint, &whose].concat())?;
    wait::until(LIMIT, "the controller to miss the store", || Ok((failures()? > before).then_some(())))?;
    let local = |monitor: &crate::daemons::HostMonitor| {
        monitor.status().map(|status| status.is_none_or(|status| status.mode != "GLOBAL"))
    };
    for monitor in &chain.monitors {
        expect(!local(monitor)?, || format!("{} lost the store, too", monitor.trunk().device()))?;
    }
    report.figure(format!("endpoint of the controller: {}", here.off_expecting("endpoint", &[])?));
    Ok(())
}

fn wait_for_mode(monitor: &crate::daemons::HostMonitor, mode: &str) -> Lab<()> {
    wait::until(LIMIT, &format!("{} to be {mode}", monitor.trunk().device()), || {
        Ok(monitor.status()?.filter(|status| status.mode == mode).map(drop))
    })
}
