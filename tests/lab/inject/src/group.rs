//! Groups of processes that are stopped, continued or killed together.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::daemon;
use crate::error::{Inject, InjectError};
use crate::process::{self, Life, Process};
use crate::wait;

/// Which processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// This one, with all its threads.
    One(Process),
    /// This one and its descendants.
    Tree(Process),
    /// The same of a PostgreSQL server, and every process that works for the server of this data folder: those that outlive the first
    /// one have no parent by which they could be found, and keep the server from being started again.
    Server(Process, PathBuf),
    /// All of the process namespace with this inode: a guest made of namespaces.
    Namespace(u64),
}

impl Group {
    /// The namespace of a process.
    ///
    /// # Errors
    /// `Refused` if it is the injector's own: that would stop the injector.
    pub fn namespace_of(process: Process) -> Inject<Group> {
        let its = namespace(process.pid)
            .ok_or_else(|| InjectError::Failed(format!("Process {} is gone.", process.pid)))?;
        if Some(its) == namespace_of_self() {
            let why = format!(
                "process {} is in the process namespace of this machine: that is no guest.",
                process.pid
            );
            return Err(InjectError::Refused(why));
        }
        Ok(Group::Namespace(its))
    }

    /// The living ones.
    #[must_use]
    pub fn members(&self) -> Vec<Process> {
        let all = match self {
            Group::One(process) => vec![*process],
            Group::Tree(first) => tree(vec![*first]),
            Group::Server(first, data) => {
                let mut roots = vec![*first];
                roots.extend(
                    process::all().into_iter().filter(|one| one != first && daemon::serves(*one, data)),
                );
                tree(roots)
            }
            Group::Namespace(inode) => {
                process::all().into_iter().filter(|one| namespace(one.pid) == Some(*inode)).collect()
            }
        };
        all.into_iter().filter(|process| process.life() != Life::Gone).collect()
    }

    /// Those that are stopped.
    #[must_use]
    pub fn stopped(&self) -> Vec<Process> {
        self.members().into_iter().filter(|process| process.life() == Life::Stopped).collect()
    }

    /// Stops all, also those that are begun meanwhile.
    ///
    /// # Errors
    /// When one does not stop.
    pub fn stop(&self) -> Inject<()> {
        wait::until("all processes of the group stand still", wait::SOON, || {
            let running: Vec<Process> =
                self.members().into_iter().filter(|process| process.life() == Life::Running).collect();
            for process in &running {
                process.signal(Signal::SIGSTOP)?;
            }
            Ok(running.is_empty())
        })
    }

    /// Lets all run on but those of `but`.
    ///
    /// # Errors
    /// When one stays stopped.
    pub fn resume(&self, but: &[Process]) -> Inject<()> {
        wait::until("all processes of the group run on", wait::SOON, || {
            let stopped: Vec<Process> =
                self.stopped().into_iter().filter(|process| !but.contains(process)).collect();
            for process in &stopped {
                process.signal(Signal::SIGCONT)?;
            }
            Ok(stopped.is_empty())
        })
    }

    /// Kills all, and waits until they are gone.
    ///
    /// # Errors
    /// When one stays.
    pub fn kill(&self) -> Inject<()> {
        // A tree falls apart when its first process dies, so who belongs to it is settled before.
        let mut doomed: HashSet<Process> = self.members().into_iter().collect();
        wait::until("all processes of the group are gone", wait::SOON, || {
            doomed.extend(self.members());
            doomed.retain(|process| process.life() != Life::Gone);
            for process in &doomed {
                process.signal(Signal::SIGKILL)?;
            }
            Ok(doomed.is_empty())
        })
    }
}

fn namespace(pid: i32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|data| data.ino())
}

fn namespace_of_self() -> Option<u64> {
    fs::metadata("/proc/self/ns/pid").ok().map(|data| data.ino())
}

/// These that live, and their descendants, each once.
fn tree(mut found: Vec<Process>) -> Vec<Process> {
    found.retain(|one| one.life() != Life::Gone);
    let all: Vec<(Process, i32)> =
        process::all().into_iter().filter_map(|one| Some((one, one.parent()?))).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = all.iter().filter(|(one, of)| *of == parent.pid && !found.contains(one));
        let children: Vec<Process> = children.map(|(one, _)| *one).collect();
        found.extend(children);
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn shell(line: &str) -> (std::process::Child, Process) {
        let child = Command::new("sh").args(["-c", line]).spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        (child, process)
    }

    #[test]
    fn a_tree_is_stopped_resumed_but_for_those_that_were_stopped_before_and_killed() {
        let (mut child, first) = shell("sleep 1000 & sleep 1000 & wait");
        let group = Group::Tree(first);
        wait::until("three processes", wait::SOON, || Ok(group.members().len() == 3)).unwrap();
        let before = *group.members().last().unwrap();
        before.stop().unwrap();
        group.stop().unwrap();
        assert_eq!(group.stopped().len(), 3);
        group.resume(&[before]).unwrap();
        assert_eq!(group.stopped(), [before]);
        group.kill().unwrap();
        assert!(group.members().is_empty());
        child.wait().unwrap();
    }

    #[test]
    fn the_own_namespace_is_no_guest() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(matches!(Group::namespace_of(me), Err(InjectError::Refused(_))));
    }
}
