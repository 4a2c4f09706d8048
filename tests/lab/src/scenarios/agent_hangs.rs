//! One agent hangs (SIGSTOP), another dies (SIGKILL), at the shortest, a middle and the usual interval: their guardians beat,
//! the monitors say so and accuse nobody, and when the agents are back everything is as before. One guest has a key.

use std::time::Duration;

use super::Scenario;
use crate::daemons::keys::{self, Secured};
use crate::daemons::{Chain, PathStatus, Plan};
use crate::error::{Lab, LabError, expect};
use crate::frames::{Capture, Frame, Packet};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "agent-hangs",
    about: "SIGSTOP and SIGKILL to agents at 100 ms, 1 s and 10 s: guardians beat, nobody is MISSING",
    run,
};

const AGENT: &str = "vmpulse-agentd";
const GUARDIAN: &str = "vmpulse-guardian";
/// Gets a key, and hangs; the other one has none, and dies.
const HANGS: usize = 0;
const DIES: usize = 1;
const INTERVALS_MS: [u64; 3] = [100, 1000, 10_000];
/// Within this time of its hanging an agent is said to have failed. It is itself what is required.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// Heartbeats of a guardian that are waited for.
const KEPT_FOR: u64 = 3;
const LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    let trunk = chain.trunk(0)?;
    let mut capture = Capture::start(&trunk.place(), &trunk.device(), "monitor-a")?;
    chain.register_and_wait()?;
    keys::hmmgr_key(&chain, HANGS, "create VM")?;
    keys::carry(&chain, HANGS, 1)?;
    keys::wait_until(&chain, HANGS, Secured::with(1))?;
    wait_for_guardians(&chain)?;
    for interval_ms in INTERVALS_MS {
        let change = format!("modify vm guest1,guest2 heartbeat_interval={interval_ms}");
        chain.controller.hamgr(&change)?.ok()?;
        wait_for_paths(&chain, "to beat by the new interval", |path| {
            path.interval_ms == interval_ms && path.state == "BEATING"
        })?;
        fail_and_return(&mut chain, &mut capture, interval_ms, report)?;
    }
    nobody_was_accused(&chain)?;
    deliberate_stop(&mut chain)?;
    memory(&chain, report)?;
    chain.still_runs()
}

fn fail_and_return(
    chain: &mut Chain,
    capture: &mut Capture,
    interval_ms: u64,
    report: &mut Report,
) -> Lab<()> {
    let before = wait::realtime();
    let watch = Stopwatch::start();
    chain.guest(HANGS)?.stun(AGENT)?;
    chain.crash_agent(DIES)?;
    wait_for_paths(chain, "to be kept by guardians", |path| path.guardian)?;
    let shown = watch.elapsed();
    let told = told_after(chain, capture, before)?;
    report.figure(format!(
        "{interval_ms} ms: HB:G {:.2} s and {:.2} s after SIGSTOP and SIGKILL; shown by hmmgr status of both monitors {:.2} s \
         after",
        told[0].as_secs_f64(),
        told[1].as_secs_f64(),
        shown.as_secs_f64()
    ));
    expect(told.iter().all(|told| *told <= TOLD_WITHIN), || format!("told too late: {told:?}"))?;
    let counted = heartbeats(chain)?;
    wait::until(LIMIT, "guardians to go on beating", || {
        let now = heartbeats(chain)?;
        Ok(now.iter().zip(&counted).all(|(now, then)| *now >= then + KEPT_FOR).then_some(()))
    })?;
    wait_for_paths(chain, "to be kept and to beat", |path| path.guardian && path.state == "BEATING")?;
    chain.guest(HANGS)?.thaw()?;
    chain.restart_agent(DIES)?;
    wait_for_paths(chain, "to be handed back", |path| !path.guardian && path.state == "BEATING")?;
    keys::wait_until(chain, HANGS, Secured::with(1))
}

/// How long after `since` the first heartbeat of each guest's guardian was on the trunk.
fn told_after(chain: &Chain, capture: &mut Capture, since: Duration) -> Lab<[Duration; 2]> {
    let frames = capture.frames()?;
    let trunk = chain.trunk(0)?;
    let first = |guest: usize| -> Lab<Duration> {
        let mac = trunk.guest_mac(chain.guest(guest)?.number());
        let told = frames.iter().find(|frame| frame.at > since && frame.from() == mac && is_guardians(frame));
        let told = told.ok_or_else(|| LabError::Unexpected(format!("no HB:G of {mac} was captured")))?;
        Ok(told.at.saturating_sub(since))
    };
    Ok([first(HANGS)?, first(DIES)?])
}

fn is_guardians(frame: &Frame) -> bool {
    Packet::of(frame).is_some_and(|packet| packet.payload == b"HB:G")
}

fn wait_for_guardians(chain: &Chain) -> Lab<()> {
    wait::until(LIMIT, "every guest to have a guardian", || {
        Ok(chain.guests.iter().all(|guest| guest.runs(&GUARDIAN[..15])).then_some(()))
    })
}

fn wait_for_paths(chain: &Chain, what: &str, good: impl Fn(&PathStatus) -> bool) -> Lab<()> {
    let mut last = Vec::new();
    let found = wait::until(LIMIT, &format!("all paths {what}"), || {
        last = paths(chain)?;
        Ok((last.len() == 4 && last.iter().all(&good)).then_some(()))
    });
    found.map_err(|error| error.seen_last(|| format!("{last:#?}")))
}

/// Of all guests at all monitors, in an order that stays.
fn paths(chain: &Chain) -> Lab<Vec<PathStatus>> {
    let all: Lab<Vec<_>> = chain.monitors.iter().map(|monitor| monitor.paths()).collect();
    Ok(all?.into_iter().flatten().collect())
}

fn heartbeats(chain: &Chain) -> Lab<Vec<u64>> {
    Ok(paths(chain)?.iter().map(|path| path.heartbeats).collect())
}

fn nobody_was_accused(chain: &Chain) -> Lab<()> {
    for monitor in &chain.monitors {
        let log = monitor.logged();
        let accused: Vec<&str> = log.lines().filter(|line| line.contains("is silent for")).collect();
        expect(accused.is_empty(), || format!("a path was MISSING:\n{}", accused.join("\n")))?;
        for guest in &chain.guests {
            let failed = format!("the agent of VM {} hangs or died", guest.uuid());
            expect(log.contains(&failed), || format!("the monitor's log does not say: {failed}"))?;
        }
        // What the agent had drawn a number for when it was stopped, and sent when it went on, is rightly called replayed.
        for (name, most) in [("discarded_forged", 0), ("discarded_replayed", INTERVALS_MS.len() as u64)] {
            let dropped = monitor.counter(name)?;
            expect(dropped <= most, || format!("{name}: {dropped}"))?;
        }
    }
    let alarms = chain.events("VM_FAILURE_DETECTED")?;
    expect(alarms.is_empty(), || format!("a failure was detected: {alarms:#?}"))
}

/// Who says good-bye is not beaten for, and its guardian ends with it.
fn deliberate_stop(chain: &mut Chain) -> Lab<()> {
    chain.stop_agent(DIES)?;
    wait::until(LIMIT, "the guardian to end with its daemon", || {
        Ok((!chain.guest(DIES)?.runs(&GUARDIAN[..15])).then_some(()))
    })?;
    let uuid = chain.guest(DIES)?.uuid().to_string();
    let kept = paths(chain)?.into_iter().any(|path| path.vm == uuid && path.guardian);
    expect(!kept, || "a guardian beats for a daemon that was stopped".to_string())?;
    chain.restart_agent(DIES)?;
    wait_for_guardians(chain)
}

fn memory(chain: &Chain, report: &mut Report) -> Lab<()> {
    let guest = chain.guest(HANGS)?;
    report.figure(format!(
        "resident as built for tests: agent {} KiB, guardian {} KiB",
        guest.resident_kib(AGENT)?,
        guest.resident_kib(GUARDIAN)?
    ));
    Ok(())
}
