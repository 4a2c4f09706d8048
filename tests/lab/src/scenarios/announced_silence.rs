//! A guest says that it will be silent, stands still, and nobody calls it missing: not while it lasts, not a monitor that
//! was killed and started again meanwhile, and everybody after it. All at a heartbeat every 100 ms, where a pause of a
//! fifth of a second would be enough.

use std::time::Duration;

use serde_json::Value;

use super::Scenario;
use crate::daemons::{Chain, HostMonitor, PathStatus, Plan, requests, text_of};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "announced-silence",
    about: "vmmgr quiet, then the guest freezes: not missing while it lasts, missing after it; 100 ms heartbeats",
    run,
};

/// Long enough for a host monitor to be killed and started again meanwhile.
const QUIET_MS: u64 = 8000;
const VM: &str = "guest1";
const DETECTED: &str = "VM_FAILURE_DETECTED";
/// For whatever takes milliseconds on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(20);
/// A restarted monitor accuses nobody for 10 s.
const DETECTION_LIMIT: Duration = Duration::from_secs(60);
/// Heartbeats that are waited for; at the interval as shipped that would take five minutes.
const HEARTBEATS: u64 = 30;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    chain.controller.hamgr("modify vm guest1 heartbeat_interval=100 vm_failure_detection_time=3")?.ok()?;
    beats_ten_times_a_second(&chain, report)?;

    announce(&chain, "8s taken for a snapshot", QUIET_MS)?;
    let watch = Stopwatch::start();
    chain.guest(0)?.freeze()?;
    let vm = chain.wait_for_vm(VM, SOON, "to be shown in its announced silence", is_quiet)?;
    expect(text_of(&vm, "announced_silence").contains("taken for a snapshot"), || format!("{vm:#}"))?;
    chain.monitor_mut(0)?.crash()?;
    chain.monitor_mut(0)?.restart()?;
    nobody_accuses_it(&chain, report)?;
    everybody_accuses_it(&chain, &watch, report)?;

    chain.guest(0)?.thaw()?;
    chain.wait_until_beating(SOON)?;
    chain.wait_for_vm(VM, SOON, "to be well again", |vm| text_of(vm, "restart_phase").is_empty())?;
    ended_before_its_time(&chain, report)?;
    bounded(&chain)?;
    chain.still_runs()
}

fn beats_ten_times_a_second(chain: &Chain, report: &mut Report) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid();
    for monitor in &chain.monitors {
        wait::until(SOON, "the guest to be told to beat every 100 ms", || {
            Ok(path_of(monitor, uuid)?.filter(|path| path.interval_ms == 100))
        })?;
    }
    let before = chain.monitors.iter().map(|monitor| heartbeats(monitor, uuid)).collect::<Lab<Vec<u64>>>()?;
    let watch = Stopwatch::start();
    for (monitor, before) in chain.monitors.iter().zip(before) {
        wait::until(SOON, "heartbeats every 100 ms", || {
            Ok((heartbeats(monitor, uuid)? >= before + HEARTBEATS).then_some(()))
        })?;
    }
    report.figure(format!("{HEARTBEATS} heartbeats on each trunk within {:.1} s", watch.seconds()));
    expect(chain.events(DETECTED)?.is_empty(), || "the change of its interval was taken for a failure".into())
}

/// Says it, and every host monitor has granted so much.
fn announce(chain: &Chain, words: &str, granted_ms: u64) -> Lab<()> {
    let said = chain.agent(0)?.vmmgr(chain.guest(0)?, &format!("-o json quiet {words}"))?;
    let answer: Value = serde_json::from_str(&said.stdout)
        .map_err(|error| LabError::Unexpected(format!("`vmmgr -o json quiet`: {error}:\n{}", said.text())))?;
    let paths = answer.pointer("/quiet/paths").and_then(Value::as_array).cloned().unwrap_or_default();
    let granted = |path: &Value| path.get("granted_ms").and_then(Value::as_u64) == Some(granted_ms);
    expect(paths.len() == 2 && paths.iter().all(granted), || {
        format!("{granted_ms} ms were not granted by both host monitors:\n{}", said.text())
    })
}

/// Until both host monitors say that it is over. What is asked first was still so when the second answer was given.
fn nobody_accuses_it(chain: &Chain, report: &mut Report) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid();
    let mut looks = 0;
    let mut restarted_knew = false;
    wait::until(SOON, "the announced silence to be over", || {
        let vm = chain.vm(VM)?;
        let attention = chain.monitor(1)?.passthru(&requests::needs_attention())?.ok()?;
        // The one that was not killed has it in force to its end.
        let Some(status) = chain.monitor(1)?.status()? else { return Ok(None) };
        if status.quiet.is_empty() {
            return Ok(Some(()));
        }
        looks += 1;
        let path = status.paths.iter().find(|path| path.vm.eq_ignore_ascii_case(uuid));
        expect(path.is_some_and(|path| path.state == "QUIET"), || format!("{:?}", status.paths))?;
        expect(!attention.contains("missedHb"), || format!("it is reported:\n{attention}"))?;
        expect(is_quiet(&vm), || format!("hamgr does not say so: {vm:#}"))?;
        if let Some(restarted) = chain.monitor(0)?.status()? {
            restarted_knew |= restarted.quiet.iter().any(|quiet| quiet.vm.eq_ignore_ascii_case(uuid));
        }
        Ok(None)
    })?;
    expect(looks > 0, || "it was over before it could be looked at".into())?;
    expect(restarted_knew, || "the restarted host monitor did not know of it".into())?;
    expect(chain.events(DETECTED)?.is_empty(), || "it was taken for a failure".into())?;
    report.figure(format!(
        "{looks} looks while it lasted: QUIET, and not reported; the restarted monitor knew it"
    ));
    Ok(())
}

fn everybody_accuses_it(chain: &Chain, frozen: &Stopwatch, report: &mut Report) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid();
    let path = wait::until(SOON, "the path to be MISSING", || {
        Ok(path_of(chain.monitor(1)?, uuid)?.filter(|path| path.state == "MISSING"))
    })?;
    let silent_ms = path.last_heartbeat_age_ms.unwrap_or_default();
    expect(silent_ms >= QUIET_MS, || format!("the silence is counted from {silent_ms} ms ago"))?;
    report.figure(format!(
        "MISSING {:.1} s after it froze, its last heartbeat {silent_ms} ms ago",
        frozen.seconds()
    ));
    wait::until(DETECTION_LIMIT, "the failure to be detected", || {
        Ok((chain.events(DETECTED)?.len() == 1).then_some(()))
    })?;
    // Whatever a monitor called silent was silent for longer than was announced.
    for monitor in &chain.monitors {
        for age_ms in silences(&monitor.logged()) {
            expect(age_ms >= QUIET_MS, || format!("called silent after {age_ms} ms:\n{}", monitor.logged()))?;
        }
    }
    let order: Vec<String> = ["VM_QUIET_BEGAN", "VM_QUIET_ENDED", DETECTED]
        .iter()
        .map(|name| Ok(chain.events(name)?.iter().map(|event| text_of(event, "id")).collect()))
        .collect::<Lab<_>>()?;
    let ids: Vec<u64> = order.iter().filter_map(|ids| ids.parse().ok()).collect();
    expect(ids.len() == 3 && ids.is_sorted(), || format!("once each and in this order, not {order:?}"))?;
    let ended = chain.events("VM_QUIET_ENDED")?;
    let text = ended.first().map(|event| text_of(event, "description")).unwrap_or_default();
    expect(text.contains("ran out after 8 seconds: taken for a snapshot"), || text)
}

fn ended_before_its_time(chain: &Chain, report: &mut Report) -> Lab<()> {
    let uuid = chain.guest(0)?.uuid();
    announce(chain, "60s this will be shorter", 60_000)?;
    chain.agent(0)?.vmmgr(chain.guest(0)?, "quiet end")?.ok()?;
    for monitor in &chain.monitors {
        wait::until(SOON, "every host monitor to know that it is over", || {
            Ok(monitor.status()?.filter(|status| status.quiet.is_empty()).map(drop))
        })?;
    }
    chain.guest(0)?.freeze()?;
    let watch = Stopwatch::start();
    for monitor in &chain.monitors {
        wait::until(SOON, "the path to be MISSING", || {
            Ok(path_of(monitor, uuid)?.filter(|path| path.state == "MISSING"))
        })?;
    }
    report.figure(format!(
        "after `vmmgr quiet end`: MISSING on both trunks {:.2} s after it froze",
        watch.seconds()
    ));
    chain.guest(0)?.thaw()?;
    chain.wait_until_beating(SOON)
}

/// What is granted less is said, and is no success.
fn bounded(chain: &Chain) -> Lab<()> {
    let said = chain.agent(0)?.vmmgr(chain.guest(0)?, "quiet 500s too long")?;
    expect(said.code() == Some(1) && said.stderr.contains("Only 300 s of the 500 s"), || said.text())?;
    let shown = chain.agent(0)?.vmmgr(chain.guest(0)?, "status")?.ok()?;
    expect(shown.contains("Announced silence: ") && shown.contains("too long"), || shown.clone())?;
    chain.agent(0)?.vmmgr(chain.guest(0)?, "quiet end")?.ok().map(drop)
}

fn is_quiet(vm: &Value) -> bool {
    vm.get("announced_silence").is_some_and(Value::is_object) && text_of(vm, "restart_phase").is_empty()
}

fn path_of(monitor: &HostMonitor, uuid: &str) -> Lab<Option<PathStatus>> {
    Ok(monitor.paths()?.into_iter().find(|path| path.vm.eq_ignore_ascii_case(uuid)))
}

fn heartbeats(monitor: &HostMonitor, uuid: &str) -> Lab<u64> {
    Ok(path_of(monitor, uuid)?.map_or(0, |path| path.heartbeats))
}

/// The ages in a monitor's log, of lines like `VM ... is silent for 8190 ms`.
fn silences(log: &str) -> Vec<u64> {
    let age = |line: &str| line.split_once(" is silent for ")?.1.split(' ').next()?.parse().ok();
    log.lines().filter_map(age).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_ages_of_silences() {
        let log =
            "INFO VM 1 beats\nWARN VM 1 is silent for 8190 ms\nWARN VM 2 is silent for 20 ms, together with";
        assert_eq!(silences(log), [8190, 20]);
    }
}
