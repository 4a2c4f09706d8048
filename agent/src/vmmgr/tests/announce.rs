//! `quiet`, `suspend`, `resume`.

use super::*;
use crate::command::{LiveQuiet, LiveTold};

fn told(adapter: &str, answer: &str, granted_ms: Option<u64>) -> LiveTold {
    let host_monitor = Some("5ac3".to_owned());
    LiveTold { adapter: adapter.to_owned(), host_monitor, answer: answer.to_owned(), granted_ms }
}

/// A daemon whose host monitors answer so.
fn guest(settled: bool, paths: &[LiveTold]) -> Guest {
    let mut guest = Guest::new();
    let paths = paths.to_vec();
    guest.daemon.answers = Some(Rc::new(move |_| Reply::Told { settled, paths: paths.clone() }));
    guest
}

#[test]
fn a_silence_that_everybody_granted() {
    let guest = guest(true, &[told("eth1", "granted", Some(60_000)), told("eth2", "granted", Some(60_000))]);
    let (exit, stdout, stderr) = guest.run("quiet 60s file system freeze");
    assert_eq!(stdout, "Adapter  HM    Answer\neth1     5ac3  granted 60 s\neth2     5ac3  granted 60 s\n");
    assert_eq!(stderr, "VMMGR-100(INFO): Announced to be silent for 60 s: file system freeze\n");
    assert_eq!(exit, Exit::Done);
    let asked = Request::Quiet { ms: 60_000, reason: "file system freeze".to_owned() };
    assert_eq!(*guest.daemon.asked.borrow(), [asked]);
    let (exit, stdout, _) = guest.run("-o json quiet 60s backup");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (exit, &json["quiet"]["granted_ms"], &json["quiet"]["as_asked"]),
        (Exit::Done, &60_000.into(), &true.into())
    );
    assert_eq!(json["quiet"]["paths"][1]["adapter"], "eth2");
}

#[test]
fn anything_less_is_said_and_is_exit_1() {
    let whole = |adapter| told(adapter, "granted", Some(60_000));
    for (paths, part) in [
        (vec![], "No host monitor has granted a silence: no path to one is open"),
        (vec![told("eth1", "granted", Some(1500))], "Only 1.5 s of the 60 s that were asked for are granted"),
        (vec![told("eth1", "granted", Some(0))], "No silence was granted"),
        (
            vec![whole("eth1"), told("eth2", "lost", None)],
            "The host monitor on eth2 did not acknowledge: the path was lost",
        ),
        (vec![told("eth1", "too_old", None)], "eth1: it speaks protocol version 2.0"),
    ] {
        let (exit, stdout, stderr) = guest(true, &paths).run("quiet 60s backup");
        assert!(stderr.starts_with("VMMGR-102(WARNING): ") && stderr.contains(part), "{stderr}");
        assert_eq!((exit, stdout.is_empty()), (Exit::Failed, paths.is_empty()), "{stderr}");
        let (_, stdout, _) = guest(true, &paths).run("-o json quiet 60s backup");
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(json["quiet"]["as_asked"], false);
    }
}

#[test]
fn whoever_is_slow_is_waited_for_and_named() {
    let slow = [told("eth1", "granted", Some(60_000)), told("eth2", "waiting", None)];
    let slow_guest = guest(false, &slow);
    let (exit, _, stderr) = slow_guest.run("quiet 60s backup");
    assert!(stderr.starts_with("waiting for 1 of 2 host monitors to acknowledge ...\n"), "{stderr}");
    assert!(stderr.contains("The host monitor on eth2 did not acknowledge: no answer"), "{stderr}");
    assert_eq!((exit, slow_guest.daemon.asked.borrow().len()), (Exit::Failed, 4));
    assert_eq!(slow_guest.daemon.asked.borrow()[1], Request::Told { quiet: true });
}

#[test]
fn the_end_is_heard_if_one_has_heard_it() {
    let one = [told("eth1", "granted", Some(0)), told("eth2", "lost", None)];
    let (exit, stdout, stderr) = guest(true, &one).run("quiet end");
    assert_eq!((exit, stderr.as_str()), (Exit::Done, "VMMGR-100(INFO): The announced silence is over.\n"));
    assert!(stdout.contains("eth1     5ac3  ended\n"), "{stdout}");
    let (exit, _, stderr) = guest(true, &one[1..]).run("quiet end");
    assert_eq!(exit, Exit::Failed);
    assert!(stderr.contains("No host monitor knows yet that the announced silence is over"), "{stderr}");
}

#[test]
fn suspending_is_done_if_one_has_heard_it() {
    let both = [told("eth1", "acknowledged", None), told("eth2", "waiting", None)];
    for (words, suspend, text) in [("suspend", true, "suspended"), ("resume vmm", false, "resumed")] {
        let heard = guest(true, &both);
        let (exit, _, stderr) = heard.run(words);
        assert_eq!(stderr, format!("VMMGR-100(INFO): Monitoring of this virtual machine is {text}.\n"));
        assert_eq!(exit, Exit::Done);
        assert_eq!(*heard.daemon.asked.borrow(), [Request::Suspension { suspend }]);
    }
    let (exit, _, stderr) = guest(true, &[]).run("suspend");
    assert_eq!(exit, Exit::Failed);
    assert!(stderr.contains("No host monitor knows yet that monitoring is suspended"), "{stderr}");
}

#[test]
fn what_could_not_be_done_is_said() {
    let mut refused = Guest::new();
    refused.daemon.answers = Some(Rc::new(|_| Reply::NotDone { problem: "no room".to_owned() }));
    refused.refused("suspend", Exit::Failed, "VMMGR-030(ERROR): vmpulse-agentd did nothing: no room");
    refused.daemon.answers = Some(Rc::new(|_| Reply::NotAllowed));
    refused.refused("quiet 60s x", Exit::Failed, "VMMGR-023(ERROR)");
    Guest::new().refused("quiet end", Exit::Failed, "VMMGR-001(ERROR)");
    Guest::new().refused("quiet 60s", Exit::Usage, "VMMGR-029(ERROR)");
}

#[test]
fn status_and_query_show_both() {
    let mut guest = Guest::new();
    guest.daemon.answers = Some(Rc::new(|_| {
        let paths = vec![told("eth1", "granted", Some(60_000))];
        let quiet = LiveQuiet {
            asked_ms: 60_000,
            left_ms: 41_500,
            granted: true,
            reason: "backup".to_owned(),
            paths,
        };
        let suspended = DaemonStatus { suspended: true, suspension_heard: false, ..running() };
        Reply::Status(Box::new(DaemonStatus { quiet: Some(Box::new(quiet)), ..suspended }))
    }));
    let (_, stdout, _) = guest.run("status");
    for part in [
        "\nMonitoring is suspended, and no host monitor knows it yet; `vmmgr resume` resumes it.\n",
        "\nAnnounced silence: 41.5 s more: backup\nAdapter  HM    Answer\neth1     5ac3  granted 60 s\n",
    ] {
        assert!(stdout.contains(part), "{part} in\n{stdout}");
    }
    let (_, stdout, _) = guest.run("query");
    assert!(stdout.contains("\n suspended=yes\n announced_silence=41.5 s more: backup\n"), "{stdout}");
    let (_, stdout, _) = guest.run("-a suspended -o json query");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["vmm"]["suspended"], "yes");
    let (_, stdout, _) = guest.run("-o json status");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["daemon"]["quiet"]["left_ms"], 41_500);
}
