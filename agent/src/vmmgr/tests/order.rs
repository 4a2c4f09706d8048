//! `start`, `stop`, `suspend`, `resume`: the daemon through a systemctl of the test's own, and applications.

use super::*;
use std::cell::Cell;

/// A systemd that answers so; what it was asked is in the file `asked`.
fn with_systemd(body: &str) -> Guest {
    let guest = Guest::new();
    fs::create_dir(guest.path("systemd")).unwrap();
    let script = format!("#!/bin/sh\necho \"$@\" >> {0}asked\n{body}\n", guest.path(""));
    fs::write(guest.path("systemctl"), script).unwrap();
    fs::set_permissions(guest.path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    guest
}

fn asked(guest: &Guest) -> String {
    fs::read_to_string(guest.path("asked")).unwrap_or_default()
}

/// Runs once `path` is there, or until it is gone.
fn running_while(path: String, is_there: bool) -> Rc<dyn Fn(Request) -> Reply> {
    Rc::new(move |_| {
        let runs = fs::exists(&path).unwrap() == is_there;
        if runs { Reply::Status(running()) } else { Reply::NotAllowed }
    })
}

#[test]
fn systemd_starts_the_daemon_and_it_is_waited_for() {
    let mut guest = with_systemd("exit 0");
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    // It answers at the third look: the first is before systemd is asked.
    guest.daemon.late = Some(Rc::new(move || {
        counted.set(counted.get() + 1);
        counted.get() > 2
    }));
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(running())));
    let (exit, _, said) = guest.run("start vmm");
    assert_eq!((exit, said.as_str()), (Exit::Done, "VMMGR-100(INFO): vmpulse-agentd is started.\n"));
    assert_eq!(asked(&guest), "--no-ask-password start vmpulse-agentd.service\n");
    assert_eq!(calls.get(), 3);
    let (exit, _, said) = guest.run("on");
    assert_eq!((exit, said.as_str()), (Exit::Done, "VMMGR-100(INFO): vmpulse-agentd is running already, as process 77.\n"));
}

#[test]
fn what_systemd_refuses_is_passed_on() {
    let guest = with_systemd("echo 'Failed to start vmpulse-agentd.service: Unit not found.' >&2; exit 5");
    let said = guest.refused("start", Exit::Failed, "VMMGR-036(ERROR): `systemctl start vmpulse-agentd.service` failed");
    assert!(said.contains("exit status: 5") && said.contains("Unit not found. `journalctl -u"), "{said}");
    guest.refused("stop vmm", Exit::Failed, "VMMGR-036(ERROR): `systemctl stop vmpulse-agentd.service` failed");
    fs::remove_file(guest.path("systemctl")).unwrap();
    guest.refused("start vmm", Exit::Failed, "VMMGR-036(ERROR): cannot run systemctl");
}

#[test]
fn systemd_stops_the_daemon_unless_it_is_not_its_own() {
    let mut guest = with_systemd("exit 0");
    let (exit, _, said) = guest.run("stop vmm");
    assert_eq!((exit, said.as_str()), (Exit::Done, "VMMGR-100(INFO): vmpulse-agentd is stopped.\n"));
    assert_eq!(asked(&guest), "--no-ask-password stop vmpulse-agentd.service\n");
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(running())));
    let said = guest.refused("off vmm", Exit::Failed, "VMMGR-030");
    assert!(said.contains("goes on as process 77; `kill 77` stops it"), "{said}");
}

#[test]
fn without_systemd_it_is_said_what_to_do() {
    let mut guest = Guest::new();
    let said = guest.refused("start vmm", Exit::Failed, "VMMGR-035(ERROR): no systemd runs this system");
    assert!(said.contains("start vmpulse-agentd with whatever starts services here"), "{said}");
    assert_eq!(guest.run("stop vmm").2, "VMMGR-100(INFO): vmpulse-agentd is not running.\n");
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(running())));
    let said = guest.refused("stop vmm", Exit::Failed, "VMMGR-035");
    assert!(said.contains("`kill 77` stops it"), "{said}");
    assert_eq!(guest.run("start vmm").0, Exit::Done);
}

#[test]
fn suspended_and_resumed_is_in_the_file_and_in_the_daemon_at_once() {
    let mut guest = Guest::new();
    guest.add("app1");
    let (exit, _, said) = guest.run("suspend app app1");
    assert_eq!(
        (exit, said.as_str()),
        (
            Exit::Done,
            "VMMGR-100(INFO): Application \"app1\" suspended.\n\
             VMMGR-101(INFO): vmpulse-agentd is not running; it finds this in the file when it starts.\n"
        )
    );
    assert!(guest.file().contains("monitored=\"0\""));
    guest.daemon.answers = Some(Rc::new(|_| Reply::Synced { applications: 1 }));
    let (exit, _, said) = guest.run("monitor app app1");
    assert_eq!((exit, said.as_str()), (Exit::Done, "VMMGR-100(INFO): Application \"app1\" resumed.\n"));
    assert!(guest.file().contains("monitored=\"1\""));
    fs::remove_file(guest.path("mon")).unwrap();
    guest.refused("resume app app1", Exit::Failed, "VMMGR-014(ERROR): monitor_script");
}
