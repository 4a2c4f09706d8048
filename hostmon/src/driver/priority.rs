//! What keeps the host's other work from holding up the loop: real-time priority and locked memory.
//!
//! Both are asked for in the settings. Where they cannot be had the monitor goes on without, and says what is missing: a
//! monitor that may be late is better than none.

use std::io;

use nix::errno::Errno;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use vmpulse_link::run_in_real_time;

/// CAP_IPC_LOCK in the sets that /proc shows.
const CAP_IPC_LOCK: u64 = 1 << 14;

/// For the calling thread only. Error: why not, and what would help.
pub(super) fn raise(priority: u8) -> Result<(), String> {
    run_in_real_time(priority).map_err(|error| {
        let needs = if error.kind() == io::ErrorKind::PermissionDenied {
            format!(
                "; it needs CAP_SYS_NICE or a limit RTPRIO of {priority} (systemd: LimitRTPRIO={priority}), and a control group \
                 that may run in real time"
            )
        } else {
            String::new()
        };
        format!("no real-time priority: {error}{needs}")
    })
}

/// For the whole process, and what it allocates later. Error: why not, and what would help.
pub(super) fn lock_memory() -> Result<(), String> {
    let needs = "it needs CAP_IPC_LOCK or an unlimited MEMLOCK (systemd: LimitMEMLOCK=infinity)";
    // Within a limit it would work now, and later a few more guests would end the daemon.
    if !may_lock_everything() {
        return Err(format!("memory is not locked: {needs}"));
    }
    // Pages are locked when they are first used: a thread's whole stack would be too much.
    let on_use = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_use;
    mlockall(flags).map_err(|error: Errno| format!("memory is not locked: {}; {needs}", error.desc()))
}

fn may_lock_everything() -> bool {
    let unlimited = getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    unlimited || effective_capabilities(&status) & CAP_IPC_LOCK != 0
}

fn effective_capabilities(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read() {
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t0000000000004000\n"), CAP_IPC_LOCK);
        assert_eq!(effective_capabilities("CapPrm:\t0000000000004000\n"), 0);
    }

    #[test]
    fn what_is_missing_is_said() {
        let refused = raise(200).unwrap_err();
        assert!(refused.starts_with("no real-time priority: "), "{refused}");
    }
}
