//! Bounds that only very many rows, or very large numbers, come to.

use crate::{
    HostKey, HostMonitorRegistration, HostRegistration, MAX_TRANSACTIONS, NodeEventsWanted, SqliteStore,
    Store, StoreError, SystemClock, TransactionTag, TransactionsWanted, VmRegistration,
};

fn store(folder: &tempfile::TempDir) -> SqliteStore {
    let mut store = SqliteStore::open(&folder.path().join("health.db"), Box::new(SystemClock)).unwrap();
    let id = "ffffffff-0000-0000-0000-000000000001".parse().unwrap();
    let host_monitors = vec![HostMonitorRegistration { id, part_number: 0, mac: None }];
    store.hosts_add(&[HostRegistration { key: key(), host_monitors }]).unwrap();
    let vms: Vec<_> = (1..=3).map(|number| VmRegistration { uuid: vm(number), name: None }).collect();
    store.vms_add(&key(), &vms).unwrap();
    store
}

fn key() -> HostKey {
    HostKey { machine_type: "a".into(), model: "b".into(), serial: "c".into() }
}

fn vm(number: u32) -> vmpulse_protocol::id::VmUuid {
    format!("00000000-0000-0000-0000-{number:012}").parse().unwrap()
}

/// So many numbers are taken by doorbells, node events and whatever else needs one.
fn take_numbers(store: &SqliteStore, many: u32) {
    let sql = "UPDATE cluster SET change_sequence = change_sequence + ?1";
    store.connection.execute(sql, [many]).unwrap();
}

fn tags(store: &mut SqliteStore) -> Vec<TransactionTag> {
    let wanted = TransactionsWanted { limit: MAX_TRANSACTIONS, ..TransactionsWanted::default() };
    store.transactions(&wanted).unwrap().into_iter().map(|one| one.tag).collect()
}

#[test]
fn transactions_are_kept_by_their_number_and_not_by_their_tags() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let first = store.vms_start(&[vm(1)]).unwrap();
    take_numbers(&store, 3 * MAX_TRANSACTIONS);
    let second = store.vms_start(&[vm(2)]).unwrap();
    assert_eq!(tags(&mut store), [first.clone(), second].concat(), "nothing is lost to the numbers between");

    let many = format!(
        "WITH RECURSIVE n (tag) AS (SELECT max(tag) + 1 FROM progress UNION ALL SELECT tag + 1 FROM n LIMIT {MAX_TRANSACTIONS})
         INSERT INTO progress (tag, action, vm, host_monitor, state, asked_at, settled_at)
         SELECT tag, 'START_VM', '{}', 'ffffffff-0000-0000-0000-000000000001', 'DONE', 1, 2 FROM n",
        vm(1)
    );
    store.connection.execute_batch(&many).unwrap();
    take_numbers(&store, MAX_TRANSACTIONS + 1000);
    let third = store.vms_start(&[vm(3)]).unwrap();
    let rows = "SELECT count(*) FROM progress";
    let count: u32 = store.connection.query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(count, MAX_TRANSACTIONS);
    let kept = tags(&mut store);
    assert!(kept.ends_with(&third) && !kept.contains(&first[0]), "the newest");
}

#[test]
fn a_number_that_no_tag_has_room_for_is_said_and_not_taken_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    for (id, fits) in [((1 << 18) - 1, true), (1 << 18, false)] {
        let monitor = format!("ffffffff-0000-0000-0000-{id:012}");
        let sql = "INSERT INTO host_monitor (id, uuid) VALUES (?1, ?2)";
        store.connection.execute(sql, rusqlite::params![id, monitor]).unwrap();
        let sql = "INSERT INTO node_event (host_monitor_id, happened_at, kind, text, sequence)
                   VALUES (?1, 1, 'A', 'b', (SELECT change_sequence FROM cluster))";
        take_numbers(&store, 1);
        store.connection.execute(sql, [id]).unwrap();
        let monitor = monitor.parse().unwrap();
        match store.node_data(Some(monitor), 10) {
            Ok(data) => {
                assert!(fits && store.acknowledge(data.tag.unwrap()).unwrap());
                let wanted = NodeEventsWanted { limit: 10, ..NodeEventsWanted::default() };
                assert!(store.node_events(&wanted).unwrap().iter().all(|event| event.acknowledged));
            }
            Err(error) => assert!(!fits && matches!(error, StoreError::TagRoom(262_144)), "{error}"),
        }
    }
}
