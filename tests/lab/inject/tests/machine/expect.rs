//! `--expect`, with a command that answers as hamgr does: events are in files that the test writes.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{GROUP, Machine, said};

const SYSTEM: &str = r#"[{"time": "2026-11-21T10:00:00Z", "settings": {"host_failure_detection_time_s": 1},
    "controllers": [{"poll_interval_ms": 100}]}]"#;
const VMS: &str = r#"[{"name": "vm1", "uuid": "7E57", "detection": {"heartbeat_interval_ms": {"value": 100}, "vmfdt_ms": {"value": 300}}}]"#;

impl Machine {
    /// A `hamgr` whose answers are files.
    pub(super) fn hamgr(&self) -> String {
        let files = [("system", SYSTEM), ("vm", VMS), ("events", "[]"), ("remarks", "[]")];
        for (name, text) in files {
            self.write(name, text);
        }
        let at = |name: &str| self.path(name).display().to_string();
        let script = format!(
            "#!/bin/sh\n[ ! -e {} ] || exit 1\ncase \"$*\" in\n\"-o json query system\") cat {} ;;\n\"-o json query vm\") cat {} ;;\n\
             \"-o json query event source=vios since=\"*) cat {} ;;\n\"-o json query event since=\"*) cat {} ;;\n*) exit 2 ;;\nesac\n",
            at("away"),
            at("system"),
            at("vm"),
            at("remarks"),
            at("events")
        );
        self.write("bin/hamgr", &script);
        std::fs::set_permissions(self.path("bin/hamgr"), std::fs::Permissions::from_mode(0o755)).unwrap();
        at("bin/hamgr")
    }

    fn expecting(&self, words: &[&str], code: i32) -> Value {
        let output = self.run(&[&["-o", "json"], words].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn remark(event: &str, about: &str) -> String {
    format!(
        r#"[{{"event": "{event}", "host_monitor": "trunkA", "uuid": "A", "description": "the agent of VM {about} hangs"}}]"#
    )
}

#[test]
fn the_events_of_on_and_off_are_waited_for() {
    let mut machine = Machine::marked(&[]);
    machine.daemon("vmpulse-agentd", "agent.lock");
    let hamgr = machine.hamgr();
    machine.write("remarks", &remark("AGENT_FAILURE", "7E57"));
    let on = ["agent-hang", "on", "--group", GROUP, "--expect", "--hamgr", &hamgr, "--expect-vm", "7e57"];
    let answer = machine.expecting(&on, 0);
    assert_eq!(
        (answer["done"].as_str(), answer["expectation"]["judged"].as_str()),
        (Some("made"), Some("met"))
    );
    assert_eq!(answer["expectation"]["expected"][0]["event"], "AGENT_FAILURE");
    // Once more: nothing was made now, so there is nothing to judge.
    assert_eq!(machine.expecting(&on, 75)["expectation"]["judged"], "not");
    machine.write("remarks", &remark("AGENT_BACK", "7E57"));
    let answer =
        machine.expecting(&["agent-hang", "off", "--expect", "--hamgr", &hamgr, "--expect-vm", "7e57"], 0);
    assert_eq!(
        (answer["done"].as_str(), answer["expectation"]["judged"].as_str()),
        (Some("undone"), Some("met"))
    );
}

#[test]
fn the_stores_time_is_on_disk_before_anything_is_made() {
    let mut machine = Machine::marked(&[]);
    machine.daemon("vmpulse-agentd", "agent.lock");
    let hamgr = machine.hamgr();
    let on = ["agent-hang", "on", "--group", GROUP, "--expect", "--hamgr", &hamgr, "--expect-vm", "7e57"];
    // Killed from there on it would not know since when events count, where the store goes away with the failure.
    let died = machine.command(&on).env("VMPULSE_INJECT_DIE_BEFORE", "agent-hang").output().unwrap();
    assert!(!died.status.success());
    let saved: Value =
        serde_json::from_slice(&std::fs::read(machine.state_file("agent-hang")).unwrap()).unwrap();
    assert_eq!(saved["told_at"], "2026-11-21T10:00:00Z");
    assert_eq!(machine.off("agent-hang"), "undone");
}

#[test]
fn an_event_that_must_not_come_fails_it_and_the_failure_stays_made() {
    let mut machine = Machine::marked(&[]);
    machine.daemon("vmpulse-agentd", "agent.lock");
    let hamgr = machine.hamgr();
    machine.write("remarks", &remark("AGENT_FAILURE", "7E57"));
    machine.write(
        "events",
        r#"[{"event": "VM_FAILURE_DETECTED", "severity": "Critical", "resource": "VM : vm9 UUID 7E59", "description": "silent"}]"#,
    );
    let on = ["agent-hang", "on", "--group", GROUP, "--expect", "--hamgr", &hamgr, "--expect-vm", "7e57"];
    let answer = machine.expecting(&on, 1);
    assert_eq!(answer["expectation"]["unexpected"][0]["event"], "VM_FAILURE_DETECTED");
    assert_eq!(machine.status("agent-hang"), "on");
}

#[test]
fn an_event_that_does_not_come_fails_it() {
    let mut machine = Machine::marked(&[]);
    machine.daemon("vmpulse-hostmond", "hostmon-trunkA.lock");
    let hamgr = machine.hamgr();
    // Another's failure is not this one's. The bound is one second, and what the polls take.
    machine.write(
        "events",
        r#"[{"event": "VIOS_FAILURE", "severity": "Warning", "resource": "VIOS : trunkB UUID B"}]"#,
    );
    let answer = machine.expecting(&["hm-kill", "on", "--group", GROUP, "--expect", "--hamgr", &hamgr], 1);
    let wanted = &answer["expectation"]["expected"][0];
    assert_eq!((wanted["about"].as_str(), wanted["came_after_s"].is_null()), (Some("trunkA"), true));
}

#[test]
fn without_a_store_it_is_done_and_not_judged() {
    let mut machine = Machine::marked(&[]);
    machine.daemon("vmpulse-agentd", "agent.lock");
    let hamgr = machine.hamgr();
    machine.write("away", "");
    let answer =
        machine.expecting(&["agent-hang", "on", "--group", GROUP, "--expect", "--hamgr", &hamgr], 75);
    assert_eq!(
        (answer["done"].as_str(), answer["expectation"]["judged"].as_str()),
        (Some("made"), Some("not"))
    );
}

#[test]
fn what_is_made_elsewhere_is_watched_for() {
    let machine = Machine::unmarked();
    let hamgr = machine.hamgr();
    machine.write(
        "events",
        r#"[{"event": "VM_FAILURE_DETECTED", "severity": "Critical", "resource": "VM : vm1 UUID 7E57"}]"#,
    );
    let answer = machine.expecting(&["watch", "vm-freeze", "on", "--hamgr", &hamgr, "--expect-vm", "vm1"], 0);
    assert_eq!(answer["expectation"]["judged"], "met");
}

#[test]
fn who_watches_for_nothing_is_told() {
    let machine = Machine::unmarked();
    let hamgr = machine.hamgr();
    let refused = |words: &[&str], text: &str| {
        let said = machine.fails(&[&["watch"], words, &["--hamgr", &hamgr]].concat(), 2);
        assert!(said.contains(text), "{words:?}: {said}");
    };
    refused(&["path-loss", "on"], "--expect-watch");
    refused(&["storage", "on"], "--whose");
    refused(&["endpoint", "off", "--whose", "other"], "--expect-watch");
    refused(&["vm-freeze", "on", "--whose", "store"], "no --whose");
    machine.write(
        "events",
        r#"[{"event": "STORE_UNREACHABLE", "severity": "Critical", "resource": "SYSTEM", "description": "back"}]"#,
    );
    let whose = ["watch", "endpoint", "off", "--whose", "store-of-controller", "--hamgr", &hamgr];
    assert_eq!(machine.expecting(&whose, 0)["expectation"]["judged"], "met");
}
