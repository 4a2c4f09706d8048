//! What the guardian looks after in a real guest besides the agent: a watchdog (the emulated machine's i6300esb where the guest's
//! kernel has its driver, which those for clouds have not; else the kernel's own, softdog), and a disk whose reads never end.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Chain, Plan};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::process::Said;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "guest-watchdog",
    about: "a real guest: the kernel's watchdog resets it without a guardian; a dead disk ends its beats",
    run,
};

const LIMIT: Duration = Duration::from_secs(90);
const WATCHDOG_S: u64 = 8;
const PROBE_S: u64 = 4;
const UP_MARKER: &str = "VMPULSE-GUEST-UP";
/// What the kernel says when a watchdog is left without the magic close.
const LEFT_ALONE: &str = "watchdog did not stop";

fn run(world: World, report: &mut Report) -> Lab<()> {
    let plan = Plan { pseudo_guests: 0, real_guest: true, ..Plan::default() };
    let mut chain = Chain::start(world, plan)?;
    chain.real.as_mut().map_or(Ok(()), |guest| guest.wait_until_up())?;
    chain.register_and_wait()?;
    watchdog(&chain, report)?;
    disk(&chain, report)?;
    chain.still_runs()
}

fn watchdog(chain: &Chain, report: &mut Report) -> Lab<()> {
    shell(chain, "ls /dev/watchdog")?.ok()?;
    let kind = shell(chain, "cat /sys/class/watchdog/watchdog0/identity")?.ok()?;
    set(chain, &format!("watchdog = \"/dev/watchdog\"\\nwatchdog_timeout_s = {WATCHDOG_S}"))?;
    // A deliberate stop and another start: for longer than its time, and nothing happens.
    set(chain, &format!("watchdog = \"/dev/watchdog\"\\nwatchdog_timeout_s = {WATCHDOG_S}\\nmax_apps = 8"))?;
    shell(chain, &format!("sleep {}", WATCHDOG_S + 4))?.ok()?;
    expect(boots(chain)? == 1, || "a watchdog that is fed has acted".to_string())?;
    let said = shell(chain, "dmesg")?.ok()?;
    expect(!said.contains(LEFT_ALONE), || "the watchdog was closed without its magic".to_string())?;
    let watch = Stopwatch::start();
    shell(chain, "kill -STOP $(pidof vmpulse-guardian)")?.ok()?;
    wait::until(LIMIT, "the watchdog to reset the guest", || Ok((boots(chain)? == 2).then_some(())))?;
    report.figure(format!(
        "watchdog {} of {WATCHDOG_S} s: the guest was up again {:.1} s after its guardian was stopped",
        kind.trim(),
        watch.seconds()
    ));
    chain.wait_until_beating(LIMIT)
}

fn disk(chain: &Chain, report: &mut Report) -> Lab<()> {
    set(chain, &format!("root_probe = \"/dev/vda\"\\nroot_probe_timeout_s = {PROBE_S}"))?;
    // It must have answered once: a disk that never did is a wrong setting.
    shell(chain, "sleep 2")?.ok()?;
    let watch = Stopwatch::start();
    chain.real()?.stop_disk(true)?;
    wait_for_state(chain, "MISSING")?;
    report.figure(format!(
        "disk stopped, {PROBE_S} s allowed: MISSING on both trunks {:.1} s later, at an interval of 1 s",
        watch.seconds()
    ));
    let alive = shell(chain, "echo alive")?.ok()?;
    expect(alive.contains("alive"), || format!("its kernel runs, and says {alive:?}"))?;
    let said = chain.real()?.console();
    expect(said.contains("the root disk does not answer"), || format!("nobody says why:\n{said}"))?;
    for monitor in &chain.monitors {
        let told = "stops beating, in its own words: the root disk does not answer";
        expect(monitor.logged().contains(told), || {
            format!("the monitor was not told:\n{}", monitor.logged())
        })?;
    }
    chain.real()?.stop_disk(false)?;
    wait_for_state(chain, "BEATING")
}

/// Gives the agent these settings; it is started again by the guest's init. Then its guardian runs, and it beats.
fn set(chain: &Chain, settings: &str) -> Lab<()> {
    let before = guardian(chain)?;
    shell(chain, &format!("printf '{settings}\\n' > /etc/vmpulse/agent.toml"))?.ok()?;
    shell(chain, "kill $(pidof vmpulse-agentd)")?.ok()?;
    wait::until(LIMIT, "the agent to have another guardian", || {
        let now = guardian(chain)?;
        Ok((!now.is_empty() && now != before).then_some(()))
    })?;
    chain.wait_until_beating(LIMIT)
}

fn guardian(chain: &Chain) -> Lab<String> {
    Ok(shell(chain, "pidof vmpulse-guardian")?.stdout.trim().to_string())
}

fn wait_for_state(chain: &Chain, state: &str) -> Lab<()> {
    for monitor in &chain.monitors {
        wait::until(LIMIT, &format!("the guest to be {state} over {}", monitor.trunk().device()), || {
            let paths = monitor.paths()?;
            Ok((!paths.is_empty() && paths.iter().all(|path| path.state == state)).then_some(()))
        })?;
    }
    Ok(())
}

fn boots(chain: &Chain) -> Lab<usize> {
    Ok(chain.real()?.console().matches(UP_MARKER).count())
}

fn shell(chain: &Chain, line: &str) -> Lab<Said> {
    chain.real()?.shell(line)
}
