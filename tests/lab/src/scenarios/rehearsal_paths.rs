//! The injection kit's path classes, as an operator rehearses them: trunks that lose, double, damage and delay frames all at once
//! cost no VM and no report; one that is cut is ISOLATED and heals; nothing is left of either.

use std::time::Duration;

use super::Scenario;
use crate::daemons::{Application, Chain, HostMonitor, Injector, Plan};
use crate::error::{Lab, expect};
use crate::outcome::Report;
use crate::process::{Place, sh};
use crate::wait::{self, Stopwatch};
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rehearsal-paths",
    about: "vmpulse-inject path-*: loss, copies, damage and delay fail no VM and no report; a cut trunk heals",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Failure detection time of the guests.
const VMFDT_S: u32 = 5;
/// Bad trunks are borne for twice as long, and some polls of the controller.
const BORNE_FOR: Duration = Duration::from_secs(12);
/// Changes of an application meanwhile.
const CHANGES: usize = 4;
/// What goes wrong, on both trunks. One bit is always noticed: the checksum of packets without authentication is a sum of eight bits, which
/// two flipped bits of opposite ways leave as it was.
const CLASSES: [(&str, &[&str]); 4] = [
    ("path-loss", &["--loss", "100"]),
    ("path-duplicate", &["--duplicate", "200"]),
    ("path-corrupt", &["--corrupt", "50", "--bits", "1"]),
    ("path-delay", &["--delay", "50..200"]),
];

fn run(world: World, report: &mut Report) -> Lab<()> {
    let mut chain = Chain::start(world, Plan { pseudo_guests: 3, policed: true, ..Plan::default() })?;
    chain.register_and_wait()?;
    let modify =
        format!("modify vm guest1,guest2,guest3 heartbeat_interval=1000 vm_failure_detection_time={VMFDT_S}");
    chain.controller.hamgr(&modify)?.ok()?;
    let shop = Application::install(&chain, 0, "shop")?;
    shop.vmmgr(&chain, &shop.add_line())?.ok()?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;
    let host = Injector::at(chain.world.kit(), Place::net("host"));
    host.refused("path-cut", &["--trunk", "trunkA"])?;
    host.mark(&["trunk:trunkA".to_string(), "trunk:trunkB".to_string()])?;

    bad_trunks(&chain, &host, &shop, report)?;
    for how in ["drop", "link-down"] {
        cut_trunk(&chain, &host, how, report)?;
    }
    let alarms = chain.events("VM_FAILURE_DETECTED")?;
    expect(alarms.is_empty(), || format!("a failure was detected: {alarms:#?}"))?;
    chain.still_runs()
}

/// All classes at once, on both trunks.
fn bad_trunks(chain: &Chain, host: &Injector, shop: &Application, report: &mut Report) -> Lab<()> {
    let before = traces()?;
    for (class, options) in CLASSES {
        host.on(class, &[&["--trunk", "trunkA", "--trunk", "trunkB"], options].concat())?;
    }
    let watch = Stopwatch::start();
    let longest = changes_arrive(chain, shop)?;
    report.figure(format!(
        "{CHANGES} changes of an application, each known to the controller within {longest:.1} s"
    ));
    shop.break_it(chain)?;
    chain.wait_for_application("shop", "RED", LIMIT)?;
    wait::until(LIMIT, "the trunks to have been bad for a while", || {
        Ok((watch.elapsed() >= BORNE_FOR).then_some(()))
    })?;
    for (class, _) in CLASSES {
        host.expect_state(class, "on")?;
        report.figure(format!("{class}: {}", host.details(class)?));
    }
    let alarms = chain.events("VM_FAILURE_DETECTED")?;
    expect(alarms.is_empty(), || format!("bad trunks failed a VM: {alarms:#?}"))?;
    for (class, _) in CLASSES {
        host.off(class)?;
    }
    let after = traces()?;
    expect(after == before, || format!("before:\n{before}\nafter:\n{after}"))?;
    shop.repair(chain)?;
    shop.vmmgr(chain, &shop.modify_line())?.ok()?;
    chain.wait_for_application("shop", "GREEN", LIMIT)?;
    chain.wait_until_beating(LIMIT)?;
    report.figure(format!("damaged frames that the monitors discarded: {}", discarded(chain)?));
    let failures = chain.events("APP_FAILURE_DETECTED")?;
    expect(failures.len() == 1, || format!("one failure of the application came {} times", failures.len()))
}

/// Each change is one report of the guest; how long the slowest took to be known.
fn changes_arrive(chain: &Chain, shop: &Application) -> Lab<f64> {
    let mut longest = 0.0_f64;
    for change in 0..CHANGES {
        let monitored = change % 2 == 1;
        shop.vmmgr(chain, &format!("-s modify app shop monitored={}", u8::from(monitored)))?.ok()?;
        let watch = Stopwatch::start();
        chain.wait_for_application("shop", if monitored { "GREEN" } else { "GRAY" }, LIMIT)?;
        longest = longest.max(watch.seconds());
    }
    Ok(longest)
}

fn cut_trunk(chain: &Chain, host: &Injector, how: &str, report: &mut Report) -> Lab<()> {
    let (before, downs) = (traces()?, remarks(chain.monitor(0)?, "ADAPTER_DOWN")?);
    let told = host.on_expecting("path-cut", &["--trunk", "trunkA", "--how", how])?;
    report.figure(format!("path-cut --how {how}: {told}"));
    let other = chain.monitor(1)?.status()?;
    expect(other.is_some_and(|other| !other.isolated), || "the other monitor is isolated, too".into())?;
    // Who drops frames leaves the adapter up.
    let downs = remarks(chain.monitor(0)?, "ADAPTER_DOWN")? - downs;
    expect(downs == usize::from(how == "link-down"), || format!("{how}: {downs} remarks ADAPTER_DOWN"))?;
    report.figure(format!("path-cut --how {how} off: {}", host.off_expecting("path-cut", &[])?));
    chain.wait_until_beating(LIMIT)?;
    wait::until_text(LIMIT, "devices and rules to be as before", traces, |after| after == before).map(drop)
}

/// What the kit could leave behind: devices with numbers, addresses, MTU and flags, tables, state files.
fn traces() -> Lab<String> {
    let links = sh(&Place::net("host"), "ip -o link show")?;
    let tables = sh(&Place::net("host"), "nft list tables netdev")?;
    let state = std::fs::read_dir("/run/vmpulse-inject").into_iter().flatten().flatten();
    let files: Vec<String> = state.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    Ok(format!("{links}{tables}{files:?}"))
}

fn remarks(monitor: &HostMonitor, kind: &str) -> Lab<usize> {
    let words = ["event", "--kind", kind, "--trunk", monitor.uuid(), "--count", "1000", "-o", "json"];
    let answer: serde_json::Value = serde_json::from_str(&monitor.hmmgr(&words)?.ok()?).unwrap_or_default();
    Ok(answer.get("events").and_then(serde_json::Value::as_array).map_or(0, Vec::len))
}

/// Frames that a monitor could not believe, by their reasons.
fn discarded(chain: &Chain) -> Lab<String> {
    let mut all = Vec::new();
    for monitor in &chain.monitors {
        let counters = monitor.status()?.map(|status| status.counters).unwrap_or_default();
        let reasons =
            counters.into_iter().filter(|(name, count)| name.starts_with("discarded_") && *count > 0);
        let reasons: Vec<String> = reasons.map(|(name, count)| format!("{name} {count}")).collect();
        all.push(format!("{}: {}", monitor.trunk().guests_device(), reasons.join(", ")));
    }
    Ok(all.join("; "))
}
