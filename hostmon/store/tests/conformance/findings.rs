use vmpulse_store::*;

use crate::bench::*;

fn event(incident: &str) -> NewEvent {
    NewEvent {
        incident: incident.into(),
        name: "VM_FAILURE_DETECTED".into(),
        severity: Severity::Critical,
        entity: "VM".into(),
        resource: format!("VM : vm1 UUID {}", vm(1)),
        description: "0000-187 VM: vm1 failure detected.".into(),
    }
}

pub(crate) fn an_incident_is_recorded_once_until_closed(bench: &mut Bench) {
    assert!(bench.store.event_append(&event("one")).unwrap());
    assert!(!bench.connect().event_append(&event("one")).unwrap(), "whoever finds it");
    assert!(bench.store.event_append(&event("other")).unwrap());
    bench.pass(1);
    bench.store.incident_close("one").unwrap();
    bench.store.incident_close("never opened").unwrap();
    assert!(bench.store.event_append(&event("one")).unwrap());
    let events = bench.store.events(10).unwrap();
    assert_eq!(
        events.iter().map(|event| event.id).collect::<Vec<_>>(),
        [1, 2, 3],
        "growing by one, oldest first"
    );
    assert_eq!(events[2].event, event("one"));
    assert_eq!(events[2].at.since(events[0].at), seconds(1));
    assert_eq!(bench.store.events(1).unwrap()[0].id, 3, "the newest");
}

pub(crate) fn settings_are_kept_and_checked(bench: &mut Bench) {
    bench.started();
    assert_eq!(bench.store.system_settings().unwrap(), SystemSettings::default());
    let system = |time_s| SystemSettings {
        host_failure_detection_time_s: time_s,
        vm_failure_detection_speed: DetectionSpeed::Fast,
    };
    bench.store.system_settings_replace(&system(600)).unwrap();
    let refused = bench.store.system_settings_replace(&system(601)).unwrap_err();
    assert!(refused.to_string().contains("90 to 600 s"), "{refused}");
    assert_eq!(bench.store.system_settings().unwrap(), system(600));

    let before = bench.requests(11).pop().map(|request| request.tag);
    let mut settings =
        VmSettings { vm_failure_detection_speed: Some(DetectionSpeed::Slow), ..VmSettings::default() };
    bench.store.vm_settings_replace(vm(1), &settings).unwrap();
    assert_eq!(
        bench.requests(11).pop().map(|request| request.tag),
        before,
        "nothing for a host monitor to do"
    );
    settings.heartbeat_interval_ms = Some(200);
    settings.vm_failure_detection_time_ms = Some(600);
    bench.store.vm_settings_replace(vm(1), &settings).unwrap();
    assert_eq!(bench.vm(1).settings, settings);
    assert_eq!(bench.store.roster(hm(11)).unwrap().vms[0].heartbeat_interval_ms, Some(200));
    let told = bench.requests(11).pop().unwrap();
    assert!(Some(told.tag) > before && told.what == RequestKind::Reconsider(vm(1)));

    for (interval_ms, time_ms) in [(99, 600), (60_001, 600), (201, 602)] {
        settings.heartbeat_interval_ms = Some(interval_ms);
        settings.vm_failure_detection_time_ms = Some(time_ms);
        let refused = bench.store.vm_settings_replace(vm(1), &settings).unwrap_err();
        assert!(matches!(refused, StoreError::OutOfRange { .. }), "{refused}");
    }
    assert!(matches!(
        bench.store.vm_settings_replace(vm(9), &VmSettings::default()),
        Err(StoreError::UnknownVm(_))
    ));
}

pub(crate) fn phases_and_controllers(bench: &mut Bench) {
    bench.started();
    bench.store.vm_phase_replace(vm(1), "Missed HB count 50").unwrap();
    assert_eq!(bench.vm(1).phase, "Missed HB count 50");
    assert!(matches!(bench.store.vm_phase_replace(vm(9), ""), Err(StoreError::UnknownVm(_))));
    let heartbeat = |n| ControllerHeartbeat {
        name: format!("ctl{n}"),
        pid: n,
        version: "0.1.0".into(),
        poll_interval_ms: 20_000,
    };
    for n in 0..100 {
        bench.pass(1);
        bench.store.controller_heartbeat(&heartbeat(n)).unwrap();
    }
    bench.pass(1);
    bench.store.controller_heartbeat(&heartbeat(99)).unwrap();
    let controllers = bench.store.controllers().unwrap();
    assert!(controllers.len() <= 64 && controllers.iter().all(|view| view.heartbeat.pid >= 36));
    let last = controllers.iter().find(|view| view.heartbeat == heartbeat(99)).unwrap();
    assert_eq!(last.age, seconds(0));
}
