//! The engine in the real daemon, with real scripts: the traces of the known product, dependencies, orders by hand, a boot.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test that cannot be set up has failed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use vmpulse_agent::command::{LiveApplication, Reply, Request};
use vmpulse_local::command;

/// Long enough for a loaded machine; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(90);

/// Of the known traces. Their scripts take 1 s.
const TRACE: &str =
    "monitor_period=\"5\" monitor_timeout=\"3\" monitor_failure_threshold=\"2\" max_restart=\"1\"";
/// Quick, with time enough for a loaded machine.
const QUICK: &str = "monitor_period=\"3\" monitor_timeout=\"2\" monitor_failure_threshold=\"1\"";

/// What each application's script does, whatever it is called for: it logs that, and the application is a file.
const SCRIPT: &str = "#!/bin/sh\n\
    cd DIRECTORY && name=$VMPULSE_APPLICATION && echo $name:$VMPULSE_ACTION >> actions\n\
    sleep $(cat $name.takes)\n\
    case $VMPULSE_ACTION in\n\
    monitor) [ -e $name.up ] && [ ! -e $name.broken ] ;;\n\
    start) [ ! -e $name.lock ] && touch $name.up ;;\n\
    stop) rm -f $name.up $name.lock ;;\n\
    esac\n";

struct Guest {
    directory: TempDir,
    child: Option<Child>,
}

impl Guest {
    fn new() -> Self {
        let guest = Self { directory: tempfile::tempdir().unwrap(), child: None };
        let settings = format!(
            "adapters = [\"absent0\"]\nvm_uuid = \"61be20f0-09a8-4753-b5e5-564f8a545ed5\"\n\
             config = \"{0}/HAMonitoring.xml\"\nrun_dir = \"{0}/run\"\nstate_dir = \"{0}/state\"\n\
             query_group = \"\"\nkey_file = \"{0}/agent.key\"\n",
            guest.directory.path().display()
        );
        guest.write("agent.toml", &settings);
        guest.write("actions", "");
        guest
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A script for each application, which takes this many seconds, and the file that names them.
    fn configure(&self, vmm: &str, names: &str, takes: &str, attributes: &str, dependencies: &[&str]) {
        let script = SCRIPT.replace("DIRECTORY", &self.directory.path().display().to_string());
        let mut text = format!("<Monitoring {vmm}>\n");
        for (index, name) in names.chars().enumerate() {
            let path = self.path(&format!("{name}.sh"));
            fs::write(&path, &script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            self.write(&format!("{name}.takes"), takes);
            let path = path.display();
            text.push_str(&format!(
                "<Application name=\"{name}\" uuid=\"{:019}\" monitor_script=\"{path}\" stop_script=\"{path}\" \
                 start_script=\"{path}\" user=\"{}\" {attributes}/>\n",
                1_567_267_349_133_928_000 + index,
                nix::unistd::geteuid()
            ));
        }
        for (index, dependency) in dependencies.iter().enumerate() {
            let (kind, list) = dependency.split_once(':').unwrap();
            let uuid = 1_542_239_347_575_681_000 + index;
            text.push_str(&format!(
                "<Dependency depuuid=\"{uuid}\" dependency_type=\"{kind}\" dependency_list=\"{list}\"/>\n"
            ));
        }
        self.write("HAMonitoring.xml", &(text + "</Monitoring>"));
    }

    async fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_vmpulse-agentd"));
        daemon.env("VMPULSE_AGENT_SETTINGS", self.path("agent.toml")).env_remove("VMPULSE_LOG");
        self.child = Some(daemon.stderr(log).kill_on_drop(true).spawn().unwrap());
        self.until("the daemon answers", |guest| guest.ask(Request::Status).is_some()).await;
    }

    async fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(timeout(DEADLINE, child.wait()).await.unwrap().unwrap().success());
    }

    fn ask(&self, request: Request) -> Option<Reply> {
        command::call(&self.path("run/agent.sock"), &request, Duration::from_secs(30)).ok()
    }

    fn application(&self, name: &str) -> LiveApplication {
        let Some(Reply::Applications { applications }) = self.ask(Request::Applications) else {
            panic!("no answer\n{}", self.read("log"))
        };
        applications.into_iter().find(|application| application.name == name).unwrap()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(DEADLINE, wait).await.is_ok(), "not in time: {what}\n{}", self.read("log"));
    }

    async fn until_is(&self, name: &str, status: &str) {
        self.until(&format!("{name} is {status}"), |guest| guest.application(name).status == status).await;
    }

    /// The states that an application has had, from the log.
    fn states(&self, name: &str) -> Vec<String> {
        let log = self.read("log");
        let of_it = format!("app=\"{name}\"");
        let changes = log.lines().filter(|line| line.contains(&of_it) && line.contains(" to="));
        let to =
            |line: &str| line.split(" to=").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        changes.filter_map(to).collect()
    }

    /// What was done, but for the monitoring.
    fn repairs(&self) -> String {
        let actions = self.read("actions");
        actions.lines().filter(|line| !line.ends_with(":monitor")).collect::<Vec<_>>().join(" ")
    }

    fn order(&self, request: Request) -> Vec<String> {
        match self.ask(request) {
            Some(Reply::Ordered { waits_for }) => waits_for,
            other => panic!("{other:?}\n{}", self.read("log")),
        }
    }
}

#[tokio::test]
async fn the_known_trace_of_an_application_that_fails_for_good() {
    let mut guest = Guest::new();
    guest.configure("", "a", "1", TRACE, &[]);
    guest.write("a.up", "");
    guest.start().await;
    guest.until_is("a", "NORMAL").await;
    guest.write("a.broken", "");
    guest.until_is("a", "FAILURE").await;
    assert_eq!(
        guest.states("a").join(" "),
        "UNSET NORMAL FAILING TO_STOP TO_START UNSET FAILING FAILURE",
        "{}",
        guest.read("log")
    );
    assert_eq!(guest.repairs(), "a:stop a:start", "one cycle, and no more");
    guest.remove("a.broken");
    let Some(Reply::Synced { .. }) = guest.ask(Request::Sync) else { panic!("not loaded") };
    assert_eq!(guest.application("a").status, "FAILURE", "the same configuration repairs nothing");
    guest.order(Request::ResumeApplication { name: "a".to_owned() });
    guest.until_is("a", "NORMAL").await;
    guest.stop().await;
}

#[tokio::test]
async fn the_known_traces_of_a_monitor_that_hangs_and_of_one_that_is_renamed() {
    let mut guest = Guest::new();
    guest.configure("", "ab", "1", TRACE, &[]);
    for name in ["a.up", "b.up"] {
        guest.write(name, "");
    }
    guest.start().await;
    guest.until_is("a", "NORMAL").await;
    guest.until_is("b", "NORMAL").await;
    guest.write("a.takes", "600");
    fs::rename(guest.path("b.sh"), guest.path("b.away")).unwrap();
    guest.until_is("b", "ABNORMAL").await;
    guest.until("the hanging one is killed", |guest| guest.application("a").last_result == "TIMOUT").await;
    guest.until_is("a", "TO_STOP").await;
    assert_eq!(guest.states("b"), ["UNSET", "NORMAL", "ABNORMAL"]);
    assert_eq!(guest.states("a"), ["UNSET", "NORMAL", "FAILING", "TO_STOP"]);
    guest.write("a.takes", "0");
    guest.until_is("a", "NORMAL").await;
    guest.stop().await;
}

#[tokio::test]
async fn a_parent_that_dies_takes_its_child_along_and_a_stop_by_hand_outlives_the_daemon() {
    let mut guest = Guest::new();
    guest.configure("", "pc", "0", QUICK, &["parent_child:p,c"]);
    for name in ["p.up", "c.up"] {
        guest.write(name, "");
    }
    guest.start().await;
    guest.until_is("p", "NORMAL").await;
    guest.until_is("c", "NORMAL").await;
    guest.remove("p.up");
    guest
        .until("both were restarted", |guest| {
            guest.states("c").iter().filter(|to| *to == "NORMAL").count() == 2
        })
        .await;
    assert_eq!(guest.repairs(), "c:stop p:stop p:start c:start");

    guest.write("actions", "");
    assert_eq!(guest.order(Request::StopApplication { name: "p".to_owned() }), ["c"]);
    guest.until_is("p", "NOT_MONITORED").await;
    assert_eq!(guest.repairs(), "c:stop p:stop");
    assert_eq!(guest.order(Request::StartApplication { name: "c".to_owned() }), ["p"]);
    let Some(Reply::NotDone { problem }) = guest.ask(Request::StartApplication { name: "x".to_owned() })
    else {
        panic!("there is no x")
    };
    assert!(problem.contains("no application x"), "{problem}");

    guest.stop().await;
    guest.start().await;
    let parent = guest.application("p");
    assert!(parent.stopped && parent.status == "NOT_MONITORED", "{parent:?}");
    guest.until("the child is stopped too", |guest| guest.application("c").status == "TO_START").await;
    guest.order(Request::StartApplication { name: "p".to_owned() });
    guest.until_is("c", "NORMAL").await;
    assert!(!guest.application("p").stopped);
    guest.stop().await;
}

/// Also what a stale lock file needs (the stop script of a cycle removes it), and that a failed start is tried again.
#[tokio::test]
async fn after_a_boot_the_applications_are_started_in_their_order_and_a_stale_lock_is_cleared() {
    let mut guest = Guest::new();
    guest.configure("", "ab", "0", &format!("{QUICK} start_max_failures=\"100\""), &["start_sequence:b,a"]);
    guest.write("a.lock", "of an application that has crashed");
    fs::create_dir(guest.path("state")).unwrap();
    guest.write("state/boot.json", "{\"id\":\"another boot\",\"stopped\":[\"1567267349133928000\"]}");
    guest.start().await;
    guest.until_is("b", "NORMAL").await;
    guest
        .until("the start is tried again", |guest| guest.repairs().starts_with("b:start a:start a:start"))
        .await;
    guest.remove("a.lock");
    guest.until_is("a", "NORMAL").await;
    assert_eq!(guest.application("a").nooftimes_restarted, 0, "a boot is no restart");

    guest.write("actions", "");
    guest.write("a.lock", "");
    guest.remove("a.up");
    guest.until("it was restarted", |guest| guest.application("a").nooftimes_restarted == 1).await;
    assert_eq!(guest.repairs(), "a:stop a:start");
    guest.stop().await;
}

#[tokio::test]
async fn a_suspended_vm_is_gray_and_its_applications_are_left_alone() {
    let mut guest = Guest::new();
    guest.configure("rebootappstarttype=\"OS\"", "a", "0", QUICK, &[]);
    guest.write("a.up", "");
    guest.start().await;
    guest.until_is("a", "NORMAL").await;
    // There is no host monitor to hear it.
    let told = guest.ask(Request::Suspension { suspend: true });
    assert!(matches!(told, Some(Reply::Told { .. })), "{told:?}");
    assert_eq!(guest.application("a").colour, "GRAY");
    guest.remove("a.up");
    guest.stop().await;
    guest.start().await;
    assert_eq!(guest.application("a").colour, "GRAY", "the suspension outlives the daemon");
    let told = guest.ask(Request::Suspension { suspend: false });
    assert!(matches!(told, Some(Reply::Told { .. })), "{told:?}");
    guest.until_is("a", "NORMAL").await;
    assert_eq!(guest.repairs(), "a:stop a:start", "and it is looked after again");
    guest.stop().await;
}
