//! A day in the life of a store, simulated: whatever happens for ever fills nothing for ever.
//!
//! Every kind of edge comes again and again: paths that flap, doorbells and reports, announced silences, VMs that move,
//! conflicts, made-up guests, node events, incidents, host monitors that nobody registered, tombstones. Retention is six
//! hours. Tables are found in the catalogue, so one that is new and grows cannot be forgotten. `FLEET=10000` is the
//! measurement of docs/performance.md.
// Helpers are functions of their own, which clippy does not take for tests; they are shared with the conformance suite.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, dead_code)]

#[path = "conformance/bench.rs"]
mod bench;
#[path = "conformance/by_role.rs"]
mod by_role;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use vmpulse_store::*;
use vmpulse_test_postgres::Server;

use bench::{detected, doorbell, hm, host, missing, opened, seconds, suspended, vm};
use by_role::ByRole;

/// A turn of everything.
const STEP_S: u64 = 1800;
const STEPS_IN_HOUR: u64 = 3600 / STEP_S;
const HOSTS: u32 = 4;
/// Of those who flap, each has its turn once in so many steps.
const PARTS: u32 = 6;

const KEEP: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

/// What a store holds, by its catalogue.
trait Look {
    fn rows(&self) -> BTreeMap<String, i64>;
    fn bytes(&self) -> i64;
    fn sql(&self, sql: &str);
}

struct Day {
    store: Box<dyn Store>,
    clock: Arc<AtomicI64>,
    vms: u32,
    step: u32,
}

fn event(incident: String) -> NewEvent {
    NewEvent {
        incident,
        name: "VM_FAILURE_DETECTED".into(),
        severity: Severity::Critical,
        entity: "VM".into(),
        resource: "VM : x".into(),
        description: "silent".into(),
    }
}

impl Day {
    fn new(store: Box<dyn Store>, clock: Arc<AtomicI64>) -> Self {
        let vms = std::env::var("FLEET").map_or(120, |vms| vms.parse().unwrap());
        let mut day = Self { store, clock, vms, step: 0 };
        for number in 1..=HOSTS {
            let monitors = [1, 2].map(|n| HostMonitorRegistration {
                id: hm(10 * number + n),
                part_number: n,
                mac: None,
            });
            let host = HostRegistration { key: host(number), host_monitors: monitors.to_vec() };
            day.store.hosts_add(&[host]).unwrap();
            let vms: Vec<_> = day.vms_of(number).collect();
            let registrations: Vec<_> =
                vms.iter().map(|n| VmRegistration { uuid: vm(*n), name: None }).collect();
            day.store.vms_add(&bench::host(number), &registrations).unwrap();
            day.store.vms_start(&registrations.iter().map(|vm| vm.uuid).collect::<Vec<_>>()).unwrap();
            for monitor in day.monitors(number) {
                day.start(monitor);
                let edges = vms.iter().flat_map(|n| [opened(*n), detected(*n)]).collect::<Vec<_>>();
                day.write(monitor, &edges);
            }
        }
        day
    }

    fn vms_of(&self, host: u32) -> impl Iterator<Item = u32> + use<> {
        (1..=self.vms).filter(move |n| 1 + n % HOSTS == host)
    }

    fn monitors(&self, host: u32) -> [u32; 2] {
        [10 * host + 1, 10 * host + 2]
    }

    fn write(&mut self, monitor: u32, writes: &[HostMonitorWrite]) {
        for batch in writes.chunks(1000) {
            self.store.host_monitor_apply(hm(monitor), batch).unwrap();
        }
    }

    fn start(&mut self, monitor: u32) {
        let start = HostMonitorStart {
            trunk: format!("trunk{monitor}"),
            mac: "02:ff:00:00:00:01".into(),
            vlan: None,
            incarnation: "1".into(),
            versions: "2.0-2.1".into(),
            heartbeat_interval: seconds(30),
        };
        self.write(monitor, &[HostMonitorWrite::Started(start)]);
    }

    fn hours(&mut self, look: &dyn Look, hours: u64) {
        for step in 0..hours * STEPS_IN_HOUR {
            self.clock.fetch_add(i64::try_from(STEP_S * 1_000_000).unwrap(), Ordering::Relaxed);
            self.step += 1;
            self.turn(look);
            if step % STEPS_IN_HOUR == 0 {
                self.hourly(look);
            }
        }
        self.hourly(look);
    }

    /// Whose turn it is to be in trouble.
    fn chosen(&self, host: u32) -> Vec<u32> {
        let part = self.step % PARTS;
        self.vms_of(host).filter(|n| n / HOSTS % PARTS == part).collect()
    }

    fn turn(&mut self, look: &dyn Look) {
        for host in 1..=HOSTS {
            let chosen = self.chosen(host);
            self.flap(host, &chosen);
            self.strangers(host, &chosen);
            for n in chosen.iter().take(2) {
                self.report(host, *n);
                self.quiet(host, *n);
            }
        }
        self.incidents();
        self.start(1000 + self.step);
        look.sql(&format!(
            "INSERT INTO removed_vm (uuid, removed_at) VALUES ('gone{}', {})",
            self.step,
            self.clock.load(Ordering::Relaxed)
        ));
        if let Some(tag) = self.store.needs_attention().unwrap().tag {
            self.store.acknowledge(tag).unwrap();
        }
    }

    fn flap(&mut self, host: u32, chosen: &[u32]) {
        for monitor in self.monitors(host) {
            let silent = chosen.iter().map(|n| missing(*n, 19));
            let event = HostMonitorWrite::NodeEvent { kind: "ADAPTER_DOWN".into(), text: "trunk".into() };
            self.write(monitor, &silent.chain([HostMonitorWrite::Heartbeat, event]).collect::<Vec<_>>());
            let back = chosen.iter().flat_map(|n| [opened(*n), detected(*n), doorbell(*n, 0x20)]);
            self.write(monitor, &back.collect::<Vec<_>>());
        }
        let Some(first) = chosen.first() else { return };
        let [one, _] = self.monitors(host);
        self.write(one, &[suspended(*first, SuspendReason::Os), opened(*first), detected(*first)]);
    }

    /// Made up anew in every step; and VMs that come by from other hosts.
    fn strangers(&mut self, host: u32, chosen: &[u32]) {
        let [one, _] = self.monitors(host);
        // With 90 in a step the bound by number is reached before that by age.
        let flood = if host == 1 { 90 } else { 2 };
        let made_up = (0..flood).flat_map(|n| {
            let uuid = format!("00000000-0000-0000-{:04x}-{n:012}", self.step);
            let mac = format!("06:00:00:{:02x}:{:02x}:{n:02x}", self.step / 256, self.step % 256);
            let kind = if n % 2 == 0 { Discovery::Unmanaged } else { Discovery::CannotManage };
            let text = "two".to_owned();
            [
                HostMonitorWrite::Discovered { uuid: uuid.clone(), mac: mac.clone(), kind },
                HostMonitorWrite::Conflict { uuid, mac, kind: ConflictKind::Uuid, text },
            ]
        });
        self.write(one, &made_up.collect::<Vec<_>>());
        let [there, _] = self.monitors(1 + host % HOSTS);
        let moved = chosen
            .iter()
            .take(5)
            .flat_map(|n| [opened(*n), detected(*n), HostMonitorWrite::PathForgotten { vm: vm(*n) }]);
        self.write(there, &moved.collect::<Vec<_>>());
    }

    /// Every third is never finished.
    fn report(&mut self, host: u32, number: u32) {
        let [one, _] = self.monitors(host);
        let Some(message) = self.store.report_request(vm(number), None).unwrap() else { return };
        if number.is_multiple_of(3) {
            return;
        }
        let payload = vec![b'x'; 2000];
        let report = HostMonitorWrite::Report { vm: vm(number), message, payload };
        self.write(one, std::slice::from_ref(&report));
        self.write(one + 1, &[report]);
        for arrived in self.store.reports_arrived().unwrap() {
            self.store.report_apply(&arrived, None).unwrap();
        }
        if number % 3 == 1 {
            self.write(one, &[HostMonitorWrite::ReportCleared { vm: vm(number), message }]);
        }
    }

    fn quiet(&mut self, host: u32, number: u32) {
        let [one, _] = self.monitors(host);
        let asked = HostMonitorWrite::QuietAsked {
            vm: vm(number),
            asked: seconds(300),
            age: seconds(0),
            reason: "backup".into(),
        };
        let ended = HostMonitorWrite::QuietEnded { vm: vm(number), age: seconds(0) };
        self.write(one, &[asked.clone(), ended.clone(), asked, ended]);
        for news in self.store.quiet_news().unwrap() {
            self.store.quiet_tell(&news, &event(format!("quiet{}", news.key))).unwrap();
        }
    }

    fn incidents(&mut self) {
        for n in 0..5 {
            let incident = format!("incident{}-{n}", self.step);
            self.store.event_append(&event(incident.clone())).unwrap();
            self.store.incident_close(&incident).unwrap();
        }
    }

    /// What the controller's retention does, and a server's vacuum.
    fn hourly(&mut self, look: &dyn Look) {
        let keep = Retention {
            events: KEEP,
            node_events: KEEP,
            conflicts: KEEP,
            discoveries: KEEP,
            removed_vms: KEEP,
            exchanges: KEEP,
            unregistered_monitors: KEEP,
        };
        while self.store.prune(&keep, PRUNE_MAXIMUM).unwrap().more {}
        look.sql("ANALYZE");
    }
}

fn a_day(store: Box<dyn Store>, clock: Arc<AtomicI64>, look: &dyn Look) {
    let mut day = Day::new(store, clock);
    day.hours(look, 12);
    let (noon, noon_bytes) = (look.rows(), look.bytes());
    day.hours(look, 12);
    let (midnight, midnight_bytes) = (look.rows(), look.bytes());
    println!(
        "{} VMs: {noon_bytes} bytes after 12 h, {midnight_bytes} after 24 h; rows {midnight:?}",
        day.vms
    );
    for table in ["event", "node_event", "conflict", "discovered", "removed_vm", "quiet", "message"] {
        assert!(noon[table] > 0, "nothing happened to {table}");
    }
    assert_eq!(noon, midnight, "a table grows");
    assert!(midnight_bytes <= noon_bytes + noon_bytes / 5, "{noon_bytes} bytes, then {midnight_bytes}");
}

fn clock() -> (Arc<AtomicI64>, FixedClock) {
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000_000));
    (Arc::clone(&clock), FixedClock(clock))
}

struct File(PathBuf);

impl Look for File {
    fn rows(&self) -> BTreeMap<String, i64> {
        let raw = rusqlite::Connection::open(&self.0).unwrap();
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut tables = raw.prepare(tables).unwrap();
        let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
        let count = |name: &str| {
            raw.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0)).unwrap()
        };
        names.map(|name| (name.clone(), count(&name))).collect()
    }

    fn bytes(&self) -> i64 {
        let raw = rusqlite::Connection::open(&self.0).unwrap();
        let pragma = |name: &str| raw.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        pragma("page_count") * pragma("page_size")
    }

    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(&self.0).unwrap().execute_batch(sql).unwrap();
    }
}

#[test]
fn sqlite_levels_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = File(folder.path().join("health.db"));
    let (clock, fixed) = clock();
    a_day(Box::new(SqliteStore::open(&file.0, Box::new(fixed)).unwrap()), clock, &file);
}

struct Database(Server, String);

impl Database {
    fn ask(&self, sql: &str) -> String {
        self.0.sql(&self.1, sql).unwrap()
    }
}

impl Look for Database {
    fn rows(&self) -> BTreeMap<String, i64> {
        let tables = self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'vmpulse' ORDER BY 1");
        let count = |name: &str| self.ask(&format!("SELECT count(*) FROM vmpulse.{name}")).parse().unwrap();
        tables.lines().map(|name| (name.to_owned(), count(name))).collect()
    }

    fn bytes(&self) -> i64 {
        let sizes = "SELECT sum(pg_total_relation_size(relid)) FROM pg_statio_user_tables";
        self.ask(sizes).parse().unwrap()
    }

    /// Hours pass within seconds here, which is too fast for autovacuum.
    fn sql(&self, sql: &str) {
        let sql = if sql == "ANALYZE" { "VACUUM ANALYZE" } else { sql };
        self.ask(&sql.replace("INTO ", "INTO vmpulse."));
    }
}

/// By the roles of a host monitor and of a controller.
#[test]
fn postgres_levels_off() {
    let mut server = match Server::start() {
        Ok(server) => server,
        Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
        Err(reason) => panic!("{reason}"),
    };
    let name = server.database();
    PostgresStore::open(&server.url("postgres", &name)).unwrap();
    let roles = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/postgresql/roles.sql");
    server.sql_file(&name, &roles).unwrap();
    let users = "CREATE ROLE host1 LOGIN IN ROLE vmpulse_hostmon;
                 CREATE ROLE controller1 LOGIN IN ROLE vmpulse_controller";
    server.sql(&name, users).unwrap();
    let (clock, _) = clock();
    let open = |user: &str| {
        let fixed = Box::new(FixedClock(Arc::clone(&clock)));
        PostgresStore::open_with(&server.url(user, &name), Some(fixed)).unwrap()
    };
    let store = ByRole { host_monitor: open("host1"), controller: open("controller1") };
    let database = Database(server, name);
    a_day(Box::new(store), clock, &database);
}
