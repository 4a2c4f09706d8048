//! The program as an operator runs it, on a machine in a temporary folder whose daemons are real processes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the harness of these tests")]

mod app;
mod daemons;
mod documents;
mod expect;
mod frame;
mod kernel;
mod storage;
mod store;
mod vms;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The group that the machine is marked for.
const GROUP: &str = "rehearsal";

/// A machine in a temporary folder. Its processes end with this value.
struct Machine {
    folder: tempfile::TempDir,
    children: Vec<std::process::Child>,
}

impl Machine {
    fn unmarked() -> Machine {
        let machine = Machine { folder: tempfile::tempdir().unwrap(), children: Vec::new() };
        machine.write("etc/machine-id", "0123456789abcdef\n");
        machine
    }

    fn marked(targets: &[&str]) -> Machine {
        let machine = Machine::unmarked();
        let mut words = vec!["mark", GROUP, "--yes"];
        words.extend(targets.iter().flat_map(|target| ["--target", target]));
        machine.does(&words);
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmpulse-inject"));
        command.arg("--root").arg(self.folder.path());
        command.arg("--state").arg(self.path("run/vmpulse-inject"));
        command.arg("--marker").arg(self.path("etc/vmpulse/test-group"));
        command.args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs it, which must succeed; what it said.
    fn does(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it, which must end with this exit code; what it said.
    fn fails(&self, words: &[&str], code: i32) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        said(&output)
    }

    fn on(&self, class: &str, more: &[&str]) -> String {
        let mut words = vec!["-o", "json", class, "on", "--group", GROUP];
        words.extend(more);
        field(&self.does(&words), "done")
    }

    fn off(&self, class: &str) -> String {
        field(&self.does(&["-o", "json", class, "off"]), "done")
    }

    fn status(&self, class: &str) -> String {
        field(&self.does(&["-o", "json", class, "status"]), "state")
    }

    fn state_file(&self, class: &str) -> PathBuf {
        self.path(&format!("run/vmpulse-inject/{class}.json"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Also those that the injector has started in their place: everything whose words name this folder.
        let mine = self.folder.path().to_str().unwrap().to_owned();
        for process in vmpulse_inject::process::all() {
            let named = |process: &vmpulse_inject::process::Process| {
                process.words().iter().any(|word| word.contains(&mine))
                    || process.program().is_some_and(|file| file.starts_with(&mine))
            };
            if named(&process) {
                let _ = process.kill();
            }
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn field(json: &str, name: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap();
    value[name].as_str().unwrap().to_owned()
}

/// A copy of a program under another name, which is what daemons are known by.
fn copy_as(from: &Path, to: PathBuf) -> PathBuf {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    // One that runs cannot be written.
    if !to.exists() {
        std::fs::copy(from, &to).unwrap();
    }
    to
}
