//! Who runs first.
#![allow(unsafe_code)]

use std::io;

/// Lets the calling thread run before all others that are not real-time, as SCHED_FIFO with this priority, 1 to 99.
/// Threads that it starts are as if it had not.
///
/// # Errors
/// `PermissionDenied` without CAP_SYS_NICE or RLIMIT_RTPRIO, or in a control group without real-time budget; `InvalidInput`
/// for another priority.
pub fn run_in_real_time(priority: u8) -> io::Result<()> {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // The kernel's struct sched_param is this one number; the C library's may be longer, and musl's call does nothing.
    let parameters: libc::c_int = priority.into();
    // SAFETY: the kernel reads one number from a pointer that is valid during the call. 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_priorities_are_refused_and_the_callers_others_stay_as_they_are() {
        let raised = std::thread::spawn(|| (run_in_real_time(0), run_in_real_time(100)));
        for result in <[_; 2]>::from(raised.join().unwrap()) {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn the_thread_is_under_sched_fifo_and_those_it_starts_are_not() {
        let scheduler = || -> String {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
            // Fields 40 and 41 of stat(5): real-time priority and policy.
            [fields[37], fields[38]].join(" ")
        };
        let raised = std::thread::spawn(move || {
            run_in_real_time(1).map(|()| (scheduler(), std::thread::spawn(scheduler).join().unwrap()))
        });
        match raised.join().unwrap() {
            Ok((own, child)) => assert_eq!((own.as_str(), child.as_str()), ("1 1", "0 0")),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("SKIPPED: real-time priorities are not allowed here");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
