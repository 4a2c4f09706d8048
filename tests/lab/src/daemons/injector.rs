//! The failure-injection kit as an operator runs it, on the host or in a guest.

use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Stdio};

use serde_json::Value;

use crate::error::{Lab, LabError, expect};
use crate::kit::Kit;
use crate::process::{Place, Said, run, start_error};

/// The group that the lab's machines are marked for.
const GROUP: &str = "lab";

/// `vmpulse-inject` at one place.
#[derive(Debug, Clone)]
pub(crate) struct Injector {
    program: PathBuf,
    hamgr: String,
    place: Place,
}

impl Injector {
    /// There, with the host's programs.
    pub(crate) fn at(kit: &Kit, place: Place) -> Injector {
        let hamgr = kit.program("hamgr").display().to_string();
        Injector { program: kit.program("vmpulse-inject"), hamgr, place }
    }

    /// There, where the programs are in another folder.
    pub(crate) fn in_folder(folder: &str, place: Place) -> Injector {
        let program = |name: &str| PathBuf::from(folder).join(name);
        let hamgr = program("hamgr").display().to_string();
        Injector { program: program("vmpulse-inject"), hamgr, place }
    }

    /// Marks the machine, with these targets.
    pub(crate) fn mark(&self, targets: &[String]) -> Lab<()> {
        let mut words = vec!["mark", GROUP, "--yes"];
        words.extend(targets.iter().flat_map(|target| ["--target", target.as_str()]));
        self.run(&words)?.ok().map(drop)
    }

    /// Makes a failure, which must succeed.
    pub(crate) fn on(&self, class: &str, more: &[&str]) -> Lab<()> {
        self.on_once(class, more)?;
        self.expect_state(class, "on")?;
        let again = self.done(&[&[class, "on", "--group", GROUP], more].concat())?;
        expect(again == "already-on", || format!("{class} on, twice: {again}"))
    }

    /// Makes a failure that may be over by the time this returns.
    pub(crate) fn on_once(&self, class: &str, more: &[&str]) -> Lab<()> {
        let said = self.done(&[&[class, "on", "--group", GROUP], more].concat())?;
        expect(said == "made", || format!("{class} on: {said}"))
    }

    /// Undoes it, which must succeed, and is harmless once more.
    pub(crate) fn off(&self, class: &str) -> Lab<()> {
        let said = self.done(&[class, "off"])?;
        expect(said == "undone", || format!("{class} off: {said}"))?;
        self.is_off(class)
    }

    /// Makes a failure and waits for its events here.
    pub(crate) fn on_expecting(&self, class: &str, more: &[&str]) -> Lab<String> {
        self.expecting(&[&[class, "on", "--group", GROUP, "--expect", "--hamgr", &self.hamgr], more].concat())
    }

    /// Undoes it and waits for the events of that.
    pub(crate) fn off_expecting(&self, class: &str, more: &[&str]) -> Lab<String> {
        let told = self.expecting(&[&[class, "off", "--expect", "--hamgr", &self.hamgr], more].concat())?;
        self.is_off(class).map(|()| told)
    }

    /// Starts waiting, here, for the events of what is about to be made elsewhere. Returns when it may be made.
    pub(crate) fn watch(&self, class: &str, moment: &str, more: &[&str]) -> Lab<Watching> {
        let mut command = self.command(&[&["watch", class, moment, "--hamgr", &self.hamgr], more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| start_error(&command, source))?;
        let said = child.stderr.take().map(|pipe| BufReader::new(pipe).lines());
        let mut watching = Watching { what: format!("{class} {moment}"), child, said };
        while let Some(line) = watching.line() {
            if line.starts_with("watching since") {
                return Ok(watching);
            }
        }
        Err(LabError::Unexpected(format!("nobody watches {}", watching.what)))
    }

    /// Must be refused: exit status 77, and nothing is touched.
    pub(crate) fn refused(&self, class: &str, more: &[&str]) -> Lab<()> {
        self.ends_with(&[&[class, "on", "--group", GROUP], more].concat(), 77)
    }

    /// Ends with this exit status.
    pub(crate) fn ends_with(&self, words: &[&str], code: i32) -> Lab<()> {
        let said = self.run(words)?;
        expect(said.code() == Some(code), || {
            format!("{words:?} ended with {:?}: {}", said.code(), said.text())
        })
    }

    /// Is killed between its state file and the effect.
    pub(crate) fn dies_before(&self, class: &str, more: &[&str]) -> Lab<()> {
        let mut command = self.command(&[&[class, "on", "--group", GROUP], more].concat());
        command.env("VMPULSE_INJECT_DIE_BEFORE", class);
        let said = run(command)?;
        expect(!said.status.success(), || format!("{class} was not killed: {}", said.text()))
    }

    /// What `status` says must be this.
    pub(crate) fn expect_state(&self, class: &str, state: &str) -> Lab<()> {
        let said = self.field(&[class, "status"], "state")?;
        expect(said == state, || format!("{class} status: {said}, not {state}"))
    }

    /// What `status` says of a failure that is there, for people.
    pub(crate) fn details(&self, class: &str) -> Lab<String> {
        self.field(&[class, "status"], "details")
    }

    fn is_off(&self, class: &str) -> Lab<()> {
        self.expect_state(class, "off")?;
        let again = self.done(&[class, "off"])?;
        expect(again == "already-off", || format!("{class} off, twice: {again}"))
    }

    fn done(&self, words: &[&str]) -> Lab<String> {
        self.field(words, "done")
    }

    /// For people: what came after how long.
    fn expecting(&self, words: &[&str]) -> Lab<String> {
        let said = self.run(words)?;
        let came: Vec<&str> = said.stderr.lines().filter(|line| line.contains(": came after ")).collect();
        let came = came.join("; ");
        said.ok().map(|_| came)
    }

    fn field(&self, words: &[&str], name: &str) -> Lab<String> {
        let text = self.run(&[&["-o", "json"], words].concat())?.ok()?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|error| LabError::Unexpected(format!("{words:?} answered no JSON ({error}): {text}")))?;
        Ok(super::text_of(&answer, name))
    }

    fn run(&self, words: &[&str]) -> Lab<Said> {
        run(self.command(words))
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.place.command(&self.program);
        command.args(words);
        command
    }
}

/// Somebody who waits for events.
#[derive(Debug)]
pub(crate) struct Watching {
    what: String,
    child: Child,
    said: Option<Lines<BufReader<ChildStderr>>>,
}

impl Watching {
    /// Until all came; what came after how long.
    pub(crate) fn saw_it(mut self) -> Lab<String> {
        let mut said = Vec::new();
        while let Some(line) = self.line() {
            said.push(line);
        }
        let ended = self.child.wait();
        let status =
            ended.map_err(|source| LabError::System { action: "wait for a watch".into(), source })?;
        expect(status.success(), || format!("watching {}:\n{}", self.what, said.join("\n")))?;
        said.retain(|line| line.contains(": came after "));
        Ok(said.join("; "))
    }

    fn line(&mut self) -> Option<String> {
        self.said.as_mut()?.next()?.ok()
    }
}
