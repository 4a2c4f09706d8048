//! Two hosts on one server that enforces what each may write (packaging/postgresql/row-level-security.sql).
// Helpers of a test file, which clippy does not take for tests; they are shared with the conformance suite.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

#[path = "conformance/bench.rs"]
mod bench;

use std::path::Path;

use vmpulse_store::*;
use vmpulse_test_postgres::Server;

use bench::{detected, doorbell, hm, host, missing, opened, seconds, suspended, vm};

struct Site {
    server: Server,
    database: String,
    controller: PostgresStore,
    /// Host monitor 11 of host 1 with VM 1, and 21 of host 2 with VM 2.
    one: PostgresStore,
    two: PostgresStore,
}

fn start(incarnation: &str) -> HostMonitorWrite {
    HostMonitorWrite::Started(HostMonitorStart {
        trunk: "trunkA".into(),
        mac: "02:ff:00:00:00:01".into(),
        vlan: None,
        incarnation: incarnation.into(),
        versions: "2.0-2.1".into(),
        heartbeat_interval: seconds(30),
    })
}

impl Site {
    fn start() -> Option<Self> {
        let mut server = match Server::start() {
            Ok(server) => server,
            Err(reason) if reason.starts_with("SKIPPED") => {
                eprintln!("{reason}");
                return None;
            }
            Err(reason) => panic!("{reason}"),
        };
        let database = server.database();
        PostgresStore::open(&server.url("postgres", &database)).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/postgresql");
        for file in ["roles.sql", "row-level-security.sql", "roles.sql", "row-level-security.sql"] {
            server.sql_file(&database, &folder.join(file)).unwrap();
        }
        let logins = format!(
            "CREATE ROLE one LOGIN IN ROLE vmpulse_hostmon; CREATE ROLE two LOGIN IN ROLE vmpulse_hostmon;
             CREATE ROLE stray LOGIN IN ROLE vmpulse_hostmon; CREATE ROLE controller1 LOGIN IN ROLE vmpulse_controller;
             INSERT INTO vmpulse.host_monitor_login VALUES ('{}', 'one'), ('{}', 'two')",
            hm(11),
            hm(21)
        );
        server.sql(&database, &logins).unwrap();
        let open = |user: &str| PostgresStore::open(&server.url(user, &database)).unwrap();
        let (controller, one, two) = (open("controller1"), open("one"), open("two"));
        let mut site = Self { server, database, controller, one, two };
        site.register();
        Some(site)
    }

    fn register(&mut self) {
        for number in [1, 2] {
            let monitor = HostMonitorRegistration { id: hm(10 * number + 1), part_number: 1, mac: None };
            let host = HostRegistration { key: host(number), host_monitors: vec![monitor] };
            self.controller.hosts_add(&[host]).unwrap();
            let registration = VmRegistration { uuid: vm(number), name: None };
            self.controller.vms_add(&bench::host(number), &[registration]).unwrap();
            self.controller.vms_start(&[vm(number)]).unwrap();
        }
        self.one.host_monitor_apply(hm(11), &[start("1"), opened(1), detected(1)]).unwrap();
        self.two.host_monitor_apply(hm(21), &[start("1"), opened(2), detected(2)]).unwrap();
    }

    fn vm(&mut self, number: u32) -> VmView {
        self.controller.vms().unwrap().into_iter().find(|view| view.uuid == vm(number)).unwrap()
    }

    /// What somebody does who has the login `two` and `psql`.
    fn as_two(&self, sql: &str) -> Result<String, String> {
        let all = format!("SET SESSION AUTHORIZATION two; SET search_path = vmpulse; {sql}");
        self.server.sql(&self.database, &all)
    }

    fn bells(&mut self) -> u32 {
        let hosts = self.controller.needs_attention().unwrap().hosts;
        let vms = hosts.iter().flat_map(|host| &host.vms);
        vms.filter(|entry| entry.uuid == vm(1).to_string()).map(|entry| entry.doorbell).sum()
    }
}

#[test]
fn each_writes_its_own_and_no_others() {
    let Some(mut site) = Site::start() else { return };
    for number in [1, 2] {
        assert_eq!(site.vm(number).state, VmState::Started, "both work side by side");
    }
    let denied = |result: Result<Applied, StoreError>| {
        let text = vmpulse_text(&result.unwrap_err());
        assert!(text.contains("row-level security"), "{text}");
    };
    denied(site.two.host_monitor_apply(hm(11), &[HostMonitorWrite::Heartbeat]));
    let down = HostMonitorWrite::NodeChanged { state: NodeState::Down, reason: 0, mode: MonitorMode::Down };
    denied(site.two.host_monitor_apply(hm(11), &[down]));
    let mut stray = PostgresStore::open(&site.server.url("stray", &site.database)).unwrap();
    denied(stray.host_monitor_apply(hm(21), &[HostMonitorWrite::Heartbeat]));
    denied(stray.host_monitor_apply(hm(77), &[start("1")]));

    let before = site.server.sql(&site.database, EVERYTHING).unwrap();
    for sql in [
        "UPDATE path SET beating = 0, missing_since = 1 WHERE vm_id IN (SELECT id FROM vm WHERE uuid LIKE '%1')",
        "UPDATE vm SET state = 'SUSPENDED' WHERE uuid LIKE '%1'",
        "DELETE FROM request WHERE vm_id IN (SELECT id FROM vm WHERE uuid LIKE '%1')",
        "INSERT INTO doorbell (vm_id, bit, sequence) SELECT id, 1, 1 FROM vm WHERE uuid LIKE '%1'",
        "INSERT INTO quiet (vm_id, sequence, announced_at, granted_us, reason, lasted_us)
         SELECT id, 1, 1, 1000000000, 'x', 0 FROM vm WHERE uuid LIKE '%1'",
        "DELETE FROM vm WHERE uuid LIKE '%1'",
        "UPDATE progress SET state = 'DONE', settled_at = 1 WHERE vm LIKE '%1'",
    ] {
        site.as_two(sql).unwrap();
    }
    for sql in [
        "UPDATE host_monitor SET heartbeat_at = 1",
        "INSERT INTO path (vm_id, host_monitor_id, mac, version, counted, beating, heard_at)
         SELECT v.id, m.id, '', '', 1, 0, 1 FROM vm v, host_monitor m WHERE v.uuid LIKE '%2' AND m.uuid LIKE '%b'",
        "INSERT INTO node_event (host_monitor_id, happened_at, kind, text) SELECT id, 1, 'x', 'x' FROM host_monitor",
        "INSERT INTO mode_change (host_monitor_id, changed_at, mode, text) SELECT id, 1, 'DOWN', 'x' FROM host_monitor",
        "INSERT INTO removed_vm SELECT uuid, 1 FROM vm WHERE uuid LIKE '%1'",
        "INSERT INTO host_monitor_login VALUES ('x', 'two')",
        "UPDATE host_monitor_login SET login = 'two'",
        "SET ROLE one",
        "ALTER TABLE vm DISABLE ROW LEVEL SECURITY",
    ] {
        site.as_two(sql).expect_err(sql);
    }
    assert_eq!(site.server.sql(&site.database, EVERYTHING).unwrap(), before);
}

/// What is said of VM 1 and of host monitor 11.
const EVERYTHING: &str = "SET search_path = vmpulse;
    SELECT v.*, p.*, m.* FROM vm v JOIN host_monitor m ON m.host_id = v.host_id JOIN path p ON p.vm_id = v.id
    WHERE v.uuid LIKE '%1';
    SELECT count(*) FROM node_event; SELECT count(*) FROM doorbell; SELECT count(*) FROM quiet; SELECT count(*) FROM request;
    SELECT * FROM progress WHERE vm LIKE '%1' ORDER BY tag; SELECT * FROM removed_vm; SELECT * FROM mode_change";

fn vmpulse_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// While a VM beats at home its home has the word; then whoever hears it.
#[test]
fn a_moved_vm_is_written_where_it_went() {
    let Some(mut site) = Site::start() else { return };
    site.two.host_monitor_apply(hm(21), &[opened(1), detected(1)]).unwrap();
    let off = suspended(1, SuspendReason::Os);
    site.two.host_monitor_apply(hm(21), &[off.clone(), doorbell(1, 2)]).unwrap();
    assert_eq!((site.vm(1).state, site.bells()), (VmState::Started, 0), "a twin's word");
    assert_eq!(site.vm(1).paths.len(), 2, "but that it is heard there counts");

    site.one.host_monitor_apply(hm(11), &[missing(1, 19)]).unwrap();
    assert_eq!(site.vm(1).missed, None, "it beats on the other host");
    site.two.host_monitor_apply(hm(21), &[doorbell(1, 2)]).unwrap();
    assert_eq!(site.bells(), 2);
    site.two.host_monitor_apply(hm(21), &[off]).unwrap();
    assert_eq!(site.vm(1).state, VmState::Suspended);
    site.two.host_monitor_apply(hm(21), &[opened(1), detected(1)]).unwrap();
    assert_eq!(site.vm(1).state, VmState::Started);
}

/// Whoever reaches the store looks whether a removal is over; whom it waits for is seen by all.
#[test]
fn no_other_host_ends_a_removal_early() {
    let Some(mut site) = Site::start() else { return };
    let list = VmList { host: None, vms: vec![vm(1)] };
    let tags = site.controller.vms_remove(&[list]).unwrap().transactions;
    site.two.host_monitor_apply(hm(21), &[HostMonitorWrite::Heartbeat]).unwrap();
    assert_eq!(site.vm(1).state, VmState::Removing);
    site.one.host_monitor_apply(hm(11), &[HostMonitorWrite::RequestDone { tag: tags[0] }]).unwrap();
    assert!(site.controller.vms().unwrap().iter().all(|view| view.uuid != vm(1)));
}
