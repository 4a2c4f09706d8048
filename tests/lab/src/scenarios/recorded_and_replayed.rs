//! All daemons with the event recorder on: a guest falls silent and comes back, an agent hangs and goes on, one daemon of each kind is
//! killed and one stopped; then the simulator runs all of them again from their files. They do the same, and what they do is what
//! the store knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Scenario;
use crate::artifacts::SIMULATOR;
use crate::daemons::{AS_SHIPPED, Chain, HostMonitor, MonitorSettings, Plan};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::{Place, Said, run as run_command};
use crate::wait;
use crate::world::{self, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "recorded-and-replayed",
    about: "host monitors with canaries, the controller, agents and guardians record what happens; the simulator replays it to the same outputs, as the store knows it",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
const DETECTED: &str = "VM_FAILURE_DETECTED";
/// In a guest.
const GUEST_RECORDS: &str = "/etc/vmpulse/records";
const AGENT_SETTINGS: &str = "[recorder]\ndirectory = \"/etc/vmpulse/records\"\n";

fn run(world: World, report: &mut Report) -> Lab<()> {
    let monitors = MonitorSettings { heartbeat_interval_ms: 1000, canary: true, ..AS_SHIPPED };
    let mut chain = Chain::start(
        world,
        Plan { pseudo_guests: 2, monitors, agent_settings: AGENT_SETTINGS, ..Plan::default() },
    )?;
    chain.register_and_wait()?;
    chain
        .controller
        .hamgr("modify vm guest1,guest2 heartbeat_interval=500 vm_failure_detection_time=5")?
        .ok()?;
    let directory = world::dir("records");
    let before: Vec<usize> =
        chain.monitors.iter().map(|monitor| Ok(node_events(monitor)?.len())).collect::<Lab<_>>()?;
    let settings = format!("[recorder]\ndirectory = \"{}\"\n", directory.display());
    chain.controller.restart_with(&settings)?;
    for monitor in &mut chain.monitors {
        monitor.restart_with(&settings)?;
    }
    chain.wait_until_beating(LIMIT)?;
    for monitor in &chain.monitors {
        wait::until(LIMIT, "the canary to beat", || {
            Ok(monitor.status()?.filter(|status| status.canary.state == "beating").map(drop))
        })?;
    }

    chain.guest(0)?.freeze()?;
    wait::until(LIMIT, "the failure to be detected", || {
        Ok((chain.events(DETECTED)?.len() == 1).then_some(()))
    })?;
    chain.guest(0)?.thaw()?;
    chain.wait_until_beating(LIMIT)?;
    an_agent_hangs(&chain)?;
    chain.still_runs()?;
    chain.stop_agent(0)?;
    wait::until(LIMIT, "the guardian to end with its agent", || {
        // The kernel keeps 15 characters of a name.
        Ok((!chain.guest(0)?.runs("vmpulse-guardia")).then_some(()))
    })?;
    chain.crash_agent(1)?;
    chain.controller.stop()?;
    chain.monitor_mut(0)?.stop()?;
    chain.monitor_mut(1)?.crash()?;

    let replayed = replay(&chain, &directory, report)?;
    for (index, before) in before.into_iter().enumerate() {
        agrees(&replayed, index, &node_events(chain.monitor(index)?)?, before)?;
    }
    for what in [
        format!("control  {DETECTED} vm"),
        "VM failure detected".to_string(),
        "path to host monitor".to_string(),
        "the guardian finds that the agent hangs".to_string(),
        "the guardian sees the agent live again".to_string(),
    ] {
        expect(replayed.contains(&what), || format!("nobody says {what}:\n{replayed}"))?;
    }
    a_changed_record_is_found(&chain, &directory)
}

/// Its guardian beats in its place, and draws numbers that it misses when it goes on.
fn an_agent_hangs(chain: &Chain) -> Lab<()> {
    let guest = chain.guest(1)?;
    guest.stun("vmpulse-agentd")?;
    wait::until(LIMIT, "the guardian to beat", || {
        let events = node_events(chain.monitor(0)?)?;
        Ok(events.iter().any(|kind| kind == "AGENT_FAILURE").then_some(()))
    })?;
    guest.thaw()?;
    chain.wait_until_beating(LIMIT)
}

/// One record for each daemon; those of the guests, too.
fn all_records(chain: &Chain, directory: &Path) -> Lab<Vec<PathBuf>> {
    let mut files = records(directory)?;
    for guest in &chain.guests {
        files.append(&mut records(&guest.path(GUEST_RECORDS))?);
    }
    Ok(files)
}

fn records(directory: &Path) -> Lab<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).map_err(LabError::file("list", directory))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    Ok(files)
}

fn simulate(chain: &Chain, files: &[PathBuf]) -> Lab<Said> {
    let mut command = Place::Here.command(chain.world.kit().program(SIMULATOR));
    command.arg("--replay").args(files).arg("--trace");
    run_command(command)
}

fn replay(chain: &Chain, directory: &Path, report: &mut Report) -> Lab<String> {
    let files = all_records(chain, directory)?;
    let bytes: u64 = files.iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum();
    let said = simulate(chain, &files)?;
    let text = said.ok()?;
    expect(files.len() == 7, || format!("one record for each daemon, not {files:?}"))?;
    for (name, endings) in [
        ("controller", &["the daemon ended"][..]),
        ("hostmon-trunkA", &["the daemon ended"]),
        ("hostmon-trunkB", &["has no end"]),
        ("/agent-", &["the daemon ended", "has no end"]),
        ("/guardian-", &["the daemon ended", "has no end"]),
    ] {
        for ending in endings {
            let good = |line: &str| {
                line.contains(name) && line.contains("replayed as recorded") && line.contains(ending)
            };
            expect(text.lines().any(good), || format!("{name}, {ending}:\n{text}"))?;
        }
    }
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("replayed as recorded")).collect();
    report.figure(format!("{bytes} bytes recorded; {}", lines.join("; ")));
    Ok(text)
}

/// The same node events in the same order, and the silence and its end.
fn agrees(replayed: &str, index: usize, stored: &[String], before: usize) -> Lab<()> {
    let hm = format!("h1{}", if index == 0 { 'a' } else { 'b' });
    let of_hm = |line: &&str| line.contains(&format!("monitor  {hm} "));
    let said: Vec<String> = replayed
        .lines()
        .filter(of_hm)
        .filter_map(|line| Some(line.split_once("NODE_EVENT ")?.1.to_string()))
        .collect();
    let stored = stored.get(before..).unwrap_or_default();
    // What a monitor that was killed said last may not have come to the store.
    expect(said.starts_with(stored) && said.len() <= stored.len() + usize::from(index == 1), || {
        format!("{hm} replayed: {said:?}; in the store: {stored:?}")
    })?;
    for what in ["misses for", "beats"] {
        expect(replayed.lines().filter(of_hm).any(|line| line.contains(what)), || {
            format!("{hm} does not say that a guest {what}:\n{replayed}")
        })?;
    }
    Ok(())
}

/// Kinds of a monitor's node events, the oldest first.
fn node_events(monitor: &HostMonitor) -> Lab<Vec<String>> {
    let said = monitor.hmmgr(&["event", "--trunk", monitor.uuid(), "--count", "1000", "-o", "json"])?.ok()?;
    let events: Value = serde_json::from_str(&said).unwrap_or_default();
    let events = events.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
    let kind = |event: &Value| event.get("kind").and_then(Value::as_str).map(str::to_string);
    // NODE is made by the store of what a start or a stop says.
    Ok(events.iter().filter_map(kind).filter(|kind| kind != "NODE").collect())
}

/// A file that ends early is replayed as far as it goes, and one that is none is refused.
fn a_changed_record_is_found(chain: &Chain, directory: &Path) -> Lab<()> {
    let files = records(directory)?;
    let Some(first) = files.last() else { return Err(LabError::Unexpected("no record".into())) };
    let bytes = std::fs::read(first).map_err(LabError::file("read", first))?;
    let torn = world::dir("torn.vmrec");
    let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
    std::fs::write(&torn, half).map_err(LabError::file("write", &torn))?;
    let said = simulate(chain, std::slice::from_ref(&torn))?.ok()?;
    expect(said.contains("has no end"), || said.clone())?;
    let foreign = [b"VMPRECRD\x63\0\0\0".as_slice(), half].concat();
    std::fs::write(&torn, foreign).map_err(LabError::file("write", &torn))?;
    let said = simulate(chain, &[torn])?;
    expect(said.status.code() == Some(2) && said.stderr.contains("version 99"), || said.text())
}
