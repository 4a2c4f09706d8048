//! `hmmgr key` as a process: files, exit codes, and what running host monitors are told.
// Helpers of a test file, which clippy does not take for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use vmpulse_hostmon::status::{CommandRequest, KeysLoaded, PathStatus, Status};
use vmpulse_local::command::CommandListener;
use vmpulse_store::MonitorMode;

const VM: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed5";
const OTHER: &str = "61be20f0-09a8-4753-b5e5-564f8a545ed6";
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A machine of its own: settings, folders.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.settings("");
        machine
    }

    fn settings(&self, more: &str) {
        let folder = self.0.path().display();
        let text = format!(
            "run_dir = \"{folder}\"\nstate_dir = \"{folder}/state\"\nkey_dir = \"{folder}/keys\"\n{more}\n"
        );
        std::fs::write(self.path("hostmon.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn key_file(&self) -> PathBuf {
        self.path(&format!("keys/{VM}.key"))
    }

    /// The mark that a host monitor writes when it has authenticated the VM.
    fn mark(&self) -> PathBuf {
        let folder = self.path("state/authenticated");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(VM), "").unwrap();
        folder.join(VM)
    }

    fn run(&self, words: &str, input: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hmmgr"));
        command.arg("key").args(words.split_whitespace()).env_remove("VMPULSE_LOG");
        command.env("VMPULSE_HOSTMON_SETTINGS", self.path("hostmon.toml"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that wants no input does not read it.
        let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn done(&self, words: &str) -> String {
        let (code, stdout, stderr) = self.run(words, "");
        assert_eq!((code, stderr.as_str()), (0, ""), "{words}: {stdout}");
        stdout
    }

    fn list(&self) -> (i32, Value) {
        let (code, stdout, _) = self.run("list -o json", "");
        (code, serde_json::from_str(&stdout).unwrap())
    }

    /// A host monitor whose only path uses this key. Returns what it is asked.
    fn serve(&self, trunk: &'static str, key_id: Option<u8>) -> Arc<Mutex<Vec<CommandRequest>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = self.path(&format!("hostmon-{trunk}.sock"));
        let mut listener = runtime.block_on(async { CommandListener::bind(&socket, 0o600, None).unwrap() });
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let key_dir = self.path("keys").display().to_string();
        std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    let call = listener.accept().await;
                    let request: CommandRequest = serde_json::from_value(call.request.clone()).unwrap();
                    match &request {
                        CommandRequest::Status => call.reply(&status(trunk, key_id)),
                        CommandRequest::LoadKeys | CommandRequest::RelaxKey { .. } => {
                            call.reply(&loaded(trunk, &key_dir));
                            log.lock().unwrap().push(request);
                        }
                    }
                }
            });
        });
        asked
    }
}

fn loaded(trunk: &str, key_dir: &str) -> KeysLoaded {
    KeysLoaded {
        trunk: trunk.to_owned(),
        authentication: "optional".to_owned(),
        key_dir: key_dir.to_owned(),
        vms: 1,
        problems: vec![],
    }
}

fn status(trunk: &str, key_id: Option<u8>) -> Status {
    let path = PathStatus {
        vm: VM.to_owned(),
        mac: "02:00:ab:00:01:01".to_owned(),
        state: "BEATING".to_owned(),
        suspended: None,
        version: "2.1".to_owned(),
        interval_ms: 1000,
        last_heartbeat_age_ms: Some(412),
        heartbeats: 7,
        authenticated_in: key_id.is_some(),
        authenticated_out: key_id.is_some(),
        key_id,
        guardian: false,
    };
    Status {
        settings: Default::default(),
        removed: false,
        trunk: trunk.to_owned(),
        trunk_heard: true,
        isolated: false,
        canary: vmpulse_hostmon::status::CanaryStatus::default(),
        uuid: "5ac3e0dc-13fc-4221-9617-8ef61c4cdd83".to_owned(),
        mac: "02:00:ab:00:00:01".to_owned(),
        pid: 4711,
        mode: MonitorMode::Global,
        mode_since: None,
        mode_reason: None,
        incarnation: "1795245600.000000000.1".to_owned(),
        started: "2026-11-21T07:00:00Z".to_owned(),
        store: "sqlite:///var/lib/vmpulse/health.db".to_owned(),
        store_ok: true,
        pending_writes: 0,
        spool: 0,
        spool_bytes: 0,
        spool_error: None,
        paths: vec![path],
        counters: [].into(),
        without_path: vec![],
        quiet: vec![],
        store_work: Default::default(),
        policing: vmpulse_hostmon::policing::PolicingStatus::default(),
        kernel_drops: 0,
        late: 0,
    }
}

#[test]
fn a_key_travels_through_pipes_only() {
    let (here, there) = (Machine::new(), Machine::new());
    let said = here.done(&format!("create {VM}"));
    assert!(said.contains(&format!("Key 1 of VM {VM} created.")) && said.contains("vmmgr key import --id 1"));
    assert!(said.contains("No host monitor runs here"), "{said}");
    let secret = here.done(&format!("export {VM} --id 1"));
    assert_eq!((secret.len(), secret.trim().len()), (65, 64));
    let (code, said, _) = there.run(&format!("import {VM} --id 1"), &secret);
    assert!(code == 0 && said.contains("Key 1 of VM") && said.contains("imported"), "{said}");
    assert_eq!(std::fs::read(here.key_file()).unwrap(), std::fs::read(there.key_file()).unwrap());
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(there.key_file()), mode(there.path("keys"))), (0o600, 0o700));
    std::fs::write(there.path("carried"), &secret).unwrap();
    let said = there.done(&format!("import {VM} --id 1 {}", there.path("carried").display()));
    assert!(said.contains("was there already"), "{said}");
}

#[test]
fn refusals_have_exit_codes_change_nothing_and_show_no_key() {
    let machine = Machine::new();
    machine.done(&format!("create {VM} --id 7"));
    let before = std::fs::read(machine.key_file()).unwrap();
    for (words, input, wanted, part) in [
        (format!("create {VM}"), "", 1, "has key 7 already"),
        (format!("import {VM} --id 7"), SECRET, 1, "another key has id 7"),
        (format!("import {VM} --id 8"), "5e5e", 1, "no key: expected 64 hexadecimal digits"),
        (format!("import {VM} --id 8 /no/such/file"), "", 1, "/no/such/file"),
        (format!("remove {VM} --id 8"), "", 1, "has no key 8"),
        (format!("export {VM} --id 8"), "", 1, "has no key 8"),
        (format!("rotate {OTHER}"), "", 1, "hmmgr key create"),
        (format!("import {VM} --id 0"), SECRET, 2, "1 to 255"),
        (format!("import {VM}"), SECRET, 2, "--id"),
        ("create guest1".to_owned(), "", 2, "not a UUID"),
        (format!("import {VM} --id 9 - {SECRET}"), "", 2, "unexpected argument"),
    ] {
        let (code, stdout, stderr) = machine.run(&words, input);
        assert_eq!((code, stdout.as_str()), (wanted, ""), "{words}: {stderr}");
        assert!(stderr.contains(part) && !stderr.contains("5e5e"), "{words}: {stderr}");
        assert_eq!(std::fs::read(machine.key_file()).unwrap(), before, "{words}");
    }
    std::fs::set_permissions(machine.key_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    for words in [format!("rotate {VM}"), format!("export {VM} --id 7"), "list".to_owned()] {
        let (code, _, stderr) = machine.run(&words, "");
        assert!(code == 78 && stderr.contains("chmod 600"), "{words}: {code} {stderr}");
    }
}

#[test]
fn every_host_monitor_is_told_of_every_change() {
    let machine = Machine::new();
    let (one, two) = (machine.serve("eth1", None), machine.serve("eth2", None));
    let said = machine.done(&format!("create {VM}"));
    assert!(said.contains("trunk eth1: authentication is optional; VMs with keys: 1"), "{said}");
    machine.done(&format!("rotate {VM}"));
    machine.done(&format!("remove {VM} --id 1"));
    machine.done(&format!("relax {VM}"));
    let load = CommandRequest::LoadKeys;
    let wanted = [load.clone(), load.clone(), load, CommandRequest::RelaxKey { vm: VM.to_owned() }];
    assert_eq!((&*one.lock().unwrap(), &*two.lock().unwrap()), (&wanted.to_vec(), &wanted.to_vec()));

    // One that reads another folder is not served by this command.
    let settings = std::fs::read_to_string(machine.path("hostmon.toml")).unwrap();
    std::fs::write(machine.path("hostmon.toml"), settings.replace("/keys\"", "/elsewhere\"")).unwrap();
    let (code, _, stderr) = machine.run(&format!("create {OTHER}"), "");
    assert!(code == 78 && stderr.contains("reads its keys in"), "{code} {stderr}");

    std::fs::write(machine.path("hostmon-eth3.sock"), "left behind").unwrap();
    let (code, _, stderr) = machine.run(&format!("rotate {OTHER}"), "");
    assert!(code == 78 && !stderr.contains("eth3"), "a socket that nobody serves: {code} {stderr}");
}

#[test]
fn a_key_that_a_path_uses_is_not_removed_unless_forced() {
    let machine = Machine::new();
    machine.done(&format!("create {VM}"));
    machine.done(&format!("rotate {VM}"));
    machine.serve("eth1", Some(1));
    let (code, _, stderr) = machine.run(&format!("remove {VM} --id 1"), "");
    assert!(code == 1 && stderr.contains("over trunk eth1 uses key 1"), "{code} {stderr}");
    let (_, list) = machine.list();
    assert_eq!(list["vms"][0]["key_ids"], json!([1, 2]));
    assert_eq!(list["vms"][0]["paths"][0]["key_id"], 1);
    assert_eq!(list["vms"][0]["paths"][0]["trunk"], "eth1");
    machine.done(&format!("remove {VM} --id 1 --force"));
    // The last key of a VM that must be authenticated.
    let mark = machine.mark();
    let (code, _, stderr) = machine.run(&format!("remove {VM} --id 2"), "");
    assert!(code == 1 && stderr.contains("only key of VM"), "{code} {stderr}");
    let said = machine.done(&format!("remove {VM} --id 2 --force"));
    assert!(said.contains("is refused until `hmmgr key relax"), "{said}");
    assert!(mark.exists());
}

#[test]
fn the_list_shows_who_must_be_authenticated_and_relax_ends_it() {
    let machine = Machine::new();
    let none = machine.done("list");
    assert!(none.starts_with("No key in ") && none.contains("`hmmgr key create VM` makes one"), "{none}");
    machine.done(&format!("create {VM}"));
    machine.mark();
    machine.serve("eth1", Some(1));
    let text = machine.done("list");
    let line = format!("{VM}  1        yes       eth1: key 1 in+out\n");
    assert!(text.ends_with(&line), "{text}");
    let (code, list) = machine.list();
    assert_eq!((code, &list["authentication"], &list["problems"]), (0, &json!("optional"), &json!([])));
    assert_eq!(
        (&list["vms"][0]["required"], &list["vms"][0]["once_authenticated"]),
        (&json!(true), &json!(true))
    );
    let secret = machine.done(&format!("export {VM} --id 1"));
    assert!(!text.contains(secret.trim()) && !list.to_string().contains(secret.trim()));
    let said = machine.done(&format!("relax {VM}"));
    assert!(said.contains("may be without authentication"), "{said}");
    assert_eq!(machine.list().1["vms"][0]["required"], json!(false));
    assert!(machine.done(&format!("relax {VM}")).contains("did not have to be authenticated"));
    machine.settings("authentication = \"required\"");
    assert_eq!(machine.list().1["vms"][0]["required"], json!(true));
    assert!(machine.done(&format!("relax {VM}")).contains("goes on having to be authenticated"));
    machine.mark();
    machine.settings("authentication = \"receive-only\"");
    assert_eq!(machine.list().1["vms"][0]["required"], json!(false));
}

/// Rotations at the same time: one begins, the others are told that two keys are valid already.
#[test]
fn commands_at_the_same_time_make_one_change() {
    let machine = Machine::new();
    machine.done(&format!("create {VM}"));
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let machine = &machine;
        let runs: Vec<_> =
            (0..4).map(|_| scope.spawn(move || machine.run(&format!("rotate {VM}"), "").0)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(machine.list().1["vms"][0]["key_ids"], json!([1, 2]));
}
