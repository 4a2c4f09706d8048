//! One host with two host monitors and a store in a file; time stands still until it is moved.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;
use tempfile::TempDir;
use vmpulse_controller::cli::{self, Answer, CliError, parse};
use vmpulse_controller::controller::{Controller, Outcome};
use vmpulse_controller::schedule::Poll;
use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_protocol::time::Instant;
use vmpulse_store::*;

pub(crate) const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
pub(crate) const OTHER: &str = "4e395e99-fffb-4345-8067-2d5296ba7d91";
const LEFT: &str = "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83";
const RIGHT: &str = "315ce56b-9ba0-46a1-b4bc-da6108574e7e";
const MAC: &str = "52:54:00:00:00:01";

/// 2026-11-21 07:00:00 UTC.
const START_US: i64 = 1_795_244_400_000_000;
const HEARTBEAT_S: u64 = 30;

pub(crate) struct Bench {
    folder: TempDir,
    clock: Arc<AtomicI64>,
    /// What the controller's own clock is behind the store's.
    stepped: i64,
    /// The host monitors' connection.
    pub(crate) monitors: SqliteStore,
    /// The controller's.
    pub(crate) reader: SqliteStore,
    pub(crate) controller: Controller,
    /// Host monitors that live.
    pub(crate) alive: Vec<HostMonitorId>,
}

pub(crate) fn vm() -> VmUuid {
    VM.parse().unwrap()
}

pub(crate) fn left() -> HostMonitorId {
    LEFT.parse().unwrap()
}

pub(crate) fn right() -> HostMonitorId {
    RIGHT.parse().unwrap()
}

pub(crate) fn host() -> HostKey {
    HostKey { machine_type: "8408".to_owned(), model: "E8E".to_owned(), serial: "212424W".to_owned() }
}

fn new_controller() -> Controller {
    Controller::new(ControllerHeartbeat {
        name: "ctl1".to_owned(),
        pid: 4711,
        version: "0.1.0".to_owned(),
        poll_interval_ms: 20_000,
    })
}

impl Bench {
    /// Both host monitors run; nothing else is registered.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(START_US));
        let open =
            || SqliteStore::open(&folder.path().join("health.db"), Box::new(FixedClock(clock.clone())));
        let (monitors, reader) = (open().unwrap(), open().unwrap());
        let alive = vec![left(), right()];
        let mut bench =
            Self { folder, clock, stepped: 0, monitors, reader, controller: new_controller(), alive };
        let registration = |id| HostMonitorRegistration { id, part_number: 0, mac: None };
        let host_monitors = vec![registration(left()), registration(right())];
        bench.monitors.hosts_add(&[HostRegistration { key: host(), host_monitors }]).unwrap();
        for (id, trunk) in [(left(), "trunk0"), (right(), "trunk1")] {
            bench.write(id, HostMonitorWrite::Started(start(trunk)));
        }
        bench
    }

    /// And a VM that heartbeats on both trunks for an hour; what the start brought is taken in.
    pub(crate) fn with_vm() -> Self {
        let mut bench = Self::new();
        bench.add(VM, "vmraix1");
        bench.open(vm(), left());
        bench.open(vm(), right());
        bench.advance(3600);
        bench.poll();
        bench
    }

    pub(crate) fn add(&mut self, uuid: &str, name: &str) {
        let uuid = uuid.parse().unwrap();
        self.monitors.vms_add(&host(), &[VmRegistration { uuid, name: Some(name.to_owned()) }]).unwrap();
        self.monitors.vms_start(&[uuid]).unwrap();
    }

    pub(crate) fn open(&mut self, vm: VmUuid, on: HostMonitorId) {
        self.write(
            on,
            HostMonitorWrite::PathOpened {
                vm,
                mac: MAC.to_owned(),
                version: "2.1".to_owned(),
                authenticated: false,
                age: Duration::ZERO,
            },
        );
        self.write(on, HostMonitorWrite::PathDetected { vm });
    }

    pub(crate) fn write(&mut self, from: HostMonitorId, write: HostMonitorWrite) {
        self.monitors.host_monitor_apply(from, &[write]).unwrap();
    }

    /// Both paths went silent `age_s` ago.
    pub(crate) fn silence(&mut self, age_s: u64, common: bool) {
        let age = Duration::from_secs(age_s);
        for on in [left(), right()] {
            self.write(on, HostMonitorWrite::PathMissing { vm: vm(), age, common });
        }
    }

    pub(crate) fn heard(&mut self, on: HostMonitorId) {
        self.write(on, HostMonitorWrite::PathDetected { vm: vm() });
    }

    /// Time passes; the host monitors that live say so.
    pub(crate) fn advance(&mut self, seconds: u64) {
        self.clock.fetch_add(i64::try_from(seconds).unwrap() * 1_000_000, Ordering::Relaxed);
        for id in self.alive.clone() {
            self.write(id, HostMonitorWrite::Heartbeat);
        }
    }

    /// The store's clock jumps, the controller's does not.
    pub(crate) fn step_clock(&mut self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
        self.stepped += seconds * 1_000_000;
    }

    /// The controller's clock.
    pub(crate) fn now(&self) -> Instant {
        let elapsed_us = self.clock.load(Ordering::Relaxed) - START_US - self.stepped;
        Instant::from_millis(u64::try_from(elapsed_us / 1000).unwrap())
    }

    pub(crate) fn poll(&mut self) -> Outcome {
        let now = self.now();
        self.controller.turn(&mut self.reader, &|| now, Poll::Attention).unwrap()
    }

    /// One poll over another store; whether it was answered.
    pub(crate) fn poll_over(&mut self, store: &mut dyn Store) -> bool {
        let now = self.now();
        self.controller.turn(store, &|| now, Poll::Attention).is_ok()
    }

    /// The controller is killed and started again.
    pub(crate) fn restart(&mut self) {
        self.reader = self.connect();
        self.controller = new_controller();
    }

    pub(crate) fn connect(&self) -> SqliteStore {
        SqliteStore::open(&self.folder.path().join("health.db"), Box::new(FixedClock(self.clock.clone())))
            .unwrap()
    }

    /// Names of all events whose name begins so.
    pub(crate) fn events(&mut self, prefix: &str) -> Vec<String> {
        let names = self.monitors.events(1000).unwrap().into_iter().map(|record| record.event.name);
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// The newest event of that name.
    pub(crate) fn event(&mut self, name: &str) -> NewEvent {
        let events = self.monitors.events(1000).unwrap();
        events.into_iter().map(|record| record.event).rfind(|event| event.name == name).unwrap()
    }

    pub(crate) fn phase(&mut self) -> String {
        self.monitors.vms().unwrap().into_iter().find(|view| view.uuid == vm()).unwrap().phase
    }

    /// The guest answers the open request of its report.
    pub(crate) fn report(&mut self, payload: &str) {
        let pending = self.monitors.reports_pending().unwrap();
        let message = pending.iter().find(|pending| pending.vm == vm()).unwrap().tag;
        let payload = payload.as_bytes().to_vec();
        self.write(left(), HostMonitorWrite::Report { vm: vm(), message, payload });
    }

    /// `hamgr` with this line.
    pub(crate) fn hamgr(&mut self, line: &str) -> Result<Answer, CliError> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let invocation = parse::parse(arguments)?;
        let parse::Request::Run(command) = invocation.request.clone() else { panic!("{line}") };
        cli::execute(&invocation, &command, &mut self.monitors, &TimeZone::UTC)
    }

    pub(crate) fn shown(&mut self, line: &str) -> String {
        self.hamgr(line).unwrap().data
    }
}

fn start(trunk: &str) -> HostMonitorStart {
    HostMonitorStart {
        trunk: trunk.to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        vlan: None,
        incarnation: "1556303548.719328000.38".to_owned(),
        versions: "2.0-2.1".to_owned(),
        heartbeat_interval: Duration::from_secs(HEARTBEAT_S),
    }
}

/// A report with one application, each newer than the one before.
pub(crate) fn report(status: &str, colour: &str) -> String {
    static SEQUENCE: AtomicI64 = AtomicI64::new(1);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    format!(
        "<report version=\"1.0\" vm=\"{VM}\" incarnation=\"5c0ffee012345678\" sequence=\"{sequence}\">\
         <application name=\"app1\" uuid=\"1567267349133928000\" status=\"{status}\" colour=\"{colour}\" \
         critical=\"yes\" monitored=\"1\" max_restart=\"3\" nooftimes_restarted=\"1\" version=\"12.4\" \
         last_result=\"ABNORM\" last_change_s=\"42\"/></report>"
    )
}
