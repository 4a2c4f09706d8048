use rusqlite::Connection;

use crate::sql::{POLLED, QUICK};
use crate::{SqliteStore, SystemClock};

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
    let of_trouble = ["path_missing", "vm_state_change", "discovered_pending"];
    step.strip_prefix("SCAN ").is_some_and(|rest| {
        let table = rest.split(' ').next().unwrap();
        !["rung", "h", "c", "host"].contains(&table) && !of_trouble.iter().any(|index| rest.contains(index))
    })
}

#[test]
fn the_cost_follows_those_in_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("health.db"), Box::new(SystemClock)).unwrap();
    for sql in POLLED.into_iter().chain(QUICK) {
        let steps = plan(&store.connection, sql);
        assert!(!steps.iter().any(|step| scans_the_fleet(step)), "{sql}\n{steps:#?}");
    }
    let naive = plan(&store.connection, "SELECT * FROM vm WHERE phase <> ''");
    assert!(naive.iter().any(|step| scans_the_fleet(step)), "the check itself: {naive:?}");
}
