use rusqlite::Connection;

use crate::sql::{LEAVING, POLLED, QUICK};
use crate::{HostMonitorWrite, SqliteStore, Store, SystemClock};

fn plan(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let unbound = vec![rusqlite::types::Value::Null; statement.parameter_count()];
    statement
        .query_map(rusqlite::params_from_iter(unbound), |row| row.get(3))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Going through the hosts, and through indexes that hold only those in trouble, is what is meant.
fn scans_the_fleet(step: &str) -> bool {
    let of_trouble = [
        "path_missing",
        "path_not_come",
        "vm_state_change",
        "vm_fenced",
        "vm_leaving",
        "conflict_pending",
        "discovered_pending",
    ];
    step.strip_prefix("SCAN ").is_some_and(|rest| {
        let table = rest.split(' ').next().unwrap();
        !["rung", "h", "c", "host"].contains(&table) && !of_trouble.iter().any(|index| rest.contains(index))
    })
}

#[test]
fn the_cost_follows_those_in_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("health.db"), Box::new(SystemClock)).unwrap();
    for sql in POLLED.into_iter().chain(QUICK).chain([LEAVING]) {
        let steps = plan(&store.connection, sql);
        assert!(!steps.iter().any(|step| scans_the_fleet(step)), "{sql}\n{steps:#?}");
    }
    let naive = plan(&store.connection, "SELECT * FROM vm WHERE phase <> ''");
    assert!(naive.iter().any(|step| scans_the_fleet(step)), "the check itself: {naive:?}");
}

/// The fleet of the PostgreSQL back end's measurement: `FLEET` VMs, 100 of each kind in trouble.
const FLEET: &str = "
    WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000)
    INSERT INTO host (id, machine_type, model, serial) SELECT n, 'QEMU', 'q35', printf('%06d', n) FROM s;
    WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 2000)
    INSERT INTO host_monitor (id, uuid, host_id, trunk, heartbeat_at, state, mode)
    SELECT n, printf('ffffffff-0000-0000-0000-%012d', n), 1 + n % 1000, 'trunkA', :now, 'UP', 'GLOBAL' FROM s;
    WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :vms)
    INSERT INTO vm (id, uuid, name, host_id, state, state_changed_at, silence_from, state_sequence)
    SELECT n, printf('00000000-0000-0000-0000-%012d', n), 'vm' || n, 1 + n % 1000, 'STARTED', 1, 1,
           CASE WHEN n % (:vms / 100) = 1 THEN n END FROM s;
    INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, missing_since, heard_at)
    SELECT v.id, m.id, '02:00:00:00:00:01', '2.1', 1, 1, CASE WHEN v.id % (:vms / 100) = 0 THEN :now - 60000000 END, 1
    FROM vm v JOIN host_monitor m ON m.host_id = v.host_id;
    INSERT INTO doorbell (vm_id, bit, sequence) SELECT id, 1, id FROM vm WHERE id <= 100";

// The figures are printed, not judged: the machine may be busy.
#[test]
#[allow(clippy::disallowed_methods)]
fn what_polls_of_a_large_fleet_cost() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("health.db"), Box::new(SystemClock)).unwrap();
    let vms: u32 = std::env::var("FLEET").map_or(20_000, |vms| vms.parse().unwrap());
    let now = store.now().unwrap().0.to_string();
    store.connection.execute_batch(&FLEET.replace(":now", &now).replace(":vms", &vms.to_string())).unwrap();
    let mut slowest = [std::time::Duration::ZERO; 2];
    for _ in 0..30 {
        let before = std::time::Instant::now();
        assert_eq!(store.quick_query().unwrap().hosts.len(), 1000);
        slowest[0] = slowest[0].max(before.elapsed());
        let before = std::time::Instant::now();
        let attention = store.needs_attention().unwrap();
        slowest[1] = slowest[1].max(before.elapsed());
        let silent = attention.hosts.iter().flat_map(|host| &host.vms).filter(|vm| vm.missed.is_some());
        assert_eq!(silent.count(), 100);
    }
    println!(
        "1000 hosts, {vms} VMs, slowest of 30: quick query {:?}, needs attention {:?}",
        slowest[0], slowest[1]
    );
    let uuid = |n: u32| format!("00000000-0000-0000-0000-{n:012}").parse().unwrap();
    let age = std::time::Duration::from_secs(19);
    let edges: Vec<_> =
        (1..=1000).map(|n| HostMonitorWrite::PathMissing { vm: uuid(n), age, common: true }).collect();
    let before = std::time::Instant::now();
    store.host_monitor_apply("ffffffff-0000-0000-0000-000000000002".parse().unwrap(), &edges).unwrap();
    println!("1000 silences committed after {:?}", before.elapsed());
}
