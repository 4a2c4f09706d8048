//! As whom a process runs, and whether another one can be started so.

use std::path::Path;

use nix::unistd::{Gid, Uid, getgroups};
use serde::{Deserialize, Serialize};

use crate::error::{Inject, InjectError};
use crate::process::Process;
use crate::wire::programs::{command, found};

/// Users and groups of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) user: u32,
    pub(super) group: u32,
    /// Its other groups, sorted.
    #[serde(default)]
    pub(super) groups: Vec<u32>,
}

impl Identity {
    /// Of a running process, by what the kernel says of it: its files in /proc are root's where it may not be looked into.
    ///
    /// # Errors
    /// `Unsupported` if none could be started so from here; what cannot be read.
    pub(super) fn of(process: Process, program: &Path) -> Inject<Identity> {
        let status = crate::context::read(Path::new(&format!("/proc/{}/status", process.pid)))?;
        let numbers = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
        };
        let one = |name: &str| {
            let numbers = numbers(name);
            let first = numbers.first().copied().filter(|first| numbers.iter().all(|other| other == first));
            first.ok_or_else(|| cannot(process, &format!("has several at once ({name} {numbers:?})")))
        };
        let mut groups = numbers("Groups:");
        groups.sort_unstable();
        let identity = Identity { user: one("Uid:")?, group: one("Gid:")?, groups };
        if identity.user != 0 && has_capabilities(&status) && !gives_capabilities(program) {
            return Err(cannot(
                process,
                "has capabilities that somebody gave it and its program's file does not",
            ));
        }
        if !identity.is_own() && !identity.is_plain() && command("setpriv").arg("-V").output().is_err() {
            return Err(cannot(process, "has groups that only setpriv could give it, which is missing here"));
        }
        Ok(identity)
    }

    /// Whether it is the injector's, which a child has without any doing.
    pub(super) fn is_own(&self) -> bool {
        let mut groups: Vec<u32> =
            getgroups().unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect();
        groups.sort_unstable();
        let own = (Uid::effective().as_raw(), Gid::effective().as_raw(), groups);
        own == (self.user, self.group, self.groups.clone())
    }

    /// Whether it has no other groups, so that user and group say all.
    pub(super) const fn is_plain(&self) -> bool {
        self.groups.is_empty()
    }

    /// What makes a program run so, before its own words.
    pub(super) fn setpriv(&self) -> Vec<String> {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        let groups = match groups.is_empty() {
            true => "--clear-groups".to_owned(),
            false => format!("--groups={}", groups.join(",")),
        };
        let user = [format!("--reuid={}", self.user), format!("--regid={}", self.group)];
        [found("setpriv")].into_iter().chain(user).chain([groups, "--".to_owned()]).collect()
    }
}

fn cannot(process: Process, what: &str) -> InjectError {
    InjectError::Unsupported(format!(
        "process {} could not be started again as it was: it {what}; run it by a systemd unit",
        process.pid
    ))
}

fn has_capabilities(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set != 0)
}

/// Whether whoever runs this file has its capabilities.
fn gives_capabilities(program: &Path) -> bool {
    // As large as the kernel makes it.
    let mut value = [0_u8; 64];
    rustix::fs::getxattr(program, "security.capability", &mut value).is_ok()
}
