//! The processes of one run: found when it is out of its time, so that they can all be ended.
//!
//! A script leads a session. What it starts is in that session unless it leaves it (`setsid`); then it is still a
//! descendant, and even when its parents are gone its environment still names the run. One that was found is known from
//! then on. Only a process that left the session, lost its parents and cleared its environment before is not found.

use std::collections::HashSet;
use std::fs;
use std::io::Read;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::task::yield_now;

/// Variable whose value names the run.
pub(super) const RUN_VARIABLE: &str = "VMPULSE_RUN";

/// Processes that are looked at before the daemon's loop has its turn: under a millisecond.
const BATCH: usize = 32;

/// How much of an environment is searched, in bytes. The kernel's own bound for a stack of 8 MiB is 2 MiB; scripts start
/// with less than one page of it.
const MAX_ENVIRONMENT_BYTES: u64 = 128 * 1024;

/// Whose processes.
#[derive(Debug)]
pub(super) struct Tree {
    /// The script, which leads the session.
    pub(super) leader: Pid,
    /// `VMPULSE_RUN=...`
    pub(super) marker: String,
    /// Whether those that left the session are meant too.
    pub(super) escaped: bool,
    /// Those that were found before: when their parents end, nothing else may tell whose they are.
    pub(super) known: HashSet<Process>,
}

/// One line of the process table.
#[derive(Clone, Copy, Debug)]
struct Line {
    process: Process,
    parent: i32,
    session: i32,
}

/// A process: its number alone may be another's later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pid: i32,
    /// In clock ticks since the boot.
    started: u64,
}

impl Tree {
    /// Sends it to all of them.
    pub(super) async fn signal(&mut self, signal: Signal) {
        // Found before the first one ends and leaves others without a parent.
        let members = self.members().await;
        // Also where there is no /proc. A group that is gone already is what is wanted.
        let _ = killpg(self.leader, signal);
        for pid in members {
            // It may have ended since it was listed.
            let _ = kill(pid, signal);
        }
    }

    /// Those that live.
    pub(super) async fn members(&mut self) -> Vec<Pid> {
        let table = table().await;
        let mut found = family(&table, self.leader.as_raw(), self.escaped, &self.known);
        if self.escaped {
            for (index, line) in table.iter().enumerate() {
                if index % BATCH == BATCH - 1 {
                    yield_now().await;
                }
                let pid = line.process.pid;
                if !found.contains(&pid) && self.is_marked(pid) {
                    found.insert(pid);
                }
            }
        }
        // Were this daemon itself started by a script of another one, it would still not be meant.
        found.remove(&Pid::this().as_raw());
        let processes = table.iter().map(|line| line.process);
        self.known = processes.filter(|process| found.contains(&process.pid)).collect();
        found.into_iter().map(Pid::from_raw).collect()
    }

    fn is_marked(&self, pid: i32) -> bool {
        let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) else { return false };
        let mut environment = Vec::new();
        // Of a process that ends meanwhile nothing is read.
        let _ = file.take(MAX_ENVIRONMENT_BYTES).read_to_end(&mut environment);
        environment.split(|byte| *byte == 0).any(|variable| variable == self.marker.as_bytes())
    }
}

/// The session and those known, and with `escaped` all descendants of them.
fn family(table: &[Line], leader: i32, escaped: bool, known: &HashSet<Process>) -> HashSet<i32> {
    let first = table.iter().filter(|line| line.session == leader || known.contains(&line.process));
    let mut found: HashSet<i32> = first.map(|line| line.process.pid).collect();
    let mut before = usize::MAX;
    while escaped && before != found.len() {
        before = found.len();
        for line in table {
            if line.parent == leader || found.contains(&line.parent) {
                found.insert(line.process.pid);
            }
        }
    }
    found
}

async fn table() -> Vec<Line> {
    let mut table = Vec::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for (index, entry) in entries.enumerate() {
        if index % BATCH == BATCH - 1 {
            yield_now().await;
        }
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid else { continue };
        let stat = fs::read(entry.path().join("stat")).unwrap_or_default();
        table.extend(parse(pid, &String::from_utf8_lossy(&stat)));
    }
    table
}

/// `PID (NAME) STATE PPID PGRP SESSION ...`; the name may hold anything, and the start is the 22nd field. None for one
/// that has ended.
fn parse(pid: i32, stat: &str) -> Option<Line> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    fields.next().filter(|state| !matches!(*state, "Z" | "X" | "x"))?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Line { process: Process { pid, started }, parent, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_whatever_the_name() {
        let rest = "6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";
        let found = parse(7, &format!("7 (a) Z 1 (b)) S 3 4 5 {}", rest)).unwrap();
        assert_eq!((found.process.pid, found.parent, found.session, found.process.started), (7, 3, 5, 21));
        for ended in ["7 (a) Z 3 4 5", "7 (a) X 3 4 5", "7 (a) S x 4 5"] {
            assert!(parse(7, &format!("{ended} {rest}")).is_none(), "{ended}");
        }
        for short in ["", "7 (a", "7 (a) S 3", "7 (a) S 3 4 5"] {
            assert!(parse(7, short).is_none(), "{short}");
        }
    }

    #[test]
    fn the_session_those_that_left_it_and_those_known() {
        let line = |pid, parent, session| Line { process: Process { pid, started: 9 }, parent, session };
        // 12 left the session, 13 is its child; 20 belongs to somebody else, and so does 1, parent of all orphans.
        let table = [line(1, 0, 1), line(13, 12, 12), line(12, 11, 12), line(11, 10, 10), line(20, 1, 20)];
        let none = HashSet::new();
        assert_eq!(family(&table, 10, false, &none), HashSet::from([11]));
        assert_eq!(family(&table, 10, true, &none), HashSet::from([11, 12, 13]));
        // Later 11 has ended: 12 is an orphan. 20 has taken the number of one that was known.
        let table = [line(1, 0, 1), line(13, 12, 12), line(12, 1, 12), line(20, 1, 20)];
        let known = HashSet::from([Process { pid: 12, started: 9 }, Process { pid: 20, started: 1 }]);
        assert_eq!(family(&table, 10, true, &known), HashSet::from([12, 13]));
    }
}
