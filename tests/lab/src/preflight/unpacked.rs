//! Programs that come with a service nobody wants on his machine: their package is downloaded and unpacked into the lab's
//! folder, never installed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{apt, tools};
use crate::error::{Lab, LabError};
use crate::process::{Place, run};
use crate::progress::run_step;
use crate::workspace::{Workspace, make_dir};

/// A program, and the package it is unpacked from.
struct Unpacked {
    program: &'static str,
    package: &'static str,
    /// Where the package has it.
    path: &'static str,
}

/// Reads metrics as Prometheus does.
const PROMTOOL: Unpacked = Unpacked { program: "promtool", package: "prometheus", path: "usr/bin/promtool" };

/// Fetches what is not there.
pub(super) fn provide(workspace: &Workspace) -> Lab<()> {
    let lab = workspace.lab()?;
    if tools::on_path(PROMTOOL.program) || PROMTOOL.file(&lab).is_file() {
        return Ok(());
    }
    let folder = lab.join(PROMTOOL.package);
    let scratch = lab.join(format!("{}.part", PROMTOOL.package));
    let _ = fs::remove_dir_all(&scratch);
    make_dir(scratch.clone())?;
    let mut command = apt(&["download", PROMTOOL.package]);
    // Without this apt warns that its own user cannot write into our folder.
    command.args(["-o", "APT::Sandbox::User="]).current_dir(&scratch);
    let log = workspace.lab_dir("logs")?.join("promtool-download.log");
    run_step("downloading promtool (package prometheus, not installed)", command, &log)?;
    let entries = fs::read_dir(&scratch).map_err(LabError::file("read", &scratch))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let mut command = Place::Here.command("dpkg-deb");
        command.arg("-x").arg(&path).arg(&scratch);
        run(command)?.ok()?;
        fs::remove_file(&path).map_err(LabError::file("remove", &path))?;
    }
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&scratch, &folder).map_err(LabError::file("create", &folder))
}

/// How `promtool` is started, inside a world too.
pub(crate) fn promtool(lab: &Path) -> PathBuf {
    if tools::on_path(PROMTOOL.program) { PROMTOOL.program.into() } else { PROMTOOL.file(lab) }
}

impl Unpacked {
    fn file(&self, lab: &Path) -> PathBuf {
        lab.join(self.package).join(self.path)
    }
}
