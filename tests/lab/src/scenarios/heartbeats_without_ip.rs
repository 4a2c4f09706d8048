//! What agents and host monitors put on a trunk: the heartbeats' EtherType and nothing else, and no guest hears
//! another one's.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, Plan};
use crate::error::{Lab, expect};
use crate::frames::{Capture, ETHER_TYPE, Frame};
use crate::outcome::Report;
use crate::process::Place;
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "heartbeats-without-ip",
    about: "agents and monitors speak EtherType 0x88B5 only, and no guest hears another",
    run,
};

/// Heartbeats of each guest looked at.
const ENOUGH: usize = 5;
const HEARTBEATS_LIMIT: Duration = Duration::from_secs(30);
fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    let trunk = chain.trunk(0)?;
    let mut at_monitor = Capture::start(&trunk.place(), &trunk.device(), "monitor-a")?;
    let mut at_second = Capture::start(&Place::net("guest2"), &trunk.adapter(), "guest2-a")?;
    chain.register_and_wait()?;

    let guests = [trunk.guest_mac(1), trunk.guest_mac(2)];
    for mac in &guests {
        wait::until(HEARTBEATS_LIMIT, &format!("{ENOUGH} heartbeats of {mac}"), || {
            Ok((heartbeats(&at_monitor.frames()?, mac) >= ENOUGH).then_some(()))
        })?;
    }
    let frames = at_monitor.frames()?;
    let foreign: Vec<&Frame> = frames.iter().filter(|frame| frame.ether_type() != ETHER_TYPE).collect();
    expect(foreign.is_empty(), || format!("other frames on the trunk: {foreign:02x?}"))?;
    let plain = frames.iter().filter(|frame| frame.is_heartbeat()).all(|frame| frame.payload().len() <= 46);
    expect(plain, || "a heartbeat is larger than the smallest Ethernet frame".to_string())?;

    let overheard = at_second.frames()?.iter().filter(|frame| frame.from() == trunk.guest_mac(1)).count();
    expect(overheard == 0, || format!("guest 2 heard {overheard} frames of guest 1"))?;
    report.figure(format!("{} frames, all of EtherType {ETHER_TYPE:#06x}", frames.len()));
    chain.still_runs()
}

fn heartbeats(frames: &[Frame], from: &str) -> usize {
    frames.iter().filter(|frame| frame.is_heartbeat() && frame.from() == from).count()
}
