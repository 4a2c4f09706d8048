//! What the event recorder costs a guest: memory of agent and guardian beside a guest without it, and what they write in a minute.

use std::path::Path;

use super::Scenario;
use super::agent_footprint::{MEASURED, PROGRAMS, add_applications};
use crate::daemons::{AS_SHIPPED, Agent, Chain, Plan};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "recorder-footprint",
    about: "agent and guardian with the recorder, 2 paths, without and with 16 applications: memory, bytes a minute",
    run,
};

const RECORDS: &str = "/etc/vmpulse/records";
const RECORDER: &str = "[recorder]\ndirectory = \"/etc/vmpulse/records\"\n";
/// What each of them records.
const FILES: [&str; 2] = ["agent-", "guardian-"];

fn run(world: World, report: &mut Report) -> Lab<()> {
    let plan = Plan { pseudo_guests: 2, monitors: AS_SHIPPED, agents_as_shipped: true, ..Plan::default() };
    let mut chain = Chain::start(world, plan)?;
    chain.stop_agent(0)?;
    let kit = chain.world.kit().clone();
    let recorded = Agent::start(&kit, chain.guest(0)?, true, RECORDER)?;
    if let Some(agent) = chain.agents.first_mut() {
        *agent = recorded;
    }
    chain.register_and_wait()?;
    written(&chain, "no application", report)?;
    for guest in [0, 1] {
        add_applications(&chain, guest)?;
    }
    written(&chain, "16 applications", report)?;
    for (guest, what) in [(0, "with the recorder"), (1, "without")] {
        let [agent, guardian] = PROGRAMS.map(|program| chain.guest(guest)?.resident_kib(program));
        report.figure(format!("resident {what}: agent {} KiB, guardian {} KiB", agent?, guardian?));
    }
    chain.still_runs()
}

/// In the time of a measurement. An idle agent hears and sends, so that a record which does not grow is none.
fn written(chain: &Chain, what: &str, report: &mut Report) -> Lab<()> {
    let lengths = || {
        chain
            .guest(0)
            .and_then(|guest| FILES.map(|name| length(&guest.path(RECORDS), name)).into_iter().collect())
    };
    let (before, watch): (Vec<u64>, _) = (lengths()?, Stopwatch::start());
    wait::until(MEASURED * 2, "the time of the measurement to be over", || {
        Ok((watch.elapsed() >= MEASURED).then_some(()))
    })?;
    let minutes = watch.seconds() / 60.0;
    let after: Vec<u64> = lengths()?;
    for ((name, before), after) in FILES.iter().zip(before).zip(after) {
        expect(after > before, || format!("{name} records nothing"))?;
        let rate = (after - before) as f64 / minutes;
        report.figure(format!("{what}: {name} {rate:.0} bytes a minute, {before} before"));
    }
    Ok(())
}

/// Of all records whose names begin so, together.
fn length(directory: &Path, name: &str) -> Lab<u64> {
    let entries = std::fs::read_dir(directory).map_err(LabError::file("list", directory))?;
    let ours = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(name);
    Ok(entries
        .filter_map(Result::ok)
        .filter(ours)
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum())
}
