use super::*;
use crate::status::{AbsentStatus, PathStatus, StoreWork};

fn path(number: u16, state: &str) -> PathStatus {
    PathStatus {
        vm: format!("00000000-0000-4000-8000-{number:012}"),
        mac: "02:00:00:00:00:01".to_owned(),
        state: state.to_owned(),
        suspended: None,
        version: "2.1".to_owned(),
        interval_ms: 10_000,
        last_heartbeat_age_ms: Some(1_500),
        heartbeats: 7,
        authenticated_in: true,
        authenticated_out: true,
        key_id: Some(1),
        guardian: false,
    }
}

pub(crate) fn status() -> Status {
    let counters =
        [("heartbeats", 12), ("discarded_checksum", 3), ("vms_watched", 2), ("late_turns", 1), ("new", 9)];
    Status {
        trunk: "trunk\"A\n".to_owned(),
        trunk_heard: true,
        uuid: "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".to_owned(),
        mac: String::new(),
        pid: 1,
        mode: MonitorMode::Local,
        mode_since: None,
        mode_reason: None,
        incarnation: String::new(),
        started: "2026-11-21T08:00:00Z".to_owned(),
        store: String::new(),
        store_ok: false,
        pending_writes: 4,
        spool: 5,
        spool_bytes: 0,
        spool_error: None,
        settings: Default::default(),
        removed: false,
        canary: Default::default(),
        isolated: false,
        paths: vec![path(1, "BEATING"), path(2, "BEATING"), path(3, "MISSING")],
        without_path: vec![AbsentStatus {
            vm: "x".to_owned(),
            state: "NEVER_HEARD".to_owned(),
            suspended: None,
            silent_ms: None,
        }],
        quiet: Vec::new(),
        counters: counters.map(|(name, count)| (name.to_owned(), count)).into(),
        kernel_drops: 6,
        late: 1,
        policing: crate::policing::PolicingStatus {
            on: true,
            reason: None,
            known: 2,
            counters: [
                ("known_passed", 8),
                ("strangers_dropped", 2),
                ("port-vnet0-forged", 1),
                ("port-vnet1-forged", 1),
            ]
            .map(|(name, frames)| (name.to_owned(), frames))
            .into(),
        },
        store_work: StoreWork { commits: 10, failures: 1, statements: 100, last_commit_age_ms: Some(250) },
    }
}

#[test]
fn a_status_is_told_whole() {
    let text = page(&status()).unwrap();
    for line in [
        "# TYPE vmpulse_hostmon_heartbeats_received_total counter",
        "vmpulse_hostmon_heartbeats_received_total 12",
        "vmpulse_hostmon_discarded_packets_total{reason=\"checksum\"} 3",
        "vmpulse_hostmon_other_events_total{event=\"new\"} 9",
        "vmpulse_hostmon_paths{state=\"BEATING\"} 2",
        "vmpulse_hostmon_paths{state=\"QUIET\"} 0",
        "vmpulse_hostmon_vms_without_path{state=\"NEVER_HEARD\"} 1",
        "vmpulse_hostmon_mode{mode=\"GLOBAL\"} 0",
        "vmpulse_hostmon_mode{mode=\"LOCAL\"} 1",
        "vmpulse_hostmon_kernel_dropped_frames_total 6",
        "vmpulse_hostmon_store_last_commit_age_seconds 0.25",
        "vmpulse_hostmon_policing_passed_frames_total{lane=\"known\"} 8",
        "vmpulse_hostmon_policing_dropped_frames_total{rule=\"port_forged\"} 2",
        "vmpulse_hostmon_policing_dropped_frames_total{rule=\"strangers\"} 2",
        "vmpulse_hostmon_start_time_seconds 1795248000",
        "vmpulse_hostmon_info{trunk=\"trunk\\\"A\\n\",uuid=\"5ac3e0dc-13fc-4221-9617-8ef61c4cdd83\"} 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_number_of_lines_does_not_grow_with_the_guests() {
    let few = page(&status()).unwrap().lines().count();
    let mut many = status();
    many.paths = (0..5000).map(|number| path(number, "BEATING")).collect();
    assert_eq!(page(&many).unwrap().lines().count(), few);
    let vms = vm_page(&many).unwrap();
    assert!(vms.lines().any(|line| line == "vmpulse_hostmon_vm_metrics_left_out 4000"), "{vms}");
    let told = vms.lines().filter(|line| line.starts_with("vmpulse_hostmon_vm_beating{")).count();
    assert_eq!(told, VM_METRICS_MAXIMUM);
}

#[test]
fn whatever_a_monitor_counts_has_a_metric_of_its_own() {
    use vmpulse_protocol::time::Instant;
    let config = crate::monitor::tests::config();
    let monitor = crate::monitor::Monitor::new(config, Instant::ZERO);
    for (counter, _) in monitor.counters() {
        assert!(has_metric(&counter), "{counter}");
    }
}

#[test]
fn the_page_of_the_documentation_has_every_metric() {
    let page_text = include_str!("../../../../docs/reference/metrics.md");
    let told = page(&status()).unwrap() + &vm_page(&status()).unwrap();
    let names: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    assert!(names.len() > 30);
    for name in names {
        assert!(page_text.contains(&format!("`{name}`")), "{name} is not in docs/reference/metrics.md");
    }
}
