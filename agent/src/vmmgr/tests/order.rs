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
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(Box::new(running()))));
    let (exit, _, said) = guest.run("start vmm");
    assert_eq!((exit, said.as_str()), (Exit::Done, "VMMGR-100(INFO): vmpulse-agentd is started.\n"));
    assert_eq!(asked(&guest), "--no-ask-password start vmpulse-agentd.service\n");
    assert_eq!(calls.get(), 3);
    let (exit, _, said) = guest.run("on");
    assert_eq!(
        (exit, said.as_str()),
        (Exit::Done, "VMMGR-100(INFO): vmpulse-agentd is running already, as process 77.\n")
    );
}

#[test]
fn what_systemd_refuses_is_passed_on() {
    let guest = with_systemd("echo 'Failed to start vmpulse-agentd.service: Unit not found.' >&2; exit 5");
    let said = guest.refused(
        "start",
        Exit::Failed,
        "VMMGR-036(ERROR): `systemctl start vmpulse-agentd.service` failed",
    );
    assert!(said.contains("exit status: 5") && said.contains("Unit not found. `journalctl -u"), "{said}");
    guest.refused(
        "stop vmm",
        Exit::Failed,
        "VMMGR-036(ERROR): `systemctl stop vmpulse-agentd.service` failed",
    );
    fs::remove_file(guest.path("systemctl")).unwrap();
    guest.refused("start vmm", Exit::Failed, "VMMGR-036(ERROR): cannot run systemctl");
}

#[test]
fn a_daemon_that_ends_at_once_was_not_started() {
    // systemd has started it, and says that it has failed.
    let guest = with_systemd("exit 0");
    guest.refused(
        "start vmm",
        Exit::Failed,
        "VMMGR-036(ERROR): systemd has started vmpulse-agentd.service, but",
    );
    assert!(asked(&guest).ends_with("is-failed --quiet vmpulse-agentd.service\n"), "{}", asked(&guest));
}

#[test]
fn systemd_stops_the_daemon_unless_it_is_not_its_own() {
    let mut guest = with_systemd("exit 0");
    let (exit, _, said) = guest.run("stop vmm");
    assert_eq!((exit, said.as_str()), (Exit::Done, "VMMGR-100(INFO): vmpulse-agentd is stopped.\n"));
    assert_eq!(asked(&guest), "--no-ask-password stop vmpulse-agentd.service\n");
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(Box::new(running()))));
    let said = guest.refused("off vmm", Exit::Failed, "VMMGR-036");
    assert!(said.contains("process 77, which it had not started, goes on; `kill 77` stops it"), "{said}");
}

#[test]
fn without_systemd_it_is_said_what_to_do() {
    let mut guest = Guest::new();
    let said = guest.refused("start vmm", Exit::Failed, "VMMGR-035(ERROR): no systemd runs this system");
    assert!(said.contains("start vmpulse-agentd with whatever starts services here"), "{said}");
    assert_eq!(guest.run("stop vmm").2, "VMMGR-100(INFO): vmpulse-agentd is not running.\n");
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(Box::new(running()))));
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
    guest.daemon.answers = Some(Rc::new(|request| {
        let ordered = Reply::Ordered { waits_for: Vec::new() };
        if request == Request::Sync { Reply::Synced { applications: 1 } } else { ordered }
    }));
    let (exit, _, said) = guest.run("monitor app app1");
    let resume = Request::ResumeApplication { name: "app1".to_owned() };
    assert_eq!(guest.daemon.asked.borrow()[1..], [Request::Sync, resume]);
    assert_eq!((exit, said.as_str()), (Exit::Done, "VMMGR-100(INFO): Application \"app1\" resumed.\n"));
    assert!(guest.file().contains("monitored=\"1\""));
    fs::remove_file(guest.path("mon")).unwrap();
    guest.refused("resume app app1", Exit::Failed, "VMMGR-014(ERROR): monitor_script");
}

#[test]
fn an_application_is_started_and_stopped_by_the_daemon() {
    let mut guest = Guest::new();
    guest.add("shop");
    guest.refused("start app shop", Exit::Failed, "VMMGR-001");
    guest.daemon.answers = Some(Rc::new(|_| Reply::Ordered { waits_for: vec!["db".to_owned()] }));
    let (exit, _, said) = guest.run("start app shop");
    assert!(
        said.starts_with("VMMGR-100(INFO): Application \"shop\" is being started, when db let it; "),
        "{said}"
    );
    assert_eq!(exit, Exit::Done);
    guest.daemon.answers = Some(Rc::new(|_| Reply::Ordered { waits_for: vec![] }));
    let (exit, _, said) = guest.run("off app shop");
    assert!(
        said.starts_with("VMMGR-100(INFO): Application \"shop\" is being stopped; `vmmgr -a status"),
        "{said}"
    );
    assert_eq!(exit, Exit::Done);
    let asked = guest.daemon.asked.borrow().clone();
    let name = "shop".to_owned();
    let wanted = [Request::StartApplication { name: name.clone() }, Request::StopApplication { name }];
    assert_eq!(asked[1..], wanted);
    guest.daemon.answers = Some(Rc::new(|_| Reply::NotDone { problem: "shop is NORMAL".to_owned() }));
    guest.refused(
        "start app shop",
        Exit::Failed,
        "VMMGR-030(ERROR): vmpulse-agentd did nothing: shop is NORMAL",
    );
    let said = guest.refused("stop app shp", Exit::Failed, "VMMGR-012");
    assert!(said.contains("(did you mean shop?)"), "{said}");
    fs::remove_file(guest.path("start")).unwrap();
    guest.refused("start app shop", Exit::Failed, "VMMGR-014(ERROR): start_script");
}
