//! A VM is added, started, stopped, started again and removed while its guest goes on beating; host monitors are configured,
//! taken out and crash meanwhile: all through `hmmgr passthru`.

use std::time::Duration;

use serde_json::Value;

use super::Scenario;
use crate::daemons::{Chain, HostMonitor, Plan, requests, text_of};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "vm-lifecycle",
    about: "add, start, stop, remove, late heartbeats, settings, removed monitors, a storm: by passthru",
    run,
};

const VM: &str = "guest1";
const SOON: Duration = Duration::from_secs(20);
/// A restarted host monitor says Hello at once, an agent hears it at its next turn.
const RETURN_LIMIT: Duration = Duration::from_secs(45);
/// Heartbeats come every second or more often: in this time several would.
const SOME_INTERVALS: f64 = 4.0;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    stopped_and_started(&chain, report)?;
    configured(&chain, report)?;
    removed_while_nobody_listens(&mut chain)?;
    monitor_taken_out(&chain)?;
    storm(&mut chain)?;
    removed(&chain)?;
    expect(chain.events("VM_FAILURE_DETECTED")?.is_empty(), || "there was an alarm".into())?;
    chain.still_runs()
}

fn vms(chain: &Chain, action: &str, element: &str) -> Lab<String> {
    chain.passthru(&requests::vms(action, element, &[chain.guest(0)?.uuid().to_string()]))
}

fn start(chain: &Chain) -> Lab<String> {
    vms(chain, "VIO_HS_START_VM", "startVM")
}

fn stop(chain: &Chain) -> Lab<String> {
    vms(chain, "VIO_HS_STOP_VM", "stopVM")
}

fn add(chain: &Chain) -> Lab<()> {
    chain.passthru(&requests::add_vms(&chain.vms())).map(drop)
}

fn wait_for_state(chain: &Chain, state: &str) -> Lab<()> {
    let what = format!("to be {state}");
    chain.wait_for_vm(VM, SOON, &what, |vm| text_of(vm, "ha_monitor_state") == state).map(drop)
}

fn stopped_and_started(chain: &Chain, report: &mut Report) -> Lab<()> {
    let watch = Stopwatch::start();
    let answer = stop(chain)?;
    expect(answer.matches("<transaction ").count() == 2, || answer.clone())?;
    wait_for_state(chain, "STOPPED")?;
    report.figure(format!("stopped on both trunks {:.0} ms after the request", watch.seconds() * 1000.0));
    all_done(chain)?;
    nobody_hears(chain, "after STOP_VM")?;
    let again = stop(chain)?;
    expect(!again.contains("<transaction "), || again.clone())?;
    start(chain)?;
    wait_for_state(chain, "STARTED")?;
    chain.wait_until_beating(SOON)
}

/// Every transaction was answered by its host monitor.
fn all_done(chain: &Chain) -> Lab<()> {
    let shown = transactions(chain, &[])?;
    let bad = shown.iter().any(|one| text_of(one, "state") != "DONE");
    expect(!shown.is_empty() && !bad, || format!("transactions: {shown:#?}"))
}

fn transactions(chain: &Chain, more: &[&str]) -> Lab<Vec<Value>> {
    let words = [&["-o", "json", "transaction"], more].concat();
    let text = chain.monitor(0)?.hmmgr(&words)?.ok()?;
    let answer: Value =
        serde_json::from_str(&text).map_err(|error| LabError::Unexpected(format!("{error}: {text}")))?;
    Ok(answer.get("transactions").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// The guest's paths are there, and for some intervals no heartbeat comes.
fn nobody_hears(chain: &Chain, when: &str) -> Lab<()> {
    let count = |monitor: &HostMonitor| {
        let uuid = chain.guest(0)?.uuid();
        let path = monitor.paths()?.into_iter().find(|path| path.vm.eq_ignore_ascii_case(uuid));
        Ok(path.filter(|path| path.state == "NOT_MONITORED").map(|path| path.heartbeats))
    };
    let mut before = Vec::new();
    for monitor in &chain.monitors {
        before.push(wait::until(RETURN_LIMIT, "its path to be there and not monitored", || count(monitor))?);
    }
    // A guest that was not told beats on.
    let mut watch = Stopwatch::start();
    wait::until(SOON, &format!("heartbeats to stop {when}"), || {
        let now: Lab<Vec<_>> = chain.monitors.iter().map(count).collect();
        let now: Vec<u64> = now?.into_iter().flatten().collect();
        if now != before {
            (before, watch) = (now, Stopwatch::start());
        }
        Ok((watch.seconds() > SOME_INTERVALS).then_some(()))
    })
}

fn configured(chain: &Chain, report: &mut Report) -> Lab<()> {
    let watch = Stopwatch::start();
    let settings = "heartbeatIntervalMs=\"500\" storeHeartbeatIntervalMs=\"1000\" logLevel=\"warn\"";
    chain.passthru(&requests::configure(settings))?;
    for monitor in &chain.monitors {
        wait::until(SOON, "the new interval to be in force", || {
            let status = monitor.status()?;
            let holds = status.is_some_and(|status| {
                let settings = &status.settings;
                (settings.version, settings.log_level.as_str()) == (1, "warn")
                    && (settings.heartbeat_interval_ms, settings.store_heartbeat_interval_ms) == (500, 1000)
                    && status.paths.iter().all(|path| path.interval_ms == 500)
            });
            Ok(holds.then_some(()))
        })?;
        let said = |text: &str| monitor.logged().contains(text);
        wait::until(SOON, "the log level to change", || Ok(said("the log level is warn now").then_some(())))?;
    }
    report.figure(format!(
        "new interval acknowledged by the guest {:.0} ms after the request",
        watch.seconds() * 1000.0
    ));
    chain.wait_until_beating(SOON)?;
    let told = chain.monitor(0)?.hmmgr(&["event", "--kind", "CONFIGURED"])?.ok()?;
    expect(told.matches("version 1 of the settings").count() == 2, || told.clone())?;
    let of_one = format!("uuid=\"{}\" logLevel=\"debug\"", chain.monitor(1)?.uuid());
    chain.passthru(&requests::configure(&of_one))?;
    wait::until(SOON, "one monitor to log more than the other", || {
        let levels: Lab<Vec<_>> = chain.monitors.iter().map(|monitor| monitor.status()).collect();
        let levels: Vec<_> = levels?.into_iter().flatten().map(|status| status.settings.log_level).collect();
        Ok((levels == ["warn", "debug"]).then_some(()))
    })
}

/// No host monitor runs when the VM is removed. When they are back its guest, which beats on and shakes hands, does not bring
/// it back; it is told to stop.
fn removed_while_nobody_listens(chain: &mut Chain) -> Lab<()> {
    chain.crash_monitors()?;
    wait::until(SOON, "the store to call both host monitors silent", || {
        let answer = chain.passthru(&requests::quick_query())?;
        Ok((answer.matches("hmResponsive=\"0\"").count() == 2).then_some(()))
    })?;
    let answer = vms(chain, "VIO_HS_REMOVE_VM", "removeVM")?;
    expect(!answer.contains("unknownVM"), || answer.clone())?;
    is_gone(chain)?;
    chain.restart_monitors()?;
    nobody_hears(chain, "of a VM that was removed")?;
    is_gone(chain)?;
    let attention = chain.passthru(&requests::needs_attention())?;
    expect(!attention.contains("<vmStat "), || attention.clone())?;
    let again = vms(chain, "VIO_HS_REMOVE_VM", "removeVM")?;
    expect(again.contains("<unknownVM "), || again.clone())?;
    add(chain)?;
    start(chain)?;
    wait_for_state(chain, "STARTED")?;
    chain.wait_until_beating(RETURN_LIMIT)
}

fn is_gone(chain: &Chain) -> Lab<()> {
    let said = wait::until(SOON, "the VM to be gone", || {
        let said = chain.controller.hamgr(&format!("query vm {VM}"))?;
        Ok((!said.status.success()).then(|| said.text()))
    })?;
    expect(said.contains(VM), || said.clone())
}

fn monitor_taken_out(chain: &Chain) -> Lab<()> {
    let second = chain.monitor(1)?;
    chain.passthru(&requests::remove_monitor(second.uuid()))?;
    wait::until(SOON, "the removed monitor to know, and still to show that it runs", || {
        let removed = second.status()?.is_some_and(|status| status.removed);
        let answer = chain.passthru(&requests::quick_query())?;
        let line = answer.lines().find(|line| line.contains(second.uuid())).unwrap_or_default();
        let shown = line.contains("state=\"REMOVED\" hmResponsive=\"1\"");
        Ok((removed && shown).then_some(()))
    })?;
    let one_path =
        |vm: &Value| vm.get("paths").and_then(Value::as_array).is_some_and(|paths| paths.len() == 1);
    let vm = chain.wait_for_vm(VM, SOON, "to have one path", one_path)?;
    expect(text_of(&vm, "ha_monitor_state") == "STARTED", || format!("{vm:#}"))?;
    expect(second.logged().contains("this host monitor was removed from the store"), || {
        "not in its log".into()
    })?;
    let back = [(second.uuid().to_string(), second.trunk().monitor_mac())];
    chain.passthru(&requests::add_monitors(&back))?;
    chain.wait_for_vm(VM, SOON, "to have two paths", |vm| {
        vm.get("paths").and_then(Value::as_array).is_some_and(|paths| paths.len() == 2)
    })?;
    chain.wait_until_beating(SOON)
}

/// Starts, stops and removals one upon the other, some of unknown VMs, while a host monitor crashes and starts.
fn storm(chain: &mut Chain) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid().to_string();
    let with_unknown = [uuid.clone(), "00000000-0000-4000-8000-000000000000".to_string()];
    let twice = [uuid.clone(), uuid];
    for round in 0..12 {
        add(chain)?;
        chain.passthru(&requests::vms("VIO_HS_START_VM", "startVM", &twice))?;
        match round {
            4 => chain.monitor_mut(0)?.crash()?,
            7 => chain.monitor_mut(0)?.restart()?,
            _ => {}
        }
        let refused =
            chain.monitor(0)?.passthru(&requests::vms("VIO_HS_STOP_VM", "stopVM", &with_unknown))?;
        expect(refused.code() == Some(1) && refused.stdout.contains("UNKNOWN_VM"), || refused.text())?;
        chain.passthru(&requests::vms("VIO_HS_STOP_VM", "stopVM", &twice))?;
        if round % 3 == 2 {
            chain.passthru(&requests::vms("VIO_HS_REMOVE_VM", "removeVM", &with_unknown))?;
        }
    }
    add(chain)?;
    start(chain)?;
    stop(chain)?;
    wait_for_state(chain, "STOPPED")?;
    nobody_hears(chain, "after the storm")?;
    let vm = chain.vm(VM)?;
    let paths = vm.get("paths").and_then(Value::as_array).map_or(0, Vec::len);
    expect(paths == 0, || format!("stale paths: {vm:#}"))?;
    let open = transactions(chain, &["--open"])?;
    expect(open.is_empty(), || format!("left under way: {open:#?}"))?;
    start(chain)?;
    wait_for_state(chain, "STARTED")?;
    chain.wait_until_beating(RETURN_LIMIT)
}

fn removed(chain: &Chain) -> Lab<()> {
    let answer = vms(chain, "VIO_HS_REMOVE_VM", "removeVM")?;
    expect(answer.matches("<transaction ").count() == 2, || answer.clone())?;
    is_gone(chain)?;
    nobody_hears(chain, "after REMOVE_VM")?;
    let attention = chain.passthru(&requests::needs_attention())?;
    expect(!attention.contains("<vmStat "), || attention.clone())
}
