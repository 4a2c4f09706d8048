//! Where things are: the workspace, its target folder, the lab's own folder in it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Lab, LabError};
use crate::process::{Place, run};

/// The folders the lab works with, all below the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace: cargo says where the lab's crate is, otherwise upwards from the current folder.
    pub(crate) fn find() -> Lab<Workspace> {
        let start = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| env::current_dir().ok());
        let start = start.unwrap_or_else(|| PathBuf::from("/"));
        let root = start.ancestors().find(|folder| is_workspace(folder)).ok_or_else(|| {
            LabError::Missing(format!(
                "no vmpulse workspace at or above {}; run this from inside the source tree",
                start.display()
            ))
        })?;
        Ok(Workspace { root: root.to_path_buf() })
    }

    /// The top of the source tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// cargo's target folder.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// The lab's own folder for what it fetches and keeps; made if it is not there.
    pub(crate) fn lab(&self) -> Lab<PathBuf> {
        make_dir(self.target().join("lab"))
    }

    /// A folder in the lab's own folder; made if it is not there.
    pub(crate) fn lab_dir(&self, name: &str) -> Lab<PathBuf> {
        make_dir(self.lab()?.join(name))
    }
}

/// Makes a folder with all above it.
pub(crate) fn make_dir(path: PathBuf) -> Lab<PathBuf> {
    fs::create_dir_all(&path).map_err(LabError::file("create", &path))?;
    Ok(path)
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Lab<String> {
    fs::read_to_string(path).map_err(LabError::file("read", path))
}

/// Writes a file.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Lab<()> {
    fs::write(path, content).map_err(LabError::file("write", path))
}

/// The triple rustc builds for on this machine, as `x86_64-unknown-linux-gnu`.
pub(crate) fn host_triple() -> Lab<String> {
    let mut command = Place::Here.command("rustc");
    command.arg("-vV");
    let text = run(command)?.ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_string)
        .ok_or_else(|| LabError::Unexpected(format!("rustc -vV names no host:\n{text}")))
}

fn is_workspace(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_holds_this_crate() {
        let workspace = Workspace::find().expect("tests run inside the workspace");
        assert!(workspace.root().join("tests/lab/src/main.rs").exists());
    }
}
