//! What holds for every class: marks, usage, the list.

use serde_json::Value;
use vmpulse_inject::process::Life;

use super::{GROUP, Machine};

#[test]
fn nothing_is_touched_without_a_mark_and_the_refusal_says_how_to_mark() {
    let mut machine = Machine::unmarked();
    let agent = machine.daemon("vmpulse-agentd", "agent.lock");
    let said = machine.fails(&["agent-kill", "on", "--group", GROUP], 77);
    assert!(said.contains("vmpulse-inject mark rehearsal --yes"), "{said}");
    assert_eq!((agent.life(), machine.state_file("agent-kill").exists()), (Life::Running, false));
    // off and status need none.
    assert_eq!(machine.off("agent-kill"), "already-off");
    assert_eq!(machine.status("agent-kill"), "off");
    machine.fails(&["mark", GROUP], 2);
    machine.does(&["mark", GROUP, "--yes"]);
    machine.fails(&["agent-kill", "on"], 2);
    machine.fails(&["agent-kill", "on", "--group", "another"], 77);
    assert_eq!(machine.on("agent-kill", &[]), "made");
    machine.does(&["unmark"]);
    assert_eq!(machine.off("agent-kill"), "undone");
    machine.fails(&["agent-kill", "on", "--group", GROUP], 77);
}

#[test]
fn every_class_refuses_without_a_mark() {
    let machine = Machine::unmarked();
    let listed: Value = serde_json::from_str(&machine.does(&["-o", "json", "list"])).unwrap();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|class| class["name"].as_str().unwrap()).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in &names {
        let said = machine.fails(&[name, "on", "--group", GROUP], 77);
        assert!(said.contains("not marked as a test group"), "{name}: {said}");
    }
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "{names:?}");
}

#[test]
fn a_state_file_that_cannot_be_read_is_never_taken_for_none() {
    let mut machine = Machine::marked(&[]);
    let agent = machine.daemon("vmpulse-agentd", "agent.lock");
    machine.write("run/vmpulse-inject/agent-kill.json", "{");
    for words in
        [&["agent-kill", "off"][..], &["agent-kill", "status"], &["agent-kill", "on", "--group", GROUP]]
    {
        assert!(machine.fails(words, 1).contains("no state file"));
    }
    assert_eq!(agent.life(), Life::Running);
}

#[test]
fn several_injectors_take_turns() {
    let mut machine = Machine::marked(&[]);
    let agent = machine.daemon("vmpulse-agentd", "agent.lock");
    let words = ["-o", "json", "agent-hang", "on", "--group", GROUP];
    let mut all: Vec<_> = (0..4)
        .map(|_| machine.command(&words).stdout(std::process::Stdio::piped()).spawn().unwrap())
        .collect();
    let said: Vec<String> =
        all.drain(..).map(|one| String::from_utf8(one.wait_with_output().unwrap().stdout).unwrap()).collect();
    let count = |what: &str| said.iter().filter(|text| text.contains(what)).count();
    assert_eq!((count("\"made\""), count("\"already-on\"")), (1, 3), "{said:?}");
    assert_eq!(machine.off("agent-hang"), "undone");
    assert_eq!(agent.life(), Life::Running);
}
