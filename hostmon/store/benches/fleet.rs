//! What a large fleet costs the store, on both back ends: `cargo bench -p vmpulse-store --bench fleet`.
//!
//! `FLEET` VMs (100,000) on 1,000 hosts. Nothing is judged here: docs/performance.md has the figures and what is demanded.
//! PostgreSQL is a server of the benchmark's own, on a Unix socket and without `fsync`; SQLite syncs each commit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;
use vmpulse_test_postgres::Server;

/// How often each question is asked.
const TIMES: usize = 30;
/// Steady rounds that are counted.
const ROUNDS: u64 = 10;

fn vm(number: u32) -> VmUuid {
    format!("00000000-0000-0000-0000-{number:012}").parse().unwrap()
}

fn hm(number: u32) -> HostMonitorId {
    format!("ffffffff-0000-0000-0000-{number:012}").parse().unwrap()
}

fn main() {
    let vms: u32 = std::env::var("FLEET").map_or(100_000, |vms| vms.parse().unwrap());
    println!(
        "1,000 hosts with two host monitors each, {vms} VMs with two paths each; of {TIMES}: median, slowest"
    );
    sqlite(vms);
    match Server::start_with(5432, "shared_preload_libraries = 'pg_stat_statements'", |_| Ok(())) {
        Ok(server) => postgres(server, vms),
        Err(reason) => println!("PostgreSQL: {reason}"),
    }
}

fn sqlite(vms: u32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.db");
    let mut store = SqliteStore::open(&path, Box::new(SystemClock)).unwrap();
    let now = store.now().unwrap().0.to_string();
    let fleet = include_str!("fleet/sqlite.sql").replace(":now", &now).replace(":vms", &vms.to_string());
    rusqlite::Connection::open(&path).unwrap().execute_batch(&fleet).unwrap();
    println!("SQLite");
    questions(&mut store, vms);
    edges(&mut store);
}

fn postgres(mut server: Server, vms: u32) {
    let database = server.database();
    server.sql(&database, "CREATE EXTENSION pg_stat_statements").unwrap();
    let mut store = PostgresStore::open(&server.url("postgres", &database)).unwrap();
    let now = store.now().unwrap().0.to_string();
    let fleet = include_str!("fleet/postgres.sql").replace(":now", &now).replace(":vms", &vms.to_string());
    server.sql(&database, &fleet).unwrap();
    println!("PostgreSQL");
    questions(&mut store, vms);
    edges(&mut store);
    commands(&mut store, &server, &database);
    for vms in [100, 1000, 10_000] {
        steady(&mut server, vms);
    }
}

/// What controllers, and host monitors with 100 VMs each, ask.
fn questions(store: &mut dyn Store, vms: u32) {
    measured("quick query", || drop(store.quick_query().unwrap()));
    measured("needs attention", || drop(store.needs_attention().unwrap()));
    measured("roster", || drop(store.roster(hm(2)).unwrap()));
    for strangers in [1, 100, 2048] {
        // Half of them made up.
        let guests: Vec<_> = (0..strangers).map(|n| vm(n * 7 + if n % 2 == 0 { vms } else { 0 })).collect();
        let what = format!("standings of {strangers} strangers");
        measured(&what, || drop(store.standings(hm(2), &guests).unwrap()));
    }
}

/// Each a transaction of 1,000.
fn edges(store: &mut dyn Store) {
    let vms = |round: u32| (1..=1000).map(move |n| vm(n + round * 1000));
    let age = Duration::from_secs(19);
    let mut round = 0..;
    let mut next = || round.next().unwrap() % 10;
    measured("1,000 paths fall silent, committed", || {
        let silent: Vec<_> =
            vms(next()).map(|vm| HostMonitorWrite::PathMissing { vm, age, common: true }).collect();
        store.host_monitor_apply(hm(2), &silent).unwrap();
    });
    measured("1,000 paths beat again, committed", || {
        let back: Vec<_> = vms(next()).map(|vm| HostMonitorWrite::PathDetected { vm }).collect();
        store.host_monitor_apply(hm(2), &back).unwrap();
    });
}

/// From a command's commit to the notice of another connection, without a host monitor's pause between looks.
fn commands(store: &mut dyn Store, server: &Server, database: &str) {
    let mut monitor = PostgresStore::open(&server.url("postgres", database)).unwrap();
    monitor.host_monitor_apply(hm(2), &[start()]).unwrap();
    let mut stamp = monitor.change_stamp().unwrap();
    let mut interval = 100;
    let mut times: Vec<_> = (0..TIMES)
        .map(|_| {
            interval += 1;
            let settings = VmSettings { heartbeat_interval_ms: Some(interval), ..VmSettings::default() };
            store.vm_settings_replace(vm(1), &settings).unwrap();
            let committed = Instant::now();
            while monitor.change_stamp().unwrap() == stamp {}
            stamp = monitor.change_stamp().unwrap();
            committed.elapsed()
        })
        .collect();
    tell("a command is noticed", &mut times);
}

fn start() -> HostMonitorWrite {
    HostMonitorWrite::Started(HostMonitorStart {
        trunk: "trunkA".into(),
        mac: "02:ff:00:00:00:01".into(),
        vlan: None,
        incarnation: "1".into(),
        versions: "2.0-2.1".into(),
        heartbeat_interval: Duration::from_secs(30),
    })
}

/// Statements of a healthy host: a heartbeat, a roster and a poll, counted by the server.
fn steady(server: &mut Server, vms: u32) {
    let database = server.database();
    server.sql(&database, "CREATE EXTENSION pg_stat_statements").unwrap();
    let mut store = PostgresStore::open(&server.url("postgres", &database)).unwrap();
    let key = HostKey { machine_type: "a".into(), model: "b".into(), serial: "c".into() };
    let host_monitors = vec![HostMonitorRegistration { id: hm(1), part_number: 0, mac: None }];
    store.hosts_add(&[HostRegistration { key: key.clone(), host_monitors }]).unwrap();
    let registrations: Vec<_> = (1..=vms).map(|n| VmRegistration { uuid: vm(n), name: None }).collect();
    store.vms_add(&key, &registrations).unwrap();
    store.vms_start(&registrations.iter().map(|vm| vm.uuid).collect::<Vec<_>>()).unwrap();
    store.host_monitor_apply(hm(1), &[start()]).unwrap();
    for batch in registrations.chunks(1000) {
        let beat: Vec<_> = batch.iter().map(|vm| HostMonitorWrite::PathDetected { vm: vm.uuid }).collect();
        store.host_monitor_apply(hm(1), &beat).unwrap();
    }
    let tag = store.needs_attention().unwrap().tag.unwrap();
    store.acknowledge(tag).unwrap();
    let count = "SELECT sum(calls) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat%'";
    let calls = |server: &Server| server.sql(&database, count).unwrap().parse::<u64>().unwrap();
    let mut rounds = || {
        let before = calls(server);
        for _ in 0..ROUNDS {
            store.host_monitor_apply(hm(1), &[HostMonitorWrite::Heartbeat]).unwrap();
            store.roster(hm(1)).unwrap();
            store.change_stamp().unwrap();
            store.needs_attention().unwrap();
        }
        calls(server) - before
    };
    // Once to prepare what is asked.
    rounds();
    println!("  heartbeat, roster and poll, {vms} healthy VMs: {} statements", rounds() / ROUNDS);
}

fn measured(what: &str, mut ask: impl FnMut()) {
    let mut times: Vec<_> = (0..TIMES)
        .map(|_| {
            let before = Instant::now();
            ask();
            before.elapsed()
        })
        .collect();
    tell(what, &mut times);
}

fn tell(what: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("  {what}: {:.1} ms, {:.1} ms", ms(times[times.len() / 2]), ms(times[times.len() - 1]));
}
