//! `ip`, `nft`, `fsfreeze` and `dmsetup`, run by their arguments and never by a shell.

use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

use crate::error::{Inject, InjectError};

/// Where the system keeps programs that a plain user's search path often lacks.
const SYSTEM_FOLDERS: &str = ":/usr/sbin:/sbin:/usr/bin:/bin";
/// What is quoted of a program's error.
const QUOTED_CHARS: usize = 600;

/// A program of the system, to be run.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(SYSTEM_FOLDERS);
    let mut command = Command::new(program);
    // Their texts are looked into, so they must be in one language.
    command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Where a program of the system is; its bare name if it is in none of the system's folders. For whom the search path is another's.
#[must_use]
pub fn found(program: &str) -> String {
    let folders = SYSTEM_FOLDERS.split(':').filter(|folder| !folder.is_empty());
    let mut files = folders.map(|folder| format!("{folder}/{program}"));
    files.find(|file| std::path::Path::new(file).exists()).unwrap_or_else(|| program.to_owned())
}

/// Runs `program` with these words; what it said.
///
/// # Errors
/// `Unsupported` if it is not installed, `Failed` with what it said if it failed.
pub fn run(program: &str, words: &[&str]) -> Inject<String> {
    said(program, words, command(program).args(words).output())
}

/// Runs `program` with these words and `input` at its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with(program: &str, words: &[&str], input: &str) -> Inject<String> {
    let mut command = command(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.spawn().and_then(|mut child| {
        if let Some(mut pipe) = child.stdin.take() {
            // If it refuses its input early, its exit status says why.
            let _ = pipe.write_all(input.as_bytes());
        }
        child.wait_with_output()
    });
    said(program, words, output)
}

/// Has nft do a script: all of it, or nothing.
///
/// # Errors
/// As [`run`]; `Unsupported` if the kernel lacks what the script needs.
pub fn nft(script: &str) -> Inject<()> {
    match run_with("nft", &["-f", "-"], script) {
        Err(InjectError::Failed(text)) if lacks(&text) => Err(InjectError::Unsupported(text)),
        result => result.map(drop),
    }
}

/// Whether the kernel says that it cannot, rather than that something is wrong.
fn lacks(said: &str) -> bool {
    ["Operation not supported", "Protocol not supported"].iter().any(|text| said.contains(text))
}

fn said(program: &str, words: &[&str], output: std::io::Result<Output>) -> Inject<String> {
    let line = || format!("{program} {}", words.join(" "));
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(InjectError::Unsupported(format!("`{program}` is not installed.")));
        }
        Err(error) => return Err(InjectError::os(format!("cannot run {}", line()))(error)),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let quoted: String = error.trim().chars().take(QUOTED_CHARS).collect();
    Err(InjectError::Failed(format!("`{}` failed: {quoted}", line())))
}
