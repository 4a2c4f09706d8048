//! The story of the demo: two guests made of namespaces and a real one, an application that fails, a kernel that
//! dies, a guest that freezes, and one that stays well.

use std::time::Duration;

use super::timeline::Timeline;
use crate::daemons::{AS_SHIPPED, Application, Chain, Plan, text_of};
use crate::error::{Lab, LabError, expect};
use crate::outcome::Report;
use crate::process::Said;
use crate::wait;
use crate::world::World;

/// What stays alive when the demo is kept.
#[derive(Debug)]
pub(crate) struct Stage {
    _chain: Chain,
}

/// guest2 has the application.
const SHOP_GUEST: usize = 1;
/// From broken to given up: two failed runs, a restart, two more failed runs, and the report's way.
const FAILURE_LIMIT: Duration = Duration::from_secs(60);
/// From the last heartbeat to VM_FAILURE_DETECTED, 5 seconds as set here, with room.
const DETECTION_LIMIT: Duration = Duration::from_secs(40);

/// From thawing or booting to heartbeats on every path.
const RETURN_LIMIT: Duration = Duration::from_secs(40);

/// Tells all of it.
pub(crate) fn tell(world: World, report: &mut Report) -> Lab<Stage> {
    let mut time = Timeline::start();
    let mut chain = build(world, &mut time)?;
    register(&mut chain, &mut time)?;
    shorten_times(&chain, &mut time)?;
    let shop = application_fails(&chain, &mut time)?;
    guests_die(&mut chain, &mut time)?;
    guests_return(&mut chain, &mut time)?;
    application_is_repaired(&chain, &shop, &mut time)?;
    time.print();
    report.figure(format!("{} guests", chain.vms().len()));
    Ok(Stage { _chain: chain })
}

fn build(world: World, time: &mut Timeline) -> Lab<Chain> {
    time.chapter("A host with two trunks, two host monitors, a store, a controller, three guests");
    let plan = Plan {
        pseudo_guests: 2,
        real_guest: true,
        monitors: AS_SHIPPED,
        vlans: [0; 2],
        poll_interval_ms: 500,
    };
    let accel = world.kit().accel.name();
    let release = world.kit().kernel.release.clone();
    let mut chain = Chain::start(world, plan)?;
    if let Some(trunk) = chain.world.trunks().first() {
        time.remark(&format!("trunkA, trunkB: {}; no IP anywhere on them", trunk.describe()));
    }
    time.remark("guest1, guest2: namespaces with an adapter on each trunk, an agent in each");
    time.remark(&format!("vm3: Linux {release} in QEMU by {accel}, with busybox and the static agent"));
    time.moment("daemons and agents of guest1 and guest2 started, vm3 is booting");
    let real = chain.real.as_mut().ok_or_else(|| LabError::Unexpected("vm3 was not made".into()))?;
    real.wait_until_up()?;
    time.moment("vm3 is up");
    Ok(chain)
}

fn register(chain: &mut Chain, time: &mut Timeline) -> Lab<()> {
    time.chapter("The operator registers the host and the guests, and has them monitored");
    for (file, xml, said) in chain.register()? {
        print!("\n   host# cat {file}\n{}", wait::indented(&xml));
        time.show("host", &format!("hmmgr passthru < {file}"), said)?;
    }
    chain.wait_until_started()?;
    time.moment("all guests are STARTED: heartbeats on both paths of each");
    hamgr(chain, time, "query vm vm3")?;
    let said = chain.monitor(0)?.hmmgr(&["status"])?;
    time.show("host", "hmmgr status", said).map(drop)
}

fn shorten_times(chain: &Chain, time: &mut Timeline) -> Lab<()> {
    time.chapter("So that the demo fits into minutes: a heartbeat a second, a failure after 5 s (as shipped: 10 s, 190 s)");
    hamgr(chain, time, "modify vm guest1,guest2,vm3 heartbeat_interval=1000 vm_failure_detection_time=5")?;
    time.moment("heartbeat interval 1 s, vm_failure_detection_time 5 s");
    Ok(())
}

/// The application in guest2 fails as long as it is broken; a restart does not mend it.
fn application_fails(chain: &Chain, time: &mut Timeline) -> Lab<Application> {
    time.chapter("An application in guest2 fails for good");
    let shop = Application::install(chain, SHOP_GUEST, "shop")?;
    vmmgr(&shop, chain, time, &shop.add_line())?;
    chain.wait_for_application("shop", "GREEN", FAILURE_LIMIT)?;
    time.moment("shop is GREEN at the controller");
    hamgr(chain, time, "query app")?;
    shop.break_it(chain)?;
    time.moment("shop breaks: its monitor fails from now on, a restart does not help");
    chain.wait_for_application("shop", "RED", FAILURE_LIMIT)?;
    time.moment("shop is RED at the controller");
    vmmgr(&shop, chain, time, "query app shop")?;
    hamgr(chain, time, "query app")?;
    Ok(shop)
}

fn guests_die(chain: &mut Chain, time: &mut Timeline) -> Lab<()> {
    time.chapter("vm3's kernel panics, guest1 is frozen, guest2 goes on");
    let real = chain.real()?;
    real.crash_kernel()?;
    time.moment("vm3# echo c > /proc/sysrq-trigger");
    chain.guest(0)?.freeze()?;
    time.moment("guest1: every process stopped");
    follow_phases(chain, time)?;
    hamgr(chain, time, "query event")?;
    let well = chain.vm("guest2")?;
    expect(text_of(&well, "restart_phase").is_empty(), || format!("guest2 is accused too: {well:#}"))?;
    time.moment("guest2: no failure");
    hamgr(chain, time, "query vm guest2").map(drop)
}

/// Tells each change of the two guests' Restart_phase, growing counts aside, until both are detected.
fn follow_phases(chain: &Chain, time: &mut Timeline) -> Lab<()> {
    let mut told = [String::new(), String::new()];
    wait::until(DETECTION_LIMIT, "both failures to be detected", || {
        let mut detected = 0;
        for (name, told) in ["vm3", "guest1"].into_iter().zip(&mut told) {
            let phase = text_of(&chain.vm(name)?, "restart_phase");
            detected += usize::from(phase.contains("failure detected"));
            let kind: String = phase.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
            if kind != *told && !phase.is_empty() {
                time.moment(format!("Restart_phase: {phase}"));
                *told = kind;
            }
        }
        Ok((detected == 2).then_some(()))
    })
}

fn guests_return(chain: &mut Chain, time: &mut Timeline) -> Lab<()> {
    time.chapter("vm3 is switched off and on again, guest1 is thawed");
    let real = chain.real.take().ok_or_else(|| LabError::Unexpected("vm3 is gone".into()))?;
    let mut real = real.restart()?;
    time.moment("vm3: switched off and on again");
    chain.guest(0)?.thaw()?;
    time.moment("guest1: every process goes on");
    well_again(chain, time, "guest1")?;
    real.wait_until_up()?;
    chain.real = Some(real);
    well_again(chain, time, "vm3")?;
    hamgr(chain, time, "query vm guest1,vm3").map(drop)
}

fn well_again(chain: &Chain, time: &mut Timeline, name: &str) -> Lab<()> {
    chain
        .wait_for_vm(name, RETURN_LIMIT, "to be well again", |vm| text_of(vm, "restart_phase").is_empty())?;
    time.moment(format!("{name} is well again"));
    Ok(())
}

fn application_is_repaired(chain: &Chain, shop: &Application, time: &mut Timeline) -> Lab<()> {
    time.chapter("The application is repaired");
    shop.repair(chain)?;
    vmmgr(shop, chain, time, &shop.modify_line())?;
    chain.wait_for_application("shop", "GREEN", FAILURE_LIMIT)?;
    time.moment("shop is GREEN at the controller again");
    hamgr(chain, time, "query app").map(drop)
}

fn vmmgr(shop: &Application, chain: &Chain, time: &Timeline, line: &str) -> Lab<Said> {
    let place = chain.guest(SHOP_GUEST)?.name();
    time.show(place, &format!("vmmgr {line}"), shop.vmmgr(chain, line)?)
}

fn hamgr(chain: &Chain, time: &Timeline, line: &str) -> Lab<Said> {
    time.show("host", &format!("hamgr {line}"), chain.controller.hamgr(line)?)
}
