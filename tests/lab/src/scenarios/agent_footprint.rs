//! What agent and guardian cost a guest, as shipped: 16 applications, two paths, the usual interval.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, Plan};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "agent-footprint",
    about: "agent and guardian with 16 applications and 2 paths: under 5 MiB, programs under 6 MiB",
    run,
};

const APPLICATIONS: u64 = 16;
pub(super) const PROGRAMS: [&str; 2] = ["vmpulse-agentd", "vmpulse-guardian"];
/// The bound of both together, and of each file.
const RESIDENT_KIB: u64 = 5 * 1024;
const FILE_BYTES: u64 = 6 << 20;
const LIMIT: Duration = Duration::from_secs(90);
/// What is measured for longer is more exact; this is enough to see a mistake of the first order.
pub(super) const MEASURED: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let plan = Plan { monitors: AS_SHIPPED, agents_as_shipped: true, ..Plan::default() };
    let mut chain = Chain::start(world, plan)?;
    chain.register_and_wait()?;
    add_applications(&chain, 0)?;
    processor(&chain, report)?;
    memory(&chain, report)?;
    files(&chain, report)?;
    chain.still_runs()
}

/// To a guest; waits until the scripts of each have run.
pub(super) fn add_applications(chain: &Chain, number: usize) -> Lab<()> {
    let (guest, agent) = (chain.guest(number)?, chain.agent(number)?);
    guest.write("/etc/vmpulse/app.sh", "#!/bin/sh\nexit 0\n")?;
    for number in 1..=APPLICATIONS {
        let scripts = ["monitor", "start", "stop"].map(|kind| format!("{kind}_script=/etc/vmpulse/app.sh"));
        let line = format!("-s add app app{number} {}", scripts.join(" "));
        agent.vmmgr(guest, &line)?.ok()?;
    }
    wait::until(LIMIT, "every application to be GREEN", || {
        let said = agent.vmmgr(guest, "query app")?.ok()?;
        Ok((said.matches("(GREEN)").count() as u64 == APPLICATIONS).then_some(()))
    })
}

fn memory(chain: &Chain, report: &mut Report) -> Lab<()> {
    let guest = chain.guest(0)?;
    let [agent, guardian] = PROGRAMS.map(|program| guest.resident_kib(program));
    let (agent, guardian) = (agent?, guardian?);
    report.figure(format!(
        "resident: agent {agent} KiB, guardian {guardian} KiB, together {} KiB",
        agent + guardian
    ));
    expect(agent + guardian <= RESIDENT_KIB, || {
        format!("{} KiB are more than {RESIDENT_KIB}", agent + guardian)
    })
}

fn processor(chain: &Chain, report: &mut Report) -> Lab<()> {
    let guest = chain.guest(0)?;
    let spent = || PROGRAMS.iter().map(|program| guest.processor_time(program)).collect::<Lab<Vec<_>>>();
    let (before, watch) = (spent()?, Stopwatch::start());
    wait::until(MEASURED * 2, "the time of the measurement to be over", || {
        Ok((watch.elapsed() >= MEASURED).then_some(()))
    })?;
    let seconds = watch.seconds();
    for ((program, before), after) in PROGRAMS.iter().zip(before).zip(spent()?) {
        let percent = (after - before).as_secs_f64() / seconds * 100.0;
        report
            .figure(format!("{program}: {percent:.3} % of a core over {seconds:.0} s, scripts not counted"));
    }
    Ok(())
}

fn files(chain: &Chain, report: &mut Report) -> Lab<()> {
    let folder = &chain.world.kit().static_agent;
    for program in ["vmpulse-agentd", "vmpulse-guardian", "vmmgr"] {
        let bytes = std::fs::metadata(folder.join(program)).map(|found| found.len()).unwrap_or(u64::MAX);
        report.figure(format!("{program}: {bytes} bytes, static and stripped"));
        expect(bytes <= FILE_BYTES, || format!("{program} has {bytes} bytes"))?;
    }
    Ok(())
}
