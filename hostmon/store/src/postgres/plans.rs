//! What a large fleet costs: by which way the server looks, and how long it takes.

use std::fmt::Write;
use std::time::Instant;

use vmpulse_protocol::id::VmUuid;
use vmpulse_test_postgres::Server;

use super::session::PLANNER;
use super::*;
use crate::sql::{LEAVING, POLLED, QUICK};

/// 1,000 hosts with two host monitors each. In trouble: 100 silent VMs, 100 state changes, doorbells and strangers.
/// `FLEET` VMs (20,000 of them if nothing is said), each with two beating paths.
const FLEET: &str = "
    SET search_path = vmpulse;
    INSERT INTO host (id, machine_type, model, serial) SELECT n, 'QEMU', 'q35', to_char(n, 'FM000000')
    FROM generate_series(1, 1000) n;
    INSERT INTO host_monitor (id, uuid, host_id, trunk, heartbeat_at, state, mode)
    SELECT n, format('ffffffff-0000-0000-0000-%s', to_char(n, 'FM000000000000')), 1 + n % 1000, 'trunkA', :now, 'UP',
           'GLOBAL' FROM generate_series(1, 2000) n;
    INSERT INTO vm (id, uuid, name, host_id, state, state_changed_at, silence_from, state_sequence)
    SELECT n, format('00000000-0000-0000-0000-%s', to_char(n, 'FM000000000000')), 'vm' || n, 1 + n % 1000, 'STARTED', 1, 1,
           CASE WHEN n % (:vms / 100) = 1 THEN n END FROM generate_series(1, :vms) n;
    INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, missing_since, heard_at)
    SELECT n, 1 + n % 1000 + which * 1000, '02:00:00:00:00:01', '2.1', 1, 1,
           CASE WHEN n % (:vms / 100) = 0 THEN :now - 60000000 END, 1
    FROM generate_series(1, :vms) n, generate_series(0, 1) which;
    INSERT INTO doorbell (vm_id, bit, sequence) SELECT n, 1, n FROM generate_series(1, 100) n;
    INSERT INTO discovered (host_monitor_id, uuid, mac, kind, sequence)
    SELECT 1 + n % 2000, 'uuid' || n, 'mac', 'UNMANAGED', CASE WHEN n <= 100 THEN n END FROM generate_series(1, 20000) n;
    UPDATE cluster SET change_sequence = 1000000;
    ANALYZE";

fn store() -> Option<(Server, String, PostgresStore, u32)> {
    let mut server = match Server::start() {
        Ok(server) => server,
        Err(reason) if reason.starts_with("SKIPPED") => {
            eprintln!("{reason}");
            return None;
        }
        Err(reason) => panic!("{reason}"),
    };
    let database = server.database();
    let store = PostgresStore::open(&server.url("postgres", &database)).unwrap();
    let vms: u32 = std::env::var("FLEET").map_or(20_000, |vms| vms.parse().unwrap());
    let now = store.time().unwrap().0.to_string();
    server.sql(&database, &FLEET.replace(":now", &now).replace(":vms", &vms.to_string())).unwrap();
    Some((server, database, store, vms))
}

/// The plan that a prepared statement settles on: whatever its parameters are.
fn plan(server: &Server, database: &str, sql: &str) -> String {
    let parameters = (1..10).take_while(|n| sql.contains(&format!("?{n}"))).count();
    let types = vec!["bigint"; parameters].join(", ");
    let nulls = vec!["NULL"; parameters].join(", ");
    let (mut declared, mut given) = (String::new(), String::new());
    if parameters > 0 {
        let _ = write!(declared, "({types})");
        let _ = write!(given, "({nulls})");
    }
    let sql = dialect::translate(sql);
    let all = format!(
        "SET search_path = vmpulse; SET plan_cache_mode = force_generic_plan; {PLANNER}
         PREPARE asked {declared} AS {sql}; EXPLAIN (COSTS off) EXECUTE asked {given}"
    );
    server.sql(database, &all).unwrap()
}

/// Hosts, their monitors and doorbells are meant to be gone through.
fn scans_the_fleet(plan: &str) -> Option<&str> {
    plan.lines().find(|line| {
        ["vm", "path", "discovered", "quiet", "node_event"]
            .iter()
            .any(|table| line.contains(&format!("Seq Scan on {table}")))
    })
}

// The figures are printed, not judged: the machine may be busy.
#[test]
#[allow(clippy::disallowed_methods)]
fn polls_follow_those_in_trouble() {
    let Some((server, database, mut store, vms)) = store() else { return };
    for sql in POLLED.into_iter().chain(QUICK).chain([LEAVING]) {
        let plan = plan(&server, &database, sql);
        // These are empty here, and not worth their index.
        let empty = ["node_event", "quiet"];
        let scan = scans_the_fleet(&plan).filter(|line| !empty.iter().any(|table| line.contains(table)));
        assert!(scan.is_none(), "{sql}\n{plan}");
    }
    let naive = plan(&server, &database, "SELECT * FROM vm WHERE phase <> ''");
    assert!(scans_the_fleet(&naive).is_some(), "the check itself: {naive}");

    let attention = store.needs_attention().unwrap();
    assert_eq!(attention.hosts.len(), 1000);
    let silent = attention.hosts.iter().flat_map(|host| &host.vms).filter(|vm| vm.missed.is_some()).count();
    assert_eq!((silent, store.quick_query().unwrap().hosts.len()), (100, 1000));
    for (what, ask) in [
        ("quick query", (|store| drop(store.quick_query().unwrap())) as fn(&mut PostgresStore)),
        ("needs attention", |store| drop(store.needs_attention().unwrap())),
    ] {
        let mut times: Vec<_> = (0..30)
            .map(|_| {
                let before = Instant::now();
                ask(&mut store);
                before.elapsed()
            })
            .collect();
        times.sort();
        println!("{what} of 1000 hosts and {vms} VMs: median {:?}, slowest of 30 {:?}", times[15], times[29]);
    }
}

/// One batch, one transaction.
// The figures are printed, not judged: the machine may be busy.
#[test]
#[allow(clippy::disallowed_methods)]
fn a_thousand_silences_at_once() {
    let Some((server, database, mut store, _)) = store() else { return };
    let hm = "ffffffff-0000-0000-0000-000000000002".parse().unwrap();
    let uuid = |n: u32| format!("00000000-0000-0000-0000-{n:012}").parse().unwrap();
    for round in 0..3 {
        let age = std::time::Duration::from_secs(19);
        let edges: Vec<_> = (1..=1000)
            .map(|n| HostMonitorWrite::PathMissing { vm: uuid(n + round * 1000), age, common: true })
            .collect();
        let before = Instant::now();
        store.host_monitor_apply(hm, &edges).unwrap();
        println!("1000 silences committed after {:?}", before.elapsed());
    }
    server.sql(&database, "UPDATE vmpulse.vm SET host_id = 3 WHERE id BETWEEN 5001 AND 6000").unwrap();
    type Edge = fn(VmUuid) -> HostMonitorWrite;
    let others: [(&str, Edge); 2] = [
        ("beating again", |vm| HostMonitorWrite::PathDetected { vm }),
        ("handshakes", |vm| HostMonitorWrite::PathOpened {
            vm,
            mac: "02:00:00:00:00:01".into(),
            version: "2.1".into(),
            authenticated: false,
        }),
    ];
    for (what, write) in others {
        let edges: Vec<_> = (5001..=6000).map(|n| write(uuid(n))).collect();
        let before = Instant::now();
        store.host_monitor_apply(hm, &edges).unwrap();
        println!("1000 {what} committed after {:?}", before.elapsed());
    }
    let counted =
        store.vms().unwrap().iter().flat_map(|vm| &vm.paths).filter(|path| path.missed.is_some()).count();
    assert!(counted >= 3000, "{counted}");
}
