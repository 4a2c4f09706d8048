//! What `hamgr` shows and changes, over a real store.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/bench.rs"]
#[allow(dead_code)]
mod bench;

use std::time::Duration;

use bench::{Bench, OTHER, left, report, right, vm};
use vmpulse_local::exit::Exit;
use vmpulse_store::*;

/// Both trunks silent for 50 s, polled.
fn silent() -> Bench {
    let mut bench = Bench::with_vm();
    bench.silence(20, false);
    bench.advance(30);
    bench.poll();
    bench
}

fn refused(bench: &mut Bench, line: &str) -> (Exit, String) {
    let error = bench.hamgr(line).unwrap_err();
    (error.exit(), error.to_string())
}

#[test]
fn query_vm_of_a_silent_vm() {
    assert_eq!(
        silent().shown("query vm vmraix1"),
        "Name:                vmraix1\n\
         UUID:                61BE20F0-09A8-4753-B5E5-564F8A545ED5\n\
         Host:                8408-E8E-212424W\n\
         VM_failure_detection_speed:    normal\n\
         Heartbeating_with:   none\n\
         VM_status:           NO_OPERATION_IN_PROGRESS\n\
         Version_conflict:    No\n\
         Last_response:       50 seconds\n\
         Restart_phase:       Missed HB count 50 for VM vmraix1 is less than its VMFDT 190\n\
         HA_monitor_state:    STARTED\n"
    );
}

#[test]
fn query_vm_verbose_says_where_values_come_from() {
    let mut bench = Bench::with_vm();
    bench.shown("mod vm vmraix1 heartbeat_interval=1000 vm_failure_detection_time=4.5");
    bench.write(
        right(),
        HostMonitorWrite::PathMissing { vm: vm(), age: Duration::from_secs(7), common: false },
    );
    assert_eq!(
        bench.shown("-v q vm"),
        "Name:                vmraix1\n\
         UUID:                61BE20F0-09A8-4753-B5E5-564F8A545ED5\n\
         Host:                8408-E8E-212424W\n\
         VM_failure_detection_speed:    normal (system)\n\
         VM_failure_detection_time:     4.5 seconds (vm)\n\
         Heartbeat_interval:  1000 ms (vm)\n\
         Heartbeating_with:   trunk0\n\
         VM_status:           NO_OPERATION_IN_PROGRESS\n\
         Version_conflict:    No\n\
         Last_response:       0 seconds\n\
         Restart_phase:       none\n\
         HA_monitor_state:    STARTED\n\
         State_changed:       2026-11-21 07:00:00 UTC\n\
         Agent_first_seen:    2026-11-21 07:00:00 UTC\n\
         Paths:               trunk0 with 52:54:00:00:00:01: beating, version 2.1\n\
         \x20                    trunk1 with 52:54:00:00:00:01: silent for 7 seconds, version 2.1\n"
    );
}

#[test]
fn query_vm_for_programs() {
    let mut bench = silent();
    let answer: serde_json::Value = serde_json::from_str(&bench.shown("q vm -o json")).unwrap();
    let shown = &answer[0];
    assert_eq!(shown["name"], "vmraix1");
    assert_eq!(shown["last_response"]["ago_ms"], 50_000);
    assert_eq!(shown["detection"]["vmfdt_ms"]["value"], 190_000);
    assert_eq!(shown["detection"]["vmfdt_ms"]["origin"], "system");
    assert_eq!(shown["state_changed_at"], "2026-11-21T07:00:00Z");
    assert_eq!(shown["paths"].as_array().unwrap().len(), 2);
}

#[test]
fn query_app_of_a_red_application() {
    let mut bench = Bench::with_vm();
    bench.write(left(), HostMonitorWrite::Doorbell { vm: vm(), bits: 0x20 });
    bench.poll();
    bench.report(&report("FAILURE", "RED"));
    bench.poll();
    let short = "Name:                app1\n\
                 Status:              RED\n\
                 AppID:               1567267349133928000\n\
                 VM:                  vmraix1\n\
                 Critical:            yes\n\
                 MaxRestart:          3\n\
                 Monitoring:          1\n";
    assert_eq!(bench.shown("query app"), short);
    assert_eq!(
        bench.shown("query app app1 -v"),
        format!(
            "{short}VM_UUID:             61BE20F0-09A8-4753-B5E5-564F8A545ED5\n\
             State:               FAILURE\n\
             Restarted:           1\n\
             Last_result:         ABNORM\n\
             Version:             12.4\n\
             Reported:            2026-11-21 08:00:00 UTC\n\
             Last_change:         42 seconds before the report\n"
        )
    );
    let answer: serde_json::Value = serde_json::from_str(&bench.shown("q app -o json")).unwrap();
    assert_eq!((&answer[0]["colour"], &answer[0]["status"]), (&"RED".into(), &"FAILURE".into()));
}

#[test]
fn query_host_vios_and_system() {
    let mut bench = silent();
    bench.alive = vec![left()];
    bench.advance(90);
    assert_eq!(
        bench.shown("query host"),
        "Name:                8408-E8E-212424W\n\
         Machine_type:        8408\n\
         Model:               E8E\n\
         Serial:              212424W\n\
         VIOS:                trunk1\n\
         \x20                    trunk0\n\
         VIOS_responsive:     1 of 2\n\
         VMs:                 1\n"
    );
    assert_eq!(
        bench.shown("query vios trunk1 -v"),
        "Name:                trunk1\n\
         UUID:                315CE56B-9BA0-46A1-B4BC-DA6108574E7E\n\
         Host:                8408-E8E-212424W\n\
         State:               UP\n\
         HM_versions:         2.0-2.1\n\
         HM_responsive:       No\n\
         HM_mode:             GLOBAL\n\
         Trunk_heard:         Yes\n\
         Last_response:       90 seconds\n\
         Reason:              0x00000000\n\
         Has_data:            No\n\
         MAC:                 02:00:00:00:00:01\n"
    );
    assert_eq!(
        bench.shown("query system"),
        "Time:                2026-11-21 08:02:00 UTC\n\
         Host_failure_detection_time:   90 seconds\n\
         VM_failure_detection_speed:    normal\n\
         Controllers:         ctl1 (PID 4711): heard of 90 seconds ago, NOT RUNNING\n\
         Hosts:               1\n\
         Host_monitors:       2 (1 responsive)\n\
         VMs:                 1\n\
         VM_states:           STARTED 1\n\
         Applications:        0\n\
         Application_status:  none\n"
    );
}

#[test]
fn query_event_shows_the_newest_last() {
    let mut bench = silent();
    bench.advance(150);
    bench.poll();
    assert_eq!(
        bench.shown("query event vm_failure_detected"),
        "Event:               VM_FAILURE_DETECTED\n\
         Severity:            Critical\n\
         Time:                2026-11-21 08:03:00 UTC\n\
         Resource:            VM : vmraix1 UUID 61BE20F0-09A8-4753-B5E5-564F8A545ED5\n\
         Description:         0000-187 VM: vmraix1 failure detected. Silent on all its paths for 200 seconds, \
         VMFDT 190.\n"
    );
    let newest: serde_json::Value = serde_json::from_str(&bench.shown("q event count=1 -o json")).unwrap();
    assert_eq!(newest.as_array().unwrap().len(), 1);
    assert_eq!(newest[0]["event"], "VM_FAILURE_DETECTED");
    assert_eq!(newest[0]["time"], "2026-11-21T08:03:00Z");
    assert!(bench.shown("q event since=3min -o json").contains("VM_FAILURE_DETECTED"));
    assert_eq!(bench.shown("q event since=2026-11-21T08:03:01Z -o json"), "[]\n");
    for wrong in ["count=0", "count=100001", "number=1", "since=yesterday", "source=vm", "vios=trunk0"] {
        assert_eq!(refused(&mut bench, &format!("q event {wrong}")).0, Exit::Usage, "{wrong}");
    }
}

#[test]
fn an_empty_answer_is_remarked_upon() {
    let mut bench = Bench::new();
    let answer = bench.hamgr("query vm").unwrap();
    assert_eq!((answer.data.as_str(), answer.note.as_deref()), ("", Some("No VM is registered.")));
    let answer = bench.hamgr("query vm -o json").unwrap();
    assert_eq!(answer.data, "[]\n");
}

#[test]
fn modify_system() {
    let mut bench = silent();
    let said = bench.shown("mod sys host_failure_detection_time=120 vm_failure_detection_speed=Slow");
    assert_eq!(said, "System: host_failure_detection_time=120, vm_failure_detection_speed=Slow changed.\n");
    bench.poll();
    assert!(bench.phase().ends_with("VMFDT 270"), "{}", bench.phase());
    for wrong in ["89", "601", "-1", "ninety", ""] {
        let (exit, text) = refused(&mut bench, &format!("mod sys host_failure_detection_time={wrong}"));
        assert_eq!(exit, Exit::Usage);
        assert!(text.ends_with("it must be 90 to 600 seconds, or none"), "{text}");
    }
    bench.shown("mod sys host_failure_detection_time=none vm_failure_detection_speed=none");
    assert_eq!(bench.monitors.system_settings().unwrap(), SystemSettings::default());
}

#[test]
fn modify_vm_by_name_and_uuid_and_back() {
    let mut bench = Bench::with_vm();
    bench.add(OTHER, "vm2");
    let line = format!("-t mod vm vmraix1,{} vm_failure_detection_speed=fast", OTHER.to_uppercase());
    assert_eq!(
        bench.shown(&line),
        "2026-11-21 08:00:00 UTC VM vmraix1: vm_failure_detection_speed=fast changed.\n\
         2026-11-21 08:00:00 UTC VM vm2: vm_failure_detection_speed=fast changed.\n\
         2026-11-21 08:00:00 UTC 2 out of 2 VMs have been changed.\n"
    );
    let speeds = |bench: &mut Bench| {
        let vms = bench.monitors.vms().unwrap();
        vms.into_iter().map(|vm| vm.settings.vm_failure_detection_speed).collect::<Vec<_>>()
    };
    assert_eq!(speeds(&mut bench), [Some(DetectionSpeed::Fast); 2]);
    bench.shown("mod vm vm2,vm2 vm_failure_detection_speed=none");
    assert!(speeds(&mut bench).contains(&None));
}

#[test]
fn modify_vm_changes_all_or_none() {
    let mut bench = Bench::with_vm();
    bench.add(OTHER, "vm2");
    bench.shown("mod vm vm2 vm_failure_detection_time=30");
    let before = bench.monitors.vms().unwrap();
    for (line, expected) in [
        ("mod vm vmraix1,nobody heartbeat_interval=1000", "there is no VM \"nobody\""),
        ("mod vm vmraix1,vm2 heartbeat_interval=20000", "vm_failure_detection_time=30 is refused for VM vm2"),
        ("mod vm vmraix1 vm_failure_detection_time=29.9", "vm_failure_detection_time=29.9 is refused"),
    ] {
        let (exit, text) = refused(&mut bench, line);
        assert_eq!(exit, Exit::Failed, "{line}");
        assert!(text.starts_with(expected), "{line}: {text}");
    }
    for (line, expected) in [
        ("mod vm vmraix1 heartbeat_interval=99", "heartbeat_interval=99 is wrong: it must be 100 to"),
        ("mod vm vmraix1 heartbeat_interval=60001", "heartbeat_interval=60001 is wrong"),
        ("mod vm nobody heartbeat_interval=1s", "heartbeat_interval=1s is wrong"),
        (
            "mod vm vmraix1 vm_failure_detection_time=0.2 heartbeat_interval=100",
            "vm_failure_detection_time=0.2 is wrong",
        ),
        ("mod vm vmraix1 vm_failure_detection_time=3601", "vm_failure_detection_time=3601 is wrong"),
        ("mod vm vmraix1 vm_failure_detection_speed=faster", "vm_failure_detection_speed=faster is wrong"),
    ] {
        let (exit, text) = refused(&mut bench, line);
        assert_eq!(exit, Exit::Usage, "{line}");
        assert!(text.starts_with(expected), "{line}: {text}");
    }
    assert_eq!(bench.monitors.vms().unwrap(), before);
    for line in
        ["mod vm vmraix1", "mod vm heartbeat_interval=1000", "mod vm vmraix1 priority=high", "mod sys a x=1"]
    {
        assert_eq!(refused(&mut bench, line).0, Exit::Usage, "{line}");
    }
}

#[test]
fn a_name_of_several_vms_is_refused() {
    let mut bench = Bench::with_vm();
    bench.add(OTHER, "vmraix1");
    let (exit, text) = refused(&mut bench, "mod vm vmraix1 heartbeat_interval=1000");
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains(&OTHER.to_uppercase()) && text.contains("61BE20F0"), "{text}");
    bench.shown(&format!("mod vm {OTHER} heartbeat_interval=1000"));
    assert_eq!(bench.shown("q vm vmraix1").matches("Name:").count(), 2, "a query shows both");
}

#[test]
fn what_is_not_there_yet_says_so() {
    let mut bench = Bench::new();
    for line in ["recover vm a", "lpm", "query host_group", "modify host_group a b=c", "query system status"]
    {
        let (exit, text) = refused(&mut bench, line);
        assert_eq!(exit, Exit::Failed);
        assert!(text.ends_with("is not available yet in this version"), "{text}");
    }
}

#[test]
fn an_event_that_does_not_exist_is_no_event_that_did_not_happen() {
    let mut bench = Bench::new();
    let (exit, text) = refused(&mut bench, "query event VM_FAIL");
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains("VM_FAIL"), "{text}");
    assert!(!bench.shown("query event VM_FAILURE_DETECTED").contains("Event:"));
}

#[test]
fn query_vm_of_one_that_announced_its_silence() {
    let mut bench = silent();
    let (asked, reason) = (Duration::from_secs(60), "backup".to_owned());
    bench.write(left(), HostMonitorWrite::QuietAsked { vm: vm(), asked, age: Duration::ZERO, reason });
    bench.advance(10);
    bench.poll();
    assert_eq!(
        bench.shown("query vm vmraix1"),
        "Name:                vmraix1\n\
         UUID:                61BE20F0-09A8-4753-B5E5-564F8A545ED5\n\
         Host:                8408-E8E-212424W\n\
         VM_failure_detection_speed:    normal\n\
         Heartbeating_with:   none\n\
         VM_status:           NO_OPERATION_IN_PROGRESS\n\
         Version_conflict:    No\n\
         Last_response:       announced silence\n\
         Restart_phase:       announced silence until 2026-11-21 08:01:30 UTC: backup\n\
         HA_monitor_state:    STARTED\n"
    );
    let verbose = bench.shown("-v query vm vmraix1");
    assert!(verbose.contains("trunk0 with 52:54:00:00:00:01: announced silence, version 2.1\n"), "{verbose}");
    let answer: serde_json::Value = serde_json::from_str(&bench.shown("q vm -o json")).unwrap();
    assert_eq!(answer[0]["announced_silence"]["until"], "2026-11-21T08:01:30Z");
    assert_eq!(answer[0]["announced_silence"]["reason"], "backup");
    assert_eq!(answer[0]["last_response"]["known"], "announced");
    bench.write(right(), HostMonitorWrite::QuietEnded { vm: vm(), age: Duration::ZERO });
    assert!(bench.shown("query vm vmraix1").contains("Last_response:       60 seconds\n"));
}

#[test]
fn query_event_of_the_host_monitors() {
    let mut bench = Bench::with_vm();
    let event = |kind: &str, text: &str| HostMonitorWrite::NodeEvent { kind: kind.into(), text: text.into() };
    bench.write(left(), event("FORGERY", "packets are forged\u{1b}[2J"));
    bench.advance(60);
    bench.write(right(), event("BLIND", "the monitor cannot hear its trunk reliably"));
    let conflict = HostMonitorWrite::Conflict {
        uuid: OTHER.into(),
        mac: "52:54:00:00:00:09".into(),
        kind: ConflictKind::Uuid,
        text: "52:54:00:00:00:09 claims the UUID of another".into(),
    };
    bench.advance(60);
    bench.write(right(), conflict);
    let forgery = "Event:               FORGERY\n\
                   Time:                2026-11-21 08:00:00 UTC\n\
                   Host_monitor:        trunk0\n\
                   Host:                8408-E8E-212424W\n\
                   Description:         packets are forged?[2J\n";
    assert_eq!(bench.shown("query event forgery source=vios"), forgery);
    let all: serde_json::Value = serde_json::from_str(&bench.shown("q event source=vios -o json")).unwrap();
    let kinds: Vec<_> = all.as_array().unwrap().iter().map(|event| event["event"].clone()).collect();
    assert_eq!(kinds, ["FORGERY", "BLIND", "UUID_CONFLICT"]);
    assert_eq!(
        (&all[1]["host_monitor"], &all[1]["time"]),
        (&"trunk1".into(), &"2026-11-21T08:01:00Z".into())
    );
    let shown = |bench: &mut Bench, filter: &str| {
        bench.shown(&format!("q event source=vios {filter}")).matches("Event: ").count()
    };
    for (filter, expected) in [
        ("", 3),
        ("since=1m", 2),
        ("since=2026-11-21T08:01:30", 1),
        ("count=1", 1),
        ("vios=trunk0", 1),
        ("vios=trunk0,315CE56B-9BA0-46A1-B4BC-DA6108574E7E", 3),
        ("BLIND,UUID_CONFLICT", 2),
        ("VERSION_CONFLICT", 0),
    ] {
        assert_eq!(shown(&mut bench, filter), expected, "{filter}");
    }
    assert_eq!(refused(&mut bench, "q event source=vios FORGERIES").0, Exit::Failed);
    assert_eq!(refused(&mut bench, "q event source=vios vios=trunk7").0, Exit::Failed);
    assert_eq!(refused(&mut bench, "q event source=vios count=10001").0, Exit::Usage);
    let (exit, text) = refused(&mut bench, "q event FORGERY");
    assert_eq!(exit, Exit::Failed, "the controller tells no such event");
    assert!(text.contains("`hamgr query event source=vios`"), "{text}");
}

#[test]
fn query_vios_says_whether_the_trunk_is_heard() {
    let mut bench = Bench::with_vm();
    bench.write(left(), HostMonitorWrite::TrunkHeard { heard: false });
    let text = bench.shown("query vios trunk0");
    assert!(text.contains("Trunk_heard:         No: its paths are unknown\n"), "{text}");
    let answer: serde_json::Value =
        serde_json::from_str(&bench.shown("q vios trunk0,trunk1 -o json")).unwrap();
    let heard = |name: &str| {
        let mut all = answer.as_array().unwrap().iter();
        all.find(|monitor| monitor["name"] == name).unwrap()["trunk_heard"].clone()
    };
    assert_eq!((heard("trunk0"), heard("trunk1")), (false.into(), true.into()));
}

#[test]
fn settings_that_cannot_be_read_have_their_own_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("controller.toml");
    std::fs::write(&settings, "no_such_key = 1").unwrap();
    let arguments = ["--settings".into(), settings.into_os_string(), "query".into(), "vm".into()];
    let error = vmpulse_controller::cli::run("hamgr", arguments.to_vec()).unwrap_err();
    assert_eq!(error.exit(), Exit::Config);
    let store = format!("sqlite://{}/none.db", folder.path().display());
    let arguments = ["--store".into(), store.into(), "query".into(), "vm".into()];
    let error = vmpulse_controller::cli::run("hamgr", arguments.to_vec()).unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
}
