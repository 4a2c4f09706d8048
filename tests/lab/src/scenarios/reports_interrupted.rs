//! An application changes while the daemons on the way of its report are killed, each at another moment: what the
//! controller has in the end is what the guest has.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Application, Chain, Plan};
use crate::error::Lab;
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "reports-interrupted",
    about: "agent, monitors and controller killed between doorbell and CLEAR_DB: the report arrives all the same",
    run,
};

/// A restarted host monitor accuses nobody for 10 s, and a doorbell rings again after 30 s.
const LIMIT: Duration = Duration::from_secs(90);
/// From the change: before the doorbell, with it, between it and the report, and after it, on a machine that is not slow.
const MOMENTS_MS: [u64; 4] = [0, 60, 400, 1200];

#[derive(Debug, Clone, Copy)]
enum Victim {
    Agent,
    Monitors,
    Controller,
    Everybody,
}

const VICTIMS: [Victim; 4] = [Victim::Agent, Victim::Monitors, Victim::Controller, Victim::Everybody];

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan::default())?;
    chain.register_and_wait()?;
    let shop = Application::install(&chain, 0, "shop")?;
    shop.vmmgr(&chain, &shop.add_line())?.ok()?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;
    let mut monitored = true;
    let mut longest = 0.0_f64;
    for victim in VICTIMS {
        for moment in MOMENTS_MS {
            monitored = !monitored;
            shop.vmmgr(&chain, &format!("-s modify app shop monitored={}", u8::from(monitored)))?.ok()?;
            let watch = Stopwatch::start();
            wait::until(LIMIT, "the moment to come", || {
                Ok((watch.elapsed() >= Duration::from_millis(moment)).then_some(()))
            })?;
            kill(&mut chain, victim)?;
            let watch = Stopwatch::start();
            let colour = if monitored { "GREEN" } else { "GRAY" };
            chain.wait_for_application("shop", colour, LIMIT)?;
            longest = longest.max(watch.seconds());
        }
    }
    report.figure(format!(
        "{} changes, each with somebody killed: known to the controller at most {longest:.1} s after that",
        VICTIMS.len() * MOMENTS_MS.len()
    ));
    chain.still_runs()
}

fn kill(chain: &mut Chain, victim: Victim) -> Lab<()> {
    let (agent, monitors, controller) = match victim {
        Victim::Agent => (true, false, false),
        Victim::Monitors => (false, true, false),
        Victim::Controller => (false, false, true),
        Victim::Everybody => (true, true, true),
    };
    if agent {
        chain.crash_agent(0)?;
    }
    if monitors {
        chain.crash_monitors()?;
    }
    if controller {
        chain.controller.crash()?;
        chain.controller.restart()?;
    }
    if monitors {
        chain.restart_monitors()?;
    }
    if agent {
        chain.restart_agent(0)?;
    }
    Ok(())
}
