//! Processes, told apart by number and start, so that a number used again is never taken for the old process.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use rustix::io::Errno as SystemErrno;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::error::{Inject, InjectError};
use crate::wait;

/// One process, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's ticks since boot.
    pub started: u64,
}

/// What the kernel says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is there and not stopped.
    Running,
    /// It is stopped (SIGSTOP).
    Stopped,
    /// It is gone, or a zombie.
    Gone,
}

impl Process {
    /// The process that has this number now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Process> {
        stat(pid).map(|stat| Process { pid, started: stat.started })
    }

    /// How it is.
    #[must_use]
    pub fn life(self) -> Life {
        match stat(self.pid) {
            Some(stat) if stat.started == self.started => match stat.state {
                'T' | 't' => Life::Stopped,
                'Z' | 'X' => Life::Gone,
                _ => Life::Running,
            },
            Some(_) | None => Life::Gone,
        }
    }

    /// Sends it a signal, if it is still there; `false` if it is not.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(self, signal: Signal) -> Inject<bool> {
        self.hold()?.map_or(Ok(false), |held| held.signal(signal))
    }

    /// A hold of it, if it is still there: whoever has its number later gets none of its signals.
    ///
    /// # Errors
    /// The system's.
    pub fn hold(self) -> Inject<Option<Held>> {
        let number = rustix::process::Pid::from_raw(self.pid);
        let fd = match number.map(|number| pidfd_open(number, PidfdFlags::empty())) {
            Some(Ok(fd)) => Some(fd),
            // Linux before 5.3.
            Some(Err(SystemErrno::NOSYS)) => None,
            // ENOENT: it is being reaped just now (Linux 6.15 and later).
            Some(Err(SystemErrno::SRCH | SystemErrno::NOENT)) | None => return Ok(None),
            Some(Err(error)) => return Err(self.not_signalled()(error.into())),
        };
        // Looked at when it is held: who has the number now and began then had it all the time between.
        Ok((self.life() != Life::Gone).then_some(Held { process: self, fd }))
    }

    fn not_signalled(self) -> impl FnOnce(std::io::Error) -> InjectError {
        InjectError::os(format!("cannot send a signal to process {}", self.pid))
    }

    /// Stops it and waits until it is.
    ///
    /// # Errors
    /// When it does not stop, or is gone.
    pub fn stop(self) -> Inject<()> {
        self.signal(Signal::SIGSTOP)?;
        wait::until(&format!("process {} stops", self.pid), wait::SOON, || Ok(self.life() != Life::Running))?;
        if self.life() == Life::Gone {
            return Err(InjectError::Failed(format!(
                "Process {} ended before it could be stopped.",
                self.pid
            )));
        }
        Ok(())
    }

    /// Lets it run on and waits until it does; nothing if it is gone.
    ///
    /// # Errors
    /// When it stays stopped.
    pub fn resume(self) -> Inject<()> {
        self.signal(Signal::SIGCONT)?;
        wait::until(&format!("process {} runs on", self.pid), wait::SOON, || Ok(self.life() != Life::Stopped))
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// When it stays.
    pub fn kill(self) -> Inject<()> {
        self.signal(Signal::SIGKILL)?;
        wait::until(&format!("process {} is gone", self.pid), wait::SOON, || Ok(self.life() == Life::Gone))
    }

    /// The number of its parent.
    #[must_use]
    pub fn parent(self) -> Option<i32> {
        stat(self.pid).map(|stat| stat.parent)
    }

    /// The words it was started with.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words = bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let mut words: Vec<String> = words.collect();
        words.pop();
        words
    }

    /// Its number in its own process namespace: 1 if it is the first one there.
    #[must_use]
    pub fn number_within(self) -> Option<i32> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        numbers.split_ascii_whitespace().last()?.parse().ok()
    }

    /// When it started, seconds since 1970 by the clock as it is set now, to a second or two.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn began(self) -> Inject<i64> {
        let booted = fs::read_to_string("/proc/stat").map_err(InjectError::os("cannot read /proc/stat"))?;
        let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok());
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let since_boot = ticks.and_then(|ticks| i64::try_from(self.started).ok()?.checked_div(ticks));
        let began = booted.zip(since_boot).map(|(booted, since)| booted.saturating_add(since));
        began.ok_or_else(|| {
            InjectError::Failed("/proc/stat does not tell when this machine started.".to_owned())
        })
    }

    /// The program's file.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// Whether `NAME=VALUE` is in the environment it was started with.
    #[must_use]
    pub fn has_variable(self, pair: &str) -> bool {
        let bytes = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        bytes.split(|byte| *byte == 0).any(|found| found == pair.as_bytes())
    }
}

/// A process that can be signalled, and no other one in its place.
#[derive(Debug)]
pub struct Held {
    process: Process,
    /// `None`: this kernel has none, and the number has to do.
    fd: Option<OwnedFd>,
}

impl Held {
    /// Sends it a signal, if it is still there; `false` if it is not.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, signal: Signal) -> Inject<bool> {
        let sent = match (&self.fd, rustix::process::Signal::from_named_raw(signal as i32)) {
            (Some(fd), Some(signal)) => pidfd_send_signal(fd, signal).map_err(std::io::Error::from),
            (Some(_), None) => Err(std::io::Error::from(Errno::EINVAL)),
            (None, _) if self.process.life() == Life::Gone => return Ok(false),
            (None, _) => kill(Pid::from_raw(self.process.pid), signal).map_err(std::io::Error::from),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(false),
            Err(error) => Err(self.process.not_signalled()(error)),
        }
    }
}

/// Every process there is.
#[must_use]
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::of).collect()
}

struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

/// `/proc/PID/stat`; what stands between the brackets may hold anything, so fields count from the last one.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // starttime is field 22; the parent was field 4.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_stopped_resumed_and_killed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        process.stop().unwrap();
        assert_eq!(process.life(), Life::Stopped);
        process.resume().unwrap();
        assert_eq!(process.life(), Life::Running);
        process.kill().unwrap();
        assert_eq!(process.life(), Life::Gone);
        child.wait().unwrap();
    }

    #[test]
    fn a_process_began_when_it_was_started_and_is_not_the_first_here() {
        let before = i64::try_from(wait::now()).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        let after = i64::try_from(wait::now()).unwrap();
        let began = process.began().unwrap();
        assert!((before - 2..=after + 2).contains(&began), "{before} {began} {after}");
        assert_eq!(process.number_within(), Some(process.pid));
        process.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let other = Process { started: me.started + 1, ..me };
        assert_eq!((me.life(), other.life()), (Life::Running, Life::Gone));
        assert!(!other.signal(Signal::SIGKILL).unwrap());
    }
}
