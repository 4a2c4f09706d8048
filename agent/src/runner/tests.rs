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
        let runner = Runner::new(directory.path().to_owned(), "/usr/lib/ocf".into(), GRACE);
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
            typed: None,
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

    /// Runs the script that `body` makes of a path, ends it for its time once it has written a process there, and returns
    /// that process.
    async fn cut_short(&mut self, kind: ScriptKind, body: impl FnOnce(&str) -> String) -> String {
        let pids = self.path("pids");
        let script = self.script("script", &body(&pids));
        let run = self.start(kind, &script);
        let process = written(&pids).await;
        self.runner.kill(run);
        assert_eq!(self.ended().await.outcome, Outcome::Timeout);
        process
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
    let documented = "HOME LANG LOGNAME PATH PWD SHELL USER VMPULSE_ACTION VMPULSE_APPLICATION VMPULSE_RUN \
        VMPULSE_TIME_LIMIT_S VMPULSE_UUID";
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
    let stubborn = |pids: &str| {
        format!(
            "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! > {pids}\nwhile :; do wait; sleep 1000; done\n"
        )
    };
    gone(&Bench::new().cut_short(ScriptKind::Stop, stubborn).await).await;
}

#[tokio::test]
async fn one_that_ends_at_term_but_leaves_a_stubborn_child_has_it_killed() {
    let parent = |pids: &str| {
        format!("#!/bin/sh\n(trap '' TERM; while :; do sleep 1000; done) &\necho $! > {pids}\nwait\n")
    };
    gone(&Bench::new().cut_short(ScriptKind::Monitor, parent).await).await;
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

/// Leaves the session, is orphaned, and hangs.
fn escaping(pids: &str) -> String {
    format!("#!/bin/sh\n(setsid sh -c 'echo $$ > {pids}; exec sleep 1000' &)\nsleep 1000\n")
}

#[tokio::test]
async fn one_that_left_the_session_and_lost_its_parents_is_killed_too() {
    for kind in [ScriptKind::Monitor, ScriptKind::Stop] {
        gone(&Bench::new().cut_short(kind, escaping).await).await;
    }
}

#[tokio::test]
async fn one_that_left_the_session_and_ignores_term_is_killed_too() {
    // Its environment does not name the run, but its parent is still there. The script itself, which is the parent, would end
    // at once; the escaped one must not be lost then.
    let escape = |pids: &str| {
        format!(
            "#!/bin/sh\nsetsid env -i /bin/sh -c 'trap \"\" TERM; echo $$ > {pids}; while :; do sleep 1000; done'\n"
        )
    };
    gone(&Bench::new().cut_short(ScriptKind::Monitor, escape).await).await;
}

#[tokio::test]
async fn an_application_in_a_session_of_its_own_outlives_a_late_start_script() {
    let mut bench = Bench::new();
    let child = bench.cut_short(ScriptKind::Start, escaping).await;
    let pid = Pid::from_raw(child.parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("it lives on");
}

#[tokio::test]
async fn a_script_leads_a_session_as_its_user_with_all_groups() {
    let mut bench = Bench::new();
    let script = bench.script("a", "#!/bin/sh\necho $$ $(ps -o sid= -o pgid= -p $$)\n");
    let (outcome, output) = bench.monitor(&script).await;
    assert_eq!(outcome, Outcome::Exit(0), "{output}");
    let ids: Vec<&str> = output.split_whitespace().collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{output}");
    // Only root can become somebody else.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    fs::set_permissions(bench.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let users = users::Users::system();
    for name in ["nobody", "daemon"] {
        let Some(user) = users.lookup(name) else { continue };
        let script = bench.script("b", "#!/bin/sh\necho $(id -u) $(id -g) $(id -G)\n");
        let mut order = bench.order(ScriptKind::Monitor, &script);
        order.user = name.to_owned();
        bench.runner.start(order);
        let groups = user.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(bench.ended().await.output, format!("{} {} {groups}", user.uid, user.gid));
    }
}

#[tokio::test]
async fn a_typed_application_runs_its_agent_and_its_codes_are_judged() {
    let mut bench = Bench::new();
    let root = bench.directory.path().join("ocf");
    let agents = root.join("resource.d/own");
    fs::create_dir_all(&agents).unwrap();
    // Prints what it was given, and ends as its parameter says.
    let body = "#!/bin/sh\necho $1 $OCF_RESOURCE_INSTANCE; [ -d $HA_RSCTMP ] && exit $OCF_RESKEY_code\n";
    fs::write(agents.join("echo"), body).unwrap();
    fs::set_permissions(agents.join("echo"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.runner = Runner::new(bench.directory.path().join("run"), root, GRACE);
    fs::create_dir(bench.directory.path().join("run")).unwrap();
    let run = async |bench: &mut Bench, agent: &str, code: &str| {
        let mut values = crate::config::Values::new(crate::config::attribute::APPLICATION);
        for (name, text) in [("type", "OCF"), ("instancename", agent), ("param.code", code)] {
            values.set(name, text).unwrap();
        }
        let mut order = bench.order(ScriptKind::Monitor, "");
        order.typed = crate::types::Typed::new(&values).unwrap().map(Arc::new);
        bench.runner.start(order);
        bench.ended().await
    };
    let ended = run(&mut bench, "ocf:own:echo", "0").await;
    assert_eq!((ended.outcome, ended.output.as_str()), (Outcome::Exit(0), "monitor app1"));
    let ended = run(&mut bench, "ocf:own:echo", "8").await;
    assert_eq!((ended.outcome, ended.how.as_str()), (Outcome::Exit(0), "exit code 8 (OCF_RUNNING_PROMOTED)"));
    let ended = run(&mut bench, "ocf:own:echo", "7").await;
    assert_eq!((ended.outcome, ended.how.as_str()), (Outcome::Exit(7), "exit code 7 (OCF_NOT_RUNNING)"));
    assert_eq!(run(&mut bench, "ocf:own:echo", "5").await.outcome, Outcome::CouldNotStart);
    let ended = run(&mut bench, "ocf:own:absent", "0").await;
    assert_eq!(ended.outcome, Outcome::CouldNotStart);
    assert!(
        ended.output.contains("ocf:own:absent") && ended.output.contains("No such file"),
        "{}",
        ended.output
    );
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
