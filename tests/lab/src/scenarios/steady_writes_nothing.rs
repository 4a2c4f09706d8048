//! Healthy guests cost the store nothing: while hundreds of heartbeats arrive, its files do not change.

use std::time::{Duration, SystemTime};

use super::Scenario;
use crate::daemons::{Chain, MonitorSettings, Plan, requests, store_file};
use crate::error::{Lab, LabError, expect};
use crate::frames::{Capture, Frame};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "steady-writes-nothing",
    about: "steady heartbeats write nothing to the store but the monitors' own heartbeat",
    run,
};

/// Ten heartbeats a second on each of four paths.
const HEARTBEAT_MS: u32 = 100;
/// The longest that is allowed. Two monitors' own heartbeats leave room for a quiet time between them.
const STORE_HEARTBEAT_MS: u32 = 60_000;
/// How long nothing may be written.
const QUIET: Duration = Duration::from_secs(10);
/// The agents' first doorbells and reports are the last writes before it is quiet.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// On one trunk: two guests, ten a second each, ten seconds, and a machine that may be slow.
const ENOUGH_HEARTBEATS: usize = 100;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let monitors = MonitorSettings {
        heartbeat_interval_ms: HEARTBEAT_MS,
        store_heartbeat_interval_ms: STORE_HEARTBEAT_MS,
        vlan: 0,
    };
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, monitors, ..Plan::default() })?;
    let trunk = chain.trunk(0)?;
    let mut capture = Capture::start(&trunk.place(), &trunk.device(), "monitor-a")?;
    chain.register_and_wait()?;
    doorbells_are_answered(&chain, &mut capture)?;
    // The controller writes a heartbeat of its own; this is about guests and host monitors.
    chain.controller.stop()?;

    let mut state = files()?;
    let mut heard = heartbeats(&capture.frames()?);
    let mut since = Stopwatch::start();
    wait::until(SETTLE_LIMIT, "ten seconds in which nothing is written", || {
        let now = files()?;
        if now != state {
            state = now;
            heard = heartbeats(&capture.frames()?);
            since = Stopwatch::start();
        }
        Ok((since.elapsed() >= QUIET).then_some(()))
    })?;
    let arrived = heartbeats(&capture.frames()?) - heard;
    expect(arrived >= ENOUGH_HEARTBEATS, || {
        format!("only {arrived} heartbeats arrived on trunk A meanwhile")
    })?;
    report.figure(format!("{arrived} heartbeats on trunk A in {} s, no write to the store", QUIET.as_secs()));
    chain.still_runs()
}

/// The first doorbell follows the fourth heartbeat; what it brings is written, and rightly so.
fn doorbells_are_answered(chain: &Chain, capture: &mut Capture) -> Lab<()> {
    wait::until(SETTLE_LIMIT, "the first doorbells to be answered", || {
        let rung = heartbeats(&capture.frames()?) > 2 * 5;
        let waiting = chain.passthru(&requests::needs_attention())?.contains("shortMsg");
        Ok((rung && !waiting).then_some(()))
    })
}

/// Size and time of change of the database and of its write-ahead log: every commit changes one of them.
fn files() -> Lab<Vec<(String, u64, SystemTime)>> {
    let database = store_file();
    let log = database.with_extension("db-wal");
    let mut found = Vec::new();
    for path in [database, log] {
        let data = std::fs::metadata(&path).map_err(LabError::file("read", &path))?;
        let changed = data.modified().map_err(LabError::file("read", &path))?;
        found.push((path.display().to_string(), data.len(), changed));
    }
    Ok(found)
}

fn heartbeats(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.is_heartbeat()).count()
}
