//! An operator rehearses where systemd looks after the daemons: a killed agent stays dead until the undo, or is back at once where
//! that is wanted; one that hangs goes on.

use std::time::Duration;

use super::Scenario;
use super::systemd_unit::{Container, boot};
use crate::daemons::Injector;
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::Place;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-systemd",
    about: "vmpulse-inject under a real systemd: a killed agent stays dead until undone, or is restarted",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
const UNIT: &str = "vmpulse-agentd.service";
const TEXT: &str = "[Service]\nExecStart=/lab/vmpulse-agentd\n\
    Environment=VMPULSE_AGENT_SETTINGS=/etc/vmpulse/agent.toml\nRestart=always\nRestartSec=100ms\n";

fn run(world: World, report: &mut Report) -> Lab<()> {
    if !world.kit().real_root {
        return Err(LabError::Skipped("a container of systemd needs root: run this as root".into()));
    }
    let container = boot(&world, &[(UNIT, TEXT)])?;
    container.systemctl(&format!("start {UNIT}"))?.ok()?;
    let guest = Injector::in_folder("/lab", Place::Guest(container.init));
    guest.mark(&[])?;
    // The unit is active before the daemon has its lock.
    wait::until(LIMIT, "the agent to be found", || {
        Ok(guest.dies_before("agent-kill", &[]).and_then(|()| guest.off("agent-kill")).is_ok().then_some(()))
    })?;

    guest.on("agent-kill", &[])?;
    // Neither systemd nor the guardian nor an administrator starts it now.
    container.systemctl(&format!("restart {UNIT}"))?.ok()?;
    expect(!is_active(&container)?, || "the killed agent was started again".to_string())?;
    guest.expect_state("agent-kill", "on")?;
    let watch = Stopwatch::start();
    guest.off("agent-kill")?;
    report.figure(format!("agent-kill undone in {:.1} s", watch.seconds()));
    expect(is_active(&container)?, || "the undo did not start the agent".to_string())?;
    let drop_ins = container.systemctl(&format!("show --property=DropInPaths --value {UNIT}"))?.ok()?;
    expect(drop_ins.trim().is_empty(), || format!("left behind: {drop_ins}"))?;

    guest.on("agent-hang", &[])?;
    guest.off("agent-hang")?;
    expect(is_active(&container)?, || "the agent is gone".to_string())?;

    guest.on_once("agent-kill", &["--once"])?;
    container.wait_for("systemd to start the agent again", || {
        Ok(guest.expect_state("agent-kill", "passed").is_ok() && is_active(&container)?)
    })?;
    guest.off("agent-kill")
}

fn is_active(container: &Container) -> Lab<bool> {
    Ok(container.systemctl(&format!("is-active {UNIT}"))?.status.success())
}
