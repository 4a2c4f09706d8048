use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Long enough for a loaded machine; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

const GRACE: Grace = Grace {
    term: Duration::from_millis(300),
    kill: Duration::from_secs(10),
    drain: Duration::from_millis(100),
};

/// A runner, and scripts in a directory.
struct Bench {
    directory: TempDir,
    runner: Runner,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runner = Runner::new(directory.path().to_owned(), GRACE);
        Self { directory, runner, next: 0 }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn script(&self, name: &str, body: &str) -> String {
        let path = self.path(name);
        fs::write(&path, body).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn order(&mut self, kind: ScriptKind, command: &str) -> StartScript {
        self.next += 1;
        StartScript {
            app: "app1".to_owned(),
            uuid: "1567267349133928000".to_owned(),
            run: RunId(self.next),
            kind,
            command: command.to_owned(),
            user: nix::unistd::geteuid().to_string(),
            time_limit: Duration::from_secs(7),
        }
    }

    fn start(&mut self, kind: ScriptKind, command: &str) -> RunId {
        let order = self.order(kind, command);
        let run = order.run;
        self.runner.start(order);
        run
    }

    async fn ended(&mut self) -> Ended {
        timeout(DEADLINE, self.runner.ended()).await.expect("the run ended in time")
    }

    async fn monitor(&mut self, command: &str) -> (Outcome, String) {
        self.start(ScriptKind::Monitor, command);
        let ended = self.ended().await;
        (ended.outcome, ended.output)
    }
}

/// Waits until a script has written `path`, and returns its text.
async fn written(path: &str) -> String {
    let wait = async {
        loop {
            match fs::read_to_string(path) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(DEADLINE, wait).await.expect("the script wrote its file in time")
}

async fn gone(pid: &str) {
    let wait = async {
        while Path::new("/proc").join(pid).join("fd").read_dir().is_ok_and(|mut open| open.next().is_some()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.expect("the process was gone in time");
}

#[tokio::test]
async fn exit_code_signal_and_last_lines() {
    let mut bench = Bench::new();
    let script = bench.script("a", "#!/bin/sh\necho one\necho two >&2\nexit $1\n");
    assert_eq!(bench.monitor(&format!("{script} 3")).await, (Outcome::Exit(3), "one | two".to_owned()));
    assert_eq!(bench.monitor(&format!("{script} 0")).await.0, Outcome::Exit(0));
    let script = bench.script("b", "#!/bin/sh\nkill -9 $$\n");
    assert_eq!(bench.monitor(&script).await.0, Outcome::Signal(9));
}

#[tokio::test]
async fn arguments_directory_and_environment_are_as_documented() {
    let mut bench = Bench::new();
    let script =
        bench.script("a", "#!/bin/sh\necho \"$# $2 $(pwd)\"\nenv | cut -d= -f1 | sort | tr '\\n' ' '\n");
    let (outcome, output) = bench.monitor(&format!("{script} x 'a  b'")).await;
    assert_eq!(outcome, Outcome::Exit(0));
    let documented = "HOME LANG LOGNAME PATH PWD SHELL USER VMPULSE_ACTION VMPULSE_APPLICATION VMPULSE_TIME_LIMIT_S \
        VMPULSE_UUID";
    let found = output.replace("OLDPWD ", "").replace("SHLVL ", "").replace(" _ ", " ");
    assert_eq!(found.trim(), format!("2 a  b / | {documented}"));
    let page = include_str!("../../../docs/reference/applications.md");
    for name in documented.split_whitespace().filter(|name| *name != "PWD") {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[tokio::test]
async fn a_script_without_an_interpreter_line_is_run_by_a_shell() {
    let mut bench = Bench::new();
    let script = bench.script("a", "echo $1\nexit 4\n");
    assert_eq!(bench.monitor(&format!("{script} x")).await, (Outcome::Exit(4), "x".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_run_says_so() {
    let mut bench = Bench::new();
    let plain = bench.script("plain", "#!/bin/sh\n");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let orphan = bench.script("orphan", "#!/no/such/interpreter\n");
    for command in [bench.path("missing"), plain, orphan, bench.path("")] {
        let (outcome, output) = bench.monitor(&command).await;
        assert_eq!(outcome, Outcome::CouldNotStart, "{command}: {output}");
        assert!(output.contains(&command), "{output}");
    }
    let mut order = bench.order(ScriptKind::Monitor, "/bin/true");
    order.user = "no-such-user".to_owned();
    bench.runner.start(order);
    let ended = bench.ended().await;
    assert_eq!(ended.outcome, Outcome::CouldNotStart);
    assert!(ended.output.contains("no-such-user"), "{}", ended.output);
}

#[tokio::test]
async fn a_hanging_script_is_killed_with_its_group_and_others_go_on() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    let hang = bench.script("hang", &format!("#!/bin/sh\nsleep 1000 &\necho $! > {pids}\nsleep 1000\n"));
    let hanging = bench.start(ScriptKind::Monitor, &hang);
    let child = written(&pids).await;
    assert_eq!(bench.monitor("/bin/true").await.0, Outcome::Exit(0));
    bench.runner.kill(hanging);
    bench.runner.kill(hanging);
    let ended = bench.ended().await;
    assert_eq!((ended.run, ended.outcome), (hanging, Outcome::Timeout));
    gone(&child).await;
}

#[tokio::test]
async fn one_that_ignores_term_is_killed() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    let body = format!(
        "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! > {pids}\nwhile :; do wait; sleep 1000; done\n"
    );
    let stubborn = bench.script("stubborn", &body);
    let run = bench.start(ScriptKind::Stop, &stubborn);
    let child = written(&pids).await;
    bench.runner.kill(run);
    assert_eq!(bench.ended().await.outcome, Outcome::Timeout);
    gone(&child).await;
}

#[tokio::test]
async fn one_that_ends_at_term_but_leaves_a_stubborn_child_has_it_killed() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    let body = format!("#!/bin/sh\n(trap '' TERM; while :; do sleep 1000; done) &\necho $! > {pids}\nwait\n");
    let script = bench.script("parent", &body);
    let run = bench.start(ScriptKind::Monitor, &script);
    let child = written(&pids).await;
    bench.runner.kill(run);
    assert_eq!(bench.ended().await.outcome, Outcome::Timeout);
    gone(&child).await;
}

#[tokio::test]
async fn an_escaped_grandchild_that_holds_the_output_is_not_waited_for() {
    let mut bench = Bench::new();
    let pids = bench.path("pids");
    let body = format!("#!/bin/sh\nsetsid sh -c 'echo $$ > {pids}; exec sleep 1000' &\necho done\nexit 0\n");
    let script = bench.script("escape", &body);
    assert_eq!(bench.monitor(&script).await, (Outcome::Exit(0), "done".to_owned()));
    let child = written(&pids).await;
    let pid = Pid::from_raw(child.parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("it lives on");
}

#[tokio::test]
async fn a_flood_is_read_slowly_and_only_its_end_is_kept() {
    let mut bench = Bench::new();
    let flowing = bench.path("flowing");
    // More than a pipe holds: when the file is there, some of it has been read.
    let body = format!(
        "#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' a\necho yes > {flowing}\nexec yes 0123456789\n"
    );
    let flood = bench.script("flood", &body);
    let run = bench.start(ScriptKind::Monitor, &flood);
    written(&flowing).await;
    assert_eq!(bench.monitor("/bin/true").await.0, Outcome::Exit(0));
    bench.runner.kill(run);
    let ended = bench.ended().await;
    assert_eq!(ended.outcome, Outcome::Timeout);
    assert!(!ended.output.is_empty() && ended.output.len() < 4096, "{}", ended.output);
}

#[tokio::test]
async fn what_a_start_script_leaves_behind_may_print_for_ever() {
    let mut bench = Bench::new();
    let (go, after) = (bench.path("go"), bench.path("after"));
    let body = format!(
        "#!/bin/sh\necho starting\n(while [ ! -e {go} ]; do sleep 0.01; done; echo still here; echo alive > {after}) &\n"
    );
    let script = bench.script("start", &body);
    bench.start(ScriptKind::Start, &script);
    let ended = bench.ended().await;
    assert_eq!((ended.outcome, ended.output.as_str()), (Outcome::Exit(0), "starting"));
    drop(bench.runner);
    fs::write(&go, "").unwrap();
    assert_eq!(written(&after).await, "alive");
    assert_eq!(
        written(&format!("{}/start-app1.log", bench.directory.path().display())).await,
        "starting\nstill here"
    );
}
