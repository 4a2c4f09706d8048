//! What a large fleet costs: by which way the server looks, and how long it takes.

use std::fmt::Write;
use std::time::{Duration, Instant};

use vmpulse_protocol::id::VmUuid;
use vmpulse_test_postgres::Server;

use super::session::PLANNER;
use super::*;
use crate::sql::db::{Db, Kind};
use crate::sql::{LEAVING, POLLED, QUICK, standings_sql};

/// 1,000 hosts with two host monitors each. In trouble: 100 silent VMs, 100 state changes, doorbells and strangers.
/// `FLEET` VMs (20,000 of them if nothing is said), each with two beating paths.
const FLEET: &str = include_str!("../../benches/fleet/postgres.sql");

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
            age: Duration::ZERO,
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

/// What a host monitor reads does not follow the fleet: the VMs of its host, and the few strangers it asks about.
// The figures are printed, not judged: the machine may be busy.
#[test]
#[allow(clippy::disallowed_methods)]
fn a_roster_and_the_standings_of_strangers() {
    let Some((server, database, mut store, vms)) = store() else { return };
    let rows = Session::open(&store.target).unwrap().json_rows(&[("vm", Kind::Text)], 1);
    let asked = standings_sql(&rows).replace("?1", "'[]'");
    let plan = plan(&server, &database, &asked.replace("?2", "?1").replace("?3", "?2"));
    assert!(scans_the_fleet(&plan).is_none() && !plan.contains("Seq Scan on removed_vm"), "{plan}");
    let hm = "ffffffff-0000-0000-0000-000000000002".parse().unwrap();
    let uuid = |n: u32| format!("00000000-0000-0000-0000-{n:012}").parse().unwrap();
    for strangers in [1, 100, 2048] {
        // Half of them made up.
        let guests: Vec<VmUuid> =
            (0..strangers).map(|n| uuid(n * 7 + if n % 2 == 0 { vms } else { 0 })).collect();
        let before = Instant::now();
        let standings = store.standings(hm, &guests).unwrap();
        println!("standings of {strangers} strangers, fleet of {vms}: {:?}", before.elapsed());
        assert_eq!(standings.len(), guests.len());
    }
    let before = Instant::now();
    let own = store.roster(hm).unwrap().vms.len();
    println!("roster of {own} VMs, fleet of {vms}: {:?}", before.elapsed());
    assert_eq!(own, usize::try_from(vms / 1000).unwrap());
}
