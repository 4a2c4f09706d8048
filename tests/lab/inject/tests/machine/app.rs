//! Applications, with a command that answers as vmmgr does.

use std::os::unix::fs::PermissionsExt;

use super::{GROUP, Machine};

impl Machine {
    /// A `vmmgr` that keeps the monitor script of its only application in a file. What it cannot do it fails at.
    fn vmmgr(&self, script: &str, kind: &str) -> String {
        let (file, kept, log) = (self.path("bin/vmmgr"), self.path("kept"), self.path("log"));
        self.write("kept", script);
        let (kept, log) = (kept.display(), log.display());
        self.write(
            "bin/vmmgr",
            &format!(
                r#"#!/bin/sh
echo "$*" >> {log}
case "$*" in
"-o json query app shop") printf '{{"applications": [{{"monitored": "1", "type": "{kind}", "monitor_script": "%s", "max_restart": 2}}]}}' "$(cat {kept})" ;;
"-s modify app shop monitor_script="*) printf %s "${{5#monitor_script=}}" > {kept} ;;
"resume app shop") ;;
*) exit 2 ;;
esac
"#
            ),
        );
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file.display().to_string()
    }

    fn kept(&self) -> String {
        std::fs::read_to_string(self.path("kept")).unwrap()
    }
}

#[test]
fn an_application_fails_by_a_script_in_the_place_of_its_own() {
    let machine = Machine::marked(&[]);
    let vmmgr = machine.vmmgr("/opt/shop/check --quick now", "");
    let words = ["--app", "shop", "--vmmgr", &vmmgr];
    assert_eq!(machine.on("app", &words), "made");
    assert_eq!(machine.kept(), "/bin/false");
    assert_eq!(machine.on("app", &words), "already-on");
    assert_eq!(machine.off("app"), "undone");
    assert_eq!(machine.kept(), "/opt/shop/check --quick now");
    assert_eq!(machine.off("app"), "already-off");
}

#[test]
fn an_application_with_the_kits_script_fails_while_its_marker_is_there() {
    let machine = Machine::marked(&[]);
    let vmmgr = machine.vmmgr("/usr/libexec/vmpulse-inject-app shop", "");
    let marker = machine.path("run/vmpulse-inject-app/fail-shop");
    assert_eq!(machine.on("app", &["--app", "shop", "--vmmgr", &vmmgr]), "made");
    assert!(marker.exists());
    assert_eq!(machine.off("app"), "undone");
    assert!(!marker.exists());
    let log = std::fs::read_to_string(machine.path("log")).unwrap();
    assert!(log.contains("resume app shop") && !log.contains("modify"), "{log}");
}

#[test]
fn an_application_with_a_type_is_judged_by_another() {
    let machine = Machine::marked(&[]);
    let vmmgr = machine.vmmgr("", "POSTGRESQL");
    machine.fails(&["app", "on", "--group", GROUP, "--app", "shop", "--vmmgr", &vmmgr], 69);
    assert!(!machine.state_file("app").exists());
}
