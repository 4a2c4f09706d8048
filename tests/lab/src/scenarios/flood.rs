//! A guest sends whatever it can, as fast as it can: the kernel drops it at the sender's cost, and nobody else is late.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, HostMonitor, MonitorSettings, MonitorStatus, PathStatus, Plan};
use crate::error::{Lab, LabError, expect};
use crate::frames::{Capture, Flood, FloodKind, Frame};
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
/// How long each flood lasts.
const FLOOD_S: u64 = 5;
/// The monitor looks at its table every 5 s.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// What may pass of a flood: a burst and the rate of both lanes, many times over.
const PASS_MAXIMUM: u64 = 40_000;
/// The monitor's memory may grow by so much: every table that strangers can fill is far smaller.
const GROWTH_KIB: u64 = 16 * 1024;
/// Tenths of an interval after which a path is MISSING.
const MISSING_TENTHS: u64 = 19;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, plan())?;
    chain.register_and_wait()?;
    for monitor in &chain.monitors {
        wait_for_policing(monitor)?;
    }
    let before = memory_kib(chain.monitor(0)?)?;
    for kind in FloodKind::ALL {
        flood_and_judge(&chain, 0, kind, report)?;
    }
    for kind in [FloodKind::OwnHeartbeats, FloodKind::InventedHandshakes] {
        flood_and_judge(&chain, 1, kind, report)?;
    }
    let after = memory_kib(chain.monitor(0)?)?;
    report.figure(format!("the monitor's memory: {before} KiB before, {after} KiB after"));
    expect(after <= before + GROWTH_KIB, || format!("the monitor grew from {before} to {after} KiB"))?;
    expect_conflict(&chain)?;
    expect_shown(&chain)?;
    chain.wait_until_beating(LOOK_LIMIT)?;
    nobody_accused(&chain)?;
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
        Ok(policing.filter(|policing| policing.on && policing.known == u64::from(GUESTS)).map(drop))
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

/// Fails if a monitor ever said of a healthy guest that it is silent.
pub(super) fn nobody_accused(chain: &Chain) -> Lab<()> {
    let healthy = healthy(chain);
    for monitor in &chain.monitors {
        let log = monitor.logged();
        let mut accused = log.lines().filter(|line| line.contains("is silent for"));
        if let Some(line) = accused.find(|line| healthy.iter().any(|uuid| line.contains(uuid.as_str()))) {
            return Err(LabError::Unexpected(format!("a guest that beats was accused: {line}")));
        }
    }
    Ok(())
}

fn flood_and_judge(chain: &Chain, index: usize, kind: FloodKind, report: &mut Report) -> Lab<()> {
    let trunk = chain.trunk(index)?;
    let before = dropped(chain, &trunk)?;
    let during = format!("{}-{}", trunk.guests_device(), kind.name());
    let watched: Lab<Vec<Watched<'_>>> =
        chain.monitors.iter().map(|monitor| Watched::start(monitor, &during)).collect();
    let mut watched = watched?;
    let mut flood = start_flood(chain, &trunk, kind)?;
    let sent = loop {
        watched.iter_mut().try_for_each(|one| one.look(&healthy(chain)))?;
        if let Some(sent) = flood.ended()? {
            break sent;
        }
        wait::pause();
    };
    for one in &mut watched {
        one.judge(chain)?;
    }
    let after = dropped(chain, &trunk)?;
    let dropped = after.saturating_sub(before);
    let least = sent.tried.saturating_sub(PASS_MAXIMUM);
    expect(dropped >= least, || format!("{dropped} frames dropped of {} sent: too much passed", sent.tried))?;
    let worst = watched.iter().map(|one| one.worst_hundredths).max().unwrap_or_default();
    let looks: u64 = watched.iter().map(|one| one.looks).sum();
    report.figure(format!(
        "{during:<28} {:>7.0} frames/s, {dropped} of {} dropped; oldest heartbeat {:.2} intervals at {looks} looks",
        sent.rate(),
        sent.tried,
        worst as f64 / 100.0,
    ));
    Ok(())
}

/// A trunk that is looked at during a flood, of itself or of the other one.
struct Watched<'a> {
    monitor: &'a HostMonitor,
    capture: Capture,
    /// Age of the oldest heartbeat, in hundredths of its interval.
    worst_hundredths: u64,
    looks: u64,
    /// Who was late, by UUID: the path as it was seen then.
    late: BTreeMap<String, PathStatus>,
}

impl<'a> Watched<'a> {
    fn start(monitor: &'a HostMonitor, during: &str) -> Lab<Watched<'a>> {
        let trunk = monitor.trunk();
        let name = format!("{}-during-{during}", trunk.device());
        let capture = Capture::start(&trunk.place(), &trunk.device(), &name)?;
        Ok(Watched { monitor, capture, worst_hundredths: 0, looks: 0, late: BTreeMap::new() })
    }

    fn look(&mut self, healthy: &[String]) -> Lab<()> {
        self.looks += 1;
        for path in status(self.monitor)?.paths.into_iter().filter(|path| healthy.contains(&path.vm)) {
            let age = path.last_heartbeat_age_ms.unwrap_or(u64::MAX / 100);
            self.worst_hundredths = self.worst_hundredths.max(age * 100 / path.interval_ms.max(1));
            if path.state != "BEATING" || age * 10 >= path.interval_ms * MISSING_TENTHS {
                self.late.insert(path.vm.clone(), path);
            }
        }
        Ok(())
    }

    /// A guest that this machine kept from sending proves nothing; one whose heartbeats were on the wire does.
    fn judge(&mut self, chain: &Chain) -> Lab<()> {
        let captured = self.capture.frames()?;
        let mut kept = None;
        for (uuid, seen) in &self.late {
            let guest = chain.guests.iter().find(|guest| guest.uuid() == uuid);
            let mac = guest.map(|guest| self.monitor.trunk().guest_mac(guest.number())).unwrap_or_default();
            let gap = longest_gap(&captured, &mac);
            let late = gap.as_millis() * 10 >= u128::from(seen.interval_ms * MISSING_TENTHS);
            expect(late, || {
                format!("heartbeats never further apart than {} ms were seen late: {seen:?}", gap.as_millis())
            })?;
            kept = Some(format!("this machine kept {uuid} from beating for {} ms", gap.as_millis()));
        }
        kept.map_or(Ok(()), |text| Err(LabError::Skipped(text)))
    }
}

fn longest_gap(captured: &[Frame], mac: &str) -> Duration {
    let beats: Vec<Duration> = captured
        .iter()
        .filter(|frame| frame.is_heartbeat() && frame.from() == mac)
        .map(|frame| frame.at)
        .collect();
    let gaps = beats.iter().zip(beats.iter().skip(1)).map(|(earlier, later)| later.saturating_sub(*earlier));
    gaps.max().unwrap_or(Duration::MAX)
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
