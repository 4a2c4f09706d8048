//! A distribution's kernel with nothing but busybox and the static agent: found by its firmware's UUID, heartbeating
//! within a second of a Hello, and detected when its kernel dies.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{AS_SHIPPED, Chain, Plan, text_of};
use crate::error::{Lab, LabError, expect};
use crate::frames::{Capture, Frame};
use crate::outcome::Report;
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "real-guest",
    about: "a real guest without libc: Hello to heartbeat under 1 s, kernel crash detected",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// From hearing a Hello to the first heartbeat.
const HELLO_TO_HEARTBEAT: Duration = Duration::from_secs(1);

fn run(world: World, report: &mut Report) -> Lab<()> {
    let plan = Plan { pseudo_guests: 1, real_guest: true, monitors: AS_SHIPPED, ..Plan::default() };
    let watch = Stopwatch::start();
    let mut chain = Chain::start(world, plan)?;
    chain.real.as_mut().map_or(Ok(()), |guest| guest.wait_until_up())?;
    report.figure(format!("booted in {:.1} s by {}", watch.seconds(), chain.world.kit().accel.name()));
    no_libc(&chain)?;
    chain.register_and_wait()?;

    let trunk = chain.trunk(0)?;
    let mut capture = Capture::start(&trunk.place(), &trunk.device(), "monitor-a")?;
    let monitor = chain.monitor_mut(0)?;
    monitor.crash()?;
    monitor.restart()?;
    let numbers = [chain.guest(0)?.number(), chain.real()?.number()];
    for (kind, number) in ["guest made of namespaces", "real guest"].into_iter().zip(numbers) {
        let took = hello_to_heartbeat(&mut capture, &trunk.monitor_mac(), &trunk.guest_mac(number))?;
        report.figure(format!("{kind}: first heartbeat {} ms after the Hello", took.as_millis()));
        expect(took < HELLO_TO_HEARTBEAT, || format!("{kind}: {took:?} from Hello to heartbeat"))?;
    }
    kernel_dies(&chain, report)?;
    chain.still_runs()
}

fn no_libc(chain: &Chain) -> Lab<()> {
    let libraries = chain.real()?.shell("find / -xdev -name '*.so*' -o -name 'ld-*' | grep -v ^/sys")?;
    expect(libraries.stdout.trim().is_empty(), || format!("the guest has libraries: {}", libraries.stdout))?;
    let firmware = chain.real()?.shell("cat /sys/class/dmi/id/product_uuid")?.ok()?;
    expect(firmware.trim() == chain.real()?.uuid(), || format!("the firmware tells {firmware:?}"))
}

/// The time between the first Hello of the restarted monitor and the first heartbeat of a guest after it. At an
/// interval of 10 s it is very probably the new session's; one of the old path would only be the earlier by chance.
fn hello_to_heartbeat(capture: &mut Capture, monitor: &str, guest: &str) -> Lab<Duration> {
    wait::until(LIMIT, &format!("a heartbeat of {guest} in a new session"), || {
        let frames = capture.frames()?;
        let Some(hello) = frames.iter().find(|f| f.is_hello() && f.from() == monitor).map(|f| f.at) else {
            return Ok(None);
        };
        let handshake = frames.iter().find(|f| f.at > hello && f.from() == guest && is_handshake(f));
        let Some(handshake) = handshake.map(|f| f.at) else { return Ok(None) };
        let heartbeat = frames.iter().find(|f| f.at > handshake && f.from() == guest && f.is_heartbeat());
        Ok(heartbeat.map(|f| f.at.saturating_sub(hello)))
    })
}

fn is_handshake(frame: &Frame) -> bool {
    const SYN: u8 = 0x04;
    frame.payload().get(3).is_some_and(|flags| flags & SYN != 0)
}

fn kernel_dies(chain: &Chain, report: &mut Report) -> Lab<()> {
    let name = chain.real()?.name();
    let line = format!("modify vm {name} heartbeat_interval=1000 vm_failure_detection_time=5");
    chain.controller.hamgr(&line)?.ok()?;
    chain.wait_until_beating(LIMIT)?;
    chain.real()?.crash_kernel()?;
    let watch = Stopwatch::start();
    let event = wait::until(LIMIT, "the dead kernel to be detected", || {
        Ok(chain.events("VM_FAILURE_DETECTED")?.into_iter().next())
    })?;
    report.figure(format!("kernel panic detected {:.1} s later", watch.seconds()));
    expect(text_of(&event, "resource").contains(&name), || format!("another VM was detected: {event:#}"))?;
    let console = chain.real()?.console();
    expect(console.contains("Kernel panic"), || LabError::Unexpected(console.clone()).to_string())?;
    let status = chain.real()?.status()?;
    expect(status == "running", || format!("the emulator says {status} of a guest without panic notifier"))
}
