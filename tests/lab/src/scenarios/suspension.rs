//! Monitoring is suspended by the guest's administrator: that outlives agent and host monitors, and reaches a host monitor
//! that was not there when it was said. An agent that is stopped on purpose suspends until its next handshake.

use std::time::Duration;

use serde_json::Value;

use super::Scenario;
use crate::daemons::{Chain, Plan, text_of};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "suspension",
    about: "vmmgr suspend and resume, SHDN:DAEMON: over restarts of agent and host monitors; no alarm",
    run,
};

const VM: &str = "guest1";
const SOON: Duration = Duration::from_secs(20);
/// A restarted host monitor says Hello at once, an agent hears it at its next turn.
const RETURN_LIMIT: Duration = Duration::from_secs(45);
/// A restarted monitor accuses nobody for 10 s.
const MISSING_LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    chain.controller.hamgr("modify vm guest1 heartbeat_interval=1000 vm_failure_detection_time=5")?.ok()?;

    vmmgr(&chain, "suspend")?.ok()?;
    chain.wait_for_vm(VM, SOON, "to be suspended", by_administrator)?;
    wait_until_shown(&chain, Some("ADMINISTRATOR"))?;
    chain.crash_agent(0)?;
    chain.restart_agent(0)?;
    chain.crash_monitors()?;
    chain.restart_monitors()?;
    chain.wait_until_beating(RETURN_LIMIT)?;
    let vm = chain.vm(VM)?;
    expect(by_administrator(&vm), || format!("the restarts ended its suspension: {vm:#}"))?;
    let shown = vmmgr(&chain, "status")?.ok()?;
    expect(shown.contains("Monitoring is suspended; `vmmgr resume`"), || shown.clone())?;

    silent_and_nobody_cares(&chain)?;
    vmmgr(&chain, "resume")?.ok()?;
    chain.wait_for_vm(VM, SOON, "to be monitored again", is_started)?;
    said_to_nobody(&mut chain, report)?;
    stopped_on_purpose(&mut chain)?;
    expect(chain.events("VM_FAILURE_DETECTED")?.is_empty(), || "there was an alarm".into())?;
    chain.still_runs()
}

/// For longer than its detection time, after every monitor has found it silent.
fn silent_and_nobody_cares(chain: &Chain) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid();
    chain.guest(0)?.freeze()?;
    for monitor in &chain.monitors {
        wait::until(MISSING_LIMIT, "the path to be MISSING for longer than its VMFDT", || {
            let paths = monitor.paths()?;
            let path = paths.iter().find(|path| path.vm.eq_ignore_ascii_case(uuid));
            let long = |age: &u64| *age > 6000;
            let missing = path.filter(|path| path.state == "MISSING");
            Ok(missing.and_then(|path| path.last_heartbeat_age_ms).filter(long))
        })?;
    }
    let vm = chain.vm(VM)?;
    expect(by_administrator(&vm) && text_of(&vm, "restart_phase").is_empty(), || format!("{vm:#}"))?;
    chain.guest(0)?.thaw()?;
    chain.wait_until_beating(RETURN_LIMIT)
}

/// No host monitor runs when it is said, and the agent is killed before one does.
fn said_to_nobody(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    chain.crash_monitors()?;
    let said = vmmgr(chain, "suspend")?;
    expect(said.code() == Some(1) && said.stderr.contains("No host monitor knows yet"), || said.text())?;
    chain.crash_agent(0)?;
    chain.restart_agent(0)?;
    let watch = Stopwatch::start();
    chain.restart_monitors()?;
    chain.wait_for_vm(VM, RETURN_LIMIT, "to be suspended as was said to nobody", by_administrator)?;
    report.figure(format!(
        "said while nobody listened: known {:.1} s after the monitors' start",
        watch.seconds()
    ));
    vmmgr(chain, "resume")?.ok()?;
    chain.wait_for_vm(VM, SOON, "to be monitored again", is_started)?;
    chain.wait_until_beating(RETURN_LIMIT)
}

fn stopped_on_purpose(chain: &mut Chain) -> Lab<()> {
    chain.stop_agent(0)?;
    chain.wait_for_vm(VM, SOON, "to be suspended by its agent's stop", |vm| {
        text_of(vm, "ha_monitor_state") == "SUSPENDED" && text_of(vm, "suspended") == "DAEMON"
    })?;
    wait_until_shown(chain, Some("DAEMON"))?;
    let uuid = chain.guest(0)?.uuid().to_string();
    chain.restart_monitors()?;
    for monitor in &chain.monitors {
        wait::until(SOON, "a suspended guest that no new monitor has heard to be shown", || {
            let without = monitor.status()?.map(|status| status.without_path).unwrap_or_default();
            let shown = without.into_iter().find(|absent| absent.vm.eq_ignore_ascii_case(&uuid));
            Ok(shown.filter(|absent| absent.state == "SUSPENDED"))
        })?;
    }
    chain.restart_agent(0)?;
    chain.wait_for_vm(VM, RETURN_LIMIT, "to be monitored again", is_started)?;
    wait_until_shown(chain, None)?;
    chain.wait_until_beating(RETURN_LIMIT)
}

/// By `hmmgr status`, of every monitor.
fn wait_until_shown(chain: &Chain, suspended: Option<&str>) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid();
    for monitor in &chain.monitors {
        wait::until(SOON, &format!("`hmmgr status` to show the suspension {suspended:?}"), || {
            Ok((monitor.suspended(uuid)?.as_deref() == suspended).then_some(()))
        })?;
    }
    Ok(())
}

fn vmmgr(chain: &Chain, line: &str) -> Lab<crate::process::Said> {
    chain.agent(0)?.vmmgr(chain.guest(0)?, line)
}

fn by_administrator(vm: &Value) -> bool {
    text_of(vm, "ha_monitor_state") == "SUSPENDED" && text_of(vm, "suspended") == "ADMINISTRATOR"
}

fn is_started(vm: &Value) -> bool {
    text_of(vm, "ha_monitor_state") == "STARTED"
}
