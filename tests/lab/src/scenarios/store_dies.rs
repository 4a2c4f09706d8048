//! The store dies, and later stands still, while guests fall silent, come back, ring and suspend themselves; a host monitor is
//! killed meanwhile and starts without a store. Then the store is compared with what happened.

use std::time::Duration;

use vmpulse_test_postgres::Server;

use super::Scenario;
use crate::daemons::{
    AS_SHIPPED, Application, Chain, HostMonitor, MonitorSettings, MonitorStatus, Plan, postgresql, text_of,
};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "store-dies",
    about: "PostgreSQL killed and frozen, a host monitor killed meanwhile: nothing acknowledged is lost, nothing doubled",
    run,
};

/// A connection that is refused is tried again after a second, one that is not answered is given up after 6 s.
const LIMIT: Duration = Duration::from_secs(60);
const SILENT: usize = 0;
const SUSPENDED: usize = 1;
const RINGING: usize = 2;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let (mut server, database) = postgresql::serve_store(world.kit())?;
    let monitors =
        MonitorSettings { heartbeat_interval_ms: 1000, store_heartbeat_interval_ms: 2000, ..AS_SHIPPED };
    let mut chain = Chain::start(world, Plan { pseudo_guests: 3, monitors, ..Plan::default() })?;
    chain.register_and_wait()?;
    chain
        .controller
        .hamgr("modify vm guest1,guest2,guest3 heartbeat_interval=1000 vm_failure_detection_time=5")?
        .ok()?;
    let shop = Application::install(&chain, RINGING, "shop")?;
    shop.vmmgr(&chain, &shop.add_line())?.ok()?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;

    killed(&mut chain, &mut server, &shop, report)?;
    as_it_happened(&chain, &server, &database, 1)?;
    frozen(&mut chain, &server, &shop, report)?;
    as_it_happened(&chain, &server, &database, 2)?;
    let late: Lab<Vec<_>> =
        chain.monitors.iter().map(|monitor| Ok(monitor.status()?.map(|it| it.late))).collect();
    report.figure(format!(
        "loops held up, by host monitor: {:?}",
        late?.into_iter().flatten().collect::<Vec<_>>()
    ));
    chain.still_runs()
}

fn killed(chain: &mut Chain, server: &mut Server, shop: &Application, report: &mut Report) -> Lab<()> {
    server.signal("KILL");
    server.kill();
    wait_for_mode(chain, "LOCAL")?;
    let watch = Stopwatch::start();
    vmmgr(chain, SUSPENDED, "suspend")?;
    report.figure(format!("a suspension is acknowledged {:.2} s after it was asked for", watch.seconds()));
    shop.vmmgr(chain, "-s modify app shop monitored=0")?.ok()?;
    // A silence that is over before the store is back, and one that is not.
    for _ in 0..2 {
        chain.guest(SILENT)?.thaw()?;
        chain.wait_until_beating(LIMIT)?;
        chain.guest(SILENT)?.freeze()?;
        wait_for_path(chain, SILENT, "MISSING")?;
    }
    let kept = chain.monitor(0)?.status()?.map_or(0, |status| status.spool);
    chain.monitor_mut(0)?.crash()?;
    chain.monitor_mut(0)?.restart()?;
    wait_for_mode(chain, "LOCAL")?;
    wait_for_path(chain, SUSPENDED, "BEATING")?;
    wait_for_path(chain, RINGING, "BEATING")?;
    wait_for_missing_without_a_path(chain)?;
    let text = format!(
        "{kept} writes were in the spool of the host monitor that was killed; it works on without a store"
    );
    report.figure(text);

    server.launch().map_err(LabError::Unexpected)?;
    let watch = Stopwatch::start();
    wait_for_mode(chain, "GLOBAL")?;
    report.figure(format!("GLOBAL again {:.1} s after the server takes connections", watch.seconds()));
    chain
        .wait_for_vm("guest2", LIMIT, "to be suspended", |vm| text_of(vm, "suspended") == "ADMINISTRATOR")?;
    chain.wait_for_application("shop", "GRAY", LIMIT)?;
    wait_for_failures(chain, 1)
}

fn frozen(chain: &mut Chain, server: &Server, shop: &Application, report: &mut Report) -> Lab<()> {
    server.signal("STOP");
    let watch = Stopwatch::start();
    vmmgr(chain, SUSPENDED, "resume")?;
    let seconds = watch.seconds();
    report.figure(format!("with a server that stands still, RESUME is acknowledged after {seconds:.2} s"));
    shop.vmmgr(chain, "-s modify app shop monitored=1")?.ok()?;
    chain.guest(SILENT)?.thaw()?;
    wait_for_path(chain, SILENT, "BEATING")?;
    wait_for_mode(chain, "LOCAL")?;
    server.signal("CONT");
    wait_for_mode(chain, "GLOBAL")?;
    chain.wait_for_vm("guest2", LIMIT, "to be monitored again", |vm| {
        text_of(vm, "ha_monitor_state") == "STARTED"
    })?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;
    chain.wait_until_beating(LIMIT)
}

/// Outages so far, as the store and the controller tell of them; nobody else was accused.
fn as_it_happened(chain: &Chain, server: &Server, database: &str, outages: usize) -> Lab<()> {
    let modes = "SELECT m.trunk || ' ' || string_agg(c.mode, ' ' ORDER BY c.id) FROM vmpulse.mode_change c
                 JOIN vmpulse.host_monitor m ON m.id = c.host_monitor_id GROUP BY m.trunk ORDER BY m.trunk";
    let modes = server.sql(database, modes).map_err(LabError::Unexpected)?;
    let once = vec!["LOCAL GLOBAL"; outages].join(" ");
    let wrong =
        modes.lines().find(|line| line.split_once(' ').map(|(_, modes)| modes) != Some(once.as_str()));
    expect(modes.lines().count() == 2 && wrong.is_none(), || format!("modes on record: {modes}"))?;
    for name in ["VIOS_MODE_LOCAL", "VIOS_MODE_GLOBAL"] {
        let count = chain.monitors.len() * outages;
        wait::until(LIMIT, &format!("{count} events {name}"), || {
            Ok((chain.events(name)?.len() == count).then_some(()))
        })?;
    }
    wait_for_failures(chain, 1)?;
    let silent = "SELECT count(*) FROM vmpulse.path p JOIN vmpulse.vm v ON v.id = p.vm_id
                  WHERE p.missing_since IS NOT NULL AND v.name <> 'guest1'";
    wait::until(LIMIT, "no path of a guest that beats to be silent", || {
        let count = server.sql(database, silent).map_err(LabError::Unexpected)?;
        Ok((count == "0").then_some(()))
    })
}

fn wait_for_mode(chain: &Chain, mode: &str) -> Lab<()> {
    for monitor in &chain.monitors {
        wait::until(LIMIT, &format!("{} to be {mode}", monitor.trunk().device()), || {
            let status = monitor.status()?;
            let there =
                |status: &MonitorStatus| status.mode == mode && (mode == "LOCAL" || status.spool == 0);
            Ok(status.filter(there).map(drop))
        })?;
    }
    Ok(())
}

fn wait_for_path(chain: &Chain, guest: usize, state: &str) -> Lab<()> {
    let uuid = chain.guest(guest)?.uuid();
    for monitor in &chain.monitors {
        let what = format!("the path of guest {guest} over {} to be {state}", monitor.trunk().device());
        wait::until(LIMIT, &what, || Ok(is_shown(monitor, uuid, state)?.then_some(())))?;
    }
    Ok(())
}

/// The monitor that was killed knows of the silence by what it kept; the guest has not shaken hands with it.
fn wait_for_missing_without_a_path(chain: &Chain) -> Lab<()> {
    let (monitor, uuid) = (chain.monitor(0)?, chain.guest(SILENT)?.uuid());
    wait::until(LIMIT, "the silence to be known by what was kept", || {
        let without = monitor.status()?.map(|status| status.without_path).unwrap_or_default();
        let missing = without.iter().any(|vm| vm.vm.eq_ignore_ascii_case(uuid) && vm.state == "MISSING");
        Ok(missing.then_some(()))
    })
}

fn is_shown(monitor: &HostMonitor, uuid: &str, state: &str) -> Lab<bool> {
    Ok(monitor.paths()?.iter().any(|path| path.vm.eq_ignore_ascii_case(uuid) && path.state == state))
}

fn wait_for_failures(chain: &Chain, count: usize) -> Lab<()> {
    let mut seen = Vec::new();
    wait::until(LIMIT, &format!("{count} detections in all, of guest1"), || {
        seen = chain.events("VM_FAILURE_DETECTED")?;
        Ok((seen.len() == count).then_some(()))
    })?;
    let of_others = seen.iter().any(|event| !text_of(event, "description").contains("guest1"));
    expect(!of_others, || format!("another guest was accused: {seen:?}"))
}

fn vmmgr(chain: &Chain, guest: usize, line: &str) -> Lab<()> {
    chain.agent(guest)?.vmmgr(chain.guest(guest)?, line)?.ok().map(drop)
}
