//! Two host monitors on two trunks, each with a canary: a monitor whose trunk is dead says that it is isolated and accuses no
//! guest; the other goes on; with both trunks dead nobody knows anything, which is never silence.

use std::time::Duration;

use serde_json::Value;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, HostMonitor, MonitorSettings, Plan, requests, text_of};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::process::{Place, sh};
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "isolated-monitor",
    about: "a dead trunk is ISOLATED within 3 intervals of its canary and no guest's silence; SIGKILL leaks no canary",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Longer than the VMFDT of the guests, with some polls of the controller.
const UNKNOWN_FOR: Duration = Duration::from_secs(12);
/// What is measured for longer is more exact; this is enough to see a mistake of the first order.
const MEASURED: Duration = Duration::from_secs(30);
const CRASHES: usize = 5;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let monitors = MonitorSettings { heartbeat_interval_ms: 1000, canary: true, ..AS_SHIPPED };
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, monitors, ..Plan::default() })?;
    chain.register_and_wait()?;
    let modify = "modify vm guest1,guest2 heartbeat_interval=1000 vm_failure_detection_time=5";
    chain.controller.hamgr(modify)?.ok()?;
    canaries_beat(&chain)?;
    processor(&chain, report)?;

    one_trunk_loses_everything(&mut chain, report)?;
    one_trunk_is_down(&chain, report)?;
    one_path_is_cut(&chain)?;
    both_trunks_lose_everything(&chain, report)?;
    expect_no_alarm(&chain)?;
    monitor_is_killed(&mut chain, report)?;
    monitor_is_stopped(&mut chain)?;
    chain.still_runs()
}

fn canaries_beat(chain: &Chain) -> Lab<()> {
    for monitor in &chain.monitors {
        let mut last = String::new();
        let found = wait::until(LIMIT, "the canary to beat every second", || {
            let canary = monitor.status()?.map(|status| status.canary);
            last = format!("{canary:?}");
            Ok(canary.filter(|canary| canary.state == "beating" && canary.interval_ms == Some(1000)))
        });
        found.map_err(|error| error.seen_last(|| last))?;
    }
    Ok(())
}

/// Links stay up; nothing passes.
fn one_trunk_loses_everything(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    let trunk = chain.trunk(0)?;
    let watch = Stopwatch::start();
    trunk.lose_all()?;
    wait_isolated(chain.monitor(0)?, true)?;
    report
        .figure(format!("frames lost, links up: ISOLATED after {:.2} s (canary every 1 s)", watch.seconds()));
    let vios = chain.controller.query(&format!("vios {}", chain.monitor(0)?.uuid()))?;
    expect(is_isolated(&vios), || format!("hamgr query vios: {vios:#}"))?;
    // Until the guests would have been called silent, and longer.
    hold(UNKNOWN_FOR)?;
    nobody_is_missing(chain)?;
    expect(!status_isolated(chain.monitor(1)?)?, || "the other monitor is isolated, too".into())?;
    chain.wait_until_started()?;
    trunk.lose_nothing()?;
    let watch = Stopwatch::start();
    wait_isolated(chain.monitor(0)?, false)?;
    report.figure(format!("frames pass again: over after {:.2} s", watch.seconds()));
    chain.wait_until_beating(LIMIT)?;
    expect_kinds(chain, 0, &[("ISOLATED", 1), ("ISOLATION_OVER", 1), ("CANARY_SILENT", 0)])?;
    expect_kinds(chain, 1, &[("ISOLATED", 0), ("CANARY_SILENT", 0)])
}

/// The guests' end is down, so the monitor's has no carrier.
fn one_trunk_is_down(chain: &Chain, report: &mut Report) -> Lab<()> {
    let trunk = chain.trunk(0)?;
    let watch = Stopwatch::start();
    trunk.cut_guests_side()?;
    wait_isolated(chain.monitor(0)?, true)?;
    report.figure(format!("guests' side down: ISOLATED after {:.2} s, by netlink", watch.seconds()));
    hold(UNKNOWN_FOR)?;
    nobody_is_missing(chain)?;
    trunk.mend_guests_side()?;
    wait_isolated(chain.monitor(0)?, false)?;
    chain.wait_until_beating(LIMIT)?;
    let expected = [("ISOLATED", 2), ("ISOLATION_OVER", 2), ("ADAPTER_DOWN", 1), ("ADAPTER_UP", 1)];
    expect_kinds(chain, 0, &expected)
}

/// A guest's own adapter goes down: that is the guest's path, not the trunk.
fn one_path_is_cut(chain: &Chain) -> Lab<()> {
    let (guest, trunk) = (chain.guest(0)?, chain.trunk(0)?);
    sh(&Place::net(guest.name()), &format!("ip link set {} down", trunk.adapter()))?;
    wait_state(chain.monitor(0)?, guest.uuid(), "MISSING")?;
    expect(!status_isolated(chain.monitor(0)?)?, || "one silent path is isolation".into())?;
    hold(UNKNOWN_FOR)?;
    let attention = chain.passthru(&requests::needs_attention())?;
    expect(!attention.contains("missedHb"), || format!("one silent path is reported:\n{attention}"))?;
    let vm = chain.vm(guest.name())?;
    expect(text_of(&vm, "ha_monitor_state") == "STARTED", || format!("{vm:#}"))?;
    let silences = silences(chain.monitor(0)?, guest.uuid());
    expect(silences == 1, || format!("{silences} edges of the one path"))?;
    sh(&Place::net(guest.name()), &format!("ip link set {} up", trunk.adapter()))?;
    chain.wait_until_beating(LIMIT)
}

fn both_trunks_lose_everything(chain: &Chain, report: &mut Report) -> Lab<()> {
    let trunks = [chain.trunk(0)?, chain.trunk(1)?];
    trunks.iter().try_for_each(|trunk| trunk.lose_all())?;
    chain.monitors.iter().try_for_each(|monitor| wait_isolated(monitor, true))?;
    hold(UNKNOWN_FOR)?;
    let attention = chain.passthru(&requests::needs_attention())?;
    expect(!attention.contains("missedHb"), || format!("unknown is silence:\n{attention}"))?;
    expect_no_alarm(chain)?;
    trunks.iter().try_for_each(|trunk| trunk.lose_nothing())?;
    chain.monitors.iter().try_for_each(|monitor| wait_isolated(monitor, false))?;
    chain.wait_until_beating(LIMIT)?;
    report.figure("both trunks dead for 12 s: unknown, and nobody was reported");
    Ok(())
}

/// An open silence keeps its age over five deaths of a monitor, who lives is not accused, and one canary is left.
fn monitor_is_killed(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    let well = chain.guest(0)?.uuid().to_string();
    let edges_before = silences(chain.monitor(0)?, &well);
    chain.guest(1)?.freeze()?;
    let silent = chain.guest(1)?.uuid().to_string();
    for index in [0, 1] {
        wait_state(chain.monitor(index)?, &silent, "MISSING")?;
    }
    let mut age = reported_age(chain)?;
    for _ in 0..CRASHES {
        chain.monitor_mut(0)?.crash()?;
        chain.monitor_mut(0)?.restart()?;
        canaries_beat(chain)?;
        wait_state(chain.monitor(0)?, &well, "BEATING")?;
        let adapters = chain.trunk(0)?.canaries()?;
        expect(adapters.len() == 1, || format!("adapters of canaries: {adapters:#?}"))?;
        let older = reported_age(chain)?;
        expect(older >= age, || format!("the silence of {age} s is one of {older} s after a SIGKILL"))?;
        age = older;
    }
    let edges = silences(chain.monitor(0)?, &well);
    expect(edges == edges_before, || format!("the guest that is well was accused {edges} times"))?;
    report.figure(format!("{CRASHES} times SIGKILL: one canary's adapter, the open silence is {age} s old"));
    chain.guest(1)?.thaw()?;
    chain.wait_until_beating(LIMIT)
}

fn monitor_is_stopped(chain: &mut Chain) -> Lab<()> {
    let trunk = chain.trunk(0)?;
    chain.monitor_mut(0)?.stop()?;
    let adapters = trunk.canaries()?;
    expect(adapters.is_empty(), || format!("left behind: {adapters:#?}"))?;
    expect_kinds(chain, 0, &[("NODE", 1)])?;
    chain.monitor_mut(0)?.restart()?;
    canaries_beat(chain)?;
    // The first start, five after a SIGKILL, and this one.
    expect_kinds(chain, 0, &[("STARTED", CRASHES + 2)])
}

fn processor(chain: &Chain, report: &mut Report) -> Lab<()> {
    let spent = |monitor: &HostMonitor| -> Lab<Duration> {
        let pid = monitor.status()?.map_or(0, |status| status.pid);
        processor_time(pid)
    };
    let (before, watch) = (chain.monitors.iter().map(spent).collect::<Lab<Vec<_>>>()?, Stopwatch::start());
    hold(MEASURED)?;
    let seconds = watch.seconds();
    for (monitor, before) in chain.monitors.iter().zip(before) {
        let percent = (spent(monitor)? - before).as_secs_f64() / seconds * 100.0;
        report.figure(format!(
            "{}: monitor and canary {percent:.2} % of a core over {seconds:.0} s, 2 guests and the canary at 1 s",
            monitor.trunk().guests_device()
        ));
    }
    Ok(())
}

/// User and system time of all threads; the kernel counts 100 ticks a second.
fn processor_time(pid: i32) -> Lab<Duration> {
    let text = crate::workspace::read(std::path::Path::new(&format!("/proc/{pid}/stat")))?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Lets time pass in which something must not happen.
fn hold(time: Duration) -> Lab<()> {
    let watch = Stopwatch::start();
    wait::until(time * 2, "time to pass", || Ok((watch.elapsed() >= time).then_some(())))
}

fn status_isolated(monitor: &HostMonitor) -> Lab<bool> {
    Ok(monitor.status()?.is_some_and(|status| status.isolated))
}

fn wait_isolated(monitor: &HostMonitor, isolated: bool) -> Lab<()> {
    let what = if isolated { "to be isolated" } else { "not to be isolated" };
    wait::until(LIMIT, &format!("the monitor of {} {what}", monitor.trunk().device()), || {
        Ok((status_isolated(monitor)? == isolated).then_some(()))
    })
}

fn wait_state(monitor: &HostMonitor, uuid: &str, state: &str) -> Lab<()> {
    wait::until(LIMIT, &format!("{uuid} to be {state}"), || {
        let found = monitor.paths()?.into_iter().find(|path| path.vm.eq_ignore_ascii_case(uuid));
        Ok(found.filter(|path| path.state == state).map(drop))
    })
}

fn is_isolated(vios: &Value) -> bool {
    let reason = vios.pointer("/0/reason").or_else(|| vios.get("reason")).and_then(Value::as_u64);
    reason.is_some_and(|reason| reason & 0x100 != 0)
}

fn nobody_is_missing(chain: &Chain) -> Lab<()> {
    for guest in &chain.guests {
        for monitor in &chain.monitors {
            let silences = silences(monitor, guest.uuid());
            expect(silences == 0, || format!("{} was called silent", guest.name()))?;
        }
    }
    expect_no_alarm(chain)
}

fn expect_no_alarm(chain: &Chain) -> Lab<()> {
    let alarms = chain.events("VM_FAILURE_DETECTED")?;
    expect(alarms.is_empty(), || format!("a failure was detected: {alarms:#?}"))
}

/// How often a monitor said in its log that a VM is silent.
fn silences(monitor: &HostMonitor, uuid: &str) -> usize {
    let edge = format!("vm {} is silent for", uuid.to_lowercase());
    monitor.logged().to_lowercase().matches(&edge).count()
}

/// What the store says that the silent VM has been silent for, in seconds: the older of its paths.
fn reported_age(chain: &Chain) -> Lab<u64> {
    wait::until(LIMIT, "the silent VM to be reported", || {
        let answer = chain.passthru(&requests::needs_attention())?;
        let rest = answer.split_once("missedHbMax=\"").map(|(_, rest)| rest);
        Ok(rest.and_then(|rest| rest.split_once('"')?.0.parse().ok()))
    })
}

/// How many node events of some kinds a monitor has recorded.
fn expect_kinds(chain: &Chain, monitor: usize, expected: &[(&str, usize)]) -> Lab<()> {
    let monitor = chain.monitor(monitor)?;
    for (kind, count) in expected {
        let mut last = String::new();
        let words = ["event", "--kind", kind, "--trunk", monitor.uuid(), "--count", "1000", "-o", "json"];
        let found = wait::until(LIMIT, &format!("{count} node events {kind}"), || {
            last = monitor.hmmgr(&words)?.ok()?;
            let events: Value = serde_json::from_str(&last).unwrap_or_default();
            let found = events.get("events").and_then(Value::as_array).map_or(0, Vec::len);
            Ok((found == *count).then_some(()))
        });
        found.map_err(|error| error.seen_last(|| last))?;
    }
    Ok(())
}
