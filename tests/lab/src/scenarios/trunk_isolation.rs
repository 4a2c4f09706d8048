//! Guests reach the host monitor over a trunk, and never each other, nor another trunk. [C-8]

use std::time::Duration;

use super::Scenario;
use crate::error::{Lab, expect};
use crate::frames::{self, Capture};
use crate::outcome::Report;
use crate::process::Place;
use crate::wait;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "trunk-isolation",
    about: "guests reach the host monitor and never each other, by unicast or broadcast",
    run,
};

const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";
/// An EtherType of its own: no daemon speaks here.
const ETHER_TYPE: u16 = 0x88b6;
/// A frame crosses a veth in microseconds.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);

fn run(mut world: World, report: &mut Report) -> Lab<()> {
    let (a, b) = (world.add_trunk('A')?, world.add_trunk('B')?);
    let (one, two) = (world.start_pseudo_guest(1)?, world.start_pseudo_guest(2)?);
    let mut at_monitor = Capture::start(&a.place(), &a.device(), "monitor-a")?;
    let mut at_other_trunk = Capture::start(&b.place(), &b.device(), "monitor-b")?;
    let mut at_two = Capture::start(&Place::net(two.name()), &a.adapter(), "guest2-a")?;

    let first = a.guest_mac(one.number());
    let targets = [a.monitor_mac(), a.guest_mac(two.number()), BROADCAST.to_string()];
    let sent: Vec<Vec<u8>> =
        targets.iter().map(|to| frames::frame(to, &first, ETHER_TYPE, b"from guest 1")).collect();
    frames::send(&Place::net(one.name()), &a.adapter(), &sent)?;
    for target in &targets {
        arrives(&mut at_monitor, &first, target)?;
    }

    // The monitor's answer comes after whatever guest 1 could have sent to guest 2 directly.
    let answer = [frames::frame(BROADCAST, &a.monitor_mac(), ETHER_TYPE, b"from the monitor")];
    frames::send(&a.place(), &a.device(), &answer)?;
    arrives(&mut at_two, &a.monitor_mac(), BROADCAST)?;

    expect_nothing_from(&mut at_two, &first, "guest 2 hears guest 1 on the same trunk")?;
    expect_nothing_from(&mut at_other_trunk, &first, "trunk B hears a guest's adapter on trunk A")?;
    report.figure(format!("trunks are {}", a.describe()));
    Ok(())
}

fn arrives(capture: &mut Capture, from: &str, to: &str) -> Lab<()> {
    wait::until(ARRIVAL_LIMIT, &format!("a frame from {from} to {to}"), || {
        let frames = capture.frames()?;
        let there = frames.iter().any(|f| f.ether_type() == ETHER_TYPE && f.from() == from && f.to() == to);
        Ok(there.then_some(()))
    })
}

fn expect_nothing_from(capture: &mut Capture, mac: &str, otherwise: &str) -> Lab<()> {
    let heard = capture.frames()?.into_iter().filter(|frame| frame.from() == mac).count();
    expect(heard == 0, || format!("{otherwise}: {heard} frames"))
}
