//! A distribution's kernel and a static busybox for the real guest: fetched as packages, unpacked into the target
//! folder, never installed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Lab, LabError};
use crate::preflight;
use crate::process::{Place, run};
use crate::progress::{Step, run_step, say};
use crate::workspace::{Workspace, make_dir};

/// What the real guest is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GuestKernel {
    /// The kernel's release, as `6.1.0-56-cloud-amd64`.
    pub(crate) release: String,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// The folder of its modules.
    pub(crate) modules: PathBuf,
    /// A statically linked busybox.
    pub(crate) busybox: PathBuf,
}

/// Packages of one system for a small guest.
struct Recipe {
    /// The package that depends on the newest kernel.
    meta: &'static str,
    /// Whether the modules are in a package of their own.
    split_modules: bool,
}

const DEBIAN: Recipe = Recipe {
    meta: if cfg!(target_arch = "x86_64") { "linux-image-cloud-amd64" } else { "linux-image-cloud-arm64" },
    split_modules: false,
};
const UBUNTU: Recipe = Recipe { meta: "linux-image-virtual", split_modules: true };

/// Finds what an earlier run has fetched, or fetches it.
pub(crate) fn provide(workspace: &Workspace) -> Lab<GuestKernel> {
    let lab = workspace.lab()?;
    if let Some(found) = fetched(&lab) {
        return Ok(found);
    }
    let recipe = if preflight::is_ubuntu() { UBUNTU } else { DEBIAN };
    let image = resolve(workspace, &recipe)?;
    let release = image
        .strip_prefix("linux-image-")
        .ok_or_else(|| LabError::Unexpected(format!("{image} is no kernel package's name")))?;
    let mut packages = vec![image.clone(), "busybox-static".to_string()];
    if recipe.split_modules {
        packages.push(format!("linux-modules-{release}"));
    }
    let folder = lab.join(format!("kernel-{release}"));
    let scratch = lab.join(format!("kernel-{release}.part"));
    let _ = fs::remove_dir_all(&scratch);
    make_dir(scratch.clone())?;
    unpack(workspace, &packages, &scratch)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&scratch, &folder).map_err(LabError::file("create", &folder))?;
    fetched(&lab).ok_or_else(|| {
        LabError::Unexpected(format!("no kernel, modules and busybox were found in {}", folder.display()))
    })
}

/// The newest complete kernel below the lab's folder.
fn fetched(lab: &Path) -> Option<GuestKernel> {
    let entries = fs::read_dir(lab).ok()?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<GuestKernel> = names
        .filter_map(|name| Some((lab.join(&name), name.strip_prefix("kernel-")?.to_string())))
        .filter_map(|(folder, release)| complete(&folder, &release))
        .collect();
    found.sort_by(|a, b| a.release.cmp(&b.release));
    found.pop()
}

fn complete(folder: &Path, release: &str) -> Option<GuestKernel> {
    let image = folder.join("boot").join(format!("vmlinuz-{release}"));
    let modules = ["lib/modules", "usr/lib/modules"].map(|base| folder.join(base).join(release));
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| folder.join(path));
    Some(GuestKernel {
        release: release.to_string(),
        image: image.exists().then_some(image)?,
        modules: modules.into_iter().find(|path| path.is_dir())?,
        busybox: busybox.into_iter().find(|path| path.is_file())?,
    })
}

/// The name of the newest kernel's package, asked of apt; package lists are fetched first if there are none.
fn resolve(workspace: &Workspace, recipe: &Recipe) -> Lab<String> {
    if let Some(name) = newest(recipe)? {
        return Ok(name);
    }
    if !nix::unistd::Uid::effective().is_root() {
        return Err(LabError::Permission(format!(
            "apt knows no {}; let root run once: sudo apt-get update",
            recipe.meta
        )));
    }
    let log = workspace.lab_dir("logs")?.join("apt-update.log");
    run_step("apt-get update", preflight::apt(&["update"]), &log)?;
    newest(recipe)?.ok_or_else(|| {
        LabError::Missing(format!(
            "apt knows no {}; is the distribution's main archive enabled?",
            recipe.meta
        ))
    })
}

fn newest(recipe: &Recipe) -> Lab<Option<String>> {
    let mut command = Place::Here.command("apt-cache");
    command.args(["depends", "--important", recipe.meta]);
    let said = run(command)?;
    Ok(newest_in(&said.stdout))
}

/// The kernel package that `apt-cache depends` names.
fn newest_in(depends: &str) -> Option<String> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-") && name.chars().any(|c| c.is_ascii_digit()))
        .map(str::to_string)
}

fn unpack(workspace: &Workspace, packages: &[String], folder: &Path) -> Lab<()> {
    let logs = workspace.lab_dir("logs")?;
    say("The real guest's kernel and busybox are downloaded and unpacked, not installed:");
    let mut words = vec!["download"];
    words.extend(packages.iter().map(String::as_str));
    let mut command = preflight::apt(&words);
    // Without this apt warns that its own user cannot write into our folder.
    command.args(["-o", "APT::Sandbox::User="]).current_dir(folder);
    run_step(&format!("downloading {}", packages.join(" ")), command, &logs.join("kernel-download.log"))?;
    let step = Step::begin("unpacking");
    step.finish(unpack_all(folder))
}

fn unpack_all(folder: &Path) -> Lab<()> {
    let entries = fs::read_dir(folder).map_err(LabError::file("read", folder))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut command = Place::Here.command("dpkg-deb");
            command.arg("-x").arg(&path).arg(folder);
            run(command)?.ok()?;
            fs::remove_file(&path).map_err(LabError::file("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_debian_and_ubuntu_answer() {
        let debian = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(newest_in(debian).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        let ubuntu =
            "linux-image-virtual\n  Depends: linux-image-generic\n  Depends: linux-image-6.8.0-31-generic\n";
        assert_eq!(newest_in(ubuntu).as_deref(), Some("linux-image-6.8.0-31-generic"));
        assert_eq!(newest_in("N: Unable to locate package\n"), None);
    }

    #[test]
    fn an_unfinished_kernel_is_not_taken() {
        let lab = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(lab.path().join("kernel-6.1.0/boot")).expect("mkdir");
        assert!(fetched(lab.path()).is_none());
    }
}
