//! The examples of docs/reference/requests.md are run in their order, and answered as printed there.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use vmpulse_hostmon::passthru::answer;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::{
    ConflictKind, FixedClock, HostMonitorStart, HostMonitorWrite as Write, MonitorMode, NodeState,
    PostgresStore, REASON_NODE_SHUTDOWN, SqliteStore, Store,
};
use vmpulse_test_postgres::Server;

const DOCUMENT: &str = include_str!("../../docs/reference/requests.md");

const SECOND_US: i64 = 1_000_000;

struct Bench {
    connect: Box<dyn Fn(FixedClock) -> Box<dyn Store>>,
    clock: Arc<AtomicI64>,
}

impl Bench {
    fn new(connect: impl Fn(FixedClock) -> Box<dyn Store> + 'static) -> Self {
        Self { connect: Box::new(connect), clock: Arc::new(AtomicI64::new(SECOND_US)) }
    }

    fn store(&self) -> Box<dyn Store> {
        (self.connect)(FixedClock(Arc::clone(&self.clock)))
    }

    fn pass(&self, time_s: i64) {
        self.clock.fetch_add(time_s * SECOND_US, Ordering::Relaxed);
    }

    /// What the document says has happened between registration and the first poll: one host monitor was shut
    /// down on purpose; web1 rang its doorbell and is silent since; somebody unknown showed himself.
    fn time_goes_by(&self) {
        let [one, other] = host_monitors();
        let web1: VmUuid = "61be20f0-09a8-4753-b5e5-564f8a545ed5".parse().unwrap();
        let stranger: VmUuid = "57275f1e-3680-4eef-945a-fe7670500310".parse().unwrap();
        let start = HostMonitorStart {
            trunk: "eth1".into(),
            mac: "02:00:ab:00:00:01".into(),
            vlan: None,
            incarnation: "1795245600.000000000.1".into(),
            versions: "2.0-2.1".into(),
            heartbeat_interval: Duration::from_secs(30),
        };
        let opened = |vm| Write::PathOpened {
            vm,
            mac: "02:00:ab:00:01:01".into(),
            version: "2.1".into(),
            authenticated: false,
            age: Duration::ZERO,
        };
        let mut store = self.store();
        store.host_monitor_apply(other, &[Write::Started(start.clone())]).unwrap();
        let down = Write::NodeChanged {
            state: NodeState::Down,
            reason: REASON_NODE_SHUTDOWN,
            mode: MonitorMode::Down,
        };
        store.host_monitor_apply(other, &[down]).unwrap();
        self.pass(206_497);
        let well = [Write::Started(start), opened(web1), Write::PathDetected { vm: web1 }];
        store.host_monitor_apply(one, &well).unwrap();
        let age = Duration::from_secs(42);
        let (mac, text) =
            ("02:00:ab:00:01:77".into(), format!("02:00:ab:00:01:77 claims the UUID of VM {web1}"));
        let trouble = [
            Write::Conflict { uuid: web1.to_string(), mac, kind: ConflictKind::Uuid, text },
            Write::Doorbell { vm: web1, bits: 0x28 },
            Write::PathMissing { vm: web1, age, common: false },
            opened(stranger),
        ];
        store.host_monitor_apply(one, &trouble).unwrap();
        self.pass(1);
    }

    /// It beats again, and what it has to say is asked for.
    fn web1_beats(&self) {
        let [one, _] = host_monitors();
        let web1: VmUuid = "61be20f0-09a8-4753-b5e5-564f8a545ed5".parse().unwrap();
        self.store().host_monitor_apply(one, &[Write::PathDetected { vm: web1 }]).unwrap();
    }

    /// Its report arrives.
    fn web1_reports(&self) {
        let [one, _] = host_monitors();
        let mut store = self.store();
        let asked = store.reports_pending().unwrap().remove(0);
        let payload = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<report version=\"1.0\" vm=\"{}\" \
             incarnation=\"5c0ffee012345678\" sequence=\"17\">\n</report>\n",
            asked.vm
        );
        self.pass(1);
        let report = Write::Report { vm: asked.vm, message: asked.tag, payload: payload.into_bytes() };
        store.host_monitor_apply(one, &[report]).unwrap();
    }
}

fn host_monitors() -> [HostMonitorId; 2] {
    ["5ac3e0dc-13fc-4221-9617-8ef61c4cdd83", "315ce56b-9ba0-46a1-b4bc-da6108574e7e"]
        .map(|uuid| uuid.parse().unwrap())
}

/// The complete XML documents of the page, in order.
fn blocks() -> Vec<&'static str> {
    let fenced = DOCUMENT.split("```xml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    fenced.filter(|block| block.starts_with("<?xml")).collect()
}

/// Tags of answers are chosen at random, those of requests and messages are numbers that depend on what was before.
fn tags(text: &str) -> Vec<&str> {
    let after = |start| text.split(start).skip(1).filter_map(|rest: &str| rest.split('"').next());
    after(" hsTag=\"").chain(after(" tag=\"")).collect()
}

#[test]
fn examples_are_answered_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.db");
    examples(&Bench::new(move |clock| Box::new(SqliteStore::open(&path, Box::new(clock)).unwrap())));
}

#[test]
fn and_byte_for_byte_the_same_on_postgresql() {
    let mut server = match Server::start() {
        Ok(server) => server,
        Err(reason) if reason.starts_with("SKIPPED") => return eprintln!("{reason}"),
        Err(reason) => panic!("{reason}"),
    };
    let database = server.database();
    let url = server.url("postgres", &database);
    examples(&Bench::new(move |clock| {
        Box::new(PostgresStore::open_with(&url, Some(Box::new(clock))).unwrap())
    }));
}

fn examples(bench: &Bench) {
    let blocks = blocks();
    assert!(blocks.len() >= 16 && blocks.len().is_multiple_of(2), "{} blocks", blocks.len());
    // What stands for the printed ones.
    let mut given: BTreeMap<&str, String> = BTreeMap::new();
    for pair in blocks.chunks(2) {
        let (request, printed) = (pair[0], pair[1]);
        if request.contains("VIO_HS_QUICK_QUERY") {
            bench.time_goes_by();
        }
        if request.contains("VIO_HS_PUT_MSG") {
            bench.web1_beats();
        }
        if request.contains("VIO_HS_GET_MSG") {
            bench.web1_reports();
        }
        let tagged = |request: String, printed: &str| match given.get(printed) {
            Some(tag) => request.replace(&format!("ag=\"{printed}\""), &format!("ag=\"{tag}\"")),
            None => request,
        };
        let request = tags(request).into_iter().fold(request.to_owned(), tagged);
        let (answered, _) = answer(request.as_bytes(), &host_monitors(), || Ok(bench.store()));
        let mut comparable = answered.clone();
        // By way of something else: one's given tag may be another's printed one.
        for (tag, printed) in tags(&answered).into_iter().zip(tags(printed)) {
            comparable = comparable.replace(&format!("ag=\"{tag}\""), &format!("ag=\"={printed}\""));
            given.insert(printed, tag.to_owned());
        }
        let comparable = comparable.replace("ag=\"=", "ag=\"");
        assert_eq!(comparable.as_str(), printed, "to\n{request}");
    }
}

#[test]
fn the_schemas_are_beside_the_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    for name in ["requests.xsd", "requests-namespace.xsd"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        roxmltree::Document::parse(&text).unwrap();
        assert!(DOCUMENT.contains(name), "{name}");
    }
}
