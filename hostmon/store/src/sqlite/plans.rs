use rusqlite::Connection;

use crate::sql::db::{Db, Kind};
use crate::sql::{LEAVING, POLLED, QUICK, prunes, standings_sql};
use crate::{
    HostKey, HostMonitorRegistration, HostMonitorWrite, HostRegistration, MonitorMode, NodeState,
    SqliteStore, Store, SystemClock, VmRegistration, VmState,
};

fn plan(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let unbound = vec![rusqlite::types::Value::Null; statement.parameter_count()];
    statement
        .query_map(rusqlite::params_from_iter(unbound), |row| row.get(3))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Going through the hosts, and through indexes that hold only those in trouble or are sorted by age, is what is meant.
fn scans_the_fleet(step: &str) -> bool {
    let few = [
        "path_missing",
        "path_not_come",
        "vm_state_change",
        "vm_fenced",
        "vm_leaving",
        "conflict_pending",
        "discovered_pending",
        "_by_age",
        "quiet_by_end",
    ];
    step.strip_prefix("SCAN ").is_some_and(|rest| {
        let table = rest.split(' ').next().unwrap();
        !["rung", "h", "c", "host", "json_each"].contains(&table)
            && !few.iter().any(|index| rest.contains(index))
    })
}

#[test]
fn the_cost_follows_those_in_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("health.db"), Box::new(SystemClock)).unwrap();
    let standings = standings_sql(&store.connection.json_rows(&[("vm", Kind::Text)], 1));
    let prunes = prunes();
    let mine = [LEAVING, standings.as_str()];
    for sql in POLLED.into_iter().chain(QUICK).chain(mine).chain(prunes.iter().map(String::as_str)) {
        let steps = plan(&store.connection, sql);
        assert!(!steps.iter().any(|step| scans_the_fleet(step)), "{sql}\n{steps:#?}");
    }
    let naive = plan(&store.connection, "SELECT * FROM vm WHERE phase <> ''");
    assert!(naive.iter().any(|step| scans_the_fleet(step)), "the check itself: {naive:?}");
}

/// The fleet of the PostgreSQL back end's measurement: `FLEET` VMs, 100 of each kind in trouble.
const FLEET: &str = include_str!("../../benches/fleet/sqlite.sql");

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
    // Half of them made up.
    let guests: Vec<_> = (0..2048).map(|n| uuid(n * 7 + if n % 2 == 0 { vms } else { 0 })).collect();
    for strangers in [1, 100, 2048] {
        let before = std::time::Instant::now();
        let hm = "ffffffff-0000-0000-0000-000000000002".parse().unwrap();
        assert_eq!(store.standings(hm, &guests[..strangers]).unwrap().len(), strangers);
        println!("standings of {strangers} strangers: {:?}", before.elapsed());
        let before = std::time::Instant::now();
        let own = store.roster(hm).unwrap().vms.len();
        println!("roster of {own} VMs: {:?}", before.elapsed());
    }
}

/// As on the other back end, where the server counts.
#[test]
fn a_steady_monitor_costs_the_same_however_many_vms() {
    let [of_few, of_many] = [10, 1000].map(steady);
    assert_eq!(of_few, of_many);
    println!("heartbeat, roster and poll: {of_few} statements");
}

fn steady(vms: u32) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("health.db"), Box::new(SystemClock)).unwrap();
    let hm = "ffffffff-0000-0000-0000-000000000001".parse().unwrap();
    let key = HostKey { machine_type: "a".into(), model: "b".into(), serial: "c".into() };
    let host_monitors = vec![HostMonitorRegistration { id: hm, part_number: 0, mac: None }];
    store.hosts_add(&[HostRegistration { key: key.clone(), host_monitors }]).unwrap();
    let uuid = |n: u32| format!("00000000-0000-0000-0000-{n:012}").parse().unwrap();
    let registered: Vec<_> = (1..=vms).map(|n| VmRegistration { uuid: uuid(n), name: None }).collect();
    store.vms_add(&key, &registered).unwrap();
    store.vms_start(&registered.iter().map(|vm| vm.uuid).collect::<Vec<_>>()).unwrap();
    let beat: Vec<_> = registered.iter().map(|vm| HostMonitorWrite::PathDetected { vm: vm.uuid }).collect();
    store.host_monitor_apply(hm, &beat).unwrap();
    let up = HostMonitorWrite::NodeChanged { state: NodeState::Up, reason: 0, mode: MonitorMode::Global };
    store.host_monitor_apply(hm, &[up, HostMonitorWrite::Heartbeat]).unwrap();
    assert!(store.vms().unwrap().iter().all(|vm| vm.state == VmState::Started));
    let tag = store.needs_attention().unwrap().tag.unwrap();
    store.acknowledge(tag).unwrap();
    let before = crate::statements::of_this_thread();
    store.host_monitor_apply(hm, &[HostMonitorWrite::Heartbeat]).unwrap();
    store.roster(hm).unwrap();
    store.needs_attention().unwrap();
    crate::statements::of_this_thread() - before
}
