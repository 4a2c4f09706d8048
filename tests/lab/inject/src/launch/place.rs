//! In which namespaces a process runs, and whether another one can be started there.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use crate::error::{Inject, InjectError};
use crate::process::Process;
use crate::wire::netns::there;
use crate::wire::programs::found;

/// Namespaces that must be the injector's own.
const OWN: [&str; 5] = ["user", "pid", "ipc", "uts", "mnt"];

/// Where a process runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Name of the network namespace, if that is not the injector's.
    network: Option<String>,
    /// The network namespace, to know it by where it has no name.
    #[serde(default)]
    inode: Option<u64>,
    /// It was begun by `ip netns exec`, and so has mounts of its own.
    #[serde(default)]
    by_ip: bool,
}

impl Place {
    /// Of a running process.
    ///
    /// # Errors
    /// `Unsupported` if none could be started there from here.
    pub(super) fn of(process: Process) -> Inject<Place> {
        let inode = namespace(process.pid, "net");
        let network = if inode == own("net") { None } else { Some(name_of(process, inode)?) };
        let by_ip = network.as_deref().is_some_and(|name| has_sys_of(process, name));
        for kind in OWN {
            if namespace(process.pid, kind) != own(kind) && !(kind == "mnt" && by_ip) {
                return Err(cannot(process, &format!("is in a namespace of its own ({kind})")));
            }
        }
        if fs::read_link(format!("/proc/{}/root", process.pid)).is_ok_and(|root| root.as_os_str() != "/") {
            return Err(cannot(process, "has another root folder"));
        }
        Ok(Place { network, inode, by_ip })
    }

    /// The words before a program's own that start it there, mounts included; none where these are the injector's.
    pub(super) fn words(&self) -> Vec<String> {
        let network = self.network.as_ref().filter(|_| self.by_ip);
        network.map_or_else(Vec::new, |name| {
            let [netns, exec] = ["netns", "exec"].map(str::to_owned);
            vec![found("ip"), netns, exec, name.clone()]
        })
    }

    /// The network namespace to be in when it is started.
    pub(super) fn to_enter(&self) -> Option<&str> {
        self.network.as_deref().filter(|_| !self.by_ip)
    }

    /// Whether it is still there, or the injector stands where it stood before.
    ///
    /// # Errors
    /// `Failed` if not: nothing is started where it was not.
    pub(super) fn check(&self) -> Inject<()> {
        match &self.network {
            Some(name) if there(Some(name)) => Ok(()),
            Some(name) => Err(InjectError::Failed(format!("The network namespace {name} is gone."))),
            // An older injector did not write it down.
            None if self.inode.is_none() || self.inode == own("net") => Ok(()),
            None => Err(InjectError::Failed(
                "The daemon ran in another network namespace than this command does: run `off` where `on` was run."
                    .to_owned(),
            )),
        }
    }
}

fn namespace(pid: i32, kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|data| data.ino())
}

fn own(kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/self/ns/{kind}")).ok().map(|data| data.ino())
}

/// The name of a network namespace.
fn name_of(process: Process, inode: Option<u64>) -> Inject<String> {
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let mut names = named.filter(|entry| entry.metadata().is_ok_and(|data| Some(data.ino()) == inode));
    let name = names.find_map(|entry| entry.file_name().into_string().ok());
    name.ok_or_else(|| cannot(process, "is in a network namespace without a name"))
}

/// `ip netns exec` mounts a /sys that is called like the namespace; nobody else does.
fn has_sys_of(process: Process, network: &str) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid)).unwrap_or_default();
    mounts.lines().any(|line| is_sys_of(line, network))
}

/// `63 62 0:21 / /sys rw,relatime - sysfs NAME rw`
fn is_sys_of(line: &str, network: &str) -> bool {
    let Some((mount, kind)) = line.split_once(" - ") else { return false };
    mount.split(' ').nth(4) == Some("/sys") && kind.starts_with(&format!("sysfs {network} "))
}

fn cannot(process: Process, what: &str) -> InjectError {
    InjectError::Unsupported(format!(
        "process {} could not be started again where it was: it {what}; run it by a systemd unit",
        process.pid
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ip_has_begun_is_known_by_its_sys() {
        assert!(is_sys_of("63 62 0:21 / /sys rw,relatime - sysfs mon rw", "mon"));
        assert!(!is_sys_of("63 62 0:21 / /sys rw,relatime shared:7 - sysfs sysfs rw", "mon"));
        assert!(!is_sys_of("63 62 0:21 / /sys rw,relatime - sysfs monitor rw", "mon"));
        assert!(!is_sys_of("63 62 0:21 / /sys/fs/cgroup rw - cgroup2 mon rw", "mon"));
    }

    #[test]
    fn where_the_injector_does_not_stand_any_more_nothing_is_started() {
        let here = Place { inode: own("net"), ..Place::default() };
        assert!(here.check().is_ok() && Place::default().check().is_ok());
        let elsewhere = Place { inode: own("net").map(|inode| inode + 1), ..Place::default() };
        assert!(elsewhere.check().unwrap_err().to_string().contains("where `on` was run"));
        let gone = Place { network: Some("no-such-namespace".to_owned()), ..Place::default() };
        assert!(gone.check().unwrap_err().to_string().contains("is gone"));
    }
}
