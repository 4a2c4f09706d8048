//! From the wire to the store and back, by a real daemon on both back ends: `cargo bench -p vmpulse-hostmon --bench edges`,
//! as root. docs/performance.md has the figures and what is demanded.
//!
//! * 1,000 paths fall silent at once: from the last deadline until a controller's poll has them all.
//! * A command: from its commit until the monitor's message is on the wire. The interval is changed, which sends `START_HB`
//!   as START_VM does; a VM is stopped.
//! * Steady state: statements a second, with 100, 1,000 and 10,000 healthy VMs, counted by the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::disallowed_methods)]
// The guests of the other benchmark can more than is wanted here.
#![allow(dead_code)]

#[path = "edges/daemon.rs"]
mod daemon;
#[path = "trunk/guests.rs"]
mod guests;

use std::time::{Duration, Instant};

use vmpulse_link::bench::{self, Injector, Load, Wire};
use vmpulse_link::{CaptureConfig, CaptureSocket, Direction, MacAddr, ReceiveBuffer};
use vmpulse_store::{Store, VmList, VmSettings, VmState};
use vmpulse_test_postgres::Server;

use daemon::{Daemon, fill};
use guests::{Guests, vm};

/// Paths that fall silent together.
const PATHS: u32 = 1000;
/// Of every guest.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often each is measured.
const SILENCES: usize = 5;
const ORDERS: u32 = 20;
/// What is counted for.
const STEADY: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// What is ordered of a VM, the number of the order given, and what its guest is told then.
type Command = (&'static str, fn(&mut dyn Store, u32), &'static [u8]);
const COMMANDS: [Command; 2] = [("START_HB", change_interval, b"START_HB"), ("STOP_HB", stop, b"STOP_HB")];

fn change_interval(store: &mut dyn Store, number: u32) {
    let settings = VmSettings { heartbeat_interval_ms: Some(2000 + number), ..VmSettings::default() };
    store.vm_settings_replace(vm(number), &settings).unwrap();
}

fn stop(store: &mut dyn Store, number: u32) {
    store.vms_stop(&[VmList { host: None, vms: vec![vm(number)] }]).unwrap();
}

fn main() {
    let settings = "shared_preload_libraries = 'pg_stat_statements'";
    let server = Server::start_with(5432, settings, |_| Ok(()));
    if let Err(error) = bench::enter_namespace() {
        eprintln!("edges: cannot make a network namespace: {error}; run this as root");
        std::process::exit(77);
    }
    let wire = Wire::new(1500).unwrap();
    let folder = tempfile::tempdir().unwrap();
    println!("SQLite");
    edges(&wire, &format!("sqlite://{}/health.db", folder.path().display()));
    let mut server = match server {
        Ok(server) => server,
        Err(reason) => return println!("PostgreSQL: {reason}"),
    };
    println!("PostgreSQL");
    let database = server.database();
    edges(&wire, &server.url("postgres", &database));
    for paths in [100, 1000, 10_000] {
        steady(&wire, &mut server, paths);
    }
}

fn edges(wire: &Wire, url: &str) {
    let monitor = wire.receiver_mac().unwrap();
    let mut store = vmpulse_store::open(url).unwrap();
    fill(&mut *store, PATHS);
    let mut daemon = Daemon::start(&wire.receiver, url, INTERVAL);
    let mut beat = beats(Guests::connect(&wire.sender, monitor, PATHS, false), &wire.sender);
    let mut late: Vec<_> = (0..SILENCES).map(|_| silence(&mut *store, &mut daemon, &mut beat)).collect();
    tell("1,000 silences, from the last deadline to a poll that has them all", &mut late);
    // Of guests that do not answer, each is told one thing only: what comes next would wait behind it.
    for (first, (what, order, told)) in (0..).step_by(ORDERS as usize).zip(COMMANDS) {
        let mut capture = CaptureSocket::open(&CaptureConfig::new(&wire.sender)).unwrap();
        let mut times: Vec<_> = (first..first + ORDERS)
            .map(|number| {
                order(&mut *store, number);
                let committed = Instant::now();
                heard(&mut capture, bench::source(number), told);
                committed.elapsed()
            })
            .collect();
        tell(&format!("a command, from its commit to {what} on the wire"), &mut times);
    }
}

/// One heartbeat of each; returns when the last was sent.
fn beats(guests: Guests, interface: &str) -> impl FnMut() -> Instant + use<> {
    let injector = Injector::open(interface).unwrap();
    let mut next = guests.heartbeats();
    move || {
        for number in 0..u64::from(PATHS) {
            let mut frame = Vec::new();
            next(number, &mut frame);
            injector.send(&[frame]).unwrap();
        }
        Instant::now()
    }
}

/// How long after the last deadline the store has them all.
fn silence(store: &mut dyn Store, daemon: &mut Daemon, beat: &mut impl FnMut() -> Instant) -> Duration {
    let begun = Instant::now();
    let mut last = beat();
    let beating = |daemon: &mut Daemon| daemon.counter("vms_beating") == u64::from(PATHS);
    while !beating(daemon) || silent(store) > 0 || begun.elapsed() < 3 * INTERVAL {
        assert!(begun.elapsed() < PATIENCE, "they do not beat");
        std::thread::sleep(INTERVAL.saturating_sub(last.elapsed()));
        last = beat();
    }
    let (deadline, before) = (last + INTERVAL * 19 / 10, daemon.commits());
    while silent(store) < PATHS as usize {
        assert!(begun.elapsed() < PATIENCE, "{} are silent", silent(store));
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = deadline.elapsed();
    println!("  1,000 silences: {} transactions", daemon.commits() - before);
    took
}

fn silent(store: &mut dyn Store) -> usize {
    let hosts = store.needs_attention().unwrap().hosts;
    hosts.iter().flat_map(|host| &host.vms).filter(|vm| vm.missed.is_some()).count()
}

/// Waits for a frame to `guest` that says `told`.
fn heard(capture: &mut CaptureSocket, guest: MacAddr, told: &[u8]) {
    let (begun, mut buffer) = (Instant::now(), ReceiveBuffer::new());
    loop {
        assert!(begun.elapsed() < PATIENCE, "{guest} is told nothing");
        let Some(frame) = capture.next(&mut buffer, Duration::from_millis(5)).unwrap() else { continue };
        let to_it = frame.direction == Direction::Received && frame.destination == guest;
        if to_it && frame.payload.windows(told.len()).any(|part| part == told) {
            return;
        }
    }
}

fn steady(wire: &Wire, server: &mut Server, paths: u32) {
    let database = server.database();
    server.sql(&database, "CREATE EXTENSION pg_stat_statements").unwrap();
    let url = server.url("postgres", &database);
    let mut store = vmpulse_store::open(&url).unwrap();
    fill(&mut *store, paths);
    // The shortest interval with which handshakes of all leave nobody MISSING.
    let mut daemon = Daemon::start(&wire.receiver, &url, 10 * INTERVAL);
    let guests = Guests::connect(&wire.sender, wire.receiver_mac().unwrap(), paths, false);
    let rate = Some(u64::from(paths) / 5);
    let load = Load { interface: wire.sender.clone(), core: 0, rate }.start(guests.heartbeats()).unwrap();
    let begun = Instant::now();
    while daemon.counter("vms_beating") < u64::from(paths) || begun.elapsed() < STEADY {
        assert!(begun.elapsed() < 3 * PATIENCE, "they do not beat");
        std::thread::sleep(Duration::from_millis(200));
    }
    // And until the store has taken in what comes of a start.
    let settled = |store: &mut dyn Store| {
        let vms = store.vms().unwrap();
        let started = vms.iter().all(|vm| vm.state == VmState::Started);
        started && store.roster(daemon::host_monitor()).unwrap().requests.is_empty()
    };
    while !settled(&mut *store) {
        assert!(begun.elapsed() < 4 * PATIENCE, "they are not STARTED");
        std::thread::sleep(Duration::from_millis(500));
    }
    let count = "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
                 WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat%'";
    let calls = || server.sql(&database, count).unwrap().parse::<u64>().unwrap();
    let (before, begun) = (calls(), Instant::now());
    std::thread::sleep(STEADY);
    let rate = (calls() - before) as f64 / begun.elapsed().as_secs_f64();
    load.stop();
    println!("  {paths} healthy VMs, one host monitor: {rate:.1} statements a second");
}

fn tell(what: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("  {what}: median {:.0} ms, slowest of {} {:.0} ms", ms(median), times.len(), ms(slowest));
}
