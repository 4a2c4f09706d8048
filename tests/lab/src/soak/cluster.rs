//! Who takes part: two hosts with two trunks each, a host monitor on each trunk, one PostgreSQL with TLS and least privilege, a
//! controller, and the guests, half of them on each host.

use std::collections::BTreeMap;
use std::time::Duration;

use vmpulse_soak::deed::Hm;
use vmpulse_soak::fact::{Cast, Fact};
use vmpulse_soak::schedule::Shape;

use super::answers::Answers;
use super::cuts::Cuts;
use super::guest::Guest;
use super::log::Log;
use crate::daemons::{self, AS_SHIPPED, Controller, HostMonitor, requests};
use crate::error::{Lab, LabError};
use crate::process::{self, Place};
use crate::progress::Step;
use crate::scenarios::two_hosts::server::Site;
use crate::wait::{self, Stopwatch};
use crate::world::{self, Trunk, World};

/// Hosts, and trunks of each.
pub(super) const HOSTS: usize = 2;
/// See above.
pub(super) const TRUNKS: usize = 2;
/// Of the controller, as shipped.
const POLL_INTERVAL_MS: u32 = 20_000;
/// From START_VM to the last STARTED, on loaded cores.
const STARTED_LIMIT: Duration = Duration::from_secs(180);
/// A daemon that ended by itself is started again after this, as the simulator's init does.
const RESTART: Duration = Duration::from_secs(5);

/// How a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Up,
    /// Nobody is to start it.
    Down,
    /// It ended by itself, and is started again when this has run long enough.
    Restarting(Stopwatch),
    /// It stands still for so long.
    Stalled(Stopwatch, Duration),
}

/// A host monitor, its trunk, and what is wrong with both.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) hm: Hm,
    pub(super) trunk: Trunk,
    pub(super) monitor: HostMonitor,
    pub(super) life: Life,
    pub(super) store_cut: bool,
    pub(super) link_down: bool,
    pub(super) cuts: Cuts,
}

/// What is wrong with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreLife {
    Up,
    Dead,
    Frozen,
}

/// See the module.
pub(super) struct Cluster {
    // In the order in which it ends.
    pub(super) nodes: Vec<Node>,
    pub(super) controller: Controller,
    pub(super) controller_life: Life,
    pub(super) guests: Vec<Guest>,
    pub(super) site: Site,
    pub(super) store: StoreLife,
    pub(super) world: World,
    pub(super) seed: u64,
    /// Daemons that ended by themselves and were started again.
    pub(super) restarts: u64,
    /// The last row of the store's events that was read.
    pub(super) last_event: i64,
    /// Acknowledgements of suspensions.
    pub(super) answers: Answers,
}

impl Cluster {
    /// Makes and starts all of it, and waits until every guest is STARTED.
    pub(super) fn start(mut world: World, log: &mut Log, seed: u64, guests: u8) -> Lab<Cluster> {
        let letters = ('A'..).take(HOSTS * TRUNKS);
        let trunks: Lab<Vec<Trunk>> = letters.map(|letter| world.add_trunk(letter)).collect();
        let trunks = trunks?;
        let site = start_site(&world, &trunks)?;
        let kit = world.kit().clone();
        let mut nodes = Vec::new();
        for (index, trunk) in trunks.iter().enumerate() {
            let hm = Hm { host: index / TRUNKS, trunk: index % TRUNKS };
            log.note(Fact::MonitorUp(hm))?;
            let url = site.url(&login(hm.host));
            let monitor = HostMonitor::start_with_more(&kit, trunk, AS_SHIPPED, &url, &recorder())?;
            nodes.push(Node {
                hm,
                trunk: trunk.clone(),
                monitor,
                life: Life::Up,
                store_cut: false,
                link_down: false,
                cuts: Cuts::default(),
            });
        }
        log.note(Fact::ControllerUp)?;
        let controller = Controller::start_with(&kit, POLL_INTERVAL_MS, &recorder())?;
        let guests = start_guests(&world, log, &trunks, guests)?;
        let mut cluster = Cluster {
            nodes,
            controller,
            controller_life: Life::Up,
            guests,
            site,
            store: StoreLife::Up,
            world,
            seed,
            restarts: 0,
            last_event: 0,
            answers: Answers::default(),
        };
        cluster.register()?;
        log.faults(0)?;
        Ok(cluster)
    }

    /// Who there is, for schedules.
    pub(super) fn shape(&self) -> Shape {
        Shape { hosts: HOSTS, trunks: TRUNKS, guests: self.guests.len() }
    }

    /// The same for the judge.
    pub(super) fn cast(&self) -> Cast {
        Cast {
            seed: self.seed,
            hosts: HOSTS,
            trunks: TRUNKS,
            vms: self.guests.iter().map(|guest| guest.uuid().to_string()).collect(),
            monitors: self.nodes.iter().map(|node| (node.hm, node.monitor.uuid().to_string())).collect(),
        }
    }

    /// A trunk and its monitor.
    pub(super) fn node(&mut self, hm: Hm) -> Lab<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.hm == hm);
        found.ok_or_else(|| LabError::Unexpected(format!("there is no {hm}")))
    }

    /// A guest, from 0.
    pub(super) fn guest(&mut self, vm: usize) -> Lab<&mut Guest> {
        self.guests.get_mut(vm).ok_or_else(|| LabError::Unexpected(format!("there is no vm{}", vm + 1)))
    }

    /// How many faults of the infrastructure are in force, counted as the simulator does.
    pub(super) fn faults(&self) -> usize {
        let of_node = |node: &Node| {
            let cuts = &node.cuts;
            let trunk = cuts.up || cuts.down || cuts.permille > 0 || node.link_down;
            usize::from(trunk) + usize::from(node.life != Life::Up) + usize::from(node.store_cut)
        };
        let nodes: usize = self.nodes.iter().map(of_node).sum();
        nodes + usize::from(self.controller_life != Life::Up) + usize::from(self.store != StoreLife::Up)
    }

    fn register(&mut self) -> Lab<()> {
        let first =
            &self.nodes.first().ok_or_else(|| LabError::Unexpected("there is no monitor".into()))?.monitor;
        wait::until(STARTED_LIMIT, "the first host monitor to answer", || {
            Ok(first.passthru(&requests::quick_query())?.status.success().then_some(()))
        })?;
        for host in 0..HOSTS {
            let serial = format!("serial=\"{}\"", host + 1);
            let at_host = |xml: String| xml.replace("serial=\"1\"", &serial);
            let monitors: Vec<(String, String)> = self
                .nodes
                .iter()
                .filter(|node| node.hm.host == host)
                .map(|node| (node.monitor.uuid().to_string(), node.trunk.monitor_mac()))
                .collect();
            let vms: Vec<(String, String)> = self
                .guests
                .iter()
                .filter(|guest| guest.host() == host)
                .map(|guest| (guest.uuid().to_string(), guest.name().to_string()))
                .collect();
            first.passthru(&at_host(requests::add_host(&monitors)))?.ok()?;
            if vms.is_empty() {
                continue;
            }
            let uuids: Vec<String> = vms.iter().map(|(uuid, _)| uuid.clone()).collect();
            first.passthru(&at_host(requests::add_vms(&vms)))?.ok()?;
            first.passthru(&at_host(requests::start_vms(&uuids)))?.ok()?;
        }
        let step = Step::begin("every guest beats on both of its trunks");
        let found = wait::until(STARTED_LIMIT, "every guest to be STARTED", || {
            let sql = "SELECT count(*) FROM vmpulse.vm WHERE state <> 'STARTED'";
            Ok((self.site.sql(sql)?.trim() == "0").then_some(()))
        });
        step.finish(found)?;
        self.guests.iter().try_for_each(Guest::add_application)
    }

    /// Each guest's VMFDT, in milliseconds; one command for those that have the same.
    pub(super) fn set_detection_times(&self, times: &BTreeMap<u32, Vec<usize>>) -> Lab<()> {
        for (ms, vms) in times {
            let names: Vec<&str> =
                vms.iter().filter_map(|vm| self.guests.get(*vm)).map(Guest::name).collect();
            let line = format!("modify vm {} vm_failure_detection_time={}", names.join(","), ms / 1000);
            self.controller.hamgr(&line)?.ok()?;
        }
        Ok(())
    }

    /// The work of everybody's init.
    pub(super) fn supervise(&mut self, log: &mut Log) -> Lab<()> {
        self.guests.iter_mut().try_for_each(|guest| guest.supervise(log))?;
        for node in &mut self.nodes {
            let (hm, monitor) = (node.hm, &mut node.monitor);
            match node.life {
                Life::Up => {
                    if let Err(error) = monitor.still_runs() {
                        expect_orderly(&error)?;
                        self.restarts += 1;
                        node.life = Life::Restarting(Stopwatch::start());
                        log.note(Fact::MonitorDown(hm, "ended by itself".to_string()))?;
                    }
                }
                Life::Restarting(since) if since.elapsed() >= RESTART => {
                    monitor.restart()?;
                    node.life = Life::Up;
                    log.note(Fact::MonitorUp(hm))?;
                }
                Life::Stalled(since, time) if since.elapsed() >= time => {
                    monitor.signal(nix::sys::signal::Signal::SIGCONT)?;
                    node.life = Life::Up;
                }
                Life::Restarting(_) | Life::Stalled(..) | Life::Down => {}
            }
        }
        self.supervise_controller(log)?;
        self.note_answers(log)?;
        log.faults(self.faults())
    }

    fn supervise_controller(&mut self, log: &mut Log) -> Lab<()> {
        match self.controller_life {
            Life::Up => {
                if let Err(error) = self.controller.still_runs() {
                    expect_orderly(&error)?;
                    self.restarts += 1;
                    self.controller_life = Life::Restarting(Stopwatch::start());
                    log.note(Fact::ControllerDown("ended by itself".to_string()))?;
                }
            }
            Life::Restarting(since) if since.elapsed() >= RESTART => {
                log.note(Fact::ControllerUp)?;
                self.controller.restart()?;
                self.controller_life = Life::Up;
            }
            Life::Stalled(since, time) if since.elapsed() >= time => {
                self.controller.signal(nix::sys::signal::Signal::SIGCONT)?;
                self.controller_life = Life::Up;
            }
            Life::Restarting(_) | Life::Stalled(..) | Life::Down => {}
        }
        Ok(())
    }
}

/// A daemon may end because it cannot go on, and says so by its exit status; it may not crash.
fn expect_orderly(error: &LabError) -> Lab<()> {
    let text = error.to_string();
    let orderly = text.contains("ended with exit status") && !text.contains("exit status 101");
    if orderly { Ok(()) } else { Err(LabError::Unexpected(format!("a daemon crashed: {text}"))) }
}

/// Settings: everything is recorded, for as long as a soak may take.
fn recorder() -> String {
    format!("[recorder]\ndirectory = \"{}\"\nmax_mib = 4096\nkeep = 10000\n", world::dir("records").display())
}

fn login(host: usize) -> String {
    format!("host{}", host + 1)
}

/// The server, its roles, and the schema made by its owner.
fn start_site(world: &World, trunks: &[Trunk]) -> Lab<Site> {
    daemons::postgresql::needs_another_user(world.kit())?;
    let site = Site::start(trunks)?;
    let mut hamgr = Place::Here.command(world.kit().program("hamgr"));
    hamgr.args(["--store", &site.owners_url(), "query", "system"]);
    process::run(hamgr)?.ok()?;
    let logins: Vec<String> = (0..trunks.len()).map(|index| login(index / TRUNKS)).collect();
    let uuids = trunks.iter().map(HostMonitor::uuid_on);
    site.set_up(&logins.iter().map(String::as_str).zip(uuids).collect::<Vec<_>>())?;
    daemons::use_store(site.url("controller1"));
    Ok(site)
}

fn start_guests(world: &World, log: &mut Log, trunks: &[Trunk], count: u8) -> Lab<Vec<Guest>> {
    let mut step = Step::begin(format!("{count} guests with agents and guardians"));
    let mut guests = Vec::new();
    for number in 1..=count {
        let vm = usize::from(number) - 1;
        let host = vm % HOSTS;
        let own = trunks.get(host * TRUNKS..(host + 1) * TRUNKS).unwrap_or_default();
        guests.push(Guest::start(world, log, (vm, host), number, own)?);
        step.tick();
    }
    step.end("done");
    Ok(guests)
}
