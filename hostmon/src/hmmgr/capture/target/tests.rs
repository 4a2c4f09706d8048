use std::collections::BTreeMap;

use vmpulse_store::MonitorMode;

use super::*;

const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
const OTHER: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed6";

fn monitor(trunk: &str, paths: &[(&str, &str)]) -> Status {
    let path = |(vm, mac): &(&str, &str)| PathStatus {
        vm: (*vm).into(),
        mac: (*mac).into(),
        state: "BEATING".into(),
        suspended: None,
        version: "2.1".into(),
        interval_ms: 1000,
        last_heartbeat_age_ms: None,
        heartbeats: 0,
        authenticated_in: false,
        authenticated_out: false,
        key_id: None,
        guardian: false,
    };
    Status {
        trunk: trunk.into(),
        trunk_heard: true,
        isolated: false,
        canary: crate::status::CanaryStatus::default(),
        uuid: String::new(),
        mac: String::new(),
        pid: 1,
        mode: MonitorMode::Global,
        mode_since: None,
        mode_reason: None,
        incarnation: String::new(),
        started: String::new(),
        store: String::new(),
        store_ok: true,
        pending_writes: 0,
        spool: 0,
        spool_bytes: 0,
        spool_error: None,
        paths: paths.iter().map(path).collect(),
        counters: BTreeMap::new(),
        kernel_drops: 0,
        without_path: vec![],
        quiet: Vec::new(),
        policing: Default::default(),
        settings: Default::default(),
        removed: false,
        store_work: Default::default(),
        late: 0,
    }
}

fn vm() -> Option<VmUuid> {
    VM.parse().ok()
}

fn mac(last: u8) -> MacAddr {
    MacAddr(2, 0, 0, 0, 0, last)
}

fn two_trunks() -> [Status; 2] {
    let one = [(OTHER, "02:00:00:00:00:05")];
    let both = [(VM, "02:00:00:00:00:01"), (OTHER, "02:00:00:00:00:02")];
    [monitor("eth1", &both), monitor("eth2", &one)]
}

fn chosen(
    trunk: Option<&str>,
    vm: Option<VmUuid>,
    mac: Option<MacAddr>,
    monitors: &[Status],
) -> Result<(String, Option<MacAddr>), String> {
    let target = choose(trunk, vm, mac, monitors, " (busy)");
    target.map(|target| (target.trunk, target.peer)).map_err(|error| error.to_string())
}

#[test]
fn a_vm_is_found_by_its_only_path() {
    assert_eq!(chosen(None, vm(), None, &two_trunks()), Ok(("eth1".into(), Some(mac(1)))));
    assert_eq!(chosen(Some("eth1"), vm(), None, &two_trunks()), Ok(("eth1".into(), Some(mac(1)))));
}

#[test]
fn an_address_is_found_and_need_not_be_known() {
    assert_eq!(chosen(None, None, Some(mac(5)), &two_trunks()), Ok(("eth2".into(), Some(mac(5)))));
    let [first, _] = two_trunks();
    assert_eq!(chosen(None, None, Some(mac(9)), &[first]), Ok(("eth1".into(), Some(mac(9)))));
}

#[test]
fn the_only_trunk_is_meant_when_nothing_is_named() {
    let [first, _] = two_trunks();
    assert_eq!(chosen(None, None, None, &[first]), Ok(("eth1".into(), None)));
}

#[test]
fn what_is_not_clear_is_asked_for() {
    let both = two_trunks();
    for (trunk, vm, mac, monitors, part) in [
        (None, None, None, &both[..], "--trunk: eth1, eth2"),
        (None, None, Some(mac(9)), &both, "--trunk: eth1, eth2"),
        (None, OTHER.parse().ok(), None, &both, "--trunk: eth1, eth2"),
        (None, None, None, &[], "no host monitor runs here"),
        (None, vm(), None, &[], "(busy)"),
        (Some("eth3"), vm(), None, &both, "no host monitor answers for eth3"),
        (Some("eth2"), vm(), None, &both, "is known on eth2; `hmmgr status`"),
        (None, "61be20f0-09a8-4753-b5e5-564f8a545ed7".parse().ok(), None, &both, "is known; `hmmgr"),
    ] {
        let error = chosen(trunk, vm, mac, monitors).unwrap_err();
        assert!(error.contains(part), "{part:?} in {error:?}");
    }
    let twice = monitor("eth1", &[(VM, "02:00:00:00:00:01"), (VM, "02:00:00:00:00:03")]);
    let error = chosen(None, vm(), None, &[twice]).unwrap_err();
    assert!(error.contains("--mac: 02:00:00:00:00:01, 02:00:00:00:00:03"), "{error}");
}

#[test]
fn an_address_is_six_pairs() {
    assert_eq!(address("02:00:00:00:00:01"), Ok(mac(1)));
    for wrong in ["", "02:00:00:00:00", "02-00-00-00-00-01", "02:00:00:00:00:01:02", "vm1"] {
        assert!(address(wrong).is_err(), "{wrong}");
    }
}
