use vmpulse_store::*;

use crate::bench::*;

fn interval(ms: Option<u32>) -> SettingsChange {
    SettingsChange { heartbeat_interval_ms: Some(ms), ..SettingsChange::default() }
}

fn of(bench: &mut Bench, host_monitor: u32) -> MonitorSettings {
    bench.store.roster(hm(host_monitor)).unwrap().settings
}

fn versions(text: &str) -> SettingsChange {
    SettingsChange { versions: Some(Some(text.parse().unwrap())), ..SettingsChange::default() }
}

pub(crate) fn one_goes_before_host_before_all(bench: &mut Bench) {
    bench.add_host(1);
    bench.add_host(2);
    let first = of(bench, 11);
    assert_eq!(MonitorSettings { version: 0, ..first }, MonitorSettings::default());
    let mut versions = Vec::new();
    for (scope, ms) in
        [(SettingsScope::One(hm(11)), 1000), (SettingsScope::Host(host(1)), 2000), (SettingsScope::All, 3000)]
    {
        let change = SettingsChange { log_level: Some(Some(format!("level{ms}"))), ..interval(Some(ms)) };
        versions.push(bench.store.host_monitors_configure(&scope, &change).unwrap());
    }
    assert!(versions.is_sorted_by(|one, other| one < other), "{versions:?}");
    let seen = [11, 12, 21].map(|number| of(bench, number));
    assert_eq!(
        seen.clone().map(|settings| settings.heartbeat_interval_ms),
        [Some(1000), Some(2000), Some(3000)]
    );
    assert_eq!(
        seen.clone().map(|settings| settings.log_level),
        ["level1000", "level2000", "level3000"].map(|text| Some(text.to_owned()))
    );
    assert_eq!(seen.map(|settings| settings.version), [versions[2]; 3]);
    bench.store.host_monitors_configure(&SettingsScope::One(hm(11)), &interval(None)).unwrap();
    assert_eq!(of(bench, 11).heartbeat_interval_ms, Some(2000), "taken back in one scope");
    assert_eq!(of(bench, 11).log_level.as_deref(), Some("level1000"), "what was not named stays");
    bench.store.host_monitors_configure(&SettingsScope::Host(host(1)), &interval(None)).unwrap();
    assert_eq!(of(bench, 12).heartbeat_interval_ms, Some(3000));
    bench.add_host(3);
    assert_eq!(of(bench, 31).heartbeat_interval_ms, Some(3000), "those that come later, too");

    let refused =
        bench.store.host_monitors_configure(&SettingsScope::One(hm(99)), &interval(None)).unwrap_err();
    assert!(matches!(refused, StoreError::UnknownHostMonitor(_)), "{refused}");
    bench.store.host_monitors_remove(&[hm(11)]).unwrap();
    assert!(bench.store.host_monitors_configure(&SettingsScope::One(hm(11)), &interval(None)).is_err());
    bench.store.hosts_remove(&[host(1)]).unwrap();
    assert!(bench.store.host_monitors_configure(&SettingsScope::Host(host(1)), &interval(None)).is_err());
}

pub(crate) fn what_is_in_force_is_said_and_kept(bench: &mut Bench) {
    bench.add_host(1);
    let fast = SettingsChange { store_heartbeat_interval_ms: Some(Some(1000)), ..SettingsChange::default() };
    let stamp = bench.connect();
    let before = stamp.change_stamp().unwrap();
    let version = bench.store.host_monitors_configure(&SettingsScope::Host(host(1)), &fast).unwrap();
    stamp_other_than(stamp.as_ref(), before);
    let configured =
        HostMonitorWrite::Configured { version, versions: "2.1-2.1".into(), heartbeat_interval: seconds(1) };
    for _ in 0..2 {
        bench.write(11, std::slice::from_ref(&configured));
    }
    assert_eq!(bench.status(11).versions.as_deref(), Some("2.1-2.1"));
    bench.pass(3);
    assert!(!bench.status(11).responsive, "2.5 of the new intervals");
    assert!(bench.status(12).responsive);
    let events =
        bench.store.node_events(&NodeEventsWanted { limit: 9, ..NodeEventsWanted::default() }).unwrap();
    let told: Vec<_> = events.iter().filter(|event| event.kind == "CONFIGURED").collect();
    assert!(told.len() == 1 && told[0].text.contains(&version.to_string()), "{events:?}");
}

pub(crate) fn the_systems_versions_are_those_of_all(bench: &mut Bench) {
    bench.add_host(1);
    let system = |bench: &mut Bench| {
        let ProtocolVersions { running, accepted } = bench.store.protocol_versions().unwrap();
        format!("{running} of {accepted}")
    };
    assert_eq!(system(bench), "2.1 of 2.0-2.1");
    bench.store.host_monitors_configure(&SettingsScope::One(hm(11)), &versions("2.1")).unwrap();
    assert_eq!(system(bench), "2.1 of 2.0-2.1", "one is not all");
    bench.store.host_monitors_configure(&SettingsScope::All, &versions("2.0-2.0")).unwrap();
    assert_eq!(system(bench), "2.0 of 2.0-2.0");
    let seen = [11, 12].map(|number| of(bench, number).versions.map(|versions| versions.to_string()));
    assert_eq!(seen, [Some("2.1-2.1".to_owned()), Some("2.0-2.0".to_owned())]);
    let back = SettingsChange { versions: Some(None), ..SettingsChange::default() };
    bench.store.host_monitors_configure(&SettingsScope::All, &back).unwrap();
    assert_eq!(system(bench), "2.1 of 2.0-2.1");
}

pub(crate) fn settings_out_of_range_are_refused(bench: &mut Bench) {
    bench.add_host(1);
    let before = of(bench, 11);
    for ms in [0, 99, 60_001] {
        let store = SettingsChange {
            log_level: Some(Some("debug".into())),
            store_heartbeat_interval_ms: Some(Some(ms)),
            ..SettingsChange::default()
        };
        for change in [interval(Some(ms)), store] {
            let refused = bench.store.host_monitors_configure(&SettingsScope::All, &change).unwrap_err();
            assert!(matches!(refused, StoreError::OutOfRange { .. }), "{refused}");
        }
    }
    assert_eq!(of(bench, 11), before);
}
