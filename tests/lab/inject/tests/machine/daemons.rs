//! Agents and host monitors: copies of this test under their names, which hold their locks.

use std::path::Path;
use std::process::{Command, Stdio};

use vmpulse_inject::process::{Life, Process};
use vmpulse_inject::wait;
use vmpulse_local::lock::RunLock;

use super::{GROUP, Machine, copy_as};

/// The daemon: run by [`Machine::daemon`] under a daemon's name.
#[test]
fn holds_its_lock() {
    let Some(file) = std::env::var_os("INJECT_TEST_LOCK") else { return };
    let _lock = RunLock::acquire(Path::new(&file)).unwrap();
    wait::pause(std::time::Duration::from_secs(600));
}

impl Machine {
    /// Starts a daemon that holds `run/vmpulse/LOCK`.
    pub(crate) fn daemon(&mut self, program: &str, lock: &str) -> Process {
        let file = copy_as(&std::env::current_exe().unwrap(), self.path(&format!("bin/{program}")));
        let lock = self.path(&format!("run/vmpulse/{lock}"));
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        let mut command = Command::new(file);
        command.args(["--exact", "daemons::holds_its_lock"]).env("INJECT_TEST_LOCK", &lock);
        command.stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        self.children.push(child);
        let written = || std::fs::read_to_string(&lock).is_ok_and(|text| text.trim() == pid.to_string());
        wait::until("the daemon has its lock", wait::SOON, || Ok(written())).unwrap();
        Process::of(pid).unwrap()
    }

    pub(crate) fn holder(&self, lock: &str) -> Option<Process> {
        let text = std::fs::read_to_string(self.path(&format!("run/vmpulse/{lock}"))).ok()?;
        Process::of(text.trim().parse().ok()?).filter(|process| process.life() != Life::Gone)
    }
}

#[test]
fn a_killed_agent_is_started_again_as_it_was() {
    let mut machine = Machine::marked(&[]);
    let agent = machine.daemon("vmpulse-agentd", "agent.lock");
    assert_eq!(machine.status("agent-kill"), "off");
    assert_eq!(machine.on("agent-kill", &[]), "made");
    assert_eq!(agent.life(), Life::Gone);
    assert_eq!(machine.status("agent-kill"), "on");
    assert_eq!(machine.on("agent-kill", &[]), "already-on");
    assert_eq!(machine.off("agent-kill"), "undone");
    let again = machine.holder("agent.lock").unwrap();
    assert_ne!(again, agent);
    assert_eq!(again.program(), Some(machine.path("bin/vmpulse-agentd")));
    assert_eq!(machine.status("agent-kill"), "off");
    assert_eq!(machine.off("agent-kill"), "already-off");
    assert!(!machine.state_file("agent-kill").exists());
}

#[test]
fn a_hanging_agent_goes_on() {
    let mut machine = Machine::marked(&[]);
    let agent = machine.daemon("vmpulse-agentd", "agent.lock");
    assert_eq!(machine.on("agent-hang", &[]), "made");
    assert_eq!(agent.life(), Life::Stopped);
    assert_eq!(machine.on("agent-hang", &[]), "already-on");
    assert_eq!(machine.off("agent-hang"), "undone");
    assert_eq!(agent.life(), Life::Running);
}

#[test]
fn an_agent_that_was_killed_while_it_hung_is_not_called_restored() {
    let mut machine = Machine::marked(&[]);
    let agent = machine.daemon("vmpulse-agentd", "agent.lock");
    machine.on("agent-hang", &[]);
    agent.kill().unwrap();
    machine.children.pop().unwrap().wait().unwrap();
    assert!(machine.fails(&["agent-hang", "off"], 1).contains("NOT undone"));
    assert!(machine.state_file("agent-hang").exists());
    // Somebody starts it: then it is.
    machine.daemon("vmpulse-agentd", "agent.lock");
    assert_eq!(machine.off("agent-hang"), "undone");
}

#[test]
fn an_injector_that_was_killed_before_the_effect_leaves_nothing_behind() {
    let mut machine = Machine::marked(&[]);
    let agent = machine.daemon("vmpulse-agentd", "agent.lock");
    for class in ["agent-kill", "agent-hang"] {
        let mut command = machine.command(&[class, "on", "--group", GROUP]);
        assert!(!command.env("VMPULSE_INJECT_DIE_BEFORE", class).status().unwrap().success());
        assert!(machine.state_file(class).exists());
        assert_eq!((machine.status(class).as_str(), agent.life()), ("off", Life::Running));
        assert_eq!(machine.off(class), "undone");
        assert_eq!(agent.life(), Life::Running);
    }
    let mut command = machine.command(&["agent-hang", "on", "--group", GROUP]);
    command.env("VMPULSE_INJECT_DIE_BEFORE", "agent-hang").status().unwrap();
    // The next one does not trip over what it left.
    assert_eq!(machine.on("agent-hang", &[]), "made");
    assert_eq!(machine.off("agent-hang"), "undone");
}

#[test]
fn a_process_that_only_has_the_number_is_not_touched() {
    let mut machine = Machine::marked(&[]);
    let other = machine.daemon("somebody", "other.lock");
    // A lock that was left behind, with a number that is somebody else's by now.
    machine.write("run/vmpulse/agent.lock", &format!("{}\n", other.pid));
    assert!(machine.fails(&["agent-kill", "on", "--group", GROUP], 1).contains("does not run here"));
    // And one whose holder is no agent.
    let impostor = machine.daemon("somebody-else", "agent.lock");
    assert!(machine.fails(&["agent-kill", "on", "--group", GROUP], 1).contains("does not run here"));
    assert_eq!((other.life(), impostor.life()), (Life::Running, Life::Running));
}

#[test]
fn one_host_monitor_of_several_must_be_named() {
    let mut machine = Machine::marked(&[]);
    let first = machine.daemon("vmpulse-hostmond", "hostmon-trunkA.lock");
    let second = machine.daemon("vmpulse-hostmond", "hostmon-trunkB.lock");
    assert!(machine.fails(&["hm-kill", "on", "--group", GROUP], 2).contains("trunkA, trunkB"));
    assert_eq!(machine.on("hm-kill", &["--trunk", "trunkB"]), "made");
    assert_eq!((first.life(), second.life()), (Life::Running, Life::Gone));
    assert_eq!(machine.off("hm-kill"), "undone");
    assert!(machine.holder("hostmon-trunkB.lock").is_some());
}

#[test]
fn all_host_monitors_die_and_come_back() {
    let mut machine = Machine::marked(&[]);
    let both = ["trunkA", "trunkB"]
        .map(|trunk| machine.daemon("vmpulse-hostmond", &format!("hostmon-{trunk}.lock")));
    assert_eq!(machine.on("all-hm", &[]), "made");
    assert!(both.iter().all(|one| one.life() == Life::Gone));
    assert_eq!(machine.off("all-hm"), "undone");
    assert!(
        machine.holder("hostmon-trunkA.lock").is_some() && machine.holder("hostmon-trunkB.lock").is_some()
    );
}

#[test]
fn a_mark_that_names_host_monitors_speaks_of_those_alone() {
    let mut machine = Machine::marked(&["monitor:trunkA"]);
    let both = ["trunkA", "trunkB"]
        .map(|trunk| machine.daemon("vmpulse-hostmond", &format!("hostmon-{trunk}.lock")));
    machine.fails(&["hm-kill", "on", "--group", GROUP, "--trunk", "trunkB"], 77);
    machine.fails(&["all-hm", "on", "--group", GROUP], 77);
    machine.fails(&["host", "on", "--group", GROUP], 77);
    assert!(both.iter().all(|one| one.life() == Life::Running));
    assert_eq!(machine.on("hm-kill", &["--trunk", "trunkA"]), "made");
    assert_eq!(machine.off("hm-kill"), "undone");
}

#[test]
fn a_daemon_that_somebody_starts_again_meanwhile_is_left_alone() {
    let mut machine = Machine::marked(&[]);
    machine.daemon("vmpulse-agentd", "agent.lock");
    assert_eq!(machine.on("agent-kill", &["--once"]), "made");
    let again = machine.daemon("vmpulse-agentd", "agent.lock");
    assert_eq!(machine.status("agent-kill"), "passed");
    assert_eq!(machine.off("agent-kill"), "undone");
    assert_eq!(machine.holder("agent.lock"), Some(again));
}

#[test]
fn a_monitor_that_cannot_be_started_again_does_not_keep_the_others_dead() {
    let mut machine = Machine::marked(&[]);
    machine.daemon("vmpulse-hostmond", "hostmon-trunkA.lock");
    machine.daemon("vmpulse-hostmond", "hostmon-trunkB.lock");
    assert_eq!(machine.on("all-hm", &[]), "made");
    let file = machine.state_file("all-hm");
    let text = std::fs::read_to_string(&file).unwrap();
    let program = machine.path("bin/vmpulse-hostmond").display().to_string();
    // The first one's program is gone.
    std::fs::write(&file, text.replacen(&program, &format!("{program}-gone"), 1)).unwrap();
    let said = machine.fails(&["all-hm", "off"], 1);
    assert!(said.contains("vmpulse-hostmond-gone"), "{said}");
    assert!(machine.holder("hostmon-trunkA.lock").is_none());
    assert!(machine.holder("hostmon-trunkB.lock").is_some());
}
