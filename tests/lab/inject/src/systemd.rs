//! What systemd does with a daemon that dies: nothing, as long as a drop-in of ours says so.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::context::Context;
use crate::error::{Inject, InjectError};
use crate::process::Process;

/// The unit whose main process this is, where systemd runs this machine. Whose child it is does not count: a daemon that cron or a
/// cluster manager has started is not started again by starting that.
///
/// # Errors
/// When systemd does not answer.
pub fn unit_of(context: &Context, process: Process) -> Inject<Option<String>> {
    if !context.path("/run/systemd/system").is_dir() {
        return Ok(None);
    }
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap_or_default();
    let Some(unit) = groups.lines().find_map(unit_in) else { return Ok(None) };
    let told = systemctl(&["show", "--property=MainPID", &unit])?;
    Ok(is_main(&told, process).then_some(unit))
}

fn is_main(told: &str, process: Process) -> bool {
    told.trim().strip_prefix("MainPID=").is_some_and(|pid| pid.parse() == Ok(process.pid))
}

/// `0::/system.slice/vmpulse-agentd.service`, or deeper.
fn unit_in(line: &str) -> Option<String> {
    line.split('/').rev().find(|part| part.ends_with(".service")).map(str::to_owned)
}

/// From now on nobody starts the unit again, whether by `Restart=` or by `systemctl start`, until [`release`].
///
/// # Errors
/// The system's.
pub fn hold(context: &Context, unit: &str) -> Inject<()> {
    let file = drop_in(context, unit);
    let folder = file.parent().unwrap_or(&file);
    fs::create_dir_all(folder).map_err(InjectError::file("make", folder))?;
    let text = "# By vmpulse-inject; `vmpulse-inject CLASS off` removes it.\n[Unit]\nConditionPathExists=!/run/vmpulse-inject\n\n\
                [Service]\nRestart=no\n";
    fs::write(&file, text).map_err(InjectError::file("write", &file))?;
    systemctl(&["daemon-reload"]).map(drop)
}

/// Whether the unit is held.
#[must_use]
pub fn is_held(context: &Context, unit: &str) -> bool {
    drop_in(context, unit).exists()
}

/// Ends [`hold`]; harmless if it was not held.
///
/// # Errors
/// The system's.
pub fn release(context: &Context, unit: &str) -> Inject<()> {
    let file = drop_in(context, unit);
    if !file.exists() {
        return Ok(());
    }
    fs::remove_file(&file).map_err(InjectError::file("remove", &file))?;
    // Others may have drop-ins there, too.
    let _ = file.parent().map(fs::remove_dir);
    systemctl(&["daemon-reload"]).map(drop)
}

/// Starts a unit, also one that systemd has given up.
///
/// # Errors
/// The system's.
pub fn start(unit: &str) -> Inject<()> {
    let _ = systemctl(&["reset-failed", unit]);
    systemctl(&["start", unit]).map(drop)
}

fn drop_in(context: &Context, unit: &str) -> PathBuf {
    context.path(&format!("/run/systemd/system/{unit}.d/90-vmpulse-inject.conf"))
}

fn systemctl(words: &[&str]) -> Inject<String> {
    let said =
        Command::new("systemctl").args(words).output().map_err(InjectError::os("cannot run systemctl"))?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&said.stderr);
    Err(InjectError::Failed(format!("systemctl {} failed: {}", words.join(" "), text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_stands_in_the_control_group() {
        assert_eq!(
            unit_in("0::/system.slice/vmpulse-agentd.service").as_deref(),
            Some("vmpulse-agentd.service")
        );
        assert_eq!(unit_in("1:name=systemd:/system.slice/x.service/payload").as_deref(), Some("x.service"));
        assert_eq!(unit_in("0::/user.slice/user-0.slice/session-1.scope"), None);
    }

    #[test]
    fn only_the_main_process_is_the_unit() {
        let process = Process { pid: 4711, started: 1 };
        assert!(is_main("MainPID=4711\n", process));
        // A child of it, and a unit that this systemd does not know.
        assert!(
            !is_main("MainPID=471\n", process) && !is_main("MainPID=0\n", process) && !is_main("", process)
        );
    }
}
