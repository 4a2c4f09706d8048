//! File systems that are frozen, by a `fsfreeze` that keeps in a file what the kernel would keep, and answers in the language that
//! it is asked in.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use super::{GROUP, Machine, said};

/// On another file system than `/` and the state files; nothing is done to it.
const MOUNT: &str = "/proc";

impl Machine {
    fn with_file_system() -> Machine {
        let machine = Machine::marked(&[&format!("mount:{MOUNT}")]);
        let state = machine.path("frozen").display().to_string();
        let script = format!(
            r#"#!/bin/sh
say() {{ if [ "$LC_ALL" = C ]; then echo "fsfreeze: $1" >&2; else echo "fsfreeze: $2" >&2; fi; exit 1; }}
case $1 in
--freeze) [ ! -e {state} ] || say "{MOUNT}: freeze failed: Device or resource busy" "besetzt"; touch {state} ;;
--unfreeze) [ -e {state} ] || say "{MOUNT}: unfreeze failed: Invalid argument" "unpassend"; rm {state} ;;
esac
"#
        );
        machine.write("bin/fsfreeze", &script);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(machine.path("bin/fsfreeze"), mode).unwrap();
        machine
    }

    fn frozen(&self) -> PathBuf {
        self.path("frozen")
    }

    fn storage(&self, words: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let mut command = self.command(&["storage"]);
        command.args(words).env("PATH", path).env("LC_ALL", "de_DE.UTF-8").output().unwrap()
    }

    fn freeze(&self) -> Output {
        self.storage(&["on", "--group", GROUP, "--how", "freeze", "--mount", MOUNT])
    }
}

#[test]
fn a_file_system_is_thawed_whatever_language_is_spoken_here() {
    let machine = Machine::with_file_system();
    let on = machine.freeze();
    assert!(on.status.success() && machine.frozen().exists(), "{}", said(&on));
    let off = machine.storage(&["off"]);
    assert!(off.status.success() && !machine.frozen().exists(), "{}", said(&off));
    assert!(!machine.state_file("storage").exists());
}

#[test]
fn what_was_thawed_by_hand_is_off() {
    let machine = Machine::with_file_system();
    assert!(machine.freeze().status.success());
    std::fs::remove_file(machine.frozen()).unwrap();
    let off = machine.storage(&["off"]);
    assert!(off.status.success() && !machine.frozen().exists(), "{}", said(&off));
}

#[test]
fn what_somebody_else_has_frozen_is_left_to_him() {
    let machine = Machine::with_file_system();
    machine.write("frozen", "");
    let on = machine.freeze();
    assert_eq!(on.status.code(), Some(77), "{}", said(&on));
    assert!(machine.storage(&["off"]).status.success());
    assert!(machine.frozen().exists());
}

#[test]
fn the_events_of_a_disk_are_those_of_whose_it_is() {
    let machine = Machine::with_file_system();
    let hamgr = machine.hamgr();
    let run = |words: &[&str], code: i32| {
        let output = machine.storage(&[words, &["--expect", "--hamgr", &hamgr]].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        said(&output)
    };
    let on = ["on", "--group", GROUP, "--how", "freeze", "--mount", MOUNT];
    assert!(run(&on, 2).contains("--whose"));
    assert!(run(&[&on[..], &["--whose", "guest"]].concat(), 2).contains("--expect-watch"));
    assert!(!machine.frozen().exists() && !machine.state_file("storage").exists(), "nothing was touched");
    run(&[&on[..], &["--whose", "store"]].concat(), 0);
    assert!(machine.frozen().exists());
    let event = |name: &str| format!(r#"{{"event": "{name}", "severity": "Critical", "resource": "any"}}"#);
    let events = ["VIOS_MODE_LOCAL", "VIOS_MODE_GLOBAL", "STORE_UNREACHABLE"].map(event);
    machine.write("events", &format!("[{}]", events.join(",")));
    let told = run(&["off"], 0);
    assert!(told.contains("STORE_UNREACHABLE: came after") && told.contains("as expected"), "{told}");
}

#[test]
fn what_was_made_without_a_word_on_whose_it_is_is_not_undone_and_called_checked() {
    let machine = Machine::with_file_system();
    assert!(machine.freeze().status.success());
    let off = machine.storage(&["off", "--expect", "--hamgr", &machine.hamgr()]);
    assert_eq!(off.status.code(), Some(2), "{}", said(&off));
    assert!(machine.frozen().exists());
    assert!(machine.storage(&["off"]).status.success());
}
