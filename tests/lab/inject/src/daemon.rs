//! Daemons, by what only they hold: the product's by the lock that each of them has, PostgreSQL by its data folder. Never by a number
//! that somebody typed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::process::{Life, Process};

/// Where the product's daemons have their locks, unless their settings say otherwise.
pub const RUN_DIR: &str = "/run/vmpulse";

/// What proves that a process is that daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It holds this lock file, with its number inside, and its program has this name.
    Lock {
        /// The lock file.
        file: PathBuf,
        /// `vmpulse-agentd`.
        program: String,
    },
    /// It is the first process of the PostgreSQL server of this data folder.
    Postmaster(PathBuf),
}

impl Proof {
    /// The agent of this guest.
    #[must_use]
    pub fn agent(context: &Context, run_dir: &str) -> Proof {
        Proof::Lock { file: context.path(run_dir).join("agent.lock"), program: "vmpulse-agentd".to_owned() }
    }

    /// The process that is it now, if it runs.
    #[must_use]
    pub fn holder(&self) -> Option<Process> {
        match self {
            Proof::Lock { file, program } => lock_holder(file).filter(|process| runs(*process, program)),
            Proof::Postmaster(data) => postmaster(data).map(|(process, _)| process),
        }
    }

    /// Whether it runs and does its work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Proof::Lock { .. } => self.holder().is_some(),
            Proof::Postmaster(data) => postmaster(data).is_some_and(|(_, ready)| ready),
        }
    }

    /// The trunk adapter, where it is a host monitor.
    #[must_use]
    pub fn trunk(&self) -> Option<String> {
        match self {
            Proof::Lock { file, .. } => trunk_of(file.file_name()?.to_str()?),
            Proof::Postmaster(_) => None,
        }
    }

    /// The process that is it now.
    ///
    /// # Errors
    /// `Failed` if it does not run.
    pub fn need(&self, name: &str) -> Inject<Process> {
        let place = match self {
            Proof::Lock { file, .. } => file,
            Proof::Postmaster(data) => data,
        };
        self.holder().ok_or_else(|| {
            InjectError::Failed(format!("{name} does not run here (looked at {}).", place.display()))
        })
    }
}

/// The host monitors that run here: trunk and proof, in the order of their trunks.
///
/// # Errors
/// `Failed` if there is none.
pub fn monitors(context: &Context, run_dir: &str) -> Inject<Vec<(String, Proof)>> {
    let folder = context.path(run_dir);
    let mut found: Vec<(String, Proof)> =
        fs::read_dir(&folder).into_iter().flatten().flatten().filter_map(monitor).collect();
    found.retain(|(_, proof)| proof.holder().is_some());
    found.sort_by(|one, other| one.0.cmp(&other.0));
    if found.is_empty() {
        return Err(InjectError::Failed(format!(
            "No host monitor runs here (looked into {}).",
            folder.display()
        )));
    }
    Ok(found)
}

fn monitor(entry: fs::DirEntry) -> Option<(String, Proof)> {
    let name = entry.file_name().into_string().ok()?;
    Some((trunk_of(&name)?, Proof::Lock { file: entry.path(), program: "vmpulse-hostmond".to_owned() }))
}

fn trunk_of(lock: &str) -> Option<String> {
    lock.strip_prefix("hostmon-")?.strip_suffix(".lock").map(str::to_owned)
}

/// The process that holds a lock. The lock is only looked at, never tried: a trial could keep a daemon that starts from it.
fn lock_holder(file: &Path) -> Option<Process> {
    let pid: i32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let inode = fs::metadata(file).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let held = locks.lines().any(|line| is_lock(line, pid, inode));
    Process::of(pid).filter(|process| held && process.life() != Life::Gone)
}

/// `1: FLOCK  ADVISORY  WRITE 4711 00:1b:1234 0 EOF`. Device numbers are not those of stat(2) on every file system.
fn is_lock(line: &str, pid: i32, inode: u64) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", holder, place, ..] = fields.as_slice() else { return false };
    holder.parse() == Ok(pid) && place.rsplit_once(':').is_some_and(|(_, of)| of.parse() == Ok(inode))
}

/// A program that was replaced by an upgrade while it runs is "NAME (deleted)".
fn runs(process: Process, program: &str) -> bool {
    let name = process.program().and_then(|file| Some(file.file_name()?.to_str()?.to_owned()));
    name.is_some_and(|name| name.strip_suffix(" (deleted)").unwrap_or(&name) == program)
}

/// The first process of a PostgreSQL server, by the file that it keeps, and whether it takes connections.
fn postmaster(data: &Path) -> Option<(Process, bool)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let process = Process::of(lines.first()?.parse().ok()?)?;
    // The number may be another process's since.
    let is_it = serves(process, data);
    let ready = lines.get(7).is_some_and(|state| *state == "ready");
    (is_it && process.life() != Life::Gone).then_some((process, ready))
}

/// Whether a process is of the PostgreSQL server of this data folder, the first one or not: all of them work in that folder.
#[must_use]
pub fn serves(process: Process, data: &Path) -> bool {
    let folder = fs::read_link(format!("/proc/{}/cwd", process.pid)).ok();
    folder.is_some_and(|folder| data.canonicalize().is_ok_and(|data| data == folder))
        && (runs(process, "postgres") || runs(process, "postmaster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_locks() {
        let line = "7: FLOCK  ADVISORY  WRITE 4711 00:1b:1234 0 EOF";
        assert!(is_lock(line, 4711, 1234));
        assert!(!is_lock(line, 4712, 1234));
        assert!(!is_lock(line, 4711, 123));
        assert!(!is_lock("7: -> FLOCK ADVISORY WRITE 4711 00:1b:1234 0 EOF", 4711, 1234));
        assert!(!is_lock("7: POSIX  ADVISORY  WRITE 4711 00:1b:1234 0 EOF", 4711, 1234));
        assert!(!is_lock("", 1, 1));
    }
}
