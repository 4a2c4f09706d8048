//! `hmmgr transaction` as a process.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};

use vmpulse_store::{HostKey, HostMonitorRegistration, HostMonitorWrite, HostRegistration, VmRegistration};

const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
const MONITOR: &str = "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83";

fn hmmgr(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hmmgr"));
    let store = format!("sqlite://{}/health.db", folder.display());
    std::fs::write(folder.join("hostmon.toml"), "").unwrap();
    command.env_remove("VMPULSE_LOG").env("TZ", "UTC");
    command.env("VMPULSE_HOSTMON_SETTINGS", folder.join("hostmon.toml"));
    command.args(["--store", &store, "transaction"]).args(arguments).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn what_became_of_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = said(&hmmgr(folder.path(), &[]));
    assert!(code == Some(1) && text.contains("there is no health store"), "{text}");
    let url = format!("sqlite://{}/health.db", folder.path().display());
    let mut store = vmpulse_store::open(&url).unwrap();
    let key = HostKey { machine_type: "8286".into(), model: "42A".into(), serial: "1".into() };
    let host_monitors =
        vec![HostMonitorRegistration { id: MONITOR.parse().unwrap(), part_number: 0, mac: None }];
    store.hosts_add(&[HostRegistration { key: key.clone(), host_monitors }]).unwrap();
    store.vms_add(&key, &[VmRegistration { uuid: VM.parse().unwrap(), name: None }]).unwrap();
    let (code, text) = said(&hmmgr(folder.path(), &[]));
    assert!(code == Some(0) && text.contains("there is no such transaction"), "{text}");
    let tags = store.vms_start(&[VM.parse().unwrap()]).unwrap();
    let (code, text) = said(&hmmgr(folder.path(), &["--open", "--vm", VM]));
    let line = text.lines().nth(1).unwrap_or_default();
    assert!(code == Some(0) && line.contains("START_VM   ASKED") && line.contains(MONITOR), "{text}");
    store
        .host_monitor_apply(MONITOR.parse().unwrap(), &[HostMonitorWrite::RequestDone { tag: tags[0] }])
        .unwrap();
    let (code, text) = said(&hmmgr(folder.path(), &["-o", "json", &tags[0].to_string()]));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let one = &json["transactions"][0];
    assert_eq!(
        (code, one["state"].as_str(), one["vm"].as_str()),
        (Some(0), Some("DONE"), Some(VM)),
        "{text}"
    );
    assert!(one["asked"].as_str().unwrap().ends_with('Z') && one["settled"].is_string(), "{text}");
    let (code, text) = said(&hmmgr(folder.path(), &["99"]));
    assert!(code == Some(1) && text.contains("there is no transaction 99"), "{text}");
    assert_eq!(said(&hmmgr(folder.path(), &["--vm", "x"])).0, Some(2));
}
