//! An application fails for good in its guest; the doorbell takes the news to `hamgr query app`, and so it does when
//! the application is repaired.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Application, Chain, Plan};
use crate::error::Lab;
use crate::outcome::Report;
use crate::wait::Stopwatch;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "application-turns-red",
    about: "a failed application is RED at hamgr query app, and GREEN again when repaired",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    let shop = Application::install(&chain, 0, "shop")?;
    shop.vmmgr(&chain, &shop.add_line())?.ok()?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;

    shop.break_it(&chain)?;
    let watch = Stopwatch::start();
    chain.wait_for_application("shop", "RED", LIMIT)?;
    report.figure(format!("RED at the controller {:.1} s after it broke", watch.seconds()));
    let said = shop.vmmgr(&chain, "query app shop")?.ok()?;
    crate::error::expect(said.contains("status=FAILURE (RED)"), || format!("the guest says:\n{said}"))?;

    shop.repair(&chain)?;
    shop.vmmgr(&chain, &shop.modify_line())?.ok()?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;
    chain.still_runs()
}
