//! The health store is a PostgreSQL server, which crashes and is frozen while guests fall silent.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, Plan, postgresql};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "store-on-postgresql",
    about: "monitors and controller on PostgreSQL: its crash and its standstill lose no edge and end no session",
    run,
};

/// 5 s of silence, a poll, and the time a monitor or controller takes to find the server back.
const LIMIT: Duration = Duration::from_secs(60);
/// Longer than a statement may take: whoever waits has given up meanwhile.
const STANDSTILL: Duration = Duration::from_secs(12);
const DETECTED: &str = "VM_FAILURE_DETECTED";

fn run(world: World, report: &mut Report) -> Lab<()> {
    let (mut server, _) = postgresql::serve_store(world.kit())?;
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    chain.register_and_wait()?;
    chain
        .controller
        .hamgr("modify vm guest1,guest2 heartbeat_interval=1000 vm_failure_detection_time=5")?
        .ok()?;

    server.kill();
    chain.guest(0)?.freeze()?;
    pass(Duration::from_secs(6))?;
    server.launch().map_err(LabError::Unexpected)?;
    let watch = Stopwatch::start();
    detected(&chain, 1)?;
    report.figure(format!(
        "silent while the server was dead: detected {:.1} s after its return",
        watch.seconds()
    ));
    chain.guest(0)?.thaw()?;
    chain.wait_until_beating(LIMIT)?;

    server.signal("STOP");
    chain.guest(1)?.freeze()?;
    let sessions = chain.monitor(0)?.paths()?.len();
    pass(STANDSTILL)?;
    expect(chain.monitor(0)?.paths()?.len() == sessions, || "a session ended with the store".to_string())?;
    server.signal("CONT");
    let watch = Stopwatch::start();
    detected(&chain, 2)?;
    report
        .figure(format!("silent while the server stood still: detected {:.1} s after that", watch.seconds()));
    chain.guest(1)?.thaw()?;
    chain.wait_until_beating(LIMIT)?;
    chain.still_runs()
}

fn detected(chain: &Chain, count: usize) -> Lab<()> {
    wait::until(LIMIT, &format!("{count} detections in all"), || {
        Ok((chain.events(DETECTED)?.len() == count).then_some(()))
    })
}

fn pass(time: Duration) -> Lab<()> {
    let watch = Stopwatch::start();
    wait::until(time * 2, "time to pass", || Ok((watch.elapsed() >= time).then_some(())))
}
