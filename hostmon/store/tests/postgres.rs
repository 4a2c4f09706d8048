//! What is particular to the PostgreSQL back end: a server that others use too, that stops, and that is slow.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{
    HostKey, HostMonitorRegistration, HostMonitorStart, HostMonitorWrite, HostRegistration, PostgresStore,
    RequestKind, StartWrites, Store, StoreError, VmRegistration,
};
use vmpulse_test_postgres::Server;

macro_rules! server {
    () => {
        match Server::start() {
            Ok(server) => server,
            Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
            Err(reason) => panic!("{reason}"),
        }
    };
}

fn vm(number: u32) -> VmUuid {
    format!("00000000-0000-0000-0000-{number:012x}").parse().unwrap()
}

fn hm(number: u8) -> HostMonitorId {
    HostMonitorId::from_bytes([number; 16])
}

fn key() -> HostKey {
    HostKey { machine_type: "QEMU".into(), model: "q35".into(), serial: "1".into() }
}

fn register(store: &mut dyn Store, host_monitors: u8, vms: u32) {
    let host_monitors = (1..=host_monitors)
        .map(|n| HostMonitorRegistration { id: hm(n), part_number: 0, mac: None })
        .collect();
    store.hosts_add(&[HostRegistration { key: key(), host_monitors }]).unwrap();
    let registrations: Vec<_> = (1..=vms).map(|n| VmRegistration { uuid: vm(n), name: None }).collect();
    store.vms_add(&key(), &registrations).unwrap();
}

fn start(incarnation: &str) -> HostMonitorWrite {
    HostMonitorWrite::Started(HostMonitorStart {
        trunk: "trunkA".into(),
        mac: "02:00:00:00:00:01".into(),
        vlan: None,
        incarnation: incarnation.into(),
        versions: "2.0-2.1".into(),
        heartbeat_interval: Duration::from_secs(30),
    })
}

fn of(incarnation: &str, writes: &[(u64, HostMonitorWrite)]) -> [StartWrites; 1] {
    [StartWrites { incarnation: incarnation.into(), writes: writes.to_vec(), of_earlier_boot: false }]
}

fn doorbell(bit: u8) -> HostMonitorWrite {
    HostMonitorWrite::Doorbell { vm: vm(1), bits: 1 << bit }
}

fn rung(store: &mut dyn Store) -> u32 {
    store.needs_attention().unwrap().hosts[0].vms.iter().map(|entry| entry.doorbell).sum()
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "in vain: {what}");
    }
}

/// An hsTag has room for so many numbers of hosts; a controller registers its hosts at each of its starts.
#[test]
fn registering_again_takes_no_number() {
    let mut server = server!();
    let database = server.database();
    let mut store = PostgresStore::open(&server.url("postgres", &database)).unwrap();
    for _ in 0..5 {
        register(&mut store, 2, 1);
    }
    let other = HostKey { serial: "2".into(), ..key() };
    store.hosts_add(&[HostRegistration { key: other, host_monitors: Vec::new() }]).unwrap();
    let ids =
        server.sql(&database, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM vmpulse.host").unwrap();
    assert_eq!(ids, "1 2");
}

/// Eight open an empty database at once; then they write at once.
#[test]
fn many_migrate_and_write_at_once() {
    let mut server = server!();
    let database = server.database();
    let url = server.url("postgres", &database);
    let openers: Vec<_> = (1..=8u8)
        .map(|n| {
            let url = url.clone();
            std::thread::spawn(move || {
                let mut store = PostgresStore::open(&url).unwrap();
                for _ in 0..10 {
                    let writes = [HostMonitorWrite::Heartbeat, doorbell(n)];
                    store.host_monitor_apply(hm(n), &writes).unwrap();
                    if n == 1 {
                        register(&mut store, 8, 1);
                    }
                }
            })
        })
        .collect();
    openers.into_iter().for_each(|opener| opener.join().unwrap());
    let mut store = PostgresStore::open(&url).unwrap();
    assert_eq!(store.quick_query().unwrap().hosts[0].host_monitors.len(), 8);
    // Each rings a bit of its own; those that rang before the VM was registered ring again.
    for n in 1..=8 {
        store.host_monitor_apply(hm(n), &[doorbell(n)]).unwrap();
    }
    assert_eq!(rung(&mut store), 0b1_1111_1110);
    assert_eq!(server.sql(&database, "SELECT count(*) FROM vmpulse.cluster").unwrap(), "1");

    server.sql(&database, "UPDATE vmpulse.schema_version SET version = 99").unwrap();
    assert!(matches!(PostgresStore::open(&url), Err(StoreError::TooNew { found: 99, .. })));
}

/// Every commit of a host monitor changes its row. The new version stays in its page, and no index is touched.
#[test]
fn a_sign_of_life_touches_no_index() {
    let mut server = server!();
    let database = server.database();
    let mut store = PostgresStore::open(&server.url("postgres", &database)).unwrap();
    register(&mut store, 1, 1);
    let indexes = |columns: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_indexes WHERE tablename = 'host_monitor' AND indexdef ~ '{columns}'"
        );
        server.sql(&database, &sql).unwrap()
    };
    assert_ne!(indexes("uuid"), "0", "the check itself");
    assert_eq!(indexes("heartbeat_at|written_up_to"), "0");
}

#[test]
fn writes_are_applied_once_and_superseded_monitors_are_not_heard() {
    let mut server = server!();
    let database = server.database();
    let url = server.url("postgres", &database);
    let mut store = PostgresStore::open(&url).unwrap();
    register(&mut store, 1, 1);
    let event = |text: &str| HostMonitorWrite::NodeEvent { kind: "NOTE".into(), text: text.into() };
    let events =
        || server.sql(&database, "SELECT string_agg(text, ',' ORDER BY id) FROM vmpulse.node_event").unwrap();
    store.host_monitor_replay(hm(1), &of("1", &[(1, start("1")), (2, event("a"))])).unwrap();
    store.host_monitor_replay(hm(1), &of("1", &[(1, start("1")), (2, event("a")), (3, event("b"))])).unwrap();
    assert_eq!(events(), "a,b", "given again with more");
    let mut later = PostgresStore::open(&url).unwrap();
    later.host_monitor_replay(hm(1), &of("2", &[(1, start("2")), (2, event("c"))])).unwrap();
    assert_eq!(events(), "a,b,c", "numbered anew from each start");
    let refused = store.host_monitor_replay(hm(1), &of("1", &[(4, HostMonitorWrite::Heartbeat)]));
    assert!(matches!(refused, Err(StoreError::Superseded(of)) if of == hm(1)), "{refused:?}");
}

/// Killed and started again, frozen, and one whose lock another holds.
#[test]
fn a_server_that_stops_is_an_error_and_not_a_hang() {
    let mut server = server!();
    let database = server.database();
    let url = server.url("postgres", &database);
    let mut store = PostgresStore::open(&url).unwrap();
    register(&mut store, 1, 1);
    store.host_monitor_replay(hm(1), &of("1", &[(1, start("1"))])).unwrap();
    let stamp = store.change_stamp().unwrap();

    server.kill();
    assert!(store.host_monitor_replay(hm(1), &of("1", &[(2, doorbell(1))])).is_err());
    assert!(store.change_stamp().is_err());
    server.launch().unwrap();
    store.host_monitor_replay(hm(1), &of("1", &[(2, doorbell(1))])).unwrap();
    assert_ne!(store.change_stamp().unwrap(), stamp, "what was committed meanwhile was not heard of");
    assert_eq!(rung(&mut store), 2);

    server.kill();
    server.launch().unwrap();
    assert_eq!(rung(&mut store), 2, "one that came back unnoticed costs no error");

    server.signal("STOP");
    let slow = store.quick_query();
    assert!(matches!(slow, Err(StoreError::Slow { .. })), "{slow:?}");
    server.signal("CONT");
    eventually("it answers again", || store.quick_query().ok());
}

/// Passes on what is said between a client and the server's socket. Armed, it lets the next COMMIT through, and closes the
/// connection instead of passing on the answer.
fn proxy(server: &Server, armed: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (socket, armed) = (server.folder().join(".s.PGSQL.5432"), Arc::clone(armed));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut to_client, mut from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (swallow, armed) = (Arc::new(AtomicBool::new(false)), Arc::clone(&armed));
            let swallows = Arc::clone(&swallow);
            std::thread::spawn(move || {
                let mut part = [0; 65536];
                while let Ok(length @ 1..) = from_server.read(&mut part) {
                    if swallows.load(Ordering::SeqCst) || to_client.write_all(&part[..length]).is_err() {
                        break;
                    }
                }
                let _ = to_client.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut part = [0; 65536];
                while let Ok(length @ 1..) = client.read(&mut part) {
                    if part[..length].windows(6).any(|word| word == b"COMMIT")
                        && armed.swap(false, Ordering::SeqCst)
                    {
                        swallow.store(true, Ordering::SeqCst);
                    }
                    if server.write_all(&part[..length]).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn a_commit_whose_answer_was_lost_is_neither_lost_nor_doubled() {
    let mut server = server!();
    let database = server.database();
    let armed = Arc::new(AtomicBool::new(false));
    let port = proxy(&server, &armed);
    let url = format!("postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=disable");
    let mut store = PostgresStore::open(&url).unwrap();
    register(&mut store, 1, 1);
    let event = |text: &str| HostMonitorWrite::NodeEvent { kind: "NOTE".into(), text: text.into() };
    let first = [(1, start("1")), (2, event("a"))];
    armed.store(true, Ordering::SeqCst);
    assert!(store.host_monitor_replay(hm(1), &of("1", &first)).is_err(), "the start itself");
    store.host_monitor_replay(hm(1), &of("1", &first)).unwrap();
    armed.store(true, Ordering::SeqCst);
    assert!(store.host_monitor_replay(hm(1), &of("1", &[(3, event("b")), (4, event("c"))])).is_err());
    assert!(!armed.load(Ordering::SeqCst), "the answer was swallowed");
    store.host_monitor_replay(hm(1), &of("1", &[(3, event("b")), (4, event("c")), (5, event("d"))])).unwrap();
    let events = "SELECT string_agg(text, ',' ORDER BY id) FROM vmpulse.node_event";
    assert_eq!(server.sql(&database, events).unwrap(), "a,b,c,d");
}

#[test]
fn a_command_is_known_of_at_once_and_a_heartbeat_wakes_nobody() {
    let mut server = server!();
    let database = server.database();
    let url = server.url("postgres", &database);
    let (mut commander, mut monitor) =
        (PostgresStore::open(&url).unwrap(), PostgresStore::open(&url).unwrap());
    register(&mut commander, 2, 1);
    monitor.host_monitor_apply(hm(1), &[start("1")]).unwrap();
    let mut other = PostgresStore::open(&url).unwrap();
    other.host_monitor_apply(hm(2), &[start("2")]).unwrap();
    let mut stamp = monitor.change_stamp().unwrap();
    let mut slowest = Duration::ZERO;
    for interval in 100..150 {
        other.host_monitor_apply(hm(2), &[HostMonitorWrite::Heartbeat]).unwrap();
        other.host_monitor_apply(hm(2), &[doorbell(3)]).unwrap();
        assert_eq!(monitor.change_stamp().unwrap(), stamp, "nothing of it is in a roster");
        let settings =
            vmpulse_store::VmSettings { heartbeat_interval_ms: Some(interval), ..Default::default() };
        commander.vm_settings_replace(vm(1), &settings).unwrap();
        let committed = Instant::now();
        stamp = eventually("the command is told", || {
            let now = monitor.change_stamp().unwrap();
            (now != stamp).then_some(now)
        });
        slowest = slowest.max(committed.elapsed());
        let roster = monitor.roster(hm(1)).unwrap();
        assert_eq!(roster.requests[0].what, RequestKind::Reconsider(vm(1)));
    }
    println!("a command is known of after {slowest:?} at most, of 50");
}

/// Of what a connection costs: statements, counted by the server.
#[test]
fn a_steady_monitor_costs_the_same_however_many_vms() {
    let mut server =
        match Server::start_with(5432, "shared_preload_libraries = 'pg_stat_statements'", |_| Ok(())) {
            Ok(server) => server,
            Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
            Err(reason) => panic!("{reason}"),
        };
    let database = server.database();
    server.sql(&database, "CREATE EXTENSION pg_stat_statements").unwrap();
    let mut store = PostgresStore::open(&server.url("postgres", &database)).unwrap();
    let statements = |store: &mut PostgresStore| {
        let count = "SELECT sum(calls) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat%'";
        let before: u64 = server.sql(&database, count).unwrap().parse().unwrap();
        for _ in 0..10 {
            store.host_monitor_apply(hm(1), &[HostMonitorWrite::Heartbeat]).unwrap();
            store.roster(hm(1)).unwrap();
            store.change_stamp().unwrap();
            store.needs_attention().unwrap();
        }
        server.sql(&database, count).unwrap().parse::<u64>().unwrap() - before
    };
    register(&mut store, 1, 1);
    store.host_monitor_apply(hm(1), &[start("1")]).unwrap();
    store.vms_start(&[vm(1)]).unwrap();
    store.host_monitor_apply(hm(1), &[HostMonitorWrite::PathDetected { vm: vm(1) }]).unwrap();
    let tag = store.needs_attention().unwrap().tag.unwrap();
    store.acknowledge(tag).unwrap();
    statements(&mut store);
    let of_one = statements(&mut store);
    let all: Vec<_> = (1..=500).map(vm).collect();
    register(&mut store, 1, 500);
    store.vms_start(&all).unwrap();
    let beating: Vec<_> = all.iter().map(|vm| HostMonitorWrite::PathDetected { vm: *vm }).collect();
    store.host_monitor_apply(hm(1), &beating).unwrap();
    let tag = store.needs_attention().unwrap().tag.unwrap();
    store.acknowledge(tag).unwrap();
    statements(&mut store);
    assert_eq!(statements(&mut store), of_one, "ten rounds with 500 VMs and with one");
    println!("ten rounds of heartbeat, roster and poll: {of_one} statements");
}
