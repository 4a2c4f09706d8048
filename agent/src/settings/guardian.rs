//! What the guardian is started with.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{major, minor};
use vmpulse_local::settings::Fault;

use super::Settings;
use super::identity::vm_uuid;
use crate::guardian::arguments::{Arguments, Record};

/// The disk of the root file system, whichever that is.
const AUTO: &str = "auto";
/// The watchdog is fed four times within its time, and a busy guest may be late; some devices know no more than this.
const WATCHDOG_TIMEOUT_S: std::ops::RangeInclusive<u32> = 4..=3600;
/// A disk that is busy may take seconds; one that takes longer than this is of no use to anybody.
const ROOT_PROBE_TIMEOUT_S: std::ops::RangeInclusive<u32> = 2..=600;

impl Settings {
    pub(super) fn check_guardian(&self) -> Result<(), Fault> {
        let ranges = [
            ("watchdog_timeout_s", self.watchdog_timeout_s, WATCHDOG_TIMEOUT_S),
            ("root_probe_timeout_s", self.root_probe_timeout_s, ROOT_PROBE_TIMEOUT_S),
        ];
        for (key, value, range) in ranges {
            if !range.contains(&value) {
                return Err((key, format!("{value} is not in {} to {}", range.start(), range.end())));
            }
        }
        for (key, path) in [("watchdog", &self.watchdog), ("root_probe", &self.root_probe)] {
            let off = path.as_os_str().is_empty();
            if !off && !self.guardian {
                return Err((key, "it is the guardian's work, and guardian is false".to_owned()));
            }
            let auto = key == "root_probe" && path == Path::new(AUTO);
            if !off && !auto && !path.is_absolute() {
                return Err((key, format!("\"{}\" is not an absolute path", path.display())));
            }
        }
        Ok(())
    }

    /// What the guardian is to be started with, and what is missing of it.
    #[must_use]
    pub fn guardian_arguments(&self) -> (Arguments, Option<String>) {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let wanted = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        let watchdog = wanted(&self.watchdog).map(|device| (device, seconds(self.watchdog_timeout_s)));
        let (disk, problem) = match wanted(&self.root_probe) {
            Some(disk) if disk == Path::new(AUTO) => match root_disk() {
                Ok(disk) => (Some(disk), None),
                Err(problem) => (None, Some(problem)),
            },
            other => (other, None),
        };
        let root_probe = disk.map(|disk| (disk, seconds(self.root_probe_timeout_s)));
        let record = self
            .recorder
            .is_on()
            .then(|| Record { settings: self.recorder.clone(), vm: vm_uuid(&self.vm_uuid) });
        (Arguments { run_dir: self.run_dir.clone(), watchdog, root_probe, record }, problem)
    }
}

/// The block device that `/` is on.
fn root_disk() -> Result<PathBuf, String> {
    let device = std::fs::metadata("/").map_err(|error| error.to_string())?.dev();
    let (major, minor) = (major(device), minor(device));
    let facts = format!("/sys/dev/block/{major}:{minor}/uevent");
    let facts = std::fs::read_to_string(facts)
        .map_err(|_| format!("/ is on device {major}:{minor}, which is no disk"))?;
    let name = facts.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map(|name| Path::new("/dev").join(name)).ok_or_else(|| "the disk of / has no name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_switched_on_is_in_the_arguments() {
        let settings = Settings::default();
        let (plain, problem) = settings.guardian_arguments();
        assert_eq!((plain.watchdog, plain.root_probe, problem), (None, None, None));
        let settings = Settings {
            watchdog: "/dev/watchdog".into(),
            watchdog_timeout_s: 30,
            root_probe: "/dev/vda".into(),
            ..Settings::default()
        };
        assert!(settings.check_guardian().is_ok());
        let (full, _) = settings.guardian_arguments();
        assert_eq!(full.watchdog, Some(("/dev/watchdog".into(), Duration::from_secs(30))));
        assert_eq!(full.root_probe, Some(("/dev/vda".into(), Duration::from_secs(30))));
    }

    #[test]
    fn the_root_disk_is_found_or_said_not_to_be_one() {
        let settings = Settings { root_probe: AUTO.into(), ..Settings::default() };
        let (arguments, problem) = settings.guardian_arguments();
        assert_ne!(arguments.root_probe.is_some(), problem.is_some());
        if let Some((disk, _)) = arguments.root_probe {
            assert!(disk.is_absolute());
        }
    }
}
