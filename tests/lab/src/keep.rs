//! A world that was left running: how to go into it, and how to end it.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::error::{Lab, LabError};
use crate::kit::Kit;
use crate::preflight::Privilege;
use crate::process::{self, Place, start_error};
use crate::progress::say;
use crate::wait;
use crate::workspace::{Workspace, read, write};
use crate::world;

/// What is remembered of a world left running.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The world's first process.
    pid: i32,
    /// When that process started, in the kernel's ticks: a number used again by another process is not ours.
    started: String,
    kit: Kit,
}

/// Remembers a world that is left running.
pub(crate) fn remember(workspace: &Workspace, kit: &Kit, pid: i32) -> Lab<()> {
    let kept = Kept { pid, started: start_time(pid).unwrap_or_default(), kit: kit.clone() };
    write(&path(workspace)?, serde_json::to_string_pretty(&kept).unwrap_or_default())
}

/// Fails if a world is still running from before: there is one at a time.
pub(crate) fn expect_none(workspace: &Workspace) -> Lab<()> {
    match find(workspace)? {
        None => Ok(()),
        Some(_) => {
            Err(LabError::Unexpected("a demo is still running; end it with: cargo lab end".to_string()))
        }
    }
}

/// `cargo lab enter PLACE [-- COMMAND]`.
pub(crate) fn enter(workspace: &Workspace, place: &str, words: &[String]) -> Lab<ExitCode> {
    let kept = find(workspace)?
        .ok_or_else(|| LabError::Unexpected("nothing is running; start it with: cargo demo --keep".into()))?;
    let mut command = into_world(&kept);
    if let Some(socket) = note(&kept, place, "shell") {
        if words.is_empty() {
            say("The real guest's shell has no prompt; Ctrl-D leaves.");
        }
        let me = std::env::current_exe()
            .map_err(|source| LabError::System { action: "find the lab's own program".into(), source })?;
        command.arg(me).args(["inside", "attach", &socket, "--"]).args(words);
    } else if let Some(pid) = note(&kept, place, "pid") {
        command.args([
            "nsenter", "--target", &pid, "--mount", "--uts", "--net", "--pid", "--root", "--wd", "--",
        ]);
        add_shell(&mut command, place, words);
    } else if place == "host" {
        add_shell(&mut command, place, words);
    } else {
        return Err(LabError::Unexpected(format!(
            "there is no {place}; there are: {}",
            places(&kept).join(", ")
        )));
    }
    let program = kept.kit.programs.display();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{program}:{path}:/usr/sbin:/sbin")).stdin(Stdio::inherit());
    let status = command.status().map_err(|source| start_error(&command, source))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// `cargo lab end`.
pub(crate) fn end(workspace: &Workspace) -> Lab<ExitCode> {
    let Some(kept) = find(workspace)? else {
        say("Nothing is running.");
        return Ok(ExitCode::SUCCESS);
    };
    process::signal(kept.pid, Signal::SIGKILL)?;
    wait::until_ended(std::time::Duration::from_secs(10), "the world to end", || {
        Ok(start_time(kept.pid).is_none_or(|time| time != kept.started).then_some(()))
    })?;
    let _ = std::fs::remove_file(path(workspace)?);
    say("Ended; nothing is left of it.");
    Ok(ExitCode::SUCCESS)
}

/// The lines that tell how to use a world left running.
pub(crate) fn how_to_use() -> &'static str {
    "It goes on running. To play with it:
  cargo lab enter host                        the host and the controller: hamgr query vm
  cargo lab enter guest1                      a guest made of namespaces: vmmgr status
  cargo lab enter vm3                         the real guest
  cargo lab enter guest1 -- vmmgr query app   one command
To end it:
  cargo lab end"
}

fn into_world(kept: &Kept) -> Command {
    let mut command = Place::Here.command("nsenter");
    command.args(["--target", &kept.pid.to_string(), "--mount", "--net", "--pid"]);
    match kept.kit.privilege() {
        Privilege::Root => {}
        Privilege::UserNamespace => {
            command.args(["--user", "--preserve-credentials"]);
        }
    }
    command.args(["--root", "--wd", "--"]);
    command
}

fn add_shell(command: &mut Command, place: &str, words: &[String]) {
    if words.is_empty() {
        command.args(["sh", "-i"]).env("PS1", format!("[{place}] # "));
    } else {
        command.args(words);
    }
}

/// What the world has noted about a guest: `PLACE.pid` or `PLACE.shell`.
fn note(kept: &Kept, place: &str, kind: &str) -> Option<String> {
    let folder =
        PathBuf::from(format!("/proc/{}/root", kept.pid)).join(world::dir("run").strip_prefix("/").ok()?);
    std::fs::read_to_string(folder.join(format!("{place}.{kind}"))).ok()
}

fn places(kept: &Kept) -> Vec<String> {
    let folder = format!("/proc/{}/root{}", kept.pid, world::dir("run").display());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".pid").or(name.strip_suffix(".shell")).map(str::to_string))
        .collect();
    found.push("host".to_string());
    found.sort();
    found
}

fn find(workspace: &Workspace) -> Lab<Option<Kept>> {
    let path = path(workspace)?;
    if !path.exists() {
        return Ok(None);
    }
    let kept: Option<Kept> = serde_json::from_str(&read(&path)?).ok();
    Ok(kept.filter(|kept| start_time(kept.pid).is_some_and(|time| time == kept.started)))
}

fn path(workspace: &Workspace) -> Lab<PathBuf> {
    Ok(workspace.lab()?.join("kept.json"))
}

/// Field 22 of /proc/PID/stat; the name in field 2 may hold anything, so it is counted from behind it.
fn start_time(pid: i32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18).map(str::to_string) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_start_time_and_a_missing_one_has_none() {
        let me = i32::try_from(std::process::id()).expect("pid");
        assert!(start_time(me).is_some_and(|ticks| ticks.parse::<u64>().is_ok()));
        assert_eq!(start_time(me), start_time(me));
        assert_eq!(start_time(i32::MAX), None);
    }
}
