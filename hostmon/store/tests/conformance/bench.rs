//! A store under test with its clock, and what the cases say often.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use vmpulse_protocol::id::{HostMonitorId, VmUuid};
use vmpulse_store::*;

/// Something that stores health.
pub(crate) trait BackEnd {
    /// A new connection to the same store, with this clock.
    fn connect(&self, clock: FixedClock) -> Box<dyn Store>;
}

/// One store, one connection, one clock. Hosts, host monitors and VMs are known by small numbers: host n has the
/// host monitors 10n+1 and 10n+2.
pub(crate) struct Bench {
    back_end: Box<dyn BackEnd>,
    clock: Arc<AtomicI64>,
    pub(crate) store: Box<dyn Store>,
}

/// The start that [`Bench::start_monitor`] writes.
pub(crate) const INCARNATION: &str = "1700000000.000000000.1";

pub(crate) fn vm(number: u32) -> VmUuid {
    format!("00000000-0000-0000-0000-{number:012x}").parse().unwrap()
}

pub(crate) fn hm(number: u32) -> HostMonitorId {
    format!("ffffffff-0000-0000-0000-{number:012x}").parse().unwrap()
}

pub(crate) fn host(number: u32) -> HostKey {
    HostKey { machine_type: "8286".into(), model: "42A".into(), serial: format!("{number:07}") }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn opened(number: u32) -> HostMonitorWrite {
    HostMonitorWrite::PathOpened {
        vm: vm(number),
        mac: format!("02:00:00:00:00:{number:02x}"),
        version: "2.1".into(),
        authenticated: false,
        age: Duration::ZERO,
    }
}

pub(crate) fn detected(number: u32) -> HostMonitorWrite {
    HostMonitorWrite::PathDetected { vm: vm(number) }
}

pub(crate) fn missing(number: u32, age_s: u64) -> HostMonitorWrite {
    HostMonitorWrite::PathMissing { vm: vm(number), age: seconds(age_s), common: false }
}

pub(crate) fn heard(heard: bool) -> HostMonitorWrite {
    HostMonitorWrite::TrunkHeard { heard }
}

pub(crate) fn doorbell(number: u32, bits: u32) -> HostMonitorWrite {
    HostMonitorWrite::Doorbell { vm: vm(number), bits }
}

pub(crate) fn suspended(number: u32, reason: SuspendReason) -> HostMonitorWrite {
    HostMonitorWrite::Suspended { vm: vm(number), reason, age: Duration::ZERO }
}

pub(crate) fn stranger(uuid: &str, kind: Discovery) -> HostMonitorWrite {
    HostMonitorWrite::Discovered { uuid: uuid.into(), mac: "02:00:00:00:00:99".into(), kind }
}

/// The change stamp, once it is another one: a server tells of a change a moment after it was committed.
#[allow(clippy::disallowed_methods)]
pub(crate) fn stamp_other_than(store: &dyn Store, before: u64) -> u64 {
    let until = std::time::Instant::now() + seconds(10);
    loop {
        let stamp = store.change_stamp().unwrap();
        if stamp != before {
            return stamp;
        }
        assert!(std::time::Instant::now() < until, "nothing is told");
    }
}

/// What the host monitor says of itself when it starts.
pub(crate) fn start_of(number: u32) -> HostMonitorStart {
    HostMonitorStart {
        trunk: format!("trunk{number}"),
        mac: format!("02:ff:00:00:00:{number:02x}"),
        vlan: None,
        incarnation: INCARNATION.into(),
        versions: "2.0-2.1".into(),
        heartbeat_interval: seconds(30),
    }
}

impl Bench {
    pub(crate) fn new(back_end: impl BackEnd + 'static) -> Self {
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000_000));
        let store = back_end.connect(FixedClock(Arc::clone(&clock)));
        Self { back_end: Box::new(back_end), clock, store }
    }

    /// Another user of the same store.
    pub(crate) fn connect(&self) -> Box<dyn Store> {
        self.back_end.connect(FixedClock(Arc::clone(&self.clock)))
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time_s: u64) {
        self.clock.fetch_add(i64::try_from(time_s * 1_000_000).unwrap(), Ordering::Relaxed);
    }

    /// The store's clock is set.
    pub(crate) fn step(&mut self, by_s: i64) {
        self.clock.fetch_add(by_s * 1_000_000, Ordering::Relaxed);
    }

    /// Time passes while these host monitors live.
    pub(crate) fn pass_alive(&mut self, time_s: u64, host_monitors: &[u32]) {
        self.pass(time_s);
        for number in host_monitors {
            self.write(*number, &[HostMonitorWrite::Heartbeat]);
        }
    }

    pub(crate) fn write(&mut self, host_monitor: u32, writes: &[HostMonitorWrite]) {
        self.store.host_monitor_apply(hm(host_monitor), writes).unwrap();
    }

    pub(crate) fn start_monitor(&mut self, number: u32) {
        self.write(number, &[HostMonitorWrite::Started(start_of(number))]);
    }

    /// Registers a host with its two host monitors, and starts those.
    pub(crate) fn add_host(&mut self, number: u32) {
        let registered =
            [1, 2].map(|n| HostMonitorRegistration { id: hm(10 * number + n), part_number: n, mac: None });
        let host = HostRegistration { key: host(number), host_monitors: registered.to_vec() };
        self.store.hosts_add(&[host]).unwrap();
        self.start_monitor(10 * number + 1);
        self.start_monitor(10 * number + 2);
    }

    pub(crate) fn add_vm(&mut self, on_host: u32, number: u32) {
        let registration = VmRegistration { uuid: vm(number), name: Some(format!("vm{number}")) };
        self.store.vms_add(&host(on_host), &[registration]).unwrap();
    }

    /// Host 1, and VM 1 on it, STARTED for a minute: two beating paths. Everything so far is acknowledged.
    pub(crate) fn started(&mut self) {
        self.add_host(1);
        self.started_vm(1, 1);
        self.pass_alive(60, &[11, 12]);
    }

    /// A VM that is STARTED, acknowledged, its requests carried out.
    pub(crate) fn started_vm(&mut self, on_host: u32, number: u32) {
        self.add_vm(on_host, number);
        self.store.vms_start(&[vm(number)]).unwrap();
        for host_monitor in [10 * on_host + 1, 10 * on_host + 2] {
            self.write(host_monitor, &[opened(number), detected(number)]);
            for request in self.requests(host_monitor) {
                self.write(host_monitor, &[HostMonitorWrite::RequestDone { tag: request.tag }]);
            }
        }
        assert_eq!(self.vm(number).state, VmState::Started);
        self.acknowledge();
    }

    /// Acknowledges everything.
    pub(crate) fn acknowledge(&mut self) {
        if let Some(tag) = self.store.needs_attention().unwrap().tag {
            assert!(self.store.acknowledge(tag).unwrap());
        }
    }

    pub(crate) fn vm(&mut self, number: u32) -> VmView {
        self.store.vms().unwrap().into_iter().find(|view| view.uuid == vm(number)).unwrap()
    }

    /// Everything that needs attention, hosts left out.
    pub(crate) fn attention(&mut self) -> Vec<VmAttention> {
        self.store.needs_attention().unwrap().hosts.into_iter().flat_map(|host| host.vms).collect()
    }

    /// What the attention query and the view say of a VM's silence; they never differ.
    pub(crate) fn missed(&mut self, number: u32) -> Option<MissedHeartbeats> {
        let uuid = vm(number).to_string();
        let polled =
            self.attention().into_iter().find(|entry| entry.uuid == uuid && entry.discovery.is_none());
        let polled = polled.and_then(|entry| entry.missed);
        assert_eq!(polled, self.vm(number).missed);
        polled
    }

    /// Youngest and oldest silence in seconds.
    pub(crate) fn missed_s(&mut self, number: u32) -> Option<(u64, u64)> {
        self.missed(number).map(|missed| (missed.youngest.as_secs(), missed.oldest.as_secs()))
    }

    pub(crate) fn requests(&mut self, host_monitor: u32) -> Vec<HostMonitorRequest> {
        self.store.roster(hm(host_monitor)).unwrap().requests
    }

    pub(crate) fn is_elsewhere(&mut self, host_monitor: u32, number: u32) -> bool {
        let standings = self.store.standings(hm(host_monitor), &[vm(number)]).unwrap();
        matches!(standings.as_slice(), [(_, Standing::Elsewhere(_))])
    }

    pub(crate) fn status(&mut self, host_monitor: u32) -> HostMonitorStatus {
        let hosts = self.store.quick_query().unwrap().hosts;
        let mut monitors = hosts.into_iter().flat_map(|host| host.host_monitors);
        monitors.find(|status| status.id == hm(host_monitor)).unwrap()
    }
}
