//! What the lab says while it works: to standard error, one line a step, with a running clock on a terminal.

use std::io::{IsTerminal, Write as _, stderr};
use std::process::{Child, Command, Stdio};

use crate::error::{Lab, LabError};
use crate::process::command_line;
use crate::wait::{self, Stopwatch};

/// Columns of a step's text before its time.
const TEXT_COLUMNS: usize = 62;

/// One step of work that is told when it begins and when it ended.
#[derive(Debug)]
pub(crate) struct Step {
    text: String,
    watch: Stopwatch,
    shown_second: u64,
}

impl Step {
    /// Tells that it begins.
    pub(crate) fn begin(text: impl Into<String>) -> Step {
        let step = Step { text: text.into(), watch: Stopwatch::start(), shown_second: 0 };
        if stderr().is_terminal() {
            step.draw("...");
        }
        step
    }

    /// Shows the running time, once a second and only on a terminal.
    pub(crate) fn tick(&mut self) {
        let second = self.watch.elapsed().as_secs();
        if second > self.shown_second && stderr().is_terminal() {
            self.shown_second = second;
            self.draw(&format!("{second} s"));
        }
    }

    /// Tells how it ended: "done", "3 passed", ...
    pub(crate) fn end(self, outcome: &str) {
        let time = format!("{:.1} s", self.watch.seconds());
        self.draw(&format!("{outcome} ({time})"));
        let _ = writeln!(stderr());
    }

    /// Ends it as done or failed, passing the result on.
    pub(crate) fn finish<T>(self, result: Lab<T>) -> Lab<T> {
        self.end(if result.is_ok() { "done" } else { "FAILED" });
        result
    }

    fn draw(&self, state: &str) {
        let start = if stderr().is_terminal() { "\r\x1b[K" } else { "" };
        let _ = write!(stderr(), "{start}  {:<TEXT_COLUMNS$} {state}", self.text);
        let _ = stderr().flush();
    }
}

/// A line of its own to standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Runs a command as one step, its output in `log`; on failure the error quotes the end of it.
pub(crate) fn run_step(text: &str, command: Command, log: &std::path::Path) -> Lab<String> {
    let step = Step::begin(text);
    run_quietly(step, command, log)
}

fn run_quietly(mut step: Step, mut command: Command, log: &std::path::Path) -> Lab<String> {
    let file = std::fs::File::create(log).map_err(LabError::file("write", log))?;
    let copy = file.try_clone().map_err(LabError::file("write", log))?;
    let line = command_line(&command);
    let child = command.stdin(Stdio::null()).stdout(copy).stderr(file).spawn();
    let mut child = child.map_err(|source| LabError::Start { program: line.clone(), source })?;
    let status = wait_ticking(&mut child, &mut step);
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let result = status.and_then(|status| {
        if status.success() {
            return Ok(text.clone());
        }
        let tail = last_lines(&text, 40);
        Err(LabError::Command {
            command: line,
            status: status.to_string(),
            detail: format!("; all of it is in {}:\n{}", log.display(), wait::indented(&tail).trim_end()),
        })
    });
    step.finish(result)
}

fn wait_ticking(child: &mut Child, step: &mut Step) -> Lab<std::process::ExitStatus> {
    let failed = |source| LabError::System { action: "wait for a command".into(), source };
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if wait::interrupted() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(LabError::Interrupted);
        }
        step.tick();
        wait::pause();
    }
}

/// The last lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}
