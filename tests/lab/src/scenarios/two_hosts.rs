//! Two hosts with two trunks each on one PostgreSQL: a VM moves, guests have the UUIDs of others, a monitor dies.

pub(crate) mod server;

use std::time::Duration;

use super::Scenario;
use crate::daemons::{
    self, AS_SHIPPED, Agent, Chain, Controller, HostMonitor, MonitorSettings, postgresql, requests, text_of,
};
use crate::error::{Lab, expect};
use crate::frames::{self, ETHER_TYPE, packet};
use crate::outcome::Report;
use crate::process::{self, Place, sh};
use crate::wait::{self, Stopwatch};
use crate::world::{PseudoGuest, World};
use server::Site;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two-hosts",
    about: "two hosts on one PostgreSQL: a VM moves, UUIDs are taken twice, a monitor and a guest die",
    run,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Registered guests of host 1.
const VMS: u8 = 5;
/// A guest of host 1 that nobody registered, and one of host 2 that says it is guest 3.
const STRANGER: u8 = 6;
const TWIN: u8 = 7;
/// A header's flags: a handshake's.
const HANDSHAKE: u8 = 0xa4;
const DETECTED: &str = "VM_FAILURE_DETECTED";

const MONITORS: MonitorSettings =
    MonitorSettings { heartbeat_interval_ms: 1000, store_heartbeat_interval_ms: 2000, ..AS_SHIPPED };

fn run(world: World, report: &mut Report) -> Lab<()> {
    postgresql::needs_another_user(world.kit())?;
    let (mut chain, site) = start(world)?;
    register(&mut chain)?;
    a_vm_moves(&mut chain, &site, report)?;
    strangers(&mut chain, &site, report)?;
    one_of_five_crashes(&mut chain, report)?;
    one_monitor_dies(&mut chain, report)?;
    chain.still_runs()
}

fn start(mut world: World) -> Lab<(Chain, Site)> {
    let kit = world.kit().clone();
    let home = [world.add_trunk('A')?, world.add_trunk('B')?];
    let guests: Lab<Vec<PseudoGuest>> = (1..=STRANGER).map(|n| world.start_pseudo_guest(n)).collect();
    let guests = guests?;
    let away = [world.add_trunk('C')?, world.add_trunk('D')?];
    let trunks = world.trunks().to_vec();
    let site = Site::start(&trunks)?;
    // Any command of the owner makes the schema.
    let mut hamgr = Place::Here.command(kit.program("hamgr"));
    hamgr.args(["--store", &site.owners_url(), "query", "system"]);
    process::run(hamgr)?.ok()?;
    let logins = ["host1", "host1", "host2", "host2"];
    let uuids = trunks.iter().map(HostMonitor::uuid_on);
    site.set_up(&logins.into_iter().zip(uuids).collect::<Vec<_>>())?;
    daemons::use_store(site.url("controller1"));
    let monitors: Lab<Vec<_>> = home
        .iter()
        .chain(&away)
        .zip(logins)
        .map(|(trunk, login)| HostMonitor::start_with_store(&kit, trunk, MONITORS, &site.url(login)))
        .collect();
    let controller = Controller::start(&kit, 200)?;
    let agents: Lab<Vec<_>> = guests.iter().map(|guest| Agent::start(&kit, guest, false, "")).collect();
    Ok((Chain { monitors: monitors?, controller, agents: agents?, guests, real: None, world }, site))
}

fn register(chain: &mut Chain) -> Lab<()> {
    let monitors: Vec<(String, String)> =
        chain.monitors.iter().map(|one| (one.uuid().to_string(), one.trunk().monitor_mac())).collect();
    let (home, away) = monitors.split_at(2);
    let vms: Vec<_> = chain.vms().into_iter().take(usize::from(VMS)).collect();
    let uuids: Vec<String> = vms.iter().map(|(uuid, _)| uuid.clone()).collect();
    let second = requests::add_host(away).replace(r#"serial="1""#, r#"serial="2""#);
    for xml in [requests::add_host(home), second, requests::add_vms(&vms), requests::start_vms(&uuids)] {
        chain.passthru(&xml)?;
    }
    for (_, name) in &vms {
        chain.wait_for_vm(name, LIMIT, "to be STARTED", |vm| text_of(vm, "ha_monitor_state") == "STARTED")?;
    }
    let all: Vec<&str> = vms.iter().map(|(_, name)| name.as_str()).collect();
    let set = format!("modify vm {} heartbeat_interval=1000 vm_failure_detection_time=20", all.join(","));
    chain.controller.hamgr(&set)?.ok().map(drop)
}

/// As a migration does it: its adapters are on the trunks of the other host, and its agent finds them.
fn a_vm_moves(chain: &mut Chain, site: &Site, report: &mut Report) -> Lab<()> {
    let guest = chain.guest(0)?;
    let (name, number, uuid) = (guest.name().to_string(), guest.number(), guest.uuid().to_string());
    let watch = Stopwatch::start();
    for (old, new) in [(0, 2), (1, 3)] {
        let (old, new) = (chain.trunk(old)?, chain.trunk(new)?);
        sh(&Place::Here, &format!("ip -n {name} link del {}", old.adapter()))?;
        new.attach_namespace(&name, number)?;
    }
    for monitor in [2, 3] {
        wait_until_beating_at(chain, monitor, &uuid)?;
    }
    report.figure(format!("a VM that moved beats on its new host after {:.1} s", watch.seconds()));
    wait_for_rows(site, &format!("discovered WHERE kind = 'MOVED' AND uuid = '{uuid}'"), 2)?;
    // Until its home has missed it on both trunks.
    let silent = "path p JOIN vmpulse.vm v ON v.id = p.vm_id WHERE p.missing_since IS NOT NULL AND v.uuid = ";
    wait_for_rows(site, &format!("{silent}'{uuid}'"), 2)?;
    pass(Duration::from_secs(25))?;
    nobody_failed(chain, &[])
}

fn strangers(chain: &mut Chain, site: &Site, report: &mut Report) -> Lab<()> {
    let stranger = chain.guest(usize::from(STRANGER) - 1)?;
    wait_for_rows(site, &format!("discovered WHERE kind = 'UNMANAGED' AND uuid = '{}'", stranger.uuid()), 2)?;

    // Two MACs on one trunk: the stranger says that it is guest 2.
    let uuid = chain.guest(1)?.uuid().to_string();
    say_it_is(chain, usize::from(STRANGER) - 1, &uuid)?;
    wait_for_rows(site, &format!("conflict WHERE kind = 'UUID' AND uuid = '{uuid}'"), 2)?;

    // Two hosts: a guest of host 2 says that it is guest 3.
    let uuid = chain.guest(2)?.uuid().to_string();
    let trunks = chain.world.trunks().to_vec();
    let twin = chain.world.start_pseudo_guest_on(TWIN, trunks.get(2..).unwrap_or_default())?;
    let kit = chain.world.kit().clone();
    chain.agents.push(Agent::start(&kit, &twin, false, "")?);
    chain.guests.push(twin);
    say_it_is(chain, usize::from(TWIN) - 1, &uuid)?;
    wait_until_beating_at(chain, 2, &uuid)?;
    wait_for_rows(site, &format!("discovered WHERE kind = 'MOVED' AND uuid = '{uuid}'"), 2)?;
    wait_for_rows(site, &format!("conflict WHERE kind = 'UUID' AND uuid = '{uuid}'"), 2)?;

    // Handshakes by hand.
    let trunk = chain.trunk(2)?;
    for (source, uuid, version) in
        [(90, "not-a-uuid", "2.1"), (91, "7e57ab1e-0001-4000-8000-0000000000ee", "9.1")]
    {
        let lower = if version == "9.1" { "9.0" } else { "2.0" };
        let text = format!("uuid={uuid}:ostype=Linux:verVmmLower={lower}:verVmmUpper={version}");
        let payload = packet(2, HANDSHAKE, text.len(), text.as_bytes());
        let frame = frames::frame(&trunk.monitor_mac(), &trunk.guest_mac(source), ETHER_TYPE, &payload);
        let name = chain.guest(usize::from(TWIN) - 1)?.name().to_string();
        frames::send(&Place::net(&name), &trunk.adapter(), &[frame])?;
    }
    wait_for_rows(site, "discovered WHERE kind = 'CANNOT_MANAGE' AND uuid = 'not-a-uuid'", 1)?;
    wait_for_rows(site, "conflict WHERE kind = 'VERSION'", 1)?;
    report.figure(
        "MOVED, UNMANAGED, CANNOT_MANAGE, version and UUID conflicts (two MACs, two hosts) are recorded",
    );
    nobody_failed(chain, &[])
}

/// The others do not notice.
fn one_of_five_crashes(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    let (victim, witness) = (chain.guest(4)?, chain.guest(3)?.uuid().to_string());
    let name = victim.name().to_string();
    let before = session_of(chain, &witness)?;
    victim.freeze()?;
    let watch = Stopwatch::start();
    wait::until(LIMIT, "the failure of the guest that crashed", || {
        Ok((!chain.events(DETECTED)?.is_empty()).then_some(()))
    })?;
    report.figure(format!(
        "1 of 5 guests crashed: called failed after {:.1} s, the others beat on",
        watch.seconds()
    ));
    nobody_failed(chain, &[&name])?;
    let after = session_of(chain, &witness)?;
    expect(after > before, || format!("the witness beat {before} times before, {after} after"))
}

/// The other trunk's paths suffice. [F13]
fn one_monitor_dies(chain: &mut Chain, report: &mut Report) -> Lab<()> {
    let crashed = chain.guest(4)?.name().to_string();
    chain.monitor_mut(0)?.crash()?;
    wait::until(LIMIT * 2, "VIOS_FAILURE", || Ok((!chain.events("VIOS_FAILURE")?.is_empty()).then_some(())))?;
    pass(Duration::from_secs(25))?;
    nobody_failed(chain, &[&crashed])?;
    report.figure("one monitor of a host died: an event, and no VM is called failed");
    chain.monitor_mut(0)?.restart()?;
    let uuid = chain.guest(3)?.uuid().to_string();
    wait_until_beating_at(chain, 0, &uuid)
}

fn session_of(chain: &Chain, uuid: &str) -> Lab<u64> {
    let paths = chain.monitor(0)?.paths()?;
    Ok(paths.iter().find(|path| path.vm.eq_ignore_ascii_case(uuid)).map_or(0, |path| path.heartbeats))
}

/// Every failure that was detected is of one of these.
fn nobody_failed(chain: &Chain, but: &[&str]) -> Lab<()> {
    let events = chain.events(DETECTED)?;
    let others = events.iter().find(|event| !but.iter().any(|name| event.to_string().contains(name)));
    expect(others.is_none(), || format!("a failure was detected: {others:#?}"))
}

fn wait_until_beating_at(chain: &Chain, monitor: usize, uuid: &str) -> Lab<()> {
    let monitor = chain.monitor(monitor)?;
    wait::until(LIMIT, &format!("VM {uuid} to beat on {}", monitor.trunk().device()), || {
        let beats =
            |path: &daemons::PathStatus| path.vm.eq_ignore_ascii_case(uuid) && path.state == "BEATING";
        Ok(monitor.paths()?.iter().any(beats).then_some(()))
    })
}

fn wait_for_rows(site: &Site, what: &str, rows: usize) -> Lab<()> {
    let sql = format!("SELECT count(*) FROM vmpulse.{what}");
    wait::until(LIMIT, &format!("{rows} rows of {what}"), || {
        Ok((site.sql(&sql)?.trim().parse::<usize>().unwrap_or(0) >= rows).then_some(()))
    })
}

/// The agent of a guest goes on under another's UUID.
fn say_it_is(chain: &mut Chain, index: usize, uuid: &str) -> Lab<()> {
    wait::until(LIMIT, "the agent to run", || Ok(chain.guest(index)?.runs("vmpulse-agentd").then_some(())))?;
    chain.stop_agent(index)?;
    let settings = format!("vm_uuid = \"{uuid}\"\nstate_dir = \"/etc/vmpulse/state\"\n");
    chain.guest(index)?.write("/etc/vmpulse/agent.toml", &settings)?;
    chain.restart_agent(index)
}

fn pass(time: Duration) -> Lab<()> {
    let watch = Stopwatch::start();
    wait::until(time * 2, "time to pass", || Ok((watch.elapsed() >= time).then_some(())))
}
