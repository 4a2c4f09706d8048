//! What is particular to the SQLite back end: one file, many users.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{
    HostKey, HostMonitorRegistration, HostMonitorStart, HostMonitorWrite, HostRegistration, MonitorMode,
    NodeState, SqliteStore, Store, StoreError, SystemClock, VmRegistration, open,
};

const WRITERS: u8 = 6;
const ROUNDS: u32 = 20;

fn vm() -> VmUuid {
    VmUuid::from_bytes([7; 16])
}

fn register(store: &mut dyn Store) {
    let key = HostKey { machine_type: "QEMU".into(), model: "q35".into(), serial: "1".into() };
    let host_monitors = (1..=WRITERS)
        .map(|n| HostMonitorRegistration {
            id: HostMonitorId::from_bytes([n; 16]),
            part_number: 0,
            mac: None,
        })
        .collect();
    store.hosts_add(&[HostRegistration { key: key.clone(), host_monitors }]).unwrap();
    store.vms_add(&key, &[VmRegistration { uuid: vm(), name: None }]).unwrap();
}

/// Each rings a bit of its own, again and again, on a connection opened at the same moment as the others'.
fn ring(path: &Path, writer: u8) {
    let mut store = SqliteStore::open(path, Box::new(SystemClock)).unwrap();
    for _ in 0..ROUNDS {
        let writes =
            [HostMonitorWrite::Heartbeat, HostMonitorWrite::Doorbell { vm: vm(), bits: 1 << writer }];
        store.host_monitor_apply(HostMonitorId::from_bytes([writer; 16]), &writes).unwrap();
    }
}

#[test]
fn writers_wait_for_each_other_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.db");
    let mut store = SqliteStore::open(&path, Box::new(SystemClock)).unwrap();
    register(&mut store);
    std::thread::scope(|scope| {
        for writer in 1..=WRITERS {
            let path = &path;
            scope.spawn(move || ring(path, writer));
        }
    });
    let attention = store.needs_attention().unwrap();
    let expected = (1..=WRITERS).fold(0, |bits, writer| bits | 1 << writer);
    assert_eq!(attention.hosts[0].vms[0].doorbell, expected);
    assert!(store.acknowledge(attention.tag.unwrap()).unwrap());
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("health.db").display());
    register(open(&url).unwrap().as_mut());
    assert_eq!(open(&url).unwrap().vms().unwrap().len(), 1);
}

#[test]
fn urls_are_checked() {
    for wrong in ["", "health.db", "sqlite:health.db", "sqlite://health.db", "mysql://db/health"] {
        let refused = open(wrong).err().unwrap();
        assert!(matches!(refused, StoreError::Url { .. }), "{wrong}: {refused}");
    }
}

#[test]
fn a_row_that_does_not_read_back_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.db");
    let mut store = SqliteStore::open(&path, Box::new(SystemClock)).unwrap();
    register(&mut store);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE vm SET uuid = 'nonsense'", []).unwrap();
    let refused = store.vms().unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { what: "a VM's uuid", .. }), "{refused}");
}

#[test]
fn registering_lifts_a_tombstone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.db");
    let mut store = SqliteStore::open(&path, Box::new(SystemClock)).unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("INSERT INTO removed_vm (uuid, removed_at) VALUES (?1, 0)", [vm().to_string()]).unwrap();
    register(&mut store);
    let left: i64 = raw.query_row("SELECT count(*) FROM removed_vm", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
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

#[test]
fn of_two_processes_under_one_uuid_only_the_later_one_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.db");
    let mut first = SqliteStore::open(&path, Box::new(SystemClock)).unwrap();
    let mut second = SqliteStore::open(&path, Box::new(SystemClock)).unwrap();
    register(&mut first);
    let uuid = HostMonitorId::from_bytes([1; 16]);
    first.host_monitor_apply(uuid, &[start("1")]).unwrap();
    second.host_monitor_apply(uuid, &[start("2")]).unwrap();
    let down =
        HostMonitorWrite::NodeChanged { state: NodeState::Down, reason: 0x40, mode: MonitorMode::Down };
    let refused = first.host_monitor_apply(uuid, &[HostMonitorWrite::Heartbeat, down]);
    assert!(matches!(refused, Err(StoreError::Superseded(of)) if of == uuid), "{refused:?}");
    second.host_monitor_apply(uuid, &[HostMonitorWrite::Heartbeat]).unwrap();
    let hosts = second.quick_query().unwrap().hosts;
    let monitor = hosts[0].host_monitors.iter().find(|monitor| monitor.id == uuid).unwrap();
    assert_eq!(monitor.state, NodeState::Up);
}
