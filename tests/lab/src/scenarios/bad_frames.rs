//! Whatever arrives on a trunk, from an adapter that may send anything: it is discarded and counted, and the
//! heartbeats beside it go on.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, HostMonitor, Plan};
use crate::error::{Lab, expect};
use crate::frames::{self, ETHER_TYPE, packet};
use crate::outcome::Report;
use crate::process::Place;
use crate::wait;
use crate::world::{Trunk, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bad-frames",
    about: "garbage, cut, oversized and forged frames are counted discards; heartbeats go on",
    run,
};

const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";
const LIMIT: Duration = Duration::from_secs(30);
/// More frames than this of each kind: enough to be seen in any counter, quick to send.
const EACH: usize = 50;
/// A header's flags: a packet that is a whole message, one to be acknowledged, and a handshake's.
const WHOLE: u8 = 0x30;
const ACKNOWLEDGED: u8 = 0xb0;
const HANDSHAKE: u8 = 0xa4;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    chain.register_and_wait()?;
    let trunk = chain.trunk(0)?;
    let before = discarded(chain.monitor(0)?)?;

    let to_monitor = nonsense(&trunk, &trunk.guest_mac(1), &trunk.monitor_mac());
    frames::send(&Place::net("guest1"), &trunk.adapter(), &to_monitor)?;
    // Some have the form of a message on an open path and are judged there, as its sender's own fault.
    let expected = before + to_monitor.len() as u64 * 3 / 4;
    wait::until(LIMIT, &format!("the host monitor to count {expected} discarded frames"), || {
        Ok((discarded(chain.monitor(0)?)? >= expected).then_some(()))
    })?;
    report.figure(format!(
        "{} wrong frames sent to the host monitor, most of them counted discards",
        to_monitor.len()
    ));

    let to_guests = nonsense(&trunk, &trunk.monitor_mac(), BROADCAST);
    frames::send(&trunk.place(), &trunk.device(), &to_guests)?;
    report.figure(format!("{} wrong frames sent to every guest", to_guests.len()));
    chain.wait_until_beating(LIMIT)?;
    chain.still_runs()?;
    for guest in &chain.guests {
        expect(guest.runs("vmpulse-agentd"), || format!("the agent of {} is gone", guest.name()))?;
    }
    let alarms = chain.events("VM_FAILURE_DETECTED")?;
    expect(alarms.is_empty(), || format!("a failure was detected: {alarms:#?}"))
}

/// Many frames of every kind that is wrong in its own way.
fn nonsense(trunk: &Trunk, from: &str, to: &str) -> Vec<Vec<u8>> {
    let largest = vec![0x5a; 1486];
    let forged = format!("uuid={}:ostype=Linux:verVmmLower=2.0:verVmmUpper=2.1", "x".repeat(600));
    let mut kinds: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![2],
        b"not a packet at all".to_vec(),
        packet(9, WHOLE, 3, b"HB:"),
        packet(2, WHOLE, 60_000, b"HB:"),
        packet(2, 0xff, 3, b"HB:"),
        packet(2, ACKNOWLEDGED, largest.len(), &largest),
        packet(2, HANDSHAKE, forged.len(), forged.as_bytes()),
        packet(2, HANDSHAKE, 5, b"\xff\xfe\0=:"),
        packet(2, ACKNOWLEDGED, 14, b"PMSG_RSP:1:<xm"),
        packet(2, 0x80, 4, b"part"),
    ];
    let mut wrong_sum = packet(2, WHOLE, 3, b"HB:");
    if let Some(sum) = wrong_sum.get_mut(7) {
        *sum = sum.wrapping_add(1);
    }
    kinds.push(wrong_sum);
    let other = trunk.guest_mac(77);
    let every = kinds.iter().flat_map(|payload| {
        // From the sender's own address and from one that nobody has.
        [from, &other].map(|source| frames::frame(to, source, ETHER_TYPE, payload))
    });
    let every: Vec<Vec<u8>> = every.collect();
    std::iter::repeat_n(every, EACH).flatten().collect()
}

/// The sum of everything the host monitor counts as discarded.
fn discarded(monitor: &HostMonitor) -> Lab<u64> {
    let counters = monitor.status()?.map(|status| status.counters).unwrap_or_default();
    Ok(counters.iter().filter(|(name, _)| name.contains("discard")).map(|(_, count)| count).sum())
}
