//! Proof that the lab leaves nothing behind: what could be left is listed before and after, and compared.

use std::collections::BTreeSet;
use std::fs;

use crate::error::{Lab, LabError};

/// Everything a world could leave on the machine, as lines of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// What there is now: named network namespaces, interfaces, mounts, and processes of the lab.
    pub(crate) fn take() -> Snapshot {
        let mut lines = BTreeSet::new();
        for (folder, what) in [("/run/netns", "network namespace"), ("/sys/class/net", "interface")] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                lines.insert(format!("{what} {}", entry.file_name().to_string_lossy()));
            }
        }
        for mount in fs::read_to_string("/proc/self/mounts").unwrap_or_default().lines() {
            lines.insert(format!("mount {mount}"));
        }
        for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("tap") {
                lines.insert(format!("device /dev/{name}"));
            }
        }
        lines.extend(processes());
        Snapshot(lines)
    }

    /// What has come since `before`.
    pub(crate) fn since(&self, before: &Snapshot) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Fails if anything of a world is still there.
pub(crate) fn expect_none(before: &Snapshot) -> Lab<()> {
    let limit = std::time::Duration::from_secs(10);
    let mut left = Vec::new();
    // The kernel takes namespaces down in the background, a moment after their last process.
    let gone = crate::wait::until_ended(limit, "the machine to be as before", || {
        left = Snapshot::take().since(before);
        Ok(left.is_empty().then_some(()))
    });
    gone.map_err(|_| LabError::Unexpected(format!("left behind:\n  {}", left.join("\n  "))))
}

/// Processes of the kinds a world runs.
fn processes() -> Vec<String> {
    const KINDS: [&str; 3] = ["vmpulse-", "vmmgr", "qemu-system"];
    let me = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != me)
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let ours = KINDS.iter().any(|kind| name.starts_with(kind));
            ours.then(|| format!("process {pid} ({})", name.trim()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_came_and_not_what_went() {
        let snapshot = |lines: &[&str]| Snapshot(lines.iter().map(ToString::to_string).collect());
        let before = snapshot(&["mount a", "interface lo"]);
        let after = snapshot(&["interface lo", "process 7 (qemu)"]);
        assert_eq!(after.since(&before), ["process 7 (qemu)"]);
        assert!(before.since(&before).is_empty());
    }
}
