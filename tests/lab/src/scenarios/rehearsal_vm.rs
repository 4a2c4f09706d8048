//! An operator rehearses with whole guests: one hangs because its processes are stopped; one that has a kernel of its own hangs by
//! real-time loops, goes on, crashes, and is restarted. What a kernel cannot do is said; a container's is nobody's to crash.

use std::time::Duration;

use super::Scenario;
use crate::artifacts::INJECTOR;
use crate::daemons::{Chain, Injector, Plan};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::Place;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-vm",
    about: "vmpulse-inject: vm-hang and vm-crash of a real guest; unsupported is said",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Longer than the silence that is detected, its poll and its heartbeat, on loaded cores.
const HANGS_S: &str = "20";
const REAL: u8 = 2;

fn run(world: World, report: &mut Report) -> Lab<()> {
    let kit = world.kit().clone();
    let program = kit.static_agent.join(INJECTOR);
    let bytes = std::fs::read(&program).map_err(LabError::file("read", &program))?;
    let mut chain = Chain::start(world, Plan::default())?;
    let mut real = chain.world.start_real_guest(REAL, &[(format!("/sbin/{INJECTOR}"), bytes)])?;
    real.wait_until_up()?;
    chain.real = Some(real);
    chain.register_and_wait()?;
    let change = "modify vm guest1,vm2 heartbeat_interval=1000 vm_failure_detection_time=5";
    chain.controller.hamgr(change)?.ok()?;
    let host = Injector::at(&kit, Place::Here);
    let guest = Injector::at(&kit, chain.guest(0)?.place());
    guest.mark(&[])?;
    for words in [&["vm-crash"][..], &["vm-hang", "--way", "spin"], &["vm-hang", "--way", "kdb"]] {
        let (class, more) = words.split_first().unwrap_or((&"", &[]));
        guest.ends_with(&[&[*class, "on", "--group", "lab", "--yes-really"], more].concat(), 69)?;
    }
    stopped(&chain, &host, &guest, report)?;
    inject(&chain, "mark lab --yes", 0)?;
    inject(&chain, "vm-hang on --group lab --way kdb", 69)?;
    looped(&chain, &host, report)?;
    crashed(&mut chain, &host, report)?;
    chain.wait_until_beating(LIMIT)?;
    chain.still_runs()
}

/// All processes of a guest made of namespaces.
fn stopped(chain: &Chain, host: &Injector, guest: &Injector, report: &mut Report) -> Lab<()> {
    let watching = host.watch("vm-hang", "on", &["--expect-vm", "guest1"])?;
    guest.on("vm-hang", &["--way", "stop", "--seconds", HANGS_S, "--yes-really"])?;
    let on = watching.saw_it()?;
    let off = host.watch("vm-hang", "off", &["--expect-vm", "guest1"])?.saw_it()?;
    report.figure(format!("vm-hang by stopped processes: {on}; it ended by itself: {off}"));
    guest.off("vm-hang")?;
    chain.wait_until_beating(LIMIT)
}

/// Real-time loops in a kernel of its own.
fn looped(chain: &Chain, host: &Injector, report: &mut Report) -> Lab<()> {
    let watching = host.watch("vm-hang", "on", &["--expect-vm", "vm2"])?;
    inject(chain, &format!("vm-hang on --group lab --way spin --seconds {HANGS_S}"), 0)?;
    let on = watching.saw_it()?;
    let off = host.watch("vm-hang", "off", &["--expect-vm", "vm2"])?.saw_it()?;
    report.figure(format!("vm-hang by real-time loops: {on}; it ended by itself: {off}"));
    let limit = chain.real()?.shell("cat /proc/sys/kernel/sched_rt_runtime_us")?.ok()?;
    expect(limit.trim() != "-1", || format!("the limit of real-time processes is still {}", limit.trim()))?;
    inject(chain, "vm-hang off", 0)?;
    chain.wait_until_beating(LIMIT)
}

/// Restarting it is the undo.
fn crashed(chain: &mut Chain, host: &Injector, report: &mut Report) -> Lab<()> {
    let watching = host.watch("vm-crash", "on", &["--expect-vm", "vm2"])?;
    inject(chain, "vm-crash on --group lab", 0)?;
    let on = watching.saw_it()?;
    let console = chain.real()?.console();
    expect(console.contains("sysrq triggered crash"), || console.clone())?;
    let watching = host.watch("vm-crash", "off", &["--expect-vm", "vm2"])?;
    let dead = chain.real.take().ok_or_else(|| LabError::Unexpected("no real guest".into()))?;
    let mut real = dead.restart()?;
    real.wait_until_up()?;
    chain.real = Some(real);
    report.figure(format!("vm-crash: {on}; restarted: {}", watching.saw_it()?));
    let said = inject(chain, "vm-crash off", 0)?;
    expect(said.contains("OFF already"), || said.clone())
}

/// In the real guest, which must end with this exit status.
fn inject(chain: &Chain, words: &str, code: i32) -> Lab<String> {
    let said = chain.real()?.shell(&format!("/sbin/{INJECTOR} {words}"))?;
    let text = said.text();
    expect(said.code() == Some(code), || format!("`{words}` ended with {:?}: {text}", said.code()))?;
    Ok(text)
}
