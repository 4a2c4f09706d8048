//! SIGKILL to every daemon in turn: sessions come back by themselves, no false alarm, no lost edge.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, Plan, text_of};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "daemons-crash",
    about: "agent, host monitor, controller: SIGKILL and restart; no false alarm, no lost edge",
    run,
};

/// A restarted host monitor says Hello at once; a restarted agent is greeted at its first frame or the next Hello.
const RETURN_LIMIT: Duration = Duration::from_secs(45);
/// A restarted monitor accuses nobody for 10 s; then 5 s of silence and a poll.
const DETECTION_LIMIT: Duration = Duration::from_secs(60);
const DETECTED: &str = "VM_FAILURE_DETECTED";

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    chain.register_and_wait()?;
    chain
        .controller
        .hamgr("modify vm guest1,guest2 heartbeat_interval=1000 vm_failure_detection_time=5")?
        .ok()?;

    agent_returns(&mut chain, report)?;
    one_monitor_returns(&mut chain, report)?;
    controller_returns(&mut chain)?;
    expect_alarms(&chain, 0, "after every daemon was killed and restarted once")?;

    // Both monitors die, and while nobody listens guest 2 freezes: found out after their restart.
    chain.crash_monitors()?;
    chain.guest(1)?.freeze()?;
    chain.restart_monitors()?;
    let watch = Stopwatch::start();
    wait::until(DETECTION_LIMIT, "the guest that froze unheard to be detected", || {
        Ok((chain.events(DETECTED)?.len() == 1).then_some(()))
    })?;
    report.figure(format!(
        "frozen while both monitors were dead: detected {:.1} s after their restart",
        watch.seconds()
    ));
    let event = chain.events(DETECTED)?;
    let resource = event.first().map(|event| text_of(event, "resource")).unwrap_or_default();
    expect(resource.contains("guest2"), || format!("the wrong guest was detected: {resource}"))?;

    // The incident goes on over another death of the controller, and is still one event.
    chain.controller.crash()?;
    chain.controller.restart()?;
    chain.guest(1)?.thaw()?;
    chain.wait_for_vm("guest2", RETURN_LIMIT, "to be well again", |vm| {
        text_of(vm, "restart_phase").is_empty()
    })?;
    chain.wait_until_beating(RETURN_LIMIT)?;
    expect_alarms(&chain, 1, "at the end")?;
    chain.still_runs()
}

fn agent_returns(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    chain.crash_agent(0)?;
    let watch = Stopwatch::start();
    chain.restart_agent(0)?;
    chain.wait_until_beating(RETURN_LIMIT)?;
    report.figure(format!("agent killed: all paths beat {:.1} s after its restart", watch.seconds()));
    Ok(())
}

fn one_monitor_returns(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    let monitor = chain.monitor_mut(0)?;
    monitor.crash()?;
    let watch = Stopwatch::start();
    monitor.restart()?;
    chain.wait_until_beating(RETURN_LIMIT)?;
    report.figure(format!("host monitor killed: all paths beat {:.1} s after its restart", watch.seconds()));
    Ok(())
}

fn controller_returns(chain: &mut Chain) -> Lab<()> {
    chain.controller.crash()?;
    chain.controller.restart()?;
    chain.wait_until_started()
}

fn expect_alarms(chain: &Chain, count: usize, when: &str) -> Lab<()> {
    let events = chain.events(DETECTED)?;
    expect(events.len() == count, || format!("{} alarms {when}, not {count}: {events:#?}", events.len()))
}
