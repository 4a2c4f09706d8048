//! Numbers of processes that are used again, which a namespace of processes can be made to do at once.

use std::process::{Child, Command};

use nix::sys::signal::Signal;
use vmpulse_inject::process::{Life, Process};

use super::inside;

const LAST: &str = "/proc/sys/kernel/ns_last_pid";

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

#[test]
fn whoever_has_the_number_later_gets_no_signal_of_the_one_before() {
    inside("numbers::whoever_has_the_number_later_gets_no_signal_of_the_one_before", |_| {
        let mut first = sleeper();
        let pid = i32::try_from(first.id()).unwrap();
        let held = Process::of(pid).unwrap().hold().unwrap().unwrap();
        first.kill().unwrap();
        first.wait().unwrap();
        match std::fs::write(LAST, (pid - 1).to_string()) {
            Ok(()) => {}
            // Whoever is root in a namespace of processes of his own may, if his kernel has it at all.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!(
                    "SKIPPED: this kernel lets nobody choose numbers (CONFIG_CHECKPOINT_RESTORE): no {LAST}"
                );
                return;
            }
            Err(error) => panic!("{LAST}: {error}"),
        }
        let mut second = sleeper();
        assert_eq!(i32::try_from(second.id()).unwrap(), pid, "the number is used again");
        let other = Process::of(pid).unwrap();
        assert!(!held.signal(Signal::SIGKILL).unwrap(), "between the look and the signal");
        assert_eq!(other.life(), Life::Running);
        second.kill().unwrap();
        second.wait().unwrap();
    });
}
