//! What a store of an earlier version holds: rows of every kind in every table that it has, for the tests of migrations.

use std::fmt::Write as _;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};

use crate::{
    Discovery, HostMonitorWrite, NodeEventsWanted, Store, TransactionState, TransactionsWanted, VmState,
};

/// Rows begin here, so that new ones do not meet them.
const FIRST: u32 = 1000;
const VMS: u32 = 40;
const EVENTS: u32 = 300;
/// When everything happened, in microseconds.
const LONG_AGO: i64 = 1_700_000_000_000_000;

const STATES: [&str; 7] = ["STARTED", "ADDED", "STARTING", "STOPPING", "STOPPED", "SUSPENDED", "REMOVING"];

fn vm(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

fn monitor(number: u32) -> String {
    format!("ffffffff-0000-0000-0000-{number:012}")
}

/// Statements that both back ends understand, for a schema of this version.
pub(crate) fn sql(version: usize) -> String {
    let mut sql = "UPDATE cluster SET change_sequence = 5000;\n".to_owned();
    hosts(&mut sql);
    (FIRST..FIRST + VMS).for_each(|number| vm_rows(&mut sql, number));
    (FIRST..FIRST + EVENTS).for_each(|number| event_rows(&mut sql, number));
    if version >= 2 {
        quiets(&mut sql);
    }
    if version >= 4 {
        requests_of_4(&mut sql);
    }
    if version >= 6 {
        let _ = writeln!(
            sql,
            "INSERT INTO mode_change (id, host_monitor_id, changed_at, mode, text, told)
             VALUES (1000, 1001, {LONG_AGO}, 'LOCAL', 'away', 1), (1001, 1001, {LONG_AGO}, 'GLOBAL', 'back', 0);"
        );
    }
    if version >= 7 {
        sql.push_str("UPDATE node_event SET sequence = id; UPDATE conflict SET sequence = id + 1000;\n");
    }
    sql
}

fn hosts(sql: &mut String) {
    sql.push_str("INSERT INTO host (id, machine_type, model, serial) VALUES (1000, 'a', 'b', 'c'), (1001, 'a', 'b', 'd');\n");
    for (number, host, state) in
        [(1001, "1000", "UP"), (1002, "1000", "DOWN"), (1003, "1001", "UP"), (1004, "NULL", "DOWN")]
    {
        let uuid = monitor(number);
        let _ = writeln!(
            sql,
            "INSERT INTO host_monitor (id, uuid, host_id, trunk, mac, incarnation, versions, heartbeat_at, state, mode)
             VALUES ({number}, '{uuid}', {host}, 'trunkA', '02:00:00:00:00:01', '1.2.3', '2.0-2.1', {LONG_AGO}, '{state}', 'GLOBAL');"
        );
    }
}

fn vm_rows(sql: &mut String, number: u32) {
    let (uuid, state) = (vm(number), STATES[(number % 7) as usize]);
    let suspended = if state == "SUSPENDED" { "'OS', 8, 'STARTED'" } else { "NULL, NULL, NULL" };
    let (beating, since) =
        if number.is_multiple_of(3) { (0, LONG_AGO.to_string()) } else { (1, "NULL".to_owned()) };
    let _ = writeln!(
        sql,
        "INSERT INTO vm (id, uuid, name, host_id, state, state_changed_at, state_sequence, silence_from, shutdown,
             suspended_at, state_before_suspension, agent_seen_at)
         VALUES ({number}, '{uuid}', 'vm{number}', {host}, '{state}', {number}, {number}, 6, {suspended}, 7);
         INSERT INTO doorbell (vm_id, bit, sequence) VALUES ({number}, 0, {number}), ({number}, 31, {number});
         INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, missing_since, common, heard_at)
         VALUES ({number}, 1001, '02:00:00:00:01:01', '2.1', 1, {beating}, {since}, 0, {LONG_AGO}),
                ({number}, 1002, '', '', 0, 0, NULL, 0, {LONG_AGO});
         INSERT INTO application (vm_id, name, uuid, status, colour, critical, monitored, max_restart, restarted, version,
             last_result, last_change_age_s)
         VALUES ({number}, 'db', 'u', 'NORMAL', 'GREEN', 1, 1, 3, 0, '1', '', 5);
         INSERT INTO request (tag, host_monitor_id, vm_id, opcode, message_tag, created_at)
         VALUES ({number}, 1001, {number}, 'RECONSIDER', NULL, {LONG_AGO}), ({more}, 1001, {number}, 'ASK_REPORT', {number}, {LONG_AGO});
         INSERT INTO message (tag, vm_id, host_monitor_id, state, asked_at)
         VALUES ({number}, {number}, 1001, 'ASKED', {LONG_AGO}), ({more}, {number}, 1002, 'TAKEN', {LONG_AGO});
         INSERT INTO removed_vm (uuid, removed_at) VALUES ('{gone}', {LONG_AGO});",
        host = 1000 + number % 2,
        more = number + VMS,
        gone = vm(number + 1000),
    );
}

fn event_rows(sql: &mut String, number: u32) {
    let kind = ["UNMANAGED", "MOVED", "MANAGED", "CANNOT_MANAGE"][(number % 4) as usize];
    let _ = writeln!(
        sql,
        "INSERT INTO node_event (id, host_monitor_id, happened_at, kind, text)
         VALUES ({number}, {monitor}, {LONG_AGO} + {number}, 'DEFERRED', 'late');
         INSERT INTO discovered (id, host_monitor_id, uuid, mac, kind, sequence)
         VALUES ({number}, {monitor}, '{uuid}', '02:00:00:00:02:01', '{kind}', {sequence});
         INSERT INTO conflict (id, host_monitor_id, kind, uuid, mac, text, first_seen_at)
         VALUES ({number}, {monitor}, 'UUID', '{uuid}', '02:00:00:00:02:01', 'two', {LONG_AGO});
         INSERT INTO event (id, recorded_at, incident, open, name, severity, entity, resource, description)
         VALUES ({number}, {LONG_AGO}, 'i{number}', {open}, 'HM_FAILURE', 'Warning', 'VIOS', 'r', 'd');",
        monitor = 1001 + number % 3,
        uuid = vm(5000 + number),
        sequence = if number.is_multiple_of(2) { number.to_string() } else { "NULL".to_owned() },
        open = number % 2,
    );
}

fn quiets(sql: &mut String) {
    let _ = writeln!(
        sql,
        "INSERT INTO quiet (id, vm_id, sequence, announced_at, granted_us, reason, lasted_us, ended_at, ended_by, told)
         VALUES (1000, 1001, 9, {LONG_AGO}, 60000000, 'backup', 5, {LONG_AGO}, 'GUEST', 2),
                (1001, 1001, 10, {LONG_AGO}, 60000000, 'again', 0, NULL, NULL, 1);
         INSERT INTO quiet_refusal (vm_id, refused_at, asked_us, reason) VALUES (1002, {LONG_AGO}, 7, 'r');"
    );
}

fn requests_of_4(sql: &mut String) {
    let _ = writeln!(
        sql,
        "INSERT INTO monitor_settings (id, host_id, log_level, version) VALUES (1000, 1000, 'debug', 3);
         INSERT INTO progress (tag, action, vm, host_monitor, state, asked_at)
         VALUES (1000, 'START_VM', '{vm}', '{monitor}', 'ASKED', {LONG_AGO});
         INSERT INTO progress (tag, action, vm, host_monitor, state, asked_at, settled_at)
         VALUES (1001, 'STOP_VM', '{vm}', '{monitor}', 'DONE', {LONG_AGO}, {LONG_AGO});",
        vm = vm(FIRST),
        monitor = monitor(1001),
    );
}

/// Everything is there, can be read and acknowledged, and the store takes new words.
pub(crate) fn check(store: &mut dyn Store, version: usize) {
    let vms = store.vms().unwrap();
    assert_eq!(vms.len(), VMS as usize);
    for (view, number) in vms.iter().zip(FIRST..) {
        assert_eq!((view.uuid.to_string(), &view.name), (vm(number), &format!("vm{number}")));
        assert_eq!(
            (view.state.as_str(), view.state_changed_at.0),
            (STATES[(number % 7) as usize], i64::from(number))
        );
    }
    let attention = store.needs_attention().unwrap();
    let entries: Vec<_> = attention.hosts.iter().flat_map(|host| &host.vms).collect();
    let rung = entries.iter().filter(|entry| entry.doorbell == 1 << 31 | 1).count();
    let strangers = entries.iter().filter(|entry| entry.discovery == Some(Discovery::CannotManage)).count();
    assert!(rung == VMS as usize && strangers == 0 && entries.len() > rung, "{entries:#?}");
    assert!(store.acknowledge(attention.tag.unwrap()).unwrap());

    let wanted = NodeEventsWanted { limit: 10_000, ..NodeEventsWanted::default() };
    assert_eq!(store.node_events(&wanted).unwrap().len(), 2 * EVENTS as usize, "conflicts are among them");
    let data = store.node_data(None, 10_000).unwrap();
    assert!(store.acknowledge(data.tag.unwrap()).unwrap());
    assert_eq!(store.node_data(None, 10_000).unwrap().tag, None);
    let conflicts = store.conflicts(10_000).unwrap();
    assert!(store.acknowledge(conflicts.tag.unwrap()).unwrap());
    assert_eq!(store.conflicts(10_000).unwrap().tag, None);
    assert_eq!(store.events(10_000).unwrap().len(), EVENTS as usize);
    if version >= 4 {
        let all = TransactionsWanted { limit: 10, ..TransactionsWanted::default() };
        let states: Vec<_> = store.transactions(&all).unwrap().into_iter().map(|one| one.state).collect();
        assert_eq!(states, [TransactionState::Asked, TransactionState::Done]);
    }
    writes(store);
}

fn writes(store: &mut dyn Store) {
    let of: HostMonitorId = monitor(1001).parse().unwrap();
    let known: VmUuid = vms_of(store, VmState::Started);
    let words = [
        HostMonitorWrite::Heartbeat,
        HostMonitorWrite::PathDetected { vm: known },
        HostMonitorWrite::Doorbell { vm: known, bits: 4 },
        HostMonitorWrite::NodeEvent { kind: "DEFERRED".to_owned(), text: "new".to_owned() },
    ];
    store.host_monitor_apply(of, &words).unwrap();
    assert!(!store.roster(of).unwrap().vms.is_empty());
    assert_eq!(store.node_data(None, 10).unwrap().events.len(), 1, "the new one alone");
    let starting: VmUuid = vms_of(store, VmState::Added);
    assert!(!store.vms_start(&[starting]).unwrap().is_empty());
    let attention = store.needs_attention().unwrap();
    let rung = attention.hosts.iter().flat_map(|host| &host.vms).find(|entry| entry.doorbell != 0);
    assert_eq!(rung.map(|entry| (entry.uuid.clone(), entry.doorbell)), Some((known.to_string(), 4)));
}

/// The first in this state.
fn vms_of(store: &mut dyn Store, state: VmState) -> VmUuid {
    store.vms().unwrap().into_iter().find(|view| view.state == state).unwrap().uuid
}
