//! The command `hmmgr` as a process.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use vmpulse_hostmon::status::{AbsentStatus, CommandRequest, PathStatus, SettingsStatus, Status};
use vmpulse_local::command::CommandListener;
use vmpulse_store::{HostMonitorStart, HostMonitorWrite, MonitorMode};

const QUICK_QUERY: &str = "<VIO><Request action_str=\"VIO_HS_QUICK_QUERY\"/></VIO>";

/// A machine of its own: settings, run folder, state folder, store.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let folder = machine.0.path().display();
        let settings = format!(
            "store = \"sqlite://{folder}/health.db\"\nrun_dir = \"{folder}\"\nstate_dir = \"{folder}\"\n"
        );
        std::fs::write(machine.path("hostmon.toml"), settings).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn hmmgr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmmgr"));
        command.args(arguments).env_remove("VMPULSE_LOG").env("TZ", "UTC");
        command.env("VMPULSE_HOSTMON_SETTINGS", self.path("hostmon.toml"));
        command
    }

    fn passthru(&self, request: &str) -> (i32, String) {
        let mut child =
            self.hmmgr(&["passthru"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // A command that refuses a long request does not read it to its end.
        let _closed = child.stdin.take().unwrap().write_all(request.as_bytes());
        ended(&child.wait_with_output().unwrap())
    }

    fn status(&self, arguments: &[&str]) -> Output {
        self.hmmgr(&[&["status"], arguments].concat()).output().unwrap()
    }
}

fn ended(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8(output.stdout.clone()).unwrap())
}

#[test]
fn many_commands_at_once_on_a_new_store() {
    let machine = Machine::new();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6)
            .map(|n| {
                let machine = &machine;
                scope.spawn(move || {
                    let host = format!(
                        "<VIO><Request action_str=\"VIO_HS_ADD_MS\"><addMS><viosList machine_type=\"a\" model=\"b\" \
                         serial=\"{n}\"/></addMS></Request></VIO>"
                    );
                    machine.passthru(&host)
                })
            })
            .collect();
        for run in runs {
            let (code, answer) = run.join().unwrap();
            assert_eq!(code, 0, "{answer}");
        }
    });
    let (code, answer) = machine.passthru(QUICK_QUERY);
    assert_eq!((code, answer.matches("<viosStatus ").count()), (0, 6), "{answer}");
}

#[test]
fn errors_are_answers_with_exit_status_1() {
    let machine = Machine::new();
    let (code, answer) = machine.passthru("<VIO/>");
    assert_eq!(code, 1);
    assert!(answer.contains("<Response><Error code=\"MALFORMED\">"), "{answer}");
    assert!(!machine.path("health.db").exists(), "nothing was asked of the store");

    let (code, answer) = machine.passthru(&" ".repeat(2_000_000));
    assert_eq!(code, 1);
    assert!(answer.contains("TOO_LARGE"), "{answer}");

    std::fs::write(machine.path("health.db"), "not a store").unwrap();
    let (code, answer) = machine.passthru(QUICK_QUERY);
    assert_eq!(code, 1);
    assert!(answer.contains("<Error code=\"STORE\">"), "{answer}");
    assert_eq!(std::fs::read(machine.path("health.db")).unwrap(), b"not a store");
}

#[test]
fn local_data_is_that_of_this_machines_host_monitors() {
    let machine = Machine::new();
    let host = |serial: u32| {
        format!(
            "<viosList machine_type=\"a\" model=\"b\" serial=\"{serial}\"><vios \
             uuid=\"5ac3e0dc-13fc-4221-9617-00000000000{serial}\"/></viosList>"
        )
    };
    let vms = |serial: u32| {
        format!(
            "<VIO><Request action_str=\"VIO_HS_ADD_VM\"><addVM><vmList machine_type=\"a\" model=\"b\" \
             serial=\"{serial}\"><vm uuid=\"61be20f0-09a8-4753-b5e5-00000000000{serial}\"/></vmList></addVM></Request></VIO>"
        )
    };
    let hosts = format!(
        "<VIO><Request action_str=\"VIO_HS_ADD_MS\"><addMS>{}{}</addMS></Request></VIO>",
        host(1),
        host(2)
    );
    let start = "<VIO><Request action_str=\"VIO_HS_START_VM\"><startVM><vmList><vm \
                 uuid=\"61be20f0-09a8-4753-b5e5-000000000001\"/><vm uuid=\"61be20f0-09a8-4753-b5e5-000000000002\"/>\
                 </vmList></startVM></Request></VIO>";
    let ask = "<VIO><Request action_str=\"VIO_HS_NEEDS_ATTENTION\"><needsAtt dataType=\"LOCAL_DATA\"/></Request></VIO>";
    for request in [hosts.as_str(), &vms(1), &vms(2), start] {
        let (code, answer) = machine.passthru(request);
        assert_eq!(code, 0, "{answer}");
    }
    assert_eq!(machine.passthru(ask).0, 1, "which host this is is not known");
    std::fs::write(machine.path("eth1.uuid"), "5AC3E0DC-13FC-4221-9617-000000000002\n").unwrap();
    let (code, answer) = machine.passthru(ask);
    assert_eq!((code, answer.matches("<vmList ").count()), (0, 1), "{answer}");
    assert!(answer.contains("000000000002") && answer.contains("hsTag="), "{answer}");
    std::fs::write(machine.path("eth2.uuid"), "5ac3e0dc-13fc-4221-9617-000000000001").unwrap();
    assert_eq!(machine.passthru(ask).0, 1, "this machine cannot be two hosts");
}

#[test]
fn usage_and_settings_have_their_own_exit_status() {
    let machine = Machine::new();
    assert_eq!(machine.hmmgr(&["nonsense"]).output().unwrap().status.code(), Some(2));
    assert_eq!(machine.hmmgr(&["--help"]).output().unwrap().status.code(), Some(0));
    let unknown = machine.path("unknown.toml");
    std::fs::write(&unknown, "trunks = 2").unwrap();
    let output = machine.hmmgr(&["--settings", unknown.to_str().unwrap(), "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("unknown.toml") && said.contains("trunks"), "{said}");
}

fn running() -> Status {
    Status {
        settings: SettingsStatus::default(),
        removed: false,
        trunk_heard: true,
        isolated: false,
        canary: vmpulse_hostmon::status::CanaryStatus::default(),
        trunk: "eth1".into(),
        uuid: "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".into(),
        mac: "02:00:ab:00:00:01".into(),
        pid: 4711,
        mode: MonitorMode::Global,
        mode_since: None,
        mode_reason: None,
        incarnation: "1795245600.000000000.1".into(),
        started: "2026-11-21T07:00:00Z".into(),
        store: "sqlite:///var/lib/vmpulse/health.db".into(),
        store_ok: true,
        pending_writes: 0,
        spool: 0,
        spool_bytes: 0,
        spool_error: None,
        paths: vec![PathStatus {
            vm: "61be20f0-09a8-4753-b5e5-564f8a545ed5".into(),
            mac: "02:00:ab:00:01:01".into(),
            state: "BEATING".into(),
            suspended: None,
            version: "2.1".into(),
            interval_ms: 10_000,
            last_heartbeat_age_ms: Some(412),
            heartbeats: 7,
            authenticated_in: true,
            authenticated_out: true,
            key_id: Some(1),
            guardian: false,
        }],
        without_path: vec![AbsentStatus {
            vm: "4e395e99-fffb-4345-8067-2d5296ba7d91".into(),
            state: "NEVER_HEARD".into(),
            suspended: None,
            silent_ms: None,
        }],
        quiet: vec![],
        counters: [("heartbeats".to_owned(), 7)].into(),
        kernel_drops: 0,
        late: 0,
        policing: Default::default(),
        store_work: Default::default(),
    }
}

/// Answers status requests on `socket` as a host monitor would, until the test's process ends.
fn serve(socket: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut listener = runtime.block_on(async { CommandListener::bind(socket, 0o600, None).unwrap() });
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let call = listener.accept().await;
                match serde_json::from_value(call.request.clone()).unwrap() {
                    CommandRequest::Status => call.reply(&running()),
                    CommandRequest::LoadKeys | CommandRequest::RelaxKey { .. } => {
                        call.refuse("not asked for here")
                    }
                }
            }
        });
    });
}

#[test]
fn status_asks_every_host_monitor() {
    let machine = Machine::new();
    let nobody = machine.status(&[]);
    assert_eq!((nobody.status.code(), nobody.stdout.as_slice()), (Some(69), b"".as_slice()));
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("no host monitor runs here"));

    serve(&machine.path("hostmon-eth1.sock"));
    let output = machine.status(&[]);
    let (code, text) = ended(&output);
    assert_eq!(code, 0, "{text}");
    for part in [
        "Trunk:               eth1\n",
        "Started:             2026-11-21 07:00:00 UTC\n",
        "BEATING",
        "0.412",
        "NEVER_HEARD",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let (code, text) = ended(&machine.status(&["-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["host_monitors"][0]["paths"][0]["heartbeats"]), (0, &serde_json::json!(7)));

    assert_eq!(json["host_monitors"][0]["without_path"][0]["state"], "NEVER_HEARD");

    std::fs::write(machine.path("hostmon-eth2.sock"), "").unwrap();
    let (code, text) = ended(&machine.status(&["-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["failures"].as_array().map(Vec::len)), (69, Some(1)), "one is left to be told of");
    assert_eq!(json["host_monitors"][0]["trunk"], "eth1");
}

/// A host monitor that the store knows, with two node events.
fn recorded(machine: &Machine) {
    let mut store =
        vmpulse_store::open(&format!("sqlite://{}", machine.path("health.db").display())).unwrap();
    let start = HostMonitorWrite::Started(HostMonitorStart {
        trunk: "eth1".into(),
        mac: "02:00:ab:00:00:01".into(),
        vlan: None,
        incarnation: "1795245600.000000000.1".into(),
        versions: "2.0-2.1".into(),
        heartbeat_interval: std::time::Duration::from_secs(30),
    });
    let event = |kind: &str, text: &str| HostMonitorWrite::NodeEvent { kind: kind.into(), text: text.into() };
    let writes = [start, event("FORGERY", "forged\u{1b}[2J"), event("KEY_PROBLEM", "no key")];
    store.host_monitor_apply("5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".parse().unwrap(), &writes).unwrap();
}

#[test]
fn events_of_host_monitors_are_shown_from_the_store() {
    let machine = Machine::new();
    let event = |arguments: &[&str]| machine.hmmgr(&[&["event"], arguments].concat()).output().unwrap();
    let none = event(&[]);
    assert_eq!(none.status.code(), Some(1), "there is no store");
    assert!(!machine.path("health.db").exists(), "a question makes none");
    recorded(&machine);

    let (code, text) = ended(&event(&[]));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{text}");
    assert!(lines[0].ends_with(" UTC  eth1  FORGERY      forged?[2J"), "{text}");
    assert!(lines[1].ends_with(" UTC  eth1  KEY_PROBLEM  no key"), "{text}");
    let (code, text) =
        ended(&event(&["--kind", "key_problem,BLIND", "--since", "1h", "--trunk", "eth1", "-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, json["events"].as_array().unwrap().len()), (0, 1), "{text}");
    let first = &json["events"][0];
    assert_eq!((&first["kind"], &first["trunk"]), (&"KEY_PROBLEM".into(), &"eth1".into()));
    assert!(first["time"].as_str().unwrap().ends_with('Z'), "{text}");

    let nothing = event(&["--kind", "BLIND"]);
    assert_eq!((nothing.status.code(), nothing.stdout.as_slice()), (Some(0), b"".as_slice()));
    assert_eq!(ended(&event(&["--kind", "BLIND", "-o", "json"])).1, "{\n  \"events\": []\n}\n");
    for (line, expected) in [
        (["--kind", "FORGERIES"], 1),
        (["--trunk", "eth7"], 1),
        (["--since", "yesterday"], 2),
        (["--count", "0"], 2),
        (["--count", "10001"], 2),
    ] {
        assert_eq!(event(&line).status.code(), Some(expected), "{line:?}");
    }
}
