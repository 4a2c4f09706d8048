//! A guest sends whatever it can, as fast as it can: the kernel drops it at the sender's cost, and nobody else is late.

use std::time::Duration;

use super::Scenario;
use super::beats::Beats;
use crate::daemons::{AS_SHIPPED, Chain, HostMonitor, MonitorSettings, MonitorStatus, Plan};
use crate::error::{Lab, LabError, expect};
use crate::frames::{Flood, FloodKind};
use crate::outcome::Report;
use crate::process::{self, Place};
use crate::wait;
use crate::world::{Trunk, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "flood",
    about: "a guest floods a trunk of `hmmgr trunk create`, by its own and by 10,000 addresses: nobody else is late",
    run,
};

/// Guests; the last one floods.
const GUESTS: u8 = 5;
/// The trunk's canary has a lane of its own, too.
const CANARY: u64 = 1;
/// How long each flood lasts.
const FLOOD_S: u64 = 5;
/// The monitor looks at its table every 5 s.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// What may pass of a flood: a burst and the rate of both lanes, many times over.
const PASS_MAXIMUM: u64 = 40_000;
/// The monitor's memory may grow by so much: every table that strangers can fill is far smaller.
const GROWTH_KIB: u64 = 16 * 1024;
/// What is found in a turn of the monitor's loop is logged at its end.
const LOGGED_WITHIN: Duration = Duration::from_millis(30);
/// Tenths of an interval after which a path is MISSING.
const MISSING_TENTHS: u64 = 19;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, plan())?;
    chain.register_and_wait()?;
    for monitor in &chain.monitors {
        wait_for_policing(monitor)?;
    }
    let mut beats = Beats::watch(&chain, &healthy(&chain))?;
    let before = memory_kib(chain.monitor(0)?)?;
    for kind in FloodKind::ALL {
        flood_and_judge(&chain, &mut beats, (0, kind), report)?;
    }
    for kind in [FloodKind::OwnHeartbeats, FloodKind::InventedHandshakes] {
        flood_and_judge(&chain, &mut beats, (1, kind), report)?;
    }
    let after = memory_kib(chain.monitor(0)?)?;
    report.figure(format!("the monitor's memory: {before} KiB before, {after} KiB after"));
    expect(after <= before + GROWTH_KIB, || format!("the monitor grew from {before} to {after} KiB"))?;
    expect_conflict(&chain)?;
    expect_shown(&chain)?;
    chain.wait_until_beating(LOOK_LIMIT)?;
    nobody_accused(&chain, &mut beats)?;
    chain.still_runs()
}

/// One trunk beats every 100 ms, the other every second.
pub(super) fn plan() -> Plan {
    let fast = MonitorSettings { heartbeat_interval_ms: 100, ..AS_SHIPPED };
    let slow = MonitorSettings { heartbeat_interval_ms: 1000, ..AS_SHIPPED };
    Plan {
        pseudo_guests: GUESTS,
        monitors: fast,
        second_monitor: Some(slow),
        policed: true,
        ..Plan::default()
    }
}

/// Waits until the kernel polices a trunk and every guest has a lane of its own.
pub(super) fn wait_for_policing(monitor: &HostMonitor) -> Lab<()> {
    let what = format!("policing of {} with all guests known", monitor.trunk().device());
    wait::until(LOOK_LIMIT, &what, || {
        let policing = monitor.status()?.map(|status| status.policing);
        Ok(policing.filter(|policing| policing.on && policing.known == u64::from(GUESTS) + CANARY).map(drop))
    })
}

/// Starts a flood of the last guest; it claims to be the first one where it claims something.
pub(super) fn start_flood(chain: &Chain, trunk: &Trunk, kind: FloodKind) -> Lab<Flood> {
    let (victim, flooder) = (chain.guest(0)?, chain.guest(usize::from(GUESTS) - 1)?);
    let addresses = (trunk.monitor_mac(), trunk.guest_mac(flooder.number()));
    let place = Place::net(flooder.name());
    Flood::start(&place, (&trunk.adapter(), kind), (&addresses.0, &addresses.1, victim.uuid()), FLOOD_S)
}

/// UUIDs of the guests that do nothing wrong.
pub(super) fn healthy(chain: &Chain) -> Vec<String> {
    chain.guests.iter().take(usize::from(GUESTS) - 1).map(|guest| guest.uuid().to_string()).collect()
}

/// Fails if a monitor ever said of a healthy guest that it is silent, and it was not. Returns how often it was: this
/// machine may keep a guest from beating.
pub(super) fn nobody_accused(chain: &Chain, beats: &mut Beats) -> Lab<usize> {
    let (healthy, mut rightly) = (healthy(chain), 0);
    for (trunk, monitor) in chain.monitors.iter().enumerate() {
        let paths = status(monitor)?.paths;
        for line in monitor.logged().lines().filter(|line| line.contains("is silent for")) {
            let Some(uuid) = healthy.iter().find(|uuid| line.contains(uuid.as_str())) else { continue };
            let interval_ms = paths.iter().find(|path| path.vm == *uuid).map_or(0, |path| path.interval_ms);
            let at = time_of(line)?;
            let right = beats.was_silent((uuid, trunk), interval_ms, at.saturating_sub(LOGGED_WITHIN), at)?;
            expect(right, || format!("a guest that beats was accused: {line}"))?;
            rightly += 1;
        }
    }
    Ok(rightly)
}

/// When a line was logged, on the wall clock.
fn time_of(line: &str) -> Lab<Duration> {
    let stamp = line.split_whitespace().next().and_then(|word| word.parse::<jiff::Timestamp>().ok());
    let time = stamp.and_then(|stamp| Duration::try_from(stamp.as_duration()).ok());
    time.ok_or_else(|| LabError::Unexpected(format!("no time in {line}")))
}

fn flood_and_judge(
    chain: &Chain,
    beats: &mut Beats,
    (index, kind): (usize, FloodKind),
    report: &mut Report,
) -> Lab<()> {
    let trunk = chain.trunk(index)?;
    let before = dropped(chain, &trunk)?;
    let mut flood = start_flood(chain, &trunk, kind)?;
    let mut oldest = Oldest::default();
    let sent = loop {
        oldest.look(chain, beats)?;
        if let Some(sent) = flood.ended()? {
            break sent;
        }
        wait::pause();
    };
    let dropped = dropped(chain, &trunk)?.saturating_sub(before);
    let least = sent.tried.saturating_sub(PASS_MAXIMUM);
    expect(dropped >= least, || format!("{dropped} frames dropped of {} sent: too much passed", sent.tried))?;
    report.figure(format!(
        "{:<28} {:>7.0} frames/s, {dropped} of {} dropped; oldest heartbeat {:.2} intervals at {} looks",
        format!("{} {}", trunk.guests_device(), kind.name()),
        sent.rate(),
        sent.tried,
        oldest.hundredths as f64 / 100.0,
        oldest.looks
    ));
    Ok(())
}

/// The age of the oldest heartbeat of a healthy guest that any monitor told of.
#[derive(Default)]
struct Oldest {
    /// Hundredths of an interval.
    hundredths: u64,
    looks: u64,
}

impl Oldest {
    fn look(&mut self, chain: &Chain, beats: &mut Beats) -> Lab<()> {
        self.looks += 1;
        let healthy = healthy(chain);
        for (trunk, monitor) in chain.monitors.iter().enumerate() {
            let earliest = wait::realtime();
            let paths = status(monitor)?.paths;
            let latest = wait::realtime();
            for path in paths.iter().filter(|path| healthy.contains(&path.vm)) {
                let age = path.last_heartbeat_age_ms.unwrap_or(u64::MAX / 100);
                self.hundredths = self.hundredths.max(age * 100 / path.interval_ms.max(1));
                if path.state != "BEATING" || age * 10 >= path.interval_ms * MISSING_TENTHS {
                    let silent = beats.was_silent((&path.vm, trunk), path.interval_ms, earliest, latest)?;
                    expect(silent, || format!("a guest that beats was seen late: {path:?}"))?;
                    return Err(LabError::Skipped(format!(
                        "this machine kept a guest from beating: {path:?}"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Frames dropped on a trunk so far, as the kernel counts them.
fn dropped(chain: &Chain, trunk: &Trunk) -> Lab<u64> {
    let mut command = trunk.place().command(chain.world.kit().program("hmmgr"));
    command.args(["trunk", "show", &trunk.guests_device(), "-o", "json"]);
    let said = process::run(command)?.ok()?;
    let shown: serde_json::Value = serde_json::from_str(&said)
        .map_err(|error| LabError::Unexpected(format!("`hmmgr trunk show` is no JSON ({error}):\n{said}")))?;
    let counters = shown.pointer("/trunks/0/counters").and_then(|counters| counters.as_object());
    let dropped = counters.into_iter().flatten().filter(|(name, _)| name.ends_with("_dropped"));
    Ok(dropped.filter_map(|(_, frames)| frames.as_u64()).sum())
}

pub(super) fn status(monitor: &HostMonitor) -> Lab<MonitorStatus> {
    let gone =
        || LabError::Unexpected(format!("the monitor of {} does not answer", monitor.trunk().device()));
    monitor.status()?.ok_or_else(gone)
}

fn memory_kib(monitor: &HostMonitor) -> Lab<u64> {
    let text = crate::workspace::read(format!("/proc/{}/status", status(monitor)?.pid).as_ref())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| LabError::Unexpected(format!("no memory in:\n{text}")))
}

/// The guest whose UUID was claimed kept its path, and the claim is on record.
fn expect_conflict(chain: &Chain) -> Lab<()> {
    let (victim, trunk) = (chain.guest(0)?, chain.trunk(0)?);
    let mac = trunk.guest_mac(victim.number());
    let paths = status(chain.monitor(0)?)?.paths;
    expect(paths.iter().any(|path| path.vm == victim.uuid() && path.mac == mac), || {
        format!("the path of {} is not at {mac}: {paths:#?}", victim.uuid())
    })?;
    let log = chain.monitor(0)?.logged();
    let claim = format!("claims the UUID of VM {}", victim.uuid());
    expect(log.contains(&claim), || "the claim was not recorded".to_string())
}

/// The monitors' own status shows what was dropped, and people are shown it too.
fn expect_shown(chain: &Chain) -> Lab<()> {
    for monitor in &chain.monitors {
        let dropped = dropped(chain, monitor.trunk())?;
        wait::until(LOOK_LIMIT, &format!("the monitor's status to show {dropped} dropped frames"), || {
            Ok((status(monitor)?.policing.dropped() >= dropped).then_some(()))
        })?;
    }
    let shown = chain.monitor(0)?.hmmgr(&["status"])?.ok()?;
    expect(shown.contains("Policing:            on,") && shown.contains("strangers_dropped"), || {
        format!("`hmmgr status` does not tell of policing:\n{shown}")
    })?;
    let trunk = chain.trunk(0)?;
    let mut command = trunk.place().command(chain.world.kit().program("hmmgr"));
    command.args(["trunk", "check", &trunk.guests_device()]);
    process::run(command)?.ok().map(drop)
}
