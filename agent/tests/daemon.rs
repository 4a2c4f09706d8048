//! The real daemon and the real command, without a network: settings that name an adapter that is not there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test that cannot be set up has failed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

/// Long enough for a loaded machine; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(60);

struct Guest {
    directory: TempDir,
}

impl Guest {
    fn new() -> Self {
        let guest = Self { directory: tempfile::tempdir().unwrap() };
        let settings = format!(
            "adapters = [\"absent0\"]\nvm_uuid = \"61be20f0-09a8-4753-b5e5-564f8a545ed5\"\n\
             config = \"{0}/HAMonitoring.xml\"\nrun_dir = \"{0}/run\"\nstate_dir = \"{0}/state\"\n\
             query_group = \"\"\nkey_file = \"{0}/agent.key\"\n",
            guest.directory.path().display()
        );
        fs::write(guest.path("agent.toml"), settings).unwrap();
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A script that appends its action to a log and succeeds while the file `works` is there.
    fn script(&self) -> String {
        let path = self.path("script");
        let directory = self.directory.path().display();
        let body = format!(
            "#!/bin/sh\necho $VMPULSE_ACTION >> {directory}/actions\n\
             [ $VMPULSE_ACTION != monitor ] || [ -e {directory}/works ]\n"
        );
        fs::write(&path, body).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("VMPULSE_AGENT_SETTINGS", self.path("agent.toml")).env_remove("VMPULSE_LOG");
        command
    }

    fn vmmgr(&self, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_vmmgr")).args(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.vmmgr(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.vmmgr(&[&["-o", "json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn add(&self, more: &[&str]) {
        let script = self.script();
        let scripts = ["monitor", "start", "stop"].map(|kind| format!("{kind}_script={script}"));
        let mut arguments = vec!["-s", "add", "app", "app1"];
        arguments.extend(scripts.iter().map(String::as_str));
        let user = format!("user={}", nix::unistd::geteuid());
        arguments.push(&user);
        arguments.extend(["monitor_period=2", "monitor_timeout=1", "monitor_failure_threshold=1"]);
        arguments.extend(more);
        self.done(&arguments);
    }

    async fn daemon(&self) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = tokio::process::Command::from(self.command(env!("CARGO_BIN_EXE_vmpulse-agentd")));
        let child = command.stderr(log).kill_on_drop(true).spawn().unwrap();
        self.until("the daemon is active", || self.json(&["status"])["status"] == "active").await;
        Daemon { child }
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(DEADLINE, wait).await.is_err() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            panic!("not in time: {what}\n{log}");
        }
    }

    fn status(&self) -> String {
        let colour = &self.json(&["query", "app", "app1"])["applications"][0];
        format!("{} {}", colour["status"].as_str().unwrap_or(""), colour["colour"].as_str().unwrap_or(""))
    }
}

struct Daemon {
    child: Child,
}

impl Daemon {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    async fn stop(mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap().code().unwrap()
    }
}

#[tokio::test]
async fn an_application_turns_green_fails_is_restarted_and_turns_red() {
    let guest = Guest::new();
    fs::write(guest.path("works"), "").unwrap();
    let daemon = guest.daemon().await;
    guest.add(&["max_restart=1"]);
    guest.until("NORMAL", || guest.status() == "NORMAL GREEN").await;
    assert!(guest.done(&["q", "app", "app1"]).contains("\n status=NORMAL (GREEN)\n"));
    fs::remove_file(guest.path("works")).unwrap();
    guest.until("FAILURE", || guest.status() == "FAILURE RED").await;
    let app = &guest.json(&["query", "app"])["applications"][0];
    assert_eq!((&app["nooftimes_restarted"], &app["loaded"]), (&1.into(), &true.into()));
    let actions = fs::read_to_string(guest.path("actions")).unwrap();
    let repairs: Vec<&str> = actions.lines().filter(|action| *action != "monitor").collect();
    assert_eq!(repairs, ["stop", "start"]);

    fs::write(guest.path("works"), "").unwrap();
    guest.done(&["-s", "modify", "app", "app1", "desc=repaired"]);
    guest.until("NORMAL again", || guest.status() == "NORMAL GREEN").await;
    guest.done(&["-s", "modify", "app", "app1", "monitored=0"]);
    assert_eq!(guest.status(), "NOT_MONITORED GRAY");
    assert_eq!(daemon.stop().await, 0);
    let text = guest.done(&["-a", "status", "query", "app", "app1"]);
    assert!(text.contains("NOT_MONITORED (GRAY), vmpulse-agentd is not running"), "{text}");
}

/// A port nobody has at the moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The code of the answer to a check; 0 while there is none.
fn check(port: u16, target: &str) -> u16 {
    let ask = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        std::io::read_to_string(stream)
    };
    let answer = ask().unwrap_or_default();
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn health_checks_follow_the_application_and_a_flood_of_them_holds_nothing_up() {
    let guest = Guest::new();
    let port = free_port();
    let settings = fs::read_to_string(guest.path("agent.toml")).unwrap();
    fs::write(guest.path("agent.toml"), format!("{settings}health_listen = \"127.0.0.1:{port}\"\n")).unwrap();
    fs::write(guest.path("works"), "").unwrap();
    let daemon = guest.daemon().await;
    guest.until("the port is open", || check(port, "/health") == 503).await;
    guest.add(&["max_restart=0"]);
    guest.until("healthy", || check(port, "/health/app1") == 200 && check(port, "/health") == 200).await;
    assert!(guest.vmmgr(&["health"]).status.success());
    assert_eq!(check(port, "/health/other"), 404);
    // Connections that say nothing, and bytes that mean nothing, while the daemon goes on.
    let silent: Vec<_> =
        (0..64).filter_map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    for mut stream in silent.iter() {
        let _ = stream.write_all(&[0xff; 4096]);
    }
    fs::remove_file(guest.path("works")).unwrap();
    guest.until("FAILURE", || guest.status() == "FAILURE RED").await;
    drop(silent);
    guest.until("not healthy", || check(port, "/health/app1") == 503 && check(port, "/health") == 503).await;
    assert_eq!(guest.vmmgr(&["health", "app1"]).status.code(), Some(1));
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test]
async fn a_broken_file_stops_nothing_and_is_shown() {
    let guest = Guest::new();
    fs::write(guest.path("works"), "").unwrap();
    let daemon = guest.daemon().await;
    guest.add(&[]);
    let good = fs::read(guest.path("HAMonitoring.xml")).unwrap();
    fs::write(guest.path("HAMonitoring.xml"), "<Monitoring>\n </Application>").unwrap();
    daemon.signal(Signal::SIGHUP);
    let problem =
        || guest.json(&["status"])["daemon"]["config_problem"].as_str().unwrap_or_default().to_owned();
    guest.until("the problem is shown", || problem().contains("line 2, column ")).await;
    assert_eq!(guest.json(&["status"])["daemon"]["applications"], 1);
    let refused = guest.vmmgr(&["sync"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("VMMGR-024(ERROR)"));
    fs::write(guest.path("HAMonitoring.xml"), good).unwrap();
    guest.done(&["sync"]);
    assert_eq!(problem(), "");
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test]
async fn a_suspended_application_stays_so_and_what_is_not_known_is_told() {
    let guest = Guest::new();
    fs::write(guest.path("works"), "").unwrap();
    let daemon = guest.daemon().await;
    guest.add(&[]);
    guest.until("NORMAL", || guest.status() == "NORMAL GREEN").await;
    // At once, without -s.
    guest.done(&["suspend", "app", "app1"]);
    assert_eq!(guest.status(), "NOT_MONITORED GRAY");
    assert_eq!(daemon.stop().await, 0);
    let text = fs::read_to_string(guest.path("HAMonitoring.xml")).unwrap();
    fs::write(guest.path("HAMonitoring.xml"), text.replace("<Application", "<Application colour=\"red\""))
        .unwrap();
    let daemon = guest.daemon().await;
    assert_eq!(guest.status(), "NOT_MONITORED GRAY");
    let warning = "attribute colour of application app1 is not known; it is kept and not used";
    let told =
        guest.json(&["status"])["daemon"]["config_warnings"][0].as_str().unwrap_or_default().to_owned();
    assert!(told.ends_with(warning), "{told}");
    assert!(guest.done(&["status"]).contains(warning));
    let output = guest.vmmgr(&["modify", "app", "app1", "desc=x"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("VMMGR-103(WARNING): line "), "{said}");
    assert!(fs::read_to_string(guest.path("HAMonitoring.xml")).unwrap().contains("colour=\"red\""));
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test]
async fn an_application_is_stopped_started_and_resumed_by_hand() {
    let guest = Guest::new();
    fs::write(guest.path("works"), "").unwrap();
    let daemon = guest.daemon().await;
    guest.add(&["max_restart=0"]);
    guest.until("NORMAL", || guest.status() == "NORMAL GREEN").await;
    guest.done(&["stop", "app", "app1"]);
    let stopped = || guest.json(&["query", "app", "app1"])["applications"][0]["live"]["stopped"] == true;
    guest.until("stopped", || stopped() && guest.status() == "NOT_MONITORED GRAY").await;
    assert!(guest.done(&["-a", "status", "q", "app"]).contains("NOT_MONITORED (GRAY), stopped by hand"));
    guest.done(&["start", "app", "app1"]);
    guest.until("NORMAL again", || guest.status() == "NORMAL GREEN").await;
    let actions = fs::read_to_string(guest.path("actions")).unwrap();
    let by_hand: Vec<&str> = actions.lines().filter(|action| *action != "monitor").collect();
    assert_eq!(by_hand, ["stop", "start"]);

    fs::remove_file(guest.path("works")).unwrap();
    guest.until("a final state", || guest.status() == "FAILURE RED").await;
    fs::write(guest.path("works"), "").unwrap();
    guest.done(&["resume", "app", "app1"]);
    guest.until("NORMAL after resume", || guest.status() == "NORMAL GREEN").await;
    guest.done(&["suspend", "app", "app1"]);
    assert_eq!(guest.status(), "NOT_MONITORED GRAY");
    guest.done(&["resume", "app", "app1"]);
    guest.until("NORMAL after suspend", || guest.status() == "NORMAL GREEN").await;
    assert_eq!(daemon.stop().await, 0);
}

/// `vmmgr import key` with the key on standard input.
fn import(guest: &Guest, id: &str, secret: &str) -> Output {
    let mut command = guest.command(env!("CARGO_BIN_EXE_vmmgr"));
    command.args(["key", "import", "--id", id, "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn keys_and_mode_are_read_anew_and_bad_ones_leave_those_in_use() {
    let guest = Guest::new();
    let daemon = guest.daemon().await;
    let status = |field: &str| guest.json(&["status"])["daemon"][field].clone();
    assert_eq!((status("authentication"), status("key_ids")), ("optional".into(), Value::Array(vec![])));
    let secret = "0a".repeat(32);
    let output = import(&guest, "2", &format!("{secret}\n"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("vmpulse-agentd uses key 2"), "{said}");
    assert_eq!(status("key_ids"), serde_json::json!([2]));
    guest.done(&["key", "create"]);
    assert_eq!(status("key_ids"), serde_json::json!([2, 3]));

    let file = guest.path("agent.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    daemon.signal(Signal::SIGHUP);
    let problem = || status("key_problem").as_str().unwrap_or_default().to_owned();
    guest.until("the problem is shown", || problem().contains("chmod 600")).await;
    assert_eq!(status("key_ids"), serde_json::json!([2, 3]));
    assert_eq!(guest.vmmgr(&["sync"]).status.code(), Some(1));
    let check = guest.command(env!("CARGO_BIN_EXE_vmpulse-agentd")).arg("--check-config").output().unwrap();
    assert_eq!(check.status.code(), Some(78));

    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let settings = fs::read_to_string(guest.path("agent.toml")).unwrap();
    fs::write(guest.path("agent.toml"), format!("{settings}authentication = \"required\"\n")).unwrap();
    guest.done(&["sync"]);
    assert_eq!((problem().as_str(), status("authentication")), ("", "required".into()));
    assert_eq!(daemon.stop().await, 0);
    let log = fs::read_to_string(guest.path("log")).unwrap();
    assert!(log.contains("authentication is required, with a key") && !log.contains(&secret), "{log}");
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_a_killed_one_leaves_nothing_in_the_way() {
    let guest = Guest::new();
    let mut first = guest.daemon().await;
    let second = guest.command(env!("CARGO_BIN_EXE_vmpulse-agentd")).output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        text.contains("already running") && text.contains(&first.child.id().unwrap().to_string()),
        "{text}"
    );
    first.child.kill().await.unwrap();
    assert_eq!(guest.vmmgr(&["status"]).status.code(), Some(1));
    let daemon = guest.daemon().await;
    let status = guest.json(&["status"]);
    assert!(status["daemon"]["adapter_problems"][0].as_str().unwrap().contains("absent0"), "{status}");
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test]
async fn a_suspension_outlives_the_daemon_and_a_silence_that_nobody_granted_is_refused() {
    let guest = Guest::new();
    let daemon = guest.daemon().await;
    let suspended = || guest.json(&["status"])["daemon"]["suspended"].clone();
    assert_eq!(suspended(), false);
    // There is no host monitor here, so nobody has heard it: it is kept, and said so.
    let output = guest.vmmgr(&["suspend"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("VMMGR-102(WARNING)"), "{stderr}");
    assert_eq!(suspended(), true);
    assert_eq!(daemon.stop().await, 0);
    let daemon = guest.daemon().await;
    assert_eq!(
        (suspended(), &guest.json(&["status"])["daemon"]["suspension_heard"]),
        (true.into(), &false.into())
    );
    let output = guest.vmmgr(&["-o", "json", "quiet", "60s", "backup"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["quiet"]["granted_ms"], &answer["quiet"]["as_asked"]), (&Value::Null, &false.into()));
    let quiet = &guest.json(&["status"])["daemon"]["quiet"];
    assert_eq!((&quiet["asked_ms"], &quiet["reason"]), (&60_000.into(), &"backup".into()));
    assert_eq!(quiet["granted"], false);
    assert_eq!(guest.vmmgr(&["resume"]).status.code(), Some(1));
    assert_eq!(suspended(), false);
    // What cannot be kept is not done.
    fs::remove_dir_all(guest.path("state")).unwrap();
    fs::write(guest.path("state"), "").unwrap();
    let output = guest.vmmgr(&["suspend"]);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("VMMGR-030(ERROR)"));
    assert_eq!(suspended(), false);
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test]
async fn the_group_may_query_and_only_root_may_change() {
    // Only root can become somebody else.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let guest = Guest::new();
    let settings = fs::read_to_string(guest.path("agent.toml")).unwrap();
    fs::write(guest.path("agent.toml"), settings.replace("query_group = \"\"", "query_group = \"65534\""))
        .unwrap();
    fs::set_permissions(guest.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = guest.daemon().await;
    // The build's directory may not be open to others.
    let vmmgr = guest.path("vmmgr");
    fs::copy(env!("CARGO_BIN_EXE_vmmgr"), &vmmgr).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = guest.command(&vmmgr.display().to_string());
        command.uid(65534).gid(65534).args(words).output().unwrap()
    };
    assert!(as_nobody(&["status"]).status.success());
    guest.done(&["create", "key"]);
    let refusals: [&[&str]; 7] = [
        &["sync"],
        &["modify", "log=3"],
        &["quiet", "60s", "x"],
        &["suspend"],
        &["create", "key"],
        &["query", "key"],
        &["export", "key", "1"],
    ];
    for words in refusals {
        let output = as_nobody(words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("VMMGR-023(ERROR)"), "{stderr}");
    }
    assert_eq!(daemon.stop().await, 0);
}

#[test]
fn mistakes_end_with_sysexits_and_their_reason() {
    let guest = Guest::new();
    let daemon = env!("CARGO_BIN_EXE_vmpulse-agentd");
    fs::write(guest.path("HAMonitoring.xml"), "<Monitoring log=\"9\"/>").unwrap();
    let check = guest.command(daemon).arg("--check-config").output().unwrap();
    assert_eq!(check.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&check.stderr).contains("line 1, column 13"));
    fs::write(guest.path("HAMonitoring.xml"), "<Monitoring/>").unwrap();
    assert!(guest.command(daemon).arg("--check-config").status().unwrap().success());
    let missing = Path::new("/no/such/agent.toml");
    let output = guest.command(daemon).arg("--settings").arg(missing).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/agent.toml"));
    assert_eq!(guest.command(daemon).arg("--nonsense").output().unwrap().status.code(), Some(2));
}
