//! What a child process does to itself between fork and exec, where only what cannot allocate or lock is allowed.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Who a child becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Makes what `command` starts the leader of a session of its own, which has no terminal, and then, if given, another
/// user. It does not start if it cannot become that.
pub fn in_own_session(command: &mut Command, identity: Option<Identity>) {
    let become_it = move || {
        // SAFETY: a system call without arguments.
        check(unsafe { libc::setsid() })?;
        let Some(identity) = &identity else { return Ok(()) };
        // SAFETY: the pointer is valid for that many entries, which the kernel only reads. The bare calls, unlike those
        // of the C library, need no other thread to agree, and there is none in a child.
        unsafe {
            check_long(libc::syscall(libc::SYS_setgroups, identity.groups.len(), identity.groups.as_ptr()))?;
            check_long(libc::syscall(libc::SYS_setgid, identity.gid))?;
            check_long(libc::syscall(libc::SYS_setuid, identity.uid))
        }
    };
    // SAFETY: the closure makes system calls only; it neither allocates, locks, nor panics.
    unsafe { command.pre_exec(become_it) };
}

fn check(result: libc::pid_t) -> io::Result<()> {
    check_long(libc::c_long::from(result))
}

fn check_long(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
