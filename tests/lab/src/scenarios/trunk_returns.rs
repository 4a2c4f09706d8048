//! The trunk's devices are deleted and made again, under running daemons: sessions come back by themselves, and
//! nobody is accused meanwhile.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, Plan};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::{PseudoGuest, World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "trunk-returns",
    about: "a trunk deleted and made again, at both ends: sessions return by themselves",
    run,
};

const RETURN_LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 2, ..Plan::default() })?;
    chain.register_and_wait()?;
    chain
        .controller
        .hamgr("modify vm guest1,guest2 heartbeat_interval=1000 vm_failure_detection_time=5")?
        .ok()?;

    let trunk = chain.trunk(0)?;
    trunk.cut()?;
    adapter_noticed(&chain, 1)?;
    trunk.mend()?;
    let watch = Stopwatch::start();
    chain.wait_until_beating(RETURN_LIMIT)?;
    report.figure(format!("all paths beat {:.1} s after the trunk was up again", watch.seconds()));

    let numbers: Vec<u8> = chain.guests.iter().map(PseudoGuest::number).collect();
    trunk.destroy(&numbers)?;
    adapter_noticed(&chain, 2)?;
    trunk.recreate()?;
    for guest in &chain.guests {
        trunk.attach_namespace(guest.name(), guest.number())?;
    }
    let watch = Stopwatch::start();
    chain.wait_until_beating(RETURN_LIMIT)?;
    report.figure(format!("all paths beat {:.1} s after the trunk was made again", watch.seconds()));
    let alarms = chain.events("VM_FAILURE_DETECTED")?;
    expect(alarms.is_empty(), || format!("a failure was detected: {alarms:#?}"))?;
    chain.still_runs()
}

/// The monitor has said so many times that its adapter is gone.
fn adapter_noticed(chain: &Chain, times: usize) -> Lab<()> {
    wait::until(RETURN_LIMIT, "monitor A to notice that its trunk is down", || {
        let noticed = chain.monitor(0)?.logged().matches("so the trunk is not trusted").count();
        Ok((noticed >= times).then_some(()))
    })
}
