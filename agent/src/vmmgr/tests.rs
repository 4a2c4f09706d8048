mod announce;
mod dependency;
mod order;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use tempfile::TempDir;

use super::*;
use crate::command::{DaemonStatus, LiveApplication, LivePath};

mod keys;
mod typed;

/// A daemon that answers what it was given, or is not running.
#[derive(Clone, Default)]
struct FakeDaemon {
    answers: Option<Rc<dyn Fn(Request) -> Reply>>,
    asked: Rc<RefCell<Vec<Request>>>,
    /// Whether it runs by now; it does if this is nothing.
    late: Option<Rc<dyn Fn() -> bool>>,
}

impl Daemon for FakeDaemon {
    fn ask(&self, request: Request) -> Result<Reply, CallError> {
        self.asked.borrow_mut().push(request.clone());
        let not_running = || CallError::NotRunning { path: PathBuf::from("/run/agent.sock") };
        if self.late.as_ref().is_some_and(|late| !late()) {
            return Err(not_running());
        }
        self.answers.as_ref().map(|answer| answer(request)).ok_or_else(not_running)
    }
}

/// A guest of its own: settings, configuration and scripts in a directory.
struct Guest {
    directory: TempDir,
    daemon: FakeDaemon,
    program: &'static str,
    systemd: Systemd,
}

impl Guest {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let settings = format!(
            "config = \"{0}/HA.xml\"\nrun_dir = \"{0}\"\nkey_file = \"{0}/agent.key\"\nmax_apps = 2\n",
            root.display()
        );
        fs::write(root.join("agent.toml"), settings).unwrap();
        for script in ["mon", "start", "stop"] {
            fs::write(root.join(script), "#!/bin/sh\n").unwrap();
            fs::set_permissions(root.join(script), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let systemd = Systemd { booted: root.join("systemd"), program: root.join("systemctl") };
        Self { directory, daemon: FakeDaemon::default(), program: "/usr/bin/vmmgr", systemd }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Words are parted by blanks; `@` stands for the directory.
    fn run(&self, words: &str) -> (Exit, String, String) {
        let arguments: Vec<String> =
            words.split_whitespace().map(|word| word.replace('@', &self.path(""))).collect();
        let environment = Environment {
            program: self.program.to_owned(),
            settings_variable: Some(PathBuf::from(self.path("agent.toml"))),
            realtime: Duration::from_nanos(1_567_267_349_133_928_000),
            local_time: "2026-11-21 03:00:00".to_owned(),
            systemd: self.systemd.clone(),
        };
        let connect = |_: &Settings| -> Box<dyn Daemon> { Box::new(self.daemon.clone()) };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let exit = run_with(&arguments, &environment, &connect, &mut stdout, &mut stderr);
        (exit, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn add(&self, name: &str) {
        let words = format!("add app {name} monitor_script=@mon start_script=@start stop_script=@stop");
        let (exit, _, stderr) = self.run(&words);
        assert_eq!(exit, Exit::Done, "{stderr}");
    }

    fn file(&self) -> String {
        fs::read_to_string(self.path("HA.xml")).unwrap_or_default()
    }

    /// Expects a refusal that changes nothing and names its code.
    fn refused(&self, words: &str, exit: Exit, code: &str) -> String {
        let before = self.file();
        let (found, stdout, stderr) = self.run(words);
        assert!(stderr.starts_with(code), "{words}: {stderr}");
        assert_eq!((found, stdout.as_str()), (exit, ""), "{words}: {stderr}");
        assert_eq!(self.file(), before, "{words}");
        stderr
    }
}

#[test]
fn add_then_query_prints_exactly_what_was_set() {
    let guest = Guest::new();
    let (exit, stdout, stderr) =
        guest.run("add app app1 monitor_script=@mon start_script=@start stop_script=@stop critical=yes");
    assert_eq!((exit, stdout.as_str()), (Exit::Done, ""));
    assert_eq!(
        stderr,
        "VMMGR-100(INFO): Application \"app1\" added.\n\
         VMMGR-101(INFO): -s not given, run `vmmgr sync` to make vmpulse-agentd load the change.\n"
    );
    let (exit, stdout, _) = guest.run("q app app1");
    assert_eq!(exit, Exit::Done);
    let expected = format!(
        "Application name=app1\n version=\n uuid=1567267349133928000\n desc=\n monitored=1\n monitor_script={0}mon\n \
         monitor_period=30\n monitor_timeout=10\n monitor_failure_threshold=5\n stop_script={0}stop\n \
         stop_stabilization_time=25\n stop_max_failures=3\n start_script={0}start\n start_stabilization_time=25\n \
         start_max_failures=3\n max_restart=3\n restart_window=0\n nooftimes_restarted=0\n user=root\n critical=yes\n \
         type=\n instancename=\n database=\n vendor_id=\n status=NOT_MONITORED (GRAY), vmpulse-agentd is not running\n",
        guest.path("")
    );
    assert_eq!(stdout, expected);
}

#[test]
fn query_shows_the_daemon_s_view() {
    let mut guest = Guest::new();
    guest.add("app1");
    guest.add("app2");
    guest.daemon.answers = Some(Rc::new(|_| {
        let live = LiveApplication {
            name: "app1".to_owned(),
            uuid: "1567267349133928000".to_owned(),
            status: "NORMAL".to_owned(),
            colour: "GREEN".to_owned(),
            nooftimes_restarted: 2,
            last_result: "NORMAL".to_owned(),
            last_change_ms: 10,
            stopped: false,
            waits_for: Vec::new(),
            healthy: true,
            monitored: true,
            last_script: Some(crate::command::LiveScript {
                action: "monitor".to_owned(),
                end: "exit code 3".to_owned(),
                output: "no answer".to_owned(),
            }),
        };
        Reply::Applications { applications: vec![live] }
    }));
    let (_, stdout, _) = guest.run("-a status,nooftimes_restarted q app");
    assert_eq!(
        stdout,
        "Application name=app1\n nooftimes_restarted=2\n status=NORMAL (GREEN)\n\n\
         Application name=app2\n nooftimes_restarted=0\n status=NOT_MONITORED (GRAY), not loaded, run `vmmgr sync`\n"
    );
    let (_, stdout, _) = guest.run("-o json q app app1");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let app = &json["applications"][0];
    assert_eq!((&app["status"], &app["colour"]), (&"NORMAL".into(), &"GREEN".into()));
    assert_eq!((&app["max_restart"], &app["nooftimes_restarted"]), (&3.into(), &2.into()));
    assert_eq!(
        app["last_script"],
        serde_json::json!({ "action": "monitor", "end": "exit code 3", "output": "no answer" })
    );
    let (_, stdout, _) = guest.run("-o json q app app2");
    assert!(stdout.contains("\"last_script\": null"), "{stdout}");
}

#[test]
fn health_is_an_exit_status() {
    let mut guest = Guest::new();
    assert_eq!(guest.run("health").0, Exit::Failed, "nobody can tell");
    let live = |name: &str, healthy| LiveApplication {
        name: name.to_owned(),
        uuid: "1567267349133928000".to_owned(),
        status: if healthy { "NORMAL" } else { "FAILURE" }.to_owned(),
        colour: if healthy { "GREEN" } else { "RED" }.to_owned(),
        nooftimes_restarted: 0,
        last_result: "NORMAL".to_owned(),
        last_change_ms: 10,
        healthy,
        monitored: true,
        last_script: None,
        stopped: false,
        waits_for: Vec::new(),
    };
    guest.daemon.answers = Some(Rc::new(move |_| Reply::Applications {
        applications: vec![live("app1", true), live("app2", false)],
    }));
    let (exit, stdout, _) = guest.run("health");
    assert_eq!(
        (exit, stdout.as_str()),
        (Exit::Failed, "app1: healthy, NORMAL (GREEN)\napp2: not healthy, FAILURE (RED)\n")
    );
    assert_eq!(guest.run("health app1").0, Exit::Done);
    let (_, stdout, _) = guest.run("-o json health app1");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["healthy"], &json["applications"][0]["name"]), (&true.into(), &"app1".into()));
    assert_eq!(guest.run("health app2").0, Exit::Failed);
    guest.refused("health app3", Exit::Failed, "VMMGR-012");
    guest.refused("health app1 app2", Exit::Usage, "VMMGR-005");
}

#[test]
fn modify_and_delete_keep_the_rest_of_the_file() {
    let guest = Guest::new();
    guest.add("app1");
    let marked = guest.file().replace("<Application", "<!-- mine --><Application future=\"x\"");
    fs::write(guest.path("HA.xml"), marked).unwrap();
    let (exit, _, stderr) = guest.run("change app app1 max_restart=7 desc=<x> monitored=0");
    assert_eq!(exit, Exit::Done, "{stderr}");
    let (_, stdout, _) = guest.run("-a max_restart,desc,monitored q app app1");
    assert_eq!(stdout, "Application name=app1\n desc=<x>\n monitored=0\n max_restart=7\n");
    assert!(guest.file().contains("<!-- mine --><Application future=\"x\""));
    let (exit, ..) = guest.run("rm app app1");
    assert_eq!(exit, Exit::Done);
    assert_eq!(guest.run("q app").1, "");
    assert!(guest.file().contains("<!-- mine -->"));
    assert!(fs::read_to_string(guest.path("HA.xml.prev")).unwrap().contains("app1"));
}

#[test]
fn refusals_have_their_codes_and_change_nothing() {
    let guest = Guest::new();
    guest.add("app1");
    fs::write(guest.path("plain"), "").unwrap();
    let text = guest.refused("", Exit::Usage, "VMMGR-002(ERROR): An action is missing.");
    assert!(text.contains("add, query, modify, delete"), "{text}");
    let scripts = "monitor_script=@mon start_script=@start stop_script=@stop";
    for (words, exit, code) in [
        ("add app".to_owned(), Exit::Usage, "VMMGR-004"),
        ("modify app app1".to_owned(), Exit::Usage, "VMMGR-005"),
        ("modify app app1 colour=red".to_owned(), Exit::Usage, "VMMGR-006"),
        ("modify app app1 status=NORMAL".to_owned(), Exit::Failed, "VMMGR-007"),
        ("modify app app1 uuid=1".to_owned(), Exit::Failed, "VMMGR-007"),
        ("modify app app1 max_restart=x".to_owned(), Exit::Failed, "VMMGR-008"),
        ("modify log=4".to_owned(), Exit::Failed, "VMMGR-008"),
        ("modify app other desc=x".to_owned(), Exit::Failed, "VMMGR-012"),
        ("delete app other".to_owned(), Exit::Failed, "VMMGR-012"),
        ("query app other".to_owned(), Exit::Failed, "VMMGR-012"),
        (format!("add app app1 {scripts}"), Exit::Failed, "VMMGR-013"),
        ("modify app app1 monitor_script=@missing".to_owned(), Exit::Failed, "VMMGR-014"),
        ("modify app app1 monitor_script=@plain".to_owned(), Exit::Failed, "VMMGR-014"),
        ("modify app app1 stop_script=/tmp".to_owned(), Exit::Failed, "VMMGR-014"),
        (format!("add app a/b {scripts}"), Exit::Failed, "VMMGR-016"),
        ("add app app2 monitor_script=@mon".to_owned(), Exit::Failed, "VMMGR-017"),
        ("modify app app1 start_script=".to_owned(), Exit::Failed, "VMMGR-017"),
        ("modify app app1 type=OCF".to_owned(), Exit::Failed, "VMMGR-018"),
        ("modify app app1 user=nobody-of-that-name".to_owned(), Exit::Failed, "VMMGR-019"),
        ("modify app app1 monitor_period=10".to_owned(), Exit::Failed, "VMMGR-057"),
        ("modify app app1 monitor_timeout=31".to_owned(), Exit::Failed, "VMMGR-057"),
        ("start app".to_owned(), Exit::Usage, "VMMGR-004"),
        ("stop app app1 app2".to_owned(), Exit::Usage, "VMMGR-005"),
        ("suspend app other".to_owned(), Exit::Failed, "VMMGR-012"),
        ("resume app other".to_owned(), Exit::Failed, "VMMGR-012"),
        ("start vmm".to_owned(), Exit::Failed, "VMMGR-035"),
        ("sync".to_owned(), Exit::Failed, "VMMGR-001"),
        ("-a colour q app".to_owned(), Exit::Usage, "VMMGR-006"),
        ("--settings /no/such.toml q app".to_owned(), Exit::Failed, "VMMGR-022"),
    ] {
        guest.refused(&words, exit, code);
    }
    guest.add("app2");
    let text = guest.refused(&format!("add app app3 {scripts}"), Exit::Failed, "VMMGR-015");
    assert!(text.contains("Application ADD failed, Maximum count of \"2\" applications reached."), "{text}");
}

#[test]
fn a_broken_file_is_named_with_line_and_column_and_not_touched() {
    let guest = Guest::new();
    fs::write(guest.path("HA.xml"), "<Monitoring log=\"2\"\n  period=\"9\"/>").unwrap();
    for words in ["q app", "modify log=3", "add app a"] {
        let text = guest.refused(words, Exit::Failed, "VMMGR-020");
        assert!(
            text.contains("line 2, column 3: period=\"9\": expected whole seconds from 0 to 6"),
            "{text}"
        );
    }
}

#[test]
fn apply_asks_the_daemon_and_says_when_it_did_not_load() {
    let mut guest = Guest::new();
    let (exit, _, stderr) = guest.run("-s modify log=3");
    assert_eq!(exit, Exit::Failed);
    assert!(stderr.starts_with("VMMGR-027(ERROR): the change is in the file, but"), "{stderr}");
    assert!(guest.file().contains("log=\"3\""));
    guest.daemon.answers = Some(Rc::new(|_| Reply::Synced { applications: 4 }));
    let (exit, _, stderr) = guest.run("-s modify log=1");
    assert_eq!((exit, stderr.as_str()), (Exit::Done, "VMMGR-100(INFO): VMM modified.\n"));
    assert_eq!(guest.daemon.asked.borrow().last(), Some(&Request::Sync));
    guest.daemon.answers =
        Some(Rc::new(|_| Reply::NotLoaded { problem: "line 1, column 2: bad".to_owned() }));
    let text = guest.refused("sync", Exit::Failed, "VMMGR-024");
    assert!(text.contains("line 1, column 2"), "{text}");
    guest.daemon.answers = Some(Rc::new(|_| Reply::NotAllowed));
    guest.refused("sync", Exit::Failed, "VMMGR-023");
}

#[test]
fn status_shows_daemon_and_paths() {
    let mut guest = Guest::new();
    let (exit, stdout, _) = guest.run("status");
    assert_eq!(exit, Exit::Failed);
    assert_eq!(stdout, "Subsystem       Group    PID  Status\nvmpulse-agentd  vmpulse       inoperative\n");
    guest.daemon.answers = Some(Rc::new(|_| Reply::Status(Box::new(running()))));
    let (exit, stdout, _) = guest.run("status");
    assert_eq!(exit, Exit::Done);
    assert_eq!(
        stdout,
        "Subsystem       Group    PID  Status\nvmpulse-agentd  vmpulse  77   active\n\n\
         Adapter  HM    State  Last_hello  Heartbeats  Authenticated\n\
         eth1     5ac3  OPEN   12 s        345         key 2 in+out\n\
         eth2     -     QUIET  -           0           -\n\n\
         Keys: vmpulse-agentd uses key 2; authentication is optional.\n\n\
         Configuration not loaded, the last good one is used: line 1, column 1: x\n\n\
         Keys not loaded, those read before are used: no such key\n"
    );
    let (_, stdout, _) = guest.run("-o json status");
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["pid"], &json["status"]), (&77.into(), &"active".into()));
    assert_eq!(json["daemon"]["paths"][0]["heartbeats_sent"], 345);
    let (_, stdout, _) = guest.run("query");
    assert!(stdout.starts_with("VMM\n version=1.0\n log=2\n period=1\n rebootappstarttype=VMM\n comment=\n"));
    assert!(stdout.ends_with(" VmUUID=61be\n status=active\n"), "{stdout}");
}

fn running() -> DaemonStatus {
    let heard = LivePath {
        adapter: "eth1".to_owned(),
        host_monitor: Some("5ac3".to_owned()),
        host_monitor_mac: None,
        state: "OPEN".to_owned(),
        version: None,
        interval_ms: Some(10_000),
        last_hello_age_ms: Some(12_345),
        heartbeats_sent: 345,
        authenticated_in: true,
        authenticated_out: true,
        key_id: Some(2),
    };
    let quiet = LivePath {
        adapter: "eth2".to_owned(),
        host_monitor: None,
        state: "QUIET".to_owned(),
        last_hello_age_ms: None,
        heartbeats_sent: 0,
        authenticated_in: false,
        authenticated_out: false,
        key_id: None,
        ..heard.clone()
    };
    DaemonStatus {
        discarded: [("checksum".to_owned(), 3)].into(),
        pid: 77,
        version: "0".to_owned(),
        vm_uuid: "61be".to_owned(),
        config: "/x".to_owned(),
        config_problem: Some("line 1, column 1: x".to_owned()),
        config_warnings: Vec::new(),
        applications: 0,
        suspended: false,
        suspension_heard: true,
        quiet: None,
        paths: vec![heard, quiet],
        adapter_problems: Vec::new(),
        authentication: "optional".to_owned(),
        key_ids: vec![1, 2],
        key_problem: Some("no such key".to_owned()),
        guardian: Box::default(),
    }
}

#[test]
fn the_other_name_changes_the_prefix_only() {
    let mut guest = Guest::new();
    guest.program = "/usr/sbin/ksysvmmgr";
    guest.refused("", Exit::Usage, "KSYSVMMGR-002(ERROR): An action is missing.");
    guest.program = "./anything";
    guest.refused("", Exit::Usage, "VMMGR-002");
}

#[test]
fn help_has_every_action_and_attribute() {
    let guest = Guest::new();
    let (exit, stdout, _) = guest.run("help");
    assert_eq!(exit, Exit::Done);
    for (_, names) in grammar::ACTIONS {
        assert!(names.iter().all(|name| stdout.contains(name)));
    }
    for attribute in crate::config::attribute::APPLICATION {
        assert!(stdout.contains(attribute.name), "{}", attribute.name);
    }
    assert_eq!(guest.run("-h").1, stdout);
    let (exit, text, _) = guest.run("add app x -h");
    assert_eq!(exit, Exit::Done);
    assert_eq!(text, guest.run("help add app").1);
    assert!(text.contains("vmmgr add app NAME") && text.contains("monitor_timeout"), "{text}");
    assert!(!text.contains("vmmgr query") && !text.contains("Attributes of vmm"), "{text}");
    let (_, text, _) = guest.run("help key");
    assert!(text.contains("vmmgr import key ID [FILE]") && !text.contains("add app"), "{text}");
    assert!(guest.run("help quiet").1.contains("quiet TIME REASON"));
    assert_eq!(
        guest.run("modify app x monitor_period=5 -h").1,
        "monitor_period: from start to start of the monitor script\n  takes    whole seconds from 2 to 86400\n  default  30\n"
    );
    guest.refused("help frobnicate", Exit::Usage, "VMMGR-002");
    guest.refused("help add app x", Exit::Usage, "VMMGR-002");
    guest.refused("help add add", Exit::Usage, "VMMGR-005");
}
